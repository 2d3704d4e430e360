"""Every figure of the course. Colours are Okabe and Ito's, safe for colour-blind readers."""

from collections.abc import Callable
from io import BytesIO
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from slmlab.diagnosis import early_stop
from slmlab.model import GPT
from slmlab.phases import Phase
from slmlab.runs import Run

TRAIN, VAL, GUESS, MUTED = "#0072B2", "#D55E00", "#009E73", "#888888"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
KINDS = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#999999")


class Chart(Figure):
    """A matplotlib figure that a notebook shows as a picture, with no pyplot state behind it."""

    def __init__(self, width: float = 7.0, height: float = 3.8) -> None:
        super().__init__(figsize=(width, height), layout="constrained", dpi=100)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def loss_curves(
    run: Run,
    *,
    recorded: Run | None = None,
    published: Phase | None = None,
    guess: float | None = None,
    marked: int | None = None,
) -> Chart:
    """Training and validation loss against the step, the gap between them shaded.

    `recorded` adds a stored full run (thin lines), `published` the experiment's curves (dots);
    `guess` marks a predicted final gap as a bar at the right edge, on top of the training loss;
    `marked` draws a line at a step.
    """
    chart = Chart()
    axes = chart.subplots()
    own = run.history
    longest = recorded.history if recorded is not None else own
    axes.fill_between(
        longest["step"], longest["train_loss"], longest["val_loss"], color=VAL, alpha=0.10
    )
    if recorded is not None:
        _curve_pair(axes, longest, " (recorded full run)", linewidth=1.2)
    if published is not None:
        _curve_pair(axes, published.curve, " (published)", linestyle=":", linewidth=1.6, alpha=0.7)
    _curve_pair(axes, own, " (this run)" if recorded is not None else "", linewidth=3)

    state = (recorded or run).state
    axes.plot(state.best_step, state.best_val_loss, "o", color=VAL, markersize=8, fillstyle="none")
    late = state.best_step > longest["step"].max() / 2
    axes.annotate(
        f"best: step {state.best_step:,}",
        (state.best_step, state.best_val_loss),
        xytext=(-8 if late else 8, 10),
        textcoords="offset points",
        ha="right" if late else "left",
        color=VAL,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
    )
    last = longest.iloc[-1]
    if guess is not None:
        axes.plot(
            [last["step"]] * 2,
            [last["train_loss"], last["train_loss"] + guess],
            color=GUESS,
            linewidth=6,
            solid_capstyle="butt",
            label=f"your guess: gap {guess:+.1f}",
        )
    if marked is not None:
        axes.axvline(marked, color=MUTED, linewidth=1.5)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_ylim(bottom=0)
    whose = "the recorded run's gap" if recorded is not None else "the gap"
    axes.set_title(f"Loss: {whose} ends at {last['val_loss'] - last['train_loss']:+.2f}")
    return _finished(chart, axes)


def _curve_pair(axes, table: pd.DataFrame, suffix: str, **style) -> None:
    axes.plot(table["step"], table["train_loss"], color=TRAIN, label=f"training{suffix}", **style)
    axes.plot(table["step"], table["val_loss"], color=VAL, label=f"validation{suffix}", **style)


def parameter_breakdown(model: GPT) -> Chart:
    """One bar: where a model's parameters sit."""
    table = model.parameter_table()
    chart = Chart(height=1.9)
    axes = chart.subplots()
    left = 0.0
    for (kind, row), colour in zip(table.iterrows(), KINDS, strict=True):
        share = 100 * row["share"]
        shown = f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"
        axes.barh(0, share, left=left, color=colour, label=f"{kind}: {shown}")
        left += share
    axes.set_title(f"Where the {model.n_params:,} parameters sit")
    axes.set_xlabel("share of all parameters (%)")
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.1))
    return chart


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
    return _finished(chart, axes)


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
    return _finished(chart, axes)


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
    return _finished(chart, axes, legend=False)


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
    return _finished(chart, axes)


def seed_spread(groups: dict[str, list[float]], published: float | None = None) -> Chart:
    """The gap of every run as a dot, in nats per token: one row per group, one dot per seed.

    `published` draws a dotted line.
    """
    chart = Chart(height=1.2 + 0.6 * len(groups))
    axes = chart.subplots()
    for place, gaps in enumerate(groups.values()):
        label = "ours, one seed" if place == 0 else None
        axes.plot(gaps, [place] * len(gaps), "o", color=VAL, alpha=0.7, markersize=8, label=label)
    if published is not None:
        axes.axvline(published, color=MUTED, linestyle=":", label=f"published: {published:+.2f}")
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    every = [gap for gaps in groups.values() for gap in gaps]
    axes.set_xlim(min(0.0, *every), 1.08 * max(0.1, *every))  # no dot on the frame
    axes.set_xlabel("gap, validation − training (nats per token)")
    axes.set_title("The gap at the end, seed by seed")
    return _finished(chart, axes)


