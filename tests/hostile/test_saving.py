"""A save that is cut short anywhere leaves the old run or the new one, and nobody else's files."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import slmlab as lab
from slmlab import DataError, Run
from slmlab.engine import run_folder, storage
from slmlab.engine.config import TrainState
from slmlab.engine.training import fit

# What a save does to the file system, as Python's auditing tells it.
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"}


class Killed(BaseException):
    """What ends a save in the middle of it, without anybody catching it."""


WATCH = {"folder": None, "at": 0, "seen": 0, "act": None}


def _audit(event, arguments):
    if WATCH["folder"] is None or event not in EVENTS:
        return
    if not any(str(a).startswith(WATCH["folder"]) for a in arguments if isinstance(a, str | Path)):
        return
    WATCH["seen"] += 1
    if WATCH["seen"] == WATCH["at"]:
        WATCH["act"]()


sys.addaudithook(_audit)  # can never be removed, so it does nothing but where it is told


def events_of(folder, work, at=0, act=None):
    """Do the work, acting at its `at`-th event in the folder; how many events there were."""
    WATCH.update(folder=str(folder), at=at, seen=0, act=act)
    try:
        work()
    finally:
        WATCH["folder"] = None
    return WATCH["seen"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two different runs of a tiny model."""
    text = "the old potter mends a blue kettle by the river\n" * 30
    data = lab.Dataset.from_text(text, lab.train_bpe(text, 270))
    made = []
    for name in ("old", "new"):
        model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4))
        config = lab.TrainConfig(2, 1e-2, max_steps=3, seed=len(made))
        made.append(lab.train(model, data, config, prompts=["the"], name=name, progress=False))
    return made


def raise_killed():
    raise Killed


def raise_interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("act", [raise_killed, raise_interrupt], ids=["killed", "Ctrl-C"])
def test_a_save_cut_short_at_any_event_leaves_a_whole_run(runs, tmp_path, act):
    old, new = runs
    folder = tmp_path / "run"
    old.save(folder)
    n_events = events_of(tmp_path, lambda: new.save(folder))
    assert n_events > 20
    for at in range(1, n_events + 1):
        old.save(folder)
        with pytest.raises((Killed, KeyboardInterrupt)):
            events_of(tmp_path, lambda: new.save(folder), at, act)
        assert Run.load(folder).name in ("old", "new"), f"event {at}"
        new.save(folder)
        assert Run.load(folder).name == "new"
        assert os.listdir(tmp_path) == ["run"], f"litter after event {at}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_minus_9_at_any_event_leaves_a_whole_run(runs, tmp_path):
    old, new = runs
    folder = tmp_path / "run"
    old.save(folder)
    contents = storage.contents_of(new, "all")
    n_events = events_of(tmp_path, lambda: run_folder.write_run_folder(folder, contents))
    found = set()
    for at in range(1, n_events + 1):
        old.save(folder)
        child = os.fork()
        if child == 0:  # no Python code runs after the kill, so nothing is cleaned up
            events_of(
                tmp_path,
                lambda: run_folder.write_run_folder(folder, contents),
                at,
                lambda: os.kill(os.getpid(), signal.SIGKILL),
            )
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"event {at} was not reached"
        found.add(Run.load(folder).name)
        new.save(folder)
        assert Run.load(folder).name == "new"
        assert os.listdir(tmp_path) == ["run"], f"litter after event {at}"
    assert found == {"old", "new"}


@pytest.mark.parametrize("failing", [{1}, {2}, {2, 3}, {1, 2, 3}])
def test_renames_that_fail_one_after_the_other_lose_nothing(runs, tmp_path, monkeypatch, failing):
    old, new = runs
    folder = old.save(tmp_path / "run")
    rename, count = Path.replace, iter(range(1, 99))

    def sometimes(path, target):
        if next(count) in failing:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", sometimes)
    with pytest.raises(DataError, match="could not be saved"):
        new.save(folder)
    monkeypatch.undo()
    assert Run.load(folder).name == "old"
    assert Run.load(new.save(folder)).name == "new"
    assert os.listdir(tmp_path) == ["run"]


def a_fifo(path):
    os.mkfifo(path)


def a_device(path):
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


def a_block_device(path):
    os.mknod(path, 0o600 | 0o060000, os.makedev(7, 250))


def a_file(path):
    path.write_text("mine")


def a_link_to_a_folder(path):
    (path.parent / "mine").mkdir()
    (path.parent / "mine" / "essay.txt").write_text("mine")
    path.symlink_to(path.parent / "mine")


def a_link_to_nothing(path):
    path.symlink_to(path.parent / "nowhere")


def a_link_to_a_run(path):
    path.symlink_to(RUN_AT.save(path.parent / "linked"))


def own_files(*names, content="{}"):
    def make(path):
        path.mkdir()
        for name in names:
            (path / name).write_text(content)

    make.__name__ = f"a folder with {', '.join(names)} ({content!r})"
    return make


