"""What the Playground says: forecasts, results and comparisons as text and tables."""

from html import escape

from slmlab.engine.config import Progress
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import LOSS, PARAMETER_COLOURS, Chart
from slmlab.show.runs import short
from slmlab.show.widgets.parts import problem_html, table_html
from slmlab.study.baseline import NUMBER_TO_BEAT, beside_counting
from slmlab.study.diagnosis import gap_band
from slmlab.study.forecast import Forecast

# How a training ended, where its status alone would not say what to make of it.
ENDS = {
    "interrupted": "Stopped",
    "stopped early": "Stopped early, by patience,",
    "diverged": "The loss stopped being a finite number; lower the learning rate. It ended",
}


def expected(ahead: Forecast) -> str:
    """What a forecast says, as a table, a bar of where the parameters sit, and warnings."""
    ratio = ahead.params_per_token
    rows = [
        ["parameters", f"{ahead.config.n_params:,}"],
        ["training tokens", f"{ahead.train_tokens:,}"],
        ["parameters per token", f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"],
        ["steps", f"{ahead.steps:,}"],
        ["times the text is read", f"{ahead.epochs:,.1f}"],
        ["time, about", duration(ahead.seconds)],
        ["memory, about", f"{ahead.megabytes:,.0f} MB"],
    ]
    warnings = "".join(f"<p>{problem_html(warning)}</p>" for warning in ahead.warnings)
    return f"{table_html([], rows)}{_breakdown(ahead)}<p>{escape(ahead.like)}</p>{warnings}"


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


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are many."""
    return f"{seconds:,.0f} s" if seconds < 90 else f"{seconds / 60:,.0f} min"


def under_way(run: Run, now: Progress) -> str:
    """Where a training stands, and its latest losses."""
    planned, evaluated = run.state.planned_steps, run.state.history[-1]
    of = f" of {planned:,}" if planned else ""
    left = f", about {now.eta:,.0f} s to go" if now.eta is not None else ""
    return (
        f"Step {now.step:,}{of}{left}. At step {evaluated.step:,}: training loss "
        f"{evaluated.train_loss:.2f}, validation loss {evaluated.val_loss:.2f}, gap "
        f"{run.gap:+.2f} nats per token."
    )


def ended(run: Run) -> str:
    """How a training ended, and with which gaps."""
    last, state = run.state.history[-1], run.state
    held_out = ""
    if last.test_loss is not None:
        held_out = f", on the held-out scripts {last.test_loss - last.train_loss:+.2f}"
    return (
        f"{ENDS.get(state.status, state.status.capitalize())} at step {state.step:,}, after "
        f"{duration(state.seconds)}. Gap at step {last.step:,}: {run.gap:+.2f} "
        f"({gap_band(run.gap).name}){held_out}; best validation loss {state.best_val_loss:.2f} at "
        f"step {state.best_step:,}."
    )


def headline(run: Run) -> str:
    """The score of the latest evaluation, beside the number to beat."""
    standing = beside_counting(run)
    return (
        f"<b>{escape(NUMBER_TO_BEAT)}: {standing.number:.2f}</b> {escape(str(standing))} at step "
        f"{run.state.history[-1].step:,}."
    )


def comparison(runs: list[Run]) -> str:
    """A table with a row for each run."""
    losses = ["training", "validation", "gap", "best step", "held-out", "5-gram"]
    header = ["run", "parameters", "steps", "read", *losses]
    rows = []
    for number, run in enumerate(runs, start=1):
        last = run.state.history[-1]
        rows.append(
            [
                f"{number}  {short(run.name)}",
                f"{run.model.n_params:,}",
                f"{last.step:,}",
                f"{last.epochs:,.0f} ×",
                f"{last.train_loss:.2f}",
                f"{last.val_loss:.2f}",
                f"{run.gap:+.2f}",
                f"{run.state.best_step:,}",
                *_held_out(run),
            ]
        )
    return table_html(header, rows) + (
        "<p>Training, validation and gap are in nats per token. Held-out loss and the number to "
        "beat, the 5-gram's, are in bits per byte; compare runs by these.</p>"
    )


def _held_out(run: Run) -> list[str]:
    """The last held-out loss and the number to beat there; nothing for a run without a test."""
    if run.state.history[-1].test_loss is None:
        return ["", ""]
    standing = beside_counting(run)
    return [f"{standing.score:.2f}", f"{standing.number:.2f}"]


def no_curves() -> bytes:
    """The picture (PNG) before the first training."""
    chart = Chart()
    axes = chart.subplots()
    # About where the curves will begin: ln(50,257) is 10.8, and a right-sized vocabulary's is 7.
    axes.set(title="Press Train to see the losses", xlabel="step", ylabel=LOSS)
    axes.set(ylim=(0, 8), xticks=[])
    return chart._repr_png_()
