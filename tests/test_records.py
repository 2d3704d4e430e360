"""Recording: made once, resumed after a stop, refused when altered, proved by the check."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

import slmlab as lab
from slmlab.__main__ import main
from slmlab.engine import runs, training
from slmlab.study import records
from slmlab.study.experiments import EXPERIMENTS, evaluations, suspects, tables
from slmlab.study.experiments.grid import GRID
from slmlab.study.experiments.suspects import SUSPECTS, Suspects
from slmlab.study.experiments.tables import read_rows, read_table, write_table
from slmlab.study.records import PhaseRecord
from slmlab.text.files import data_path, sha256

pytestmark = pytest.mark.slow

TINY_GRID = replace(
    GRID,
    rates=((8, (1e-3,)),),
    edges=(),
    train_tokens=(300, 600),
    seeds=(0,),
    base=GRID.base.replace(max_steps=4),
    first_look=3,
)


class FewSuspects(Suspects):
    """Rows without a token, no mask, and windows dealt at random."""

    def cells(self):
        return super().cells()[1::2]


TINY_SUSPECTS = FewSuspects(
    base=SUSPECTS.base.replace(max_steps=2, eval_interval=2), seeds=(0,), padded_vocab=5000
)


class ShortRecord(PhaseRecord):
    """A phase's record of 60 steps."""

    @property
    def phase(self):
        phase = super().phase
        return replace(phase, setup=phase.setup.replace(max_steps=60, eval_interval=20))


ENTRY = ShortRecord(1, "right-sized", 0)


def make_small(patch):
    """Two tiny experiments, one short phase, short samples."""
    patch.setattr(records, "EXPERIMENTS", (TINY_GRID, TINY_SUSPECTS))
    patch.setattr(records, "PHASE_RECORDS", (ENTRY,))
    take_sample = lab.Run.take_sample
    patch.setattr(lab.Run, "take_sample", lambda run, prompt: take_sample(run, prompt, 9))
    patch.setattr(suspects, "SAMPLE_TOKENS", 9)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    make_small(monkeypatch)


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C raises `KeyboardInterrupt`, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with everything recorded. Tests must copy it before they change it."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        assert records.record(folder, backend="sequential") == 1 + 2 + 3
    return folder


@pytest.fixture
def folder(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "runs")


