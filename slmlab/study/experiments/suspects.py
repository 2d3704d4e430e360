"""The suspects: the mistakes that could have made a validation perplexity of 1.00."""

import math
import warnings
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from slmlab.engine.config import TrainConfig
from slmlab.engine.evaluation import evaluating, loss_windows, mean_loss
from slmlab.engine.generation import decoded, generate_tokens
from slmlab.engine.model import GPT, Attention, GPTConfig
from slmlab.engine.runs import SAMPLE_TOKENS, SAMPLING
from slmlab.engine.training import VocabularyWarning, fit
from slmlab.study.domain import PROMPTS
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.tables import read_table
from slmlab.study.samples import repetition_rate
from slmlab.study.setups import Excerpt, Setup, Shape, largest_text
from slmlab.text.corpus import load_corpus, load_held_out
from slmlab.text.dataset import IGNORED, Dataset
from slmlab.text.tokenizer import Tokenizer, tokenizer_for
from slmlab.validation import real_number, table_with

if TYPE_CHECKING:
    import pandas as pd

NONE, PADDED, PUBLISHED = "no fault", "32,000 rows", "32,000 rows, published size"
MASK, LABELS, WINDOWS = "no mask", "unshifted labels", "windows dealt at random"
EXAMS = {
    "held_out_loss": "held-out scripts",
    "leaked_loss": "end of the training text",
    "windows_loss": "windows set aside",
}
LEAKED_TOKENS = 1_000  # at the end of the training text
DEALT_WINDOWS = 64  # of those set aside, as many as are looked at


