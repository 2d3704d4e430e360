"""Sweeps: every backend gives the same rows, and no worker that dies takes a cell with it."""

import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

import psutil
import pytest
import torch

import slmlab as lab
from slmlab.__main__ import main
from slmlab.engine.model import GPTConfig
from slmlab.study import pools, records, sweeps
from slmlab.study.experiments.grid import GRID, Grid
from slmlab.study.experiments.tables import read_rows
from slmlab.study.pools import Workers
from slmlab.study.sweeps import run_cells

pytestmark = pytest.mark.cluster

# One evaluation has 240 sampled tokens, about as much work as these steps. With dropout, as its
# generator is one for all threads of a process.
TINY = replace(
    GRID,
    rates=((8, (1e-3,)),),
    edges=(),
    train_tokens=(300, 400),
    seeds=(0, 1),
    base=GRID.base.replace(max_steps=5, dropout=0.1),
)


class Slow(Grid):
    """Cells that take so long that there is time to interrupt them."""

    def run_cell(self, cell):
        time.sleep(2)
        return super().run_cell(cell)


SLOW = Slow(**{field.name: getattr(TINY, field.name) for field in fields(TINY)})


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(records, "EXPERIMENTS", (TINY,))
    monkeypatch.setattr(records, "PHASE_RECORDS", ())
    # Processes that are started here find the package, and this module.
    paths = [str(Path(lab.__file__).parent.parent), str(Path(__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture(scope="module")
def alone():
    """What the cells give one after the other, in this process."""
    outcomes = run_cells(TINY, TINY.cells(), Workers("sequential"))
    return {TINY.key(outcome.cell): untimed(outcome.rows) for outcome in outcomes}


def untimed(rows):
    """Rows that can be compared: NaN, where no samples were taken, does not equal itself."""
    return [
        {name: -1 if value != value else value for name, value in row.items()} | {"seconds": 0}
        for row in rows
    ]


def recorded(folder):
    """The rows of each cell in a folder's table, as `alone` has them."""
    rows = read_rows(TINY, folder)
    return {
        TINY.key(cell): untimed([row for row in rows if row.items() >= cell.items()])
        for cell in TINY.cells()
    }


def as_stored(cells):
    """Rows with the six digits that a table keeps."""
    return {
        key: [{n: float(f"{v:.6g}") for n, v in row.items()} for row in rows]
        for key, rows in cells.items()
    }


# Every backend.


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_in_one_process_every_cell_is_the_same_bit_by_bit(backend, alone):
    before = torch.get_num_threads()
    outcomes = list(run_cells(TINY, TINY.cells(), Workers(backend, jobs=2)))
    assert_the_same(outcomes, alone)
    assert {outcome.environment["threads"] for outcome in outcomes} == {1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_a_process_that_is_killed_takes_no_cell_with_it(backend, alone):
    outcomes = []
    for outcome in run_cells(TINY, TINY.cells(), Workers(backend, jobs=2)):
        if not outcomes:  # the other process is in the middle of a cell
            busiest(psutil.Process().children(recursive=True)).kill()
        outcomes.append(outcome)
    assert_the_same(outcomes, alone)


def assert_the_same(outcomes, alone):
    """Every cell once, with the rows that it has alone."""
    assert [outcome.problem for outcome in outcomes] == [""] * len(alone)
    assert {TINY.key(o.cell): untimed(o.rows) for o in outcomes} == alone


def busiest(processes):
    return max(processes, key=lambda process: sum(process.cpu_times()[:2]))


def test_cells_have_as_many_threads_as_the_sweep_asks_for(tmp_path):
    [outcome] = run_cells(TINY, TINY.cells()[:1], Workers("sequential", threads=2))
    assert outcome.environment["threads"] == 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"backend": "spark"}, "backend is 'spark'; it must be one of loky, multiprocessing"),
        ({"backend": None}, "backend is None"),
        ({"jobs": 0}, "jobs is 0; it must be a whole number from 1 to 1,000."),
        ({"jobs": 1.5}, "jobs is 1.5"),
        ({"threads": True}, "threads is True"),
        ({"address": "tcp://127.0.0.1:1"}, "The backend loky has no address; only dask and ray"),
    ],
)
def test_workers_check_themselves(options, part):
    with pytest.raises(ValueError, match=part):
        Workers(**options)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match="needs the package distributed; install it with"):
        next(run_cells(TINY, TINY.cells(), Workers("dask")))


# Cells that fail.


class Faulty(Grid):
    """With 400 tokens its worker dies; with 500 it gives too few rows, or rows of other columns."""

    def run_cell(self, cell):
        if cell["train_tokens"] == 400:
            os._exit(1)
        rows = [dict.fromkeys(self.columns, 0) | cell | {"step": s} for s in self.looks]
        if cell["train_tokens"] == 500:
            return rows[1:] if cell["seed"] else [row | {"more": 0} for row in rows]
        time.sleep(0.2)
        return rows


