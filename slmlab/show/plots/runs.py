"""Figures of runs: losses over training, where parameters sit, early stopping."""

import pandas as pd

from slmlab.engine.model import GPT
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import (
    GUESS,
    MUTED,
    PARAMETER_COLOURS,
    SERIES,
    TRAIN,
    VAL,
    Chart,
    finished,
)
from slmlab.study.diagnosis import early_stop
from slmlab.study.phases import Phase


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
    return finished(chart, axes)


def _curve_pair(axes, table: pd.DataFrame, suffix: str, **style) -> None:
    axes.plot(table["step"], table["train_loss"], color=TRAIN, label=f"training{suffix}", **style)
    axes.plot(table["step"], table["val_loss"], color=VAL, label=f"validation{suffix}", **style)


def parameter_breakdown(model: GPT) -> Chart:
    """One bar: where a model's parameters sit."""
    table = model.parameter_table()
    chart = Chart(height=1.9)
    axes = chart.subplots()
    left = 0.0
    for (kind, row), colour in zip(table.iterrows(), PARAMETER_COLOURS, strict=True):
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
    return finished(chart, axes)


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
    return finished(chart, axes)


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
    return finished(chart, axes)


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
        names.plot(table.index, table["domain names"], color=SERIES[5], linewidth=1.4)
    losses.set_ylabel("loss (nats per token)")
    losses.set_title("Losses, copying and names over training, one line per seed")
    copied.set_ylabel("copied (%)")
    copied.set_ylim(0, 100)
    names.set_ylabel("names per sample")
    names.set_xlabel("step")
    for axes in (losses, names):
        axes.set_ylim(bottom=0)
    for axes in (copied, names):
        finished(chart, axes, legend=False)
    chart.align_ylabels()
    return finished(chart, losses)


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
        finished(chart, axes, legend=axes is rows[0])
    rows[-1].set_xlabel("step")
    rows[0].set_title(f"Early stopping with patience {patience}")
    chart.align_ylabels()
    return chart
