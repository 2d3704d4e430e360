"""Counting: what a 5-gram reaches on each text of the grid, as the number that models must beat."""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.study.experiments.evaluations import losses
from slmlab.study.experiments.grid import GRID
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Setup

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Counting(Experiment):
    """A Kneser–Ney 5-gram over every text of the grid; its order and discount are not chosen."""

    name: ClassVar[str] = "counting"
    keys: ClassVar[tuple[str, ...]] = ("train_tokens", "seed")
    columns: ClassVar[dict[str, type]] = dict.fromkeys((*keys, "params", "step"), int) | (
        dict.fromkeys(("train_loss", "val_loss", "train_bits", "val_bits"), float)
    )
    base: Setup = GRID.base
    train_tokens: tuple[int, ...] = GRID.train_tokens
    seeds: tuple[int, ...] = GRID.seeds
    order: int = 5
    discount: float = 0.9

    def cells(self) -> list[Cell]:
        return [self.cell(*v) for v in product(self.train_tokens[::-1], self.seeds)]

    def run_cell(self, cell: Cell) -> Rows:
        setup = self.base.replace(n_tokens=cell["train_tokens"], order=cell["seed"])
        dataset = setup.dataset(tested=False)
        config = NGramConfig(dataset.tokenizer.n_vocab, self.order, self.discount)
        model = NGram(config, dataset.train)
        return [cell | {"params": model.n_params, "step": 0} | losses(model, dataset)]

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        return len(rows) == 1


COUNTING = Counting()


def read_counting() -> "pd.DataFrame":
    """The 5-gram's losses on the grid's texts: one row for each amount of text and seed."""
    return read_table(COUNTING)
