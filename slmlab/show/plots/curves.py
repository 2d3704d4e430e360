"""Curves: what happens to losses, and to what a model writes, while it is trained."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from slmlab.engine.config import ENDLESS
from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import (
    BITS,
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
from slmlab.study.baseline import NUMBER_TO_BEAT, Baseline, number_to_beat
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

    Dashed: what counting scores on the validation text, the number to beat. `recorded` adds a
    stored full run (thin lines), `published` the experiment's curves (dots); `guess` marks a
    predicted final gap as a bar at the right edge, on top of the training loss; `marked` draws a
    line at a step. Raises `ValueError` for a run that was not trained, or a guess that is no
    number.
    """
    if guess is not None:
        guess = real_number("guess", guess)
    if published is not None:
        instance("published", published, Phase)
    if marked is not None:
        marked = whole_number("marked", marked, most=ENDLESS)
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
    _draw_numbers(axes, [(number_to_beat(full.dataset).val_loss, VAL)])
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
    """A ring at the lowest validation loss; its step is in the legend, where it covers no curve."""
    best = run.state.best_step, run.state.best_val_loss
    _ring(axes, *best, VAL, label=f"best: step {best[0]:,}")


def _ring(axes: Axes, x: float, y: float, colour: str, **style: Any) -> None:
    ring: dict[str, Any] = {"linestyle": "", "markersize": 8, "fillstyle": "none"}
    axes.plot(x, y, marker="o", color=colour, **(ring | style))


def _draw_numbers(axes: Axes, numbers: Iterable[tuple[float, str]]) -> None:
    """Dashed lines across: numbers to beat, each in its colour, or grey where several share it."""
    colours: dict[float, str] = {}
    for loss, colour in numbers:
        colours[loss] = colour if colours.get(loss, colour) == colour else MUTED
    style: dict[str, Any] = {"linestyle": "--", "linewidth": 1.4}
    for loss, colour in colours.items():
        axes.axhline(loss, color=colour, zorder=1, **style)
    [*others, last] = set(colours.values())
    axes.plot([], [], color=MUTED if others else last, label=NUMBER_TO_BEAT, **style)


def _draw_both_numbers(axes: Axes, every: Iterable[Baseline]) -> None:
    """The numbers to beat in nats per token, in the colours of validation and held-out losses."""
    pairs = [pair for n in every for pair in ((n.val_loss, VAL), (n.test_loss, HELD_OUT))]
    _draw_numbers(axes, [(loss, colour) for loss, colour in pairs if loss is not None])


def _losses_over_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(LOSS)
    axes.set_ylim(bottom=0)


def compared(runs: Sequence[Run]) -> Chart:
    """Losses of one to six runs in bits per byte: on unseen text (thick) and in training (thin).

    The unseen text is the held-out one if all were tested on one, else each run's validation text.
    Each run has a colour and, in the legend, its number. Dashed: the number that each has to beat.
    Training losses, of a sample, are spread over the mean bytes of a training token.
    """
    chart = Chart()
    axes = chart.subplots()
    pairs = list(coloured(listed("runs", runs, "runs")))
    kind = "test" if all(_is_tested(evaluated(run)) for run, _ in pairs) else "val"
    numbers = []
    for number, (run, colour) in enumerate(pairs, 1):
        table, data = run.history, run.dataset
        unseen = table[f"{kind}_loss"] * _bits_per_nat(run, kind)
        training = table["train_loss"] * _bits_per_nat(run, "train")
        axes.plot(table["step"], unseen, color=colour, linewidth=2.2, label=f"{number}")
        axes.plot(table["step"], training, color=colour, linewidth=1)
        numbers.append((getattr(number_to_beat(data), f"{kind}_bits"), colour))
    _draw_numbers(axes, numbers)
    _losses_over_steps(axes)
    axes.set_ylabel(BITS)
    where = "Held-out" if kind == "test" else "Validation"
    axes.set_title(f"{where} loss (thick) and training loss (thin)")
    return finished(chart, axes)


def _is_tested(run: Run) -> bool:
    return run.state.history[-1].test_loss is not None


def _bits_per_nat(run: Run, kind: str) -> float:
    """What turns a run's nats per token into bits per byte, on its "train", "val" or "test" ids."""
    return bits_per_byte(1.0, run.dataset, getattr(run.dataset, kind))


