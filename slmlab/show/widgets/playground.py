"""Tune a model's size, its data and its training; see what to expect; train it; compare."""

import threading
import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets

from slmlab.engine.config import Progress
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import PARAMETER_COLOURS, SERIES, Chart
from slmlab.show.plots.runs import compared, loss_curves
from slmlab.show.widgets.parts import LABEL, Panel, framed, row, sample_html, table_html
from slmlab.show.widgets.worker import Worker
from slmlab.study.diagnosis import gap_band
from slmlab.study.domain import PROMPTS
from slmlab.study.forecast import Forecast, forecast, machine_factor, reference_ms
from slmlab.study.phases import PHASES
from slmlab.study.setups import Setup, preset
from slmlab.text.files import DataError

OFF = "off"  # a slider cannot stand at None
BPE_SIZES = (300, 500, 700, 1000)
# What each slider offers. A set-up given as text may have other values; they are added then.
OFFERED: dict[str, Sequence[Any]] = {
    "n_layer": (1, 2, 3, 4, 6, 8),
    "n_head": (1, 2, 3, 4, 6, 8),
    "n_embd": (16, 32, 48, 64, 96, 128, 192, 256, 384),
    "block_size": (8, 16, 32, 64, 128, 256),
    "dropout": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
    "n_tokens": (1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 23_000),
    "learning_rate": (1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2),
    "batch_size": (1, 2, 4, 8, 12, 16, 32),
    "weight_decay": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
    "label_smoothing": (0.0, 0.05, 0.1, 0.2),
    "max_steps": (None, 50, 100, 200, 500, 1_000, 2_000, 3_000),
    "seconds": (None, 5, 10, 20, 40, 60, 120, 300),
    "patience": (None, 1, 2, 3, 5, 8),
    "seed": tuple(range(10)),
}
LABELS = {
    "n_layer": "layers",
    "n_head": "heads",
    "n_embd": "width",
    "block_size": "context (tokens)",
    "dropout": "dropout",
    "n_tokens": "text (tokens)",
    "vocabulary": "vocabulary",
    "learning_rate": "learning rate",
    "batch_size": "batch (sequences)",
    "weight_decay": "weight decay",
    "label_smoothing": "label smoothing",
    "max_steps": "steps",
    "seconds": "or time (seconds)",
    "patience": "patience (exams)",
    "seed": "seed",
}
GROUPS = {
    "The model": ("n_layer", "n_head", "n_embd", "block_size", "dropout"),
    "Its text": ("n_tokens", "vocabulary"),
    "Its training": (
        "learning_rate",
        "batch_size",
        "weight_decay",
        "label_smoothing",
        "max_steps",
        "seconds",
        "patience",
        "seed",
    ),
}
UNCHOSEN = ""  # of a list without a choice: with None a browser shows an empty line
MAX_PINS = len(SERIES)
# Widgets have no setting for these: lines of text that stand close, pictures that keep their place
# while the next one is loaded, code and tables that are wider than a narrow page.
STYLE = """<style>
.slm-playground .widget-html-content { line-height: 1.4; }
.slm-playground p { margin: 6px 0; }
.slm-playground .widget-image { max-width: calc(100% - 4px); aspect-ratio: 700 / 380; }
.slm-playground .slm-code pre { white-space: pre; overflow-x: auto; }
.slm-playground .slm-comparison td + td, .slm-playground th { white-space: nowrap; }
</style>"""
REFRESH = 0.2  # seconds between two updates of the progress bar
FOLDER = Path("playground_runs")


