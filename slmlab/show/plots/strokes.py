"""What figures of losses are drawn with: lines, rings, and the numbers to beat."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import HELD_OUT, LOSS, MUTED, TRAIN, VAL
from slmlab.show.plots.layout import name_ends
from slmlab.show.runs import evaluated, short
from slmlab.show.words import joined, number
from slmlab.study.baseline import NUMBER_TO_BEAT, Baseline
from slmlab.validation import listed

# The columns of a history, what they are called in a figure, and their colours.
LOSSES = (
    ("train_loss", "training", TRAIN),
    ("val_loss", "validation", VAL),
    ("test_loss", "held-out scripts", HELD_OUT),
)


def curve(axes: Axes, x: pd.Series, y: pd.Series, colour: str, **style: Any) -> Line2D:
    """A line; a dot where there is one point only, of which no line would be seen."""
    dot: dict[str, Any] = {"marker": "o", "clip_on": False} if len(x) == 1 else {}
    [line] = axes.plot(x, y, color=colour, solid_capstyle="round", **dot, **style)
    return line


def ring(axes: Axes, x: float, y: float, colour: str, **style: Any) -> None:
    look: dict[str, Any] = {"linestyle": "", "markersize": 9, "markeredgewidth": 1.8, "zorder": 4}
    axes.plot(x, y, marker="o", fillstyle="none", color=colour, clip_on=False, **(look | style))


def draw_numbers(axes: Axes, numbers: Iterable[tuple[float, str]]) -> None:
    """Dashed lines across: numbers to beat, each in its colour, or grey where several share it.

    A single number is black, in every figure.
    """
    colours: dict[float, str] = {}
    for loss, colour in numbers:
        colours[loss] = colour if colours.get(loss, colour) == colour else MUTED
    if len(colours) == 1:
        colours = dict.fromkeys(colours, "black")
    style: dict[str, Any] = {"linestyle": "--", "linewidth": 1.4}
    for loss, colour in colours.items():
        axes.axhline(loss, color=colour, zorder=1, **style)
    [*others, last] = set(colours.values())
    axes.plot([], [], color=MUTED if others else last, label=NUMBER_TO_BEAT, **style)


def draw_both_numbers(axes: Axes, every: Iterable[Baseline]) -> None:
    """The numbers to beat in nats per token, in the colours of validation and held-out losses."""
    pairs = [pair for n in every for pair in ((n.val_loss, VAL), (n.test_loss, HELD_OUT))]
    draw_numbers(axes, [(loss, colour) for loss, colour in pairs if loss is not None])


def over_steps(axes: Axes) -> None:
    """An x axis of whole steps, from the first to the last."""
    axes.set_xlabel("step")
    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:,.0f}")


def losses_over_steps(axes: Axes) -> None:
    over_steps(axes)
    axes.set_ylabel(LOSS)
    axes.set_ylim(bottom=0)


def three_losses(axes: Axes, tables: Sequence[pd.DataFrame]) -> str:
    """Three lines per table of losses by step; each kind is named at its lines' end.

    Returns their means at the end, in words.
    """
    ends, said = [], []
    for column, name, colour in LOSSES:
        if not any(table[column].notna().any() for table in tables):
            continue
        for table in tables:
            line = curve(axes, table.index, table[column], colour, linewidth=1.8)
        end = sum(table[column].iloc[-1] for table in tables) / len(tables)
        ends.append((name, line, end))
        said.append(f"{name} {number(end)}")
    name_ends(axes, ends)
    mean = f", as means of {counted(tables)}" if len(tables) > 1 else ""
    return f"At the end, in nats per token{mean}: {joined(said)}."


def is_tested(run: Run) -> bool:
    return run.state.history[-1].test_loss is not None


def bits_per_nat(run: Run, kind: str) -> float:
    """What turns a run's nats per token into bits per byte, on its "train", "val" or "test" ids."""
    return bits_per_byte(1.0, run.dataset, getattr(run.dataset, kind))


def tested(run: Run) -> Run:
    """A run with held-out losses. Raises `ValueError` for one without."""
    if evaluated(run).dataset.test is None:
        raise ValueError(
            f"{short(run.name)} has no held-out losses; train it on dataset.with_test(…)."
        )
    return run


def some(name: str, values: Any) -> list[Any]:
    """A list of runs, or of their histories. Raises `ValueError` if it is none, or empty."""
    if not (found := listed(name, values, "runs, or of their histories")):
        raise ValueError("There is nothing to draw; give a list of at least one run.")
    return found


def counted(runs: Sequence[Any]) -> str:
    return "one run" if len(runs) == 1 else f"{len(runs)} runs"
