"""Tune a model's size, its data and its training; see what to expect; train it; compare."""

import threading
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets
import psutil

from slmlab.engine.config import Progress
from slmlab.engine.runs import Run
from slmlab.engine.training import resolve_device
from slmlab.show.plots.chart import SERIES
from slmlab.show.plots.curves import compared, two_exams
from slmlab.show.runs import evaluated
from slmlab.show.widgets import readout
from slmlab.show.widgets.controls import (
    filling,
    grouped,
    make_controls,
    settings_after,
    show_settings,
)
from slmlab.show.widgets.kept import KeptRuns
from slmlab.show.widgets.parts import LABEL, Panel, framed, problem_html, row, sample_html
from slmlab.show.widgets.worker import Worker
from slmlab.study.domain import PROMPTS
from slmlab.study.forecast import forecast, machine_factor, reference_ms
from slmlab.study.phases import PHASES
from slmlab.study.setups import Setup, preset
from slmlab.text.files import DataError

LOSSES = "Training, validation and held-out loss"
UNCHOSEN = ""  # of a list without a choice: with None a browser shows an empty line
MAX_PINS = len(SERIES)  # each has its own colour
REFRESH = 0.2  # seconds between two updates of the progress bar
TINY_MS = 5  # steps shorter than this tell more of the loop's overhead than of the machine
# Widgets have no setting for these: lines of text that stand close, pictures that keep their place
# while the next one is loaded, code and tables that are wider than a narrow page.
STYLE = """<style>
.slm-playground .widget-html-content { line-height: 1.4; }
.slm-playground p { margin: 6px 0; }
.slm-playground .widget-image { max-width: calc(100% - 4px); aspect-ratio: 700 / 380; }
.slm-playground .slm-code pre { white-space: pre; overflow-x: auto; }
.slm-playground .slm-comparison td + td, .slm-playground th { white-space: nowrap; }
</style>"""


