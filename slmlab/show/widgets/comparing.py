"""The Playground's comparison: runs that are pinned side by side, in a table and a chart."""

import ipywidgets

from slmlab.engine.runs import Run
from slmlab.show.plots.chart import SERIES
from slmlab.show.plots.curves import compared
from slmlab.show.runs import evaluated
from slmlab.show.widgets import readout
from slmlab.show.widgets.controls import LABEL, filling
from slmlab.show.widgets.kept import KeptRuns
from slmlab.show.widgets.parts import problem_html, row

MAX_PINS = len(SERIES)  # each has its own colour
NONE_YET = "no run yet"


class Comparison:
    """Up to six kept runs side by side. `box` holds its widgets; `pinned` are the runs."""

    def __init__(self, kept: KeptRuns) -> None:
        self.pinned: list[Run] = []
        self._kept = kept
        self.choice = ipywidgets.Dropdown(
            options=[NONE_YET],
            description="run",
            style=LABEL,
            layout=filling("600px", flex="1 1 330px"),
        )
        self.pin = ipywidgets.Button(description="Pin", tooltip="lay the chosen run beside others")
        self.unpin = ipywidgets.Button(description="Unpin all", tooltip="clear the comparison")
        self.table = ipywidgets.HTML()
        self.table.add_class("slm-comparison").add_class("slm-live")
        self.chart = ipywidgets.HTML()
        self.pin.on_click(lambda _: self._pin())
        self.unpin.on_click(lambda _: self._show([]))
        self.box = ipywidgets.VBox(
            [
                ipywidgets.HTML("<h3>Compare runs</h3>"),
                row(self.choice, self.pin, self.unpin),
                self.table,
                self.chart,
            ]
        )
        self.list_runs()
        self._show([])

    def list_runs(self) -> None:
        """Offer the runs that there are, the newest first."""
        names = self._kept.names()
        self.choice.options = names or [NONE_YET]
        self.pin.disabled = not names

    def _pin(self) -> None:
        if len(self.pinned) >= MAX_PINS:
            self.table.value = problem_html(f"{MAX_PINS} runs are the most; unpin first.")
            return
        try:
            run = evaluated(self._kept.read(self.choice.value))
            self._show([p for p in self.pinned if p is not run] + [run])
        except Exception as error:  # the folder may hold anything, and the panel must say it
            self.table.value = problem_html(f"This run cannot be compared: {error}")

    def _show(self, runs: list[Run]) -> None:
        self.chart.value = compared(runs).html() if runs else ""
        self.table.value = readout.comparison(runs) if runs else "Nothing is pinned yet."
        self.unpin.layout.display = "" if runs else "none"
        self.pinned = runs
