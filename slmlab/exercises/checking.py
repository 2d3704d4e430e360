"""What all checks share: two forms in which the likely mistakes of a task are written as a table.

A lesson has a module of its own, with one function for each task, which the notebook calls. Where
the answer is a value, `expect` lists wrong values and what to say of each:

    @task
    def rates(params_per_token):
        expect(
            "params_per_token",
            params_per_token,
            45_000 / 9_000,
            {
                45_000 / 10_000: "You divided by the whole text; its last tenth is held back.",
                9_000 / 45_000: "You divided the other way round.",
            },
            otherwise="Divide the parameters by the tokens trained on.",
        )
        right("Only what is trained on counts.")

Where the answer is a function, `expect_function` compares what it returns for some cases with the
truth, and lists wrong bodies, as a learner would type them:

    @task
    def signed_gap(function):
        expect_function(
            "signed_gap(train_loss, val_loss)",
            function,
            [(2.0, 5.0), (5.25, 5.0)],
            "return val_loss - train_loss",
            {
                "return train_loss - val_loss": "You subtracted the other way round.",
                "return abs(val_loss - train_loss)": "You lost the sign.",
            },
        )
        right("The sign is kept.")

`task` and `right` are from telling.py. The tests try every wrong value and every wrong body of
these tables, and want its sentence. What does not fit the two forms is a line of
`require(condition, sentence)`; its wrong answers are listed in tests/wrong_answers.
"""

import inspect
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Number
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import slmlab as lab
from slmlab.validation import shown

# A sentence, or a function that makes it, where it takes time to find the words.
Sentence = str | Callable[[], str]

NOTEBOOK = {"lab": lab, "math": math, "re": re, "torch": torch, "F": F}  # what a body may use
LONGEST_TOLD = 500  # letters of a learner's error
LONGEST_SHOWN = 300  # letters, or digits, of a value
ROUNDED = 2e-3  # answers agree to the third digit or so


class Mistake(AssertionError):
    """An answer that is not right yet; the message names the likely mistake."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence alone, without the lines of the check."""
        return [f"Not yet. {self}"]


@dataclass(frozen=True)
class Case:
    """The arguments of a call, and what to say if it goes wrong.

    Attributes:
        arguments: what the function is called with.
        hint: the mistake that this case is there to expose, also if it shows as an error.
    """

    arguments: tuple
    hint: str = ""


def expect(
    name: str,
    answer: Any,
    truth: Any,
    mistakes: Mapping[Any, Sentence] | None = None,
    *,
    otherwise: str = "",
    rel_tol: float = ROUNDED,
    abs_tol: float = 1e-6,
) -> Any:
    """The answer, if it is right; if not, raise `Mistake` with what to say of it.

    The truth tells what kind of answer is wanted: a number, True or False, or one of some words,
    which are the truth and the keys of `mistakes`. Whole numbers have to be exact.
    """
    mistakes = mistakes or {}
    if isinstance(answer, Probe):
        answer.name, answer.truth = name, truth
        answer.wrong += [(wrong, sentence) for wrong, sentence in mistakes.items()]
        return truth
    value = _read(answer, name, truth, mistakes)
    if close(value, truth, rel_tol, abs_tol):
        return value
    for wrong, sentence in mistakes.items():
        if close(value, wrong, rel_tol / 2, abs_tol / 2):  # some lie near one another
            raise Mistake(f"`{name}`: {_said(sentence)}")
    raise Mistake(f"`{name}` is not {_shown(value)}. {otherwise}".rstrip())


