"""The crossing: Phase 1's settings and Phase 2's, each on either phase's amount of text."""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from slmlab.study.experiments.evaluations import COLUMNS, observed
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Setup, preset

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Crossing(Experiment):
    """Was it the data or the settings? Both phases' settings × both amounts of training text.

    As in the grid, the seed also decides the order of the files, and all models are validated on
    the held-out scripts. A run has the steps of its phase.
    """

    name: ClassVar[str] = "crossing"
    keys: ClassVar[tuple[str, ...]] = ("phase", "train_tokens", "seed")
    columns: ClassVar[dict[str, type]] = dict.fromkeys(keys, int) | COLUMNS
    base: Setup = preset(1).replace(validation="held-out", order=0)
    phases: tuple[int, ...] = (1, 2)
    train_tokens: tuple[int, ...] = (900, 4_500)
    seeds: tuple[int, ...] = (0, 1, 2)
    first_look: int = 5

    def cells(self) -> list[Cell]:
        return [self.cell(*v) for v in product(self.phases[::-1], self.train_tokens, self.seeds)]

    def setup(self, phase: int, train_tokens: int, seed: int) -> Setup:
        """The set-up of a cell."""
        changes = {"n_tokens": train_tokens, "order": seed, "seed": seed}
        return preset(phase).replace(validation="held-out", **changes)

    def looks(self, cell: Cell) -> list[int]:
        """The steps at which a run is looked at."""
        return log_spaced(self.first_look, preset(cell["phase"]).training.max_steps)

    def run_cell(self, cell: Cell) -> Rows:
        looks = self.looks(cell)
        return [cell | row for row in observed(self.setup(**cell), looks, lambda rows: False)]

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        return [row["step"] for row in rows] == self.looks(cell)


CROSSING = Crossing()


def read_crossing() -> "pd.DataFrame":
    """The crossing's runs and looks; losses as `observed` gives them."""
    return read_table(CROSSING)
