"""Counting beside a GPT: the two mixed, with one weight for all tokens."""

import math

from torch import Tensor, logaddexp

from slmlab.validation import real_number

WEIGHTS = tuple(n / 50 for n in range(1, 50))  # 0.02 to 0.98: neither model alone


def mix(losses_a: Tensor, losses_b: Tensor, weight: float) -> Tensor:
    """Losses of the mixture that gives `weight` to model a and the rest to model b.

    Losses of the same tokens, in nats: (N,) and (N,) → (N,). The mixture's probability of a token
    is weight · p_a + (1 − weight) · p_b (linear interpolation, Jelinek and Mercer 1980).
    Raises `ValueError` for lengths that differ, or a weight that is not between 0 and 1.
    """
    weight = real_number("weight", weight, above=0, below=1)
    if losses_a.shape != losses_b.shape:
        raise ValueError(
            f"The losses are of {len(losses_a):,} and of {len(losses_b):,} tokens; both models "
            "must be scored on the same tokens."
        )
    a, b = losses_a.double(), losses_b.double()
    return -logaddexp(math.log(weight) - a, math.log(1 - weight) - b)


def choose_weight(losses_a: Tensor, losses_b: Tensor) -> float:
    """The weight of `WEIGHTS` on model a whose mixture has the lowest mean loss.

    Choose it on held-out scripts, never on the final ones. Raises `ValueError` as `mix` does.
    """
    return min(WEIGHTS, key=lambda weight: float(mix(losses_a, losses_b, weight).mean()))
