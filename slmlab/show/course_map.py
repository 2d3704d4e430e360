"""The map of the course: its lessons, how long they take, what was done, and the next step."""

from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from slmlab.text.files import read_json

# The next step is told apart by a line as well as by its word.
NEXT = "border-left:4px solid #0072B2;padding-left:8px"
OTHER = "border-left:4px solid transparent;padding-left:8px"
CELL = "padding:6px 14px 6px 0;vertical-align:top;text-align:left"


class Lesson(NamedTuple):
    """A notebook of the course, as `data/lessons.json` lists it."""

    notebook: str  # its file's name without the ending
    title: str
    question: str
    minutes: int | None  # None for what takes as long as one likes
    computing: int | None  # minutes of these in which the computer works
    memory: float  # GB

    @property
    def number(self) -> str:
        """Such as "03", by which its card, quiz and exercises are known; its name without one."""
        head = self.notebook[:2]
        return head if head.isdigit() else self.notebook


class Done(NamedTuple):
    """What a learner has done of a lesson."""

    guess: bool = False  # locked
    result: bool = False  # seen
    quiz: str = ""  # such as "4 of 5", once it was begun
    quiz_ended: bool = False
    exercises: int = 0  # passed

    def __str__(self) -> str:
        parts = {
            "guess locked": self.guess,
            "result seen": self.result,
            f"quiz {self.quiz}": self.quiz,
            f"{self.exercises} exercise{'s' * (self.exercises > 1)}": self.exercises,
        }
        return ", ".join(words for words, is_so in parts.items() if is_so)


class CourseMap:
    """The lessons in a table, with a link to the next step, as a notebook shows it.

    Args:
        done: what was done of the lessons, by their numbers; what was kept if not given.

    Attributes:
        lessons: the course's lessons, in their order.
        next: the first that is not finished: its quiz was not answered to the end. A lesson without
            minutes, such as the Playground, is never finished. So there is always a next one.

    Raises:
        DataError: if the list of lessons is damaged.
    """

    def __init__(self, done: Mapping[str, Done] | None = None) -> None:
        self.lessons = [Lesson(**entry) for entry in read_json("lessons.json")]
        done = {} if done is None else done
        self.done = {lesson: done.get(lesson.number, Done()) for lesson in self.lessons}
        self.next = next(lesson for lesson in self.lessons if not self.done[lesson].quiz_ended)

    @property
    def step(self) -> str:
        """What to do in the next lesson, in a few words."""
        done = self.done[self.next]
        if self.next.minutes is None:
            return "try"
        if done.result:
            return "read on, and take the quiz of"
        if done.guess:
            return "run"
        return "go on with" if any(done) or self.next != self.lessons[0] else "begin with"

    def __repr__(self) -> str:
        return f"Next: {self.step} {self.next.title}"

    def _repr_html_(self) -> str:
        rows = "".join(self._row(lesson) for lesson in self.lessons)
        heads = "".join(f"<th style='{CELL}'>{head}</th>" for head in ("lesson", "minutes", "you"))
        minutes = f" (about {self.next.minutes} minutes)" if self.next.minutes else ""
        return (
            "<div class='slm-course-map' style='line-height:1.45;max-width:900px'>"
            f"<p style='font-size:115%;{NEXT}'><b>Next:</b> {self.step} {_link(self.next)}{minutes}"
            f"</p><table style='border-collapse:collapse'><tr>{heads}</tr>{rows}</table></div>"
        )

    def _row(self, lesson: Lesson) -> str:
        mark = NEXT if lesson == self.next else OTHER
        number = f"{lesson.number} " if lesson.number.isdigit() else ""
        cells = (
            f"<td style='{CELL};{mark}'>{number}<b>{_link(lesson)}</b><br>"
            f"{escape(lesson.question)}</td>",
            f"<td style='{CELL};text-align:right'>{lesson.minutes or '–'}</td>",
            f"<td style='{CELL}'>{str(self.done[lesson]) or '–'}</td>",
        )
        return f"<tr>{''.join(cells)}</tr>"


def _link(lesson: Lesson) -> str:
    return f"<a href='{escape(lesson.notebook)}.ipynb'>{escape(lesson.title)}</a>"