def a_run_and_a_file_of_mine(path):
    RUN_AT.save(path)
    (path / "notes.txt").write_text("mine")


def a_run_and_a_folder_of_mine(path):
    RUN_AT.save(path)
    (path / "plots").mkdir()


def a_run_that_i_changed(path):
    RUN_AT.save(path)
    (path / "history.csv").write_text("my own figures")


def a_run_without_its_hashes(path):
    RUN_AT.save(path)
    (path / "SHA256SUMS").unlink()


def a_run_whose_file_is_a_fifo(path):
    RUN_AT.save(path)
    (path / "samples.json").unlink()
    os.mkfifo(path / "samples.json")


OTHERS = [
    a_fifo,
    a_device,
    a_block_device,
    a_file,
    a_link_to_a_folder,
    a_link_to_nothing,
    a_link_to_a_run,
    own_files("run.json"),
    own_files("history.csv", content="a,b\n1,2\n"),
    own_files("run.json", "history.csv", "samples.json"),
    own_files("SHA256SUMS", content=""),
    own_files("SHA256SUMS", "run.json", content=""),
    own_files("tokenizer.json", "dataset.safetensors", "best.safetensors"),
    own_files("essay.txt"),
    own_files(".hidden"),
    a_run_and_a_file_of_mine,
    a_run_and_a_folder_of_mine,
    a_run_that_i_changed,
    a_run_without_its_hashes,
    a_run_whose_file_is_a_fifo,
]
RUN_AT = None  # a run for the cases above


