"""A sensible model for an amount of text, and why: what the recorded grid says."""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from slmlab.engine.model import GPTConfig
from slmlab.study.experiments.grid import GRID, NEAR, last_and_best, read_grid
from slmlab.validation import whole_number

if TYPE_CHECKING:
    import pandas as pd

MIN_TOKENS = 100  # fewer are too few to learn anything from; 10,000 are better
MAX_TOKENS = 10**12  # about what the largest models are trained on: nothing here speaks of more
MAX_VOCABULARY = 1_000_000  # the widest in use have about 260,000 tokens


@dataclass(frozen=True)
class Recommendation:
    """A model for an amount of text, when to expect its best step, and the reasons."""

    config: GPTConfig
    epochs: float
    reasons: tuple[str, ...]


def recommend(n_tokens: int, vocab_size: int = 1000) -> Recommendation:
    """A sensible model for `n_tokens` tokens of training text.

    It is the smallest shape of the recorded grid that was near the best for every amount of text,
    each taken at its best step. One pass over much more text, about 20 tokens for each parameter,
    asks for larger models (Hoffmann et al. 2022, arXiv:2203.15556).
    Raises `ValueError` outside `MIN_TOKENS` to `MAX_TOKENS`, or for a vocabulary outside 2 to
    `MAX_VOCABULARY`.
    """
    n_tokens = whole_number("n_tokens", n_tokens, MIN_TOKENS, MAX_TOKENS)
    vocab_size = whole_number("vocab_size", vocab_size, 2, MAX_VOCABULARY)
    width, loses = _steady_width()
    config = GRID.base.replace(n_embd=width).shape.config(vocab_size)
    best_epochs = _best_epochs(width)
    amounts = best_epochs.index.to_numpy()
    epochs = float(best_epochs.iloc[np.abs(np.log(amounts / n_tokens)).argmin()])
    reasons = [
        f"In the recorded grid this shape (width {width}) was within {loses:.1f} nats of the best "
        f"for every amount of text from {amounts.min():,} to {amounts.max():,} tokens; "
        f"with your vocabulary it has {config.n_params:,} parameters.",
        f"The best step came after the text was read about {epochs:.0f} times: train with "
        "patience, and keep the best weights.",
    ]
    if not amounts.min() / 2 <= n_tokens <= 2 * amounts.max():
        reasons.append("Your text is much shorter or longer than those: this is a guess.")
    if vocab_size * config.n_embd > config.n_params / 2:
        reasons.append(
            "More than half of the parameters belong to the vocabulary: a smaller one helps most."
        )
    return Recommendation(config, epochs, tuple(reasons))


@lru_cache(maxsize=1)
def _steady_width() -> tuple[int, float]:
    """The smallest width near the best for every amount of text, and how much it loses at most."""
    runs = last_and_best(read_grid())
    means = runs.groupby(["n_embd", "train_tokens"])["best_val_loss"].mean().unstack()
    worst = (means - means.min()).max(axis=1)
    width = worst.index[worst <= NEAR].min()
    return int(width), float(worst[width])


@cache
def _best_epochs(width: int) -> "pd.Series":
    """How often the text had been read at the best step of this width, by the training tokens."""
    runs = last_and_best(read_grid())
    return runs[runs["n_embd"] == width].groupby("train_tokens")["best_epochs"].mean()
