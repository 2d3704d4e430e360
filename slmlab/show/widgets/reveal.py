"""A guess laid beside the result of a run, in numbers and in words."""

import math
from dataclasses import dataclass
from html import escape

from slmlab.engine.runs import Run
from slmlab.show.plots.chart import GUESS, HELD_OUT, MUTED, VAL, Chart, finished
from slmlab.show.plots.layout import name_ends
from slmlab.show.plots.strokes import LOSSES, curve, losses_over_steps, ring
from slmlab.show.progress import Prediction
from slmlab.show.runs import evaluated, short
from slmlab.show.widgets.parts import table_html
from slmlab.show.widgets.sketch import sketched_losses
from slmlab.show.words import losses_in_words
from slmlab.study.diagnosis import gap_band

RIGHT = HELD_OUT  # the green of the panels' right answers


@dataclass(frozen=True)
class Reveal:
    """A guess beside the result: print it for text, or end a cell with it.

    `guesser` heads the column of the guess; `rows` hold what is compared, the guess, the run and
    their distance; `judgement` says it in words, and `right` whether the band is. A locked guess is
    drawn over the run's losses in `chart`, unless these are no numbers.
    """

    title: str
    guesser: str
    rows: list[list[str]]
    judgement: str
    right: bool
    chart: Chart | None = None

    @property
    def _header(self) -> list[str]:
        return ["", self.guesser, "the run", "distance"]

    def __str__(self) -> str:
        lines = [
            f"{name:22}" + "".join(f"{cell:>14}" for cell in cells)
            for name, *cells in (self._header, *self.rows)
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines), self.judgement])

    def _ipython_display_(self) -> None:
        from IPython.display import display

        drawn = "" if self.chart is None else self.chart.html()
        page = (
            f"<p><b>{escape(self.title)}</b></p>{drawn}{table_html(self._header, self.rows)}"
            f"<p style='border-left:4px solid {RIGHT if self.right else MUTED};padding:2px 12px'>"
            f"{escape(self.judgement)}</p>"
        )
        display({"text/plain": str(self), "text/html": page}, raw=True)


def revealed(title: str, guess: Prediction, run: Run) -> Reveal:
    """The guess, whose result is known, beside the run that gave the result."""
    return Reveal(
        f"{title}: the guess, and the run “{short(run.name)}”",
        "your guess" if guess.locked else "not locked",
        _comparison(guess),
        _judgement(guess, run),
        math.isfinite(guess.real_gap) and gap_band(guess.gap) == gap_band(guess.real_gap),
        overlay(guess, run) if guess.locked and math.isfinite(guess.real_gap) else None,
    )


def overlay(guess: Prediction, run: Run) -> Chart:
    """The sketch of a guess, dashed, over the losses of the run.

    It begins and ends at the run's training loss, so that what differs is what was guessed. Raises
    `ValueError` for a run that was not trained.
    """
    table = evaluated(run).history
    steps = guess.steps or run.last.step
    best = steps if guess.best_step is None else guess.best_step
    first = table["val_loss"].iloc[0]
    x, *sketched = sketched_losses(guess.gap, best / steps, first, run.last.train_loss)
    chart = Chart(height=3.8)
    axes = chart.subplots()
    for whose, style in (("the run", "-"), ("your guess", "--")):
        axes.plot([], [], color=MUTED, linewidth=2, linestyle=style, label=whose)
    ends = []
    for (column, name, colour), guessed in zip(LOSSES[:2], sketched, strict=True):
        axes.plot(steps * x, guessed, color=colour, linewidth=2, linestyle="--", alpha=0.75)
        line = curve(axes, table["step"], table[column], colour, linewidth=2.4)
        ends.append((name, line, getattr(run.last, column)))
    if guess.best_step is not None:
        ring(axes, best, sketched[1].min(), GUESS, label="your best step")
    if guess.real_best_step is not None:
        ring(axes, guess.real_best_step, run.state.best_val_loss, VAL, label="the run's")
    losses_over_steps(axes)
    axes.set_title(f"You guessed a gap of {guess.gap:+.1f}; it is {guess.real_gap:+.2f}")
    name_ends(axes, ends)
    asked = f", the lowest validation loss at step {best:,}" if guess.best_step is not None else ""
    chart.description = f"{losses_in_words(run)} The guess: a gap of {guess.gap:+.1f}{asked}."
    return finished(chart, axes)


def _comparison(p: Prediction) -> list[list[str]]:
    gap = ["gap (nats per token)", f"{p.gap:+.1f}", "not finite", ""]
    band = ["band", gap_band(p.gap).name, "none", ""]
    step = ["best step", "not asked", "none", ""]
    if not math.isnan(p.real_gap):
        gap[2:] = [f"{p.real_gap:+.2f}", f"{p.distance:.2f}"]
        band[2] = gap_band(p.real_gap).name
    if p.best_step is not None:
        step[1] = f"{p.best_step:,}"
    if p.real_best_step is not None:
        step[2] = f"{p.real_best_step:,}"
    if p.best_step is not None and p.real_best_step is not None:
        step[3] = f"{abs(p.best_step - p.real_best_step):,}"
    return [gap, band, step]


def _judgement(p: Prediction, run: Run) -> str:
    if not math.isnan(p.real_gap):
        said = f"{_gap_judgement(p.gap, p.real_gap)}{_step_judgement(p, run)}."
        if run.state.status == "diverged":
            said += " The run diverged later; these are its last finite losses."
    else:
        said = "The run's losses are not finite numbers, so there is nothing to compare with."
    if p.steps is not None and run.state.step != p.steps:
        said += f" The run ended at step {run.state.step:,}; the guess was for {p.steps:,} steps."
    if not p.locked:
        said += " You had not locked a guess, so this is where the sliders were."
    return said


def _gap_judgement(guessed: float, real: float) -> str:
    off = f"{abs(real - guessed):.1f}"
    said = f"{off} nats off (too {'low' if guessed < real else 'high'})"
    if off == "0.0":
        said = "Right to a tenth of a nat"
    band, wrong = gap_band(real).name, gap_band(guessed).name
    if band == wrong:
        return f"{said}, and in the right band ({band})"
    return f"{said}, and in another band (the run's is {band}, not {wrong})"


def _step_judgement(p: Prediction, run: Run) -> str:
    guessed, real = p.best_step, p.real_best_step
    if guessed is None or real is None:
        return ""
    # Losses are known where they were evaluated, so no guess can be judged more finely.
    nearest = min((now.step for now in run.state.history), key=lambda step: abs(step - guessed))
    if nearest == real:
        return "; the best step is right, as far as the evaluations can tell"
    side = "earlier" if real < guessed else "later"
    return f"; the best step came {abs(real - guessed):,} steps {side} than guessed"
