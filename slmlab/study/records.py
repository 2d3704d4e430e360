"""What the course carries in `data/runs/`: make it, go on where it stopped, find what is wrong.

Each phase is a folder, as `Run.save` writes it; each experiment is a table (`experiments.tables`).
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from slmlab.engine.environment import environment
from slmlab.engine.runs import Run
from slmlab.study.domain import PROMPTS
from slmlab.study.experiments import EXPERIMENTS
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.tables import (
    finished_rows,
    origin,
    read_origin,
    read_table,
    write_table,
)
from slmlab.study.phases import PHASES, Phase
from slmlab.text.files import DataError

WHAT = ("phases", *(experiment.name for experiment in EXPERIMENTS))


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
        setup = self.phase.setup.replace(vocabulary=self.vocabulary)
        dataset = setup.dataset(tested=self.vocabulary == "right-sized")
        return self.phase.run(
            self.vocabulary, seed=self.seed, dataset=dataset, sample_each_evaluation=True
        )


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
    run = (
        Run.load(partial).resume(sample_each_evaluation=True) if partial.is_dir() else entry.train()
    )
    if run.state.status == "interrupted":
        run.save(partial, keep="all")
        raise KeyboardInterrupt
    run.save(folder / entry.name, keep="history")
    shutil.rmtree(partial, ignore_errors=True)


def _record_experiment(experiment: Experiment, folder: Path, jobs: int, backend: str) -> int:
    import joblib

    rows = finished_rows(experiment, folder)
    done = {experiment.key(row) for row in rows}
    cells = [cell for cell in experiment.cells() if experiment.key(cell) not in done]
    if not cells:
        return 0
    parallel = joblib.Parallel(jobs, backend=backend, return_as="generator_unordered", batch_size=1)
    tasks = (joblib.delayed(_run_cell)(experiment, cell) for cell in cells)
    environments = read_origin(experiment, folder).get("environments", [])
    for new_rows, where in tqdm(parallel(tasks), experiment.name, len(cells), unit="run"):
        rows += new_rows
        environments += [where] if where not in environments else []
        write_table(experiment, folder, rows, environments)
    return len(cells)


def _run_cell(experiment: Experiment, cell: Cell) -> tuple[Rows, dict[str, Any]]:
    return experiment.run_cell(cell), environment()


def problems_of(folder: Path) -> list[str]:
    """What is wrong with the records in a folder, one sentence each; empty if nothing is."""
    problems = [p for entry in PHASE_RECORDS for p in _phase_problems(entry, folder)]
    return problems + [p for e in EXPERIMENTS for p in _experiment_problems(e, folder)]


def _phase_problems(entry: PhaseRecord, folder: Path) -> Iterator[str]:
    try:
        run = Run.load(folder / entry.name)  # refuses altered files and another corpus
    except DataError as error:
        yield str(error)
        return
    setup = entry.phase.setup.replace(vocabulary=entry.vocabulary, seed=entry.seed)
    steps = setup.training.max_steps
    if run.config != setup.training:
        yield f"{entry.name} was not trained with the phase's settings and seed {entry.seed}."
    shape = setup.shape.config(run.model.config.vocab_size)
    if run.model.config != shape or run.dataset.source["vocabulary"] != entry.vocabulary:
        yield f"{entry.name} is not the phase's model with the {entry.vocabulary} vocabulary."
    if run.state.status != "finished" or run.state.step != steps:
        yield f"{entry.name} is {run.state.status} at step {run.state.step} of {steps}."
    evaluated = [now.step for now in run.state.history]
    interval = setup.training.eval_interval
    if evaluated != sorted({*range(0, steps + 1, interval), steps}):
        yield f"{entry.name} lacks evaluations."
    if [(s["step"], s["prompt"]) for s in run.samples] != [
        (step, prompt) for step in evaluated for prompt in PROMPTS
    ]:
        yield f"{entry.name} lacks samples."
    tested = all(now.test_loss is not None for now in run.state.history)
    if entry.vocabulary == "right-sized" and not tested:
        yield f"{entry.name} was not tested on the held-out files."


def _experiment_problems(experiment: Experiment, folder: Path) -> Iterator[str]:
    name = experiment.name
    try:
        rows = read_table(experiment, folder)
    except DataError as error:
        yield str(error)
        return
    if not origin(experiment).items() <= read_origin(experiment, folder).items():
        yield f"{name} was made with other settings or other texts than this version has."
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows.to_dict("records"):
        found.setdefault(experiment.key(row), []).append(row["step"])
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            yield f"{name} has a loss that is not a number, at {experiment.key(row)}."
    wanted = {experiment.key(cell): list(experiment.steps(cell)) for cell in experiment.cells()}
    complete = sum(sorted(found.get(key, [])) == steps for key, steps in wanted.items())
    if found.keys() != wanted.keys() or complete < len(wanted):
        yield f"{name} has {complete} of its {len(wanted)} runs complete; record the rest."
