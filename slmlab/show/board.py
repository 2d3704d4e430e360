"""A class's predictions side by side, from the files that its learners hand in."""

import codecs
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.show.harmless import in_spreadsheet
from slmlab.show.progress import HIGHEST, LOWEST
from slmlab.text.files import DataError, read_regular, user_path
from slmlab.validation import printable

if TYPE_CHECKING:
    import pandas as pd

NEAR = 0.5  # nats: a guess this near to the real gap counts as near
LARGEST_GAP = 100.0  # nats: no training reaches it, but a file may claim it
MAX_FILE_BYTES = 1_000_000  # a learner's table has a few hundred
# What a table may begin with: pandas takes minutes to rename a column that is there 400,000 times.
NAMES = re.compile(rb'(?:[^",]*|"[^"]*")(?:,(?:[^",]*|"[^"]*")){0,50}')
LONGEST_NAMES = 2_000  # bytes of them all
COLUMNS = {"title": str, "guessed_gap": float, "locked": bool, "real_gap": float}


def class_board(folder: Path | str) -> "pd.DataFrame":
    """The locked predictions of a class: one row per title, in alphabetical order.

    Each learner hands in one file, made by `lab.predictions().to_csv("anna.csv")`; all of them lie
    in `folder`, and nothing else does (hidden files and folders are passed over). A title that a
    learner locked more than once counts once, as it was first locked. Only the columns of `COLUMNS`
    are read, and a file's name appears in errors only. A title that a spreadsheet would take for a
    formula has an apostrophe before it.

    Columns, in nats per token where they are gaps, rounded to two decimals:

    - `learners`: how many locked a guess;
    - `median_guess`, and `guess_25` and `guess_75`, between which the middle half of the guesses
      lies;
    - `real_gap`: the median over the learners, if their runs differ;
    - `median_distance`: how far the guesses are from each learner's own real gap;
    - `within_half`: how many of them are at most 0.5 nats off.

    The last three are about those learners who have seen a result: NaN, NaN and 0 if none has.

    Raises `DataError` if the folder is missing or empty, or if a file in it is no such table, or
    larger than 1 MB.
    """
    import pandas as pd

    guesses = pd.concat([_locked(path) for path in _files(user_path(folder))])
    distance = (guesses["real_gap"] - guesses["guessed_gap"]).abs().round(2)
    by_title = guesses.assign(distance=distance, near=distance <= NEAR).groupby("title")
    return pd.DataFrame(
        {
            "learners": by_title.size(),
            "median_guess": by_title["guessed_gap"].median(),
            "guess_25": by_title["guessed_gap"].quantile(0.25),
            "guess_75": by_title["guessed_gap"].quantile(0.75),
            "real_gap": by_title["real_gap"].median(),
            "median_distance": by_title["distance"].median(),
            "within_half": by_title["near"].sum(),
        }
    ).round(2)


def _files(folder: Path) -> list[Path]:
    try:
        files = sorted(p for p in folder.iterdir() if not p.is_dir() and p.name[0] != ".")
    except OSError as error:
        raise DataError(f"{folder} is no folder that can be read ({error.strerror}).") from error
    if not files:
        raise DataError(
            f"{folder} is empty; put the learners' files there, each made by "
            '`lab.predictions().to_csv("name.csv")`.'
        )
    return files


def _locked(path: Path) -> "pd.DataFrame":
    """One learner's locked predictions, each title once. Columns: those of `COLUMNS`."""
    import pandas as pd

    try:
        if path.is_symlink():
            raise ValueError("a link, which may lead to any file of this computer")
        content = read_regular(path, MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError("larger than any table of predictions")
        # Spreadsheets put a mark at the beginning, and pandas passes over blank lines there.
        content = content.removeprefix(codecs.BOM_UTF8).lstrip()
        names = re.split(rb"[\r\n]", content, maxsplit=1)[0]
        if len(names) > LONGEST_NAMES or not NAMES.fullmatch(names):
            raise ValueError("no names of columns, or too many")
        table = pd.read_csv(
            BytesIO(content),  # not the path, by whose name pandas would unpack an archive
            usecols=list(COLUMNS),
            dtype=COLUMNS,
            index_col=False,
            # Only a result can be missing; a title such as "NA" is a title.
            keep_default_na=False,
            na_values={"real_gap": ""},
        )
        known = table["real_gap"].dropna()
        if not table["guessed_gap"].between(LOWEST, HIGHEST).all():
            raise ValueError("a guess that no card allows")
        if not known.between(-LARGEST_GAP, LARGEST_GAP).all():
            raise ValueError("a gap that no run has")
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{printable(path)} is not a table of predictions as `lab.predictions().to_csv(…)` "
            "writes it; remove it, or ask for a new one."
        ) from error
    table["title"] = table["title"].map(in_spreadsheet)
    return table[table["locked"]].drop_duplicates("title")
