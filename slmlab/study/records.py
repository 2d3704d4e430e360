"""What the course carries in `data/runs/`: make it, go on where it stopped, find what is wrong.

Each phase is a folder, as `Run.save` writes it; each experiment is a table (`experiments.tables`).
"""

import math
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock
from tqdm import tqdm

from slmlab.engine.console import Forgiving, guarded
from slmlab.engine.rescue import save_or_rescue
from slmlab.engine.run_folder import check_target, is_saved, remove_run_folder
from slmlab.engine.runs import Run
from slmlab.engine.storage import require_rebuildable
from slmlab.study.domain import PROMPTS
from slmlab.study.experiments import EXPERIMENTS
from slmlab.study.experiments.protocol import Experiment, evaluation_steps
from slmlab.study.experiments.tables import add_rows, missing_cells, read_rows
from slmlab.study.phases import PHASES, Phase
from slmlab.study.pools import Workers
from slmlab.study.setups import Setup
from slmlab.study.sweeps import Outcome, run_cells
from slmlab.text.files import DataError, user_path
from slmlab.validation import listed, whole_text


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

    @property
    def setup(self) -> Setup:
        return self.phase.setup.replace(vocabulary=self.vocabulary, seed=self.seed)

    def train(self) -> Run:
        """The full run. A right-sized one is also tested on the held-out files."""
        dataset = self.setup.dataset(tested=self.vocabulary == "right-sized")
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


