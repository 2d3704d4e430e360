"""Chats: the same techniques on dialogues, of which there are even fewer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from slmlab.engine.config import TrainConfig
from slmlab.engine.model import GPT
from slmlab.engine.training import fit
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.replies import answer_bits
from slmlab.study.setups import Excerpt, Setup, Shape, largest_text
from slmlab.text.dialogues import Dialogue, dialogue_dataset, load_dialogues
from slmlab.text.tokenizer import ChatTokenizer, chat_tokenizer, train_bpe

BASE = "base"
KINDS = ("greetings", "python", "chromadb", "course", "git", "shell", "files", "arithmetic")
SETS = ("plain", "varied", "half of varied", "curated")


@dataclass(frozen=True)
class ChatArm:
    """One technique: what it changes in the base, and nothing else.

    Attributes:
        name: of its row.
        changes: of the model's shape and the training.
        train: which dialogues it reads, one of `SETS`.
        masked: whether only answers count in the loss.
        n_seeds: how many runs it has.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    train: str = "varied"
    masked: bool = True
    n_seeds: int = 5

    def __str__(self) -> str:
        mask = "answers" if self.masked else "all tokens"
        return ", ".join([f"{k}={v}" for k, v in self.changes.items()] + [self.train, mask])


ARMS: tuple[ChatArm, ...] = (
    ChatArm(BASE, n_seeds=8),
    ChatArm("half of the dialogues", train="half of varied"),
    ChatArm("the 21 curated ones", train="curated"),
    ChatArm("the 20 plain ones", train="plain"),
    ChatArm("loss on all tokens", masked=False),
    ChatArm("width 192", {"n_embd": 192}),
    ChatArm("width 48", {"n_embd": 48}),
    ChatArm("rate 0.001", {"learning_rate": 1e-3}),
    ChatArm("rate 0.0001", {"learning_rate": 1e-4, "max_steps": 3_620}),
    ChatArm("weight decay 0", {"weight_decay": 0.0}),
    ChatArm("weight decay 0.05", {"weight_decay": 0.05}),
    ChatArm("weight decay 1.6", {"weight_decay": 1.6}),
    ChatArm("label smoothing 0.1", {"label_smoothing": 0.1}),
    ChatArm("label smoothing 0.2", {"label_smoothing": 0.2}),
    ChatArm("no clipping", {"grad_clip": 0.0}),
    ChatArm("clipping at 0.3", {"grad_clip": 0.3}),
    ChatArm("dropout 0.1", {"dropout": 0.1}),
    ChatArm("dropout 0.3", {"dropout": 0.3}),
)


@dataclass(frozen=True)
class Chats(Experiment):
    """Each arm alone, with several seeds: one row a look, each kind of held-out dialogue scored.

    `train_bits` is on the answers that were trained on, `choose_bits` on those of another set,
    which chooses the steps: the plain dialogues, or the curated ones for an arm that reads the
    plain. The other scores, bits per byte of the answers, choose nothing.
    """

    name: ClassVar[str] = "chats"
    keys: ClassVar[tuple[str, ...]] = ("arm", "change", "seed")
    columns: ClassVar[dict[str, type]] = {
        **dict.fromkeys(("arm", "change"), str),
        **dict.fromkeys(("seed", "params", "train_tokens", "step"), int),
        **dict.fromkeys(("epochs", "train_bits", "choose_bits", *KINDS, "seconds"), float),
    }
    losses: ClassVar[tuple[str, ...]] = ("train_bits", "choose_bits", *KINDS)
    base: Setup = Setup(
        Shape(n_layer=3, n_head=4, n_embd=96, block_size=64),
        Excerpt(largest_text(), "bpe-512"),
        TrainConfig(3, 3e-4, max_steps=1_280),
    )
    arms: tuple[ChatArm, ...] = ARMS
    first_look: int = 10

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in super().settings.items() if name != "arms"}

    def cells(self) -> list[Cell]:
        return [self.cell(a.name, str(a), seed) for a in self.arms for seed in range(a.n_seeds)]

    def arm(self, cell: Cell) -> ChatArm:
        return next(arm for arm in self.arms if arm.name == cell["arm"])

    def setup(self, arm: ChatArm, seed: int) -> Setup:
        return self.base.replace(seed=seed, **arm.changes)

    def looks(self, cell: Cell) -> list[int]:
        return log_spaced(self.first_look, self.setup(self.arm(cell), 0).training.max_steps)

    @property
    def tokenizer(self) -> ChatTokenizer:
        """Learnt from the dialogues that may be trained on, and three role markers."""
        return _tokenizer(int(self.base.data.vocabulary.removeprefix("bpe-")))

    def run_cell(self, cell: Cell) -> Rows:
        arm, seed, looks = self.arm(cell), cell["seed"], self.looks(cell)
        tokenizer, setup = self.tokenizer, self.setup(arm, seed).replace(eval_interval=looks[-1])
        train, choose, held_out = dialogues(arm.train), chooser(arm.train), of_kinds()
        dataset = dialogue_dataset(train, choose, tokenizer, masked=arm.masked, seed=seed)
        model = GPT(setup.shape.config(tokenizer.n_vocab), seed)
        rows: Rows = []
        for now in fit(model, dataset, setup.training):
            if now.step not in looks:
                continue
            facts: dict[str, Any] = {"params": model.n_params, "train_tokens": len(dataset.train)}
            facts |= {"step": now.step, "epochs": now.epochs}
            texts = {"train_bits": train, "choose_bits": choose} | held_out
            scores = {name: bits_of(model, tokenizer, text) for name, text in texts.items()}
            rows.append(cell | facts | scores | {"seconds": now.seconds})
        return rows

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        return [row["step"] for row in rows] == self.looks(cell)


CHATS = Chats()


def dialogues(name: str) -> tuple[Dialogue, ...]:
    """The dialogues of one of `SETS`."""
    if name == "half of varied":
        return load_dialogues("varied")[::2]
    return load_dialogues(name)


def chooser(name: str) -> tuple[Dialogue, ...]:
    """The dialogues that choose the steps of a model trained on others."""
    return load_dialogues("curated" if name == "plain" else "plain")


def of_kinds() -> dict[str, list[Dialogue]]:
    """The held-out dialogues by their kinds."""
    every = load_dialogues("held_out")
    return {kind: [d for d in every if d.topic.startswith(f"{kind}/")] for kind in KINDS}


def bits_of(model: GPT, tokenizer: ChatTokenizer, texts: Sequence[Dialogue]) -> float:
    """Bits per byte of all answers together."""
    table = answer_bits(model, tokenizer, texts)
    return float(table["bits"].sum() / table["bytes"].sum())


@cache
def _tokenizer(n_tokens: int) -> ChatTokenizer:
    texts = [f"{d.question}\n{d.answer}" for name in ("plain", "varied") for d in dialogues(name)]
    return chat_tokenizer(train_bpe("\n".join(texts), n_tokens))
