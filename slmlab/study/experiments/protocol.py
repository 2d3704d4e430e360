"""What an experiment is: cells that can be trained one by one, each giving rows of a table."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from slmlab.engine.config import TrainConfig
from slmlab.engine.pace import EVALUATIONS
from slmlab.study.setups import Setup

Cell = dict[str, Any]  # the values that tell one run from another
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Experiment(ABC):
    """Many runs, recorded as one table with a row for each run and evaluation.

    A new experiment is a frozen dataclass in a file of its own. Its fields are all that the
    numbers depend on; records made with other values are refused.

    Attributes:
        name: of its files, and on the command line.
        keys: the columns that tell cells apart.
        columns: of the table, in order, with the type of each (int, float or str). `step` and
            `losses` are among them.
        losses: the columns that must hold finite numbers (nats per token, unless said otherwise).
        base: the set-up that the cells vary.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    columns: ClassVar[dict[str, type]]
    losses: ClassVar[tuple[str, ...]] = ("train_loss", "val_loss")
    base: Setup

    @abstractmethod
    def cells(self) -> Sequence[Cell]:
        """Every run to make, the slowest first, so that none is left alone at the end."""

    @abstractmethod
    def run_cell(self, cell: Cell) -> Rows:
        """Train one cell, and return its row for each of its looks, with all `columns`.

        Raises `KeyboardInterrupt` if it was stopped on the way.
        """

    def cell(self, *values: Any) -> Cell:
        """The cell with these values of its `keys`."""
        return dict(zip(self.keys, values, strict=True))

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        """Whether these are all rows of a cell: one for each of its looks."""
        return [row["step"] for row in rows] == evaluation_steps(self.base.training)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields' values, as JSON can hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"base": self.base.choices()}

    def key(self, row: dict[str, Any]) -> tuple[str, ...]:
        """What tells the cell of a row, as the table writes it."""
        return tuple(as_text(row[name]) for name in self.keys)

    def title(self, cell: Cell) -> str:
        """A cell in a sentence, such as "grid n_embd=12 seed=0"."""
        return " ".join([self.name, *(f"{name}={as_text(cell[name])}" for name in self.keys)])


def as_text(value: Any) -> str:
    """A value as a table holds it. Six digits are more than two machines agree on."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def log_spaced(first: int, last: int) -> list[int]:
    """Steps at which to look: 0, then from `first` on, each √2 times the one before, and `last`."""
    n = math.ceil(2 * math.log2(last / first))
    return sorted({0, last, *(round(first * 2 ** (k / 2)) for k in range(n))})


def evaluation_steps(training: TrainConfig) -> list[int]:
    """The steps at which a run is evaluated, the start and the end included.

    Raises `ValueError` for a run with a budget in seconds, of which nobody knows them before.
    """
    steps = training.max_steps
    if steps is None:
        raise ValueError("A record has a number of steps, not of seconds; give max_steps.")
    interval = training.eval_interval or max(1, steps // EVALUATIONS)
    return sorted({*range(0, steps + 1, interval), steps})
