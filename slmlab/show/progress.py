"""What a learner has guessed, answered and solved, kept in one small file between sessions.

    progress = read()
    progress.predictions["Phase 2"].real_gap    # of locked guesses; NaN until it was revealed
    progress.quizzes["00"]                       # {"00-batch": True, …}: right at first try?
    progress.exercises["00"]                     # ["signed_gap", …]: the tasks that were solved
    progress.rulings["3"]                        # ("no", "fails"), on a claim of lesson 05

The file is `~/.slmlab/progress.json`, or what the environment variable SLMLAB_PROGRESS names. It
never stops a lesson: a damaged file is set aside, and what cannot be kept is said in a warning.
"""

import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from slmlab.engine.config import ENDLESS
from slmlab.text.files import DataError, read_regular, user_path, write_atomically
from slmlab.validation import real_number, shown, whole_number, whole_text

LOWEST, HIGHEST = -1.0, 9.0  # gaps that can be guessed, nats per token
MOST_BYTES = 1_000_000  # a whole course needs about 10,000
PATIENCE = 5  # seconds to wait for another notebook that writes


@dataclass
class Prediction:
    """A guess and, once it was revealed, the result. Gaps are signed, in nats per token.

    `steps` is the length of the run; it and `best_step` are None if only the gap is guessed.

    Raises:
        ValueError: for a gap outside −1 … 9, fewer than 1 step, or a best step outside 0 … `steps`.
    """

    gap: float  # rounded to tenths
    best_step: int | None = None  # half of `steps` if not given
    steps: int | None = None
    locked: bool = False
    revealed: bool = False
    real_gap: float = math.nan  # also of a run whose losses are not finite
    real_best_step: int | None = None

    def __post_init__(self) -> None:
        gap = real_number("gap", self.gap, least=LOWEST, most=HIGHEST)
        self.gap = round(gap, 1) + 0.0  # a slider may send 0.30000000000000004; −0 becomes 0
        if self.steps is not None:
            self.steps = whole_number("steps", self.steps, 1, ENDLESS)
            best = self.steps // 2 if self.best_step is None else self.best_step
            note = "the steps of the run"
            self.best_step = whole_number("best_step", best, 0, self.steps, note=note)
        elif self.best_step is not None:
            best = whole_number("best_step", self.best_step, most=ENDLESS)
            raise ValueError(f"best_step is {best:,}, so give the run's planned steps as well.")

    @property
    def distance(self) -> float:
        """From the guessed to the real gap; NaN where that is not known."""
        return abs(self.real_gap - self.gap)

    @property
    def open(self) -> bool:
        """Whether it can still be changed: a guess after the result would be none."""
        return not self.locked and not self.revealed


@dataclass
class Progress:
    """What the file holds, in the order in which it was done.

    Attributes:
        predictions: the locked guesses, by the titles of their cards.
        quizzes: by lesson and question, whether the first choice was right, the last time the quiz
            was taken.
        exercises: by lesson, the names of the checks that said "Right".
        rulings: by the number of a claim, both rulings on it.
        others: what a later version keeps besides.
    """

    predictions: dict[str, Prediction] = field(default_factory=dict)
    quizzes: dict[str, dict[str, bool]] = field(default_factory=dict)
    exercises: dict[str, list[str]] = field(default_factory=dict)
    rulings: dict[str, tuple[str, str]] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)


def read() -> Progress:
    """The learner's progress; empty if there is none yet, or if it cannot be read."""
    try:
        return _kept(_path())
    except (OSError, DataError) as error:
        why = getattr(error, "strerror", None) or error
        warnings.warn(
            f"Your progress cannot be read from {shown(_place())} ({why}). Name a file that can be "
            "read and written in SLMLAB_PROGRESS.",
            stacklevel=2,
        )
        return Progress()


def keep_prediction(title: str, prediction: Prediction) -> None:
    """Keep a locked guess, and its result if it is known."""
    _change(lambda progress: progress.predictions.update({title: prediction}))


