"""Multiple-choice questions of a lesson, each option with its own feedback."""

import json
import re
from functools import partial
from html import escape
from typing import Any, NamedTuple

import ipywidgets

from slmlab.show.widgets.parts import Panel, framed
from slmlab.text.files import MAX_DATA_BYTES, DataError, data_path, read_regular
from slmlab.validation import shown

LETTERS = "ABCD"
MARKS = {True: "✓", False: "✗", None: "\u2003"}  # right, wrong, not chosen yet: about as wide
COLOURS = {True: "#009E73", False: "#D55E00"}  # told apart by colour-blind readers as well
# Widgets have no setting for these: buttons whose text wraps, and the mark of a chosen one.
STYLE = f"""<style>
.slm-quiz .widget-html-content {{ line-height: 1.45; }}
.slm-quiz .slm-option {{ white-space: normal; text-align: left; line-height: 1.45; }}
.slm-quiz .slm-option {{ border-left: 5px solid transparent; }}
.slm-quiz .slm-right {{ border-left-color: {COLOURS[True]}; }}
.slm-quiz .slm-wrong {{ border-left-color: {COLOURS[False]}; }}
</style>"""


class Option(NamedTuple):
    """A possible answer, and what is said to whoever chooses it."""

    text: str
    right: bool
    feedback: str


class Question(NamedTuple):
    """A question; exactly one of its options is right."""

    id: str
    text: str
    options: tuple[Option, ...]


class Quiz(Panel):
    """The questions of a lesson, one below the other, and how many were right at first try.

    A choice is answered at once. One may go on choosing, also after the right option, to read what
    is said about the others; the first choice counts. Made again, the panel begins anew. Where no
    kernel is attached, the questions appear with their answers folded.

    Args:
        lesson: the number of the lesson, such as "00", or the name of one without a number.

    Attributes:
        questions: the questions, in the order of the data.
        buttons: for each question, a button for each option.
        feedback: for each question, what is said to the latest choice, as HTML; what would be said
            to the others is there as well, hidden.
        score: how many were answered, at the end how many right at first try, as HTML.
        choices: for each question, the indices of the options chosen so far, in their order.

    Raises:
        ValueError: if there is no quiz for the lesson.
        DataError: if its file is damaged.
    """

    def __init__(self, lesson: str) -> None:
        self.questions = read_questions(lesson)
        self.lesson = lesson
        self.choices: list[list[int]] = [[] for _ in self.questions]
        # Buttons, as radio buttons are chosen by passing them with an arrow key: whoever uses the
        # keyboard would answer while still reading. Nor do their texts wrap.
        self.buttons = [
            [_button(letter, option) for letter, option in _lettered(q)] for q in self.questions
        ]
        for number, buttons in enumerate(self.buttons):
            for index, button in enumerate(buttons):
                button.on_click(partial(self._choose, number, index))
        self.feedback = [ipywidgets.HTML(_feedback(question)) for question in self.questions]
        self.score = ipywidgets.HTML()
        self._count()
        parts = zip(self.questions, self.buttons, self.feedback, strict=True)
        self.box = framed(
            "quiz",
            ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none")),
            ipywidgets.HTML(
                f"<b>Questions on {_named(lesson)}.</b> Each has one right answer. You may go on "
                "choosing, but the first try counts."
            ),
            *(
                ipywidgets.VBox([ipywidgets.HTML(_paragraph(number, question)), *buttons, feedback])
                for number, (question, buttons, feedback) in enumerate(parts, 1)
            ),
            self.score,
        )

    @property
    def right_at_first_try(self) -> int:
        """The number of questions whose first choice was right."""
        return sum(
            question.options[chosen[0]].right
            for question, chosen in zip(self.questions, self.choices, strict=True)
            if chosen
        )

    def static(self) -> str:
        """The questions with their options, and folded what is said to each option."""
        return f"<p><b>Questions on {_named(self.lesson)}</b></p>" + "".join(
            _static(number, question) for number, question in enumerate(self.questions, 1)
        )

    def _choose(self, number: int, index: int, button: ipywidgets.Button) -> None:
        question = self.questions[number]
        option = question.options[index]
        self.choices[number].append(index)
        button.description = f"{LETTERS[index]} {MARKS[option.right]} {option.text}"
        button.add_class("slm-right" if option.right else "slm-wrong")
        self.feedback[number].value = _feedback(question, option)
        self._count()

    def _count(self) -> None:
        total, answered = len(self.questions), sum(map(bool, self.choices))
        said = f"{answered} of {total} answered."
        if answered == total:
            said = f"<b>{self.right_at_first_try} of {total} right at first try.</b>"
            unsolved = [
                str(number)
                for number, (question, chosen) in enumerate(
                    zip(self.questions, self.choices, strict=True), 1
                )
                if not any(question.options[index].right for index in chosen)
            ]
            if unsolved:
                said += f" Right answer not yet found: {', '.join(unsolved)}."
        self.score.value = f"<div style='padding-top:12px'>{said}</div>"


