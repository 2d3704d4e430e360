"""Recipes: does a schedule, dropout or weight decay help where the grid ended?"""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from slmlab.study.experiments.evaluations import COLUMNS, observed
from slmlab.study.experiments.grid import GRID, has_turned
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Setup

if TYPE_CHECKING:
    import pandas as pd

PLAIN = "plain"  # what the grid's own runs of the base are called
CHANGES: dict[str, dict[str, Any]] = {
    "cosine": {"cosine": True},
    "dropout 0.1": {"dropout": 0.1},
    "dropout 0.3": {"dropout": 0.3},
    "weight decay 0.4": {"weight_decay": 0.4},
    "weight decay 1.6": {"weight_decay": 1.6},
}


@dataclass(frozen=True)
class Recipes(Experiment):
    """One change of the training at a time, at both ends of the grid's amounts of text.

    The base is a shape and learning rate of the grid whose plain runs are there. A cosine needs an
    end: it is about twice the steps after which the plain run was best. The other recipes end as
    the grid's runs do.

    Attributes:
        ends: for each amount of text, the steps of the cosine, and how many seeds are run.
    """

    name: ClassVar[str] = "recipes"
    keys: ClassVar[tuple[str, ...]] = ("recipe", "train_tokens", "seed")
    columns: ClassVar[dict[str, type]] = {
        "recipe": str,
        "train_tokens": int,
        "seed": int,
    } | COLUMNS
    base: Setup = GRID.setup(96, 3e-4, 1_000, 0)
    recipes: tuple[str, ...] = tuple(CHANGES)
    ends: tuple[tuple[int, int, int], ...] = ((23_000, 2_560, 1), (1_000, 453, 3))
    first_look: int = 5

    def cells(self) -> list[Cell]:
        return [
            self.cell(recipe, n_tokens, seed)
            for n_tokens, _, n_seeds in self.ends
            for recipe, seed in product(self.recipes, range(n_seeds))
        ]

    def setup(self, recipe: str, train_tokens: int, seed: int) -> Setup:
        """The set-up of a cell."""
        setup = self.base.replace(n_tokens=train_tokens, order=seed, seed=seed, **CHANGES[recipe])
        if setup.training.cosine:
            [steps] = [steps for n_tokens, steps, _ in self.ends if n_tokens == train_tokens]
            setup = setup.replace(max_steps=steps)
        return setup

    def looks(self, cell: Cell) -> list[int]:
        """The steps at which a run is looked at, if it lasts that long."""
        return log_spaced(self.first_look, self.setup(**cell).training.max_steps)

    def run_cell(self, cell: Cell) -> Rows:
        setup = self.setup(**cell)
        return [cell | row for row in observed(setup, self.looks(cell), self._is_over(cell))]

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        looks, steps = self.looks(cell), [row["step"] for row in rows]
        return steps == looks[: len(steps)] and (steps == looks or self._is_over(cell)(rows))

    def _is_over(self, cell: Cell) -> Any:
        return (lambda rows: False) if cell["recipe"] == "cosine" else has_turned


RECIPES = Recipes()


def read_recipes() -> "pd.DataFrame":
    """The recipes' runs and looks, with the grid's own as the recipe `PLAIN`."""
    import pandas as pd

    of_grid = read_table(GRID)
    same_size = of_grid["n_embd"] == RECIPES.base.shape.n_embd
    same_rate = of_grid["learning_rate"] == RECIPES.base.training.learning_rate
    same_text = of_grid["train_tokens"].isin([n_tokens for n_tokens, *_ in RECIPES.ends])
    plain = of_grid[same_size & same_rate & same_text].assign(recipe=PLAIN)
    return pd.concat([plain, read_table(RECIPES)], join="inner", ignore_index=True)