def two_exams(runs: Sequence[Run], title: str = "") -> Chart:
    """Training, validation and held-out loss of one set-up against the step; a line per run.

    The lowest mean of the held-out losses is marked. Dashed: the number to beat on the validation
    text and on the held-out one. Raises `ValueError` for a run without them.
    """
    chart = Chart()
    axes = chart.subplots()
    tables = [_tested(run).history.set_index("step") for run in _some("runs", runs)]
    _three_losses(axes, tables)
    mean = pd.concat(tables).groupby("step")["test_loss"].mean()
    if mean.notna().any():  # a run that diverged at once has no lowest
        lowest = mean.idxmin()
        _ring(axes, lowest, mean[lowest], HELD_OUT, label=f"lowest: step {lowest:,}")
    _draw_both_numbers(axes, [number_to_beat(run.dataset) for run in runs])
    _losses_over_steps(axes)
    axes.set_title(title or f"Training, validation and held-out loss ({_counted(runs)})")
    return finished(chart, axes)


def _three_losses(axes: Axes, tables: Sequence[pd.DataFrame]) -> None:
    """Three lines per table of losses by step; each kind of loss is named once in the legend."""
    for column, name, colour in LOSSES:
        label = name if any(table[column].notna().any() for table in tables) else None
        for table in tables:
            marker = "o" if len(table) == 1 else ""  # a line of one point is not seen
            style: dict[str, Any] = {"color": colour, "linewidth": 1.4, "marker": marker}
            axes.plot(table.index, table[column], label=label, **style)
            label = None


def exam_curves(runs: dict[str, Sequence[Run]], title: str = "") -> Chart:
    """Held-out loss in bits per byte against the share of training done; a colour for each group.

    Every run is a thin line; a ring marks its lowest evaluation, a dot its last one. Dashed: the
    number that the group has to beat, as counted in its training text. Raises `ValueError` for a
    run without held-out losses, and for more than six groups.
    """
    instance("runs", runs, dict, '{"GPT-2": [run]}')
    runs = {name: _some("A group of runs", group) for name, group in runs.items()}
    chart = Chart()
    axes = chart.subplots()
    numbers = []
    for (name, group), colour in coloured(runs.items()):
        label: str | None = literal(name)
        for run in group:
            table = _tested(run).history
            done = 100 * table["step"] / max(1, table["step"].max())
            losses = table["test_loss"] * _bits_per_nat(run, "test")
            axes.plot(done, losses, color=colour, linewidth=1.3, label=label)
            axes.plot(done.iloc[-1], losses.iloc[-1], "o", color=colour, markersize=5)
            lowest = losses.idxmin()
            _ring(axes, done[lowest], losses[lowest], colour)
            numbers.append((number_to_beat(run.dataset).test_bits, colour))
            label = None
    _draw_numbers(axes, numbers)
    axes.set_xlabel("share of the training done (%)")
    axes.set_ylabel(f"held-out {BITS}")
    every = [run for group in runs.values() for run in group]
    axes.set_title(title or f"Held-out loss ({_counted(every)})")
    return finished(chart, axes)


def memory_curves(histories: Sequence[pd.DataFrame], title: str = "") -> Chart:
    """Losses, copying and domain names over the steps of training; a line per run.

    `histories` are what `scorecard_history` gives. Losses in nats per token; dashed: the number to
    beat on each text.
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
    _draw_both_numbers(losses, [table.attrs["number_to_beat"] for table in histories])
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

    Above the validation loss, below (if all runs have one) the held-out loss; a ring at the lowest
    validation loss before the stop, faint lines after the stop; dashed the number to beat. Losses
    are in nats per token, or in bits per byte if the runs are not all of one text and vocabulary.
    Only those up to 1 above each run's lowest are shown: the first steps would flatten the rest.
    """
    patience = whole_number("patience", patience, least=1)
    kinds = {"val": "validation"}
    if all(_is_tested(evaluated(run)) for run in _some("runs", runs)):
        kinds["test"] = "held-out scripts"
    of_one_text = len({number_to_beat(run.dataset) for run in runs}) == 1
    chart = Chart(height=1.0 + 2.4 * len(kinds))
    rows = chart.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (kind, name) in zip(rows, kinds.items(), strict=True):
        numbers, lowest = [], []
        for run, colour in coloured(runs):
            unit = 1.0 if of_one_text else _bits_per_nat(run, kind)
            stop = early_stop(run, patience)
            losses = unit * run.history.set_index("step")[f"{kind}_loss"]
            axes.plot(losses, color=colour, linewidth=1, alpha=0.5)
            label = literal(run.name)
            axes.plot(losses.loc[: stop["stops"]], color=colour, linewidth=2.2, label=label)
            _ring(axes, stop["best step"], losses[stop["best step"]], colour)
            numbers.append((unit * getattr(number_to_beat(run.dataset), f"{kind}_loss"), colour))
            lowest.append(losses.min())
        _draw_numbers(axes, numbers)
        # 0.1: room for the ring.
        axes.set_ylim(min(*lowest, *(loss for loss, _ in numbers)) - 0.1, max(lowest) + 1)
        axes.set_ylabel(f"{name}\n({'nats per token' if of_one_text else 'bits per byte'})")
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
