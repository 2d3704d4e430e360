"""A card for a guess: made before a run, laid beside its result after it."""

import math
from dataclasses import dataclass
from html import escape
from numbers import Real
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from slmlab.engine.runs import Run
from slmlab.show.harmless import in_spreadsheet
from slmlab.show.plots.chart import GUESS, TRAIN, VAL
from slmlab.show.widgets.parts import LABEL, Panel, framed, table_html
from slmlab.study.diagnosis import gap_band

if TYPE_CHECKING:
    import pandas as pd

LOWEST, HIGHEST = -1.0, 9.0  # gaps that can be guessed, nats per token
# The curves of the sketch, in nats: ln(50,257), and about where training ends.
UNTRAINED, TRAINED = 10.8, 1.5


@dataclass
class Prediction:
    """A guess and, once it was revealed, the result. Gaps are signed, in nats per token.

    `steps` is the length of the run; it and `best_step` are None if only the gap is guessed.
    """

    gap: float
    best_step: int | None
    steps: int | None
    locked: bool = False
    real_gap: float | None = None
    real_best_step: int | None = None

    @property
    def distance(self) -> float | None:
        """From the guessed to the real gap; None before the result, NaN if it is not finite."""
        return None if self.real_gap is None else abs(self.real_gap - self.gap)

    @property
    def open(self) -> bool:
        """Whether it can still be changed: a guess after the result would be none."""
        return not self.locked and self.real_gap is None


# The session's memory, by the titles of the cards. It lasts as long as the kernel; nothing is
# written to a file.
SESSION: dict[str, Prediction] = {}


class PredictionCard(Panel):
    """Sliders for a guess of where a run ends, a sketch of what it means, a button to lock it.

    A locked guess stays for the session: another card of the same title shows it again, whatever
    its other arguments. A card that is not locked counts as it stands, and starts afresh when it
    is made again.

    Args:
        title: what the guess is about, such as "Phase 2".
        gap: where the slider of the gap starts (validation − training loss at the end, nats per
            token), rounded to tenths.
        best_step: where the slider of the best step starts; half of `steps` if not given.
        steps: the run's planned steps; without them only the gap is guessed.

    Attributes:
        gap: the guessed gap, rounded to tenths.
        best_step: the guessed step of the lowest validation loss; None without `steps`.
        locked: whether the guess is locked.
        gap_slider: the slider of the gap.
        step_slider: the slider of the best step; None without `steps`.
        lock_button: the button.
        meaning: the gap's band in words, as HTML.
        sketch: the picture, as HTML.
        status: whether the guess is locked, in words, as HTML.

    Raises:
        ValueError: for a gap outside −1 … 9, fewer than 1 step, or a best step outside 0 … `steps`.
    """

    def __init__(
        self,
        title: str,
        gap: float = 1.0,
        best_step: int | None = None,
        steps: int | None = None,
    ) -> None:
        _check(gap, best_step, steps)
        self.title = title
        if title not in SESSION or not SESSION[title].locked:
            if steps is not None and best_step is None:
                best_step = steps // 2
            SESSION[title] = Prediction(_tenths(gap), best_step, steps)
        self._make_widgets()
        for slider in self._sliders:
            slider.observe(self._remember, "value")
        self.lock_button.on_click(self._lock)
        self._show()

    @property
    def _prediction(self) -> Prediction:
        return SESSION[self.title]

    @property
    def gap(self) -> float:
        return self._prediction.gap

    @property
    def best_step(self) -> int | None:
        return self._prediction.best_step

    @property
    def locked(self) -> bool:
        return self._prediction.locked

    def reveal(self, run: Run) -> "Reveal":
        """The guess beside the result of `run` at its last evaluation.

        A card that was not locked can no longer be: its cell has to be run again.
        """
        prediction = self._prediction
        prediction.real_gap = run.gap if math.isfinite(run.gap) else math.nan
        known = math.isfinite(run.state.best_val_loss)
        prediction.real_best_step = run.state.best_step if known else None
        self._show()
        return Reveal(
            f"{self.title}: the guess, and the run “{run.name}”",
            "your guess" if self.locked else "not locked",
            _comparison(prediction),
            _judgement(prediction, run),
        )

    def static(self) -> str:
        """The guess as a table."""
        prediction = self._prediction
        rows = [["gap at the end", f"{self.gap:+.1f} nats per token ({gap_band(self.gap).name})"]]
        if prediction.steps is not None:
            rows.append(["best step", f"{self.best_step:,} of {prediction.steps:,}"])
        rows.append(["locked", "yes" if self.locked else "no"])
        return table_html([f"Your guess: {self.title}", ""], rows)

    def _make_widgets(self) -> None:
        guess = self._prediction
        wide = ipywidgets.Layout(width="98%")
        self.gap_slider = ipywidgets.FloatSlider(
            value=guess.gap,
            min=LOWEST,
            max=HIGHEST,
            step=0.1,
            readout_format="+.1f",
            description="gap at the end",
            layout=wide,
            style=LABEL,
        )
        # Text gets the height of its longest version, so that nothing below it moves.
        self.meaning = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="44px"))
        self.step_slider = None
        if guess.steps is not None:
            self.step_slider = ipywidgets.IntSlider(
                value=guess.best_step,
                min=0,
                max=guess.steps,
                step=_stride(guess.best_step, guess.steps),
                readout_format=",d",
                description="best step",
                layout=wide,
                style=LABEL,
            )
        self._sliders = [s for s in (self.gap_slider, self.step_slider) if s is not None]
        self.lock_button = ipywidgets.Button(description="Lock my guess")
        self.status = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="44px"))
        self.sketch = ipywidgets.HTML(layout=ipywidgets.Layout(width="400px", max_width="100%"))
        controls = ipywidgets.VBox(
            [self.gap_slider, self.meaning, *self._sliders[1:], self.lock_button, self.status],
            layout=ipywidgets.Layout(width="430px", max_width="100%"),
        )
        self.box = framed(
            "prediction",
            ipywidgets.HTML(
                _paragraph(
                    f"<b>Your guess: {escape(self.title)}</b><br>The gap is validation − training "
                    "loss, in nats per token."
                )
            ),
            ipywidgets.Box([controls, self.sketch], layout=ipywidgets.Layout(flex_flow="row wrap")),
        )

    def _remember(self, _: object = None) -> None:
        if self._prediction.open:
            step = self.step_slider
            asked = (None, None) if step is None else (step.value, step.max)
            SESSION[self.title] = Prediction(_tenths(self.gap_slider.value), *asked)
        self._show()

    def _lock(self, _: object) -> None:
        if self._prediction.open:
            self._remember()
            self._prediction.locked = True
        self._show()

    def _show(self) -> None:
        prediction = self._prediction
        for control in (*self._sliders, self.lock_button):
            control.disabled = not prediction.open
        band = gap_band(self.gap)
        self.meaning.value = _paragraph(
            f"The band of {self.gap:+.1f} is <b>{band.name}</b>: {escape(band.meaning)}."
        )
        self.sketch.value = _sketch(prediction)
        if prediction.locked:
            guess = f"gap {self.gap:+.1f}"
            if self.best_step is not None:
                guess += f", best step {self.best_step:,}"
            state = f"<b>Locked: {guess}.</b> It is kept until the kernel restarts."
        elif prediction.open:
            state = "Not locked yet. Lock your guess before you run the cells below."
        else:
            state = "The result came before the lock. Run this cell again to guess anew."
        self.status.value = _paragraph(state)