def read_questions(lesson: str) -> tuple[Question, ...]:
    """The questions of a lesson, such as "00", from `data/quiz/`.

    Raises `ValueError` if there are none, and `DataError` if the file is damaged.
    """
    lessons = sorted(path.stem for path in data_path("quiz").glob("*.json"))
    if not (isinstance(lesson, str) and lesson in lessons):
        there = ", ".join(f'"{name}"' for name in lessons) or "none at all"
        raise ValueError(f"There is no quiz for lesson {shown(lesson)}; there are {there}.")
    path = data_path("quiz", f"{lesson}.json")
    try:
        entries = json.loads(read_regular(path, MAX_DATA_BYTES))["questions"]
        return tuple(_question(**entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged; restore it with `git checkout -- data` or reinstall."
        ) from error


def _named(lesson: str) -> str:
    return f"lesson {lesson}" if lesson.isdigit() else f"the lesson “{lesson}”"


def _question(id: str, question: str, options: list[dict[str, Any]]) -> Question:
    """A question from its JSON. Raises `ValueError` or `TypeError` for what is none."""
    found = tuple(Option(**option) for option in options)
    texts = [id, question, *(text for option in found for text in (option.text, option.feedback))]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is missing")
    if [option.right for option in found].count(True) != 1 or len(found) > len(LETTERS):
        raise ValueError("not exactly one option is right, or there are too many")
    return Question(id, question, found)


def _lettered(question: Question) -> list[tuple[str, Option]]:
    return list(zip(LETTERS, question.options, strict=False))  # there may be fewer than letters


def _button(letter: str, option: Option) -> ipywidgets.Button:
    layout = ipywidgets.Layout(width="auto", height="auto", min_height="32px", padding="4px 10px")
    button = ipywidgets.Button(description=f"{letter} {MARKS[None]} {option.text}", layout=layout)
    button.add_class("slm-option")
    return button


def _inline(text: str) -> str:
    """HTML of a text in which a backquote marks code and an asterisk emphasis."""
    text = re.sub("`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)


def _paragraph(number: int, question: Question) -> str:
    return f"<p style='margin:10px 0 4px'><b>{number}.</b> {_inline(question.text)}</p>"


def _feedback(question: Question, chosen: Option | None = None) -> str:
    """What is said to the chosen option.

    All that could be said lies in one place, and only one of it is visible: so the place is as
    high as the longest needs, at any width, and nothing below it moves.
    """
    lines = "".join(
        f"<div style='grid-area:1/1;border-left:5px solid {COLOURS[option.right]};"
        f"padding:2px 12px;visibility:{'visible' if option is chosen else 'hidden'}'>"
        f"<b>{letter} {MARKS[option.right]}</b> {_inline(option.feedback)}</div>"
        for letter, option in _lettered(question)
    )
    return f"<div style='display:grid;align-items:start'>{lines}</div>"


def _static(number: int, question: Question) -> str:
    options = _lettered(question)
    listed = "<br>".join(f"{letter}: {escape(option.text)}" for letter, option in options)
    answers = "<br>".join(
        f"{letter} {MARKS[option.right]} {_inline(option.feedback)}" for letter, option in options
    )
    return (
        f"{_paragraph(number, question)}<p>{listed}</p>"
        f"<details><summary>Answer</summary><p>{answers}</p></details>"
    )
