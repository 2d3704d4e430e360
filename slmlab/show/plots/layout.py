"""Where the parts of a figure sit, so that no words lie on its curves.

A title and the name of the y axis are above, a legend below, and what a line is called stands at
its end. Lengths are in inches, sizes of letters in points (72 an inch).
"""

import math
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import LayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.textpath import text_to_path

TITLE, LETTERS = 11.0, 9.0  # points; at 800 pixels' page width 9 points are 10 pixels or more
LINE = 0.17  # a line of letters
EDGE = 0.06  # between text and what it belongs to, or the figure's border
BETWEEN_COLUMNS = 0.3
NEXT = 0.09  # from a line's end to its name
HALF_A_NUMBER = 0.2  # at the right end of an axis
LONGEST_END = 1.5  # a longer name is for the legend
HANDLE, COLUMN = 2.1, 1.8  # what a legend's entry has beside its text, in heights of letters


class Layout(LayoutEngine):
    """Margins as wide as the words in them need.

    The words are measured without drawing them, which matplotlib's own layouts do, so a figure is
    made in half the time.
    """

    _adjust_compatible = True
    _colorbar_gridspec = True

    def execute(self, fig: Figure) -> None:
        width, height = fig.get_size_inches()
        every = [(axes, axes.get_subplotspec()) for axes in fig.axes]
        if not every:
            return
        rows, columns = every[0][1].get_gridspec().get_geometry()
        first = [axes for axes, place in every if place.is_first_col()]
        inner = [axes for axes, place in every if not place.is_first_col()]
        above = [axes for axes, place in every if place.is_first_row()]
        ends = [end for axes, place in every if place.is_last_col() for end in _ends(axes)]
        ended = [end for axes, place in every if not place.is_last_col() for end in _ends(axes)]
        left = EDGE + _widest_ticks(first) + EDGE
        right = EDGE + max(HALF_A_NUMBER, NEXT + _widest(end.get_text() for end in ends))
        beside = BETWEEN_COLUMNS + _widest(end.get_text() for end in ended) + _widest_ticks(inner)
        title = max(_lines(axes.get_title()) for axes in above) * TITLE / LETTERS * LINE
        named = max(_lines(axes.get_ylabel()) for axes in above) * LINE
        top = EDGE + title + named + EDGE
        bottom = _legend_height(fig) + _height_below(fig.axes) + EDGE
        between = 3 * EDGE + max(_lines(axes.get_ylabel()) for axes in first) * LINE
        panel = (width - left - right - (columns - 1) * beside) / columns
        tall = (height - top - bottom - (rows - 1) * between) / rows
        fig.subplots_adjust(
            left=left / width,
            right=1 - right / width,
            top=1 - top / height,
            bottom=bottom / height,
            wspace=beside / panel,
            hspace=between / tall,
        )
        for axes, place in every:
            box = axes.get_position()
            wide, high = box.width * width, box.height * height
            start = (EDGE - left) / wide if place.is_first_col() else 0.0
            axes.yaxis.set_label_coords(start, 1 + EDGE / high)
            axes.title.set_position((start, 1 + (top - EDGE) / high))
            _part(axes, high)