@dataclass(frozen=True)
class Reveal:
    """A guess beside the result: print it for text, or end a cell with it.

    `guesser` heads the column of the guess; `rows` hold what is compared, the guess, the run and
    their distance; `judgement` says it in words.
    """

    title: str
    guesser: str
    rows: list[list[str]]
    judgement: str

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

        page = (
            f"<p><b>{escape(self.title)}</b></p>{table_html(self._header, self.rows)}"
            f"<p style='border-left:4px solid {GUESS};padding:2px 12px'>"
            f"{escape(self.judgement)}</p>"
        )
        display({"text/plain": str(self), "text/html": page}, raw=True)


def predictions() -> "pd.DataFrame":
    """The session's guesses: one row per title of a card, in the order of their first cards.

    Columns: `guessed_gap`, `locked`, `real_gap` and the `distance` of the two gaps,
    `guessed_best_step` and `real_best_step`. Gaps are in nats per token, rounded to two decimals.
    What is not known (before `reveal`, or for a run without finite losses) or was not asked for is
    missing: NaN or <NA>. A title that a spreadsheet would take for a formula gets an apostrophe.
    """
    import pandas as pd

    kinds = {
        "guessed_gap": float,
        "locked": bool,
        "real_gap": float,
        "distance": float,
        "guessed_best_step": "Int64",
        "real_best_step": "Int64",
    }
    rows = {
        title: (p.gap, p.locked, p.real_gap, p.distance, p.best_step, p.real_best_step)
        for title, p in SESSION.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(kinds))
    return table.astype(kinds).round(2).rename(index=in_spreadsheet).rename_axis("title")


def _check(gap: float, best_step: int | None, steps: int | None) -> None:
    if not isinstance(gap, Real) or not LOWEST <= gap <= HIGHEST:
        raise ValueError(
            f"gap is {gap!r}; it must be a number from {LOWEST:g} to {HIGHEST:g} (nats per token)."
        )
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps is {steps!r}; it must be a whole number of at least 1, or None.")
    if best_step is None:
        return
    if steps is None:
        raise ValueError(f"best_step is {best_step!r}, so give the run's planned steps as well.")
    if not isinstance(best_step, int) or not 0 <= best_step <= steps:
        raise ValueError(
            f"best_step is {best_step!r}; it must be a whole number from 0 to steps ({steps:,})."
        )


