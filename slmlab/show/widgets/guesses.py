"""The session's memory of guesses, and the table of them that learners hand in."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmlab.engine.config import ENDLESS
from slmlab.show.harmless import in_spreadsheet
from slmlab.validation import real_number, whole_number

if TYPE_CHECKING:
    import pandas as pd

LOWEST, HIGHEST = -1.0, 9.0  # gaps that can be guessed, nats per token


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
            best = whole_number("best_step", self.best_step)
            raise ValueError(f"best_step is {best:,}, so give the run's planned steps as well.")

    @property
    def distance(self) -> float:
        """From the guessed to the real gap; NaN where that is not known."""
        return abs(self.real_gap - self.gap)

    @property
    def open(self) -> bool:
        """Whether it can still be changed: a guess after the result would be none."""
        return not self.locked and not self.revealed


# By the titles of the cards. It lasts as long as the kernel; nothing is written to a file.
SESSION: dict[str, Prediction] = {}


def predictions() -> "pd.DataFrame":
    """The session's guesses: one row per title of a card, in the order of their first cards.

    Columns: `guessed_gap`, `locked`, `real_gap` and the `distance` of the two gaps,
    `guessed_best_step` and `real_best_step`. Gaps are in nats per token, rounded to two decimals.
    What is not known (before `reveal`, or for a run without finite losses) or was not asked for is
    missing: NaN or <NA>.

    The table is handed in as a file, which a teacher may open with a spreadsheet. So a title is on
    one line, and one that would be a formula there, such as "=1+1", gets an apostrophe in front.
    """
    import pandas as pd

    kinds = {
        "guessed_gap": float,
        "locked": bool,
        "real_gap": float,
        "distance": float,
        "guessed_best_step": "Int64",
        "real_best_step": "Int64",
    }
    rows = [
        (p.gap, p.locked, p.real_gap, p.distance, p.best_step, p.real_best_step)
        for p in SESSION.values()
    ]
    titles = pd.Index([in_spreadsheet(title) for title in SESSION], dtype=object, name="title")
    return pd.DataFrame(rows, titles, list(kinds)).astype(kinds).round(2)
