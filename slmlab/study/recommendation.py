"""A sensible model for an amount of text, and why: what the recorded grid says."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from slmlab.engine.model import GPTConfig
from slmlab.study.experiments.counting import read_counting
from slmlab.study.experiments.grid import (
    GRID,
    NEAR,
    best_looks,
    decision_table,
    read_grid,
    size_table,
)
from slmlab.validation import whole_number

if TYPE_CHECKING:
    import pandas as pd

MIN_TOKENS = 100  # fewer are too few to learn anything from; 10,000 are better
MAX_TOKENS = 10**12  # about what the largest models are trained on: nothing here speaks of more
MAX_VOCABULARY = 1_000_000  # the widest in use have about 260,000 tokens


@dataclass(frozen=True)
class Recommendation:
    """A model for an amount of text, how to train it, and the reasons.

    `epochs` is how often the text had been read when such models were best.
    """

    config: GPTConfig
    learning_rate: float
    epochs: float
    reasons: tuple[str, ...]


def recommend(n_tokens: int, vocab_size: int = 1000) -> Recommendation:
    """A sensible model for `n_tokens` tokens of training text.

    For the grid's nearest amount of text, it is the smallest width that was near the best, each
    width at its own best learning rate and step. One pass over much more text, about 20 tokens for
    each parameter, asks for larger models (Hoffmann et al. 2022, arXiv:2203.15556).
    Raises `ValueError` outside `MIN_TOKENS` to `MAX_TOKENS`, or for a vocabulary outside 2 to
    `MAX_VOCABULARY`.
    """
    n_tokens = whole_number("n_tokens", n_tokens, MIN_TOKENS, MAX_TOKENS)
    vocab_size = whole_number("vocab_size", vocab_size, 2, MAX_VOCABULARY)
    sizes, decisions = _tables()
    amounts = decisions.index.to_numpy()
    amount = amounts[np.abs(np.log(amounts / n_tokens)).argmin()]
    near = sizes.loc[amount].query("near")
    width, found = int(near.index.min()), near.loc[near.index.min()]
    config = GRID.base.replace(n_embd=width).shape.config(vocab_size)
    reasons = [
        f"In the recorded grid, with {amount:,} tokens, width {width} was the smallest within "
        f"{NEAR} bits per byte of the best; with your vocabulary it has {config.n_params:,} "
        "parameters.",
        f"Its best learning rate there was {found['learning_rate']:g}, and its best step came "
        f"after the text was read about {found['epochs']:.0f} times: train with patience, and "
        "keep the best weights. A lower rate needs more steps in proportion.",
        _beside_counting(decisions.loc[amount], amount),
    ]
    if not amounts.min() / 2 <= n_tokens <= 2 * amounts.max():
        reasons.append("Your text is much shorter or longer than those: this is a guess.")
    if vocab_size * config.n_embd > config.n_params / 2:
        reasons.append(
            "More than half of the parameters belong to the vocabulary: a smaller one helps most."
        )
    return Recommendation(
        config, float(found["learning_rate"]), float(found["epochs"]), tuple(reasons)
    )


def _beside_counting(decision: "pd.Series", amount: int) -> str:
    """Whether the best model of the grid was better than a 5-gram on the same text."""
    by, least = decision["ahead"], decision["ahead_least"]
    if least > 0:
        return f"The best model there was {by:.2f} bits per byte better than a 5-gram."
    if by > 0:
        return f"The best model there was no better than a 5-gram with every text of {amount:,}."
    return (
        f"Even the best model there was {-by:.2f} bits per byte worse than a 5-gram, a table of "
        "counts: for so little text, counting does as well or better."
    )


@lru_cache(maxsize=1)
def _tables() -> "tuple[pd.DataFrame, pd.DataFrame]":
    runs = best_looks(read_grid())
    return size_table(runs), decision_table(runs, read_counting())
