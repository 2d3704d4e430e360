"""Every figure of the course, one file a topic."""

from slmlab.show.plots.chart import Chart
from slmlab.show.plots.runs import (
    compared,
    loss_curves,
    memory_curves,
    parameter_breakdown,
    seed_spread,
    stopping_points,
    two_exams,
)
from slmlab.show.plots.verdict import (
    correlation_intervals,
    exam_curves,
    fitted,
    gap_against,
    grid_map,
    loss_against_overlap,
    phase_gaps,
    suspect_perplexities,
)

__all__ = [
    "Chart",
    "compared",
    "correlation_intervals",
    "exam_curves",
    "fitted",
    "gap_against",
    "grid_map",
    "loss_against_overlap",
    "loss_curves",
    "memory_curves",
    "parameter_breakdown",
    "phase_gaps",
    "seed_spread",
    "stopping_points",
    "suspect_perplexities",
    "two_exams",
]
