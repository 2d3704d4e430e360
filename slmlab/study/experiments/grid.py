"""The grid: model size × learning rate × amount of text, and how long to train each."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from slmlab.engine.config import TrainConfig
from slmlab.study.experiments.evaluations import COLUMNS, observed
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Excerpt, Setup, Shape
from slmlab.validation import listed, table_with

if TYPE_CHECKING:
    import pandas as pd

MEASURED = ("step", "epochs", "params", "val_bits", "gap")  # at each look
NEAR = 0.05  # bits per byte: sizes this close to the best one count as near it
RISE = 0.1  # nats per token above its lowest: two such looks in a row end a run


@dataclass(frozen=True)
class Grid(Experiment):
    """Widths, each with learning rates of its own, × amounts of text × seeds.

    A cell's training text is the start of the corpus with its files in an order that the seed
    decides, so that the spread over seeds includes the luck of which files come first; at the
    largest amount it is nearly the whole corpus, whatever the order. Every model is validated on
    the held-out scripts. Looks are spaced in the logarithm of the steps. A run ends once its
    held-out loss has clearly turned (`has_turned`), or at the last look.

    Attributes:
        rates: the learning rates of each width, run with every seed.
        edges: what lies around those, run with the first seed only: lower and higher rates, and a
            width beyond the widest. They show whether the best is at the edge of what was tried.
    """

    name: ClassVar[str] = "grid"
    keys: ClassVar[tuple[str, ...]] = ("n_embd", "learning_rate", "train_tokens", "seed")
    columns: ClassVar[dict[str, type]] = {
        "n_embd": int,
        "learning_rate": float,
        "train_tokens": int,
        "seed": int,
    } | COLUMNS
    base: Setup = Setup(
        Shape(n_layer=3, n_head=4, n_embd=48, block_size=64),
        Excerpt(1_000, order=0, validation="held-out"),
        TrainConfig(8, 1e-3, max_steps=10_240),
    )
    rates: tuple[tuple[int, tuple[float, ...]], ...] = (
        (12, (1e-3,)),
        (24, (1e-3,)),
        (48, (3e-4, 1e-3)),
        (96, (1e-4, 3e-4)),
        (192, (1e-4, 3e-4)),
    )
    edges: tuple[tuple[int, tuple[float, ...]], ...] = (
        (12, (3e-4, 3e-3)),
        (24, (3e-4, 3e-3)),
        (48, (1e-4, 3e-3)),
        (96, (3e-5, 1e-3)),
        (192, (3e-5, 1e-3)),
        (384, (1e-4,)),
    )
    train_tokens: tuple[int, ...] = (1_000, 4_800, 23_000)
    seeds: tuple[int, ...] = (0, 1, 2)
    first_look: int = 5

    def cells(self) -> list[Cell]:
        sweeps = [(self.rates, seed) for seed in self.seeds] + [(self.edges, self.seeds[0])]
        return [
            self.cell(width, rate, n_tokens, seed)
            for sizes, seed in sweeps
            for width, rates in sizes[::-1]
            for rate, n_tokens in product(rates, self.train_tokens[::-1])
        ]

    def setup(self, n_embd: int, learning_rate: float, train_tokens: int, seed: int) -> Setup:
        """The set-up of a cell."""
        changes = {"n_tokens": train_tokens, "order": seed, "seed": seed}
        return self.base.replace(n_embd=n_embd, learning_rate=learning_rate, **changes)

    @property
    def looks(self) -> list[int]:
        """The steps at which a run is looked at, if it lasts that long."""
        return log_spaced(self.first_look, self.base.training.max_steps)

    def run_cell(self, cell: Cell) -> Rows:
        return [cell | row for row in observed(self.setup(**cell), self.looks, has_turned)]

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        steps = [row["step"] for row in rows]
        return steps == self.looks[: len(steps)] and (steps == self.looks or has_turned(rows))


GRID = Grid()


def has_turned(rows: Rows, loss: str = "val_loss", rise: float = RISE) -> bool:
    """Whether a held-out loss has left its minimum behind, so that a run can end.

    The last two looks are both more than `rise` above the lowest, in the unit of the column `loss`,
    and the last came after at least twice the steps of the lowest. A second descent after that
    would not be seen.
    """
    lowest = min(rows, key=lambda row: row[loss])
    late = rows[-1]["step"] >= 2 * max(1, lowest["step"])
    return late and all(row[loss] > lowest[loss] + rise for row in rows[-2:])


def read_grid() -> "pd.DataFrame":
    """The grid's runs and looks, with `gap` and `params_per_token`.

    `gap` is the held-out minus the training loss in bits per byte, as the two texts' tokens are
    unlike; all other losses are as `observed` gives them.
    """
    table = read_table(GRID)
    table["gap"] = table["val_bits"] - table["train_bits"]
    table["params_per_token"] = table["params"] / table["train_tokens"]
    return table


def best_looks(table: "pd.DataFrame", by: Sequence[str] = GRID.keys) -> "pd.DataFrame":
    """One row for each run of the grid: the look at which its held-out loss was lowest.

    Runs of another experiment are told apart `by` other columns. A row has all columns of that
    look. `censored` says if it was the run's first after the start or its last, so that the true
    minimum may lie beyond.
    """
    keys = listed("by", by, "names of columns")
    table_with("The table", table, [*keys, *MEASURED])
    best = table.loc[table.groupby(keys)["val_bits"].idxmin()].set_index(keys)
    looks = table[table["step"] > 0].groupby(keys)["step"]
    first, last = looks.min().reindex(best.index), looks.max().reindex(best.index)
    best["censored"] = ~((best["step"] > first) & (best["step"] < last))  # there may be no look
    return best.reset_index()


def at_best_rates(runs: "pd.DataFrame") -> "pd.DataFrame":
    """The runs of `best_looks`, of each width and amount of text those with its best rate only.

    The best rate has the lowest mean of `val_bits` over the seeds, of the rates that were run with
    every seed.
    """
    columns = ["n_embd", "learning_rate", "train_tokens", "seed", "val_bits"]
    table_with("runs", runs, columns, "what lab.best_looks(lab.read_grid()) returns")
    n_seeds = runs.groupby(["n_embd", "learning_rate"])["seed"].transform("nunique")
    every = runs[n_seeds == runs["seed"].nunique()]
    means = every.groupby(["train_tokens", "n_embd", "learning_rate"])["val_bits"].mean()
    best = means.loc[means.groupby(["train_tokens", "n_embd"]).idxmin()].reset_index()
    return every.merge(best.drop(columns="val_bits"))


def size_table(runs: "pd.DataFrame") -> "pd.DataFrame":
    """For each amount of text and width: what its own best learning rate did.

    `runs` is what `best_looks` gives. Index: train_tokens, n_embd. Columns: `params`,
    `learning_rate`, then means over the seeds, each run at its best look: `steps`, `epochs`,
    `gap` and `bits` per byte on the held-out scripts; `spread`, the range of `bits`; `behind`, by
    how much `bits` are above those of the best width; `near`, whether by at most `NEAR`.
    """
    columns = ["params", "learning_rate", "step", "epochs", "gap", "val_bits"]
    table_with("runs", runs, columns, "what lab.best_looks(lab.read_grid()) returns")
    groups = at_best_rates(runs).groupby(["train_tokens", "n_embd"])
    table = groups[columns].mean().rename(columns={"step": "steps", "val_bits": "bits"})
    table["params"] = table["params"].astype(int)
    table["spread"] = groups["val_bits"].max() - groups["val_bits"].min()
    table["behind"] = table["bits"] - table.groupby("train_tokens")["bits"].transform("min")
    table["near"] = table["behind"] <= NEAR
    return table


def decision_table(runs: "pd.DataFrame", counting: "pd.DataFrame") -> "pd.DataFrame":
    """For each amount of text: the set-up that did best on the held-out scripts, beside counting.

    `runs` is what `best_looks` gives, `counting` what `read_counting` does. Of the best width it
    has the columns of `size_table`; `near` lists the widths that are at most `NEAR` behind it.
    `five_gram` is what counting has on the same texts (bits per byte), and `ahead` by how much
    the model is better: the mean over the seeds, and (`ahead_least`) the seed where it is least.
    """
    columns = ["train_tokens", "seed", "val_bits"]
    table_with("counting", counting, columns, "what lab.read_counting() returns")
    sizes = size_table(runs)
    table = sizes.loc[sizes.groupby("train_tokens")["bits"].idxmin()].reset_index("n_embd")
    near = sizes[sizes["near"]].reset_index("n_embd")["n_embd"].astype(str)
    table["near"] = near.groupby("train_tokens").agg(", ".join)
    keys = ["train_tokens", "seed"]
    best = at_best_rates(runs).merge(table["n_embd"].reset_index()).set_index(keys)["val_bits"]
    counted = counting.set_index(keys)["val_bits"]
    table["five_gram"] = counted.groupby("train_tokens").mean()
    ahead = (counted - best).groupby("train_tokens")
    table["ahead"], table["ahead_least"] = ahead.mean(), ahead.min()
    return table.drop(columns="behind")
