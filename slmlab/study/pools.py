"""Where the cells of a sweep can run: in this process, in others, on a Dask or Ray cluster."""

import asyncio
import math
import signal
import textwrap
import threading
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
class Workers:
    """Who runs the cells of a sweep.

    Attributes:
        backend: "loky" or "multiprocessing" (`jobs` processes here), "threading" or "sequential"
            (in this process), "dask" or "ray" (a cluster).
        jobs: how many cells at a time, where no cluster decides that.
        address: of a Dask scheduler or a Ray cluster. Without it, the client that is open is used,
            or else `jobs` workers are started here.
        threads: of each cell. Their number changes the last digits of what a cell gives.

    Raises:
        ValueError: for another backend, an address that it cannot have, or numbers below 1.
    """

    backend: str = "loky"
    jobs: int = 1
    address: str | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(
                f"backend is {shown(self.backend)}; it must be one of {', '.join(BACKENDS)}."
            )
        if self.address is not None and self.backend not in CLUSTERS:
            raise ValueError(
                f"The backend {self.backend} has no address; only {' and '.join(CLUSTERS)} do."
            )
        for name in ("jobs", "threads"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1, 1_000))


@dataclass(frozen=True)
class Pool:
    """Somewhere to run cells.

    Attributes:
        submit: begins a call; its first argument is a set of workers not to use.
        room: how many cells are submitted at a time.
        workers: names of the workers there are now, where one can choose.
        is_open: whether it can still be used.
    """

    submit: Callable[..., Future]
    room: float
    workers: Callable[[], set[str]] = set
    is_open: Callable[[], bool] = lambda: True


def open_pool(workers: Workers) -> AbstractContextManager[Pool]:
    """The pool of some workers. Closing it ends whatever still runs."""
    if workers.backend == "sequential":
        return _one_by_one()
    if workers.backend == "threading":
        return _threads(workers.jobs)
    if workers.backend == "dask":
        return _dask(workers)
    if workers.backend == "ray":
        return _ray(workers)
    return _processes(workers.jobs, workers.backend)


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
def _processes(jobs: int, backend: str) -> Iterator[Pool]:
    """A pool of processes, and the next one when a lost process has broken it."""
    from joblib.externals.loky.process_executor import ProcessPoolExecutor

    def make() -> ProcessPoolExecutor:
        context = get_context("spawn") if backend == "multiprocessing" else None
        return ProcessPoolExecutor(jobs, context=context, initializer=_ignore_interrupts)

    executor = make()

    def submit(_: set[str], *call: Any) -> Future:
        nonlocal executor
        try:
            return executor.submit(*call)
        except BrokenExecutor:
            executor = make()
            return executor.submit(*call)

    try:
        # No more than there are processes: when one is lost, all that was submitted is.
        yield Pool(submit, room=jobs)
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise
    executor.shutdown()


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = _ignore_interrupts()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ignore_interrupts() -> Any:
    """Ctrl-C reaches every process of a terminal; the first one ends the others."""
    return signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _dask(workers: Workers) -> Iterator[Pool]:
    distributed = _imported("dask")
    with ExitStack() as stack:
        client = _dask_client(distributed, stack, workers)
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

        yield Pool(
            submit,
            room=math.inf,
            workers=lambda: set(client.nthreads()),
            is_open=lambda: client.status not in ("closing", "closed"),
        )


def _dask_client(distributed: ModuleType, stack: ExitStack, workers: Workers) -> Any:
    address = workers.address
    if address is None:
        with suppress(ValueError):
            return distributed.default_client()  # somebody's, who also closes it
        with _ignored_interrupts():  # which the processes that start here inherit
            cluster = distributed.LocalCluster(
                n_workers=workers.jobs, threads_per_worker=1, dashboard_address=None
            )
        return stack.enter_context(distributed.Client(stack.enter_context(cluster)))
    try:
        # A client that cannot start is not closed, and Dask's next one may wait for it in vain.
        _connect(distributed, address).result(CONNECT_SECONDS + 1)
        return stack.enter_context(distributed.Client(address, timeout=CONNECT_SECONDS))
    except Exception as error:  # whatever another service answers, even sizes of no memory
        why = (
            textwrap.shorten(str(error), 200, placeholder=" …")
            or f"no answer within {CONNECT_SECONDS:g} seconds"
        )
        raise ValueError(
            f"There is no Dask scheduler at {shown(address)} ({why}); start one with "
            "`dask scheduler`, or leave the address away to use this machine."
        ) from error


def _connect(distributed: ModuleType, address: str) -> "Future[None]":
    """Try an address in a thread that nobody has to wait for: some services never answer."""
    tried: Future[None] = Future()

    async def connect() -> None:
        connection = await distributed.comm.connect(address, timeout=CONNECT_SECONDS)
        connection.abort()

    def work() -> None:
        try:
            asyncio.run(connect())
            tried.set_result(None)
        except BaseException as error:
            tried.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return tried


@contextmanager
def _ray(workers: Workers) -> Iterator[Pool]:
    ray = _imported("ray")
    ours = not ray.is_initialized()
    if ours:
        address = workers.address
        where = {"num_cpus": workers.jobs, "include_dashboard": False}
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
