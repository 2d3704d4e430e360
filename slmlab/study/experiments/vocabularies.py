"""Vocabularies: the same text in bytes, in pairs learnt from it, and in GPT-2's tokens."""

import warnings
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from slmlab.engine.training import VocabularyWarning
from slmlab.study.experiments.evaluations import COLUMNS, observed
from slmlab.study.experiments.grid import GRID, has_turned
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Setup
from slmlab.text.corpus import load_corpus
from slmlab.text.tokenizer import tokenizer_for

if TYPE_CHECKING:
    import pandas as pd

Sweep = tuple[tuple[str, ...], int, tuple[float, ...], int]  # vocabularies, width, rates, seeds
RISE_BITS = 0.05  # bits per byte above its lowest: about what ends a run of the grid
SMALLER = ("right-sized", "bpe-256", "bpe-300", "bpe-512", "bpe-1000", "bpe-2000")


@dataclass(frozen=True)
class Vocabularies(Experiment):
    """One text, nearly the whole corpus, in vocabularies from 256 tokens to 50,257.

    A context has about as many bytes in each vocabulary, and so has a batch: models of the same
    width read the same text at each step. "bpe-256" are the bytes themselves. Runs are looked at,
    and end, as those of the grid do, but by their bits per byte.

    Attributes:
        sweeps: vocabularies, a width, its learning rates, and how many seeds are run.
    """

    name: ClassVar[str] = "vocabularies"
    keys: ClassVar[tuple[str, ...]] = ("vocabulary", "n_embd", "learning_rate", "seed")
    columns: ClassVar[dict[str, type]] = {
        "vocabulary": str,
        "n_embd": int,
        "learning_rate": float,
        "seed": int,
        "n_vocab": int,
        "block_size": int,
        "train_tokens": int,
    } | COLUMNS
    base: Setup = GRID.setup(96, 3e-4, 23_000, 0)
    sweeps: tuple[Sweep, ...] = (
        (("gpt2", *SMALLER), 96, (3e-4,), 3),
        (("gpt2", *SMALLER), 96, (1e-3,), 1),
        (SMALLER, 96, (1e-4,), 1),
        (("bpe-512", "bpe-1000"), 192, (1e-4,), 3),
        (("bpe-512", "bpe-1000"), 192, (3e-4,), 1),
    )
    first_look: int = 5

    @property
    def settings(self) -> dict[str, Any]:
        """Without the sweeps: each row names its own, so that runs may be added to a record."""
        every = super().settings | {"rise_bits": RISE_BITS}
        return {name: value for name, value in every.items() if name != "sweeps"}

    def cells(self) -> list[Cell]:
        every = [
            self.cell(vocabulary, width, rate, seed)
            for vocabularies, width, rates, n_seeds in self.sweeps
            for rate, vocabulary, seed in product(rates, vocabularies, range(n_seeds))
        ]
        return [cell for i, cell in enumerate(every) if cell not in every[:i]]

    def setup(self, vocabulary: str, n_embd: int, learning_rate: float, seed: int) -> Setup:
        """The set-up of a cell."""
        context = self.base.shape.block_size * bytes_per_token("gpt2") / bytes_per_token(vocabulary)
        return self.base.replace(
            vocabulary=vocabulary,
            n_embd=n_embd,
            learning_rate=learning_rate,
            block_size=round(context),
            order=seed,
            seed=seed,
        )

    @property
    def looks(self) -> list[int]:
        """The steps at which a run is looked at, if it lasts that long."""
        return log_spaced(self.first_look, self.base.training.max_steps)

    def run_cell(self, cell: Cell) -> Rows:
        setup = self.setup(**cell)
        dataset = setup.dataset(tested=False)
        facts = {
            "n_vocab": dataset.tokenizer.n_vocab,
            "block_size": setup.shape.block_size,
            "train_tokens": len(dataset.train),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)  # GPT-2's whole one is on purpose
            rows = observed(setup, self.looks, _has_turned)
        return [cell | facts | row for row in rows]

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        steps = [row["step"] for row in rows]
        return steps == self.looks[: len(steps)] and (steps == self.looks or _has_turned(rows))


_has_turned = partial(has_turned, loss="val_bits", rise=RISE_BITS)
VOCABULARIES = Vocabularies()


@lru_cache
def bytes_per_token(vocabulary: str) -> float:
    """How long a token of a vocabulary is in the corpus, on average."""
    text = load_corpus().text
    return len(text.encode()) / len(tokenizer_for(text, vocabulary).encode(text))


def read_vocabularies() -> "pd.DataFrame":
    """The runs and looks of every vocabulary, with `gap`.

    `gap` is the held-out minus the training loss in bits per byte; all other losses are as
    `observed` gives them.
    """
    table = read_table(VOCABULARIES)
    table["gap"] = table["val_bits"] - table["train_bits"]
    return table
