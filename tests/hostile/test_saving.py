"""A save that is cut short anywhere leaves the old run or the new one, and nobody else's files."""

import errno
import io
import os
import re
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import slmlab as lab
from slmlab import DataError, Run
from slmlab.engine import folder_lock, run_files, run_folder, run_parsing, storage
from slmlab.engine.config import TrainState
from slmlab.engine.training import fit
from slmlab.text.files import sha256

CONFIG = lab.TrainConfig(2, 1e-2, max_steps=3)
pytestmark = pytest.mark.usefixtures("quick_tokenizers")
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def data():
    text = "the old potter mends a blue kettle by the river\n" * 30
    return lab.Dataset.from_text(text, lab.train_bpe(text, 270))


@pytest.fixture(scope="module")
def model(data):
    """Makes a tiny model: `model()`, or `model(seed=1)`."""
    shape = lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4)
    return lambda seed=0: lab.GPT(shape, seed)


@pytest.fixture(scope="module")
def trained(data, model):
    """Trains a tiny model: `trained("name")`, or with other options of `train`."""

    def train(name="run", config=CONFIG, **options):
        options = {"prompts": ["the"], "progress": False} | options
        return lab.train(model(), data, config, name=name, **options)

    return train


@pytest.fixture(scope="module")
def runs(trained):
    """Two different runs of a tiny model. Tests must leave them as they are."""
    return trained("old"), trained("new", replace(CONFIG, seed=1))


