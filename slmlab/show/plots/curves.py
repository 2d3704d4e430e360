"""Curves: what happens to the losses of runs while they are trained."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from slmlab.engine.runs import Run
from slmlab.show.plots.chart import (
    BITS,
    GUESS,
    HELD_OUT,
    LOSS,
    MUTED,
    VAL,
    Chart,
    coloured,
    finished,
    literal,
)
from slmlab.show.plots.layout import name_ends
from slmlab.show.plots.strokes import (
    LOSSES,
    bits_per_nat,
    counted,
    curve,
    draw_both_numbers,
    draw_numbers,
    is_tested,
    losses_over_steps,
    over_steps,
    ring,
    some,
    tested,
    three_losses,
)
from slmlab.show.runs import evaluated, short
from slmlab.show.words import curves_in_words, gap_in_words, joined, number, of_steps
from slmlab.study.baseline import number_to_beat
from slmlab.study.phases import Phase
from slmlab.validation import instance, listed, real_number

SMALL_PART = 0.25  # of the recorded run: a live run that covers less has a panel of its own


def loss_curves(
    run: Run,
    *,
    recorded: Run | None = None,
    published: Phase | None = None,
    guess: float | None = None,
) -> Chart:
    """Training and validation loss against the step, the gap between them shaded.

    Dashed: what counting scores on the validation text, the number to beat. `recorded` adds a
    stored full run (thin lines), beside which a short run gets a panel with a loss axis of its own;
    `published` the experiment's curves (dots); `guess` marks a predicted final gap as a bar at the
    right edge, on top of the training loss. Raises `ValueError` for a run that was not trained, or
    a guess that is no number.
    """
    if guess is not None:
        guess = real_number("guess", guess)
    if published is not None:
        instance("published", published, Phase)
    full = evaluated(run if recorded is None else recorded)
    runs = [(run, "")] if recorded is None else [(run, "your run"), (full, "recorded run")]
    apart = evaluated(run).last.step < SMALL_PART * full.last.step
    chart = Chart(height=4.2)
    panels = chart.subplots(1, 1 + apart, squeeze=False)[0]
    for axes, shown in zip(panels, [[pair] for pair in runs] if apart else [runs], strict=True):
        _shade_gap(axes, shown[-1][0].history)
        longest = max((one for one, _ in shown), key=lambda one: one.last.step)
        for drawn, whose in shown:
            width, order = (2.6, 3) if drawn is run else (1.3, 2)  # yours is on top
            whose = "" if apart else whose  # a panel of one run has it in its title
            pair = _pair(axes, drawn.history, whose, linewidth=width, zorder=order)
            if drawn is longest:
                lines = pair
        for drawn, _ in shown:
            _mark_lowest(axes, drawn, _lowest_in_words(runs))
        ends = zip(LOSSES[:2], lines, strict=True)
        name_ends(
            axes, [(name, line, getattr(longest.last, loss)) for (loss, name, _), line in ends]
        )
        axes.set_title(_title(shown))
    if apart:
        over_steps(panels[0])
        panels[0].set(xlim=(0, max(1, run.last.step)), ylabel=LOSS)
    if published is not None:
        _pair(axes, published.curve, "published", linewidth=1.8, linestyle=":")
    draw_numbers(axes, [(number_to_beat(full.dataset).val_loss, VAL)])
    losses_over_steps(axes)
    if guess is not None:
        _draw_guess(axes, full, guess)
    for panel in panels:
        finished(chart, panel, legend=panel is axes)
    chart.description = curves_in_words(run, recorded)
    return chart


def _shade_gap(axes: Axes, table: pd.DataFrame) -> None:
    losses = table["train_loss"], table["val_loss"]
    axes.fill_between(table["step"], *losses, color=VAL, alpha=0.1, linewidth=0)


def _pair(axes: Axes, table: pd.DataFrame, whose: str, **style: Any) -> list[Line2D]:
    """Training and validation loss. The legend says `whose` lines have this style."""
    if whose:
        axes.plot([], [], color=MUTED, label=whose, **style)
    return [
        curve(axes, table["step"], table[column], colour, **style)
        for column, _, colour in LOSSES[:2]
    ]


def _mark_lowest(axes: Axes, run: Run, label: str) -> None:
    """A ring at the lowest validation loss; its step is in the legend, where it hides no curve."""
    best = run.state
    if math.isfinite(best.best_val_loss):
        ring(axes, best.best_step, best.best_val_loss, VAL, label=label)


def _lowest_in_words(runs: Sequence[tuple[Run, str]]) -> str:
    """The one name of all rings in the legend."""
    steps = [
        f"step {run.state.best_step:,}" + (f" ({whose})" if whose else "")
        for run, whose in runs
        if math.isfinite(run.state.best_val_loss)
    ]
    return f"lowest: {joined(steps)}"


def _draw_guess(axes: Axes, run: Run, guess: float) -> None:
    """A bar from the training loss up, half of which is inside the axes; curves are above it."""
    bar = [run.last.train_loss, run.last.train_loss + guess]
    look: dict[str, Any] = {"color": GUESS, "solid_capstyle": "butt", "zorder": 1.5}
    axes.plot([run.last.step] * 2, bar, linewidth=14, **look)
    axes.plot([], [], linewidth=7, label=f"your guess: gap {guess:+.1f}", **look)


def _title(shown: Sequence[tuple[Run, str]]) -> str:
    """What became of each run's gap; `shown` has them with whose they are."""
    said = "; ".join(
        f"{whose}: {gap_in_words(run)}" if whose else gap_in_words(run) for run, whose in shown
    )
    return said[0].upper() + said[1:]


