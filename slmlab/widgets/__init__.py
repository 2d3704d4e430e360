"""Panels to play with, of core ipywidgets only. No training logic lives here."""

from slmlab.widgets.explorer import NextTokenExplorer
from slmlab.widgets.playground import Playground
from slmlab.widgets.prediction import PredictionCard, predictions
from slmlab.widgets.quiz import Quiz
from slmlab.widgets.scrubber import Scrubber

__all__ = ["NextTokenExplorer", "Playground", "PredictionCard", "Quiz", "Scrubber", "predictions"]
