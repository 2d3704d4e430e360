"""The memory of guesses, of this session and of those before, and the table to hand in."""

from typing import TYPE_CHECKING

from slmlab.show import progress
from slmlab.show.harmless import in_spreadsheet
from slmlab.show.progress import Prediction

if TYPE_CHECKING:
    import pandas as pd

# By the titles of the cards. It lasts as long as the kernel; locked guesses are kept on the disk.
SESSION: dict[str, Prediction] = {}


def known_guesses() -> dict[str, Prediction]:
    """Those of this session, and before them the locked ones of other notebooks and sessions."""
    kept = progress.read().predictions
    return {title: p for title, p in kept.items() if title not in SESSION} | SESSION


def start_over(title: str | None = None) -> None:
    """Forget your guess of that title; without one, all that you guessed, answered and solved."""
    if title is None:
        SESSION.clear()
    else:
        SESSION.pop(title, None)
    progress.forget(title)


def predictions() -> "pd.DataFrame":
    """Your guesses: one row per title of a card, in the order of their first cards.

    Those of this session, and the locked ones of all notebooks and earlier sessions.

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
    guessed = known_guesses()
    rows = [
        (p.gap, p.locked, p.real_gap, p.distance, p.best_step, p.real_best_step)
        for p in guessed.values()
    ]
    titles = pd.Index([in_spreadsheet(title) for title in guessed], dtype=object, name="title")
    return pd.DataFrame(rows, titles, list(kinds)).astype(kinds).round(2)