def expect_function(
    signature: str,
    function: Any,
    cases: Sequence[tuple | Case] | Callable[[], Sequence[tuple | Case]],
    truth: str | Callable[..., Any],
    misreadings: Mapping[str, Sentence] | None = None,
    *,
    read: Callable[[Any, str], Any] | None = None,
    otherwise: str | Callable[..., str] = "For {given} it gives {value}; it should be {truth}.",
    advice: Mapping[str, str] | None = None,
    rel_tol: float = ROUNDED,
    abs_tol: float = 1e-6,
) -> None:
    """Raise `Mistake` unless the function returns the truth for all cases.

    The misreading that returns the same as the function for all cases is named. If there is none,
    `otherwise` and the hint of the first wrong case are told.

    Args:
        signature: of the function, such as "copied(text, n=8)".
        function: the learner's.
        cases: the arguments of each call, or a function that gives them if that takes time.
        truth: a right body, or a function that takes the same arguments.
        misreadings: wrong bodies, and what to say of each.
        read: makes a value to compare from what was returned and the function's name; if it raises
            `Mistake`, that is told. Without it, one number is wanted.
        otherwise: what to say of an unknown mistake; may name the arguments, and `given` for all of
            them, `value` and `truth`. Or a function of value, truth and the arguments.
        advice: what to add if the function stops with an error, by a part of the error's text.
    """
    if isinstance(function, Probe):
        function.wrong += (misreadings or {}).items()
        return
    name, read = signature.partition("(")[0], read or number
    require(not isinstance(function, str), f"`{name}` is text, not a function: run its cell again.")
    listed = cases() if callable(cases) else cases
    cases = [case if isinstance(case, Case) else Case(case) for case in listed]

    def results(body: Any) -> list[Any]:
        return _results(_function(signature, body), name, cases, read, advice)

    def agree(values: list[Any], others: list[Any]) -> bool:
        pairs = zip(values, others, strict=True)
        return all(close(value, other, rel_tol, abs_tol) for value, other in pairs)

    values, truths = results(function), results(truth)
    if agree(values, truths):
        return
    for body, sentence in (misreadings or {}).items():
        try:
            same = agree(values, results(body))
        except Mistake:  # this body has no answer to one of the cases
            continue
        require(not same, sentence)
    wrong = next(i for i, _ in enumerate(cases) if not agree(values[i : i + 1], truths[i : i + 1]))
    raise Mistake(_unlike(signature, cases[wrong], values[wrong], truths[wrong], otherwise))


def close(value: Any, other: Any, rel_tol: float = ROUNDED, abs_tol: float = 1e-6) -> bool:
    """Whether two answers agree: numbers but for rounding, also in a tuple; all else exactly."""
    if isinstance(value, tuple | list) and isinstance(other, tuple | list):
        pairs = zip(value, other, strict=False)
        return len(value) == len(other) and all(close(a, b, rel_tol, abs_tol) for a, b in pairs)
    if isinstance(value, Tensor) or isinstance(other, Tensor):
        return isinstance(value, Tensor) and isinstance(other, Tensor) and torch.equal(value, other)
    exact = isinstance(other, Integral) or not isinstance(value, Number)
    return value == other if exact else math.isclose(value, other, rel_tol=rel_tol, abs_tol=abs_tol)


def require(condition: object, sentence: Sentence) -> None:
    """Raise `Mistake` with the sentence unless the condition holds."""
    if not condition:
        raise Mistake(_said(sentence))


def filled_in(answer: Any, name: str) -> Any:
    """The answer, unless it is still blank."""
    if isinstance(answer, Probe):
        raise Probed
    require(
        answer is not ... and answer is not None,
        f"`{name}` is still blank: put your answer in the place of the three dots.",
    )
    return answer


def number(answer: Any, name: str) -> float:
    """The answer as a number."""
    filled_in(answer, name)
    require(
        not (isinstance(answer, tuple) and all(isinstance(part, int) for part in answer)),
        f"`{name}` is {shown(answer)}: Python reads a comma as the border between two numbers. "
        "Write twelve thousand as 12000 or 12_000.",
    )
    try:
        value = float(answer)
    except Exception:  # each kind of thing has its own
        raise Mistake(f"`{name}` is {shown(answer)}; it should be one number.") from None
    require(math.isfinite(value), f"`{name}` is {value}; it should be a finite number.")
    return int(value) if isinstance(answer, Integral) else value


def numbers(answer: Any, name: str, count: int, what: str) -> tuple[float, ...]:
    """The numbers of a tuple, list, tensor, array or dictionary."""
    try:
        values = answer.values() if isinstance(answer, dict) else answer
        found = tuple(float(value) for value in values)
    except Exception:  # each kind of thing has its own
        found = ()
    require(
        len(found) == count,
        f"`{name}` returns {shown(answer)}; it should return {count} numbers: {what}.",
    )
    finite = all(map(math.isfinite, found))
    require(finite, f"`{name}` returns {shown(answer)}: not all are finite.")
    return found


def word(answer: Any, name: str, words: Sequence[str]) -> str:
    """The answer as one of the words, in their case."""
    known = {choice.casefold(): choice for choice in words}
    filled_in(answer, name)
    text = answer.strip(" ().").casefold() if isinstance(answer, str) else None
    listed = ", ".join(f'"{choice}"' for choice in words)
    require(text in known, f"`{name}` is {shown(answer)}; it should be one of {listed}.")
    return known[text]


def is_truth_value(answer: Any) -> bool:
    """Whether it is True or False; 1 and 0, and those of NumPy and PyTorch, are as good."""
    try:
        return bool(answer in (True, False))
    except Exception:  # a table has no truth value, and says so in its own way
        return False


