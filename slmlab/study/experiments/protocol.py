"""What an experiment is: cells that can be trained one by one, each giving rows of a table."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

Cell = dict[str, Any]  # the values that tell one run from another
Rows = list[dict[str, Any]]


class Experiment(ABC):
    """Many runs, recorded as one table with a row for each run and evaluation.

    Attributes:
        name: of its files.
        keys: the columns that tell cells apart.
        settings: all that the numbers depend on, as JSON; records made with others are refused.
    """

    name: str
    keys: tuple[str, ...]

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]: ...

    @abstractmethod
    def cells(self) -> Sequence[Cell]:
        """Every run to make, the slowest first, so that none is left alone at the end."""

    @abstractmethod
    def steps(self, cell: Cell) -> Sequence[int]:
        """The steps at which a cell is evaluated."""

    @abstractmethod
    def run_cell(self, cell: Cell) -> Rows:
        """Train one cell. Its rows have the columns of `keys`, `step`, `train_loss`, `val_loss`
        (nats per token) and others."""

    def key(self, row: dict[str, Any]) -> tuple[str, ...]:
        """What tells the cell of a row, as text: a table that was read has no other types."""
        return tuple(str(row[name]) for name in self.keys)
