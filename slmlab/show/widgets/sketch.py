"""A guess as a picture: the two loss curves of a run that would end as it says."""

import numpy as np

from slmlab.show.plots.chart import GUESS, TRAIN, VAL
from slmlab.show.progress import Prediction

# Nats per token: ln(50,257), the loss of a model that knows nothing, and about where training ends.
UNTRAINED, TRAINED = 10.8, 1.5
POINTS = 121  # of a curve
# Pixels: where the axes meet, how far apart the first and the last step are, how high a nat is.
LEFT, BOTTOM, WIDTH, NAT = 26, 196, 290, 13
RIGHT = LEFT + WIDTH


def sketch(guess: Prediction) -> str:
    """The guess as a picture (SVG): two curves, the gap as a bar, the best step as a ring."""
    best = (guess.best_step or 0) / guess.steps if guess.steps else 1.0
    x, *losses = sketched_losses(guess.gap, best)
    across = LEFT + WIDTH * x
    train, val = (BOTTOM - NAT * loss for loss in losses)  # heights count downwards
    parts = [
        f"<path d='M{LEFT} 24V{BOTTOM}H{RIGHT}' fill='none' stroke='currentColor' opacity='0.5'/>",
        _curve(across, train, TRAIN),
        _curve(across, val, VAL),
        f"<path d='M{RIGHT} {train[-1]:.1f}V{val[-1]:.1f}' stroke='{GUESS}' stroke-width='6'/>",
        _text(RIGHT + 39, (train[-1] + val[-1]) / 2 + 4, f"gap {guess.gap:+.1f}", GUESS),
        _text(222, 16, "validation", VAL),
        _text(293, 16, "training", TRAIN),
        "<text transform='translate(16 110) rotate(-90)' text-anchor='middle'>loss</text>",
        _text(LEFT, BOTTOM + 34, "0"),
        _text(LEFT + WIDTH / 2, BOTTOM + 34, "step"),
        _text(RIGHT, BOTTOM + 34, "end" if guess.steps is None else f"{guess.steps:,}"),
    ]
    if guess.best_step is not None:
        ring, lowest = LEFT + WIDTH * best, val.max()
        parts += [
            f"<path d='M{ring:.1f} {lowest:.1f}V{BOTTOM}' stroke='{GUESS}' "
            "stroke-dasharray='2 3'/>",
            f"<circle cx='{ring:.1f}' cy='{lowest:.1f}' r='6' fill='none' stroke='{GUESS}' "
            "stroke-width='2'/>",
            _text(ring, BOTTOM + 15, f"{guess.best_step:,}", GUESS),
        ]
    return (
        f"<svg viewBox='0 0 400 236' role='img' aria-label='{_described(guess)}' "
        "style='display:block;width:100%;font:12px sans-serif;fill:currentColor'>"
        f"{''.join(parts)}</svg>"
    )


def sketched_losses(
    gap: float, best: float, untrained: float = UNTRAINED, trained: float = TRAINED
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Curves as a guess would have them: x from 0 to 1, training and validation loss, each (121,).

    `best` is the x of the lowest validation loss. That and the gap at the end are the guess; the
    rest is made up, to look like a run whose training loss falls from `untrained` to `trained`.
    """
    x = np.linspace(0, 1, POINTS)
    rise = (1 - best) * np.clip(gap / 2, 0.3, 2)  # of the validation loss after its best
    learnt = min(1, 10 * best)  # 0 if step 0 is the best: nothing carried over
    end = learnt * trained + (1 - learnt) * (untrained + rise - gap)  # of the training loss
    lowest = end + gap - rise
    train = end + (untrained - end) * (1 - x) ** (6 / max(best, 0.1))
    falling = np.clip(1 - x / max(best, 1e-9), 0, 1) ** 4
    rising = np.clip((x - best) / max(1 - best, 1e-9), 0, 1) ** 1.5
    return x, train, lowest + (untrained - lowest) * falling + rise * rising


def _described(guess: Prediction) -> str:
    """The picture in words."""
    if guess.best_step is None:
        return f"Sketch of your guess: at the end, the gap is {guess.gap:+.1f}."
    return (
        f"Sketch of your guess: the validation loss is lowest at step {guess.best_step:,} of "
        f"{guess.steps:,}, and at the end the gap is {guess.gap:+.1f}."
    )


def _curve(across: np.ndarray, down: np.ndarray, colour: str) -> str:
    points = " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across, down, strict=True))
    return f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>"


def _text(x: float, y: float, text: str, colour: str = "currentColor") -> str:
    fill = f"color-mix(in srgb, {colour} 65%, currentColor)"  # to be read on white and on black
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='middle' style='fill:{fill}'>{text}</text>"
