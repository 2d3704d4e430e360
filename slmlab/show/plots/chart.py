"""What every figure shares. Colours are Okabe and Ito's, safe for colour-blind readers."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slmlab.show.runs import short

TRAIN, VAL, HELD_OUT, MUTED = "#0072B2", "#D55E00", "#009E73", "#888888"
GUESS = HELD_OUT  # no figure draws both
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# For the five kinds of parameters, in the order of `GPTConfig.parameter_counts`.
PARAMETER_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#999999")
LOSS, BITS = "loss (nats per token)", "loss (bits per byte)"

Thing = TypeVar("Thing")


class Chart(Figure):
    """A matplotlib figure that a notebook shows as a picture, with no pyplot state behind it.

    Sizes are in inches, of 100 pixels. `description` says in words what the figure's data show,
    for readers who do not see it.
    """

    description = ""

    def __init__(self, width: float = 7.0, height: float = 3.8) -> None:
        super().__init__(figsize=(width, height), layout="constrained", dpi=100)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def finished(chart: Chart, axes: Axes, legend: bool = True) -> Chart:
    """The chart, with a grid, no frame above and beside, and a legend to the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
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
