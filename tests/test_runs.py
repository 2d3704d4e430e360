"""Runs on disk: what is saved comes back, and whatever is damaged is refused with a sentence."""

import errno
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import slmlab as lab
from slmlab import DataError, Run
from slmlab.text.corpus import Corpus, Document
from slmlab.text.files import sha256

FILES = {
    "all": {
        "SHA256SUMS",
        "run.json",
        "samples.json",
        "history.csv",
        "tokenizer.json",
        "dataset.safetensors",
        "best.safetensors",
        "resume.safetensors",
    },
}
FILES["best"] = FILES["all"] - {"resume.safetensors"}
FILES["history"] = {"SHA256SUMS", "run.json", "samples.json", "history.csv"}


@pytest.fixture(scope="session")
def corpus_run():
    """A run of a few steps on the beginning of the corpus."""
    data = lab.corpus_dataset(1000, "right-sized")
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 16, 1, 2, 8), seed=3)
    return lab.train(model, data, lab.TrainConfig(4, 1e-2, max_steps=10), progress=False)


@pytest.fixture
def saved(finished, tmp_path):
    return finished.save(tmp_path / "run")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sign_again(folder):
    """Make SHA256SUMS agree with the files again, as a careful forger would."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    names = [line.split("  ")[1] for line in lines]
    sums = [f"{sha256((folder / name).read_bytes())}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


def same_weights(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_same_story(one, other):
    assert one.state.history == [replace(p, eta=None) for p in other.state.history]
    assert one.history.equals(other.history)
    assert one.samples == other.samples
    assert one.environment == other.environment
    assert (one.name, one.config) == (other.name, other.config)
    assert one.model.config == other.model.config
    assert one.dataset.source == other.dataset.source
    assert torch.equal(one.dataset.train, other.dataset.train)
    assert torch.equal(one.dataset.val, other.dataset.val)
    for fact in ("status", "step", "planned_steps", "seconds", "best_step", "best_val_loss"):
        assert getattr(one.state, fact) == getattr(other.state, fact)
    assert one.gap == other.gap
    assert one.params_per_token == other.params_per_token


@pytest.mark.parametrize("keep", FILES)
def test_a_saved_run_comes_back(corpus_run, tmp_path, keep):
    folder = corpus_run.save(tmp_path / "deep" / "run", keep=keep)
    assert set(contents(folder)) == FILES[keep]
    loaded = Run.load(folder)
    assert_same_story(loaded, corpus_run)
    assert not loaded.model.training
    if keep == "all":
        assert same_weights(loaded.model, corpus_run.model)
    if keep != "history":
        assert same_weights(loaded.best_model, corpus_run.best_model)
        text = loaded.dataset.tokenizer.decode(loaded.dataset.val.tolist())
        assert text == corpus_run.dataset.tokenizer.decode(corpus_run.dataset.val.tolist())


@pytest.mark.parametrize("keep", ["all", "best"])
def test_a_run_on_any_text_comes_back(finished, tmp_path, keep):
    loaded = Run.load(str(finished.save(str(tmp_path / "run"), keep=keep)))
    assert_same_story(loaded, finished)
    assert loaded.best_model.n_params == finished.model.n_params
    if keep == "all":
        assert loaded.sample("The old") == finished.sample("The old")


def test_saving_twice_gives_the_same_files(finished, tmp_path):
    first, second = finished.save(tmp_path / "a"), finished.save(tmp_path / "b")
    assert contents(first) == contents(second)


def test_a_loaded_run_saves_the_same_files(finished, tmp_path):
    first = finished.save(tmp_path / "a")
    assert contents(Run.load(first).save(tmp_path / "b")) == contents(first)


def test_no_file_of_a_run_is_a_pickle(saved):
    for name, content in contents(saved).items():
        with pytest.raises(Exception):  # noqa: B017
            pickle.loads(content)
        assert not content.startswith(b"PK"), f"{name} is a zip file"


def test_the_environment_is_recorded(finished):
    assert {"python", "torch", "slmlab", "threads", "processor", "system"} <= set(
        finished.environment
    )
    assert finished.environment["threads"] == torch.get_num_threads()


def test_run_json_names_seed_seconds_and_text(saved, finished):
    facts = json.loads((saved / "run.json").read_text())
    assert facts["training"]["seed"] == 0
    assert facts["seconds"] == finished.state.seconds > 0
    assert facts["dataset"]["sha256"] == finished.dataset.source["sha256"]


def test_an_older_run_is_replaced(finished, corpus_run, tmp_path):
    folder = tmp_path / "run"
    finished.save(folder)
    corpus_run.save(folder, keep="history")
    assert set(contents(folder)) == FILES["history"]
    assert_same_story(Run.load(folder), corpus_run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_is_no_run_is_never_replaced(finished, tmp_path):
    folder = tmp_path / "homework"
    folder.mkdir()
    (folder / "essay.txt").write_text("three weeks of work")
    with pytest.raises(DataError, match="homework"):
        finished.save(folder)
    assert (folder / "essay.txt").read_text() == "three weeks of work"
    assert [path.name for path in tmp_path.iterdir()] == ["homework"]


def test_a_file_is_never_replaced(finished, tmp_path):
    file = tmp_path / "essay.txt"
    file.write_text("three weeks of work")
    with pytest.raises(DataError, match=r"essay\.txt"):
        finished.save(file)
    assert file.read_text() == "three weeks of work"


def test_an_empty_folder_may_be_filled(finished, tmp_path):
    (tmp_path / "run").mkdir()
    assert_same_story(Run.load(finished.save(tmp_path / "run")), finished)


def no_space(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_run_intact(finished, saved, tmp_path, monkeypatch):
    before, sync, synced = contents(saved), os.fsync, []

    def sync_three(descriptor):
        synced.append(descriptor)
        return sync(descriptor) if len(synced) <= 3 else no_space()

    monkeypatch.setattr(os, "fsync", sync_three)
    with pytest.raises(DataError, match=r"could not be saved .*No space left .* save again"):
        finished.save(saved)
    monkeypatch.undo()
    assert len(synced) == 4
    assert contents(saved) == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_rename_leaves_the_old_run_intact(finished, saved, tmp_path, monkeypatch, failing):
    before = contents(saved)
    rename, renamed = Path.replace, []

    def rename_some(path, target):
        renamed.append(target)
        return no_space() if len(renamed) == failing else rename(path, target)

    monkeypatch.setattr(Path, "replace", rename_some)
    with pytest.raises(DataError, match="could not be saved"):
        finished.save(saved)
    monkeypatch.undo()
    assert contents(saved) == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_place_that_cannot_be_a_folder_is_refused(finished, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"could not be saved .* choose a folder"):
        finished.save(tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_folder_is_refused(finished, saved, tmp_path):
    before = contents(saved)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(DataError, match=r"could not be saved .*Permission denied"):
            finished.save(saved)
    finally:
        tmp_path.chmod(0o755)
    assert contents(saved) == before


def test_no_permission_is_told_in_a_sentence(finished, tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def refuse_new(path, *args, **options):
        if path.name.endswith(".new"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse_new)
    with pytest.raises(DataError, match=r"Permission denied.* a folder you may write to"):
        finished.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_an_unknown_way_to_keep_is_refused(finished, tmp_path):
    with pytest.raises(ValueError, match='must be "all", "best" or "history"'):
        finished.save(tmp_path / "run", keep="everything")
    assert not list(tmp_path.iterdir())


def test_a_record_of_other_text_is_refused_in_words(finished, tmp_path):
    with pytest.raises((ValueError, DataError), match="corpus"):
        Run.load(finished.save(tmp_path / "run", keep="history"))


@pytest.mark.parametrize("name", sorted(FILES["all"]))
@pytest.mark.parametrize("harm", ["remove", "empty", "halve", "flip a bit"])
def test_a_damaged_run_is_refused(saved, name, harm):
    file = saved / name
    content = file.read_bytes()
    if harm == "remove":
        file.unlink()
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "halve":
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        changed = bytes([content[middle] ^ 1])
        file.write_bytes(content[:middle] + changed + content[middle + 1 :])
    with pytest.raises(DataError, match=r"restore it|train it again|make it again"):
        Run.load(saved)


@pytest.mark.parametrize("lines", range(7))
def test_a_list_of_hashes_that_lacks_lines_is_refused(saved, lines):
    sums = saved / "SHA256SUMS"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:lines]))
    with pytest.raises(DataError):
        Run.load(saved)


FORGERIES = {
    "another format": ("run.json", lambda facts: facts | {"format": 99}),
    "no model": ("run.json", lambda facts: {k: v for k, v in facts.items() if k != "model"}),
    "impossible model": (
        "run.json",
        lambda facts: facts | {"model": facts["model"] | {"n_head": 7}},
    ),
    "another model": ("run.json", lambda facts: facts | {"model": facts["model"] | {"n_embd": 32}}),
    "bad training": (
        "run.json",
        lambda facts: facts | {"training": facts["training"] | {"batch_size": 0}},
    ),
    "a list": ("run.json", lambda facts: []),
    "unknown tokenizer": ("tokenizer.json", lambda spec: {"kind": "runes"}),
    "a list as tokenizer": ("tokenizer.json", lambda spec: []),
    "tokenizer of nonsense": ("tokenizer.json", lambda spec: spec | {"kept": ["x"]}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_consistent_forgery_is_refused(saved, forgery):
    name, change = FORGERIES[forgery]
    content = json.loads((saved / name).read_text())
    (saved / name).write_text(json.dumps(change(content)))
    sign_again(saved)
    with pytest.raises(DataError, match="is not a run that this version"):
        Run.load(saved)


@pytest.mark.parametrize("table", ["not,a,history\n1,2,3\n", "step\nmany\n"])
def test_a_forged_history_is_refused(saved, table):
    (saved / "history.csv").write_text(table)
    sign_again(saved)
    with pytest.raises(DataError, match="is not a run that this version"):
        Run.load(saved)


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.bin"])
def test_a_pickled_checkpoint_is_refused_and_never_opened(tmp_path, name):
    trap, checkpoint = tmp_path / "sprung", tmp_path / name
    checkpoint.write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(DataError, match="never opened, because a pickle can run any code"):
        Run.load(checkpoint)
    assert not trap.exists()


def test_a_torch_checkpoint_is_refused(finished, tmp_path):
    torch.save(finished.model.state_dict(), tmp_path / "model.pt")
    with pytest.raises(DataError, match="a saved run is a folder"):
        Run.load(tmp_path / "model.pt")


@pytest.mark.parametrize("name", sorted(FILES["all"] - {"SHA256SUMS"}))
def test_a_pickle_inside_a_run_is_never_opened(saved, tmp_path, name):
    trap = tmp_path / "sprung"
    (saved / name).write_bytes(pickle.dumps(Trap(trap)))
    sign_again(saved)
    with pytest.raises(DataError, match="is not a run that this version"):
        Run.load(saved)
    assert not trap.exists()


def test_a_missing_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no run in .*check the path"):
        Run.load(tmp_path / "nothing")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="is not a complete run"):
        Run.load(tmp_path)


@pytest.mark.parametrize("keep", ["best", "history"])
def test_a_run_without_its_training_state_cannot_be_resumed(corpus_run, tmp_path, keep):
    loaded = Run.load(corpus_run.save(tmp_path / "run", keep=keep))
    with pytest.raises(ValueError, match='only a run saved with keep="all"'):
        loaded.resume(progress=False)


def test_a_record_says_that_it_has_no_best_weights(corpus_run, tmp_path):
    loaded = Run.load(corpus_run.save(tmp_path / "run", keep="history"))
    with pytest.raises(ValueError, match="weights"):
        _ = loaded.best_model


def test_a_record_of_another_corpus_is_refused(corpus_run, corpus, tmp_path, monkeypatch):
    folder = corpus_run.save(tmp_path / "run", keep="history")
    other = Corpus((Document("00.py", "print('one more')\n"), *corpus.documents))
    monkeypatch.setattr("slmlab.text.corpus.load_corpus", lambda: other)
    with pytest.raises(DataError, match="the corpus has changed since it was made"):
        Run.load(folder)


def test_recorded_runs_are_found_by_name(corpus_run, tmp_path, monkeypatch):
    monkeypatch.setattr("slmlab.study.phases.data_path", tmp_path.joinpath)
    for name in ("one", "two"):
        corpus_run.save(tmp_path / "runs" / name, keep="history")
    assert_same_story(lab.recorded("two"), corpus_run)
    with pytest.raises(DataError, match=r"no recorded run 'three'; .* are: one, two"):
        lab.recorded("three")


def test_with_no_recorded_runs_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("slmlab.study.phases.data_path", tmp_path.joinpath)
    with pytest.raises(DataError, match="the recorded runs are: none"):
        lab.recorded("phase-1")


def test_samples_are_taken_for_every_prompt(finished):
    assert [sample["prompt"] for sample in finished.samples] == list(lab.PROMPTS)
    assert {sample["step"] for sample in finished.samples} == {60}
    for sample in finished.samples:
        assert sample["text"].startswith(sample["prompt"])
        assert len(sample["text"]) > len(sample["prompt"])


@pytest.mark.slow
def test_samples_can_be_taken_at_every_evaluation(tiny, dataset):
    config = lab.TrainConfig(2, 1e-3, max_steps=2, eval_interval=1)
    run = lab.train(
        tiny(), dataset, config, progress=False, sample_each_evaluation=True, prompts=lab.PROMPTS
    )
    assert [sample["step"] for sample in run.samples] == [0] * 8 + [1] * 8 + [2] * 8


def test_gap_is_signed(finished):
    last = finished.history.iloc[-1]
    assert finished.gap == last["val_loss"] - last["train_loss"]
    state = replace(finished.state, history=[replace(finished.state.history[-1], val_loss=0.5)])
    state.history[0] = replace(state.history[0], train_loss=2.0)
    assert replace(finished, state=state).gap == -1.5


def test_history_has_a_row_for_each_evaluation(finished):
    assert finished.history["step"].tolist() == [0, 20, 40, 60]
    assert list(finished.history.columns) == [
        "step",
        "batch_loss",
        "train_loss",
        "val_loss",
        "tokens",
        "epochs",
        "seconds",
        "learning_rate",
    ]


def test_the_copy_of_a_run_loads_anywhere(saved, finished, tmp_path):
    moved = shutil.move(saved, tmp_path / "elsewhere")
    assert_same_story(Run.load(moved), finished)


def test_a_test_loss_is_reported_saved_and_resumed(dataset, tiny, tmp_path):
    tested = dataset.with_test("The potter counts seven lanterns under the stairs. " * 5)
    config = lab.TrainConfig(4, 3e-3, max_steps=20, eval_interval=10)
    run = lab.train(tiny(), tested, config, progress=False)
    losses = run.history["test_loss"]
    assert losses.notna().all()
    assert losses.iloc[-1] == lab.mean_loss(run.model, tested.test)
    loaded = Run.load(run.save(tmp_path / "run"))
    assert loaded.history["test_loss"].tolist() == losses.tolist()
    assert loaded.dataset.test.equal(tested.test)
    longer = loaded.resume(replace(config, max_steps=30), progress=False)
    assert longer.history["test_loss"].notna().all()


def test_the_test_loss_decides_nothing(dataset, tiny):
    config = lab.TrainConfig(4, 3e-3, max_steps=20, eval_interval=10)
    plain = lab.train(tiny(), dataset, config, progress=False)
    tested = lab.train(tiny(), dataset.with_test("A blue kettle."), config, progress=False)
    assert plain.history["val_loss"].tolist() == tested.history["val_loss"].tolist()
    assert plain.state.best_step == tested.state.best_step
