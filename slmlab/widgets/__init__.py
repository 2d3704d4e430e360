"""Panels to play with, of core ipywidgets only. No training logic lives here."""

from slmlab.widgets.scrubber import Scrubber

__all__ = ["Scrubber"]