def contents(folder):
    """All files of a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def without_last_cell(folder):
    """Take the last cell away from the grid, as if recording had stopped before it."""
    rows = read_rows(TINY_GRID, folder)
    made = json.loads((folder / "grid.json").read_text())
    write_table(TINY_GRID, folder, rows[:3], made["environments"])
    return rows


# What is recorded.


def test_what_is_recorded_passes_the_check_and_is_not_made_again(folder):
    assert records.problems_of(folder) == []
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert records.record(folder, backend="sequential") == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_recorded_phase_has_samples_and_a_test_loss_at_every_evaluation(folder):
    run = lab.Run.load(folder / ENTRY.name)
    assert run.history["step"].tolist() == [0, 20, 40, 60]
    assert run.history["test_loss"].notna().all()
    assert len(run.samples) == 4 * len(lab.PROMPTS)


def test_a_stopped_experiment_goes_on_with_the_missing_cells_only(folder, monkeypatch):
    rows = without_last_cell(folder)
    [problem] = records.problems_of(folder)
    assert "1 of its 2 runs" in problem
    made = []
    run_cell = type(TINY_GRID).run_cell
    monkeypatch.setattr(
        type(TINY_GRID),
        "run_cell",
        lambda self, cell: made.append(cell) or run_cell(self, cell),
    )
    assert records.record(folder, ("grid",), backend="sequential") == 1
    assert made == [TINY_GRID.cell(8, 1e-3, 300, 0)]
    again = read_rows(TINY_GRID, folder)
    assert [row | {"seconds": 0} for row in again] == [row | {"seconds": 0} for row in rows]
    assert records.problems_of(folder) == []


@pytest.mark.usefixtures("untrained")
def test_a_cell_without_all_its_evaluations_is_made_again(folder):
    rows = read_rows(TINY_GRID, folder)
    made = json.loads((folder / "grid.json").read_text())
    write_table(TINY_GRID, folder, rows[:5], made["environments"])
    [problem] = records.problems_of(folder)
    assert "1 of its 2 runs" in problem
    assert records.record(folder, "grid", backend="sequential") == 1
    assert records.problems_of(folder) == []


def test_going_on_changes_no_byte_of_the_rows_that_are_there(folder):
    rows = read_rows(TINY_SUSPECTS, folder)
    kept = [row for row in rows if row["suspect"] != rows[0]["suspect"]]
    write_table(TINY_SUSPECTS, folder, kept, [])
    header, there = (folder / "suspects.csv").read_bytes().split(b"\n", 1)
    records.record(folder, "suspects", backend="sequential")
    assert 0 < len(kept) < len(rows) == len(read_rows(TINY_SUSPECTS, folder))
    again = (folder / "suspects.csv").read_bytes()
    assert again.startswith(header) and again.endswith(there)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_the_stored_tables_are_written_as_they_were_read(experiment, tmp_path):
    write_table(experiment, tmp_path, read_rows(experiment), [])
    name = f"{experiment.name}.csv"
    assert (tmp_path / name).read_bytes() == data_path("runs", name).read_bytes()


# Stopped on the way.


def stop_after(monkeypatch, module, name, calls):
    """Send Ctrl-C when a function was called that often."""
    function, count = getattr(module, name), iter(range(1, 10_000))

    def stopping(*arguments, **options):
        result = function(*arguments, **options)
        if next(count) == calls:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(module, name, stopping)


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        (runs, "_take_samples", 3),  # after the samples of step 40
        (training, "_evaluate", 1),  # in an evaluation, before its samples
        (training, "_evaluate", 3),
        (training, "_evaluate", 4),  # in the last one
        (runs, "continuation", 19),  # in the middle of the samples
        (runs, "continuation", 30),  # of the last ones
        (training, "_step", 30),
    ],
)
def test_a_phase_stopped_at_any_moment_is_kept_and_resumed_exactly(
    tmp_path, folder, monkeypatch, module, name, calls
):
    new = tmp_path / "new"
    with monkeypatch.context() as patch:
        stop_after(patch, module, name, calls)
        with pytest.raises(KeyboardInterrupt):
            records.record(new, ("phases",))
    assert [p.name for p in new.iterdir()] == [f".{ENTRY.name}.partial"]
    assert records.record(new, ("phases",)) == 1
    assert [p.name for p in new.iterdir()] == [ENTRY.name]
    resumed, whole = (lab.Run.load(f / ENTRY.name) for f in (new, folder))
    assert resumed.samples == whole.samples
    assert resumed.history["val_loss"].tolist() == whole.history["val_loss"].tolist()
    shutil.copytree(new / ENTRY.name, folder / ENTRY.name, dirs_exist_ok=True)
    assert records.problems_of(folder) == []


def test_a_phase_stopped_twice_at_the_same_evaluation_still_gets_its_samples(
    tmp_path, folder, monkeypatch
):
    for stop in ((training, "_evaluate", 3), (runs, "continuation", 2)):
        with monkeypatch.context() as patch:
            stop_after(patch, *stop)
            with pytest.raises(KeyboardInterrupt):
                records.record(tmp_path / "new", ("phases",))
    records.record(tmp_path / "new", ("phases",))
    resumed, whole = (lab.Run.load(f / ENTRY.name) for f in (tmp_path / "new", folder))
    assert resumed.samples == whole.samples


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A folder with a run of a phase that was stopped on its way, and where that run waits."""
    new = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_after(patch, training, "_evaluate", 2)
        with pytest.raises(KeyboardInterrupt):
            records.record(new, ("phases",))
    return new, new / f".{ENTRY.name}.partial"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("background", [False, True])