def keep_answer(lesson: str, question: str, right: bool) -> None:
    """Keep whether the first choice of a question was right."""
    _change(lambda progress: progress.quizzes.setdefault(lesson, {}).update({question: right}))


def keep_exercise(lesson: str, task: str) -> None:
    """Keep that a task is solved."""

    def add(progress: Progress) -> None:
        solved = progress.exercises.setdefault(lesson, [])
        if task not in solved:
            solved.append(task)

    _change(add)


def keep_rulings(rulings: dict[str, tuple[str, str]]) -> None:
    """Keep both rulings on each of some claims."""
    _change(lambda progress: progress.rulings.update(rulings))


def forget(title: str | None = None) -> None:
    """Forget the guess of that title, or everything if none is given."""

    def drop(progress: Progress) -> None:
        if title is None:
            vars(progress).update(vars(Progress()))
        else:
            progress.predictions.pop(title, None)

    _change(drop)


def _place() -> str:
    return os.environ.get("SLMLAB_PROGRESS") or "~/.slmlab/progress.json"


def _path() -> Path:
    return user_path(_place())


def _change(change: Callable[[Progress], object]) -> None:
    """Read, change and write the file, while no other notebook does."""
    try:
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=PATIENCE):
            progress = _kept(path)
            change(progress)
            write_atomically(path, _written(progress))
    except (OSError, Timeout, DataError) as error:
        warnings.warn(f"Your progress is not kept: {error}", stacklevel=3)


def _kept(path: Path) -> Progress:
    """What the file holds: nothing yet, if it is not there or was damaged and is set aside.

    Raises `OSError` or `DataError` if it cannot be read, or not be set aside.
    """
    try:
        return _parsed(read_regular(path, MOST_BYTES))
    except FileNotFoundError:
        return Progress()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    try:
        _set_aside(path)
    except FileNotFoundError:  # another notebook was faster
        pass
    except OSError as error:
        raise DataError(
            f"{path} is damaged, and could not be set aside ({error.strerror}); remove it yourself."
        ) from error
    return Progress()


def _set_aside(path: Path) -> None:
    """Rename a damaged file, so that nothing in it is lost."""
    number = 1
    while (aside := path.with_name(f"{path.stem}-damaged-{number}.json")).exists():
        number += 1
    path.rename(aside)
    warnings.warn(
        f"Your progress in {path} was damaged; it is now in {aside.name}, and a new file begins.",
        stacklevel=4,
    )


def _written(progress: Progress) -> bytes:
    """The file's content. JSON has no NaN, so an unknown gap is null."""
    found = asdict(progress)
    others = found.pop("others")
    for prediction in found["predictions"].values():
        if math.isnan(prediction["real_gap"]):
            prediction["real_gap"] = None
    return json.dumps(found | others, indent=1).encode()


def _parsed(content: bytes) -> Progress:
    """The progress in a file. Raises one of the errors of wrong data for what is none."""
    found = json.loads(content)
    names = ("predictions", "quizzes", "exercises", "rulings")
    predictions, quizzes, exercises, rulings = (found.pop(name) for name in names)
    return Progress(
        {whole_text("title", t): _prediction(**p) for t, p in predictions.items()},
        {
            lesson: {question: _of_kind(bool, right) for question, right in answers.items()}
            for lesson, answers in quizzes.items()
        },
        {
            lesson: [whole_text("task", task) for task in _of_kind(list, tasks)]
            for lesson, tasks in exercises.items()
        },
        {
            claim: (whole_text("ruling", follows), whole_text("ruling", runs))
            for claim, both in rulings.items()
            for follows, runs in [_of_kind(list, both)]
        },
        found,
    )


def _prediction(
    locked: Any, revealed: Any, real_gap: Any, real_best_step: Any, **guess: Any
) -> Prediction:
    return Prediction(
        **guess,
        locked=_of_kind(bool, locked),
        revealed=_of_kind(bool, revealed),
        real_gap=math.nan if real_gap is None else real_number("real_gap", real_gap),
        real_best_step=(
            None
            if real_best_step is None
            else whole_number("real_best_step", real_best_step, most=ENDLESS)
        ),
    )


def _of_kind(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value
