"""Full disks, signals that follow each other, warnings made errors: what was trained is kept."""

import shutil
import signal
import sys
import warnings
from itertools import count
from pathlib import Path

import pytest
import torch

import slmlab as lab
from slmlab import __main__ as command_line
from slmlab.__main__ import main
from slmlab.engine import console, optimizer, rescue, runs, training
from slmlab.engine.config import TrainState
from slmlab.study import records
from slmlab.text import corpus
from slmlab.text.files import data_path, sha256

SETUP = (
    "phase-2 n_layer=1 n_head=1 n_embd=8 block_size=8 n_tokens=400 batch_size=2 "
    "vocabulary=bpe-300 max_steps="
)


@pytest.fixture(scope="module")
def corpus_run():
    return lab.Setup.parse(f"{SETUP}2").train(progress=False)


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A disk, in all of whose places no run fits but with less of it; and what was tried there."""
    save, tried = lab.Run.save, []
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def fits(most, run, folder, keep, **_):
        tried.append((keep, Path(folder).parent.parent))
        if keep != most:
            raise lab.DataError("No space.") from OSError(28, "No space left on device")
        return save(run, folder, keep)

    def hold(most):
        monkeypatch.setattr(lab.Run, "save", lambda run, *a, **k: fits(most, run, *a, **k))
        return tried

    return hold


@pytest.mark.parametrize("most", ["best", "history"])
def test_where_no_place_has_space_less_of_a_run_is_kept(corpus_run, small_disk, tmp_path, most):
    small_disk(most)
    told = []
    saved = rescue.save_or_rescue(corpus_run, tmp_path / "asked", "all", told.append)
    assert lab.Run.load(saved).has_weights == (most == "best")
    assert told == [
        f"The run could not be saved to {tmp_path / 'asked'} (No space left on device). It was "
        f'saved to {saved} instead, with keep="{most}".'
    ]
    assert {path.name for path in tmp_path.iterdir()} == {saved.parent.name}


def test_a_run_that_fits_nowhere_is_told_as_lost(corpus_run, small_disk, tmp_path):
    tried = small_disk(None)
    with pytest.raises(lab.DataError) as told:
        rescue.save_or_rescue(corpus_run, tmp_path / "asked", "best", pytest.fail)
    assert str(told.value) == (
        f"The run could not be saved to {tmp_path / 'asked'} (No space left on device), nor to a "
        "temporary folder, your home folder, the working folder. It is lost when Python ends; "
        "until then this error has it as its attribute run."
    )
    assert told.value.run is corpus_run and not list(tmp_path.iterdir())
    assert [keep for keep, _ in tried] == ["best"] * 4 + ["history"] * 3


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C raises `KeyboardInterrupt`, also where the tests run in the background."""
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def interrupted(tmp_path, monkeypatch, capsys):
    """The run that a command has saved after signals in its 30th step, and its exit status."""
    step = training._step

    def command(signals, *options):
        def with_signals(*arguments):
            if arguments[-1].step == 29:
                for number in signals:
                    signal.raise_signal(getattr(signal, number))
            return step(*arguments)

        monkeypatch.setattr(training, "_step", with_signals)
        status = main(["run", f"{SETUP}60", "--out", str(tmp_path / "run"), *options])
        return lab.Run.load(tmp_path / "run"), status, capsys.readouterr()

    return command


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize(
    "signals",
    [["SIGINT", "SIGHUP"], ["SIGTERM", "SIGINT"], ["SIGTERM", "SIGHUP"], ["SIGHUP", "SIGINT"]],
)
def test_another_signal_is_no_second_ctrl_c(interrupted, signals):
    run, status, _ = interrupted(signals)
    assert (run.state.status, run.state.step, status) == ("interrupted", 30, 0)
    assert run.resume(progress=False).state.step == 60


@pytest.mark.parametrize("options", [[], ["--keep", "history"]])
def test_a_run_that_was_cut_short_by_two_signals_is_kept(interrupted, options):
    run, status, told = interrupted(["SIGINT", "SIGINT"], *options)
    assert (run.state.status, run.state.step, status) == ("interrupted", 29, 130)
    assert run.has_weights == (not options)
    assert f'with keep="{options[-1] if options else "best"}"' in told.out


def pressing(monkeypatch, owner, name, times):
    """Press Ctrl-C so often before a function does its work, and as often after it."""
    function = getattr(owner, name)

    def pressed(*arguments, **options):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        result = function(*arguments, **options)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(owner, name, pressed)


