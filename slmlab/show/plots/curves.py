"""Curves: what happens to losses, and to what a model writes, while it is trained."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from slmlab.engine.runs import Run
from slmlab.show.plots.chart import (
    GUESS,
    HELD_OUT,
    LOSS,
    MUTED,
    SERIES,
    TRAIN,
    VAL,
    Chart,
    coloured,
    finished,
    literal,
)
from slmlab.show.runs import evaluated, short
from slmlab.study.diagnosis import early_stop
from slmlab.study.phases import Phase
from slmlab.validation import instance, listed, real_number, table_with, whole_number

# The columns of a history, what they are called in a legend, and their colours.
LOSSES = (
    ("train_loss", "training", TRAIN),
    ("val_loss", "validation", VAL),
    ("test_loss", "held-out scripts", HELD_OUT),
)


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
    `marked` draws a line at a step. Raises `ValueError` for a run that was not trained, or a guess
    that is no number.
    """
    if guess is not None:
        guess = real_number("guess", guess)
    if published is not None:
        instance("published", published, Phase)
    if marked is not None:
        marked = whole_number("marked", marked)
    chart = Chart()
    axes = chart.subplots()
    own = evaluated(run).history
    full = evaluated(run if recorded is None else recorded)  # the run whose end is spoken of
    table = full.history
    axes.fill_between(table["step"], table["train_loss"], table["val_loss"], color=VAL, alpha=0.10)
    if recorded is not None:
        _curve_pair(axes, table, " (recorded full run)", linewidth=1.2)
    if published is not None:
        _curve_pair(axes, published.curve, " (published)", linestyle=":", linewidth=1.6, alpha=0.7)
    _curve_pair(axes, own, " (this run)" if recorded is not None else "", linewidth=3)

    if math.isfinite(full.state.best_val_loss):
        _mark_best(axes, full)
    last = table.iloc[-1]
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
    _losses_over_steps(axes)
    whose = "the recorded run's gap" if recorded is not None else "the gap"
    end = f"{whose} ends at {full.gap:+.2f}" if math.isfinite(full.gap) else "not a finite number"
    axes.set_title(f"Loss: {end}")
    return finished(chart, axes)


def _curve_pair(axes: Axes, table: pd.DataFrame, suffix: str, **style: Any) -> None:
    style["marker"] = "o" if len(table) == 1 else ""  # a line of one point is not seen
    for column, name, colour in LOSSES[:2]:
        axes.plot(table["step"], table[column], color=colour, label=f"{name}{suffix}", **style)


def _mark_best(axes: Axes, run: Run) -> None:
    """A ring at the lowest validation loss, and its step in words on the side with more room."""
    best = run.state.best_step, run.state.best_val_loss
    late = best[0] > run.state.history[-1].step / 2
    axes.plot(*best, "o", color=VAL, markersize=8, fillstyle="none")
    axes.annotate(
        f"best: step {best[0]:,}",
        best,
        xytext=(-8 if late else 8, 10),  # beside and above the ring
        textcoords="offset points",
        ha="right" if late else "left",
        color=VAL,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
    )


def _losses_over_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(LOSS)
    axes.set_ylim(bottom=0)


def compared(runs: Sequence[Run]) -> Chart:
    """Validation loss (thick) and training loss (thin) of one to six runs, in nats per token.

    Each run has a colour and, in the legend, its number.
    """
    chart = Chart()
    axes = chart.subplots()
    for number, (run, colour) in enumerate(coloured(listed("runs", runs, "runs")), 1):
        table = evaluated(run).history
        axes.plot(table["step"], table["val_loss"], color=colour, linewidth=2.2, label=f"{number}")
        axes.plot(table["step"], table["train_loss"], color=colour, linewidth=1)
    _losses_over_steps(axes)
    axes.set_title("Validation loss (thick) and training loss (thin)")
    return finished(chart, axes)


def two_exams(runs: Sequence[Run], title: str = "") -> Chart:
    """Training, validation and held-out loss of one set-up against the step; a line per run.

    The lowest mean of the held-out losses is marked. Raises `ValueError` for a run without them.
    """
    chart = Chart()
    axes = chart.subplots()
    tables = [_tested(run).history.set_index("step") for run in _some("runs", runs)]
    _three_losses(axes, tables)
    mean = pd.concat(tables).groupby("step")["test_loss"].mean()
    axes.plot(mean.idxmin(), mean.min(), "o", color=HELD_OUT, markersize=8, fillstyle="none")
    axes.annotate(
        f"lowest: step {mean.idxmin():,}",
        (mean.idxmin(), mean.min()),
        xytext=(0, 12),  # above the ring
        textcoords="offset points",
        ha="center",
        color=HELD_OUT,
    )
    _losses_over_steps(axes)
    axes.set_title(title or f"Training, validation and held-out loss ({_counted(runs)})")
    return finished(chart, axes)


def _three_losses(axes: Axes, tables: Sequence[pd.DataFrame]) -> None:
    """Three lines per table of losses by step; each kind of loss is named once in the legend."""
    for column, name, colour in LOSSES:
        label = name if any(table[column].notna().any() for table in tables) else None
        for table in tables:
            axes.plot(table.index, table[column], color=colour, linewidth=1.4, label=label)
            label = None


