"""Panels to play with. No training logic lives here."""

from slmlab.show.widgets.calibration import calibration
from slmlab.show.widgets.chat import ChatPanel
from slmlab.show.widgets.decoding_bench import DecodingBench
from slmlab.show.widgets.explorer import NextTokenExplorer
from slmlab.show.widgets.guesses import predictions, start_over
from slmlab.show.widgets.playground import Playground
from slmlab.show.widgets.prediction import PredictionCard
from slmlab.show.widgets.quiz import Quiz
from slmlab.show.widgets.routes import RouteExplorer
from slmlab.show.widgets.ruling import RulingCards
from slmlab.show.widgets.scrubber import Scrubber
from slmlab.show.widgets.tokens import TokenExplorer

__all__ = [
    "ChatPanel",
    "DecodingBench",
    "NextTokenExplorer",
    "Playground",
    "PredictionCard",
    "Quiz",
    "RouteExplorer",
    "RulingCards",
    "Scrubber",
    "TokenExplorer",
    "calibration",
    "predictions",
    "start_over",
]
