"""A model under construction: its tensors as pictures with their shapes, and how it learns."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from slmlab.show.plots.chart import BITS, Chart, coloured, finished, literal
from slmlab.validation import instance, listed, real_number, shown

MOST_MATRICES = 6  # side by side; more are too narrow to see
MOST_LABELS = 40  # along one side; more cannot be read
NUMBERS_SHOWN = 8  # where a row or column has no more, the numbers are written into it


def matrices(
    tensors: dict[str, Tensor],
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str = "",
) -> Chart:
    """Tensors of two dimensions side by side, a colour for each number, their shapes above them.

    Red is above 0, blue below, white is 0; grey is −∞. `rows` labels the rows of the first, and of
    all that are as high; `columns` the columns of each that is as wide. Small ones have numbers.
    Raises `ValueError` for other tensors, or more than six.
    """
    instance("tensors", tensors, dict, '{"weights": torch.eye(3)}')
    if not 1 <= len(tensors) <= MOST_MATRICES:
        raise ValueError(f"Between 1 and {MOST_MATRICES} tensors can be drawn; got {len(tensors)}.")
    values = {name: _matrix(name, tensor) for name, tensor in tensors.items()}
    labels = {"rows": _labels("rows", rows), "columns": _labels("columns", columns)}
    high = max(len(tensor) for tensor in values.values())
    chart = Chart(width=1.0 + 2.4 * max(2, len(values)), height=1.6 + 0.2 * min(high, 20))
    every = chart.subplots(1, len(values), squeeze=False)[0]
    for axes, (name, tensor) in zip(every, values.items(), strict=True):
        _draw(axes, tensor, labels, first=axes is every[0])
        axes.set_title(f"{literal(name)}\n{_shape(tensor)}", fontsize=9)
    if title:
        chart.suptitle(title)
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


def _labels(name: str, labels: Sequence[str] | None) -> list[str]:
    return (
        [] if labels is None else [literal(str(label)) for label in listed(name, labels, "texts")]
    )


def _draw(axes: Any, tensor: Tensor, labels: dict[str, list[str]], first: bool) -> None:
    height, width = tensor.shape
    finite = tensor[tensor.isfinite()]
    most = float(finite.abs().max()) if len(finite) else 1.0
    axes.set_facecolor("#bbbbbb")  # seen where a number is not finite
    style = {"cmap": "RdBu_r", "vmin": -(most or 1.0), "vmax": most or 1.0}
    seen = tensor.masked_fill(~tensor.isfinite(), torch.nan)
    axes.imshow(seen, aspect="auto", interpolation="nearest", **style)
    axes.set_yticks([])
    axes.set_xticks([])
    if first and len(labels["rows"]) == height <= MOST_LABELS:
        axes.set_yticks(range(height), labels["rows"], fontsize=8)
    if len(labels["columns"]) == width <= MOST_LABELS:
        axes.set_xticks(range(width), labels["columns"], fontsize=8, rotation=90)
    if max(height, width) <= NUMBERS_SHOWN:
        for y, row in enumerate(tensor.tolist()):
            for x, number in enumerate(row):
                colour = "white" if abs(number) > 0.6 * most else "black"
                style = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
                axes.text(x, y, f"{number:.2f}".replace("-", "−"), **style)


def _shape(tensor: Tensor) -> str:
    return f"({tensor.shape[0]}, {tensor.shape[1]})"


def _range(tensor: Tensor) -> str:
    finite = tensor[tensor.isfinite()]
    if not len(finite):
        return "no finite numbers"
    return f"from {finite.min():.2g} to {finite.max():.2g}".replace("-", "−")


def beside(curves: dict[str, dict[int, float]], levels: dict[str, float], title: str = "") -> Chart:
    """Held-out losses over steps in bits per byte, {step: loss} each, beside dashed levels.

    The first curve is the thickest and each further one thinner, so that equal curves are all seen.
    Raises `ValueError` for more than six curves and levels together.
    """
    instance("curves", curves, dict, '{"yours": {0: 4.6, 100: 2.5}}')
    instance("levels", levels, dict, '{"5-gram": 1.7}')
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
    axes.set_title(title or "Held-out loss over the steps of training")
    chart.description = f"{axes.get_title()}, in bits per byte: {'; '.join(said)}."
    return finished(chart, axes)