def exam_curves(runs: dict[str, Sequence[Run]], title: str = "") -> Chart:
    """Held-out loss against the share of training done; one colour per group of runs.

    Every run is a thin line; a ring marks its lowest evaluation, a dot its last one. Raises
    `ValueError` for a run without held-out losses, and for more than six groups.
    """
    instance("runs", runs, dict, '{"GPT-2": [run]}')
    runs = {name: _some("A group of runs", group) for name, group in runs.items()}
    chart = Chart()
    axes = chart.subplots()
    for (name, group), colour in coloured(runs.items()):
        label: str | None = literal(name)
        for run in group:
            table = _tested(run).history
            done = 100 * table["step"] / max(1, table["step"].max())
            losses = table["test_loss"]
            axes.plot(done, losses, color=colour, linewidth=1.3, label=label)
            axes.plot(done.iloc[-1], losses.iloc[-1], "o", color=colour, markersize=5)
            lowest = losses.idxmin()
            ring: dict[str, Any] = {"color": colour, "markersize": 8, "fillstyle": "none"}
            axes.plot(done[lowest], losses[lowest], "o", **ring)
            label = None
    axes.set_xlabel("share of the training done (%)")
    axes.set_ylabel("loss on the held-out scripts (nats per token)")
    every = [run for group in runs.values() for run in group]
    axes.set_title(title or f"Held-out loss ({_counted(every)})")
    return finished(chart, axes)


def memory_curves(histories: Sequence[pd.DataFrame], title: str = "") -> Chart:
    """Losses, copying and domain names over the steps of training; a line per run.

    `histories` are what `scorecard_history` gives. Losses in nats per token.
    """
    columns = [*(column for column, _, _ in LOSSES), "copied", "domain names"]
    for table in _some("histories", histories):
        table_with("A history", table, columns, "what lab.scorecard_history(run) returns")
    chart = Chart(height=6.4)
    # The losses need more room: their three lines cross.
    losses, copied, names = chart.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    _three_losses(losses, histories)
    for table in histories:
        copied.plot(table.index, 100 * table["copied"], color=SERIES[3], linewidth=1.4)
        names.plot(table.index, table["domain names"], color=SERIES[5], linewidth=1.4)
    losses.set_ylabel(LOSS)
    losses.set_title(title or f"Losses, copying and domain names ({_counted(histories)})")
    copied.set_ylabel("copied (%)")
    copied.set_ylim(0, 100)
    names.set_ylabel("domain names\nper sample")
    names.set_xlabel("step")
    for axes in (losses, names):
        axes.set_ylim(bottom=0)
    for axes in (copied, names):
        finished(chart, axes, legend=False)
    chart.align_ylabels()
    return finished(chart, losses)


def stopping_points(runs: Sequence[Run], patience: int) -> Chart:
    """Where early stopping would have ended finished runs: one line per run, of one to six.

    Above the validation loss, below (if all runs have one) the held-out loss, in nats per token; a
    ring at the lowest validation loss before the stop, faint lines after the stop. Only losses up
    to 1 nat above the lowest are shown: the first steps would flatten all the rest.
    """
    patience = whole_number("patience", patience, least=1)
    kinds = {"val_loss": "validation"}
    if all(evaluated(run).state.history[-1].test_loss is not None for run in _some("runs", runs)):
        kinds["test_loss"] = "held-out scripts"
    chart = Chart(height=1.0 + 2.4 * len(kinds))
    rows = chart.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (column, kind) in zip(rows, kinds.items(), strict=True):
        for run, colour in coloured(runs):
            stop, losses = early_stop(run, patience), run.history.set_index("step")[column]
            until = losses.loc[: stop["stops"]]
            axes.plot(losses, color=colour, linewidth=1, alpha=0.5)
            axes.plot(until, color=colour, linewidth=2.2, label=literal(run.name))
            best = stop["best step"]
            axes.plot(best, losses[best], "o", color=colour, markersize=9, fillstyle="none")
        lowest = min(run.history[column].min() for run in runs)
        axes.set_ylim(lowest - 0.1, lowest + 1)  # 0.1: room for the ring
        axes.set_ylabel(f"{kind}\n(nats per token)")
        finished(chart, axes, legend=axes is rows[0])
    rows[-1].set_xlabel("step")
    rows[0].set_title(f"Early stopping with patience {patience}")
    chart.align_ylabels()
    return chart


def _tested(run: Run) -> Run:
    """A run with held-out losses. Raises `ValueError` for one without."""
    if evaluated(run).dataset.test is None:
        raise ValueError(
            f"{short(run.name)} has no held-out losses; train it on dataset.with_test(…)."
        )
    return run


def _some(name: str, values: Any) -> list[Any]:
    """A list of runs, or of their histories. Raises `ValueError` if it is none, or empty."""
    if not (some := listed(name, values, "runs, or of their histories")):
        raise ValueError("There is nothing to draw; give a list of at least one run.")
    return some


def _counted(runs: Sequence[Any]) -> str:
    return "one run" if len(runs) == 1 else f"{len(runs)} runs"
