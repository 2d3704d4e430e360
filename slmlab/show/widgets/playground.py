"""Tune a model's size, its data and its training; see what to expect; train it; compare."""

from html import escape
from pathlib import Path
from typing import Any

import ipywidgets

from slmlab.engine.config import Progress
from slmlab.engine.decoding import Decoding
from slmlab.engine.runs import SAMPLING, Run
from slmlab.engine.training import resolve_device
from slmlab.show.widgets import readout
from slmlab.show.widgets.comparing import Comparison
from slmlab.show.widgets.controls import (
    LABEL,
    advanced,
    basic,
    filling,
    make_controls,
    settings_after,
    show_settings,
)
from slmlab.show.widgets.dials import LADDER
from slmlab.show.widgets.kept import KeptRuns
from slmlab.show.widgets.live import LiveChart, chart_data, ghost_of, playback
from slmlab.show.widgets.looks import Looks
from slmlab.show.widgets.parts import Panel, framed, problem_html, sample_html
from slmlab.show.widgets.worker import Worker
from slmlab.study.baseline import number_to_beat
from slmlab.study.domain import PROMPTS
from slmlab.study.forecast import forecast, machine_factor, reference_ms
from slmlab.study.phases import PHASES
from slmlab.study.setups import Setup, preset
from slmlab.text.files import DataError

