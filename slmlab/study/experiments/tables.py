"""Where an experiment's rows are kept: a CSV file, and a JSON file that says how it was made.

The JSON holds the SHA-256 of the CSV, so that an altered table is neither read nor added to. As two
files cannot be replaced at once, the JSON first names the hash of the new table beside that of the
old one: whenever a process dies, it fits the table that is there.
"""

import csv
import json
import math
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.study.experiments.protocol import Cell, Experiment, Rows, as_text
from slmlab.text.corpus import load_corpus, load_held_out
from slmlab.text.files import (
    MAX_DATA_BYTES,
    DataError,
    data_path,
    few_lines,
    read_regular,
    sha256,
    write_atomically,
)
from slmlab.validation import shown

if TYPE_CHECKING:
    import pandas as pd

# A folder of records may be somebody else's: what a few megabytes may fill the memory with.
MAX_JSON_BYTES = 1_000_000
MAX_ENVIRONMENTS = 1_000
READS = 5  # of a table and its JSON, until the two fit together
MAX_LINES = 100_000  # the largest table of the course has 2,013
LONGEST_LINE = 10_000  # letters; the longest has 289
LONGEST_INT = 20  # digits


def read_table(experiment: Experiment, folder: Path | None = None) -> "pd.DataFrame":
    """The stored rows of an experiment, one per run and evaluation.

    Raises `DataError` if a file is missing, damaged or altered.
    """
    import pandas as pd

    return pd.DataFrame(read_rows(experiment, folder), columns=list(experiment.columns))


def read_rows(experiment: Experiment, folder: Path | None = None) -> Rows:
    """As `read_table`, as dictionaries."""
    folder = folder or data_path("runs")
    rows, _ = _read(experiment, folder)
    if rows is None:
        raise DataError(
            f"There is no {_csv(experiment, folder)}; make it with "
            f"`python -m slmlab record {experiment.name}`."
        )
    return rows


def texts_used() -> dict[str, str]:
    """SHA-256 of the texts that the experiments are made with."""
    return {
        "corpus_sha256": sha256(load_corpus().text.encode()),
        "held_out_sha256": sha256(load_held_out().text.encode()),
    }


def missing_cells(experiment: Experiment, folder: Path) -> list[Cell]:
    """The cells that are not in the folder yet, or not with every evaluation.

    Raises `DataError` for a table that cannot be added to: one that is damaged or altered, or was
    made with other settings or other texts.
    """
    rows, _ = _read_to_add(experiment, folder)
    complete = _complete(experiment, rows)
    return [cell for cell in experiment.cells() if experiment.key(cell) not in complete]


def add_rows(experiment: Experiment, folder: Path, rows: Rows, environment: dict[str, Any]) -> None:
    """Add the rows of finished cells to the table, in place of any that it has of them.

    Raises `DataError` if the table was altered meanwhile, or cannot be written.
    """
    old, made = _read_to_add(experiment, folder)
    kept = _complete(experiment, old) - {experiment.key(row) for row in rows}
    rows = [row for row in old if experiment.key(row) in kept] + rows
    environments = made.get("environments", []) if old else []
    environments += [environment] if environment not in environments else []
    write_table(experiment, folder, rows, environments)


def write_table(
    experiment: Experiment, folder: Path, rows: Rows, environments: list[dict[str, Any]]
) -> None:
    """Replace the table, the rows in the order of the experiment's cells."""
    order = {experiment.key(cell): i for i, cell in enumerate(experiment.cells())}
    rows = sorted(rows, key=lambda row: (order[experiment.key(row)], row["step"]))
    table, path = _as_csv(experiment, rows), _csv(experiment, folder)
    made = _origin(experiment) | {
        "environments": environments[:MAX_ENVIRONMENTS],
        "sha256": sha256(table),
    }
    old = _content(path)
    _write_json(path, made | {"sha256_before": None if old is None else sha256(old)})
    write_atomically(path, table)
    _write_json(path, made)


def _read_to_add(experiment: Experiment, folder: Path) -> tuple[Rows, dict[str, Any]]:
    """As `_read`, of what more rows may replace: nothing, or what this experiment made."""
    rows, made = _read(experiment, folder)
    keys = {experiment.key(cell) for cell in experiment.cells()}
    fits = _origin(experiment).items() <= made.items()
    if made and not (fits and keys >= {experiment.key(row) for row in rows or []}):
        path = _csv(experiment, folder)
        found = path.with_suffix(".json") if rows is None else path
        raise DataError(
            f"{found} was made with other settings or other texts than there are now; restore "
            f"those, or move what there is of {path.stem}.csv and {path.stem}.json away to make "
            "the table again."
        )
    return rows or [], made


