"""The Playground's chart, which grows while a model trains, and plays a recorded run back."""

import json
import math
from collections.abc import Iterable
from html import escape
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from slmlab.engine.runs import Run
from slmlab.show.plots.chart import HELD_OUT, TRAIN, VAL
from slmlab.show.plots.strokes import bits_per_nat
from slmlab.show.widgets.looks import Looks, Points
from slmlab.show.words import number
from slmlab.study.baseline import beside_counting, number_to_beat

SCRIPT, STYLE = Path(__file__).with_name("live.js"), Path(__file__).with_name("live.css")
# What is drawn of a history: its column, the text it is measured on, its name, colour and width.
DRAWN = (
    ("train_loss", "train", "training", TRAIN, 1.6),
    ("val_loss", "val", "validation", VAL, 1.6),
    ("test_loss", "test", "held-out", HELD_OUT, 3.2),
)


class LiveChart(anywidget.AnyWidget):
    """Losses in bits per byte against the step; the browser draws them from a list of points.

    `data` is what `chart_data` gives. A few kilobytes an update cost the kernel nothing, where a
    picture five times a second would slow the training down.
    """

    _esm = SCRIPT
    _css = STYLE
    data = traitlets.Dict().tag(sync=True)


def chart_data(
    to_beat: float,
    run: Run | None = None,
    looks: Looks | None = None,
    ghost: Iterable[Any] = (),
    planned: int = 0,
) -> dict[str, Any]:
    """All that the chart shows: exact losses, looks between them, the last run, what to beat.

    `to_beat` and every point are in bits per byte; `ghost` is what `ghost_of` gave for the run
    before. Without a run, only the number to beat is drawn, over the `planned` steps.
    """
    lines, steps, said = list(ghost), planned, "No run yet."
    if run is not None:
        exact = exact_lines(run)
        lines += _between(looks or Looks()) + exact
        steps = run.state.planned_steps or max(1, run.state.step)
        said = f"After step {run.last.step:,} this run has {number(beside_counting(run).score)}"
        step, bits = min(exact[-1]["points"], key=itemgetter(1), default=(run.last.step, 0))
        lower = step < run.last.step
        said += f", after {bits:.2f} at step {step:,}, its lowest." if lower else "."
    return {
        "lines": lines,
        "level": {"name": "to beat", "y": to_beat},
        "steps": steps,
        "text": f"Losses in bits per byte. The number to beat is {to_beat:.2f}. {said}",
    }


def exact_lines(run: Run) -> list[dict[str, Any]]:
    """The exact evaluations of a run: a line for each of its texts."""
    lines = []
    for column, kind, name, colour, width in DRAWN:
        unit = bits_per_nat(run, kind)
        points = _finite((p.step, unit * getattr(p, column)) for p in run.state.history)
        lines.append({"name": name, "colour": colour, "width": width, "points": points})
    return lines


def ghost_of(run: Run, looks: Looks) -> list[dict[str, Any]]:
    """A run as the next one leaves it behind the curves: its held-out loss, looks included."""
    *_, held_out = exact_lines(run)
    points = sorted(held_out["points"] + looks.held_out)
    return [{"kind": "ghost", "name": "last run", "colour": HELD_OUT, "width": 3, "points": points}]


def _between(looks: Looks) -> list[dict[str, Any]]:
    def dots(name: str, colour: str, points: Points) -> dict[str, Any]:
        return {"kind": "dots", "name": name, "colour": colour, "points": _finite(points)}

    return [
        dots("training batches", TRAIN, looks.batches),
        dots("held-out, estimated", HELD_OUT, looks.held_out),
    ]


def _finite(points: Iterable[tuple[int, float]]) -> Points:
    """Without the losses of a run that diverges: JSON has no word for them."""
    return [(step, bits) for step, bits in points if math.isfinite(bits)]


def playback(run: Run) -> str:
    """A page's own chart of a recorded run, with a Play button, which needs no kernel."""
    data = chart_data(number_to_beat(run.dataset).test_bits, run)
    prompt = run.samples[0]["prompt"]
    samples = {s["step"]: s["text"] for s in run.samples if s["prompt"] == prompt}
    name, text = f"slm-play-{uuid4().hex[:8]}", json.dumps(data | {"samples": samples})
    text = text.replace("<", "\\u003c")  # a sample may hold "</script>"
    return (
        f"<style>{STYLE.read_text('utf-8')}</style><div id='{name}' class='slm-playback'>"
        f"{escape(data['text'])}</div><script type='module'>{SCRIPT.read_text('utf-8')}\n"
        f"playback(document.getElementById('{name}'), {text});</script>"
    )
