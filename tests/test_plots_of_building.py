"""What the figures of a model under construction draw: tensors, and curves beside levels."""

import pytest
import torch
from drawn import across, is_a_picture, legend, lines, ticks

from slmlab.show import plots
from slmlab.show.plots.chart import BITS, SERIES

TOKENS = ["a", "$b$", "_c"]


def test_matrices_are_drawn_with_their_names_and_shapes():
    wide, square = torch.arange(30.0).view(3, 10) - 5, torch.eye(3).log()
    chart = plots.matrices({"wide": wide, "square": square}, TOKENS, TOKENS, "Two")
    left, right = chart.axes
    assert [axes.get_title() for axes in chart.axes] == ["wide\n(3, 10)", "square\n(3, 3)"]
    assert ticks(left.yaxis) == ["a", r"\$b\$", "\u200b_c"] == ticks(right.xaxis)
    assert ticks(left.xaxis) == ticks(right.yaxis) == []
    [image] = left.get_images()
    assert image.get_array().tolist() == wide.tolist()
    assert image.get_clim() == (-24, 24)  # white is 0, in the middle
    [image] = right.get_images()
    assert image.get_array().mask.tolist() == (~torch.eye(3).bool()).tolist()  # −∞ is left out
    assert chart.get_suptitle() == "Two"
    assert chart.description == "Two: wide (3, 10), from −5 to 24; square (3, 3), from 0 to 0."
    assert is_a_picture(chart)


def test_small_matrices_have_numbers():
    [axes] = plots.matrices({"x": torch.tensor([[0.5, -2.0]], requires_grad=True)}).axes
    assert [text.get_text() for text in axes.texts] == ["0.50", "−2.00"]
    [axes] = plots.matrices({"x": torch.tensor([[torch.inf, 1.0]])}).axes
    assert [text.get_text() for text in axes.texts] == ["", "1.00"]
    [axes] = plots.matrices({"x": torch.ones(9, 1)}).axes
    assert not axes.texts


@pytest.mark.parametrize("tensor", [torch.zeros(3), torch.zeros(2, 0), [[1.0]], None])
def test_other_tensors_get_a_sentence(tensor):
    with pytest.raises(ValueError, match="a picture needs a tensor of two dimensions"):
        plots.matrices({"x": tensor})


@pytest.mark.parametrize("count", [0, 7])
def test_so_many_tensors_get_a_sentence(count):
    with pytest.raises(ValueError, match=rf"Between 1 and 6 tensors can be drawn; got {count}\."):
        plots.matrices({f"{n}": torch.eye(2) for n in range(count)})


def test_beside():
    curve = {0: 4.5, 10: 3.0, 20: 2.0}
    chart = plots.beside({"yours": curve, "theirs": curve}, {"5-gram": 1.75})
    [axes] = chart.axes
    assert lines(axes) == [([*curve], [*curve.values()], colour) for colour in SERIES[:2]]
    widths = [line.get_linewidth() for line in axes.get_lines()[:2]]
    assert widths[0] > widths[1]  # so that equal curves are both seen
    assert across(axes) == [(1.75, SERIES[2])]
    assert legend(axes) == ["yours", "theirs", "5-gram: 1.75"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", f"held-out {BITS}")
    assert chart.description == (
        "Held-out loss over the steps of training, in bits per byte: yours ends at 2.00 (step 20); "
        "theirs ends at 2.00 (step 20); 5-gram is at 1.75."
    )
    assert is_a_picture(chart)


def test_a_level_that_is_no_number_or_a_curve_without_any_gets_a_sentence():
    with pytest.raises(ValueError, match="A level"):
        plots.beside({}, {"your guess": "two"})
    with pytest.raises(ValueError, match="A curve is empty"):
        plots.beside({"yours": {}}, {})
