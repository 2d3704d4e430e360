"""How good the guesses were so far: a picture of them beside their results, and a sentence."""

from dataclasses import dataclass

from slmlab.show.plots.chart import GUESS, MUTED, VAL, Chart, finished, literal
from slmlab.show.progress import Prediction
from slmlab.show.widgets.guesses import known_guesses
from slmlab.show.widgets.parts import paragraph

NOTHING = "No locked guess has met its result yet. Lock one on a card, then run the cells below it."
EVEN = 0.05  # of the steps: nearer to the real best step, on average, a guess is not early or late


@dataclass(frozen=True)
class Calibration:
    """The locked guesses of all notebooks whose results are known: end a cell with it.

    `chart` is missing as long as there are none.
    """

    sentence: str
    chart: Chart | None = None

    def __str__(self) -> str:
        return self.sentence

    def _ipython_display_(self) -> None:
        from IPython.display import display

        page = paragraph(self.sentence) if self.chart is None else self.chart.html()
        display({"text/plain": self.sentence, "text/html": page}, raw=True)


def calibration() -> Calibration:
    """How far your locked guesses were off, in all notebooks so far, and to which side."""
    met = {t: p for t, p in known_guesses().items() if p.locked and p.distance >= 0}
    if not met:
        return Calibration(NOTHING)
    sentence = _sentence(list(met.values()))
    return Calibration(sentence, _chart(met, sentence))


def _sentence(met: list[Prediction]) -> str:
    """The mean distance of the gaps, their side, and that of the best steps."""
    off = sum(p.distance for p in met) / len(met)
    low = sum(p.gap < p.real_gap for p in met)
    count = "one guess" if len(met) == 1 else f"{len(met)} guesses"
    said = f"Your gaps are off by {off:.1f} nats on average of {count}"
    if len(met) == 1:
        said = f"Your gap is off by {off:.1f} nats"
    elif low in (0, len(met)):
        said += f", all too {'low' if low else 'high'}"
    late = [
        (p.best_step - p.real_best_step) / p.steps
        for p in met
        if p.best_step is not None and p.real_best_step is not None
    ]
    if late and abs(mean := sum(late) / len(late)) > EVEN:
        said += f"; you expect overfitting too {'late' if mean > 0 else 'early'}"
    return f"{said}."


def _chart(met: dict[str, Prediction], sentence: str) -> Chart:
    chart = Chart(height=1.6 + 0.32 * len(met))
    axes = chart.subplots()
    rows = range(len(met))
    guessed, real = ([getattr(p, name) for p in met.values()] for name in ("gap", "real_gap"))
    axes.hlines(rows, guessed, real, color=MUTED, linewidth=2)
    axes.plot(guessed, rows, "o", color=GUESS, fillstyle="none", markersize=9, label="your guess")
    axes.plot(real, rows, "o", color=VAL, markersize=8, label="the run")
    axes.set_yticks(rows, [literal(title) for title in met])
    axes.set_ylim(len(met) - 0.5, -0.5)  # the first on top
    axes.set_xlabel("gap at the end (nats per token)")
    axes.set_title(sentence.rstrip("."))
    pairs = (f"{title} {p.gap:+.1f}, the run {p.real_gap:+.2f}" for title, p in met.items())
    chart.description = f"{sentence} Guessed gaps: {'; '.join(pairs)}."
    return finished(chart, axes)
