"""What all checks share: how a mistake is told, and how a learner's answer is asked for."""

import math
from collections.abc import Callable, Sequence
from typing import Any

# What a likely mistake gives for a case, and what to say of it.
Misreading = tuple[Callable[..., float], str]


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


def letter(answer: Any, name: str, letters: str) -> str:
    """The answer as one of the letters, in their case."""
    text = str(filled_in(answer, name)).strip(" ().").casefold()
    known = {choice.casefold(): choice for choice in letters}
    require(text in known, f"`{name}` is {answer!r}; give one of the letters {', '.join(letters)}.")
    return known[text]


def check_values(
    values: Sequence[float],
    cases: Sequence[tuple],
    truth: Callable[..., float],
    misreadings: Sequence[Misreading],
    otherwise: Callable[..., str],
) -> None:
    """Raise `Mistake` unless each value is the truth of its case.

    The misreading that gives all the values is named; if there is none, `otherwise` puts the first
    wrong case into words, from the value, the truth and the case.
    """
    truths = [truth(*case) for case in cases]
    if _same(values, truths):
        return
    for misread, sentence in misreadings:
        require(not _same(values, [misread(*case) for case in cases]), sentence)
    wrong = next(i for i, value in enumerate(values) if not _same([value], [truths[i]]))
    raise Mistake(otherwise(values[wrong], truths[wrong], *cases[wrong]))


def _same(values: Sequence[float], others: Sequence[float]) -> bool:
    pairs = zip(values, others, strict=True)
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-3) for a, b in pairs)


def right(sentence: str) -> None:
    """Tell that a task is done, and what it showed."""
    print(f"Right. {sentence}")
