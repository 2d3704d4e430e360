"""What every figure shares. Colours are Okabe and Ito's, safe for colour-blind readers."""

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

TRAIN, VAL, GUESS, MUTED = "#0072B2", "#D55E00", "#009E73", "#888888"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# For the five kinds of parameters, in the order of `GPTConfig.parameter_counts`.
PARAMETER_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#999999")


class Chart(Figure):
    """A matplotlib figure that a notebook shows as a picture, with no pyplot state behind it."""

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
