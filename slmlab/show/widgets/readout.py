"""What the Playground says: forecasts, results and comparisons as text and tables."""

import math
from html import escape

from slmlab.engine.config import Progress
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import PARAMETER_COLOURS, coloured
from slmlab.show.runs import short
from slmlab.show.widgets.parts import problem_html
from slmlab.show.words import ending, number, of_steps
from slmlab.study.baseline import NUMBER_TO_BEAT, beside_counting
from slmlab.study.diagnosis import gap_band
from slmlab.study.forecast import Forecast

# How a training ended, where its status alone would not say what to make of it.
ENDS = {
    "stopped early": "Stopped early, by patience,",
    "diverged": "The loss stopped being a finite number; lower the learning rate. It ended",
}


def expected(ahead: Forecast) -> str:
    """What a forecast says: seven numbers, a bar of where the parameters sit, and advice."""
    ratio = ahead.params_per_token
    facts = [
        f"<b>{ahead.config.n_params:,}</b> parameters",
        f"<b>{ahead.train_tokens:,}</b> training tokens",
        f"<b>{f'{ratio:,.0f}' if ratio >= 10 else f'{ratio:.2g}'}</b> parameters per token",
        f"<b>{ahead.steps:,}</b> steps",
        f"<b>{ahead.epochs:,.0f} ×</b> text read",
        f"about <b>{duration(ahead.seconds)}</b>",
        f"about <b>{ahead.megabytes:,.0f} MB</b> of memory",
    ]
    cells = "".join(f"<div>{fact}</div>" for fact in facts)
    said = [problem_html(ahead.too_large)] if ahead.too_large else []
    said += [escape(sentence) for sentence in (*ahead.warnings, ahead.like)]
    return f"<div class='slm-facts'>{cells}</div>{_breakdown(ahead)}" + "".join(
        f"<p>{line}</p>" for line in said
    )


def _breakdown(ahead: Forecast) -> str:
    """A bar: where the parameters sit; kinds with less than 1% are one part."""
    counts, total = ahead.config.parameter_counts, ahead.config.n_params
    parts = [
        (kind.split(" (")[0], count, colour)
        for (kind, count), colour in zip(counts.items(), PARAMETER_COLOURS, strict=True)
        if 100 * count >= total
    ]
    if rest := total - sum(count for _, count, _ in parts):
        parts.append(("the rest", rest, "currentColor"))
    bar, names = "", ""
    for name, count, colour in parts:
        share = 100 * count / total
        bar += f"<div style='width:{share:.1f}%;background:{colour}'></div>"
        percent = f"{share:.0f}" if share >= 1 else "&lt; 1"
        names += f"<span><i style='background:{colour}'></i> {name} {percent}%</span> "
    return f"<div class='slm-bar'>{bar}</div><div class='slm-key'>{names}</div>"


def duration(seconds: float) -> str:
    """A time in the unit that suits it: "20 s", "9 min", "5 hours", "9 days"."""
    for unit, long in ((" s", 90), (" min", 90 * 60), (" hours", 48 * 3600)):
        if seconds < long:
            return f"{seconds / {' s': 1, ' min': 60, ' hours': 3600}[unit]:,.0f}{unit}"
    return f"{seconds / 86_400:,.0f} days"


def scores(to_beat: float, run: Run | None = None, estimate: float | None = None) -> str:
    """The headline: the held-out score beside the number to beat, in bits per byte.

    `estimate` is a look that came after the latest exact evaluation.
    """
    score, name, to_go = "–", "held-out score", ("–", "bits per byte to go")
    if estimate is not None:
        score, name, to_go = f"≈ {estimate:.2f}", f"{name}, estimated", _lead(estimate, to_beat)
    elif run is not None:
        standing = beside_counting(run)
        score, name = number(standing.score), f"{name} at step {run.last.step:,}"
        to_go = _lead(standing.score, to_beat)
    shown = [(score, name), (f"{to_beat:.2f}", NUMBER_TO_BEAT), to_go]
    return "".join(f"<div><b>{value}</b><span>{escape(what)}</span></div>" for value, what in shown)


def _lead(score: float, to_beat: float) -> tuple[str, str]:
    """By how much the one or the other is ahead, by the two figures that are read."""
    if not math.isfinite(score):
        return "–", "no finite loss"
    lead = round(score, 2) - round(to_beat, 2)
    who = "to go" if lead > 0 else "better than counting" if lead else "apart"
    return f"{abs(lead):.2f}", f"bits per byte {who}"


def under_way(run: Run, now: Progress) -> str:
    """Where a training stands."""
    planned = run.state.planned_steps
    share = now.step / planned if planned else 0
    of = f" of {planned:,}" if planned else ""
    left = f", about {duration(now.eta)} to go" if now.eta is not None else ""
    return (
        f"<progress max='1' value='{share:.3f}' aria-label='training'></progress> "
        f"Step {now.step:,}{of}{left}."
    )


def ended(run: Run) -> str:
    """How a training ended; in smaller letters its gap."""
    last, state = run.last, run.state
    if how := ending(run):
        how = ENDS.get(how, how.capitalize())
        said = f"{how} at step {state.step:,}, after {duration(state.seconds)}."
    else:
        said = f"Done: {of_steps(state.step)} in {duration(state.seconds)}."
    return (
        f"{said}<br><small>Its own validation text: gap {run.gap:+.2f} nats per token at step "
        f"{last.step:,} ({gap_band(run.gap).name}), best at step {state.best_step:,}.</small>"
    )


def comparison(runs: list[Run]) -> str:
    """A table with a row for each run, in the colours of `compared`."""
    losses = ["training", "validation", "gap", "best step", "held-out", "5-gram"]
    header = ["run", "parameters", "steps", "read", *losses]
    rows = ""
    for place, (run, colour) in enumerate(coloured(runs), start=1):
        last = run.last
        cells = [
            f"{run.model.n_params:,}",
            f"{last.step:,}",
            f"{last.epochs:,.0f} ×",
            f"{last.train_loss:.2f}",
            f"{last.val_loss:.2f}",
            f"{run.gap:+.2f}",
            f"{run.state.best_step:,}",
            *_held_out(run),
        ]
        key = f"<i style='background:{colour}'></i> {place} "
        name = f"<th scope='row'>{key} {escape(short(run.name))}</th>"
        rows += f"<tr>{name}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    head = "".join(f"<th scope='col'>{name}</th>" for name in header)
    return (
        "<div class='slm-wide' tabindex='0' role='region' aria-label='pinned runs'>"
        f"<table><tr>{head}</tr>{rows}</table></div>"
        "<p>Training, validation and gap are in nats per token. Held-out loss and the number to "
        "beat, the 5-gram's, are in bits per byte; compare runs by these.</p>"
    )


def _held_out(run: Run) -> list[str]:
    """The last held-out loss and the number to beat there; nothing for a run without a test."""
    if run.last.test_loss is None:
        return ["", ""]
    standing = beside_counting(run)
    return [f"{standing.score:.2f}", f"{standing.number:.2f}"]