def test_a_shut_down_or_a_closed_terminal_keeps_the_run_so_far(tmp_path, name, background):
    """Both signals come, and Ctrl-C is ignored where a shell starts it in the background."""
    ended = getattr(signal, name)
    before = [signal.getsignal(s) for s in (signal.SIGINT, ended)]
    evaluate, calls = training._evaluate, []

    def with_signals(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(ended)
            signal.raise_signal(ended)
        return evaluate(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_evaluate", with_signals)
        if background:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert main(["record", "phases", "--folder", str(tmp_path)]) == 1
    signal.signal(signal.SIGINT, before[0])
    run = lab.Run.load(tmp_path / f".{ENTRY.name}.partial")
    assert run.state.status == "interrupted" and len(run.state.history) == 2
    assert [signal.getsignal(s) for s in (signal.SIGINT, ended)] == before
    assert main(["record", "phases", "--folder", str(tmp_path)]) == 0
    assert lab.Run.load(tmp_path / ENTRY.name).state.status == "finished"


def test_a_signal_that_was_ignored_stays_so(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    train = records.PhaseRecord.train

    def trained(entry):
        signal.raise_signal(signal.SIGHUP)
        return train(entry)

    monkeypatch.setattr(records.PhaseRecord, "train", trained)
    assert main(["record", "phases", "--folder", str(tmp_path)]) == 0
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


def test_an_empty_folder_of_a_phases_name_is_no_record(tmp_path):
    (tmp_path / ENTRY.name).mkdir()
    (tmp_path / f".{ENTRY.name}.partial").mkdir()
    assert records.record(tmp_path, ("phases",)) == 1
    assert lab.Run.load(tmp_path / ENTRY.name).state.status == "finished"


def test_a_stopped_run_whose_save_was_cut_short_goes_on(stopped, monkeypatch):
    new, partial = stopped
    partial.rename(partial.with_name(f".{partial.name}.old"))
    monkeypatch.setattr(records.PhaseRecord, "train", None)  # not from the start
    assert records.record(new, ("phases",)) == 1


def test_a_stopped_run_that_could_not_be_saved_again_is_found_before_training(stopped, monkeypatch):
    new, partial = stopped
    elsewhere = partial.rename(new.parent / "elsewhere")
    partial.symlink_to(elsewhere)
    monkeypatch.setattr(lab.Run, "resume", None)
    with pytest.raises(lab.DataError, match="is a link, so it was left alone"):
        records.record(new, ("phases",))


def test_files_beside_a_stopped_run_are_the_users_own(stopped, monkeypatch):
    new, partial = stopped
    resume = lab.Run.resume

    def resumed(run, **options):
        (partial / "notes.txt").write_text("mine")
        return resume(run, **options)

    monkeypatch.setattr(lab.Run, "resume", resumed)
    assert records.record(new, ("phases",)) == 1
    assert (partial / "notes.txt").read_text() == "mine"


def test_a_finished_run_whose_place_was_taken_meanwhile_waits(tmp_path, monkeypatch):
    new, train = tmp_path / "new", records.PhaseRecord.train

    def trained(entry):
        (new / entry.name).mkdir()
        (new / entry.name / "notes.txt").write_text("mine")
        return train(entry)

    with monkeypatch.context() as patch:
        patch.setattr(records.PhaseRecord, "train", trained)
        with pytest.raises(lab.DataError, match="is not a saved run"):
            records.record(new, ("phases",))
    (new / ENTRY.name).rename(new / "mine")
    monkeypatch.setattr(records.PhaseRecord, "train", None)
    assert records.record(new, ("phases",)) == 1


@pytest.mark.parametrize("kind", ["text", "link", "pipe"])
def test_what_is_in_the_place_of_the_lock_is_left_alone(tmp_path, kind):
    lock, other = tmp_path / ".recording.lock", tmp_path / "thesis.txt"
    other.write_text("mine")
    {
        "text": lambda: lock.write_text("mine"),
        "link": lambda: lock.symlink_to(other),
        "pipe": lambda: os.mkfifo(lock),
    }[kind]()
    with pytest.raises(lab.DataError, match="in the place of this command's lock"):
        records.record(tmp_path, ("phases",))
    assert os.path.lexists(lock) and other.read_text() == "mine"
    assert kind == "pipe" or lock.read_text() == "mine"


def test_a_cell_stopped_in_this_process_is_not_recorded_by_half(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, evaluations, "losses", 5)  # in the second cell of three looks
        with pytest.raises(KeyboardInterrupt):
            records.record(tmp_path, ("grid",), backend="sequential")
    assert len(read_rows(TINY_GRID, tmp_path)) == 3
    assert records.record(tmp_path, ("grid",), backend="sequential") == 1
    assert len(read_rows(TINY_GRID, tmp_path)) == 6


class Killed(BaseException):
    """Stands for a process that dies: nothing after it is carried out."""


@pytest.fixture
def untrained(monkeypatch):
    """Cells that give rows without training: what happens to the rows is tested, not the rows."""

    def rows(self, cell):
        return [dict.fromkeys(self.columns, 0) | cell | {"step": s} for s in self.looks]

    monkeypatch.setattr(type(TINY_GRID), "run_cell", rows)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("writes", range(4))
@pytest.mark.parametrize("first", [True, False], ids=["the first rows", "more rows"])
def test_killed_between_two_writes_nothing_is_lost(folder, monkeypatch, writes, first):
    """A table is written as JSON, CSV, JSON; after each, what is there is read and added to."""
    if first:
        (folder / "grid.csv").unlink()
        (folder / "grid.json").unlink()
    else:
        without_last_cell(folder)
    before = 0 if first else 1
    write, done = tables.write_atomically, []

    def dies(path, content):
        if len(done) == writes:
            raise Killed
        done.append(path.name)
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "write_atomically", dies)
        with pytest.raises(Killed):
            records.record(folder, ("grid",), backend="sequential")
            raise Killed  # it came through
    assert done == ["grid.json", "grid.csv", "grid.json"][:writes] or writes == 3
    kept = before + (writes >= 2)
    if kept:
        assert len(read_table(TINY_GRID, folder)) == 3 * kept
    assert records.record(folder, ("grid",), backend="sequential") == 2 - kept
    assert records.problems_of(folder) == []
    assert kept == 2 or "sha256_before" not in json.loads((folder / "grid.json").read_text())


def test_a_process_killed_while_it_records_leaves_a_table_that_goes_on(tmp_path):
    """The same with a real SIGKILL, while a table of 200 cells is written row by row."""
    code = f"""
from dataclasses import replace
from slmlab.study.experiments.grid import GRID
from slmlab.study.experiments.tables import add_rows
from pathlib import Path
grid = replace(
    GRID, seeds=tuple(range(200)), rates=((8, (1e-3,)),), edges=(), train_tokens=(300,)
)
row = dict.fromkeys(grid.columns, 0)
for cell in grid.cells():
    add_rows(grid, Path({str(tmp_path)!r}), [row | cell | {{"step": s}} for s in grid.looks],
        {{}})
    print(flush=True)
"""
    grid = replace(
        GRID, seeds=tuple(range(200)), rates=((8, (1e-3,)),), edges=(), train_tokens=(300,)
    )
    for wait in (3, 7):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for _ in range(wait):
            process.stdout.readline()
        process.kill()
        process.communicate()
        rows = read_rows(grid, tmp_path)
        steps = len(grid.looks)
        assert len(rows) >= wait * steps and len(rows) % steps == 0
        assert len(tables.missing_cells(grid, tmp_path)) == 200 - len(rows) // steps


# What must not be added to.


def test_finished_rows_without_their_json_are_not_overwritten(folder):
    (folder / "grid.json").unlink()
    before = contents(folder)
    with pytest.raises(lab.DataError, match=r"grid\.csv has no grid\.json beside it"):
        records.record(folder, ("grid",), backend="sequential")
    assert contents(folder) == before


def test_an_altered_table_is_not_signed_anew_by_going_on(folder):
    without_last_cell(folder)
    path = folder / "grid.csv"
    path.write_bytes(path.read_bytes().replace(b"8,300,0", b"8,300,0"[:-1] + b"0", 1) + b"\n")
    before = contents(folder)
    with pytest.raises(lab.DataError, match=r"grid\.csv has changed since it was recorded"):
        records.record(folder, ("grid",), backend="sequential")
    assert contents(folder) == before


def test_a_table_that_is_replaced_while_it_is_read_is_read_again(folder, monkeypatch):
    table = (folder / "grid.csv").read_bytes()
    rows, content, reads = read_rows(TINY_GRID, folder), tables._content, []

    def replaced_once(path, *most):
        reads.append(path.name)
        found = content(path, *most)  # an older table, and then the JSON of the one after it
        return table[: len(table) // 2] if reads == ["grid.csv"] else found

    monkeypatch.setattr(tables, "_content", replaced_once)
    assert read_rows(TINY_GRID, folder) == rows
    assert reads == ["grid.csv", "grid.json"] * 2


@pytest.mark.usefixtures("untrained")
def test_a_table_that_is_altered_while_cells_run_is_not_signed_anew(folder, monkeypatch):
    without_last_cell(folder)
    run_cell = type(TINY_GRID).run_cell

    def alters(self, cell):
        (folder / "grid.csv").write_text("mine\n")
        return run_cell(self, cell)

    monkeypatch.setattr(type(TINY_GRID), "run_cell", alters)
    with pytest.raises(lab.DataError, match="has changed since it was recorded"):
        records.record(folder, ("grid",), backend="sequential")
    assert (folder / "grid.csv").read_text() == "mine\n"


def test_an_experiment_with_other_settings_is_not_mixed_in(folder, monkeypatch):
    other = replace(TINY_GRID, base=TINY_GRID.base.replace(learning_rate=0.5))
    monkeypatch.setattr(records, "EXPERIMENTS", (other, TINY_SUSPECTS))
    before = contents(folder)
    with pytest.raises(lab.DataError, match="other settings"):
        records.record(folder, ("grid",), backend="sequential")
    assert any("other settings" in problem for problem in records.problems_of(folder))
    assert contents(folder) == before


STRANGERS = {
    "words": "mine\n",
    "nothing": "",
    "bytes": b"\xff\x00",
    "a list": "[1]",
    "other names": '{"mine": 1}',
    "our names": '{"sha256": "mine", "environments": []}',
    "other texts": '{"sha256": "a", "environments": [], "corpus_sha256": "b", "settings": {}}',
}


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "a link"])
@pytest.mark.parametrize("content", STRANGERS.values(), ids=STRANGERS)
def test_anothers_json_in_the_place_of_ours_is_left_alone(tmp_path, monkeypatch, content, linked):
    new = tmp_path / "new"
    new.mkdir()
    path = tmp_path / "thesis.json" if linked else new / "grid.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if linked:
        (new / "grid.json").symlink_to(path)
    before = contents(tmp_path)
    monkeypatch.setattr(ShortRecord, "train", lambda self: pytest.fail("it was trained"))
    monkeypatch.setattr(type(TINY_GRID), "run_cell", None)
    for what in ((), ("grid",)):
        with pytest.raises(lab.DataError, match=r"grid\.json .*move .* away.*\.$"):
            records.record(new, what, backend="sequential")
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("untrained")
def test_anothers_json_that_appears_while_cells_run_is_left_alone(tmp_path, monkeypatch):
    run_cell = type(TINY_GRID).run_cell

    def appears(self, cell):
        (tmp_path / "grid.json").write_text(STRANGERS["our names"])
        return run_cell(self, cell)

    monkeypatch.setattr(type(TINY_GRID), "run_cell", appears)
    with pytest.raises(lab.DataError, match=r"grid\.json"):
        records.record(tmp_path, "grid", backend="sequential")
    assert contents(tmp_path) == {"grid.json": STRANGERS["our names"].encode()}


def test_what_cannot_be_added_to_is_found_before_anything_is_trained(folder, monkeypatch):
    shutil.rmtree(folder / ENTRY.name)
    (folder / "suspects.json").unlink()
    monkeypatch.setattr(ShortRecord, "train", lambda self: pytest.fail("it was trained"))
    with pytest.raises(lab.DataError, match=r"suspects\.json"):
        records.record(folder)


@pytest.mark.usefixtures("untrained")
def test_two_do_not_record_in_one_folder(folder, tmp_path):
    without_last_cell(folder)
    code = f"""
from pathlib import Path
from slmlab.study.records import _alone_in
with _alone_in(Path({str(folder)!r})):
    print("locked", flush=True)
    input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(lab.DataError, match="Something else is recording in"):
        records.record(folder, ("grid",), backend="sequential")
    other.kill()  # the lock ends with its process, though its file is still there
    other.communicate()
    assert (folder / ".recording.lock").exists()
    assert records.record(folder, ("grid",), backend="sequential") == 1
    assert not (folder / ".recording.lock").exists()


# What the check finds.


def test_an_altered_table_is_refused(folder):
    path = folder / "suspects.csv"
    path.write_text(path.read_text().replace("no mask", "no fault", 1))
    [problem] = records.problems_of(folder)
    assert "suspects.csv has changed" in problem


def test_a_missing_table_is_named(folder):
    (folder / "grid.csv").unlink()
    [problem] = records.problems_of(folder)
    assert "There is no" in problem and "grid.csv" in problem


def test_a_loss_that_is_no_number_is_found(folder):
    rows = read_rows(TINY_GRID, folder)
    rows[1]["val_loss"] = float("nan")
    write_table(TINY_GRID, folder, rows, [])
    [problem] = records.problems_of(folder)
    assert "not a number, at step 3" in problem


def test_an_altered_phase_is_found(folder):
    path = folder / ENTRY.name / "history.csv"
    path.write_text(path.read_text().replace("1", "2", 1))
    [problem] = records.problems_of(folder)
    assert "history.csv has changed" in problem


def test_a_run_of_another_seed_or_vocabulary_is_found(folder):
    run = ENTRY.phase.run("right-sized", seed=3, progress=False, sample_each_evaluation=True)
    run.save(folder / ENTRY.name, keep="history")
    problems = "\n".join(records.problems_of(folder))
    assert "seed 0" in problems
    assert "was not tested" in problems


def test_a_run_that_stopped_early_is_found(folder):
    run = ENTRY.phase.run("right-sized", seconds=0.2, progress=False)
    run.save(folder / ENTRY.name, keep="history")
    problems = "\n".join(records.problems_of(folder))
    assert "lacks samples" in problems
    assert "lacks evaluations" in problems


def test_a_run_on_another_text_is_found(folder, finished):
    finished.save(folder / ENTRY.name)
    problems = "\n".join(records.problems_of(folder))
    assert "is not the phase's model with the right-sized vocabulary" in problems


def test_what_the_course_carries_is_complete(monkeypatch):
    monkeypatch.undo()
    assert records.problems_of(data_path("runs")) == []


# The command line.


def test_the_command_line_records_and_checks(folder, capsys):
    assert main(["record", "grid", "--folder", str(folder)]) == 0
    assert "0 runs made" in capsys.readouterr().out
    assert main(["record", "--check", "--folder", str(folder)]) == 0
    assert "complete" in capsys.readouterr().out
    (folder / "grid.csv").unlink()
    assert main(["record", "--check", "--folder", str(folder)]) == 1
    assert "grid.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["everything"], "Cannot record everything; there are phases, grid, suspects."),
        (["grid", "--backend", "spark"], "backend is 'spark'; it must be one of loky,"),
        (["grid", "--jobs", "0"], "jobs is 0; it must be a whole number from 1 to 1,000."),
        (["grid", "--threads", "-2"], "threads is -2; it must be a whole number from 1 to 1,000."),
        (["grid", "--address", "tcp://here:1"], "The backend loky has no address"),
    ],
)
def test_bad_options_get_a_sentence(tmp_path, capsys, arguments, part):
    assert main(["record", *arguments, "--folder", str(tmp_path / "new")]) == 1
    assert part in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [["grid"], ["--check"]])
def test_an_empty_folder_is_not_the_working_folder(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "run_cells", None)
    assert main(["record", *arguments, "--folder", ""]) == 1
    assert "The path is ''; give the path" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nobody_reading_the_bar_costs_no_row(tmp_path, monkeypatch):
    class Closed:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr(sys, "stderr", Closed())
    assert records.record(tmp_path, "grid", backend="sequential") == 2
    monkeypatch.setattr(sys, "stderr", None)
    assert records.record(tmp_path / "more", "grid", backend="sequential") == 2


def test_the_hash_of_a_table_is_in_its_json(folder):
    made = json.loads((folder / "grid.json").read_text())
    assert made["sha256"] == sha256((folder / "grid.csv").read_bytes())