@pytest.mark.parametrize(
    ("owner", "name"), [(lab.Run, "save"), (runs, "attach_run"), (console.Bar, "__exit__")]
)
@pytest.mark.parametrize("times", [1, 2, 9])
def test_any_number_of_ctrl_cs_keeps_the_run(interrupted, monkeypatch, owner, name, times):
    pressing(monkeypatch, owner, name, times)
    run, status, told = interrupted(["SIGINT", "SIGINT"])
    assert (run.state.status, run.state.step, status) == ("interrupted", 29, 130)
    assert 'with keep="best"' in told.out
    assert told.err.count("Saving; please wait.") == 1


@pytest.mark.parametrize("times", [1, 9])
def test_any_number_of_ctrl_cs_keeps_a_finished_run(interrupted, monkeypatch, times):
    pressing(monkeypatch, lab.Run, "save", times)
    run, status, told = interrupted([])
    assert (run.state.status, run.state.step, status) == ("finished", 60, 0)
    assert "Saved to" in told.out and told.err.count("Saving; please wait.") == 1


def test_ctrl_c_while_it_reports_comes_after_the_place(interrupted, monkeypatch):
    pressing(monkeypatch, command_line, "report", 1)
    run, status, told = interrupted([])
    assert (run.state.status, status) == ("finished", 130)
    assert "Saved to" in told.out and "Stopped." in told.err


def test_ctrl_c_before_the_training_does_not_wait(interrupted, monkeypatch, capsys):
    pressing(monkeypatch, lab.Setup, "model", 1)
    with pytest.raises(lab.DataError, match="There is no run"):
        interrupted([])
    assert "Stopped." in capsys.readouterr().err


def test_a_third_ctrl_c_does_not_cost_what_a_notebook_gets(monkeypatch):
    pressing(monkeypatch, runs, "attach_run", 3)
    pressing(monkeypatch, training, "_step", 2)
    with pytest.raises(KeyboardInterrupt) as told:
        lab.Setup.parse(f"{SETUP}5").train(progress=False)
    assert told.value.run.state.history


@pytest.mark.parametrize("times", [1, 2, 3, 20])
def test_a_phase_is_kept_whole_however_often_ctrl_c_is_pressed(times, tmp_path, monkeypatch):
    entry = records.PhaseRecord(0, "bpe-300", 0)
    setup = lab.Setup.parse(f"{SETUP}20")
    monkeypatch.setattr(records, "PHASE_RECORDS", (entry,))
    monkeypatch.setattr(records.PhaseRecord, "setup", setup)
    monkeypatch.setattr(records.PhaseRecord, "train", lambda entry: setup.train(progress=False))
    command = ["record", "phases", "--folder", str(tmp_path)]
    with monkeypatch.context() as patch:
        pressing(patch, training, "_step", times)
        pressing(patch, lab.Run, "save", times)
        assert main(command) == 1
    stopped = lab.Run.load(tmp_path / f".{entry.name}.partial")
    assert (stopped.state.status, stopped.state.step) == ("interrupted", 1)
    with monkeypatch.context() as patch:
        pressing(patch, lab.Run, "save", times)
        assert main(command) == 1  # it stops, and what was finished is saved
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]
    assert main(command) == 0


