"""Sizes: where parameters sit, and what models of many sizes do with more or less text."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator

from slmlab.engine.model import GPT
from slmlab.show.plots.chart import MUTED, PARAMETER_COLOURS, Chart, coloured, finished, literal
from slmlab.validation import instance, table_with


def parameter_breakdown(model: GPT) -> Chart:
    """One bar: where a model's parameters sit."""
    instance("model", model, GPT)
    chart = Chart(height=1.9)
    axes = chart.subplots()
    left = 0.0
    kinds = model.parameter_table()["share"].items()
    for (kind, part), colour in zip(kinds, PARAMETER_COLOURS, strict=True):
        share = 100 * part
        shown = f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"
        axes.barh(0, share, left=left, color=colour, label=f"{kind}: {shown}")
        left += share
    axes.set_title(f"Where the {model.n_params:,} parameters sit")
    axes.set_xlabel("share of all parameters (%)")
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    # The legend's five lines are taller than the one bar, so it begins beside the title.
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.1))
    return chart


def grid_map(table: pd.DataFrame, value: str, title: str = "") -> Chart:
    """A map of the grid: the column `value` over training tokens and parameters.

    Each field shows the mean over the seeds and, below it, half the range between them.
    """
    table_with("The table", table, ["params", "train_tokens", value])
    cells = table.groupby(["params", "train_tokens"])[value].agg(["mean", "min", "max"])
    mean = cells["mean"].unstack()
    half = ((cells["max"] - cells["min"]) / 2).unstack()
    chart = Chart(height=3.6)
    axes = chart.subplots()
    image = axes.imshow(mean, cmap="cividis", aspect="auto", origin="lower")
    middle = (mean.min(axis=None) + mean.max(axis=None)) / 2  # below it the map is dark
    for row, column in product(range(mean.shape[0]), range(mean.shape[1])):
        axes.text(
            column,
            row,
            f"{mean.iat[row, column]:.2f}\n±{half.iat[row, column]:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if mean.iat[row, column] < middle else "black",
        )
    axes.set_xticks(range(mean.shape[1]), [f"{n:,}" for n in mean.columns])
    axes.set_yticks(range(mean.shape[0]), [f"{n:,}" for n in mean.index])
    axes.set_xlabel("training tokens")
    axes.set_ylabel("parameters")
    axes.set_title(title or value)
    chart.colorbar(image, label="nats per token")
    return chart


def fitted(
    table: pd.DataFrame,
    x: str,
    y: str,
    lines: dict[str, tuple[pd.DataFrame, Callable[[np.ndarray], np.ndarray]]],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
) -> Chart:
    """Points of one to six groups and the curve fitted to each, on logarithmic axes.

    `lines` maps a group's name to its rows and its fitted function, which is drawn over the whole
    range of `table`.
    """
    table_with("The table", table, [x, y])
    instance("lines", lines, dict, '{"a name": (table, curve)}')
    chart = Chart()
    axes = chart.subplots()
    ends = np.array([table[x].min(), table[x].max()])
    for (name, (rows, curve)), colour in coloured(lines.items()):
        axes.plot(rows[x], rows[y], "o", color=colour, markersize=4, alpha=0.7)
        axes.plot(ends, curve(ends), color=colour, linewidth=1.5, label=literal(name))
    axes.plot([], [], "o", color=MUTED, markersize=4, label="one run each")
    axes.set_xscale("log")
    axes.set_yscale("log")
    places = sorted(table[x].unique())
    axes.set_xticks(places, [f"{value:,g}" for value in places], minor=False)
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_locator(MaxNLocator(6))  # a range below a factor of 10 has no decades
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return finished(chart, axes)


def gap_against(
    table: pd.DataFrame,
    titles: tuple[str, str] = ("Gap against epochs", "Gap against parameters per token"),
) -> Chart:
    """The gap of every evaluation of the grid, against epochs and against parameters per token.

    Colours tell the amount of training text. Step 0 has no epochs, and is left out.
    """
    columns = ["step", "train_tokens", "epochs", "gap", "params_per_token"]
    table_with("The table", table, columns)
    chart = Chart(width=9.0)
    left, right = chart.subplots(1, 2, sharey=True)
    rows = table[table["step"] > 0]
    for (tokens, group), colour in coloured(rows.groupby("train_tokens")):
        style = {"color": colour, "markersize": 3, "alpha": 0.5, "linestyle": "none"}
        left.plot(group["epochs"], group["gap"], marker="o", **style)
        right.plot(group["params_per_token"], group["gap"], marker="o", **style)
        right.plot([], [], "o", color=colour, label=f"{tokens:,} tokens")
    left.set_xlabel("epochs (times the text was read)")
    left.set_ylabel("gap (nats per token)")
    right.set_xlabel("parameters per training token")
    for axes, title in zip((left, right), titles, strict=True):
        axes.set_title(title)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        finished(chart, axes, legend=axes is right)
    return chart