def two_exams(runs: list[Run]) -> Chart:
    """Training, validation and held-out loss of one set-up against the step; a line per run.

    Needs runs with a test text; its lowest mean over the runs is marked.
    """
    chart = Chart()
    axes = chart.subplots()
    columns = {"train_loss": "training", "val_loss": "validation", "test_loss": "held-out scripts"}
    for (column, name), colour in zip(columns.items(), (TRAIN, VAL, GUESS), strict=True):
        for i, run in enumerate(runs):
            label = name if i == 0 else None
            table = run.history
            axes.plot(table["step"], table[column], color=colour, linewidth=1.4, label=label)
    mean = pd.concat([run.history for run in runs]).groupby("step")["test_loss"].mean()
    axes.plot(mean.idxmin(), mean.min(), "o", color=GUESS, markersize=8, fillstyle="none")
    axes.annotate(
        f"lowest: step {mean.idxmin():,}",
        (mean.idxmin(), mean.min()),
        xytext=(0, 12),
        textcoords="offset points",
        ha="center",
        color=GUESS,
    )
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_ylim(bottom=0)
    axes.set_title("The same models, two exams")
    return _finished(chart, axes)


def loss_against_overlap(stretches: pd.DataFrame, train_loss: float) -> Chart:
    """Loss on stretches of text against how much of them stands in the training text.

    `stretches` is what `audit.stretches` gives; its first row, the run's own validation text, is
    marked. Losses in nats per token.
    """
    chart = Chart()
    axes = chart.subplots()
    own, others = stretches.iloc[0], stretches.iloc[1:]
    for rows, name, style in (
        (others, "other stretches", {"marker": "o", "color": TRAIN, "alpha": 0.7}),
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
    return _finished(chart, axes)


def memory_curves(histories: list[pd.DataFrame]) -> Chart:
    """Losses, copying and names of the domain over the steps of training; a line per run.

    `histories` are what `diagnosis.scorecard_history` gives. Losses in nats per token.
    """
    chart = Chart(height=6.4)
    losses, copied, names = chart.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    columns = {"train_loss": "training", "val_loss": "validation", "test_loss": "held-out scripts"}
    for i, table in enumerate(histories):
        for (column, name), colour in zip(columns.items(), (TRAIN, VAL, GUESS), strict=True):
            label = name if i == 0 and table[column].notna().any() else None
            losses.plot(table.index, table[column], color=colour, linewidth=1.4, label=label)
        copied.plot(table.index, 100 * table["copied"], color=SERIES[3], linewidth=1.4)
        names.plot(table.index, table["domain hits"], color=SERIES[5], linewidth=1.4)
    losses.set_ylabel("loss (nats per token)")
    losses.set_title("Losses, copying and names over training, one line per seed")
    copied.set_ylabel("copied (%)")
    copied.set_ylim(0, 100)
    names.set_ylabel("names per sample")
    names.set_xlabel("step")
    for axes in (losses, names):
        axes.set_ylim(bottom=0)
    for axes in (copied, names):
        _finished(chart, axes, legend=False)
    chart.align_ylabels()
    return _finished(chart, losses)


def stopping_points(runs: list[Run], patience: int) -> Chart:
    """Where early stopping would have ended finished runs: one line per run, on one or two exams.

    Above the validation loss, below (if all runs have one) the held-out loss, in nats per token; a
    ring at the lowest validation loss before the stop, faint lines after the stop. Only losses up
    to 1 nat above the lowest are shown.
    """
    exams = {"val_loss": "validation"}
    if all(run.state.history[-1].test_loss is not None for run in runs):
        exams["test_loss"] = "held-out scripts"
    chart = Chart(height=1.0 + 2.4 * len(exams))
    rows = chart.subplots(len(exams), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (column, exam) in zip(rows, exams.items(), strict=True):
        for run, colour in zip(runs, SERIES, strict=False):
            stop, losses = early_stop(run, patience), run.history.set_index("step")[column]
            axes.plot(losses, color=colour, linewidth=1, alpha=0.5)
            axes.plot(losses.loc[: stop["stops"]], color=colour, linewidth=2.2, label=run.name)
            best = stop["best step"]
            axes.plot(best, losses[best], "o", color=colour, markersize=9, fillstyle="none")
        lowest = min(run.history[column].min() for run in runs)
        axes.set_ylim(lowest - 0.1, lowest + 1)
        axes.set_ylabel(f"{exam}\n(nats per token)")
        _finished(chart, axes, legend=axes is rows[0])
    rows[-1].set_xlabel("step")
    rows[0].set_title(f"Early stopping with patience {patience}")
    chart.align_ylabels()
    return chart


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
    return _finished(chart, axes)


def compared(runs: list[Run]) -> Chart:
    """Validation loss (thick) and training loss (thin) of several runs; one colour per run.

    At most six runs, in nats per token.
    """
    chart = Chart()
    axes = chart.subplots()
    for i, (run, colour) in enumerate(zip(runs, SERIES, strict=False)):
        table = run.history
        axes.plot(table["step"], table["val_loss"], color=colour, linewidth=2.2, label=f"{i + 1}")
        axes.plot(table["step"], table["train_loss"], color=colour, linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_ylim(bottom=0)
    axes.set_title("Validation loss (thick) and training loss (thin)")
    return _finished(chart, axes)


def _finished(chart: Chart, axes, legend: bool = True) -> Chart:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return chart