def tree(folder):
    """Everything below a folder: kinds, names, links and texts."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else None
        if content is None and path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (mode, content)
    return found


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("keep", ["all", "best"])
def test_what_is_not_a_run_of_ours_is_never_replaced(runs, tmp_path, make, keep):
    global RUN_AT
    old, RUN_AT = runs
    folder = tmp_path / "place"
    try:
        make(folder)
    except PermissionError:
        pytest.skip("only root makes devices")
    before = tree(tmp_path)
    with pytest.raises(DataError, match="left alone; choose another"):
        run_folder.check_target(folder)
    with pytest.raises(DataError, match="left alone; choose another"):
        old.save(folder, keep=keep)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "path",
    ["", " ", ".", "..", "a/..", "/", "run\0", "\ud800", 3, None, b"run", "x" * 300, "y" * 250],
)
def test_a_path_that_names_no_folder_gets_a_sentence(runs, tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for work in (runs[0].save, Run.load, run_folder.check_target):
        with pytest.raises(DataError) as told:
            work(path)
        assert str(told.value).endswith(".") and "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_home_is_home_when_saving_and_when_loading(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    runs[0].save("~/run")
    assert (tmp_path / "home" / "run" / "run.json").is_file()
    assert Run.load("~/run").name == "old"
    assert os.listdir(tmp_path) == ["home"]


def test_a_save_while_another_thread_trains_is_of_one_step(runs, tmp_path):
    data = runs[0].dataset
    shape = lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4)
    config = lab.TrainConfig(2, 1e-2, max_steps=200, eval_interval=50)
    whole = lab.train(lab.GPT(shape), data, config, progress=False)
    run = Run(lab.GPT(shape), data, config, TrainState())
    thread = threading.Thread(target=lambda: list(fit(run.model, data, config, run.state)))
    thread.start()
    saved = []
    while thread.is_alive() and len(saved) < 8:
        if run.state.optimizer is not None and run.state.best_weights:
            saved.append(run.save(tmp_path / f"run-{len(saved)}"))
    thread.join()
    assert len({Run.load(folder).state.step for folder in saved}) > 2
    for folder in saved[:: max(1, len(saved) // 4)]:
        resumed = Run.load(folder).resume(progress=False)
        assert all(
            torch.equal(a, b)
            for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
        )
        assert [now.val_loss for now in resumed.state.history] == [
            now.val_loss for now in whole.state.history
        ]


def test_two_programs_that_save_to_one_folder_leave_a_whole_run(runs, tmp_path):
    folder = runs[0].save(tmp_path / "run")
    code = (
        "import sys, slmlab as lab\n"
        "run = lab.Run.load(sys.argv[1])\n"
        "for i in range(5):\n"
        "    run.name = f'{sys.argv[2]}-{i}'\n"
        "    run.save(sys.argv[1])\n"
    )
    programs = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), name]) for name in ("a", "b")
    ]
    while any(program.poll() is None for program in programs):
        assert Run.load(folder).name
    assert [program.returncode for program in programs] == [0, 0]
    assert Run.load(folder).name in ("a-4", "b-4")
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_a_run_comes_back_in_its_precision(runs, tmp_path, dtype):
    data = runs[0].dataset
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4)).to(dtype)
    run = lab.train(model, data, lab.TrainConfig(2, 1e-2, max_steps=3), progress=False)
    loaded = Run.load(run.save(tmp_path / "run"))
    assert {p.dtype for p in loaded.model.parameters()} == {dtype}
    assert loaded.sample("the") == run.sample("the")
    longer = replace(run.config, max_steps=5)
    again, there = run.resume(longer, progress=False), loaded.resume(longer, progress=False)
    assert again.state.history[-1].val_loss == there.state.history[-1].val_loss


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": 3}, "name is 3"),
        ({"name": None}, "name is None"),
        ({"environment": {"when": object()}}, "something that JSON cannot"),
        ({"environment": {1: {2}}}, "something that JSON cannot"),
        ({"prompts": (b"the",)}, "something that JSON cannot"),
    ],
)
def test_what_no_file_can_hold_is_told_before_anything_is_written(runs, tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(runs[0], **change).save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


class Broken:
    """A stream that fails in one way."""

    def __init__(self, error):
        self.error, self.encoding = error, "ascii"

    def write(self, _):
        raise self.error

    def flush(self):
        raise self.error

    def isatty(self):
        return False


STREAMS = {
    "a full disk": OSError(28, "No space left on device"),
    "a closed pipe": BrokenPipeError(32, "Broken pipe"),
    "a closed file": ValueError("I/O operation on closed file"),
    "a poor terminal": UnicodeEncodeError("ascii", "·", 0, 1, "ordinal not in range"),
}


@pytest.mark.parametrize("kind", [*STREAMS, "none"])
def test_a_bar_that_cannot_be_shown_costs_no_training(runs, monkeypatch, kind):
    monkeypatch.setattr(sys, "stderr", Broken(STREAMS[kind]) if kind in STREAMS else None)
    data = runs[0].dataset
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4))
    run = lab.train(model, data, lab.TrainConfig(2, 1e-2, max_steps=3), prompts=["the"])
    assert run.state.step == 3
    assert len(run.samples) == 1


def test_samples_that_fail_cost_no_training(runs, monkeypatch, tmp_path):
    data = runs[0].dataset
    n_vocab = data.tokenizer.n_vocab
    monkeypatch.setattr(
        "slmlab.engine.runs.continuation", lambda *_: (_ for _ in ()).throw(MemoryError("full"))
    )
    with pytest.warns(UserWarning, match="No sample was taken after 'the': full"):
        run = lab.train(
            lab.GPT(lab.GPTConfig(n_vocab, 8, 1, 1, 4)),
            data,
            lab.TrainConfig(2, 1e-2, max_steps=3),
            prompts=["the"],
            progress=False,
        )
    assert (run.state.step, run.samples) == (3, [])
    assert Run.load(run.save(tmp_path / "run")).state.step == 3


@pytest.mark.parametrize("extra_rows", [1, 40])
def test_rows_without_a_token_cost_no_training(runs, tmp_path, extra_rows):
    """A padded vocabulary: the model may write ids that its tokenizer does not know."""
    data = runs[0].dataset
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab + extra_rows, 8, 1, 1, 4))
    with torch.no_grad():
        model.wte.weight[-extra_rows:] *= 100
    config = lab.TrainConfig(2, 1e-9, max_steps=2)
    run = lab.train(model, data, config, prompts=["the"], progress=False)
    loaded = Run.load(run.save(tmp_path / "run"))
    assert len(lab.scorecard(loaded)) == 1
    assert max(loaded.samples[0]["ids"]) < model.config.vocab_size


@pytest.mark.parametrize("prompt", ["", None, 3])
def test_a_prompt_that_cannot_be_continued_costs_its_sample_only(runs, prompt):
    data = runs[0].dataset
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4))
    config = lab.TrainConfig(2, 1e-2, max_steps=2)
    with pytest.warns(UserWarning, match="No sample was taken"):
        run = lab.train(model, data, config, prompts=["the", prompt], progress=False)
    assert [s["prompt"] for s in run.samples] == ["the"]


def test_a_callback_that_fails_costs_no_training(runs):
    data, calls = runs[0].dataset, []

    def fail(*_):
        calls.append(1)
        raise ZeroDivisionError("mine")

    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4))
    config = lab.TrainConfig(2, 1e-2, max_steps=3)
    with pytest.warns(
        UserWarning, match="on_step failed and is not called again: ZeroDivisionError"
    ):
        run = lab.train(model, data, config, on_step=fail, progress=False)
    assert (run.state.step, len(calls)) == (3, 1)


@pytest.mark.parametrize(
    "change",
    [{"device": "banana"}, {"max_steps": 9, "device": "cuda:77"}, {"seconds": 5, "device": "x"}],
)
def test_a_refused_resume_changes_nothing(runs, tmp_path, change):
    run = Run.load(runs[0].save(tmp_path / "run"))
    before = (run.config, run.state.planned_steps, run.state.status)
    settings = {"max_steps": None} | change if "seconds" in change else change
    with pytest.raises(ValueError, match="no device"):
        run.resume(replace(run.config, **settings), progress=False)
    assert (run.config, run.state.planned_steps, run.state.status) == before
    assert run.resume(replace(run.config, max_steps=4), progress=False).state.step == 4
