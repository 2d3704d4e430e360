"""What all checks share: how a mistake is told, and how a learner's answer is asked for."""

import math
from collections.abc import Callable
from typing import Any


class Mistake(AssertionError):
    """An answer that is not right yet; the message names the likely mistake."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence alone, without the lines of the check."""
        return [f"Not yet. {self}"]


def require(condition: object, sentence: str) -> None:
    """Raise `Mistake` with the sentence unless the condition holds."""
    if not condition:
        raise Mistake(sentence)


def filled_in(answer: Any, name: str) -> Any:
    """The answer, unless it is still blank."""
    require(
        answer is not ... and answer is not None,
        f"`{name}` is still blank: put your answer in the place of the three dots.",
    )
    return answer


def number(answer: Any, name: str) -> float:
    """The answer as a number."""
    filled_in(answer, name)
    try:
        value = float(answer)
    except (TypeError, ValueError):
        raise Mistake(f"`{name}` is {answer!r}; it should be one number.") from None
    require(math.isfinite(value), f"`{name}` is {value}; it should be a finite number.")
    return value


def called(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What the learner's function returns for these arguments."""
    name = getattr(function, "__name__", "the function")
    require(callable(function), f"`{name}` is no function any more: run its cell again.")
    try:
        result = function(*arguments, **options)
    except NotImplementedError:
        result = None
    except Mistake:
        raise
    except Exception as error:
        raise Mistake(f"`{name}` stopped with {type(error).__name__}: {error}") from error
    require(
        result is not None and result is not ...,
        f"`{name}` returns nothing yet: write its body, and end it with `return`.",
    )
    return result


def right(sentence: str) -> None:
    """Tell that a task is done, and what it showed."""
    print(f"Right. {sentence}")
