"""A card for a guess: made before a run, laid beside its result after it."""

import math
from html import escape

import ipywidgets

from slmlab.engine.runs import Run
from slmlab.show import progress
from slmlab.show.progress import HIGHEST, LOWEST, Prediction
from slmlab.show.runs import evaluated
from slmlab.show.widgets import guesses
from slmlab.show.widgets.parts import LABEL, Panel, framed, paragraph, table_html
from slmlab.show.widgets.reveal import Reveal, revealed
from slmlab.show.widgets.sketch import sketch
from slmlab.study.diagnosis import gap_band
from slmlab.validation import shown, whole_text

LONGEST_TITLE = 200  # letters: a heading, not a page


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
        ValueError: for a title that is no text of 1 to 200 letters, a gap outside −1 … 9, fewer
            than 1 step, or a best step outside 0 … `steps`.
    """

    def __init__(
        self,
        title: str,
        gap: float = 1.0,
        best_step: int | None = None,
        steps: int | None = None,
    ) -> None:
        if not 1 <= len(whole_text("title", title)) <= LONGEST_TITLE:
            raise ValueError(
                f"title is {shown(title)}; it must be text of 1 to {LONGEST_TITLE} letters."
            )
        self.title = title
        guess = Prediction(gap, best_step, steps)
        earlier = guesses.known(title)
        guesses.SESSION[title] = earlier if earlier and earlier.locked else guess
        self._make_widgets()
        for slider in self._sliders:
            slider.observe(self._remember, "value")
        self.lock_button.on_click(self._lock)
        self._show()

    @property
    def _guess(self) -> Prediction:
        return guesses.SESSION[self.title]

    @property
    def gap(self) -> float:
        return self._guess.gap

    @property
    def best_step(self) -> int | None:
        return self._guess.best_step

    @property
    def locked(self) -> bool:
        return self._guess.locked

    def reveal(self, run: Run) -> Reveal:
        """The guess beside the result of `run` at its last evaluation.

        A card that was not locked can no longer be: its cell has to be run again. Raises
        `ValueError` for a run that was not trained.
        """
        guess, gap = self._guess, evaluated(run).gap
        guess.revealed = True
        guess.real_gap = gap if math.isfinite(gap) else math.nan
        known = math.isfinite(run.state.best_val_loss)
        guess.real_best_step = run.state.best_step if known else None
        self._keep()
        self._show()
        return revealed(self.title, guess, run)

    def static(self) -> str:
        """The guess as a table."""
        band = gap_band(self.gap).name
        rows = [["gap at the end", f"{self.gap:+.1f} nats per token ({band})"]]
        if self._guess.steps is not None:
            rows.append(["best step", f"{self.best_step:,} of {self._guess.steps:,}"])
        rows.append(["locked", "yes" if self.locked else "no"])
        return table_html([f"Your guess: {self.title}", ""], rows)

    def _make_widgets(self) -> None:
        guess = self._guess
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
        if guess.steps is not None and guess.best_step is not None:
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
                paragraph(
                    f"<b>Your guess: {escape(self.title)}</b><br>The gap is validation − training "
                    "loss, in nats per token."
                )
            ),
            ipywidgets.Box([controls, self.sketch], layout=ipywidgets.Layout(flex_flow="row wrap")),
        )

    def _remember(self, _: object = None) -> None:
        if self._guess.open:
            step = self.step_slider
            asked = (None, None) if step is None else (step.value, step.max)
            guesses.SESSION[self.title] = Prediction(self.gap_slider.value, *asked)
        self._show()

    def _lock(self, _: object) -> None:
        if self._guess.open:
            self._remember()
            self._guess.locked = True
            self._keep()
        self._show()

    def _keep(self) -> None:
        if self._guess.locked:
            progress.keep_prediction(self.title, self._guess)

    def _show(self) -> None:
        guess = self._guess
        for control in (*self._sliders, self.lock_button):
            control.disabled = not guess.open
        band = gap_band(self.gap)
        self.meaning.value = paragraph(
            f"The band of {self.gap:+.1f} is <b>{band.name}</b>: {escape(band.meaning)}."
        )
        self.sketch.value = sketch(guess)
        if guess.locked:
            locked = f"gap {self.gap:+.1f}"
            if self.best_step is not None:
                locked += f", best step {self.best_step:,}"
            state = f"<b>Locked: {locked}.</b> It is kept until the kernel restarts."
        elif guess.open:
            state = "Not locked yet. Lock your guess before you run the cells below."
        else:
            state = "The result came before the lock. Run this cell again to guess anew."
        self.status.value = paragraph(state)


def _stride(best_step: int, steps: int) -> int:
    """How far an arrow key moves: about a hundredth of the way, so that both ends are reached."""
    for stride in (1000, 500, 200, 100, 50, 20, 10, 5, 2):
        if steps >= 50 * stride and steps % stride == best_step % stride == 0:
            return stride
    return 1