def _ends(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


def _widest_ticks(every: Iterable[Axes]) -> float:
    return _widest(label.get_text() for axes in every for label in axes.get_yticklabels())


def _part(axes: Axes, high: float) -> None:
    """Move the names at the ends of lines apart where they would overlap."""
    ends = _ends(axes)
    low, top = axes.get_ylim()
    places = [min(1.0, max(0.0, (end.xy[1] - low) / (top - low))) * high for end in ends]
    for end, place, moved in zip(ends, places, apart(places, LINE, high), strict=True):
        end.set_position((72 * NEXT, 72 * (moved - place)))


def apart(places: Sequence[float], gap: float, high: float) -> list[float]:
    """Places between 0 and `high`, moved as little as possible until all are `gap` apart."""
    order = sorted(range(len(places)), key=places.__getitem__)
    blocks: list[tuple[float, int]] = []  # names that touch: where their first one is, how many
    for rank, index in enumerate(order):
        start, count = places[index] - rank * gap, 1
        while blocks and blocks[-1][0] >= start:
            before, number = blocks.pop()
            start = (before * number + start * count) / (number + count)
            count += number
        blocks.append((start, count))
    most = high - (len(places) - 1) * gap
    starts = [max(0.0, min(start, most)) for start, count in blocks for _ in range(count)]
    moved = [0.0] * len(places)
    for rank, (index, start) in enumerate(zip(order, starts, strict=True)):
        moved[index] = start + rank * gap
    return moved


def name_ends(axes: Axes, ends: Iterable[tuple[str, Line2D, float]]) -> None:
    """Name lines at the right of the axes, each at the height where it ends, in its colour.

    They go into the legend if they are too long for this, or if the lines end at different places
    or, where a run diverged, at none.
    """
    ends = list(ends)
    places = {np.asarray(line.get_xdata())[-1] for _, line, _ in ends}
    nowhere = not all(math.isfinite(height) for _, _, height in ends)
    if nowhere or len(places) > 1 or _widest(name for name, _, _ in ends) > LONGEST_END:
        for name, line, _ in ends:
            line.set_label(name)
        return
    for name, line, height in ends:
        axes.annotate(
            name,
            (1, height),
            (72 * NEXT, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=line.get_color(),
            fontsize=LETTERS,
            va="center",
            annotation_clip=False,
        )


def legend_below(axes: Axes) -> None:
    """A legend of all panels under the figure, in as many columns as its width allows."""
    figure: Any = axes.get_figure()
    labelled: dict[str, Any] = {}
    for panel in figure.axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            labelled.setdefault(name, handle)
    if not labelled:
        return
    style: dict[str, Any] = {
        "bbox_transform": figure.transFigure,
        "frameon": False,
        "fontsize": LETTERS,
        "borderpad": 0,
        "borderaxespad": 0.4,
        "handlelength": HANDLE - 0.5,
        "handletextpad": 0.5,
        "columnspacing": COLUMN,
        "labelspacing": 0.45,
    }
    names, width = list(labelled), figure.get_figwidth()
    axes.legend(
        labelled.values(),
        names,
        loc="lower left",
        bbox_to_anchor=(EDGE / width, 0.0),
        ncols=_columns(names, width),
        **style,
    )


def _columns(names: Sequence[str], width: float) -> int:
    """The most columns of a legend that a figure has room for."""
    fitting = (n for n in range(len(names), 1, -1) if _row(names, n) <= width - 2 * EDGE)
    return next(fitting, 1)


def _row(names: Sequence[str], columns: int) -> float:
    """How wide a legend of so many columns is; matplotlib fills it column by column."""
    rows, longer = divmod(len(names), columns)
    width, start = 0.0, 0
    for column in range(columns):
        end = start + rows + (column < longer)
        width += _widest(names[start:end]) + (HANDLE + COLUMN) * LETTERS / 72
        start = end
    return width


def _legend_height(figure: Figure) -> float:
    legends = (axes.get_legend() for axes in figure.axes)
    names = [text.get_text() for legend in legends if legend for text in legend.get_texts()]
    rows = -(-len(names) // _columns(names, figure.get_figwidth()))
    return rows * 1.15 * LINE + (EDGE if rows else 0.0)


def _height_below(every: Sequence[Axes]) -> float:
    """What the ticks and the name of the x axis need."""
    return 2 * EDGE + LINE + max(LINE * _lines(axes.get_xlabel()) for axes in every)


def wrapped(title: str, axes: Axes) -> str:
    """A title, on more lines if it is too long for its axes' part of the figure's width."""
    columns = axes.get_subplotspec().get_gridspec().ncols
    figure: Any = axes.get_figure()
    room = figure.get_figwidth() / columns - 2 * EDGE
    width = _widest([title]) * TITLE / LETTERS * 1.1  # bold letters are wider
    return title if width <= room else "\n".join(wrap(title, int(len(title) * room / width)))


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _widest(texts: Iterable[str]) -> float:
    """The width of the widest text, in matplotlib's font, which is wider than most."""
    font = FontProperties(size=LETTERS)
    lines = (line for text in texts for line in text.split("\n") if line)
    measure = text_to_path.get_text_width_height_descent
    return max((measure(line, font, ismath=False)[0] / 72 for line in lines), default=0.0)