@pytest.fixture
def no_waiting(monkeypatch):
    """Without waiting for the disk, which no kill of a process loses anything of."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


# Cut short at every line


def at_line(number, act, work):
    """Do the work, acting before the `number`-th line of `run_folder`; how many lines there were.

    Each line makes one call to the file system at most.
    """
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename != run_folder.__file__:
            return None
        if event == "line":
            count += 1
            if count == number:
                act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def press_ctrl_c():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted(number, work):
    with pytest.raises(KeyboardInterrupt):
        at_line(number, press_ctrl_c, work)


def killed(number, work):
    child = os.fork()
    if child == 0:  # no Python code runs after the kill, so nothing is cleaned up
        at_line(number, kill, work)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"line {number} was not reached"


class Dead(BaseException):
    """What ends everything."""


def dead(number, work):
    """Like `killed`, but in this process: from that line on nothing can be changed any more."""

    def die(*_, **__):
        for name in ("mkdir", "open", "replace", "unlink", "rmdir"):
            patch.setattr(Path, name, die)
        raise Dead

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Dead):
        at_line(number, die, work)


def history_of(run):
    """The fewest files that are a whole run: saving is the same for more of them."""
    contents = storage.contents_of(run, "best")
    return {name: contents[name] for name in run_files.HISTORY}


def name_of_whole(folder, contents):
    """Which of the runs is read from a folder, to the byte. `DataError` if none is."""
    with run_folder.opened_run_folder(folder) as files:
        found = {name: files.read(name) for name in files.sums}
    [name] = [name for name, whole in contents.items() if whole == found]
    return name


def nothing():
    """Lets a save go on."""


def failing_renames(*failing):
    """A `Path.replace` that fails at some of its calls, counted from 1."""
    rename, calls = Path.replace, iter(range(1, 10_000))

    def replace_path(path, target):
        if next(calls) in failing:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    return replace_path


@pytest.mark.parametrize(
    ("cut_short", "failing"),
    [
        pytest.param(killed, (), marks=FORK),
        (interrupted, ()),
        (interrupted, (2,)),
        (interrupted, (2, 3)),
    ],
    ids=["killed", "Ctrl-C", "Ctrl-C, a rename fails", "Ctrl-C, two renames fail"],
)
def test_a_save_cut_short_at_any_line_leaves_a_whole_run(
    runs, tmp_path, monkeypatch, no_waiting, cut_short, failing
):
    contents = {run.name: history_of(run) for run in runs}
    folder, found = tmp_path / "run", set()

    def save(name, *failing):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", failing_renames(*failing))
            return run_folder.write_run_folder(folder, contents[name])

    def cut(name):
        try:
            save(name, *failing)
        except DataError:
            assert failing

    now, then = "old", "new"
    save(now)
    n_lines = at_line(0, nothing, lambda: cut(then))
    assert n_lines > 70
    now = name_of_whole(folder, contents)
    for number in range(1, n_lines + 1):
        then = {"old": "new", "new": "old"}[now]
        save(now)
        cut_short(number, lambda name=then: cut(name))
        found.add(name_of_whole(folder, contents) == then)
        save(then)
        assert name_of_whole(folder, contents) == then, f"line {number}"
        assert os.listdir(tmp_path) == ["run"], f"litter after line {number}"
        now = then
    assert found == ({False} if failing else {False, True})


def test_a_first_save_that_is_killed_leaves_nothing_or_the_run(runs, tmp_path, no_waiting):
    contents = history_of(runs[1])
    folder, found = tmp_path / "run", set()
    folder.mkdir()
    n_lines = at_line(0, nothing, lambda: run_folder.write_run_folder(folder, contents))
    for number in range(1, n_lines + 1):
        for path in folder.iterdir():
            path.unlink()
        dead(number, lambda: run_folder.write_run_folder(folder, contents))
        try:
            found.add(name_of_whole(folder, {"new": contents}))
        except DataError:
            found.add(None)
        run_folder.write_run_folder(folder, contents)
        assert os.listdir(tmp_path) == ["run"], f"litter after line {number}"
    assert found == {None, "new"}


@pytest.mark.parametrize("failing", [{1}, {2}, {2, 3}, {1, 2, 3}, {2, 3, 4}])
def test_renames_that_fail_one_after_the_other_lose_nothing(runs, tmp_path, monkeypatch, failing):
    old, new = runs
    folder = old.save(tmp_path / "run")
    monkeypatch.setattr(Path, "replace", failing_renames(*failing))
    with pytest.raises(DataError, match="could not be saved"):
        new.save(folder)
    monkeypatch.undo()
    assert Run.load(folder).name == "old"
    assert Run.load(new.save(folder)).name == "new"
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("name", ["unlink", "rmdir"])
def test_an_old_run_that_cannot_be_removed_costs_nothing(runs, tmp_path, monkeypatch, name):
    old, new = runs
    folder = old.save(tmp_path / "run")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, name, refuse)
    new.save(folder)
    assert Run.load(folder).name == "new"
    monkeypatch.undo()
    old.save(folder)
    assert os.listdir(tmp_path) == ["run"]


def test_all_is_on_the_disk_before_the_new_run_takes_its_name(runs, tmp_path, monkeypatch):
    folder, events = runs[0].save(tmp_path / "run"), []
    fsync, rename = os.fsync, Path.replace

    def synced(descriptor):
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        return fsync(descriptor)

    def renamed(path, target):
        events.append(f"{path.name} to {Path(target).name}")
        return rename(path, target)

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("asks Linux for the files' names")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    runs[1].save(folder)
    assert events[0] == "SHA256SUMS"
    assert set(events[:8]) == run_files.FILES.keys()
    assert events[8:] == [".run.new", "run to .run.old", ".run.new to run", tmp_path.name]


# What is not ours


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


def a_link_to_an_empty_folder(path):
    (path.parent / "mine").mkdir()
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


def a_folder_signed_but_no_run(path):
    path.mkdir()
    for name in run_files.HISTORY:
        (path / name).write_text("[]")
    sign(path)


def sign(path):
    names = sorted(p.name for p in path.iterdir() if p.name != "SHA256SUMS")
    lines = [f"{sha256((path / name).read_bytes())}  {name}\n" for name in names]
    (path / "SHA256SUMS").write_text("".join(lines))


def a_folder_of_folders(path):
    (path / "run.json").mkdir(parents=True)
    (path / "run.json" / "essay.txt").write_text("mine")


def a_run_at(path):
    """A run under any name, those that a save would refuse included."""
    RUN_AT.save(path.parent / "elsewhere").rename(path)


def a_run_and_a_file_of_mine(path):
    a_run_at(path)
    (path / "notes.txt").write_text("mine")


def a_run_and_a_folder_of_mine(path):
    a_run_at(path)
    (path / "plots").mkdir()


def a_run_that_i_changed(path):
    a_run_at(path)
    (path / "history.csv").write_text("my own figures")


def a_run_without_its_hashes(path):
    a_run_at(path)
    (path / "SHA256SUMS").unlink()


def a_run_that_lacks_a_file(path):
    a_run_at(path)
    (path / "history.csv").unlink()


def a_run_whose_file_is_a_fifo(path):
    a_run_at(path)
    (path / "samples.json").unlink()
    os.mkfifo(path / "samples.json")


def a_run_whose_file_is_a_link(path):
    a_run_at(path)
    (path / "samples.json").rename(path.parent / "samples.json")
    (path / "samples.json").symlink_to(path.parent / "samples.json")


OTHERS = [
    a_fifo,
    a_device,
    a_block_device,
    a_file,
    a_link_to_a_folder,
    a_link_to_an_empty_folder,
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
    a_folder_signed_but_no_run,
    a_folder_of_folders,
    a_run_and_a_file_of_mine,
    a_run_and_a_folder_of_mine,
    a_run_that_i_changed,
    a_run_without_its_hashes,
    a_run_that_lacks_a_file,
    a_run_whose_file_is_a_fifo,
    a_run_whose_file_is_a_link,
]
MAYBE_OURS = (
    "a folder with SHA256SUMS ('')",
    "a_folder_signed_but_no_run",
    "a_run_that_lacks_a_file",
)
RUN_AT = None  # a run for the cases above


@pytest.fixture
def made(runs):
    """Makes one of the cases above, if this system can."""
    global RUN_AT
    RUN_AT = runs[1]

    def make_at(make, path):
        try:
            make(path)
        except PermissionError:
            pytest.skip("only root makes devices")

    return make_at


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
def test_what_is_not_a_run_of_ours_is_never_replaced(runs, tmp_path, made, make):
    made(make, tmp_path / "place")
    before = tree(tmp_path)
    with pytest.raises(DataError, match="left alone; choose another"):
        run_folder.check_target(tmp_path / "place")
    for keep in ("all", "best"):
        with pytest.raises(DataError, match="left alone; choose another"):
            runs[0].save(tmp_path / "place", keep=keep)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("torn", [0, 1, 64, 65, 70, 300, None])
@pytest.mark.parametrize("nuls", [0, 500])
def test_a_list_of_hashes_that_was_torn_is_tidied_up(runs, tmp_path, torn, nuls):
    sums = (runs[0].save(tmp_path / "run") / "SHA256SUMS").read_bytes()
    beside = tmp_path / ".run.new"
    beside.mkdir()
    (beside / "SHA256SUMS").write_bytes(sums[:torn] + b"\0" * nuls)
    assert Run.load(runs[1].save(tmp_path / "run")).name == runs[1].name
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("content", [b"mine", b"\0mine", b"f" * 64 + b"  mine", b"f" * 63 + b"\n"])
def test_a_list_that_no_save_begins_so_is_left_alone(runs, tmp_path, content):
    beside = tmp_path / ".run.new"
    beside.mkdir()
    (beside / "SHA256SUMS").write_bytes(content)
    with pytest.raises(DataError, match="no save has left it there"):
        runs[0].save(tmp_path / "run")
    assert (beside / "SHA256SUMS").read_bytes() == content


def test_a_list_that_fills_the_disk_leaves_nothing(runs, tmp_path, monkeypatch):
    def full(folder, contents):
        folder.mkdir()
        (folder / "SHA256SUMS").write_bytes(contents["SHA256SUMS"][:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "_fill", full)
    with pytest.raises(DataError, match="No space left"):
        runs[0].save(tmp_path / "run")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("beside", [".place.old", ".place.new"])
@pytest.mark.parametrize("there", [True, False], ids=["over a run", "for the first time"])
@pytest.mark.parametrize(
    "make",
    OTHERS,
    ids=lambda make: make.__name__,
)
def test_what_is_not_ours_beside_the_folder_is_never_touched(
    runs, tmp_path, made, make, there, beside
):
    if make.__name__ in MAYBE_OURS or (beside, make) == (".place.new", a_run_that_i_changed):
        pytest.skip("cannot be told from what a save leaves when it is killed")
    if there:
        runs[1].save(tmp_path / "place")
    made(make, tmp_path / beside)
    before = tree(tmp_path)
    for work in (runs[0].save, run_folder.check_target):
        with pytest.raises(DataError, match=r"is in the way of a save to .*; move it"):
            work(tmp_path / "place")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "make", [own_files("essay.txt"), a_file, a_run_that_i_changed], ids=lambda make: make.__name__
)
def test_the_only_run_is_kept_if_something_else_took_its_name(runs, tmp_path, made, make):
    """Killed between two renames; then somebody puts something else in the place."""
    runs[0].save(tmp_path / "run").rename(tmp_path / ".run.old")
    made(make, tmp_path / "run")
    before = tree(tmp_path)
    with pytest.raises(DataError, match="left alone"):
        runs[0].save(tmp_path / "run")
    assert tree(tmp_path) == before


def test_a_run_that_lost_its_name_gets_it_back_from_an_empty_folder(runs, tmp_path):
    runs[0].save(tmp_path / "run").rename(tmp_path / ".run.old")
    (tmp_path / "run").mkdir()
    run_folder.check_target(tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]
    assert Run.load(tmp_path / "run").name == "old"


@pytest.mark.parametrize(
    "path",
    ["", " ", ".", "..", "a/..", "/", "run\0", "\ud800", 3, None, b"run", "x" * 300, "y" * 252],
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


# Several at once


def test_a_save_while_another_thread_trains_is_of_one_step(data, model, trained, tmp_path):
    config = replace(CONFIG, max_steps=150, eval_interval=30)
    whole = trained(config=config)
    run = Run(model(), data, config, TrainState())

    def train():
        for _ in fit(run.model, data, config, run.state):
            time.sleep(0.01)  # between steps, so that some saves come before the end

    thread = threading.Thread(target=train)
    thread.start()
    saved = []
    while thread.is_alive() and len(saved) < 8:
        if run.state.optimizer is not None and run.state.best_weights:
            saved.append(run.save(tmp_path / f"run-{len(saved)}"))
            time.sleep(0.01)  # the training gets the lock
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


@FORK
def test_programs_that_save_to_one_folder_leave_a_whole_run_at_any_time(runs, tmp_path, no_waiting):
    contents = [storage.contents_of(run, "best") for run in runs]
    folder = run_folder.write_run_folder(tmp_path / "run", contents[0])
    children = []
    for content in contents:
        children.append(os.fork())
        if children[-1] == 0:
            status = 1
            try:
                for _ in range(60):
                    run_folder.write_run_folder(folder, content)
                status = 0
            finally:
                os._exit(status)
    found = [Run.load(folder).name for _ in range(40)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert set(found) <= {"old", "new"}
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.skipif(folder_lock.fcntl is None, reason="needs locks of the system's")
def test_a_program_that_does_not_end_its_save_is_told_of(runs, tmp_path, monkeypatch):
    folder = runs[0].save(tmp_path / "run")
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.05)
    with folder_lock.locked(tmp_path, for_writing=True):
        with pytest.raises(DataError, match="another program is saving beside it"):
            runs[1].save(folder)
        assert Run.load(folder).name == "old"
    assert Run.load(runs[1].save(folder)).name == "new"


# What comes back


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("keep", ["all", "best"])
def test_a_run_comes_back_in_its_precision(data, model, tmp_path, dtype, keep):
    run = lab.train(model().to(dtype), data, CONFIG, prompts=["the"], progress=False)
    loaded = Run.load(run.save(tmp_path / "run", keep=keep))
    assert {p.dtype for p in loaded.model.parameters()} == {dtype}
    assert {w.dtype for w in loaded.state.best_weights.values()} == {dtype}
    assert loaded.samples == run.samples
    if keep == "all":
        assert loaded.sample("the") == run.sample("the")
        longer = replace(run.config, max_steps=5)
        again, there = run.resume(longer, progress=False), loaded.resume(longer, progress=False)
        assert again.state.history[-1].val_loss == there.state.history[-1].val_loss


def test_a_run_made_in_double_precision_by_default_comes_back(data, trained, tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        run = trained()
        loaded = Run.load(run.save(tmp_path / "run"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float64}
    assert loaded.resume(replace(CONFIG, max_steps=4), progress=False).state.step == 4


def test_numbers_of_numpy_train_and_are_saved(data, tmp_path):
    i, f = np.int64, np.float32
    shape = lab.GPTConfig(i(data.tokenizer.n_vocab), i(8), i(1), i(1), i(4), dropout=f(0))
    config = lab.TrainConfig(i(2), f(0.01), max_steps=i(3), seed=i(1), weight_decay=f(0.1))
    run = lab.train(lab.GPT(shape), data, config, progress=False)
    loaded = Run.load(run.save(tmp_path / "run"))
    assert (loaded.config, loaded.model.config) == (run.config, run.model.config)
    assert loaded.config.learning_rate == float(f(0.01))


def test_a_run_that_was_not_trained_comes_back(data, model, trained, tmp_path):
    run = Run(model(seed=5), data, CONFIG, prompts=["the"])
    loaded = Run.load(run.save(tmp_path / "run"))
    assert torch.equal(loaded.model.wte.weight, run.model.wte.weight)
    assert (loaded.has_weights, loaded.state.best_val_loss) == (False, float("inf"))
    whole = lab.train(model(seed=5), data, CONFIG, progress=False)
    assert loaded.resume(progress=False).state.best_val_loss == whole.state.best_val_loss


def test_weights_that_are_no_numbers_are_left_out_and_told(trained, tmp_path):
    run = trained()
    best = run.best_model.wte.weight.clone()
    with torch.no_grad():  # as a step with a far too large rate leaves them
        run.model.wte.weight[0] = float("nan")
    with pytest.warns(UserWarning, match="step 3 are not finite numbers, so only the best ones"):
        run.save(tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert torch.equal(loaded.model.wte.weight, best)
    with pytest.raises(ValueError, match='keep="all"'):
        loaded.resume(progress=False)


def unknown_tokenizer(run):
    runes = copy(run.dataset.tokenizer)
    runes.spec = lambda: {"kind": "runes"}
    return replace(run, dataset=replace(run.dataset, tokenizer=runes))


def other_weights(run):
    changed = replace(run, model=lab.GPT(run.model.config), state=replace(run.state))
    changed.model.wte.double()
    return changed


UNSAVABLE = {
    "a number as its name": (lambda run: setattr(run, "name", 3), "name is 3; it must be text"),
    "no name": (lambda run: setattr(run, "name", None), "name is None"),
    "half a character": (lambda run: setattr(run, "name", "\ud800"), "half a character"),
    "two lines": (lambda run: setattr(run, "name", "a\nb"), "must be one line"),
    "a terminal's command": (lambda run: setattr(run, "name", "\x1b]0;"), "control characters"),
    "a whole text": (lambda run: setattr(run, "name", "a" * 2000), "at most 1,000 letters"),
    "an object": (lambda run: run.environment.update(when=object()), "that JSON cannot"),
    "a set": (lambda run: run.environment.update({1: {2}}), "that JSON cannot"),
    "no number": (lambda run: run.environment.update(a=float("nan")), "that JSON cannot"),
    "itself": (lambda run: run.environment.update(a=run.environment), "that JSON cannot"),
    "bytes": (lambda run: setattr(run, "prompts", (b"the",)), "must be text"),
    "a path": (lambda run: run.dataset.source.update(at=Path("x")), "that JSON cannot"),
    "a sample of another kind": (lambda run: run.samples.append("the"), "samples only"),
    "a sample of a later step": (
        lambda run: run.samples.append(run.samples[0] | {"step": 99}),
        "a sample's step is 99; it must be a whole number from 0 to 3",
    ),
    "a status of its own": (lambda run: setattr(run.state, "status", "done"), "status is 'done'"),
    "seconds backwards": (lambda run: setattr(run.state, "seconds", -1.0), "seconds is -1.0"),
    "an unknown tokenizer": (unknown_tokenizer, "its tokenizer is none of the package's"),
    "two precisions": (other_weights, "its tensors are not of one precision"),
}


@pytest.mark.parametrize("kind", UNSAVABLE)
def test_what_no_file_can_hold_is_told_before_anything_is_written(runs, tmp_path, kind):
    change, sentence = UNSAVABLE[kind]
    run = replace(
        runs[0],
        environment=dict(runs[0].environment),
        samples=list(runs[0].samples),
        state=replace(runs[0].state),
        dataset=replace(runs[0].dataset, source=dict(runs[0].dataset.source)),
    )
    run = change(run) or run
    with pytest.raises(ValueError, match=sentence) as told:
        run.save(tmp_path / "run")
    assert "\n" not in str(told.value) and str(told.value).endswith(".")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(run_files.ALL))
def test_a_file_too_large_to_be_read_again_is_not_written(runs, tmp_path, monkeypatch, name):
    monkeypatch.setitem(run_files.FILES, name, 10)
    with pytest.raises(
        DataError, match=rf"{name} has .* may have 10; {re.escape(run_folder.LESS[name])}"
    ):
        runs[0].save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_more_text_than_a_saved_run_may_have_is_told_before_the_training(data, model, monkeypatch):
    n_tokens = len(data.train) + len(data.val)
    monkeypatch.setattr(run_parsing, "MAX_TOKENS", n_tokens - 1)
    with pytest.raises(ValueError, match=rf"has {n_tokens} tokens; .* {n_tokens - 1}. Give less"):
        lab.train(model(), data, CONFIG, progress=False)
    monkeypatch.setattr(run_parsing, "MAX_TOKENS", n_tokens)
    lab.train(model(), data, CONFIG, progress=False)


def test_as_much_text_as_may_be_trained_on_can_be_saved_and_loaded(tmp_path):
    tokenizer = lab.train_bpe("ab", 256)
    most = run_parsing.MAX_TOKENS
    ids = torch.arange(most - 10) % 250
    data = lab.Dataset(ids, ids[:10], tokenizer, {"kind": "mine"})
    run = lab.train(
        lab.GPT(lab.GPTConfig(256, 8, 1, 1, 4)), data, lab.TrainConfig(2, 1e-3, max_steps=1)
    )
    loaded = Run.load(run.save(tmp_path / "run", keep="best"))
    assert torch.equal(loaded.dataset.train, ids)


@pytest.mark.parametrize("letter", ["a", "\x01", "\u00e9", "\U0001f600", '"'])
def test_prompts_too_long_to_be_saved_are_told_before_the_training(data, model, letter):
    with pytest.raises(ValueError, match=r"The prompts take .* 500,000. Give fewer, or shorter"):
        lab.train(model(), data, CONFIG, prompts=[letter * 600_000], progress=False)


def mounted(monkeypatch, folder):
    monkeypatch.setattr(run_folder.os.path, "ismount", lambda path: Path(path) == folder)


def sticky(monkeypatch, folder):
    replace_path = Path.replace

    def refused(self, target):
        if self == folder:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return replace_path(self, target)

    monkeypatch.setattr(Path, "replace", refused)


@pytest.mark.parametrize("holds", ["nothing", "a run"])
@pytest.mark.parametrize("kind", [mounted, sticky])
def test_a_folder_that_cannot_be_replaced_is_told_before_the_training(
    runs, tmp_path, monkeypatch, kind, holds
):
    folder = tmp_path / "run"
    if holds == "a run":
        runs[0].save(folder)
    else:
        folder.mkdir()
    before = sorted(path.name for path in folder.iterdir())
    kind(monkeypatch, folder)
    with pytest.raises(DataError, match=r"No run can be saved to .*; choose a folder"):
        run_folder.check_target(folder)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir() if path != folder] in ([], [".saving.lock"])


def test_a_check_leaves_a_run_as_it_was(runs, tmp_path):
    folder = runs[0].save(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run_folder.check_target(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_inside_another_is_told_before_the_training(runs, tmp_path):
    folder = runs[0].save(tmp_path / "run")
    for inner in (folder / "x", folder / "x" / "y"):
        for work in (run_folder.check_target, runs[1].save):
            with pytest.raises(DataError, match=r"is inside the saved run .*; choose another"):
                work(inner)
    assert {path.name for path in folder.iterdir()} == run_files.FILES.keys()
    assert Run.load(runs[1].save(folder)).name == runs[1].name


def test_a_run_that_could_not_be_saved_is_still_in_memory(trained, tmp_path):
    run = trained()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"it is still in memory, .* and save again"):
        run.save(tmp_path / "file" / "run")
    loaded = Run.load(run.save(tmp_path / "run"))
    assert loaded.history.equals(run.history)
    assert loaded.sample("the") == run.sample("the")


# A training that ends, or does not


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


def closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", buffering=1)


def closed_file():
    stream = closed_pipe()
    with pytest.raises(BrokenPipeError):
        stream.write("\n")
    with suppress(BrokenPipeError):
        stream.close()
    return stream


def poor_terminal(encoding):
    return lambda: io.TextIOWrapper(io.BytesIO(), encoding=encoding)


STREAMS = {
    "a full disk": lambda: Broken(OSError(28, "No space left on device")),
    "a broken notebook": lambda: Broken(RuntimeError("no kernel")),
    "a pipe that nobody reads": closed_pipe,
    "a closed file": closed_file,
    "an ASCII terminal": poor_terminal("ascii"),
    "a Western terminal": poor_terminal("cp1252"),
    "none": lambda: None,
}


def fail(*_):
    raise ZeroDivisionError("mine")


@pytest.mark.parametrize("kind", STREAMS)
def test_a_bar_that_cannot_be_shown_costs_no_training(trained, tmp_path, monkeypatch, kind):
    stream = STREAMS[kind]()
    monkeypatch.setattr(sys, "stderr", stream)
    run = trained("a run − of “many” letters", progress=True)
    assert (run.state.status, len(run.samples)) == ("finished", 1)
    # A warning that cannot be printed costs nothing either.
    monkeypatch.setattr(warnings, "showwarning", lambda text, *_, **__: sys.stderr.write(str(text)))
    assert trained(on_step=fail, progress=True).state.status == "finished"
    monkeypatch.undo()
    assert Run.load(run.save(tmp_path / "run")).name == run.name


def test_a_poor_terminal_is_written_to_in_its_letters(trained, tmp_path, monkeypatch):
    with open(tmp_path / "log", "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        trained("minus −", progress=True)
        monkeypatch.undo()
    assert "minus ?" in (tmp_path / "log").read_text()
    assert "3/3" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("error", [MemoryError("full"), RuntimeError("bad"), StopIteration()])
def test_samples_that_fail_cost_no_training(trained, monkeypatch, tmp_path, error):
    def broken(*_):
        raise error

    monkeypatch.setattr("slmlab.engine.runs.continuation", broken)
    with pytest.warns(UserWarning, match="No sample was taken after 'the'"):
        run = trained()
    assert (run.state.step, run.samples) == (3, [])
    assert Run.load(run.save(tmp_path / "run")).state.step == 3


@pytest.mark.parametrize("extra_rows", [1, 40])
def test_rows_without_a_token_cost_no_training(data, tmp_path, extra_rows):
    """A padded vocabulary: the model may write ids that its tokenizer does not know."""
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab + extra_rows, 8, 1, 1, 4))
    with torch.no_grad():  # a logit is the product of the last state and a row
        model.wte.weight[-extra_rows:] = model.ln_f.bias[:] = torch.ones(4)
    run = lab.train(model, data, CONFIG, prompts=["the"], progress=False)
    assert max(run.samples[0]["ids"]) >= data.tokenizer.n_vocab
    loaded = Run.load(run.save(tmp_path / "run"))
    assert loaded.samples == run.samples
    assert len(lab.scorecard(loaded)) == 1


def test_a_prompt_that_does_not_fit_costs_its_sample_only(data, tmp_path):
    """A model with rows for the tokens of its texts, but not for all that its tokenizer has."""
    n_rows = int(data.train.max())
    few = replace(data, train=data.train[data.train < n_rows], val=data.val[data.val < n_rows])
    model = lab.GPT(lab.GPTConfig(n_rows, 8, 1, 1, 4))
    prompts = ["t", data.tokenizer.decode([n_rows]), ""]
    with pytest.warns(UserWarning, match="No sample was taken after .*vocabulary ends at"):
        run = lab.train(model, few, CONFIG, prompts=prompts, progress=False)
    assert [s["prompt"] for s in run.samples] == ["t"]
    assert Run.load(run.save(tmp_path / "run")).prompts == tuple(prompts)


@pytest.mark.parametrize("prompts", ["the", b"the", 3, {"the": 1}, [3], ["the", None], ["\ud800"]])
def test_prompts_that_are_no_texts_are_told_before_the_training(trained, prompts):
    with pytest.raises(ValueError, match=r"(prompts is|A prompt is|A prompt has) .*text"):
        trained(prompts=prompts)


@pytest.mark.parametrize("name", [3, None, b"run", "a\nb", "\ud800", "x" * 1001])
def test_a_name_that_is_none_is_told_before_the_training(trained, name):
    with pytest.raises(ValueError, match="The run's name "):
        trained(name)


def test_a_callback_that_fails_costs_no_training(trained):
    calls = []

    def count_and_fail(*_):
        calls.append(1)
        fail()

    with pytest.warns(
        UserWarning, match="on_step failed and is not called again: ZeroDivisionError"
    ):
        run = trained(on_step=count_and_fail)
    assert (run.state.step, len(calls)) == (3, 1)


def test_a_warning_that_is_made_an_error_costs_no_training(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = trained(on_step=fail, prompts=["the", ""])
    assert (run.state.status, len(run.samples)) == ("finished", 1)


def test_ctrl_c_while_the_last_samples_are_taken_gives_the_finished_run(trained, monkeypatch):
    from slmlab.engine import runs as module

    continuation, presses = module.continuation, []

    def pressed(*arguments):
        presses.append(signal.raise_signal(signal.SIGINT))
        return continuation(*arguments)

    monkeypatch.setattr(module, "continuation", pressed)
    handler = signal.getsignal(signal.SIGINT)
    run = trained(prompts=["the", "a", "potter"])
    assert (run.state.status, run.samples, len(presses)) == ("finished", [], 1)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_gives_the_stopped_run_without_samples(trained, monkeypatch):
    def pressed(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("slmlab.engine.runs.continuation", pressed)
    run = trained(
        on_step=lambda run, now: now.step == 2 and signal.raise_signal(signal.SIGINT), prompts=["a"]
    )
    assert (run.state.status, run.state.step, run.samples) == ("interrupted", 2, [])


@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_that_ends_a_training_carries_the_run(trained, tmp_path, monkeypatch, error):
    batch = lab.Dataset.batch

    def third_fails(self, batch_size, block_size, seed):
        if seed == 3:
            raise error
        return batch(self, batch_size, block_size, seed)

    monkeypatch.setattr(lab.Dataset, "batch", third_fails)
    with pytest.raises(type(error)) as told:
        trained()
    monkeypatch.undo()
    run = told.value.run
    assert (run.state.status, run.state.step) == ("interrupted", 2)
    resumed = Run.load(run.save(tmp_path / "run")).resume(progress=False)
    assert resumed.state.best_val_loss == trained().state.best_val_loss


def test_a_training_that_is_refused_carries_no_run(data):
    with pytest.raises(ValueError, match="vocabulary ends at") as told:
        lab.train(lab.GPT(lab.GPTConfig(5, 8, 1, 1, 4)), data, CONFIG, progress=False)
    assert not hasattr(told.value, "run")


# Going on


def test_a_run_that_used_up_its_time_stays_finished(trained, tmp_path):
    run = trained(config=lab.TrainConfig(2, 1e-2, seconds=0.05))
    step = run.state.step
    for _ in range(3):
        run = Run.load(run.save(tmp_path / "run")).resume(progress=False)
        assert (run.state.status, run.state.step) == ("finished", step)
    longer = run.resume(replace(run.config, seconds=run.state.seconds + 0.05), progress=False)
    assert longer.state.step > step


def test_a_run_that_stopped_early_stays_so(data, model, tmp_path):
    text = lab.Dataset(data.train, data.train[:200].flip(0), data.tokenizer)
    config = lab.TrainConfig(4, 5e-2, max_steps=500, eval_interval=2, patience=2)
    run = lab.train(model(), text, config, progress=False)
    assert run.state.status == "stopped early"
    again = Run.load(run.save(tmp_path / "run")).resume(progress=False)
    assert (again.state.status, again.state.step) == ("stopped early", run.state.step)
    longer = again.resume(replace(config, patience=4), progress=False)
    assert longer.state.step > run.state.step


REFUSED = {
    "a device": ({"device": "banana"}, "no device"),
    "a device and more steps": ({"max_steps": 9, "device": "cuda:77"}, "no device"),
    "a device and a budget": ({"max_steps": None, "seconds": 5, "device": "x"}, "no device"),
    "more memory than there is": ({"max_steps": 9, "batch_size": 10**6}, "of memory, and"),
    "fewer steps": ({"max_steps": 2}, "has made 3 steps, so it cannot go on to a max_steps of 2"),
    "text": ("longer", "config is 'longer'; it must be a TrainConfig"),
    "a number": (9, "it must be a TrainConfig"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_resume_changes_nothing(runs, tmp_path, monkeypatch, kind):
    change, sentence = REFUSED[kind]
    run = Run.load(runs[0].save(tmp_path / "run"))
    monkeypatch.setattr("slmlab.engine.memory.free_megabytes", lambda: 1000)
    before = (run.config, run.state.planned_steps, run.state.status)
    config = replace(run.config, **change) if isinstance(change, dict) else change
    with pytest.raises(ValueError, match=sentence):
        run.resume(config, progress=False)
    assert (run.config, run.state.planned_steps, run.state.status) == before
    assert Run.load(run.save(tmp_path / "again")).config == run.config
    assert run.resume(replace(run.config, max_steps=4), progress=False).state.step == 4


def test_resuming_on_texts_that_do_not_fit_changes_nothing(runs, tmp_path, data):
    run = Run.load(runs[0].save(tmp_path / "run"))
    run.dataset = replace(data, train=data.train[:8])
    before = (run.config, run.state.planned_steps, run.state.status)
    with pytest.raises(ValueError, match="context of 8 tokens is longer"):
        run.resume(replace(run.config, max_steps=9), progress=False)
    assert (run.config, run.state.planned_steps, run.state.status) == before


# Runs without weights


def test_a_run_that_was_not_trained_says_so(data, model):
    run = Run(model(), data, CONFIG, name="mine")
    for use in (run.sample, lambda _: run.best_model, lambda _: run.gap):
        with pytest.raises(ValueError, match="mine was not trained yet, so "):
            use("the")


def test_a_run_kept_as_history_says_so(tmp_path):
    data = lab.corpus_dataset(500, "right-sized")
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4))
    run = lab.train(model, data, CONFIG, name="mine", prompts=["the"], progress=False)
    loaded = Run.load(run.save(tmp_path / "run", keep="history"))
    assert (loaded.has_weights, loaded.gap) == (False, run.gap)
    for use in (loaded.sample, lambda _: loaded.best_model):
        with pytest.raises(ValueError, match="mine was kept without its weights"):
            use("the")


def test_a_run_that_never_had_a_loss_says_so(data, model, tmp_path):
    broken = model()
    with torch.no_grad():
        broken.ln_f.weight[0] = float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = lab.train(broken, data, CONFIG, name="mine", progress=False)
    with pytest.raises(ValueError, match="mine never had a loss that is a finite number"):
        run.sample("the")
    with pytest.raises(ValueError, match="weights are not finite numbers"):
        run.save(tmp_path / "run")
