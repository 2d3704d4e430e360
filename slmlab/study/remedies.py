"""The remedies that were published for a model which memorised, beside what the records say."""

from typing import TYPE_CHECKING

from slmlab.study.experiments.grid import at_best_rates, best_looks, read_grid
from slmlab.study.experiments.recipes import PLAIN, RECIPES, read_recipes

if TYPE_CHECKING:
    import pandas as pd

REMEDIES = ("dropout 0.3", "weight decay 0.4", "weight decay 1.6")  # 0.1 was not run


def remedies_table() -> "pd.DataFrame":
    """What each remedy changed on the held-out scripts; below 0 it helps.

    Index: `train_tokens` and `remedy`. A recipe is compared with the plain runs of its text. The
    published rule calls 10 million parameters "tiny" and asks for smaller models; the row for size
    compares the widest model of the grid, 5.8 million, with the best of those that were run with
    every seed. Every model is taken at its best step, as early stopping would. Columns: `params`;
    `seeds` that both were run with; `change`, the mean difference over these of each run's lowest
    bits per byte on the held-out scripts, and its range, `least` to `most`; and `spread`, the range
    over seeds of the plain model's own lowest scores.
    """
    import pandas as pd

    recipes = _lowest(read_recipes(), RECIPES.keys)
    runs = best_looks(read_grid())
    sizes = at_best_rates(runs)
    rows = {}
    for n_tokens, plain in recipes[recipes["recipe"] == PLAIN].groupby("train_tokens"):
        for remedy in REMEDIES:
            changed = recipes.query("recipe == @remedy and train_tokens == @n_tokens")
            rows[n_tokens, remedy] = _change(changed, plain)
    for n_tokens, same in runs.groupby("train_tokens"):
        widest = same[same["params"] == same["params"].max()]
        usual = sizes.query("train_tokens == @n_tokens")
        usual = usual[usual["n_embd"] == usual.groupby("n_embd")["val_bits"].mean().idxmin()]
        name = f"width {widest['n_embd'].iloc[0]}, not {usual['n_embd'].iloc[0]}"
        rows[n_tokens, name] = _change(widest, usual)
    index = pd.MultiIndex.from_tuples(rows, names=["train_tokens", "remedy"])
    return pd.DataFrame(list(rows.values()), index=index).sort_index(level=0, sort_remaining=False)


def _lowest(table: "pd.DataFrame", keys: tuple[str, ...]) -> "pd.DataFrame":
    """Of each run the look with the lowest held-out loss."""
    return table.loc[table.groupby(list(keys))["val_bits"].idxmin()]


def _change(changed: "pd.DataFrame", plain: "pd.DataFrame") -> dict[str, float]:
    """How much better or worse some runs are than the plain runs of the same seeds."""
    theirs, usual = (table.set_index("seed")["val_bits"] for table in (changed, plain))
    differences = (theirs - usual).dropna()
    return {
        "params": int(changed["params"].iloc[0]),
        "seeds": len(differences),
        "change": differences.mean(),
        "least": differences.min(),
        "most": differences.max(),
        "spread": usual.max() - usual.min(),
    }