def record(folder: Path | str, what: Sequence[str] = (), **options: Any) -> int:
    """Make what is missing in `folder`; what is finished is skipped. Returns what was made.

    `what` names "phases" and experiments; by default it is everything. `options` are those of
    `Workers`: where the cells of experiments run. Ctrl-C keeps a phase's run so far, and all
    finished cells of an experiment.

    Raises:
        ValueError: for something in `what`, or a backend, that there is not; or a cluster that
            cannot be reached.
        DataError: if the folder cannot be written, or something else records there; if a run or a
            table in it is damaged, or was made with other texts, a table also with other settings;
            or, once all others are made, if cells failed. What was there is untouched.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    folder, workers = user_path(folder), Workers(**options)
    known = ["phases", *(experiment.name for experiment in EXPERIMENTS)]
    what = [what] if isinstance(what, str) else listed("what", what, "names") or known
    what = [whole_text("What is to be recorded", name) for name in what]
    if unknown := set(what) - set(known):
        raise ValueError(
            f"Cannot record {', '.join(sorted(unknown))}; there are {', '.join(known)}."
        )
    # All of it is looked at before anything is trained.
    entries = [e for e in PHASE_RECORDS if "phases" in what and _is_missing(e, folder)]
    experiments = [e for e in EXPERIMENTS if e.name in what and missing_cells(e, folder)]
    if not entries and not experiments:
        return 0
    made, problems = 0, []
    with _alone_in(folder):
        for entry in entries:
            check_target(folder / entry.name)
            check_target(_partial(entry, folder))
        for entry in entries:
            if _is_missing(entry, folder):  # until now, something else may have recorded here
                _record_phase(entry, folder)
                made += 1
        for experiment in experiments:
            for outcome in _sweep(experiment, folder, workers):
                if outcome.problem:
                    problems.append(outcome.problem)
                else:
                    add_rows(experiment, folder, outcome.rows, outcome.environment)
                    made += 1
    if problems:
        raise DataError(
            f"{made} runs were made, and {len(problems)} were not: {problems[0]} Run the same "
            "command to try them again."
        )
    return made


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep others from recording in a folder, after making sure that it can be written.

    A lock of the operating system ends with its process, however that ends.
    """
    path = folder / ".recording.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Locking empties the file, and removes it in the end; a lock of ours is empty already.
        if os.path.lexists(path) and not (
            stat.S_ISREG(path.lstat().st_mode) and not path.lstat().st_size
        ):
            raise DataError(f"{path} is in the place of this command's lock; move it away.")
        lock = filelock.FileLock(path, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise DataError(
            f"Something else is recording in {folder}; wait for it, or choose another folder."
        ) from None
    except OSError as error:
        raise DataError(
            f"Nothing can be recorded in {folder} ({error.strerror}); choose a folder that you "
            "may write to."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            path.unlink()
        lock.release()


def _is_missing(entry: PhaseRecord, folder: Path) -> bool:
    """Whether a phase's run is still to be made. Raises `DataError` for one that is damaged."""
    place = folder / entry.name
    if is_saved(place):
        try:
            Run.load(place)  # refuses altered files and another corpus
        except DataError as error:
            raise DataError(f"{error} Move {place} away to record {entry.name} again.") from error
        return False
    return True


def _partial(entry: PhaseRecord, folder: Path) -> Path:
    """Where a run waits that was stopped."""
    return folder / f".{entry.name}.partial"


def _record_phase(entry: PhaseRecord, folder: Path) -> None:
    partial = _partial(entry, folder)
    # No step is cut in two, however often Ctrl-C is pressed: the run could not go on from there.
    with guarded(_tell) as guard:
        try:
            if is_saved(partial):
                run = _stopped_run(entry, partial).resume(sample_each_evaluation=True)
            else:
                run = entry.train()
        except Exception as error:  # such as a full memory
            if hasattr(error, "run") and _can_go_on(entry, error.run):
                save_or_rescue(error.run, partial, "all", _tell)
            raise
        sampled = any(sample["step"] == run.state.step for sample in run.samples)
        if run.state.status == "interrupted" or not sampled:  # stopped, if only at its last samples
            save_or_rescue(run, partial, "all", _tell)
            raise KeyboardInterrupt
        try:
            run.save(folder / entry.name, keep="history")
        except (DataError, ValueError) as error:  # its place was taken, or the corpus changed
            place = save_or_rescue(run, partial, "all", _tell)
            why = error if _is_on_the_corpus(run) else "The corpus has changed meanwhile."
            raise DataError(f"{why} {entry.name} is finished, and waits in {place}.") from error
        with suppress(OSError):  # the run is saved, and what is left of it may stay
            remove_run_folder(partial)
    if guard.came:
        raise KeyboardInterrupt


def _can_go_on(entry: PhaseRecord, run: Run) -> bool:
    """Whether the error that ended a run has cut neither a step nor an evaluation in two."""
    state = run.state
    counted = {int(moments["step"]) for moments in state.optimizer.moments.values()}
    due = state.step in evaluation_steps(entry.setup.training)
    return counted == {state.step} and (not due or state.history[-1].step == state.step)


def _tell(sentence: str) -> None:
    print(sentence, file=Forgiving(sys.stderr))


def _stopped_run(entry: PhaseRecord, partial: Path) -> Run:
    try:
        run = Run.load(partial)
        if problems := list(_mismatches(entry, run)):
            raise DataError(problems[0])
    except DataError as error:
        raise DataError(
            f"The stopped run in {partial} cannot go on: {error} Move that folder away to train "
            f"{entry.name} from its start."
        ) from error
    return run


def _sweep(experiment: Experiment, folder: Path, workers: Workers) -> Iterator[Outcome]:
    cells = missing_cells(experiment, folder)
    shown = Forgiving(sys.stderr)
    with (
        closing(run_cells(experiment, cells, workers, partial(tqdm.write, file=shown))) as done,
        tqdm(
            desc=experiment.name,
            total=len(cells),
            unit="run",
            file=shown,
            disable=sys.stderr is None,
        ) as bar,
    ):
        for outcome in done:
            if outcome.problem:
                tqdm.write(outcome.problem, file=shown)
            yield outcome
            bar.update()


def problems_of(folder: Path) -> list[str]:
    """What is wrong with the records in a folder, one sentence each; empty if nothing is."""
    folder = user_path(folder)
    problems = [p for entry in PHASE_RECORDS for p in _phase_problems(entry, folder)]
    return problems + [p for e in EXPERIMENTS for p in _experiment_problems(e, folder)]


def _phase_problems(entry: PhaseRecord, folder: Path) -> Iterator[str]:
    try:
        run = Run.load(folder / entry.name)  # refuses altered files and another corpus
    except DataError as error:
        yield str(error)
        return
    yield from _mismatches(entry, run)
    steps = evaluation_steps(entry.setup.training)
    if run.state.status != "finished" or run.state.step != steps[-1]:
        yield f"{entry.name} is {run.state.status} at step {run.state.step} of {steps[-1]}."
    if [now.step for now in run.state.history] != steps:
        yield f"{entry.name} lacks evaluations."
    sampled = [(sample["step"], sample["prompt"]) for sample in run.samples]
    if sampled != [(step, prompt) for step in steps for prompt in PROMPTS]:
        yield f"{entry.name} lacks samples."
    tested = all(now.test_loss is not None for now in run.state.history)
    if entry.vocabulary == "right-sized" and not tested:
        yield f"{entry.name} was not tested on the held-out files."


def _mismatches(entry: PhaseRecord, run: Run) -> Iterator[str]:
    """What makes a run another one than it should be, finished or not."""
    if run.config != entry.setup.training:
        yield f"{entry.name} was not trained with the phase's settings and seed {entry.seed}."
    shape = entry.setup.shape.config(run.model.config.vocab_size)
    if run.model.config != shape or run.dataset.source.get("vocabulary") != entry.vocabulary:
        yield f"{entry.name} is not the phase's model with the {entry.vocabulary} vocabulary."
    if not _is_on_the_corpus(run):
        yield f"{entry.name} was not trained on the corpus as it is now."


def _is_on_the_corpus(run: Run) -> bool:
    """Whether its text is still that of the course."""
    try:
        require_rebuildable(run.dataset)
    except ValueError:
        return False
    return True


def _experiment_problems(experiment: Experiment, folder: Path) -> Iterator[str]:
    try:
        rows, missing = read_rows(experiment, folder), missing_cells(experiment, folder)
    except DataError as error:
        yield str(error)
        return
    if missing:
        n = len(experiment.cells())
        yield f"{experiment.name} has {n - len(missing)} of its {n} runs; record the rest."
    for row in rows:
        if not all(math.isfinite(row[name]) for name in experiment.losses):
            yield f"{experiment.title(row)} has a loss that is not a number, at step {row['step']}."