def called(
    function: Callable[..., Any], *arguments: Any, advice: Mapping[str, str] | None = None
) -> Any:
    """What the learner's function returns for these arguments."""
    result = attempted(function, *arguments, advice=advice)
    require(result is not None and result is not ..., _nothing_yet(function))
    return result


def attempted(
    function: Callable[..., Any], *arguments: Any, advice: Mapping[str, str] | None = None
) -> Any:
    """The same, or None where it returns nothing.

    If it stops with an error whose text holds a key of `advice`, that advice is told as well; if
    several fit, the first.
    """
    if isinstance(function, Probe):
        raise Probed
    name = name_of(function)
    require(callable(function), f"`{name}` is no longer a function: run its cell again.")
    try:
        return function(*arguments)
    except Mistake:
        raise
    except Exception as error:
        if isinstance(error, NotImplementedError) and not error.args:  # a blank of nbgrader's
            return None
        told = f"`{name}` stopped with {type(error).__name__}: {_text_of(error)}"
        for words, sentence in (advice or {}).items():
            if words in told:
                raise Mistake(f"{told[:200].rstrip(' .')}. {sentence}") from error
        raise Mistake(told[:LONGEST_TOLD]) from error


def name_of(function: Any) -> str:
    """A function's name; not everything that can be called has one."""
    return getattr(function, "__name__", "the function")


class Probed(Exception):
    """The end of what a check knows without an answer."""


@dataclass
class Probe:
    """Takes the place of an answer, and notes what a check would say to which: for the tests."""

    name: str = ""
    truth: Any = None
    wrong: list[tuple[Any, Sentence]] = field(default_factory=list)


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # an error of the learner's own may not even be printed
        return "an error without a text"


def _said(sentence: Sentence) -> str:
    return sentence() if callable(sentence) else sentence


def _read(answer: Any, name: str, truth: Any, mistakes: Mapping[Any, Sentence]) -> Any:
    """The answer as something of the truth's kind."""
    if isinstance(truth, bool):
        filled_in(answer, name)
        require(is_truth_value(answer), f"`{name}` is {shown(answer)}; it should be True or False.")
        return bool(answer)
    if isinstance(truth, str):
        return word(answer, name, sorted({truth, *mistakes}))
    return number(answer, name)


def _function(signature: str, body: Any) -> Callable[..., Any]:
    """The function with this body, if it is one; else the function that it already is."""
    if not isinstance(body, str):
        return body
    names = dict(NOTEBOOK)
    indented = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    exec(f"def {signature}:\n{indented}", names)
    return names[signature.partition("(")[0]]


def _results(
    function: Any,
    name: str,
    cases: Sequence[Case],
    read: Callable[[Any, str], Any],
    advice: Mapping[str, str] | None,
) -> list[Any]:
    """What the function gives for each case; None where it returns nothing."""
    returned = [
        attempted(
            function,
            *map(_fresh, case.arguments),
            advice={"": case.hint} if case.hint else advice,  # "" is a part of every error
        )
        for case in cases
    ]
    blank = all(answer is None or answer is ... for answer in returned)
    require(not blank, _nothing_yet(function))
    return [None if answer is None else read(answer, name) for answer in returned]


def _fresh(argument: Any) -> Any:
    """A copy, so that a function which changes its argument does not change the case."""
    if isinstance(argument, Tensor):
        return argument.clone()
    copy = getattr(argument, "copy", None)  # of a list, a dict or a table
    return copy() if callable(copy) else argument


def _nothing_yet(function: Any) -> str:
    return (
        f"`{name_of(function)}` returns nothing yet: write its body, and end it with `return`; "
        "`print` only shows a value."
    )


def _unlike(
    signature: str, case: Case, value: Any, truth: Any, otherwise: str | Callable[..., str]
) -> str:
    """What to say of a value that is not the truth."""
    parameters = inspect.signature(_function(signature, "...")).parameters
    arguments = dict(zip(parameters, case.arguments, strict=True))
    given = " and ".join(f"{name}={_shown(argument)}" for name, argument in arguments.items())
    if value is None:
        told = f"For {given} you return nothing: does each way through end in a `return`?"
    elif callable(otherwise):
        told = otherwise(value, truth, *case.arguments)
    else:
        told = otherwise.format(**arguments, given=given, value=_shown(value), truth=_shown(truth))
    return f"{told} {case.hint}".strip()


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        listed = ", ".join(map(_shown, value[:LONGEST_SHOWN]))  # each takes a letter at least
        if len(listed) > LONGEST_SHOWN:
            listed = f"{listed[:LONGEST_SHOWN]}…"
        return f"({listed})" if isinstance(value, tuple) else f"[{listed}]"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) >= 10**LONGEST_SHOWN:
        return shown(value, LONGEST_SHOWN)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
