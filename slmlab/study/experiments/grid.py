"""The grid: model size against amount of data, with everything else fixed."""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from slmlab.engine.config import TrainConfig
from slmlab.study.experiments.evaluations import COLUMNS, evaluation_rows
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Excerpt, Setup, Shape
from slmlab.validation import table_with

if TYPE_CHECKING:
    import pandas as pd

MEASURED = ("step", "epochs", "params", "val_loss", "gap")  # at each evaluation
NEAR = 0.1  # nats per token: sizes this close to the best one count as near it


@dataclass(frozen=True)
class Grid(Experiment):
    """Five model sizes × five amounts of data × three seeds, all with the same tokens seen.

    A cell's training text is the start of the corpus with its files in an order that the seed
    decides, so that the spread over seeds includes the luck of which files come first. Every
    model is validated on the same held-out scripts.
    """

    name: ClassVar[str] = "grid"
    keys: ClassVar[tuple[str, ...]] = ("n_embd", "train_tokens", "seed")
    columns: ClassVar[dict[str, type]] = dict.fromkeys(keys, int) | COLUMNS
    base: Setup = Setup(
        Shape(n_layer=3, n_head=4, n_embd=48, block_size=64),
        Excerpt(1_000, order=0, validation="held-out"),
        TrainConfig(8, 1e-3, max_steps=1_200, eval_interval=100),
    )
    widths: tuple[int, ...] = (12, 24, 48, 96, 192)
    train_tokens: tuple[int, ...] = (1_000, 2_200, 4_800, 10_500, 23_000)
    seeds: tuple[int, ...] = (0, 1, 2)

    def cells(self) -> list[Cell]:
        values = product(self.widths[::-1], self.train_tokens, self.seeds)
        return [self.cell(*v) for v in values]

    def setup(self, n_embd: int, train_tokens: int, seed: int) -> Setup:
        """The set-up of a cell."""
        return self.base.replace(n_embd=n_embd, n_tokens=train_tokens, order=seed, seed=seed)

    def run_cell(self, cell: Cell) -> Rows:
        setup = self.setup(**cell)
        dataset = setup.dataset(tested=False)
        run = setup.train(dataset, progress=False, sample_each_evaluation=True)
        return [cell | row for row in evaluation_rows(run)]


GRID = Grid()


def read_grid() -> "pd.DataFrame":
    """The grid's runs and evaluations, with `gap` and `params_per_token`.

    The validation loss is that on the held-out files, the same for every run.
    """
    table = read_table(GRID)
    table["gap"] = table["val_loss"] - table["train_loss"]
    table["params_per_token"] = table["params"] / table["train_tokens"]
    return table


def last_and_best(table: "pd.DataFrame") -> "pd.DataFrame":
    """One row per run of the grid: its last evaluation, and what it had at its best one.

    Best is the lowest held-out loss: `best_val_loss`, `best_step`, `best_epochs`, `best_gap`.
    """
    keys = list(GRID.keys)
    table_with("The table", table, [*keys, *MEASURED])
    last = table.loc[table.groupby(keys)["step"].idxmax()].set_index(keys)
    best = table.loc[table.groupby(keys)["val_loss"].idxmin()].set_index(keys)
    for column in ("val_loss", "step", "epochs", "gap"):
        last[f"best_{column}"] = best[column]
    return last.reset_index()


def decision_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """For each amount of training text in the grid: the size that did best, and when to stop.

    The best size has the lowest mean of `best_val_loss` over the seeds; `spread` is the range of
    its seeds. `near` lists the parameters of the sizes whose mean is at most `NEAR` above the
    lowest (all sizes of a seed read the same text, so their means compare better than the spread
    suggests).
    `stop_at_epochs` is the mean epoch of the best evaluation, `first_look` that of the first one
    after the start: a best step before it would not have been seen. `gap_there` and `gap_at_end`
    are the mean gaps then and at the end; `cost_of_waiting` what the held-out loss rises in
    between (nats per token).
    """
    import pandas as pd

    runs = last_and_best(table)
    rows = {}
    for tokens, group in runs.groupby("train_tokens"):
        means = group.groupby("params")["best_val_loss"].mean()
        best = group[group["params"] == means.idxmin()]
        spread = best["best_val_loss"].max() - best["best_val_loss"].min()
        rows[tokens] = {
            "best_params": means.idxmin(),
            "near": ", ".join(f"{p:,}" for p in means[means <= means.min() + NEAR].index),
            "best_loss": means.min(),
            "spread": spread,
            "stop_at_epochs": best["best_epochs"].mean(),
            "first_look": table.query("train_tokens == @tokens and step > 0")["epochs"].min(),
            "gap_there": best["best_gap"].mean(),
            "gap_at_end": best["gap"].mean(),
            "cost_of_waiting": (best["val_loss"] - best["best_val_loss"]).mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("training tokens")
