"""Runs the cells of an experiment, here or on a cluster, and hands over each when it is done.

A backend is a pool with room for some cells, to which they are submitted as futures; one loop
serves them all. Losses of workers, and workers that do not fit, are its business; a cell that fails
is told in a sentence, and the others go on.
"""

import os
import platform
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from slmlab.engine.environment import environment
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.tables import texts_used
from slmlab.study.pools import Workers, open_pool
from slmlab.text.files import DataError

LOOK_SECONDS = 2.0  # how often to look whether a cluster is still there
MAX_LOSSES = 3  # of a cell's workers, before the cell is taken for the reason


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its rows and where they were made, or the problem, in a sentence."""

    cell: Cell
    rows: Rows = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class UnlikeWorker(Exception):
    """A worker that would give other numbers than the sweep asks for."""

    def __init__(self, worker: str, reason: str) -> None:
        super().__init__(worker, reason)
        self.worker = worker

    def __str__(self) -> str:
        return "Worker {} is left out: {}".format(*self.args)


def run_cells(
    experiment: Experiment,
    cells: Sequence[Cell],
    workers: Workers,
    tell: Callable[[str], None] = print,
) -> Generator[Outcome, None, None]:
    """Run cells, yielding an `Outcome` for each as soon as it is there, in any order.

    `tell` is called with a sentence about a worker that is not like this one, and so is not used.

    Raises:
        ValueError: if there are no workers.
        DataError: if a cluster is lost on the way.
    """
    asked = _facts(workers.threads)
    unlike: set[str] = set()
    losses: Counter[tuple[str, ...]] = Counter()
    left, lost = deque(cells), deque[Cell]()
    running: dict[Future[Outcome], Cell] = {}
    with open_pool(workers) as pool:
        while left or lost or running:
            if not pool.is_open():
                raise DataError(
                    f"The {workers.backend} cluster does not answer any more; what is finished is "
                    "kept. Run the same command to go on."
                )
            while left and len(running) < pool.room:
                cell = left.popleft()
                running[pool.submit(unlike, _run_cell, experiment, cell, asked)] = cell
            if not running:  # a cell that was lost goes alone, so that it does no harm to others
                cell = lost.popleft()
                running[pool.submit(unlike, _run_cell, experiment, cell, asked)] = cell
            for future in wait(running, LOOK_SECONDS, FIRST_COMPLETED).done:
                cell = running.pop(future)
                try:
                    yield future.result()
                except UnlikeWorker as error:
                    if error.worker not in unlike:
                        tell(str(error))
                    unlike.add(error.worker)
                    if pool.workers() - unlike:
                        left.appendleft(cell)
                    else:
                        yield Outcome(cell, problem=str(error))
                except Exception as error:  # each backend has its own for a worker that was lost
                    losses[experiment.key(cell)] += 1
                    if losses[experiment.key(cell)] < MAX_LOSSES:
                        lost.append(cell)
                    else:
                        yield Outcome(cell, problem=_loss(experiment, cell, error))


def _loss(experiment: Experiment, cell: Cell, error: Exception) -> str:
    return (
        f"{experiment.title(cell)} lost its worker {MAX_LOSSES} times, or could not be sent to it "
        f"({_in_short(error)})."
    )


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")


def _run_cell(experiment: Experiment, cell: Cell, asked: dict[str, Any]) -> Outcome:
    """Runs on a worker. Raises `UnlikeWorker` if the worker has not what is asked for."""
    torch.set_num_threads(asked["threads"])
    _require(asked)
    try:
        rows = _checked(experiment, cell, experiment.run_cell(cell))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{_in_short(error)}; {Path(where.filename).name}, line {where.lineno}"
        return Outcome(cell, problem=f"{experiment.title(cell)} failed ({reason}).")
    return Outcome(cell, rows, environment())


def _require(asked: dict[str, Any]) -> None:
    try:
        has = _facts(torch.get_num_threads())
    except DataError as error:
        raise UnlikeWorker(_worker_name(), str(error)) from error
    for name, value in asked.items():
        if has[name] != value:
            raise UnlikeWorker(
                _worker_name(),
                f"its {name} is {has[name]}, that of the sweep {value}; {_remedy(name)}.",
            )


def _remedy(name: str) -> str:
    if name.endswith("sha256"):  # also here, where somebody has changed them meanwhile
        return "give it back the texts that the sweep began with, and run the same command again"
    return "install the same version of SLM Lab there"


def _facts(threads: int) -> dict[str, Any]:
    """What workers must have in common, apart from what the experiment itself brings."""
    return {"slmlab version": environment()["slmlab"], **texts_used(), "threads": threads}


def _checked(experiment: Experiment, cell: Cell, rows: Rows) -> Rows:
    """The rows with the types of their columns. Raises `ValueError` if they are not as promised."""
    columns = experiment.columns
    if any(row.keys() != columns.keys() for row in rows):
        raise ValueError("its rows have other columns than the experiment")
    if not experiment.is_whole(cell, rows):
        raise ValueError(f"it gave {len(rows)} rows, which are not all of its looks")
    return [{name: kind(row[name]) for name, kind in columns.items()} for row in rows]


def _worker_name() -> str:
    if "distributed" in sys.modules:
        with suppress(ValueError):  # this is not one of its workers
            return import_module("distributed").get_worker().address
    return f"{platform.node()}, process {os.getpid()}"