def test_a_cell_that_fails_is_told_in_a_sentence_and_the_others_go_on(
    tmp_path, monkeypatch, capsys
):
    wrong = replace(TINY, rates=((8, (1e-3,)), (10, (1e-3,))), train_tokens=(300,), seeds=(0,))
    monkeypatch.setattr(records, "EXPERIMENTS", (wrong,))
    for made in (1, 0):  # the second time, only the one that failed is tried
        assert main(["record", "--folder", str(tmp_path), "--backend", "sequential"]) == 1
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith(f"{made} runs were made, and 1 were not: grid n_embd=10 ")
        assert "n_embd = 10 cannot be shared equally by n_head = 4 heads" in told
        source = Path(inspect.getfile(GPTConfig)).read_text(encoding="utf-8").splitlines()
        line = 1 + next(i for i, text in enumerate(source) if "raise ValueError(" in text)
        assert told.endswith(f"model.py, line {line}). Run the same command to try them again.")
    assert {row["n_embd"] for row in read_rows(wrong, tmp_path)} == {8}


def test_a_cell_that_kills_its_workers_is_told_and_harms_no_other(monkeypatch):
    monkeypatch.setattr(sweeps, "MAX_LOSSES", 2)
    faulty = Faulty(
        base=TINY.base, rates=TINY.rates, edges=(), train_tokens=(300, 400, 500), seeds=(0, 1)
    )
    cells = [cell for cell in faulty.cells() if (cell["train_tokens"], cell["seed"]) != (400, 1)]
    outcomes = list(run_cells(faulty, cells, Workers("loky", jobs=2)))
    problems = {
        faulty.title(o.cell).removeprefix("grid n_embd=8 learning_rate=0.001 "): o.problem
        for o in outcomes
    }
    assert len(outcomes) == len(problems) == len(cells)
    assert problems["train_tokens=300 seed=0"] == problems["train_tokens=300 seed=1"] == ""
    assert "lost its worker 2 times" in problems["train_tokens=400 seed=0"]
    assert "ValueError: its rows have other columns" in problems["train_tokens=500 seed=0"]
    assert (
        "ValueError: it gave 1 rows, which are not all of its looks"
        in problems["train_tokens=500 seed=1"]
    )


def test_workers_that_are_not_alike_are_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    told = []
    threads = torch.get_num_threads() + 1
    outcomes = list(
        run_cells(TINY, TINY.cells(), Workers("sequential", threads=threads), told.append)
    )
    assert len(told) == 1
    assert all(outcome.problem == told[0] for outcome in outcomes)
    assert f"its threads is {threads - 1}, that of the sweep {threads}" in told[0]


# Ctrl-C.

