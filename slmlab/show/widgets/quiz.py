"""Multiple-choice questions of a lesson, each option with its own feedback."""

import json
from functools import partial
from html import escape
from typing import Any, NamedTuple

import ipywidgets

from slmlab.show import progress
from slmlab.show.widgets.parts import Panel, framed, inline_html, live, paragraph, title_html
from slmlab.text.files import MAX_DATA_BYTES, DataError, data_path, read_regular
from slmlab.validation import shown

LETTERS = "ABCD"
MARKS = {True: "✓", False: "✗", None: ""}  # right, wrong, not chosen yet


class Option(NamedTuple):
    """A possible answer, and what is said to whoever chooses it."""

    text: str
    right: bool
    feedback: str


class Question(NamedTuple):
    """A question; exactly one of its options is right."""

    id: str
    text: str
    section: str  # the heading of the lesson's section that answers it
    options: tuple[Option, ...]


class Quiz(Panel):
    """The questions of a lesson, one below the other, and how many were right at first try.

    A choice is answered at once, below the option. One may go on choosing, also after the right
    option, to read what is said about the others; the first choice counts, and is kept. Made again,
    the panel begins anew. Where no kernel is attached, the questions appear with their answers
    folded.

    Args:
        lesson: the number of the lesson, such as "00", or the name of one without a number.

    Attributes:
        questions: the questions, in the order of the data.
        buttons: for each question, a button for each option.
        feedback: for each question, what is said to each option once it is chosen, as HTML.
        score: how many were answered, at the end how many right at first try and what to read
            again, as HTML.
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
        self.feedback = [[live() for _ in question.options] for question in self.questions]
        self.score = live()
        self._count()
        heading = f"Questions on {_named(lesson)}"
        self.box = framed(
            "quiz",
            ipywidgets.HTML(
                f"{title_html(heading)}<p>Each has one right answer. You may go on choosing, but "
                f"the first try counts.{self._last_time()}</p>"
            ),
            *map(self._asked, range(len(self.questions))),
            self.score,
            label=heading,
        )

    def _asked(self, number: int) -> ipywidgets.VBox:
        """A question with its options, each above what is said to it."""
        text = ipywidgets.HTML(_paragraph(number + 1, self.questions[number]))
        pairs = zip(self.buttons[number], self.feedback[number], strict=True)
        box = ipywidgets.VBox([text.add_class("slm-name"), *(part for p in pairs for part in p)])
        return box.add_class("slm-group")

    def _last_time(self) -> str:
        answers = progress.read().quizzes.get(self.lesson, {})
        if not answers:
            return ""
        return f" Last time {sum(answers.values())} of {len(answers)} were right at first try."

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
        if not self.choices[number]:
            progress.keep_answer(self.lesson, question.id, option.right)
        self.choices[number].append(index)
        button.description = _described(LETTERS[index], option, chosen=True)
        button.add_class("slm-right" if option.right else "slm-wrong")
        self.feedback[number][index].value = _feedback(option)
        self._count()

    def _count(self) -> None:
        total, answered = len(self.questions), sum(map(bool, self.choices))
        if answered < total:
            self.score.value = paragraph(f"{answered} of {total} answered.")
            return
        pairs = list(zip(self.questions, self.choices, strict=True))
        unsolved = [
            str(number)
            for number, (question, chosen) in enumerate(pairs, 1)
            if not any(question.options[index].right for index in chosen)
        ]
        weak = dict.fromkeys(q.section for q, chosen in pairs if not q.options[chosen[0]].right)
        said = f"<b>{self.right_at_first_try} of {total} right at first try.</b>"
        if unsolved:
            said += f" Right answer not yet found: {', '.join(unsolved)}."
        if weak:
            said += f"<br>Look again at {', '.join(map(_link, weak))}."
        self.score.value = paragraph(said)


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


def _question(id: str, question: str, section: str, options: list[dict[str, Any]]) -> Question:
    """A question from its JSON. Raises `ValueError` or `TypeError` for what is none."""
    found = tuple(Option(**option) for option in options)
    said = [text for option in found for text in (option.text, option.feedback)]
    if not all(isinstance(text, str) for text in (id, question, section, *said)):
        raise TypeError("a text is missing")
    if [option.right for option in found].count(True) != 1 or len(found) > len(LETTERS):
        raise ValueError("not exactly one option is right, or there are too many")
    return Question(id, question, section, found)


def _lettered(question: Question) -> list[tuple[str, Option]]:
    return list(zip(LETTERS, question.options, strict=False))  # there may be fewer than letters


def _button(letter: str, option: Option) -> ipywidgets.Button:
    button = ipywidgets.Button(description=_described(letter, option, chosen=False))
    return button.add_class("slm-option")


def _described(letter: str, option: Option, chosen: bool) -> str:
    """What stands on a button; lines after the first begin where the tab ends."""
    return f"{letter} {MARKS[option.right if chosen else None]}\t{option.text}"


def _paragraph(number: int, question: Question) -> str:
    return f"<p class='slm-question'><b>{number}.</b> {inline_html(question.text)}</p>"


def _feedback(option: Option) -> str:
    kind = "right" if option.right else "wrong"
    said = "Right." if option.right else "Not this one."
    return (
        f"<div class='slm-feedback slm-{kind}'><b>{said}</b> {inline_html(option.feedback)}</div>"
    )


def _link(section: str) -> str:
    """A link to a section of the notebook, whose address JupyterLab makes of its heading."""
    return f"<a href='#{escape(section.replace(' ', '-'))}'>{escape(section)}</a>"


def _static(number: int, question: Question) -> str:
    options = _lettered(question)
    listed = "<br>".join(f"{letter}: {escape(option.text)}" for letter, option in options)
    answers = "<br>".join(
        f"{letter} {MARKS[option.right]} {inline_html(option.feedback)}"
        for letter, option in options
    )
    return (
        f"{_paragraph(number, question)}<p>{listed}</p>"
        f"<details><summary>Answer</summary><p>{answers}</p></details>"
    )
