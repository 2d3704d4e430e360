"""What the course carries in `data/runs/`: make it, go on where it stopped, check it.

Each phase is a folder, as `Run.save` writes it. Each experiment of `experiments.py` is a CSV file
with one row per run and evaluation, and a JSON file that says how it was made.
"""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from slmlab.corpus import load_held_out
from slmlab.experiments import GRID, SUSPECTS, Grid, Rows, Suspects, texts_used
from slmlab.files import DataError, data_path, sha256, write_atomically
from slmlab.phases import PHASES, Phase
from slmlab.runs import PROMPTS, Run, environment

if TYPE_CHECKING:
    import pandas as pd

EXPERIMENTS = (GRID, SUSPECTS)
WHAT = ("phases", *(experiment.name for experiment in EXPERIMENTS))
Experiment = Grid | Suspects


@dataclass(frozen=True)
class PhaseRecord:
    """One run of a phase that the course carries."""

    number: int
    vocabulary: str
    seed: int

    @property
    def phase(self) -> Phase:
        return PHASES[self.number]

    @property
    def name(self) -> str:
        return self.phase.run_name(self.vocabulary, self.seed)

    def train(self) -> Run:
        """The full run. A right-sized one is also tested on the held-out files."""
        dataset = self.phase.dataset(self.vocabulary)
        if self.vocabulary == "right-sized":
            dataset = dataset.with_test(load_held_out().text)
        return self.phase.run(self.vocabulary, seed=self.seed, dataset=dataset, sample_often=True)


# The published settings with one seed (three where that is cheap), right-sized with three.
PHASE_RECORDS = tuple(
    PhaseRecord(number, vocabulary, seed)
    for vocabulary in ("right-sized", "gpt2")
    for number in (1, 2, 3, 0, 4)  # the quick ones first
    for seed in ((0, 1, 2) if vocabulary == "right-sized" or number in (1, 2) else (0,))
)


