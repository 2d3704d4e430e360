"""A model under construction: its tensors as pictures with their shapes, and how it learns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from slmlab.show.plots.chart import BITS, MUTED, ON_PALE, Chart, coloured, finished, literal
from slmlab.show.plots.layout import LETTERS, TITLE
from slmlab.validation import instance, listed, real_number, shown

MOST_MATRICES = 6  # side by side; more are too narrow to see
NUMBERS_SHOWN = 8  # rows and columns at most, for their numbers to have room


def matrices(
    tensors: dict[str, Tensor],
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str = "",
) -> Chart:
    """Tensors of two dimensions side by side, a colour for each number, their shapes above them.

    Red is above 0, blue below, white is 0, each tensor on its own scale; grey is not finite. `rows`
    labels the rows of the first, `columns` the columns of each that has as many. Small ones have
    their numbers written into them. Raises `ValueError` for other tensors, or more than six.
    """
    instance("tensors", tensors, dict, '{"weights": torch.eye(3)}')
    if not 1 <= len(tensors) <= MOST_MATRICES:
        raise ValueError(f"Between 1 and {MOST_MATRICES} tensors can be drawn; got {len(tensors)}.")
    values = {name: _matrix(name, tensor) for name, tensor in tensors.items()}
    labels = [
        [literal(str(label)) for label in listed("Labels", side or [], "texts")]
        for side in (rows, columns)
    ]
    high = max(len(tensor) for tensor in values.values())
    chart = Chart(height=1.6 + 0.2 * min(high, 20))
    chart.set_layout_engine("constrained")  # it makes room for labels on end and several titles
    every = chart.subplots(1, len(values), squeeze=False)[0]
    for axes, (name, tensor) in zip(every, values.items(), strict=True):
        _draw(axes, tensor, labels[0] if axes is every[0] else [], labels[1])
        axes.set_title(f"{literal(name)}\n{_shape(tensor)}", fontsize=LETTERS)
    if title:
        chart.suptitle(title, fontsize=TITLE, fontweight="bold")
    chart.draw_without_rendering()
    chart.set_layout_engine("none")  # laid out once, so that the figure is the same each time
    ranges = (f"{name} {_shape(t)}, {_range(t)}" for name, t in values.items())
    chart.description = f"{title or 'Tensors as colours'}: {'; '.join(ranges)}."
    return chart


def _matrix(name: str, tensor: Any) -> Tensor:
    """The numbers of a tensor with two dimensions, neither of them empty."""
    if not isinstance(tensor, Tensor) or tensor.dim() != 2 or not tensor.numel():
        given = tuple(tensor.shape) if isinstance(tensor, Tensor) else tensor
        raise ValueError(
            f"{shown(name)} is {shown(given)}; a picture needs a tensor of two dimensions, such as "
            "weights[0]."
        )
    return tensor.detach().float()


def _draw(axes: Axes, tensor: Tensor, rows: list[str], columns: list[str]) -> None:
    height, width = tensor.shape
    seen = tensor.masked_fill(~tensor.isfinite(), 0.0).abs()
    small = max(height, width) <= NUMBERS_SHOWN
    most = (float(seen.max()) or 1.0) * (2.5 if small else 1.0)  # pale enough to write on
    colours = colormaps["RdBu_r"].with_extremes(bad=MUTED)
    numbers = tensor.masked_fill(~tensor.isfinite(), torch.nan).numpy()
    axes.imshow(numbers, colours, aspect="auto", interpolation="nearest", vmin=-most, vmax=most)
    axes.set_xticks([])
    axes.set_yticks([])
    if len(rows) == height:
        axes.set_yticks(range(height), rows, fontsize=LETTERS)
    if len(columns) == width:
        axes.set_xticks(range(width), columns, fontsize=LETTERS, rotation=90)
    if small:
        for (y, x), number in np.ndenumerate(numbers):
            text = f"{number:.2f}".replace("-", "−") if np.isfinite(number) else ""
            axes.text(x, y, text, ha="center", va="center", fontsize=LETTERS, color=ON_PALE)


def _shape(tensor: Tensor) -> str:
    return f"({tensor.shape[0]}, {tensor.shape[1]})"


def _range(tensor: Tensor) -> str:
    finite = tensor[tensor.isfinite()]
    if not len(finite):
        return "no finite numbers"
    return f"from {finite.min():.2g} to {finite.max():.2g}".replace("-", "−")


def beside(curves: dict[str, dict[int, float]], levels: dict[str, float]) -> Chart:
    """Held-out losses over steps in bits per byte, {step: loss} each, beside dashed levels.

    The first curve is the thickest and each further one thinner, so that equal curves are all seen.
    Raises `ValueError` for more than six curves and levels together, or an empty curve.
    """
    instance("curves", curves, dict, '{"yours": {0: 4.6, 100: 2.5}}')
    instance("levels", levels, dict, '{"5-gram": 1.7}')
    if not all(curves.values()):
        raise ValueError("A curve is empty; it needs a loss for at least one step.")
    chart = Chart()
    axes = chart.subplots()
    said = []
    for number, (name, colour) in enumerate(coloured([*curves, *levels])):
        if name in curves:
            steps = list(curves[name])
            losses = [real_number("A loss", loss) for loss in curves[name].values()]
            style: dict[str, Any] = {"linewidth": max(1.2, 5 - 2 * number)}
            axes.plot(steps, losses, color=colour, label=literal(name), zorder=3 + number, **style)
            said.append(f"{name} ends at {losses[-1]:.2f} (step {steps[-1]:,})")
        else:
            level = real_number("A level", levels[name])
            label = f"{literal(name)}: {level:.2f}"
            axes.axhline(level, color=colour, linestyle="--", linewidth=1.4, label=label)
            said.append(f"{name} is at {level:.2f}")
    axes.set_xlabel("step")
    axes.set_ylabel(f"held-out {BITS}")
    axes.set_ylim(bottom=0)
    axes.set_title("Held-out loss over the steps of training")
    chart.description = f"{axes.get_title()}, in bits per byte: {'; '.join(said)}."
    return finished(chart, axes)