def _read(experiment: Experiment, folder: Path) -> tuple[Rows | None, dict[str, Any]]:
    """The rows of a table, None if there is no table, and how it was or will be made."""
    path = _csv(experiment, folder)
    for _ in range(READS):  # another process may replace one between the two reads
        table = _content(path)
        described = _content(path.with_suffix(".json"), MAX_JSON_BYTES + 1)
        if table is None or described is None or sha256(table) in described.decode("latin-1"):
            break
    if table is None:  # a process may have died after it wrote the JSON
        return None, {} if described is None else _parsed_json(path.with_suffix(".json"), described)
    if described is None:
        raise DataError(
            f"{path} has no {path.stem}.json beside it, which says how it was made; restore that "
            "file, or move the table away to make it again."
        )
    made = _parsed_json(path.with_suffix(".json"), described)
    if sha256(table) not in (made["sha256"], made.get("sha256_before")):
        raise DataError(
            f"{path} has changed since it was recorded; restore it from a copy, or move it and its "
            ".json file away to make it again."
        )
    return _parsed_csv(experiment, path, table), made


def _csv(experiment: Experiment, folder: Path) -> Path:
    return folder / f"{experiment.name}.csv"


def _content(path: Path, most: int = MAX_DATA_BYTES) -> bytes | None:
    """The bytes of a file, None if there is none. Raises `DataError` for what is no file."""
    try:
        return read_regular(path, most)
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise DataError(f"{path} is a link that leads nowhere; remove it.") from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); restore it, or move it away."
        ) from error


def _origin(experiment: Experiment) -> dict[str, Any]:
    """What an experiment's rows depend on, as JSON would give it back."""
    return json.loads(json.dumps({"settings": experiment.settings, **texts_used()}))


def _write_json(path: Path, made: dict[str, Any]) -> None:
    write_atomically(path.with_suffix(".json"), json.dumps(made, indent=1).encode())


def _parsed_json(path: Path, content: bytes) -> dict[str, Any]:
    try:
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"it has more than {MAX_JSON_BYTES:,} bytes")
        made = json.loads(content)
        if not isinstance(made["sha256"], str) or not isinstance(made["environments"], list):
            raise TypeError("sha256 or environments is missing")
        if len(made["environments"]) > MAX_ENVIRONMENTS:
            raise ValueError(f"it has more than {MAX_ENVIRONMENTS:,} environments")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{path} does not describe a recorded table ({error}); restore it from a copy, or move "
            "it away."
        ) from error
    return made


def _as_csv(experiment: Experiment, rows: Rows) -> bytes:
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(experiment.columns)
    for row in rows:
        values = [row[name] for name in experiment.columns]
        writer.writerow("" if value != value else as_text(value) for value in values)  # no NaN
    return text.getvalue().encode()


def _parsed_csv(experiment: Experiment, path: Path, content: bytes) -> Rows:
    names = list(experiment.columns)
    try:
        lines = csv.reader(few_lines(content, MAX_LINES, LONGEST_LINE), strict=True)
        if next(lines, None) != names:
            raise ValueError("it has other columns")
        return [_row(experiment, line) for line in lines]
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path} is not the table of this experiment ({error}); restore it from a copy, or "
            "move it and its .json file away to make it again."
        ) from error


def _row(experiment: Experiment, line: list[str]) -> dict[str, Any]:
    if len(line) != len(experiment.columns):
        raise ValueError("a line of it is not whole")
    columns = zip(experiment.columns.items(), line, strict=True)
    return {name: _value(name, kind, text) for (name, kind), text in columns}


def _value(name: str, kind: type, text: str) -> Any:
    if kind is float and not text:
        return math.nan
    try:
        if kind is int and len(text) > LONGEST_INT:
            raise ValueError
        return kind(text)
    except ValueError:
        raise ValueError(f"its {name} is {shown(text)}, which is no {kind.__name__}") from None


def _complete(experiment: Experiment, rows: Rows) -> set[tuple[str, ...]]:
    """The keys of the cells that have every row once."""
    found: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        found.setdefault(experiment.key(row), []).append(row)
    cells = {experiment.key(cell): cell for cell in experiment.cells()}
    return {
        key
        for key, of_cell in found.items()
        if key in cells
        and experiment.is_whole(cells[key], sorted(of_cell, key=lambda row: row["step"]))
    }
