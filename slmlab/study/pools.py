"""Where the cells of a sweep can run: in this process, in others, on a Dask or Ray cluster."""

import math
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from types import ModuleType
from typing import Any

import torch

from slmlab.validation import shown, whole_number

BACKENDS = ("loky", "multiprocessing", "threading", "sequential", "dask", "ray")
CLUSTERS = ("dask", "ray")
CONNECT_SECONDS = 10.0
JOIN_SECONDS = 60.0  # to wait for a cluster's first worker


@dataclass(frozen=True)
class Pool:
    """Somewhere to run cells.

    Attributes:
        submit: begins a call; its first argument is a set of workers not to use.
        room: how many cells are submitted at a time.
        workers: names of the workers there are now, where one can choose.
    """

    submit: Callable[..., Future]
    room: float
    workers: Callable[[], set[str]] = set


def check_backend(backend: str, jobs: int, address: str | None, threads: int) -> None:
    """Raise `ValueError` for options that `run_cells` does not know."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {shown(backend)}; it must be one of {', '.join(BACKENDS)}.")
    if address is not None and backend not in CLUSTERS:
        raise ValueError(
            f"The backend {backend} has no address; give one with {' or '.join(CLUSTERS)}."
        )
    whole_number("jobs", jobs, least=1)
    whole_number("threads", threads, least=1)
    if backend in CLUSTERS:
        _imported(backend)


def open_pool(backend: str, jobs: int, address: str | None) -> AbstractContextManager[Pool]:
    """The pool of a backend; see `run_cells` for its options. Closing it ends all that runs."""
    if backend == "sequential":
        return _one_by_one()
    if backend == "threading":
        return _threads(jobs)
    if backend == "dask":
        return _dask(jobs, address)
    if backend == "ray":
        return _ray(jobs, address)
    return _processes(jobs, "loky" if backend == "loky" else "spawn")


@contextmanager
def _one_by_one() -> Iterator[Pool]:
    def submit(_: set[str], function: Callable, *arguments: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    with _own_threads():
        yield Pool(submit, room=1)


@contextmanager
def _threads(jobs: int) -> Iterator[Pool]:
    with _own_threads(), ThreadPoolExecutor(jobs) as executor:
        try:
            yield Pool(lambda _, *call: executor.submit(*call), room=jobs)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _own_threads() -> Iterator[None]:
    """Give this process its number of threads back after cells have run in it."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _processes(jobs: int, start: str) -> Iterator[Pool]:
    """A pool of processes, and the next one when a lost process has broken it."""
    from joblib.externals.loky.process_executor import ProcessPoolExecutor

    def make() -> ProcessPoolExecutor:
        context = get_context(start) if start != "loky" else None
        return ProcessPoolExecutor(jobs, context=context, initializer=_leave_interrupts)

    def submit(_: set[str], *call: Any) -> Future:
        nonlocal executor
        try:
            return executor.submit(*call)
        except BrokenExecutor:
            executor = make()
            return executor.submit(*call)

    executor = make()
    try:
        # No more than there are processes: when one is lost, all that was submitted is.
        yield Pool(submit, room=jobs)
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise
    executor.shutdown()


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _dask(jobs: int, address: str | None) -> Iterator[Pool]:
    distributed = _imported("dask")
    with ExitStack() as stack:
        client = _dask_client(distributed, stack, jobs, address)
        try:
            client.wait_for_workers(1, timeout=JOIN_SECONDS)
        except TimeoutError:
            raise ValueError(
                f"No worker has joined {client.scheduler.address} within {JOIN_SECONDS:.0f} "
                f"seconds; start some with `dask worker {client.scheduler.address}`."
            ) from None

        def submit(unlike: set[str], *call: Any) -> Future:
            others = sorted(set(client.nthreads()) - unlike) if unlike else None
            # If they are all gone when it comes to it, a new one may do it.
            where = {"workers": others, "allow_other_workers": bool(others)}
            return client.get_executor(pure=False, **where).submit(*call)

        yield Pool(submit, room=math.inf, workers=lambda: set(client.nthreads()))


def _dask_client(distributed: ModuleType, stack: ExitStack, jobs: int, address: str | None) -> Any:
    if address is None:
        with suppress(ValueError):
            return distributed.default_client()  # somebody's, who also closes it
        cluster = distributed.LocalCluster(
            n_workers=jobs, threads_per_worker=1, dashboard_address=None
        )
        return stack.enter_context(distributed.Client(stack.enter_context(cluster)))
    try:
        return stack.enter_context(distributed.Client(address, timeout=CONNECT_SECONDS))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"There is no Dask scheduler at {shown(address)} ({error}); start one with "
            "`dask scheduler`, or leave the address away to use this machine."
        ) from error


@contextmanager
def _ray(jobs: int, address: str | None) -> Iterator[Pool]:
    ray = _imported("ray")
    ours = not ray.is_initialized()
    if ours:
        where = {"num_cpus": jobs, "include_dashboard": False}
        try:
            ray.init(
                **where if address is None else {"address": address},
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError) as error:
            raise ValueError(
                f"There is no Ray cluster at {shown(address)} ({error}); start one with "
                "`ray start --head`, or leave the address away to use this machine."
            ) from error
    try:
        remote = cache(ray.remote)
        yield Pool(lambda _, f, *given: remote(f).remote(*given).future(), room=math.inf)
    finally:
        if ours:
            ray.shutdown()


def _imported(backend: str) -> ModuleType:
    name = {"dask": "distributed"}.get(backend, backend)
    try:
        return import_module(name)
    except ImportError:
        raise ValueError(
            f"The backend {backend} needs the package {name}; install it with `pip install {name}`."
        ) from None