@pytest.mark.parametrize("error", [MemoryError("full"), RuntimeError("not enough memory")])
def test_a_full_memory_in_the_middle_costs_no_run(tmp_path, monkeypatch, capsys, error):
    step = training._step

    def full(*arguments):
        if arguments[-1].step == 29:
            raise error
        return step(*arguments)

    monkeypatch.setattr(training, "_step", full)
    with pytest.raises(type(error)):
        main(["run", f"{SETUP}60", "--out", str(tmp_path / "run")])
    assert lab.Run.load(tmp_path / "run").state.step == 29
    assert 'with keep="best"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("owner", "name", "call", "kept"),
    [
        (lab.Dataset, "batch", 15, True),
        (torch.nn.utils, "clip_grad_norm_", 15, True),
        (optimizer, "adamw", 30, False),  # of two calls in a step the second
        (training, "_evaluate", 3, False),
    ],
)
def test_an_error_costs_a_phase_no_run_that_can_go_on_exactly(
    tmp_path, monkeypatch, owner, name, call, kept
):
    entry, setup = records.PhaseRecord(0, "bpe-300", 0), lab.Setup.parse(f"{SETUP}20 seed=0")
    monkeypatch.setattr(records, "PHASE_RECORDS", (entry,))
    monkeypatch.setattr(records.PhaseRecord, "setup", setup)
    monkeypatch.setattr(records.PhaseRecord, "train", lambda entry: setup.train(progress=False))
    function, calls = getattr(owner, name), iter(range(1, 10_000))

    def full(*arguments, **options):
        if next(calls) == call:
            raise MemoryError("full")
        return function(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(MemoryError):
            records.record(tmp_path, "phases")
    assert [path.name for path in tmp_path.iterdir()] == [f".{entry.name}.partial"] * kept
    assert records.record(tmp_path, "phases") == 1
    resumed, whole = lab.Run.load(tmp_path / entry.name), setup.train(progress=False)
    assert resumed.history["val_loss"].tolist() == whole.history["val_loss"].tolist()


@pytest.fixture
def errors_for_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_warning_made_an_error_costs_no_run_that_diverged(tmp_path, errors_for_warnings):
    setup = f"{SETUP}50 learning_rate=1e30"
    assert main(["run", setup, "--out", str(tmp_path / "run")]) == 0
    assert lab.Run.load(tmp_path / "run").state.status == "diverged"


def test_a_warning_made_an_error_costs_no_weights(corpus_run, tmp_path, errors_for_warnings):
    spoilt = lab.Run.load(corpus_run.save(tmp_path / "whole"))
    next(spoilt.model.parameters()).data.fill_(float("nan"))
    assert lab.Run.load(spoilt.save(tmp_path / "run")).has_weights


@pytest.mark.parametrize("parts", [1, 2])
def test_a_ctrl_c_while_the_best_weights_are_kept_parts_nothing(corpus_run, parts):
    """At each line, there are the old weights with the old loss and step, or the new with theirs.

    A second evaluation used to be copied over the first.
    """
    model, data = corpus_run.model, corpus_run.dataset
    own = {name: torch.full_like(weight, 7) for name, weight in model.state_dict().items()}
    for number in count(1):
        state = TrainState(step=9, best_step=7, best_val_loss=99.0)
        state.best_weights = {k: w.clone() for k, w in own.items()} if parts == 2 else {}
        lines = iter(range(1, 10_000))

        def trace(frame, event, _, lines=lines, number=number):
            if frame.f_code.co_filename != training.__file__:
                return None
            if event == "line" and next(lines) == number:
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            training._evaluate(model, data, state)
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        kept = state.best_weights
        if state.best_step == 7:
            assert state.best_val_loss == 99.0 and kept.keys() == (own.keys() if kept else set())
            assert all((weight == 7).all() for weight in kept.values())
        else:
            assert state.best_val_loss < 99.0
            assert all(torch.equal(w, kept[name]) for name, w in model.state_dict().items())
    assert number > 5 and state.best_step == 9


@pytest.mark.parametrize("keep", ["all", "best"])
def test_weights_that_were_not_kept_are_not_made_up(tmp_path, keep):
    history = lab.PHASES[2].recorded("right-sized", 0)
    with pytest.raises(ValueError, match=r'kept without its weights; .* keep="history"'):
        history.save(tmp_path / "run", keep)
    assert not (tmp_path / "run").exists()
    again = lab.Run.load(history.save(tmp_path / "run", "history"))
    assert again.history.equals(history.history) and not again.has_weights


def trained(changes, *options):
    """Train by the command line; its exit status."""
    given = {change.split("=")[0] for change in changes.split()}
    kept = [word for word in f"{SETUP}60".split() if word.split("=")[0] not in given]
    return main(["run", " ".join([*kept, changes]), *options])


@pytest.fixture
def rescued(tmp_path, monkeypatch):
    """Gives the run that was saved elsewhere."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda: lab.Run.load(next(tmp_path.glob("slmlab-*/run")))


@pytest.mark.parametrize("holds", ["nothing", "a run"])
def test_a_run_that_came_meanwhile_is_not_replaced(
    tmp_path, monkeypatch, rescued, capsys, corpus_run, holds
):
    out, train = tmp_path / "run", lab.Setup.train
    if holds == "a run":
        trained("seed=2", "--out", str(out))

    def meanwhile(*arguments, **options):
        corpus_run.save(out)
        return train(*arguments, **options)

    monkeypatch.setattr(lab.Setup, "train", meanwhile)
    assert trained("seed=3", "--out", str(out)) == 1
    assert "holds another run by now" in capsys.readouterr().err
    assert lab.Run.load(out).state.step == corpus_run.state.step
    assert (rescued().config.seed, rescued().state.status) == (3, "finished")


def stopping(monkeypatch, times):
    """Press Ctrl-C so often in a step."""
    step = training._step

    def pressed(*arguments):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(training, "_step", pressed)


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_was_stopped_replaces_none_that_came_to_its_end(
    tmp_path, monkeypatch, rescued, capsys, times
):
    out = tmp_path / "run"
    trained("seed=1", "--out", str(out))
    with monkeypatch.context() as patch:
        stopping(patch, times)
        assert trained("seed=2", "--out", str(out)) == (1 if times == 1 else 130)
    assert "came to its end, which this one did not" in capsys.readouterr().err
    assert lab.Run.load(out).config.seed == 1
    assert (rescued().config.seed, rescued().state.status) == (2, "interrupted")
    trained("seed=3", "--out", str(out))
    assert lab.Run.load(out).config.seed == 3


@pytest.mark.parametrize(
    ("changes", "at", "why"),
    [
        ("seed=1", 2, "got at least as far"),
        ("seed=1", 5, "got at least as far"),
        ("seed=2", 9, "another set-up"),
        ("seed=1 n_embd=16", 9, "another set-up"),
        ("seed=1 n_tokens=500", 9, "another set-up"),
        ("seed=1", 9, None),
    ],
)
def test_a_run_that_was_stopped_replaces_only_less_of_the_same_training(
    tmp_path, monkeypatch, rescued, capsys, changes, at, why
):
    def stopped_at(number, changes):
        step, steps = training._step, count(1)
        with monkeypatch.context() as patch:

            def pressed(*arguments):
                if next(steps) == number:
                    signal.raise_signal(signal.SIGINT)
                return step(*arguments)

            patch.setattr(training, "_step", pressed)
            return trained(changes, "--out", str(tmp_path / "run"))

    assert stopped_at(5, "seed=1") == 0
    assert stopped_at(at, changes) == (0 if why is None else 1)
    assert lab.Run.load(tmp_path / "run").state.step == (9 if why is None else 5)
    if why is not None:
        assert why in capsys.readouterr().err
        assert rescued().state.step == at
    trained("seed=3", "--out", str(tmp_path / "run"))
    assert lab.Run.load(tmp_path / "run").state.status == "finished"


@pytest.fixture
def phase(tmp_path, monkeypatch):
    """A short phase to record, and what changes the corpus, or puts it back."""
    entry, setup = records.PhaseRecord(0, "bpe-300", 0), lab.Setup.parse(f"{SETUP}20 seed=0")
    monkeypatch.setattr(records, "PHASE_RECORDS", (entry,))
    monkeypatch.setattr(records.PhaseRecord, "setup", setup)
    monkeypatch.setattr(records.PhaseRecord, "train", lambda entry: setup.train(progress=False))
    changed = shutil.copytree(data_path("corpus"), tmp_path / "data" / "corpus")
    first = min(changed.glob("*.py"))
    sums = (changed / "SHA256SUMS").read_text()
    first.write_text(new := "# changed\n" + first.read_text())
    digest = sha256(data_path("corpus", first.name).read_bytes())
    (changed / "SHA256SUMS").write_text(sums.replace(digest, sha256(new.encode())))

    def change(to):
        folder = changed if to == "new" else data_path("corpus")
        whole = data_path
        monkeypatch.setattr(
            corpus, "data_path", lambda *p: folder if p == ("corpus",) else whole(*p)
        )

    return entry, change


def test_a_phase_whose_text_changed_meanwhile_waits(tmp_path, monkeypatch, capsys, phase):
    entry, change = phase
    command, step = ["record", "phases", "--folder", str(tmp_path / "runs")], training._step
    monkeypatch.setattr(training, "_step", lambda *a: change("new") or step(*a))
    assert main(command) == 1
    told = capsys.readouterr().err
    partial = tmp_path / "runs" / f".{entry.name}.partial"
    assert f"corpus has changed meanwhile. {entry.name} is finished, and waits in {partial}" in told
    monkeypatch.setattr(records.PhaseRecord, "train", None)
    assert main(command) == 1
    assert "was not trained on the corpus as it is now" in capsys.readouterr().err
    assert lab.Run.load(partial).state.step == 20
    change("old")
    assert main(command) == 0
    assert lab.Run.load(tmp_path / "runs" / entry.name).state.step == 20


@pytest.mark.parametrize("harm", ["another corpus", "an altered file"])
def test_a_phase_that_cannot_be_read_is_told_before_another_is_trained(
    tmp_path, monkeypatch, capsys, phase, harm
):
    entry, change = phase
    command = ["record", "phases", "--folder", str(tmp_path / "runs")]
    assert main(command) == 0
    if harm == "another corpus":
        change("new")
    else:
        (tmp_path / "runs" / entry.name / "samples.json").write_text("[]")
    other = records.PhaseRecord(1, "bpe-300", 0)
    monkeypatch.setattr(records, "PHASE_RECORDS", (other, entry))
    monkeypatch.setattr(records.PhaseRecord, "train", None)
    assert main(command) == 1
    assert f"Move {tmp_path / 'runs' / entry.name} away" in capsys.readouterr().err