class Playground(Panel):
    """Every knob of a training run, what it will cost and probably give, and the run itself.

    `state` is a set-up as text (see `Setup.parse`): a teacher pastes it to the class. What was
    trained is written to `folder` at every evaluation, as a record without weights, so that a
    kernel that is restarted loses none; a panel that is opened anew shows the training that is
    still under way.

    Attributes:
        setup: what the controls stand at.
        run: the latest run, with its weights; None before the first.
        controls: the control of each setting, by its name.

    Raises:
        ValueError: if `state` is not a set-up.
    """

    def __init__(self, state: str = "phase-2", folder: Path | str = FOLDER) -> None:
        self.setup = Setup.parse(state)
        self.run: Run | None = None
        self._folder = Path(folder)
        self._runs: dict[str, Run | Path] = self._kept()
        self._pins: list[Run] = []
        self._factor = machine_factor()
        self._step_ms: float | None = None  # of the latest run
        self._drawn = 0.0  # when the progress bar was last updated
        self._refused = False  # the set-up cannot be trained
        self._quiet = False  # while the panel itself moves its controls
        self._lock = threading.Lock()  # one picture at a time
        self._build()
        self._show_setup()
        self._list_runs()
        worker = Worker.current
        if worker is not None and worker.is_alive():
            worker.viewer = self
            self._training(True)

    # What the panel looks like

    def _build(self) -> None:
        self.preset = ipywidgets.Dropdown(
            options=[("choose …", UNCHOSEN)] + [(p.title, p.number) for p in PHASES],
            description="start from",
            style=LABEL,
            layout=_filling(),
        )
        self.controls = {name: _slider(name) for name in OFFERED}
        vocabularies = [("right-sized", "right-sized"), ("GPT-2's (50,257)", "gpt2")]
        vocabularies += [(f"BPE of {n:,}", f"bpe-{n}") for n in BPE_SIZES]
        self.controls["vocabulary"] = ipywidgets.Dropdown(
            options=vocabularies,
            description=LABELS["vocabulary"],
            style=LABEL,
            layout=_filling(),
        )
        self.state = ipywidgets.Text(
            description="as a string",
            continuous_update=False,
            style=LABEL,
            layout=_filling(),
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
            layout=_filling("600px", flex="1 1 330px"),
        )
        self.bar = ipywidgets.FloatProgress(min=0, max=1, layout=_filling(flex="1 1 200px"))
        self.status = _text("status", "Press Train.", min_height="60px")
        self.prompt = ipywidgets.Dropdown(
            options=PROMPTS, description="prompt", style=LABEL, layout=_filling("420px")
        )
        self.sample = _text("sample", height="150px")
        self.curves = _picture(_blank("Press Train to see the losses"))
        self.curves.add_class("slm-curves")
        self.comparison = _text("comparison", "Nothing is pinned yet.")
        self.overlay = _picture(b"")
        self.overlay.layout.display = "none"

        self.preset.observe(self._choose_preset, "value")
        for name, control in self.controls.items():
            control.observe(lambda _, name=name: self._change(name), "value")
        self.state.observe(self._restore, "value")
        self.show_code.observe(lambda _: self._show_code(), "value")
        self.prompt.observe(lambda _: self._show_sample(), "value")
        for button, action in (
            (self.start, self._start),
            (self.stop, self._stop),
            (self.pin, self._pin),
            (self.unpin, self._unpin),
        ):
            button.on_click(lambda _, action=action: action())
        self._training(False)

        groups = []
        for title, names in GROUPS.items():
            heading = ipywidgets.HTML(f"<b>{title}</b>")
            groups += [heading, *(self.controls[name] for name in names)]
        left = ipywidgets.VBox(
            [self.preset, *groups],
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
        self.box = framed(
            "playground",
            ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none")),
            row(left, right),
            self.show_code,
            self.code,
            self.curves,
            self.prompt,
            self.sample,
            row(self.kept, row(self.pin, self.unpin)),
            self.comparison,
            self.overlay,
        )

    # A control was moved, a phase chosen, a string pasted

    def _change(self, name: str) -> None:
        if self._quiet:
            return
        # From where all controls stand: a change that was refused may become possible by the next.
        changes = {n: None if c.value == OFF else c.value for n, c in self.controls.items()}
        value = changes[name]
        # Steps and seconds exclude each other.
        if name in ("max_steps", "seconds"):
            other = "seconds" if name == "max_steps" else "max_steps"
            changes[other] = None if value is not None else OFFERED[other][3]
        self._try(lambda: self.setup.replace(**changes), "This cannot be built")

    def _choose_preset(self, change: dict[str, Any]) -> None:
        if change["new"] != UNCHOSEN and not self._quiet:
            seed = self.setup.training.seed
            self._try(lambda: preset(change["new"]).replace(seed=seed), "")

    def _restore(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._try(lambda: Setup.parse(change["new"]), "This is no set-up")

    def _try(self, make: Callable[[], Setup], complaint: str) -> None:
        """Take a new set-up, or say why there is none and leave the last good one in force."""
        try:
            self.setup = make()
        except ValueError as error:
            self.readout.value = _problem(f"{complaint}: {error}")
            self._refused = True
            self.start.disabled = True
            return
        self._show_setup()

    def _show_setup(self) -> None:
        self._quiet = True
        try:
            values = self.setup.values()
            for name, control in self.controls.items():
                _stand_at(control, name, values[name])
            self.state.value = str(self.setup)
            unseeded = self.setup.replace(seed=0)
            phases = [p for p in PHASES if preset(p.number) == unseeded]
            self.preset.value = phases[0].number if phases else UNCHOSEN
        finally:
            self._quiet = False
        self._refused = False
        try:
            self.readout.value = _expected(forecast(self.setup, self._factor))
        except ValueError as error:
            self.readout.value = _problem(str(error))
            self._refused = True
        self.start.disabled = self._refused or self._busy()
        self._show_code()

    def _show_code(self) -> None:
        shown = self.show_code.value and not self._refused
        self.code.value = f"<pre>{escape(self.setup.code())}</pre>" if shown else ""

    # Training

    def _busy(self) -> bool:
        return Worker.current is not None and Worker.current.is_alive()

    def _training(self, under_way: bool) -> None:
        self.start.disabled = under_way or self._refused
        self.stop.disabled = not under_way

    def _start(self) -> None:
        # All this first: the thread may have something to say at once.
        self._training(True)
        self._step_ms = None
        self.bar.value = 0
        self.bar.bar_style = ""
        self.status.value = "The first evaluation, before any training …"
        try:
            Worker.start(self.setup, self)
        except RuntimeError as error:
            self.status.value = _problem(str(error))

    def _stop(self) -> None:
        self.stop.disabled = True
        self.status.value = "Stopping …"
        if Worker.current is not None:
            Worker.current.stop()

    def wait(self, seconds: float | None = None) -> None:
        """Until the training under way, if any, has ended."""
        if Worker.current is not None:
            Worker.current.wait(seconds)

    def on_progress(self, run: Run, now: Progress) -> None:
        """Called by the worker, in its thread."""
        self.run = run
        if now.val_loss is not None:
            self._draw(run)
            self._keep(run)
        clock = time.monotonic()
        if clock - self._drawn < REFRESH and now.val_loss is None:
            return
        self._drawn = clock
        planned = run.state.planned_steps
        if now.eta:
            self._step_ms = 1000 * now.eta / (planned - now.step)
        self.bar.value = now.step / planned if planned else 0
        left = f", about {now.eta:,.0f} s to go" if now.eta is not None else ""
        evaluated = run.state.history[-1]
        if not self.stop.disabled:
            self.status.value = (
                f"Step {now.step:,}{f' of {planned:,}' if planned else ''}{left}. At step "
                f"{evaluated.step:,}: training loss {evaluated.train_loss:.2f}, validation loss "
                f"{evaluated.val_loss:.2f}, gap {run.gap:+.2f} nats per token."
            )

    def on_end(self, run: Run | None, problem: str) -> None:
        """Called by the worker, in its thread."""
        self.run = run or self.run
        if run is not None and not problem:
            self._learn_speed(run)
            self._draw(run)
            problem = self._keep(run)
            self.bar.value = 1
            self.bar.bar_style = "success" if run.state.status == "finished" else "warning"
            self.status.value = _ended(run) + _problem(problem)
        else:
            self.status.value = _problem(problem)
        if run is not None:
            # What is on the disk need not stay in memory, with its weights.
            kept = run if problem else self._record_of(run)
            self._runs[_unused(run.name, self._runs)] = kept
            self._list_runs()
        self._training(False)

    def _learn_speed(self, run: Run) -> None:
        """The next forecast rests on how fast this run was, if its steps were not tiny."""
        reference = reference_ms(run.model.config, run.config.batch_size)
        if self._step_ms is not None and reference >= 5:
            self._factor = self._step_ms / reference

    def _keep(self, run: Run) -> str:
        """Write the run's record to the folder; what went wrong, if anything, as a sentence."""
        try:
            run.save(self._record_of(run), keep="history")
        except DataError as error:
            return str(error)
        return ""

    def _record_of(self, run: Run) -> Path:
        return self._folder / f"{Worker.current.began} {run.name}"

    def _kept(self) -> dict[str, Path]:
        """Runs of earlier sessions, by name; they are read when they are pinned."""
        if not self._folder.is_dir():
            return {}
        folders = sorted(p for p in self._folder.iterdir() if (p / "run.json").is_file())
        return {f"kept: {folder.name}": folder for folder in folders}

    def _draw(self, run: Run) -> None:
        with self._lock:
            chart = loss_curves(run)
            [axes] = chart.axes
            planned = run.state.planned_steps or max(1, run.state.step)
            # As long as the training is to be, so that the axis stands still; with room on top
            # for what is written beside the first point.
            axes.set(xlim=(-planned / 25, planned * 1.04), ylim=(0, 1.1 * axes.get_ylim()[1]))
            self.curves.value = chart._repr_png_()
        self._show_sample()

    def _show_sample(self) -> None:
        texts = [
            s for s in (self.run.samples if self.run else []) if s["prompt"] == self.prompt.value
        ]
        if texts:
            step, text = texts[-1]["step"], texts[-1]["text"]
            self.sample.value = f"What it wrote at step {step:,}:{sample_html(text)}"
        else:
            self.sample.value = "What the model writes appears here at every evaluation."

    # Comparing

    def _list_runs(self) -> None:
        self.kept.options = list(self._runs)[::-1] or ["no run yet"]
        self.pin.disabled = not self._runs

    def _pin(self) -> None:
        name = self.kept.value
        try:
            run = self._runs[name]
            if isinstance(run, Path):
                run = self._runs[name] = Run.load(run)
        except (DataError, KeyError) as error:
            self.comparison.value = _problem(str(error))
            return
        if len(self._pins) >= MAX_PINS:
            self.comparison.value = _problem(f"{MAX_PINS} runs are the most; unpin first.")
            return
        if not any(run is pinned for pinned in self._pins):
            self._pins.append(run)
        self._compare()

    def _unpin(self) -> None:
        self._pins.clear()
        self._compare()

    def _compare(self) -> None:
        self.overlay.layout.display = "" if self._pins else "none"
        if not self._pins:
            self.comparison.value = "Nothing is pinned yet."
            return
        self.comparison.value = _comparison(self._pins)
        with self._lock:
            self.overlay.value = compared(self._pins)._repr_png_()

    def static(self) -> str:
        """The set-up and what to expect of it."""
        return (
            f"<p>The Playground, at <code>{escape(str(self.setup))}</code>. Run the notebook to "
            f"move its controls and to train.</p>{self.readout.value}"
        )


def _slider(name: str) -> ipywidgets.SelectionSlider:
    options = [_option(value) for value in OFFERED[name]]
    return ipywidgets.SelectionSlider(
        options=options, description=LABELS[name], style=LABEL, layout=_filling()
    )


def _option(value: Any) -> tuple[str, Any]:
    if value is None:
        return (OFF, OFF)
    return (f"{value:,}" if isinstance(value, int) else f"{value:g}", value)


def _stand_at(control: ipywidgets.Widget, name: str, value: Any) -> None:
    """Move a control to a value, which is added to those on offer if it is not among them."""
    values = [v for _, v in control.options]
    value = OFF if value is None else value
    if value not in values:
        if name == "vocabulary":
            control.options = [*control.options, (value, value)]
        else:
            numbers = sorted({v for v in values if v != OFF} | {value})
            control.options = [_option(v) for v in ([None] if OFF in values else []) + numbers]
    control.value = value


def _filling(most: str | None = None, flex: str | None = None) -> ipywidgets.Layout:
    """As wide as its place, up to `most`; in a row, `flex` says from where on it goes below."""
    return ipywidgets.Layout(width="auto", min_width="0", max_width=most, flex=flex)


def _text(name: str, value: str = "", **layout: str) -> ipywidgets.HTML:
    """Text; a height that holds whatever is shown keeps what is below it from moving."""
    html = ipywidgets.HTML(value, layout=ipywidgets.Layout(overflow="auto", **layout))
    html.add_class(f"slm-{name}")
    return html


def _button(label: str, style: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(description=label, button_style=style, tooltip=tooltip)


def _picture(png: bytes) -> ipywidgets.Image:
    return ipywidgets.Image(value=png, format="png", layout=ipywidgets.Layout(width="700px"))


def _blank(title: str) -> bytes:
    chart = Chart()
    axes = chart.subplots()
    axes.set(title=title, xlabel="step", ylabel="loss (nats per token)", ylim=(0, 8), xticks=[])
    return chart._repr_png_()


def _problem(text: str) -> str:
    return (
        f"<span style='color:var(--jp-error-color1, #b30000)'><b>!</b> {escape(text)}</span>"
        if text
        else ""
    )


def _expected(ahead: Forecast) -> str:
    """What a forecast says, as a table, a bar of where the parameters sit, and warnings."""
    ratio = ahead.params_per_token
    rows = [
        ["parameters", f"{ahead.config.n_params:,}"],
        ["training tokens", f"{ahead.train_tokens:,}"],
        ["parameters per token", f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"],
        ["steps", f"{ahead.steps:,}"],
        ["times the text is read", f"{ahead.epochs:,.1f}"],
        ["time, about", _duration(ahead.seconds)],
        ["memory, about", f"{ahead.megabytes:,.0f} MB"],
    ]
    parts = [table_html([], rows), _breakdown(ahead), f"<p>{escape(ahead.like)}</p>"]
    return "".join([*parts, *(f"<p>{_problem(warning)}</p>" for warning in ahead.warnings)])


def _breakdown(ahead: Forecast) -> str:
    """A bar: where the parameters sit."""
    counts, total = ahead.config.parameter_counts, ahead.config.n_params
    bar, names = "", ""
    for (kind, count), colour in zip(counts.items(), PARAMETER_COLOURS, strict=True):
        share = 100 * count / total
        bar += f"<div style='width:{share:.1f}%;background:{colour};height:14px'></div>"
        name = f"<span style='color:{colour}'>■</span> {kind.split(' (')[0]} {share:.0f} %"
        names += f"<span style='white-space:nowrap'>{name}&ensp;</span> "
    return (
        f"<div style='display:flex;max-width:480px;margin:6px 0 2px'>{bar}</div>"
        f"<div style='line-height:1.3;font-size:12px'>{names}</div>"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min"


def _ended(run: Run) -> str:
    last, state = run.state.history[-1], run.state
    how = {
        "finished": "Finished",
        "interrupted": "Stopped",
        "stopped early": "Stopped early, by patience,",
        "diverged": "The loss stopped being a finite number; lower the learning rate. It ended",
    }[state.status]
    return (
        f"{how} at step {state.step:,}, after {_duration(state.seconds)}. "
        f"Gap at step {last.step:,}: {run.gap:+.2f} "
        f"({gap_band(run.gap).name}), on the held-out scripts "
        f"{last.test_loss - last.train_loss:+.2f}; best validation loss "
        f"{state.best_val_loss:.2f} at step {state.best_step:,}."
    )


def _comparison(runs: list[Run]) -> str:
    header = [
        "run",
        "parameters",
        "steps",
        "read",
        "train",
        "validation",
        "gap",
        "held-out",
        "best",
    ]
    rows = []
    for i, run in enumerate(runs, start=1):
        last = run.state.history[-1]
        rows.append(
            [
                f"{i}  {run.name}",
                f"{run.model.n_params:,}",
                f"{last.step:,}",
                f"{last.epochs:,.0f} ×",
                f"{last.train_loss:.2f}",
                f"{last.val_loss:.2f}",
                f"{run.gap:+.2f}",
                "" if last.test_loss is None else f"{last.test_loss:.2f}",
                f"{run.state.best_step:,}",
            ]
        )
    return table_html(header, rows) + "<p>Losses are in nats per token; best is a step.</p>"


def _unused(name: str, taken: dict[str, object]) -> str:
    number = 1 + sum(key == name or key.startswith(f"{name} (") for key in taken)
    return name if number == 1 else f"{name} ({number})"
