"""Every figure of the course, one file a topic."""

from slmlab.show.plots.building import beside, matrices
from slmlab.show.plots.chart import Chart
from slmlab.show.plots.curves import (
    compared,
    exam_curves,
    loss_curves,
    two_exams,
)
from slmlab.show.plots.decoding import decoders
from slmlab.show.plots.experts import budgets, drifts, saturation
from slmlab.show.plots.ladder import ladder
from slmlab.show.plots.leaks import loss_against_overlap, suspect_perplexities
from slmlab.show.plots.overtraining import memory_curves, stopping_points
from slmlab.show.plots.sizes import bits_by_size, parameter_breakdown
from slmlab.show.plots.speed import cache_speed
from slmlab.show.plots.spread import correlation_intervals, phase_gaps, seed_spread
from slmlab.show.plots.techniques import changes
from slmlab.show.plots.vocabularies import vocabulary_scores

__all__ = [
    "Chart",
    "beside",
    "bits_by_size",
    "budgets",
    "cache_speed",
    "changes",
    "compared",
    "correlation_intervals",
    "decoders",
    "drifts",
    "exam_curves",
    "ladder",
    "loss_against_overlap",
    "loss_curves",
    "matrices",
    "memory_curves",
    "parameter_breakdown",
    "phase_gaps",
    "saturation",
    "seed_spread",
    "stopping_points",
    "suspect_perplexities",
    "two_exams",
    "vocabulary_scores",
]