class UnmaskedAttention(Attention):
    """A mistake on purpose: every token sees the whole window, the next token included."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
        return super().attend(q, k, v)


class UnshiftedGPT(GPT):
    """A mistake on purpose: the target of a token is that token, not the next one."""

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        same = idx.masked_fill(targets == IGNORED, IGNORED)
        return super().loss(idx, same, label_smoothing)


@dataclass(frozen=True, eq=False)
class DealtWindows(Dataset):
    """A mistake on purpose: overlapping windows of one text, dealt to training and validation.

    A tenth of the windows of `block` tokens and the next is set aside, but nearly every token of
    them is in other windows.
    """

    block: int = 1
    seed: int = 0

    @property
    def starts(self) -> tuple[Tensor, Tensor]:
        """Where the windows begin that are trained on, and those set aside."""
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(self.train) - self.block, generator=generator)
        aside, kept = order.tensor_split([len(order) // 10])
        return kept, aside

    def batch(self, batch_size: int, block_size: int, seed: int) -> tuple[Tensor, Tensor]:
        kept, _ = self.starts
        generator = torch.Generator().manual_seed(seed)
        starts = kept[torch.randint(len(kept), (batch_size, 1), generator=generator)]
        windows = self.train[starts + torch.arange(block_size + 1)]
        return windows[:, :-1], windows[:, 1:]


@dataclass(frozen=True)
class Suspects(Experiment):
    """What makes a validation perplexity of 1? A model for each fault, asked about every text.

    Each model has one fault, or none: an embedding with 32,000 rows for 423 tokens, attention
    without a mask, unshifted labels, or windows dealt at random. The largest is the published one:
    32,000 rows, six layers, width 384, a context of 512; it has one seed. Every model reports its
    loss on the held-out scripts and on the end of its own training text (a leaked validation
    text), by the labels and the mask that it trains with. `windows_loss` is on the windows that
    were set aside, of the model that has some.

    Attributes:
        train_tokens: at the start of the corpus, in the tokens of `base`.
        padded_vocab: rows of the padded models.
    """

    name: ClassVar[str] = "suspects"
    keys: ClassVar[tuple[str, ...]] = ("suspect", "seed")
    columns: ClassVar[dict[str, type]] = {
        "suspect": str,
        **dict.fromkeys(("seed", "params", "step"), int),
        **dict.fromkeys(("epochs", "train_loss", "held_out_loss", "leaked_loss"), float),
        **dict.fromkeys(("windows_loss", "accuracy", "repetition", "seconds"), float),
        "sample": str,
    }
    losses: ClassVar[tuple[str, ...]] = ("train_loss", "held_out_loss", "leaked_loss")
    base: Setup = Setup(
        Shape(n_layer=3, n_head=4, n_embd=192, block_size=256),
        Excerpt(largest_text(), "bpe-423"),
        TrainConfig(4, 1e-3, max_steps=905, cosine=True),
    )
    published: Shape = Shape(n_layer=6, n_head=6, n_embd=384, block_size=512)
    train_tokens: int = 5_000
    padded_vocab: int = 32_000
    seeds: tuple[int, ...] = (0, 1, 2)

    def cells(self) -> list[Cell]:
        suspects = (PADDED, NONE, MASK, LABELS, WINDOWS)
        every = [self.cell(suspect, seed) for suspect in suspects for seed in self.seeds]
        return [self.cell(PUBLISHED, self.seeds[0]), *every]

    @property
    def settings(self) -> dict[str, Any]:
        """With what is measured on, too."""
        measured = {"leaked_tokens": LEAKED_TOKENS, "dealt_windows": DEALT_WINDOWS}
        return super().settings | {"published": list(vars(self.published).values())} | measured

    @property
    def looks(self) -> list[int]:
        return log_spaced(5, self.base.training.max_steps)

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        return [row["step"] for row in rows] == self.looks

    @property
    def tokenizer(self) -> Tokenizer:
        """As many tokens as the published vocabulary had distinct ones."""
        return tokenizer_for(load_corpus().text, self.base.data.vocabulary)

    def dataset(self, suspect: str, seed: int) -> Dataset:
        """The start of the corpus, and the held-out scripts as validation text."""
        texts = (load_corpus().text, load_held_out().text)
        train, val = (torch.tensor(self.tokenizer.encode(text)) for text in texts)
        parts = (train[: self.train_tokens], val, self.tokenizer, {"kind": "suspects"})
        if suspect == WINDOWS:
            return DealtWindows(*parts, block=self.base.shape.block_size, seed=seed)
        return Dataset(*parts)

    def config(self, suspect: str) -> GPTConfig:
        """The shape of a suspect."""
        rows = self.padded_vocab if suspect in (PADDED, PUBLISHED) else self.tokenizer.n_vocab
        return (self.published if suspect == PUBLISHED else self.base.shape).config(rows)

    def model(self, suspect: str, seed: int) -> GPT:
        """A suspect before training."""
        attention = UnmaskedAttention if suspect == MASK else Attention
        kind = UnshiftedGPT if suspect == LABELS else GPT
        return kind(self.config(suspect), seed, attention=attention)

    def training(self, cell: Cell) -> TrainConfig:
        """How a suspect is trained: all alike, but for the seed."""
        training = self.base.training
        return replace(training, seed=cell["seed"], eval_interval=training.max_steps)

    def run_cell(self, cell: Cell) -> Rows:
        """Train one suspect; its rows hold what its own evaluation reports."""
        dataset, model = self.dataset(**cell), self.model(**cell)
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)  # the mismatch is on purpose
            for now in fit(model, dataset, self.training(cell)):
                if now.step in self.looks:
                    facts = {"params": model.n_params, "step": now.step, "epochs": now.epochs}
                    facts |= reported(model, dataset) | {"repetition": math.nan}
                    rows.append(cell | facts | {"seconds": now.seconds, "sample": ""})
        rows[-1] |= _written(model, dataset)
        return rows


def reported(model: GPT, dataset: Dataset) -> dict[str, float]:
    """The losses (nats per token) and the accuracy that a set-up reports, by its own labels."""
    kept, aside = torch.arange(len(dataset.train) - model.config.block_size), torch.arange(0)
    if isinstance(dataset, DealtWindows):
        kept, aside = dataset.starts
    windows = kept[torch.linspace(0, len(kept) - 1, DEALT_WINDOWS).long()].tolist()
    dealt = aside[:DEALT_WINDOWS].tolist()
    return {
        "train_loss": mean_loss(model, dataset.train, windows),
        "held_out_loss": mean_loss(model, dataset.val),
        "leaked_loss": mean_loss(model, dataset.train[-LEAKED_TOKENS:]),
        "windows_loss": mean_loss(model, dataset.train, dealt) if dealt else math.nan,
        "accuracy": _reported_accuracy(model, dataset.val),
    }


def _reported_accuracy(model: GPT, ids: Tensor) -> float:
    """Teacher-forced accuracy as this set-up would report it: against the labels it trains on."""
    right = total = 0
    with evaluating(model):
        for inputs, targets in loss_windows(ids, model.config.block_size, 512):
            labels = inputs if isinstance(model, UnshiftedGPT) else targets
            right += int((model(inputs).argmax(-1) == labels).sum())
            total += labels.numel()
    return right / total


def _written(model: GPT, dataset: Dataset) -> dict[str, Any]:
    """What a suspect writes: the mean repetition after the prompts, and one of its texts."""
    with evaluating(model):
        texts = [_continued(model, dataset, prompt) for prompt in PROMPTS]
    sample = decoded(dataset.tokenizer, texts[PROMPTS.index("def main():")])
    return {"repetition": mean(map(repetition_rate, texts)), "sample": sample}


def _continued(model: GPT, dataset: Dataset, prompt: str) -> list[int]:
    ids = dataset.tokenizer.encode(prompt)
    # No cache: without a mask, a token's keys and values change with every token after it.
    return list(generate_tokens(model, ids, SAMPLE_TOKENS, SAMPLING, use_cache=False))


SUSPECTS = Suspects()


def read_suspects() -> "pd.DataFrame":
    """Every look at every suspect: losses in nats per token, as its own evaluation reports them."""
    return read_table(SUSPECTS)


def reported_perplexities(table: "pd.DataFrame", train_loss: float | None = None) -> "pd.DataFrame":
    """The perplexity that each model reports on each text it could be validated with, a row each.

    `table` is what `read_suspects` gives. The models are taken at their last look or, to compare
    them at like training losses, at the first whose training loss (nats per token) is at most
    `train_loss`; one that never gets there has no row. Columns: `suspect`, `seed`, `step`,
    `train_loss`, `text` and `perplexity`.
    """
    columns = ["suspect", "seed", "step", "train_loss", *EXAMS]
    table_with("The table", table, columns, "what lab.read_suspects() returns")
    models = table.sort_values("step").groupby(["suspect", "seed"], sort=False)
    looks = models.tail(1)
    if train_loss is not None:
        low = table["train_loss"] <= real_number("train_loss", train_loss)
        looks = table[low].sort_values("step").groupby(["suspect", "seed"], sort=False).head(1)
    named = looks.rename(columns=EXAMS)
    keys = ["suspect", "seed", "step", "train_loss"]
    long = named.melt(keys, list(EXAMS.values()), "text", "perplexity").dropna()
    long["perplexity"] = np.exp(long["perplexity"])
    return long.reset_index(drop=True)
