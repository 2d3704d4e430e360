"""What every figure shares: how it is shown in a page, its colours, its names."""

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator
from html import escape
from io import StringIO
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from slmlab.show.plots.layout import LETTERS, TITLE, Layout, legend_below, wrapped
from slmlab.show.runs import short

# The three darker colours of Okabe and Ito, and three more that colour-blind readers can tell from
# them. Each has a contrast of at least 3 on a white page and on a black one.
TRAIN, VAL, HELD_OUT, MUTED = "#0072B2", "#D55E00", "#009E73", "#888888"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#8C4AF2", "#86592D", "#6B8AF0")
GUESS = SERIES[3]  # of a learner, in figures of losses only
# For the five kinds of parameters, in the order of `GPTConfig.parameter_counts`: none is that of a
# loss.
PARAMETER_COLOURS = ("#8C4AF2", "#6B8AF0", "#86592D", "#B5477F", MUTED)
ON_PALE = "#222222"  # of letters on pale fields, whatever the page's own text is
LOSS, BITS = "loss (nats per token)", "loss (bits per byte)"

# Text stays text, in the font of the page; the same figure has the same ids in each process.
_SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "slmlab"}
_DRAWING = threading.Lock()  # the settings are the process's, and a panel draws in a thread
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

# Comments that repeat texts, rules for the whole page, and ids that nothing refers to.
_CLUTTER = re.compile(r"<!--.*?-->|<style.*?</style>| id=\"(?![mp][0-9a-f]{10})[^\"]*\"", re.DOTALL)
_REFERENCE = re.compile(r"( id=\"|href=\"#|url\(#)(?=[mp][0-9a-f]{10})")
_SPELLINGS = [
    (re.compile("stroke: #000000"), "stroke: currentColor"),
    (  # text in the colour of its line is drawn nearer to that of the page, to be read on both
        re.compile(rf"(<text [^>]*fill: )(?!{ON_PALE})(#[0-9a-f]{{6}})"),
        r"\1color-mix(in srgb, \2 65%, currentColor)",
    ),
    (re.compile(r"'DejaVu Sans'[^;\"]*"), "var(--jp-ui-font-family,system-ui),sans-serif"),
    (re.compile("xlink:href"), "href"),
    (re.compile(r"(\d\.\d\d)\d+(?=[^<>]*>)"), r"\1"),  # a hundredth of a point is not seen
]

Thing = TypeVar("Thing")


class Chart(Figure):
    """A matplotlib figure that a notebook shows as a picture, with no pyplot state behind it.

    Sizes are in inches, of 100 pixels. `description` says in words what the figure's data show,
    for readers who do not see it. What is black is drawn in the colour of the page's text.
    """

    description = ""

    def __init__(self, width: float = 7.0, height: float = 4.0) -> None:
        super().__init__(figsize=(width, height), layout=Layout(), dpi=100)
        self.patch.set_visible(False)

    def html(self) -> str:
        """The figure for a page: one line of HTML.

        It shrinks to the room there is, until letters are 9 pixels high; below, it scrolls.
        """
        for axes in self.axes:
            axes.patch.set_visible(False)
        with _DRAWING:
            drawing = _svg(self)
        width, height = self.get_size_inches() * self.dpi
        points = 0.72 * width  # at so many pixels a point is one
        root = (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" '
            f'height="{height:g}" viewBox="0 0 {points:g} {0.72 * height:g}" fill="currentColor" '
            f'stroke-linejoin="round" style="max-width:100%;min-width:{points:g}px;height:auto" '
            f'aria-label="{escape(self.description)}">'
        )
        style = "margin:0;overflow-x:auto;color:var(--jp-content-font-color1,currentColor)"
        return f'<figure class="slm-chart" style="{style}">{root}{drawing}</svg></figure>'

    def _repr_html_(self) -> str:
        return self.html()


def _svg(figure: Figure) -> str:
    """What matplotlib draws of a figure as SVG, in one line, without the element around it.

    Colours are in style attributes; black is left out of them where it fills, so only what it
    strokes has to be said to follow the page. Ids are the drawing's own, because a page has many.
    """
    buffer = StringIO()
    kept: Any = {key: matplotlib.rcParams[key] for key in _SVG}
    dpi = figure.dpi
    matplotlib.rcParams.update(_SVG)
    try:
        FigureCanvasSVG(figure).print_svg(buffer, metadata=_NO_METADATA)
    finally:
        matplotlib.rcParams.update(kept)
        figure.dpi = dpi  # an SVG is drawn in points
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index(">", drawing.index("<svg")) + 1 : drawing.rindex("</svg>")]
    drawing = _CLUTTER.sub("", drawing)
    own = hashlib.sha256(drawing.encode()).hexdigest()[:8]
    drawing = _REFERENCE.sub(rf"\g<1>c{own}-", drawing)
    for old, new in _SPELLINGS:
        drawing = old.sub(new, drawing)
    return " ".join(drawing.split())


def finished(chart: Chart, axes: Axes, legend: bool = True) -> Chart:
    """The chart in the style of all: a quiet grid, one axis line, title and legend in place."""
    axes.grid(axis="y", color="black", alpha=0.14, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(alpha=0.5, linewidth=0.8)
    axes.tick_params(which="both", labelsize=LETTERS, length=0, pad=5)
    axes.xaxis.label.set(fontsize=LETTERS, alpha=0.75)
    axes.yaxis.label.set(
        fontsize=LETTERS, alpha=0.75, rotation=0, ha="left", va="bottom", linespacing=1.1
    )
    title = wrapped(axes.get_title(), axes)
    axes.set_title(title, fontsize=TITLE, fontweight="bold", ha="left", va="top", y=1.0, pad=0)
    if legend:
        legend_below(axes)
    return chart


def coloured(things: Iterable[Thing]) -> Iterator[tuple[Thing, str]]:
    """Each thing with its colour. Raises `ValueError` if there are none, or more than colours."""
    things = list(things)
    if not 1 <= len(things) <= len(SERIES):
        raise ValueError(
            f"This figure draws 1 to {len(SERIES)} things in colours that can be told apart; got "
            f"{len(things)}."
        )
    return zip(things, SERIES, strict=False)


def literal(name: str) -> str:
    """A name as matplotlib is to show it: no formula between dollars, no hidden `_label`."""
    name = short(name).replace("$", r"\$")
    return f"\u200b{name}" if name.startswith("_") else name  # a space of no width before it
