"""Multiple-choice questions of a lesson, each option with its own feedback."""

import json
import re
from functools import partial
from html import escape
from typing import NamedTuple

import ipywidgets

from slmlab.files import DataError, data_path
from slmlab.widgets.parts import Panel, framed

LETTERS = "ABCD"
MARKS = {True: "✓", False: "✗"}
COLOURS = {True: "#009E73", False: "#D55E00"}  # told apart by colour-blind readers as well
# Widgets have no setting for these: buttons whose text wraps, and the mark of a chosen one.
STYLE = f"""<style>
.slm-quiz .widget-html-content {{ line-height: 1.45; }}
.slm-quiz .slm-option {{ white-space: normal; text-align: left; line-height: 1.45; }}
.slm-quiz .slm-right {{ box-shadow: inset 5px 0 {COLOURS[True]}; }}
.slm-quiz .slm-wrong {{ box-shadow: inset 5px 0 {COLOURS[False]}; }}
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
    kernel is attached, the questions stand there with their answers folded.

    Args:
        lesson: the number of the lesson, such as "00".

    Attributes:
        questions: the questions, in the order of the data.
        buttons: for each question, a button for each option.
        feedback: for each question, what is said to the latest choice, as HTML.
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
            [_button(letter, option) for letter, option in zip(LETTERS, q.options, strict=False)]
            for q in self.questions
        ]
        for number, buttons in enumerate(self.buttons):
            for index, button in enumerate(buttons):
                button.on_click(partial(self._choose, number, index))
        # Room for two lines, so that nothing below it moves.
        room = ipywidgets.Layout(min_height="52px")
        self.feedback = [ipywidgets.HTML(layout=room) for _ in self.questions]
        self.score = ipywidgets.HTML()
        self._count()
        parts = zip(self.questions, self.buttons, self.feedback, strict=True)
        self.panel = framed(
            "quiz",
            ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none")),
            ipywidgets.HTML(
                f"<b>Questions to lesson {lesson}.</b> Each has one right answer. You may go on "
                "choosing, but the first try counts."
            ),
            *(
                ipywidgets.VBox([ipywidgets.HTML(_numbered(number, question)), *buttons, feedback])
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
        return f"<p><b>Questions to lesson {self.lesson}</b></p>" + "".join(
            _static(number, question) for number, question in enumerate(self.questions, 1)
        )

    def _choose(self, number: int, index: int, button: ipywidgets.Button) -> None:
        option = self.questions[number].options[index]
        self.choices[number].append(index)
        mark, letter = MARKS[option.right], LETTERS[index]
        button.description = f"{mark} {letter}:  {option.text}"
        button.add_class("slm-right" if option.right else "slm-wrong")
        self.feedback[number].value = (
            f"<div style='border-left:5px solid {COLOURS[option.right]};padding:2px 12px'>"
            f"<b>{mark} {letter}:</b> {_inline(option.feedback)}</div>"
        )
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
        self.score.value = said


def read_questions(lesson: str) -> tuple[Question, ...]:
    """The questions of a lesson, such as "00", from `data/quiz/`.

    Raises `ValueError` if there are none, and `DataError` if the file is damaged.
    """
    lessons = sorted(path.stem for path in data_path("quiz").glob("*.json"))
    if lesson not in lessons:
        there = ", ".join(f'"{name}"' for name in lessons)
        raise ValueError(f"There is no quiz for lesson {lesson!r}; there are {there}.")
    path = data_path("quiz", f"{lesson}.json")
    try:
        return tuple(
            Question(q["id"], q["question"], tuple(Option(**option) for option in q["options"]))
            for q in json.loads(path.read_text(encoding="utf-8"))["questions"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged; restore it with `git checkout -- data` or reinstall."
        ) from error


def _button(letter: str, option: Option) -> ipywidgets.Button:
    layout = ipywidgets.Layout(width="auto", height="auto", min_height="32px", padding="4px 14px")
    button = ipywidgets.Button(description=f"{letter}:  {option.text}", layout=layout)
    button.add_class("slm-option")
    return button


def _inline(text: str) -> str:
    """HTML of a text in which a backquote marks code and an asterisk emphasis."""
    text = re.sub("`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)


def _numbered(number: int, question: Question) -> str:
    return f"<b>{number}.</b> {_inline(question.text)}"


def _static(number: int, question: Question) -> str:
    options = list(zip(LETTERS, question.options, strict=False))
    listed = "<br>".join(f"{letter}: {escape(option.text)}" for letter, option in options)
    answers = "<br>".join(
        f"{MARKS[option.right]} {letter}: {_inline(option.feedback)}" for letter, option in options
    )
    return (
        f"<p>{_numbered(number, question)}</p><p>{listed}</p>"
        f"<details><summary>Answer</summary><p>{answers}</p></details>"
    )
