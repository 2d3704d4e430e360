"""What the figures of training show, on recorded runs."""

import pytest

import slmlab as lab
from slmlab.show import plots
from slmlab.study.diagnosis import early_stop
from slmlab.study.samples import scorecard_history


@pytest.fixture(scope="module")
def runs():
    return [lab.PHASES[1].recorded("right-sized", seed) for seed in range(2)]


def test_memory_has_three_panels_and_a_line_for_each_run(runs):
    chart = plots.memory_curves([scorecard_history(run) for run in runs])
    losses, copied, names = chart.axes
    assert [len(axes.lines) for axes in chart.axes] == [6, 2, 2]
    assert copied.get_ylim() == (0, 100)
    assert names.get_xlabel() == "step"
    labels = losses.get_legend_handles_labels()[1]
    assert labels == ["training", "validation", "held-out scripts"]
    assert chart._repr_png_().startswith(b"\x89PNG")


def test_memory_without_a_test_text_does_not_name_one():
    chart = plots.memory_curves([scorecard_history(lab.PHASES[1].recorded())])
    assert chart.axes[0].get_legend_handles_labels()[1] == ["training", "validation"]


def test_thick_lines_end_where_early_stopping_would(runs):
    chart = plots.stopping_points(runs, patience=2)
    assert len(chart.axes) == 2
    thick = chart.axes[0].lines[1]
    assert thick.get_xdata()[-1] == early_stop(runs[0], 2)["stops"]
    assert chart._repr_png_().startswith(b"\x89PNG")


def test_without_a_test_text_one_exam_is_drawn():
    assert len(plots.stopping_points([lab.PHASES[1].recorded()], patience=2).axes) == 1
