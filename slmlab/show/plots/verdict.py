"""Figures of the verdict: all phases, the grid, the suspects, correlations."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator

from slmlab.engine.runs import Run
from slmlab.show.plots.chart import (
    MUTED,
    SERIES,
    TRAIN,
    VAL,
    Chart,
    finished,
)


def phase_gaps(published: pd.DataFrame, ours: dict[str, pd.DataFrame]) -> Chart:
    """The final gap of every phase: published, and each of our runs (one dot per seed)."""
    chart = Chart()
    axes = chart.subplots()
    axes.plot(published.index - 0.2, published["gap"], "D", color=MUTED, label="published")
    for i, (name, table) in enumerate(ours.items()):
        places = table["phase"] + 0.2 * i
        axes.plot(places, table["gap"], "o", color=SERIES[i], alpha=0.7, label=name)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.set_xticks(published.index, [f"Phase {number}" for number in published.index])
    axes.set_ylabel("validation − training loss (nats per token)")
    axes.set_title("The gap of all five phases, each on its own validation text")
    return finished(chart, axes)


def exam_curves(runs: dict[str, list[Run]]) -> Chart:
    """Loss on the held-out test text against the share of training done; one colour per group.

    Every run is a thin line; a ring marks its lowest evaluation, a dot its last one.
    """
    chart = Chart()
    axes = chart.subplots()
    for (name, group), colour in zip(runs.items(), SERIES, strict=False):
        for i, run in enumerate(group):
            table = run.history
            done = 100 * table["step"] / table["step"].max()
            label = name if i == 0 else None
            axes.plot(done, table["test_loss"], color=colour, linewidth=1.3, label=label)
            axes.plot(100, table["test_loss"].iloc[-1], "o", color=colour, markersize=5)
            lowest = table["test_loss"].idxmin()
            place = done[lowest], table["test_loss"][lowest]
            axes.plot(*place, "o", color=colour, markersize=8, fillstyle="none")
    axes.set_xlabel("share of the training done (%)")
    axes.set_ylabel("loss on the held-out scripts (nats per token)")
    axes.set_title("One exam for all five phases, three seeds each")
    return finished(chart, axes)


def grid_map(table: pd.DataFrame, value: str, title: str) -> Chart:
    """A map of the grid: `value` over training tokens and parameters.

    Each field shows the mean over the seeds and, below it, half the range between them.
    """
    cells = table.groupby(["params", "train_tokens"])[value].agg(["mean", "min", "max"])
    mean = cells["mean"].unstack()
    half = ((cells["max"] - cells["min"]) / 2).unstack()
    chart = Chart(height=3.6)
    axes = chart.subplots()
    image = axes.imshow(mean, cmap="cividis", aspect="auto", origin="lower")
    middle = (mean.min(axis=None) + mean.max(axis=None)) / 2
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
    axes.set_title(title)
    chart.colorbar(image, label="nats per token")
    return chart


def fitted(
    table: pd.DataFrame, x: str, y: str, lines: dict[str, tuple[pd.DataFrame, Callable]], **labels
) -> Chart:
    """Points of several groups and the curve fitted to each, on logarithmic axes.

    `lines` maps a group's name to its rows and its fitted function; `labels` are the axes' title
    and labels (`title`, `xlabel`, `ylabel`).
    """
    chart = Chart()
    axes = chart.subplots()
    ends = np.array([table[x].min(), table[x].max()])
    for (name, (rows, curve)), colour in zip(lines.items(), SERIES, strict=False):
        axes.plot(rows[x], rows[y], "o", color=colour, markersize=4, alpha=0.7)
        axes.plot(ends, curve(ends), color=colour, linewidth=1.5, label=name)
    axes.plot([], [], "o", color=MUTED, markersize=4, label="one run each")
    axes.set_xscale("log")
    axes.set_yscale("log")
    places = sorted(table[x].unique())
    axes.set_xticks(places, [f"{value:,g}" for value in places], minor=False)
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_locator(MaxNLocator(6))  # a range below a factor of 10 has no decades
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set(**labels)
    return finished(chart, axes)


def gap_against(table: pd.DataFrame) -> Chart:
    """The gap of every evaluation of the grid, against epochs and against parameters per token.

    Colours tell the amount of training text.
    """
    chart = Chart(width=9.0)
    left, right = chart.subplots(1, 2, sharey=True)
    rows = table[table["step"] > 0]
    for (tokens, group), colour in zip(rows.groupby("train_tokens"), SERIES, strict=False):
        style = {"color": colour, "markersize": 3, "alpha": 0.5, "linestyle": "none"}
        left.plot(group["epochs"], group["gap"], marker="o", **style)
        right.plot(group["params_per_token"], group["gap"], marker="o", **style)
        right.plot([], [], "o", color=colour, label=f"{tokens:,} tokens")
    left.set_xlabel("epochs (times the text was read)")
    left.set_ylabel("gap (nats per token)")
    right.set_xlabel("parameters per training token")
    left.set_title("Gap against epochs")
    right.set_title("Gap against the ratio of the rule")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return chart


def suspect_perplexities(table: pd.DataFrame) -> Chart:
    """The perplexity that each suspect reports, one dot per seed, on a logarithmic axis."""
    chart = Chart(width=8.0, height=3.8)
    axes = chart.subplots()
    columns = ["mask", "validation", "vocabulary", "labels"]
    groups = list(table.groupby(columns, sort=False))
    groups.sort(key=lambda group: -group[1]["perplexity"].mean())
    names = []
    for place, ((mask, validation, vocabulary, labels), rows) in enumerate(groups):
        faults = [
            name
            for name, is_so in (
                ("no mask", mask == "missing"),
                ("leaked validation", validation == "leaked"),
                ("32,000 rows", vocabulary == "32,000"),
                ("unshifted labels", labels == "unshifted"),
            )
            if is_so
        ]
        names.append(" + ".join(faults) or "no fault")
        axes.plot(rows["perplexity"], [place] * len(rows), "o", color=VAL, alpha=0.7)
    axes.axvline(1, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("reported validation perplexity (1 = never surprised)")
    axes.set_title("Which fault makes a perplexity near 1?")
    return finished(chart, axes, legend=False)


def correlation_intervals(table: pd.DataFrame, runs: str) -> Chart:
    """Rank correlations over `runs` with their 95 % intervals; one group of bars per outcome."""
    chart = Chart(width=8.0, height=4.2)
    axes = chart.subplots()
    predictors = list(table["predictor"].unique())
    place, ticks = 0, []
    for outcome, rows in table.groupby("outcome", sort=False):
        ticks.append((place + (len(rows) - 1) / 2, outcome))
        for row in rows.itertuples():
            colour = SERIES[predictors.index(row.predictor)]
            label = row.predictor if outcome == table["outcome"].iloc[0] else None
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
            axes.plot(row.correlation, place, "o", color=colour, label=label)
            place += 1
        place += 1
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.invert_yaxis()
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel("Spearman's rank correlation (+1 same order, 0 no relation, −1 reversed)")
    axes.set_title(f"What goes with good samples? {runs}, 95 % intervals")
    return finished(chart, axes)


def loss_against_overlap(segments: pd.DataFrame, train_loss: float) -> Chart:
    """Loss on segments of text against how much of them stands in the training text.

    `segments` is what `segment_losses` gives; its first row, the run's own validation text, is
    marked. Losses in nats per token.
    """
    chart = Chart()
    axes = chart.subplots()
    own, others = segments.iloc[0], segments.iloc[1:]
    for rows, name, style in (
        (others, "other segments", {"marker": "o", "color": TRAIN, "alpha": 0.7}),
        (
            own,
            "the validation text",
            {"marker": "D", "color": VAL, "markersize": 11, "fillstyle": "none"},
        ),
    ):
        axes.plot(100 * rows["overlap"], rows["loss"], linestyle="none", label=name, **style)
    axes.axhline(train_loss, color=MUTED, linestyle=":", label="training loss")
    axes.set_xlim(-2, 102)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("8-token sequences that stand in the training text (%)")
    axes.set_ylabel("loss (nats per token)")
    axes.set_title("One model, many exams")
    return finished(chart, axes)
