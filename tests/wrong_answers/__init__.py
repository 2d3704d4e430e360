"""Wrong answers to the exercises, and what must be told of each.

Most are in the checks themselves: `derived` asks a check which wrong answers it knows. Those of the
checks that test structure are listed here, in one module for each lesson: WRONG maps a task's
grade_id to {code: words of the message}. The code takes the place of the solution.
"""

import inspect
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from typing import Any, NamedTuple

from slmlab.exercises.checking import Probe, Probed, Sentence


class Wrong(NamedTuple):
    """A wrong answer: the code, the words that it must be told, and a name for it."""

    code: str
    words: Sentence
    name: str


def wrong_answers(lesson: str, task: str, check: str, solution: str) -> list[Wrong]:
    """All wrong answers to a task, whose check has the given name.

    `lesson` is the name of a module, such as "lesson_00", here and in `slmlab.exercises`.
    """
    listed = import_module(f"tests.wrong_answers.{lesson}").WRONG.get(task, {})
    function = getattr(import_module(f"slmlab.exercises.{lesson}"), check)
    others = [Wrong(code, words, f"listed-{words[:30]}") for code, words in listed.items()]
    return derived(function, solution) + others


def derived(check: Callable[..., Any], solution: str) -> list[Wrong]:
    """The wrong answers that a check knows; of several values one is wrong, the others are true."""
    probes = [Probe() for _ in inspect.signature(check).parameters]
    with suppress(Probed), redirect_stdout(StringIO()):
        check(*probes)
    found = {}
    for probe in probes:
        for wrong, words in probe.wrong:
            if not probe.name:  # the body of a function
                name = words.__name__ if callable(words) else words[:30]
                found.setdefault(wrong, Wrong(wrong, words, name))
            elif wrong != probe.truth:
                answer = f"{probe.name} = {getattr(wrong, 'item', lambda value=wrong: value)()!r}"
                found[answer] = Wrong(f"{solution}\n{answer}", words, answer)
    return list(found.values())
