"""The three published regimes of training on dialogues, small and at the published size."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from slmlab.engine.config import Progress, TrainConfig
from slmlab.engine.model import GPT
from slmlab.engine.training import VocabularyWarning, fit
from slmlab.study.experiments.chats import bits_of, chooser, of_kinds
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.replies import reply
from slmlab.study.setups import Excerpt, Setup, Shape, largest_text
from slmlab.text.dataset import IGNORED, Dataset
from slmlab.text.dialogues import Dialogue, dialogue_dataset, load_dialogues, render
from slmlab.text.tokenizer import ChatTokenizer, chat_tokenizer, gpt2_tokenizer

SMALL, PUBLISHED = "small", "published"
# In every set; in the varied and curated ones; of a kind that no model was trained on.
QUESTIONS = ("Hello", "What is Python?", "What is a branch in Git?")
REPLY_TOKENS = 40


@dataclass(frozen=True, eq=False)
class WholeDialogues(Dataset):
    """Batches of whole dialogues, one a row, as the published training read them.

    Rows are as long as the longest; what is behind a dialogue's end does not count. `rendered`
    are the ids of each dialogue, `targets` the same with `IGNORED` where none counts.
    """

    rendered: tuple[Tensor, ...] = ()
    targets: tuple[Tensor, ...] = ()

    def batch(self, batch_size: int, block_size: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.rendered), (batch_size,), generator=generator)
        inputs, targets = (
            [texts[i][: block_size + 1] for i in chosen.tolist()]
            for texts in (self.rendered, self.targets)
        )
        behind = pad_sequence(targets, batch_first=True, padding_value=IGNORED)
        return pad_sequence(inputs, batch_first=True)[:, :-1], behind[:, 1:]


@dataclass(frozen=True)
class Regime:
    """One of the published ways to train.

    Attributes:
        dialogues: the set that it reads.
        epochs: after which it ends.
        changes: of the training.
    """

    dialogues: str
    epochs: int
    changes: dict[str, Any] = field(default_factory=dict)


# The basic regime's rate was not published, only that it was higher than the next one's; how long
# the first two trained was not published either.
WAYS: dict[str, Regime] = {
    "basic": Regime("plain", 40, {"learning_rate": 1e-3}),
    "improved": Regime(
        "varied",
        20,
        {"learning_rate": 3e-4, "label_smoothing": 0.1, "grad_clip": 0.5, "cosine": True},
    ),
    "conservative": Regime(
        "curated",
        6,
        {"learning_rate": 1e-4, "weight_decay": 0.05, "label_smoothing": 0.2, "grad_clip": 0.3},
    ),
}


@dataclass(frozen=True)
class Regimes(Experiment):
    """Each regime, small with three seeds and once at the published size.

    `reported_loss` is the mean loss of the batches since the last look, label smoothing included,
    as a training log shows it. `train_bits` and `held_out_bits` are per byte of the answers,
    `choose_bits` those of another set (see `Chats`). The last look has the model's replies.

    Attributes:
        published: shape of the published model; with three role markers it has its parameters.
    """

    name: ClassVar[str] = "regimes"
    keys: ClassVar[tuple[str, ...]] = ("size", "regime", "seed")
    columns: ClassVar[dict[str, type]] = {
        **dict.fromkeys(("size", "regime"), str),
        **dict.fromkeys(("seed", "params", "step"), int),
        **dict.fromkeys(("epochs", "reported_loss", "train_bits", "choose_bits"), float),
        **dict.fromkeys(("held_out_bits", "seconds"), float),
        **{f"reply_{i}": str for i in range(len(QUESTIONS))},
    }
    losses: ClassVar[tuple[str, ...]] = (
        "reported_loss",
        "train_bits",
        "choose_bits",
        "held_out_bits",
    )
    base: Setup = Setup(
        Shape(n_layer=3, n_head=4, n_embd=96, block_size=200),
        Excerpt(largest_text(), "gpt2"),
        TrainConfig(2, 3e-4, max_steps=1),
    )
    published: Shape = Shape(n_layer=12, n_head=12, n_embd=768, block_size=1024)
    seeds: tuple[int, ...] = (0, 1, 2)
    first_look: int = 5

    @property
    def settings(self) -> dict[str, Any]:
        return super().settings | {
            "published": list(vars(self.published).values()),
            "regimes": {name: list(vars(way).values()) for name, way in WAYS.items()},
            "reply_tokens": REPLY_TOKENS,
        }

    def cells(self) -> list[Cell]:
        large = [self.cell(PUBLISHED, name, self.seeds[0]) for name in WAYS]
        return large + [self.cell(SMALL, name, seed) for name in WAYS for seed in self.seeds]

    @property
    def tokenizer(self) -> ChatTokenizer:
        return chat_tokenizer(gpt2_tokenizer())

    def steps(self, regime: str) -> int:
        way = WAYS[regime]
        n_dialogues = way.epochs * len(load_dialogues(way.dialogues))
        return n_dialogues // self.base.training.batch_size

    def looks(self, cell: Cell) -> list[int]:
        return log_spaced(self.first_look, self.steps(cell["regime"]))

    def training(
        self, regime: str, seed: int = 0, size: str = SMALL
    ) -> tuple[GPT, Iterator[Progress]]:
        """A model with its first weights, and its training by one of `WAYS`, step by step."""
        way, n_steps, tokenizer = WAYS[regime], self.steps(regime), self.tokenizer
        shape = self.published if size == PUBLISHED else self.base.shape
        model = GPT(shape.config(tokenizer.n_vocab), seed)
        setup = self.base.replace(
            max_steps=n_steps, eval_interval=n_steps, seed=seed, **way.changes
        )
        train, choose = load_dialogues(way.dialogues), chooser(way.dialogues)
        dataset = whole_dialogues(train, choose, tokenizer, shape.block_size)
        training = fit(model, dataset, setup.training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)  # GPT-2's whole one is on purpose
            first = next(training)
        return model, chain([first], training)

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        return [row["step"] for row in rows] == self.looks(cell)

    def run_cell(self, cell: Cell) -> Rows:
        looks, tokenizer = self.looks(cell), self.tokenizer
        train = load_dialogues(WAYS[cell["regime"]].dialogues)
        choose = chooser(WAYS[cell["regime"]].dialogues)
        held_out = [dialogue for kind in of_kinds().values() for dialogue in kind]
        model, training = self.training(cell["regime"], cell["seed"], cell["size"])
        rows, batch_losses = [], []
        for now in training:
            batch_losses.append(now.train_loss if now.batch_loss is None else now.batch_loss)
            if now.step not in looks:
                continue
            epochs = now.step * self.base.training.batch_size / len(train)
            facts = {"params": model.n_params, "step": now.step, "epochs": epochs}
            facts["reported_loss"] = sum(batch_losses) / len(batch_losses)
            texts = {"train_bits": train, "choose_bits": choose, "held_out_bits": held_out}
            facts |= {name: bits_of(model, tokenizer, text) for name, text in texts.items()}
            replies = {f"reply_{i}": "" for i in range(len(QUESTIONS))}
            rows.append(cell | facts | {"seconds": now.seconds} | replies)
            batch_losses = []
        for i, question in enumerate(QUESTIONS):
            rows[-1][f"reply_{i}"] = reply(model, tokenizer, question, max_tokens=REPLY_TOKENS).text
        return rows


REGIMES = Regimes()


def whole_dialogues(
    train: Sequence[Dialogue],
    val: Sequence[Dialogue],
    tokenizer: ChatTokenizer,
    block_size: int,
    masked: bool = False,
    count_end: bool = True,
) -> WholeDialogues:
    """As `dialogue_dataset`, to be read in whole dialogues, whatever their order.

    In a row, the dialogues of `train` are repeated until they fill a context.
    """
    rendered = [render(dialogue, tokenizer, count_end) for dialogue in train]
    ids = tuple(torch.tensor(of) for of, _ in rendered)
    counts = [torch.tensor(mask) | (not masked) for _, mask in rendered]
    if not masked and not count_end:
        counts = [of != tokenizer.end for of in ids]
    n_copies = 1 + (block_size + 1) // sum(map(len, ids))
    text = dialogue_dataset([*train] * n_copies, val, tokenizer, masked, count_end)
    return WholeDialogues(
        **{f.name: getattr(text, f.name) for f in fields(text)},
        rendered=ids,
        targets=tuple(of.masked_fill(~c, IGNORED) for of, c in zip(ids, counts, strict=True)),
    )
