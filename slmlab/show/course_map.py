"""The map of the course: its lessons, how long they take, what was done, and the next step."""

from html import escape
from typing import NamedTuple

from slmlab.show import progress
from slmlab.show.progress import Progress
from slmlab.text.files import data_path, read_json
from slmlab.validation import instance

# The next step is told apart by a line as well as by its word.
NEXT = "border-left:4px solid #0072B2;padding-left:8px"
OTHER = "border-left:4px solid transparent;padding-left:8px"


class Lesson(NamedTuple):
    """A notebook of the course, as `data/lessons.json` lists it."""

    notebook: str  # its file's name without the ending
    title: str
    question: str
    minutes: int | None  # None for what takes as long as one likes
    computing: int | None  # minutes of these in which the computer works
    memory: float  # GB
    writing: int | None = None  # more minutes for who writes its code themselves

    @property
    def key(self) -> str:
        """Such as "03", as its quiz and its exercises are called; its name if it has no number."""
        return self.notebook[:2] if self.notebook[:2].isdigit() else self.notebook

    @property
    def card(self) -> str:
        """The title of its prediction card, if it has one."""
        return self.title.partition(":")[0]

    @property
    def questions(self) -> int:
        """How many its quiz has; 0 without a quiz."""
        quiz = f"{self.key}.json"
        return len(read_json("quiz", quiz)["questions"]) if data_path("quiz", quiz).exists() else 0


class Done(NamedTuple):
    """What a learner has done of a lesson."""

    locked: bool  # a guess
    revealed: bool  # its result
    answered: int  # questions of the quiz
    right: int  # of these, at first try
    solved: int  # exercises
    ended: bool  # all questions are answered

    def __str__(self) -> str:
        quiz = f"{self.right} right" if self.ended else "begun"
        parts = {
            "result seen" if self.revealed else "guess locked": self.locked,
            f"quiz: {quiz}": self.answered,
            f"{self.solved} exercise{'s' * (self.solved > 1)} solved": self.solved,
        }
        return ", ".join(words for words, is_so in parts.items() if is_so)


def lessons() -> list[Lesson]:
    """The lessons in their order. Raises `DataError` if their list is damaged."""
    return [Lesson(**entry) for entry in read_json("lessons.json")]


class CourseMap:
    """The lessons in a list, with a link to the next step, as a notebook shows it.

    Args:
        kept: what the learner did; as it was kept on this computer if not given.

    Attributes:
        done: what was done of each lesson, in their order.
        next: the first lesson whose quiz was not answered to the end. The Playground has none and
            is never finished, so there is always a next one.

    Raises:
        DataError: if the list of lessons or a quiz is damaged.
    """

    def __init__(self, kept: Progress | None = None) -> None:
        kept = progress.read() if kept is None else instance("kept", kept, Progress, "Progress()")
        self.done = {lesson: _done(lesson, kept) for lesson in lessons()}
        self.next = next(lesson for lesson, done in self.done.items() if not done.ended)

    @property
    def step(self) -> str:
        """What to do in the next lesson, in a few words."""
        done = self.done[self.next]
        if done.revealed or done.answered:
            return "finish"
        if done.locked:
            return "run"
        return "begin with" if self.next == next(iter(self.done)) else "go on with"

    def __repr__(self) -> str:
        return f"Next: {self.step} {self.next.title}"

    def _repr_html_(self) -> str:
        rows = "".join(self._row(lesson) for lesson in self.done)
        minutes = f" (about {self.next.minutes} minutes)" if self.next.minutes else ""
        return (
            "<div class='slm-course-map' style='line-height:1.45;max-width:700px'>"
            f"<p style='font-size:115%;{NEXT}'><b>Next:</b> {self.step} {_link(self.next)}{minutes}"
            f"</p><ul style='list-style:none;margin:0;padding:0'>{rows}</ul></div>"
        )

    def _row(self, lesson: Lesson) -> str:
        number = f"{lesson.key} " if lesson.key.isdigit() else ""
        lines = [f"{number}<b>{_link(lesson)}</b>", escape(lesson.question)]
        minutes = f"{lesson.minutes} min" if lesson.minutes else ""
        minutes += f", and {lesson.writing} to write it yourself" if lesson.writing else ""
        if notes := " · ".join(filter(None, [minutes, str(self.done[lesson])])):
            lines.append(f"<span style='opacity:0.75'>{notes}</span>")
        style = NEXT if lesson == self.next else OTHER
        return f"<li style='{style};margin:0 0 12px'>{'<br>'.join(lines)}</li>"


def _done(lesson: Lesson, kept: Progress) -> Done:
    guess = kept.predictions.get(lesson.card)
    answers = kept.quizzes.get(lesson.key, {})
    return Done(
        locked=guess is not None,
        revealed=guess is not None and guess.revealed,
        answered=len(answers),
        right=sum(answers.values()),
        solved=len(kept.exercises.get(lesson.key, [])),
        ended=0 < lesson.questions <= len(answers),
    )


def _link(lesson: Lesson) -> str:
    return f"<a href='{escape(lesson.notebook)}.ipynb'>{escape(lesson.title)}</a>"