def compared(runs: Sequence[Run]) -> Chart:
    """Losses of one to six runs in bits per byte: on unseen text (thick) and in training (thin).

    The unseen text is the held-out one if all were tested on one, else each run's validation text.
    Each run has a colour and, where its line ends, its number. Dashed: the number that each has to
    beat. Training losses, of a sample, are spread over the mean bytes of a training token.
    """
    chart = Chart()
    axes = chart.subplots()
    pairs = list(coloured(listed("runs", runs, "runs")))
    kind = "test" if all(is_tested(evaluated(run)) for run, _ in pairs) else "val"
    where = "Held-out" if kind == "test" else "Validation"
    numbers, ends, said = [], [], []
    for place, (run, colour) in enumerate(pairs, 1):
        steps, to_beat = run.history["step"], getattr(number_to_beat(run.dataset), f"{kind}_bits")
        unseen = run.history[f"{kind}_loss"] * bits_per_nat(run, kind)
        training = run.history["train_loss"] * bits_per_nat(run, "train")
        line = curve(axes, steps, unseen, colour, linewidth=2.4)
        curve(axes, steps, training, colour, linewidth=1.2)
        numbers.append((to_beat, colour))
        ends.append((f"{place}", line, unseen.iloc[-1]))
        said.append(
            f"Run {place} has {number(unseen.iloc[-1])} bits per byte after "
            f"{of_steps(run.last.step)}, and {to_beat:.2f} to beat."
        )
    name_ends(axes, ends)
    draw_numbers(axes, numbers)
    losses_over_steps(axes)
    axes.set_ylabel(BITS)
    axes.set_title(f"{where} loss (thick) and training loss (thin)")
    chart.description = f"{where} loss. {' '.join(said)}"
    return finished(chart, axes)


def two_exams(runs: Sequence[Run], title: str = "") -> Chart:
    """Training, validation and held-out loss of one set-up against the step; a line per run.

    The lowest mean of the held-out losses is marked. Dashed: the number to beat on the validation
    text and on the held-out one. Raises `ValueError` for a run without them.
    """
    chart = Chart()
    axes = chart.subplots()
    tables = [tested(run).history.set_index("step") for run in some("runs", runs)]
    said = three_losses(axes, tables)
    mean = pd.concat(tables).groupby("step")["test_loss"].mean()
    if mean.notna().any():  # a run that diverged at once has no lowest
        lowest = mean.idxmin()
        ring(axes, lowest, mean[lowest], HELD_OUT, label=f"lowest: step {lowest:,}")
        said += f" The held-out loss was lowest at step {lowest:,}, with {mean[lowest]:.2f}."
    every = [number_to_beat(run.dataset) for run in runs]
    draw_both_numbers(axes, every)
    losses_over_steps(axes)
    axes.set_title(title or f"Training, validation and held-out loss ({counted(runs)})")
    chart.description = f"{said} The 5-gram has {every[0].test_loss:.2f} there."
    return finished(chart, axes)


def exam_curves(runs: dict[str, Sequence[Run]], title: str = "") -> Chart:
    """Held-out loss in bits per byte against the share of training done; a colour for each group.

    Every run is a thin line; a ring marks its lowest evaluation, a dot its last one. Dashed: the
    number that the group has to beat, as counted in its training text. Raises `ValueError` for a
    run without held-out losses, and for more than six groups.
    """
    instance("runs", runs, dict, '{"GPT-2": [run]}')
    runs = {name: some("A group of runs", group) for name, group in runs.items()}
    chart = Chart()
    axes = chart.subplots()
    numbers, ends, said = [], [], []
    for (name, group), colour in coloured(runs.items()):
        last, least = [], []
        for run in group:
            table = tested(run).history
            done = 100 * table["step"] / max(1, table["step"].max())
            losses = table["test_loss"] * bits_per_nat(run, "test")
            line = curve(axes, done, losses, colour, linewidth=1.6)
            axes.plot(done.iloc[-1], losses.iloc[-1], "o", color=colour, clip_on=False)
            lowest = losses.idxmin()
            ring(axes, done[lowest], losses[lowest], colour)
            numbers.append((number_to_beat(run.dataset).test_bits, colour))
            last.append(losses.iloc[-1])
            least.append(losses[lowest])
        ends.append((literal(name), line, sum(last) / len(last)))
        said.append(
            f"{short(name)}: lowest {number(min(least))}, {number(max(last))} or less at the end"
        )
    name_ends(axes, ends)
    draw_numbers(axes, numbers)
    axes.set_xlabel("share of the training done (%)")
    axes.set_ylabel(f"held-out {BITS}")
    axes.margins(x=0)
    every = [run for group in runs.values() for run in group]
    axes.set_title(title or f"Held-out loss ({counted(every)})")
    to_beat = joined([f"{value:.2f}" for value in sorted({value for value, _ in numbers})], "or")
    chart.description = (
        f"Held-out loss in bits per byte. {'; '.join(said)}. The number to beat is {to_beat}."
    )
    return finished(chart, axes)