class Playground(Panel):
    """Every knob of a training run, what it will cost and probably give, and the run itself.

    `state` is a set-up as text (see `Setup.parse`): a teacher pastes it to the class. What was
    trained is written to `folder` at every evaluation, as a history without weights, so that a
    kernel that is restarted loses none; a panel that is opened anew shows the training that is
    still under way.

    Attributes:
        setup: what the controls stand at.
        run: the latest run, with its weights; None before the first.
        controls: the control of each setting, by its name.

    Raises:
        ValueError: if `state` is not a set-up.
        DataError: if `folder` can be no path.
    """

    def __init__(
        self, state: str = "phase-2", folder: Path | str = Path("playground_runs")
    ) -> None:
        self.setup = Setup.parse(state)
        self.run: Run | None = None
        self._kept_runs = KeptRuns(folder)
        self._pinned: list[Run] = []
        self._factor = machine_factor()
        self._step_ms: float | None = None  # of the latest run
        self._refreshed = 0.0  # when the progress bar was last updated
        self._refused = False  # the set-up cannot be trained
        self._quiet = False  # while the panel itself moves its controls
        self._drawing = threading.Lock()  # one picture at a time
        self._make_widgets()
        self._connect()
        self.box = self._arranged()
        self._show_setup()
        self._list_runs()
        self._compare([])
        self.status.value = problem_html(self._kept_runs.problem) or "Press Train."
        self._follow()

    # What the panel looks like

    def _make_widgets(self) -> None:
        self.preset = ipywidgets.Dropdown(
            options=[("choose …", UNCHOSEN)] + [(p.title, p.number) for p in PHASES],
            description="start from",
            style=LABEL,
            layout=filling(),
        )
        self.controls = make_controls()
        self.state = ipywidgets.Text(
            description="as a string", continuous_update=False, style=LABEL, layout=filling()
        )
        self.show_code = ipywidgets.ToggleButton(description="Show the code")
        self.code = _text("code")
        self.readout = _text("readout", min_height="400px")
        self.start = _button("Train", "success", "train this set-up")
        self.stop = _button("Stop", "danger", "end the training; what was trained is kept")
        self.pin = _button("Pin", "", "lay the chosen run beside others")
        self.unpin = _button("Unpin all", "", "clear the comparison")
        self.kept = ipywidgets.Dropdown(
            options=["no run yet"],
            description="run",
            style=LABEL,
            layout=filling("600px", flex="1 1 330px"),
        )
        self.bar = ipywidgets.FloatProgress(min=0, max=1, layout=filling(flex="1 1 200px"))
        self.status = _text("status", min_height="60px")
        self.prompt = ipywidgets.Dropdown(
            options=PROMPTS, description="prompt", style=LABEL, layout=filling("420px")
        )
        self.sample = _text("sample", height="150px")
        self.headline = _text("headline")
        self.curves = _picture(readout.no_curves())
        self.curves.add_class("slm-curves")
        self.comparison = _text("comparison")
        self.overlay = _picture(b"")

    def _connect(self) -> None:
        """What happens when something is moved, chosen or pressed."""
        for name, control in self.controls.items():
            control.observe(lambda _, name=name: self._change(name), "value")
        for widget, action in (
            (self.preset, self._choose_preset),
            (self.state, self._parse_state),
            (self.show_code, self._show_code),
            (self.prompt, self._show_sample),
        ):
            widget.observe(lambda _, action=action: action(), "value")
        for button, action in (
            (self.start, self._start),
            (self.stop, self._stop),
            (self.pin, self._pin),
            (self.unpin, self._unpin),
        ):
            button.on_click(lambda _, action=action: action())

    def _arranged(self) -> ipywidgets.VBox:
        left = ipywidgets.VBox(
            [self.preset, *grouped(self.controls)],
            layout=ipywidgets.Layout(flex="0 1 340px", margin="0 16px 0 0"),
        )
        right = ipywidgets.VBox(
            [
                self.state,
                row(self.start, self.stop, self.bar),
                self.status,
                ipywidgets.HTML("<b>What to expect</b>"),
                self.readout,
            ],
            layout=ipywidgets.Layout(flex="1 1 340px"),
        )
        return framed(
            "playground",
            ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none")),
            row(left, right),
            self.show_code,
            self.code,
            self.headline,
            self.curves,
            self.prompt,
            self.sample,
            row(self.kept, row(self.pin, self.unpin)),
            self.comparison,
            self.overlay,
        )

    # A control was moved, a phase chosen, a string pasted

    def _change(self, moved: str) -> None:
        if not self._quiet:
            # From where all controls stand: a move that was refused may be possible after the next.
            settings = settings_after(self.controls, moved)
            self._try(lambda: self.setup.replace(**settings), "This cannot be built: ")

    def _choose_preset(self) -> None:
        if not self._quiet and self.preset.value != UNCHOSEN:
            seed = self.setup.training.seed
            self._try(lambda: preset(self.preset.value).replace(seed=seed))

    def _parse_state(self) -> None:
        if not self._quiet:
            self._try(lambda: Setup.parse(self.state.value), "This is no set-up: ")

    def _try(self, make: Callable[[], Setup], complaint: str = "") -> None:
        """Take a new set-up, or say why there is none and leave the last good one in force."""
        try:
            self.setup = make()
        except ValueError as error:
            self._refuse(f"{complaint}{error}")
        else:
            self._show_setup()

    def _show_setup(self) -> None:
        self._quiet = True
        try:
            show_settings(self.controls, self.setup.values())
            self.state.value = str(self.setup)
            unseeded = self.setup.replace(seed=0)
            phases = [p for p in PHASES if preset(p.number) == unseeded]
            self.preset.value = phases[0].number if phases else UNCHOSEN
        finally:
            self._quiet = False
        self._refused = False
        self._look_ahead()
        self.start.disabled = self._refused or Worker.under_way() is not None
        self._show_code()

    def _look_ahead(self) -> None:
        """Say what to expect, or why the set-up cannot be trained here."""
        try:
            resolve_device(self.setup.training.device)
            ahead = forecast(self.setup, self._factor)
        except (ValueError, DataError) as error:
            self._refuse(str(error))
            return
        self.readout.value = readout.expected(ahead)
        # A warning says so; begun nevertheless, the training would take the kernel with it.
        self._refused = ahead.megabytes > psutil.virtual_memory().available / 1e6

    def _refuse(self, problem: str) -> None:
        self.readout.value = problem_html(problem)
        self._refused = True
        self.start.disabled = True

    def _show_code(self) -> None:
        shown = self.show_code.value and not self._refused
        self.code.value = f"<pre>{escape(self.setup.code())}</pre>" if shown else ""

    # Training

    def _training(self, under_way: bool) -> None:
        self.start.disabled = under_way or self._refused
        self.stop.disabled = not under_way

    def _follow(self) -> None:
        """Show the training under way, if there is one, whoever began it."""
        worker = Worker.under_way()
        self._training(worker is not None)  # first: once told of the end, nothing more is told
        if worker is not None and not worker.tell(self):
            self._training(False)

    def _start(self) -> None:
        # All this first: the thread may have something to say at once.
        self._training(True)
        self._step_ms = None
        self.bar.value = 0
        self.bar.bar_style = ""
        self.status.value = "The first evaluation, before any training …"
        try:
            Worker.start(self.setup, self)
        except RuntimeError as error:  # another panel's training
            self.status.value = problem_html(str(error))
            self._follow()

    def _stop(self) -> None:
        self.stop.disabled = True
        self.status.value = "Stopping …"
        if worker := Worker.under_way():
            worker.stop()

    def wait(self, seconds: float | None = None) -> None:
        """Until the training under way, if any, has ended."""
        if Worker.latest is not None:
            Worker.latest.wait(seconds)

    def on_progress(self, run: Run, now: Progress, began: str) -> None:
        """Called by the worker, in its thread."""
        self.run = run
        if now.val_loss is not None:
            self._draw(run)
            self._kept_runs.save(run, began)
        elif time.monotonic() - self._refreshed < REFRESH:
            return
        self._refreshed = time.monotonic()
        planned = run.state.planned_steps
        if now.eta and planned:
            self._step_ms = 1000 * now.eta / (planned - now.step)
        self.bar.value = now.step / planned if planned else 0
        if not self.stop.disabled:
            self.status.value = readout.under_way(run, now)

    def on_end(self, run: Run | None, problem: str, began: str) -> None:
        """Called by the worker, in its thread."""
        self.status.value = problem_html(problem)
        try:
            if run is not None:
                self._take(run, began, ended_well=not problem)
        finally:
            self._training(False)

    def _take(self, run: Run, began: str, ended_well: bool) -> None:
        """Keep a run that ended, show it, and learn from it."""
        self.run = run
        unsaved = self._kept_runs.add(run, began)
        self._list_runs()
        if ended_well:
            self._learn_speed(run)
            self._draw(run)
            self.bar.value = 1
            self.bar.bar_style = "success" if run.state.status == "finished" else "warning"
            self.status.value = readout.ended(run) + problem_html(unsaved)

    def _learn_speed(self, run: Run) -> None:
        """The next forecast rests on how fast this run was, if its steps were not tiny."""
        reference = reference_ms(run.model.config, run.config.batch_size)
        if self._step_ms is not None and reference >= TINY_MS:
            self._factor = self._step_ms / reference

    def _draw(self, run: Run) -> None:
        with self._drawing:
            chart = two_exams([run], title=LOSSES)  # a set-up is always tested
            [axes] = chart.axes
            planned = run.state.planned_steps or max(1, run.state.step)
            # As long as the training is to be, so that the axis stands still.
            axes.set_xlim(-planned / 25, planned * 1.04)
            self.curves.value = chart._repr_png_()
            self.headline.value = readout.headline(run)
        self._show_sample()

    def _show_sample(self) -> None:
        samples = self.run.samples if self.run is not None else []
        latest = next((s for s in reversed(samples) if s["prompt"] == self.prompt.value), None)
        if latest is None:
            self.sample.value = "What the model writes appears here at every evaluation."
        else:
            wrote = sample_html(latest["text"])
            self.sample.value = f"What it wrote at step {latest['step']:,}:{wrote}"

    # Comparing

    def _list_runs(self) -> None:
        names = self._kept_runs.names()
        self.kept.options = names or ["no run yet"]
        self.pin.disabled = not names

    def _pin(self) -> None:
        if len(self._pinned) >= MAX_PINS:
            self.comparison.value = problem_html(f"{MAX_PINS} runs are the most; unpin first.")
            return
        try:
            run = evaluated(self._kept_runs.read(self.kept.value))
            self._compare([p for p in self._pinned if p is not run] + [run])
        except Exception as error:  # the folder may hold anything, and the panel must say it
            self.comparison.value = problem_html(f"This run cannot be compared: {error}")

    def _unpin(self) -> None:
        self._compare([])

    def _compare(self, runs: list[Run]) -> None:
        table = readout.comparison(runs) if runs else "Nothing is pinned yet."
        with self._drawing:
            self.overlay.value = compared(runs)._repr_png_() if runs else b""
        self.overlay.layout.display = "" if runs else "none"
        self.comparison.value = table
        self._pinned = runs

    def static(self) -> str:
        """The set-up and what to expect of it."""
        return (
            f"<p>The Playground, at <code>{escape(str(self.setup))}</code>. Run the notebook to "
            f"move its controls and to train.</p>{self.readout.value}"
        )


def _text(name: str, **layout: Any) -> ipywidgets.HTML:
    """Text; a height that holds whatever is shown keeps what is below it from moving."""
    html = ipywidgets.HTML(layout=ipywidgets.Layout(overflow="auto", **layout))
    html.add_class(f"slm-{name}")
    return html


def _button(label: str, style: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(description=label, button_style=style, tooltip=tooltip)


def _picture(png: bytes) -> ipywidgets.Image:
    return ipywidgets.Image(value=png, format="png", layout=ipywidgets.Layout(width="700px"))
