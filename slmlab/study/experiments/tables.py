"""Where an experiment's rows are kept: a CSV file, and a JSON file that says how it was made."""

import json
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.study.experiments.protocol import Experiment, Rows
from slmlab.text.corpus import load_corpus, load_held_out
from slmlab.text.files import DataError, data_path, sha256, write_atomically

if TYPE_CHECKING:
    import pandas as pd


def texts_used() -> dict[str, str]:
    """SHA-256 of the texts that the experiments are made with."""
    return {
        "corpus_sha256": sha256(load_corpus().text.encode()),
        "held_out_sha256": sha256(load_held_out().text.encode()),
    }


def origin(experiment: Experiment) -> dict[str, Any]:
    """What an experiment's rows depend on, as JSON would give it back."""
    return json.loads(json.dumps({"settings": experiment.settings, **texts_used()}))


def write_table(
    experiment: Experiment, folder: Path, rows: Rows, environments: list[dict[str, Any]]
) -> None:
    """Replace the two files, the rows in the order of the experiment's cells."""
    import pandas as pd

    order = {experiment.key(cell): i for i, cell in enumerate(experiment.cells())}
    rows = sorted(rows, key=lambda row: (order[experiment.key(row)], row["step"]))
    table = pd.DataFrame(rows).to_csv(index=False, float_format="%.6g").encode()
    made = origin(experiment) | {"environments": environments, "sha256": sha256(table)}
    write_atomically(folder / f"{experiment.name}.csv", table)
    write_atomically(folder / f"{experiment.name}.json", json.dumps(made, indent=1).encode())


def read_origin(experiment: Experiment, folder: Path) -> dict[str, Any]:
    path = folder / f"{experiment.name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore or remove it.") from error


def finished_rows(experiment: Experiment, folder: Path) -> Rows:
    """Rows of the cells that are already in the folder."""
    import pandas as pd

    path, made = folder / f"{experiment.name}.csv", read_origin(experiment, folder)
    if not path.exists() or not made:
        return []
    if not origin(experiment).items() <= made.items():
        raise DataError(
            f"{path} was made with other settings or other texts than this version has; move it "
            "and its .json file away to make it again."
        )
    return pd.read_csv(path, dtype={"vocabulary": str}).to_dict("records")


def read_table(experiment: Experiment, folder: Path | None = None) -> "pd.DataFrame":
    """The stored rows of an experiment, one per run and evaluation.

    Raises `DataError` if the file is missing or was altered.
    """
    import pandas as pd

    folder = folder or data_path("runs")
    path, made = folder / f"{experiment.name}.csv", read_origin(experiment, folder)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); make it with `python -m slmlab record`."
        ) from error
    if sha256(content) != made.get("sha256"):
        raise DataError(f"{path} has changed since it was recorded; restore it from a copy.")
    return pd.read_csv(StringIO(content.decode()), dtype={"vocabulary": str})
