"""One way to refuse a value: what was given, and what is allowed. Stands below all floors."""

import math
import operator
from typing import Any


def whole_number(name: str, value: Any, least: int = 0, most: int | None = None) -> int:
    """`value` as an int, NumPy's included. Raises `ValueError` for anything else or out of range.

    True and False are refused: they are whole numbers to Python, but not to anybody who reads.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
        if number < least or (most is not None and number > most):
            raise ValueError
    except (TypeError, ValueError):
        bounds = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        raise ValueError(
            f"{name} is {_shown(value)}; it must be a whole number {bounds}."
        ) from None
    return number


def real_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """`value` as a finite float, NumPy's included. Raises `ValueError` for anything else.

    The bounds `above` and `below` are excluded, `least` and `most` are allowed.
    """
    number = _as_float(value)
    allowed = (
        math.isfinite(number)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if allowed:
        return number
    limits = {"above": above, "at least": least, "below": below, "at most": most}
    bounds = " and ".join(
        f"{word} {limit:g}" for word, limit in limits.items() if limit is not None
    )
    raise ValueError(f"{name} is {_shown(value)}; it must be a number {bounds}.".replace(" .", "."))


def _as_float(value: Any) -> float:
    """The number, or NaN for what is none. Text is none, even where it looks like a number."""
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return math.nan


def _shown(value: Any, longest: int = 80) -> str:
    """A value in an error sentence, cut where it would fill the screen."""
    if isinstance(value, int) and abs(value) >= 10**longest:
        return "a number that is far too large"  # Python refuses to print the largest
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