RECORDING = """
import sys
from slmlab.__main__ import main
from slmlab.engine.model import GPTConfig
from slmlab.study import records
from test_sweeps import SLOW
records.EXPERIMENTS = (SLOW,)
records.PHASE_RECORDS = ()
if __name__ == "__main__":
    sys.exit(main(["record", "--folder", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_ctrl_c_keeps_what_is_finished_and_ends_everything(tmp_path, backend):
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(tmp_path), "--backend", backend, "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal of its own: Ctrl-C goes to all of its processes
    )
    wait_for(lambda: (tmp_path / "grid.csv").exists())
    family = [process.pid, *(p.pid for p in psutil.Process(process.pid).children(recursive=True))]
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == "Stopped; what is finished is saved. Run the same command to go on.\n"
    assert "Traceback" not in errors
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family))
    kept = len(read_rows(TINY, tmp_path)) // 2
    assert kept in range(1, len(TINY.cells()))
    assert records.record(tmp_path, backend="sequential") == len(TINY.cells()) - kept


def wait_for(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# A Dask cluster of two processes on this machine.


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(lab.__file__).parent.parent), str(Path(__file__).parent)]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as made:
            yield made


@pytest.fixture
def client(cluster):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def test_a_worker_killed_in_the_middle_loses_nothing(client, tmp_path, alone, monkeypatch):
    pids = client.run(os.getpid)
    killed, add_rows = [], records.add_rows

    def kill_one(*arguments):
        if not killed:
            killed.extend(worker for worker, cells in client.processing().items() if cells)
            os.kill(pids[killed[0]], signal.SIGKILL)
        add_rows(*arguments)

    monkeypatch.setattr(records, "add_rows", kill_one)
    address = client.scheduler.address
    assert records.record(tmp_path, backend="dask", address=address) == len(alone)
    assert killed
    counted = Counter(TINY.key(row) for row in read_rows(TINY, tmp_path))
    assert set(counted.values()) == {2} and len(counted) == len(alone)  # two evaluations each
    assert as_stored(recorded(tmp_path)) == as_stored(alone)
    assert records.problems_of(tmp_path) == []


def test_texts_that_change_during_a_sweep_are_told_as_such(monkeypatch):
    facts, calls = sweeps._facts, iter(range(10))

    def changing(threads):
        return facts(threads) | {"corpus_sha256": f"{min(next(calls), 1)}"}

    monkeypatch.setattr(sweeps, "_facts", changing)
    [outcome] = run_cells(TINY, TINY.cells()[:1], Workers("sequential"), lambda _: None)
    assert "its corpus_sha256 is 1, that of the sweep 0; give it back the texts" in outcome.problem


MAKE_UNLIKE = """
import slmlab.study.sweeps as s
s._facts = lambda threads, facts=s._facts: facts(threads) | {"slmlab version": "0.0.0"}
"""
MAKE_ALIKE = """
import slmlab.study.sweeps as s
[s._facts] = s._facts.__defaults__
"""


@pytest.mark.parametrize("how_many", [1, 2])
def test_a_worker_that_is_not_alike_is_left_out(client, alone, how_many):
    unlike = sorted(client.nthreads())[:how_many]
    client.run(exec, MAKE_UNLIKE, workers=unlike)
    told = []
    try:
        workers = Workers("dask", address=client.scheduler.address)
        outcomes = list(run_cells(TINY, TINY.cells(), workers, told.append))
    finally:
        client.run(exec, MAKE_ALIKE, workers=unlike)
    assert len(told) == how_many
    for sentence, worker in zip(sorted(told), unlike, strict=True):
        assert sentence.startswith(f"Worker {worker} is left out: its slmlab version is 0.0.0, ")
    if how_many == 1:
        assert_the_same(outcomes, alone)
    else:
        assert len(outcomes) == len(alone)
        assert {outcome.problem for outcome in outcomes} <= set(told)


def test_a_client_that_is_open_is_used_and_left_open(cluster, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(cluster) as client:
        assert records.record(tmp_path, ["grid"], backend="dask") == len(TINY.cells())
        assert client.submit(sum, [1, 2]).result() == 3


def test_the_command_line_takes_an_address(client, tmp_path, capsys):
    arguments = ["--backend", "dask", "--address", client.scheduler.address]
    assert main(["record", "grid", "--folder", str(tmp_path), *arguments]) == 0
    assert (
        capsys.readouterr().out
        == f"{len(TINY.cells())} runs made; the others were there already.\n"
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "http://127.0.0.1:1", ""])
def test_no_scheduler_at_an_address_is_told_in_a_sentence(monkeypatch, tmp_path, capsys, address):
    pytest.importorskip("distributed")
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 0.5)
    arguments = ["--backend", "dask", "--address", address]
    before = set(threading.enumerate())  # another test's cluster may not have ended yet
    assert main(["record", "grid", "--folder", str(tmp_path), *arguments]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"There is no Dask scheduler at '{address}' (")
    # No client that did not start is left behind: its end would hold up the next one's beginning.
    new = set(threading.enumerate()) - before
    assert "IO loop" not in [thread.name for thread in new]


@contextmanager
def answering(answer):
    """The address of a service that is no scheduler, and answers this, or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopped = threading.Event()

        def serve():
            with suppress(OSError):
                connection, _ = server.accept()
                if answer:
                    connection.sendall(answer)
                stopped.wait()
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        stopped.set()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\0~" * 40])
def test_a_service_that_is_no_scheduler_is_told_in_time(monkeypatch, answer):
    pytest.importorskip("distributed")
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 0.5)
    with (
        answering(answer) as address,
        pytest.raises(ValueError, match=r"There is no Dask scheduler at .*; start one") as told,
        pools.open_pool(Workers("dask", address=address)),
    ):
        pass
    assert len(str(told.value)) < 450 and "\n" not in str(told.value)


def test_a_cluster_without_workers_is_told_in_a_sentence(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(pools, "JOIN_SECONDS", 0.2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty:
        workers = Workers("dask", address=empty.scheduler_address)
        with pytest.raises(
            ValueError, match=r"No worker has joined .*start some with `dask worker"
        ):
            next(run_cells(TINY, TINY.cells(), workers))


def test_a_scheduler_that_is_lost_ends_the_sweep_with_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    where = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    worker_command = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    scheduler = subprocess.Popen([*command, *where], **quiet)
    worker = subprocess.Popen([*worker_command, "--no-nanny", "--nthreads", "1"], **quiet)
    add_rows = records.add_rows

    def lose(*arguments):
        add_rows(*arguments)
        scheduler.kill()

    monkeypatch.setattr(records, "add_rows", lose)
    try:
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(lab.DataError, match="cluster does not answer any more"),
        ):
            records.record(tmp_path, backend="dask", address=address)
    finally:
        scheduler.kill()
        worker.kill()
    assert len(read_rows(TINY, tmp_path)) == 2


# Ray, where it is installed.


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_a_ray_worker_killed_in_the_middle_loses_nothing(ray, tmp_path, alone, monkeypatch):
    killed, add_rows = [], records.add_rows

    def kill_one(*arguments):
        if not killed:
            titles = psutil.process_iter(["cmdline"])
            at_work = [p for p in titles if p.info["cmdline"][:1] == ["ray::_run_cell"]]
            killed.append(at_work[0])
            at_work[0].kill()
        add_rows(*arguments)

    monkeypatch.setattr(records, "add_rows", kill_one)
    assert records.record(tmp_path, backend="ray") == len(alone)
    assert killed
    assert as_stored(recorded(tmp_path)) == as_stored(alone)
    assert ray.is_initialized()  # it was open, and still is