def record(folder: Path, what: tuple[str, ...] = WHAT, jobs: int = 1, backend: str = "loky") -> int:
    """Make what is missing in `folder`; what is finished is skipped. Returns what was made.

    Experiments run in `jobs` processes through joblib; `backend` names one of its backends, such
    as "dask" or "ray" where that is registered. Ctrl-C keeps a phase's run so far, and all
    finished cells of an experiment.

    Raises:
        ValueError: for something in `what` that there is not.
        DataError: if an experiment in the folder was made with other settings or other texts, or
            if the folder cannot be written.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    if unknown := set(what) - set(WHAT):
        raise ValueError(
            f"Cannot record {', '.join(sorted(unknown))}; there are {', '.join(WHAT)}."
        )
    made = 0
    for entry in PHASE_RECORDS if "phases" in what else ():
        if not (folder / entry.name).is_dir():
            _record_phase(entry, folder)
            made += 1
    for experiment in EXPERIMENTS:
        if experiment.name in what:
            made += _record_experiment(experiment, folder, jobs, backend)
    return made


def _record_phase(entry: PhaseRecord, folder: Path) -> None:
    partial = folder / f".{entry.name}.partial"
    run = Run.load(partial).resume(sample_often=True) if partial.is_dir() else entry.train()
    if run.state.status == "interrupted":
        run.save(partial, keep="all")
        raise KeyboardInterrupt
    run.save(folder / entry.name, keep="record")
    shutil.rmtree(partial, ignore_errors=True)


def _record_experiment(experiment: Experiment, folder: Path, jobs: int, backend: str) -> int:
    import joblib

    rows = _finished_rows(experiment, folder)
    done = {_key(experiment, row) for row in rows}
    cells = [cell for cell in experiment.cells() if _key(experiment, cell) not in done]
    if not cells:
        return 0
    parallel = joblib.Parallel(jobs, backend=backend, return_as="generator_unordered", batch_size=1)
    tasks = (joblib.delayed(_cell)(experiment, cell) for cell in cells)
    environments = _facts(experiment, folder).get("environments", [])
    for new_rows, where in tqdm(parallel(tasks), experiment.name, len(cells), unit="run"):
        rows += new_rows
        environments += [where] if where not in environments else []
        _write_experiment(experiment, folder, rows, environments)
    return len(cells)


def _cell(experiment: Experiment, cell: dict[str, Any]) -> tuple[Rows, dict[str, Any]]:
    return experiment.work(**cell), environment()


def _key(experiment: Experiment, row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in experiment.keys)


def _write_experiment(
    experiment: Experiment, folder: Path, rows: Rows, environments: list[dict[str, Any]]
) -> None:
    import pandas as pd

    order = {_key(experiment, cell): i for i, cell in enumerate(experiment.cells())}
    rows = sorted(rows, key=lambda row: (order[_key(experiment, row)], row["step"]))
    table = pd.DataFrame(rows).to_csv(index=False, float_format="%.6g").encode()
    facts = _settings(experiment) | {"environments": environments, "sha256": sha256(table)}
    write_atomically(folder / f"{experiment.name}.csv", table)
    write_atomically(folder / f"{experiment.name}.json", json.dumps(facts, indent=1).encode())


def _settings(experiment: Experiment) -> dict[str, Any]:
    """What an experiment depends on, as JSON would give it back."""
    return json.loads(json.dumps({"settings": asdict(experiment), **texts_used()}))


def _facts(experiment: Experiment, folder: Path) -> dict[str, Any]:
    path = folder / f"{experiment.name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore or remove it.") from error


def _finished_rows(experiment: Experiment, folder: Path) -> Rows:
    """Rows of the cells that are already in the folder."""
    import pandas as pd

    path, facts = folder / f"{experiment.name}.csv", _facts(experiment, folder)
    if not path.exists() or not facts:
        return []
    if not _settings(experiment).items() <= facts.items():
        raise DataError(
            f"{path} was made with other settings or other texts than this version has; move it "
            "and its .json file away to make it again."
        )
    return pd.read_csv(path, dtype={"vocabulary": str}).to_dict("records")


def read_experiment(name: str, folder: Path | None = None) -> "pd.DataFrame":
    """The stored rows of "grid" or "suspects", one per run and evaluation.

    Raises `DataError` if the file is missing or was altered, `ValueError` for another name.
    """
    import pandas as pd

    folder = folder or data_path("runs")
    experiment = next((e for e in EXPERIMENTS if e.name == name), None)
    if experiment is None:
        raise ValueError(f'There is no experiment {name!r}; there are "grid" and "suspects".')
    path, facts = folder / f"{name}.csv", _facts(experiment, folder)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); make it with `python -m slmlab record`."
        ) from error
    if sha256(content) != facts.get("sha256"):
        raise DataError(f"{path} has changed since it was recorded; restore it from a copy.")
    return pd.read_csv(StringIO(content.decode()), dtype={"vocabulary": str})


def check(folder: Path) -> list[str]:
    """What is wrong with the records in a folder, one sentence each; empty if nothing is."""
    problems = [p for entry in PHASE_RECORDS for p in _phase_problems(entry, folder)]
    return problems + [p for e in EXPERIMENTS for p in _experiment_problems(e, folder)]


def _phase_problems(entry: PhaseRecord, folder: Path) -> Iterator[str]:
    try:
        run = Run.load(folder / entry.name)  # refuses altered files and another corpus
    except DataError as error:
        yield str(error)
        return
    steps = entry.phase.training.max_steps
    if run.config != replace(entry.phase.training, seed=entry.seed):
        yield f"{entry.name} was not trained with the phase's settings and seed {entry.seed}."
    shape = {key: getattr(run.model.config, key) for key in entry.phase.shape}
    if shape != entry.phase.shape or run.dataset.source["vocabulary"] != entry.vocabulary:
        yield f"{entry.name} is not the phase's model with the {entry.vocabulary} vocabulary."
    if run.state.status != "finished" or run.state.step != steps:
        yield f"{entry.name} is {run.state.status} at step {run.state.step} of {steps}."
    evaluated = [report.step for report in run.state.history]
    interval = entry.phase.training.eval_interval
    if evaluated != sorted({*range(0, steps + 1, interval), steps}):
        yield f"{entry.name} lacks evaluations."
    if [(s["step"], s["prompt"]) for s in run.samples] != [
        (step, prompt) for step in evaluated for prompt in PROMPTS
    ]:
        yield f"{entry.name} lacks samples."
    tested = all(report.test_loss is not None for report in run.state.history)
    if entry.vocabulary == "right-sized" and not tested:
        yield f"{entry.name} was not tested on the held-out files."


def _experiment_problems(experiment: Experiment, folder: Path) -> Iterator[str]:
    name = experiment.name
    try:
        rows = read_experiment(name, folder)
    except DataError as error:
        yield str(error)
        return
    if not _settings(experiment).items() <= _facts(experiment, folder).items():
        yield f"{name} was made with other settings or other texts than this version has."
    steps = set(range(0, experiment.steps + 1, experiment.eval_interval))
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows.to_dict("records"):
        found.setdefault(_key(experiment, row), []).append(row["step"])
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            yield f"{name} has a loss that is not a number, at {_key(experiment, row)}."
    wanted = {_key(experiment, cell) for cell in experiment.cells()}
    if found.keys() != wanted or any(sorted(s) != sorted(steps) for s in found.values()):
        complete = sum(sorted(found.get(key, [])) == sorted(steps) for key in wanted)
        yield f"{name} has {complete} of its {len(wanted)} runs complete; record the rest."
