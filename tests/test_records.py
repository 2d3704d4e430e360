"""Recording: made once, resumed after a stop, refused when altered, proved by the check."""

import json
import shutil
import signal
from dataclasses import replace

import pytest

import slmlab as lab
from slmlab.__main__ import main
from slmlab.engine import runs
from slmlab.study import records
from slmlab.study.experiments.grid import GRID
from slmlab.study.experiments.suspects import SUSPECTS
from slmlab.study.records import PhaseRecord
from slmlab.text.files import data_path

TINY_GRID = replace(
    GRID, widths=(8,), train_tokens=(300, 600), seeds=(0,), steps=4, eval_interval=2
)
TINY_SUSPECTS = replace(SUSPECTS, seeds=(0,), steps=2, eval_interval=2, padded_vocab=5000)
ENTRY = PhaseRecord(1, "right-sized", 0)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(records, "EXPERIMENTS", (TINY_GRID, TINY_SUSPECTS))
    monkeypatch.setattr(records, "PHASE_RECORDS", (ENTRY,))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with everything recorded. Tests must copy it before they change it."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "EXPERIMENTS", (TINY_GRID, TINY_SUSPECTS))
        patch.setattr(records, "PHASE_RECORDS", (ENTRY,))
        assert records.record(folder, backend="sequential") == 1 + 2 + 9
    return folder


@pytest.fixture
def folder(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "runs")


def test_what_is_recorded_passes_the_check_and_is_not_made_again(folder):
    assert records.check(folder) == []
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert records.record(folder, backend="sequential") == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_recorded_phase_has_samples_and_a_test_loss_at_every_evaluation(folder):
    run = lab.Run.load(folder / ENTRY.name)
    assert run.history["step"].tolist() == list(range(0, 501, 50))
    assert run.history["test_loss"].notna().all()
    assert len(run.samples) == 11 * len(lab.PROMPTS)


def test_a_stopped_experiment_goes_on_with_the_missing_cells_only(folder, monkeypatch):
    rows = records.read_experiment("grid", folder)
    stopped = rows[rows["train_tokens"] == 600]
    environment = json.loads((folder / "grid.json").read_text())["environments"]
    records._write_experiment(TINY_GRID, folder, stopped.to_dict("records"), environment)
    [problem] = records.check(folder)
    assert "1 of its 2 runs" in problem
    made = []
    run_cell = type(TINY_GRID).run_cell
    monkeypatch.setattr(
        type(TINY_GRID),
        "run_cell",
        lambda self, cell: made.append(cell) or run_cell(self, cell),
    )
    assert records.record(folder, ("grid",), backend="sequential") == 1
    assert made == [{"n_embd": 8, "train_tokens": 300, "seed": 0}]
    again = records.read_experiment("grid", folder)
    assert again.drop(columns="seconds").equals(rows.drop(columns="seconds"))
    assert records.check(folder) == []


def test_two_processes_make_the_same_rows_as_one(folder, tmp_path, monkeypatch):
    records.record(tmp_path / "two", ("grid",), jobs=2)
    ours = records.read_experiment("grid", tmp_path / "two").drop(columns="seconds")
    theirs = records.read_experiment("grid", folder).drop(columns="seconds")
    assert (ours - theirs).abs().max(axis=None) < 1e-4  # the number of threads may differ


def test_an_interrupted_phase_is_kept_and_resumed_exactly(tmp_path, folder, monkeypatch):
    take_samples = runs._take_samples

    def interrupt_at_100(run, *stop):
        take_samples(run, *stop)
        if run.state.step == 100:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(runs, "_take_samples", interrupt_at_100)
    with pytest.raises(KeyboardInterrupt):
        records.record(tmp_path / "new", ("phases",))
    assert [p.name for p in (tmp_path / "new").iterdir()] == [f".{ENTRY.name}.partial"]
    monkeypatch.setattr(runs, "_take_samples", take_samples)
    records.record(tmp_path / "new", ("phases",))
    assert [p.name for p in (tmp_path / "new").iterdir()] == [ENTRY.name]
    resumed, whole = (lab.Run.load(f / ENTRY.name) for f in (tmp_path / "new", folder))
    assert resumed.samples == whole.samples
    assert resumed.history["val_loss"].tolist() == whole.history["val_loss"].tolist()


def test_an_altered_table_is_refused(folder):
    path = folder / "suspects.csv"
    path.write_text(path.read_text().replace("held out", "leaked", 1))
    [problem] = records.check(folder)
    assert "suspects.csv has changed" in problem


def test_a_missing_table_is_named(folder):
    (folder / "grid.csv").unlink()
    [problem] = records.check(folder)
    assert "grid.csv cannot be read" in problem


def test_a_broken_settings_file_is_named(folder):
    (folder / "grid.json").write_text("{")
    [problem] = records.check(folder)
    assert "grid.json cannot be read" in problem


def test_a_loss_that_is_no_number_is_found(folder):
    rows = records.read_experiment("grid", folder)
    rows.loc[1, "val_loss"] = float("nan")
    records._write_experiment(TINY_GRID, folder, rows.to_dict("records"), [])
    assert any("not a number" in problem for problem in records.check(folder))


def test_an_experiment_with_other_settings_is_not_mixed_in(folder, monkeypatch):
    other = replace(TINY_GRID, learning_rate=0.5)
    monkeypatch.setattr(records, "EXPERIMENTS", (other, TINY_SUSPECTS))
    with pytest.raises(lab.DataError, match="other settings"):
        records.record(folder, ("grid",), backend="sequential")
    assert any("other settings" in problem for problem in records.check(folder))


def test_an_altered_phase_is_found(folder):
    path = folder / ENTRY.name / "history.csv"
    path.write_text(path.read_text().replace("1", "2", 1))
    [problem] = records.check(folder)
    assert "history.csv has changed" in problem


def test_a_run_of_another_seed_or_vocabulary_is_found(folder):
    run = lab.PHASES[1].run("right-sized", seed=3, progress=False, sample_each_evaluation=True)
    run.save(folder / ENTRY.name, keep="history")
    problems = "\n".join(records.check(folder))
    assert "seed 0" in problems
    assert "was not tested" in problems


def test_a_run_that_stopped_early_is_found(folder):
    run = lab.PHASES[1].run("right-sized", seconds=0.5, progress=False)
    run.save(folder / ENTRY.name, keep="history")
    problems = "\n".join(records.check(folder))
    assert "lacks samples" in problems
    assert "lacks evaluations" in problems


def test_the_command_line_records_and_checks(folder, capsys):
    assert main(["record", "grid", "--folder", str(folder)]) == 0
    assert "0 runs made" in capsys.readouterr().out
    assert main(["record", "--check", "--folder", str(folder)]) == 0
    assert "complete" in capsys.readouterr().out
    (folder / "grid.csv").unlink()
    assert main(["record", "--check", "--folder", str(folder)]) == 1
    assert "grid.csv" in capsys.readouterr().out


def test_an_unknown_thing_to_record_gets_a_sentence(tmp_path, capsys):
    assert main(["record", "everything", "--folder", str(tmp_path)]) == 1
    assert "Cannot record everything; there are phases, grid, suspects" in capsys.readouterr().err


def test_an_unknown_experiment_gets_a_sentence():
    with pytest.raises(ValueError, match="no experiment 'lattice'"):
        records.read_experiment("lattice")


def test_what_the_course_carries_is_complete(monkeypatch):
    monkeypatch.undo()
    assert records.check(data_path("runs")) == []