def _tenths(gap: float) -> float:
    return round(float(gap), 1) + 0.0  # a slider may send 0.30000000000000004; −0 becomes 0


def _stride(best_step: int, steps: int) -> int:
    """How far an arrow key moves: about a hundredth of the way, so that both ends are reached."""
    for stride in (1000, 500, 200, 100, 50, 20, 10, 5, 2):
        if steps >= 50 * stride and steps % stride == best_step % stride == 0:
            return stride
    return 1


def _paragraph(text: str) -> str:
    return f"<div style='line-height:1.45'>{text}</div>"


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
    if None not in (p.best_step, p.real_best_step):
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
        said += " The guess was not locked: it is where the sliders stood."
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
    if p.best_step is None or p.real_best_step is None:
        return ""
    # Losses are known where they were evaluated, so no guess can be judged more finely.
    nearest = min((r.step for r in run.state.history), key=lambda step: abs(step - p.best_step))
    if nearest == p.real_best_step:
        return "; the best step is right, as far as the evaluations can tell"
    side = "earlier" if p.real_best_step < p.best_step else "later"
    return f"; the best step came {abs(p.real_best_step - p.best_step):,} steps {side} than guessed"


def _sketched_losses(gap: float, best: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Curves as a guess would have them: x from 0 to 1, training and validation loss, each (121,).

    `best` is the x of the lowest validation loss. That and the gap at the end are the guess; the
    rest is made up, to look like a run.
    """
    x = np.linspace(0, 1, 121)
    rise = (1 - best) * np.clip(gap / 2, 0.3, 2)  # of the validation loss after its best
    learnt = min(1, 10 * best)  # 0 if step 0 is the best: nothing carried over
    end = learnt * TRAINED + (1 - learnt) * (UNTRAINED + rise - gap)  # of the training loss
    lowest = end + gap - rise
    train = end + (UNTRAINED - end) * (1 - x) ** (6 / max(best, 0.1))
    falling = np.clip(1 - x / max(best, 1e-9), 0, 1) ** 4
    rising = np.clip((x - best) / max(1 - best, 1e-9), 0, 1) ** 1.5
    return x, train, lowest + (UNTRAINED - lowest) * falling + rise * rising


def _sketch(p: Prediction) -> str:
    """The guess as a picture (SVG): two curves, the gap as a bar, the best step as a ring."""
    best = 1.0 if p.best_step is None else p.best_step / p.steps
    x, *losses = _sketched_losses(p.gap, best)
    across = 26 + 290 * x  # pixels, and so are the heights
    train, val = (196 - 13 * loss for loss in losses)
    parts = [
        "<path d='M26 24V196H316' fill='none' stroke='currentColor' opacity='0.5'/>",
        _curve(across, train, TRAIN),
        _curve(across, val, VAL),
        f"<path d='M316 {train[-1]:.1f}V{val[-1]:.1f}' stroke='{GUESS}' stroke-width='6'/>",
        _text(355, (train[-1] + val[-1]) / 2 + 4, f"gap {p.gap:+.1f}", GUESS),
        _text(222, 16, "validation", VAL),
        _text(293, 16, "training", TRAIN),
        "<text transform='translate(16 110) rotate(-90)' text-anchor='middle'>loss</text>",
        _text(26, 230, "0"),
        _text(171, 230, "step"),
        _text(316, 230, "end" if p.steps is None else f"{p.steps:,}"),
    ]
    if p.best_step is not None:
        ring, lowest = 26 + 290 * best, val.max()  # heights count downwards
        parts += [
            f"<path d='M{ring:.1f} {lowest:.1f}V196' stroke='{VAL}' stroke-dasharray='2 3'/>",
            f"<circle cx='{ring:.1f}' cy='{lowest:.1f}' r='6' fill='none' stroke='{VAL}' "
            "stroke-width='2'/>",
            _text(ring, 211, f"{p.best_step:,}", VAL),
        ]
    return (
        "<svg viewBox='0 0 400 236' role='img' aria-label='A sketch of the guess' "
        "style='display:block;width:100%;font:12px sans-serif;fill:currentColor'>"
        f"{''.join(parts)}</svg>"
    )


def _curve(across: np.ndarray, down: np.ndarray, colour: str) -> str:
    points = " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across, down, strict=True))
    return f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>"


def _text(x: float, y: float, text: str, colour: str = "currentColor") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='middle' fill='{colour}'>{text}</text>"
