"""A card for a guess: made before a run, laid beside its result after it."""

import math

import ipywidgets

from slmlab.engine.runs import Run
from slmlab.show import progress
from slmlab.show.progress import HIGHEST, LOWEST, Prediction
from slmlab.show.runs import evaluated
from slmlab.show.widgets import guesses
from slmlab.show.widgets.parts import Panel, framed, live, paragraph, table_html, title_html
from slmlab.show.widgets.reveal import Reveal, revealed
from slmlab.show.widgets.sketch import sketch
from slmlab.show.widgets.slider import Slider
from slmlab.study.diagnosis import gap_band
from slmlab.validation import shown, whole_text

LONGEST_TITLE = 200  # letters: a heading, not a page


class PredictionCard(Panel):
    """Sliders for a guess of where a run ends, a sketch of what it means, a button to lock it.

    A locked guess is kept on the disk: another card of the same title shows it again, whatever its
    other arguments, until `start_over(title)` forgets it. A card that is not locked counts as it
    is, and starts afresh when it is made again.

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
        earlier = guesses.known_guesses().get(title)
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
        self._steps = guess.steps
        tenths = [n / 10 for n in range(round(10 * LOWEST), round(10 * HIGHEST) + 1)]
        self.gap_slider = Slider(
            options=[(f"{tenth:+.1f}", tenth) for tenth in tenths],
            value=guess.gap,
            description="gap at the end",
        )
        self.meaning = live()
        self.step_slider = None
        if guess.steps is not None and guess.best_step is not None:
            offered = _offered(guess.best_step, guess.steps)
            self.step_slider = Slider(
                options=[(f"{step:,}", step) for step in offered],
                value=guess.best_step,
                description="best step",
            )
        self._sliders = [s for s in (self.gap_slider, self.step_slider) if s is not None]
        self.lock_button = ipywidgets.Button(button_style="primary")
        # Text gets the height of its longest version, so that nothing below it moves.
        self.status = live()
        self.status.layout.min_height = "44px"
        self.sketch = ipywidgets.HTML(layout=ipywidgets.Layout(width="400px", max_width="100%"))
        controls = ipywidgets.VBox(
            [self.gap_slider, self.meaning, *self._sliders[1:], self.lock_button, self.status],
            layout=ipywidgets.Layout(width="430px", max_width="100%"),
        )
        heading = f"Your guess: {self.title}"
        self.box = framed(
            "prediction",
            ipywidgets.HTML(
                title_html(heading)
                + paragraph("The gap is validation − training loss, in nats per token.")
            ),
            ipywidgets.Box([controls, self.sketch], layout=ipywidgets.Layout(flex_flow="row wrap")),
            label=heading,
        )

    def _remember(self, _: object = None) -> None:
        if self._guess.open:
            step = None if self.step_slider is None else self.step_slider.value
            guesses.SESSION[self.title] = Prediction(self.gap_slider.value, step, self._steps)
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
        self.lock_button.description = "Locked" if guess.locked else "Lock my guess"
        ratio = math.exp(self.gap)
        self.meaning.value = paragraph(
            f"<b>{gap_band(self.gap).name}</b>: validation perplexity is "
            f"{ratio:,.{0 if ratio > 10 else 1}f} × training's."
        )
        self.sketch.value = sketch(guess)
        if guess.locked:
            locked = f"gap {self.gap:+.1f}"
            if self.best_step is not None:
                locked += f", best step {self.best_step:,}"
            state = f"<b>Locked: {locked}.</b> "
            state += "The result is in." if guess.revealed else "Now run the cells below."
        elif guess.open:
            state = "Not locked yet. Lock your guess before you run the cells below."
        else:
            state = "The result came before the lock. Run this cell again to guess anew."
        self.status.value = paragraph(state)


def _offered(best_step: int, steps: int) -> list[int]:
    """What the slider offers: about a hundred round steps, both ends, and where it starts."""
    scale = 10 ** max(0, len(str(steps)) - 3)
    stride = next(n * scale for n in (1, 2, 5, 10) if steps <= 120 * n * scale)
    return sorted({*range(0, steps, stride), best_step, steps})