UNCHOSEN = ""  # of a list without a choice: with None a browser shows an empty line
TINY_MS = 5  # steps shorter than this tell more of the loop's overhead than of the machine
STYLE = Path(__file__).with_name("playground.css")
MORE, FEWER = "More settings", "Fewer settings"
WAITING = "What the model writes appears here at every evaluation."


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
        decoder: the choice of how the sample is drawn: as in training, or by a method of `LADDER`.

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
        self._factor = machine_factor()
        self._step_ms: float | None = None  # of the latest run
        self._ghost: list[dict[str, Any]] = []  # of the run before
        self._problem = ""  # why the set-up cannot be trained
        self._training = False  # as far as this panel has been told
        self._quiet = False  # while the panel itself moves its controls
        # The run's own sample behind the one that is shown, and who wrote that.
        self._written: tuple[dict[str, Any] | None, Decoding | None] = None, None
        self._make_widgets()
        self._connect()
        self.box = self._arranged()
        self._show_setup()
        self._show_sample()
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
        self.more = ipywidgets.ToggleButton(description=MORE, layout=filling())
        self.readout = _text("readout")
        self.train = ipywidgets.Button()
        self.status = _text("status")
        self.said = _text("said", live=True)
        self.scores = _text("scores")
        self.curves = LiveChart().add_class("slm-curves")
        self.prompt = ipywidgets.Dropdown(
            options=PROMPTS, description="prompt", style=LABEL, layout=filling("420px")
        )
        self.decoder = ipywidgets.Dropdown(
            options=[("as in training", SAMPLING), *LADDER.items()],
            description="written by",
            style=LABEL,
            layout=filling("420px"),
        )
        self.sample = _text("sample")
        self.state = ipywidgets.Text(
            description="as a string", continuous_update=False, style=LABEL, layout=filling()
        )
        self.state_problem = _text("state-problem", live=True)
        self.show_code = ipywidgets.ToggleButton(description="Show the code")
        self.code = _text("code")
        self.comparison = Comparison(self._kept_runs)

    def _connect(self) -> None:
        """What happens when something is moved, chosen or pressed."""
        for name, control in self.controls.items():
            control.observe(lambda _, name=name: self._change(name), "value")
        for widget, action in (
            (self.preset, self._choose_preset),
            (self.more, self._show_more),
            (self.state, self._parse_state),
            (self.show_code, self._show_code),
            (self.prompt, self._show_sample),
            (self.decoder, self._show_sample),
        ):
            widget.observe(lambda _, action=action: action(), "value")
        self.train.on_click(lambda _: self._stop() if self._training else self._start())

    def _arranged(self) -> ipywidgets.VBox:
        self._folded = ipywidgets.VBox(advanced(self.controls))
        self._show_more()
        knobs = ipywidgets.VBox(
            [
                self.preset,
                ipywidgets.VBox(basic(self.controls)).add_class("slm-basic"),
                self.more,
                self._folded,
                _heading("What to expect"),
                self.readout,
            ]
        )
        stage = ipywidgets.VBox(
            [
                ipywidgets.HBox([self.train, self.status]).add_class("slm-go"),
                self.said,
                self.scores,
                self.curves,
                self.prompt,
                self.decoder,
                self.sample,
            ]
        )
        bench = ipywidgets.Box([knobs, stage.add_class("slm-stage")]).add_class("slm-bench")
        return framed(
            "playground",
            _hidden(f"<style>{STYLE.read_text('utf-8')}</style>"),
            bench,
            self.comparison.box,
            _heading("Share this set-up"),
            self.state,
            self.state_problem,
            self.show_code,
            self.code,
            label="Playground",
        )

    # A control was moved, a phase chosen, a string pasted

    def _change(self, moved: str) -> None:
        if not self._quiet:
            # From where all controls stand: a move that was refused may be possible after the next.
            settings = settings_after(self.controls, moved)
            try:
                self.setup = self.setup.replace(**settings)
            except ValueError as error:
                self._refuse(f"This cannot be built: {error}")
            else:
                self._show_setup()

    def _choose_preset(self) -> None:
        if not self._quiet and self.preset.value != UNCHOSEN:
            seed = self.setup.training.seed
            self.setup = preset(self.preset.value).replace(seed=seed)
            self._show_setup()

    def _parse_state(self) -> None:
        if not self._quiet:
            try:
                self.setup = Setup.parse(self.state.value)
            except ValueError as error:
                self._refuse(f"This is no set-up: {error}")
            else:
                self._show_setup()
            self.state_problem.value = problem_html(self._problem)

    def _show_more(self) -> None:
        self._folded.layout.display = "" if self.more.value else "none"
        self.more.description = FEWER if self.more.value else MORE

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
        self.state_problem.value = ""
        self._look_ahead()
        self._show_button()
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
        # Begun nevertheless, such a training would take the kernel with it.
        self._problem = self.said.value = ahead.too_large
        if self.run is None:
            self._draw_nothing(ahead.steps)
        self._invite(f"Press Train: about {readout.duration(ahead.seconds)}.")

    def _invite(self, words: str) -> None:
        """Before the first training: what to press."""
        if self.run is None and not self._training:
            self.status.value = problem_html(self._kept_runs.problem) or words

    def _refuse(self, problem: str) -> None:
        self._invite("")
        self.readout.value = self.said.value = problem_html(problem)
        self._problem = problem
        self._show_button()

    def _show_code(self) -> None:
        shown = self.show_code.value and not self._problem
        code = f"<pre tabindex='0'>{escape(self.setup.code())}</pre>"
        self.code.value = code if shown else ""

    # Training

    def _show_button(self) -> None:
        """One button, so that the next thing to press is where the last one was."""
        self.train.description = "Stop" if self._training else "Train"
        self.train.button_style = "danger" if self._training else "success"
        self.train.disabled = bool(self._problem) and not self._training

    def _follow(self) -> None:
        """Show the training under way, if there is one, whoever began it."""
        worker = Worker.under_way()
        self._training = worker is not None  # first: once told of the end, nothing more is told
        if worker is not None and not worker.tell(self):
            self._training = False
        self._show_button()

    def _start(self) -> None:
        self._look_ahead()  # another program may have taken the memory since
        if self._problem:
            self._show_button()
            return
        # All this first: the thread may have something to say at once.
        self._training = True
        self._show_button()
        self._step_ms = None
        self.status.value = self.said.value = "The first evaluation, before any training …"
        self.sample.value = WAITING
        try:
            Worker.start(self.setup, self)
        except RuntimeError as error:  # another panel's training
            self.status.value = problem_html(str(error))
            self._follow()

    def _stop(self) -> None:
        self.status.value = "Stopping …"
        if worker := Worker.under_way():
            worker.stop()

    def wait(self, seconds: float | None = None) -> None:
        """Until the training under way, if any, has ended."""
        if Worker.latest is not None:
            Worker.latest.wait(seconds)

    def on_progress(self, run: Run, now: Progress, worker: Worker) -> None:
        """Called by the worker, in its thread."""
        self.run = run
        self._draw(run, worker.looks)
        if now.val_loss is not None:
            self._kept_runs.save(run, worker.began)
        planned = run.state.planned_steps
        if now.eta and planned:
            self._step_ms = 1000 * now.eta / (planned - now.step)
        if not worker.stopping:
            self.status.value = readout.under_way(run, now)

    def on_end(self, run: Run | None, problem: str, worker: Worker) -> None:
        """Called by the worker, in its thread."""
        self.status.value = problem_html(problem)
        try:
            if run is not None:
                self._take(run, worker, ended_well=not problem)
        finally:
            self.said.value = self.status.value
            self._training = False
            self._show_button()

    def _take(self, run: Run, worker: Worker, ended_well: bool) -> None:
        """Keep a run that ended, show it, and learn from it."""
        self.run = run
        unsaved = self._kept_runs.add(run, worker.began)
        self.comparison.list_runs()
        if ended_well:
            self._learn_speed(run)
            self._draw(run, worker.looks)
            self._ghost = ghost_of(run, worker.looks)
            self.status.value = readout.ended(run) + problem_html(unsaved)

    def _learn_speed(self, run: Run) -> None:
        """The next forecast rests on how fast this run was, if its steps were not tiny."""
        reference = reference_ms(run.model.config, run.config.batch_size)
        if self._step_ms is not None and reference >= TINY_MS:
            self._factor = self._step_ms / reference

    # The chart, the headline and the sample

    def _draw_nothing(self, planned: int) -> None:
        """Before the first training: what there is to beat, and in how many steps."""
        to_beat = number_to_beat(self.setup.dataset()).test_bits
        self.curves.data = chart_data(to_beat, planned=planned)
        self.scores.value = readout.scores(to_beat)

    def _draw(self, run: Run, looks: Looks) -> None:
        to_beat = number_to_beat(run.dataset).test_bits
        self.curves.data = chart_data(to_beat, run, looks, self._ghost)
        later = [bits for step, bits in looks.held_out[-1:] if step > run.last.step]
        self.scores.value = readout.scores(to_beat, run, *later)
        self._show_sample()

    def _show_sample(self) -> None:
        samples = self.run.samples if self.run is not None else []
        latest = next((s for s in reversed(samples) if s["prompt"] == self.prompt.value), None)
        decoding = self.decoder.value
        if latest is None:
            self.sample.value = WAITING
        elif decoding == SAMPLING:
            self._show_written(latest)
        elif latest is not self._written[0] or decoding != self._written[1]:
            self._write(latest["prompt"], decoding)  # only once for each evaluation: it takes time
        self._written = latest, decoding

    def _write(self, prompt: str, decoding: Decoding) -> None:
        try:
            self._show_written(self.run.take_sample(prompt, **vars(decoding)))
        except ValueError as error:  # the decoding does not suit the prompt, or this Python
            self.sample.value = problem_html(str(error))

    def _show_written(self, sample: dict[str, Any]) -> None:
        wrote = sample_html(sample["text"])
        self.sample.value = f"What it wrote at step {sample['step']:,}:{wrote}"

    def static(self) -> str:
        """The set-up, what to expect of it, and a recorded run to play back."""
        return (
            f"<p>The Playground, at <code>{escape(str(self.setup))}</code>. Run the notebook to "
            f"move its controls and to train. Without a kernel you can play back a recorded run of "
            f"{PHASES[2].title}.</p>{playback(PHASES[2].recorded('right-sized'))}"
        )


def _text(name: str, live: bool = False) -> ipywidgets.HTML:
    """A part that shows text; what changes in a `live` one is read out."""
    html = ipywidgets.HTML()
    html.add_class(f"slm-{name}")
    return html.add_class("slm-live") if live else html


def _heading(text: str) -> ipywidgets.HTML:
    return ipywidgets.HTML(f"<h3>{text}</h3>")


def _hidden(html: str) -> ipywidgets.HTML:
    return ipywidgets.HTML(html, layout={"display": "none"})
