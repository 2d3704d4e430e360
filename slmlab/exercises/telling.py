"""How a check tells its result: a box in a notebook, an error or a printed line elsewhere.

In a notebook a wrong answer must not stop "Run All", so nothing is raised there, and right answers
are counted and kept. Tests want the error, in notebooks as well: they set the environment variable
SLMLAB_CHECKS to "raise".
"""

import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from slmlab.exercises.checking import Mistake
from slmlab.show import progress
from slmlab.show.course_map import lessons
from slmlab.show.widgets.parts import inline_html
from slmlab.show.words import joined

TASKS: dict[str, list[str]] = {}  # by lesson, the names of its checks in the order of its tasks


class Task(NamedTuple):
    lesson: str
    name: str


_told: ContextVar[Task | None] = ContextVar("told", default=None)  # the task checked in a notebook


def task(check: Callable[..., None], stops: bool = False) -> Callable[..., None]:
    """Make a check of a lesson's module, such as `lesson_00`, the next task of that lesson.

    `stops` says that a wrong answer ends "Run All", because the cells below need a right one.
    """
    this = Task(lesson_of(check.__module__), check.__name__)
    TASKS.setdefault(this.lesson, []).append(this.name)

    @wraps(check)
    def checked(*answers: Any) -> None:
        if not _in_notebook():
            return check(*answers)
        token = _told.set(this)
        try:
            check(*answers)
        except Mistake as mistake:
            if stops:
                raise
            _show("#D55E00", "✗ Not yet.", str(mistake))
        finally:
            _told.reset(token)

    return checked


def lesson_of(module: str) -> str:
    """The lesson of a module of checks: "00" of `lesson_00`, or `build_a_gpt`."""
    name = module.rpartition(".")[2].removeprefix("lesson_")
    return name.removesuffix("_parts")


def right(sentence: str) -> None:
    """Tell that a task is done, and what it showed."""
    this = _told.get()
    if this is None:
        print(f"Right. {sentence}")
        return
    progress.keep_exercise(*this)
    solved = {this.name, *progress.read().exercises.get(this.lesson, [])}
    left = [str(n) for n, name in enumerate(TASKS[this.lesson], 1) if name not in solved]
    total = len(TASKS[this.lesson])
    count = f"{total - len(left)} of {total} right"
    if left:
        count += f"; task{'s' * (len(left) > 1)} {joined(left)} to go"
    _show("#009E73", "✓ Right.", sentence, f"{count}. {_links(this.lesson, not left)}")


def _in_notebook() -> bool:
    if os.environ.get("SLMLAB_CHECKS") == "raise" or "IPython" not in sys.modules:
        return False
    return hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def _show(colour: str, verdict: str, sentence: str, more: str = "") -> None:
    from IPython.display import display

    # The space of a notebook's own text is missing around an output, and its colours change.
    page = (
        f"<div role='status' style='border:1px solid {colour};border-left-width:6px;"
        "border-radius:4px;padding:8px 14px;margin:4px 0;line-height:1.45;max-width:900px'>"
        f"<b>{verdict}</b> {inline_html(sentence)}{f'<br>{more}' if more else ''}</div>"
    )
    display({"text/plain": f"{verdict} {sentence}", "text/html": page}, raw=True)


def _links(lesson: str, done: bool) -> str:
    """Back to the lesson, and on to the next one when all is done, where these notebooks lie."""
    order = lessons()
    [place] = [place for place, one in enumerate(order) if one.key == lesson]
    words = {"Back to the lesson": order[place]}
    if done:
        words["On to the next lesson"] = order[place + 1]
    found = [
        f"<a href='../notebooks/{escape(one.notebook)}.ipynb'>{said}</a>"
        for said, one in words.items()
        if Path(f"../notebooks/{one.notebook}.ipynb").exists()
    ]
    return " · ".join(found)
