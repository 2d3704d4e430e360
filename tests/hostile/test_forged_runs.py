"""A run folder is somebody else's data: signed as its author likes, and wrong in any way."""

import base64
import json
import os
import subprocess
import sys
from hashlib import sha256

import pytest
import safetensors.torch
import torch

import slmlab as lab
from slmlab import DataError, Run
from slmlab.engine.run_folder import FILES
from slmlab.engine.run_parsing import parameter_shapes


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A saved run of a tiny model, with all that it may hold."""
    text = "the old potter mends a blue kettle by the river\n" * 30
    data = lab.Dataset.from_text(text, lab.train_bpe(text, 270)).with_test("the blue potter " * 9)
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4))
    run = lab.train(
        model, data, lab.TrainConfig(2, 1e-2, max_steps=3), prompts=["the"], progress=False
    )
    return run.save(tmp_path_factory.mktemp("original") / "run")


@pytest.fixture
def forged(original, tmp_path):
    """A copy of the run, and how to change a file of it and sign it again."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in original.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def sign(folder):
    names = sorted(p.name for p in folder.iterdir() if p.name != "SHA256SUMS")
    lines = [f"{sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def change_json(folder, name, change):
    value = json.loads((folder / name).read_text())
    changed = change(value)
    (folder / name).write_text(json.dumps(value if changed is None else changed))


def change_tensors(folder, name, change):
    tensors = safetensors.torch.load_file(folder / name)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / name)


def refused(folder):
    with pytest.raises(DataError) as told:
        Run.load(folder)
    sentence = str(told.value)
    assert "\n" not in sentence and sentence.endswith("."), sentence
    assert len(sentence) < 700, sentence
    return sentence


def test_the_copy_itself_is_a_run(forged):
    sign(forged)
    assert Run.load(forged).state.step == 3


SUMMARY = {
    "format": [None, 0, 3, 99, "2", [2], 2.5],
    "name": [None, 3, ["run"], {"a": 1}],
    "status": [None, 3, "done", "<b>finished</b>", ["finished"]],
    "step": [None, -1, 2.5, "3", 10**12, True, 1, [3]],
    "planned_steps": [-1, "3", 2.5, True, [1]],
    "seconds": [None, -1, "3", [1], "NaN"],
    "best_step": [None, -5, 4, "x", 2.5],
    "best_val_loss": [None, "low", [1]],
    "environment": [None, 3, "linux", ["linux"]],
    "dataset": [None, 3, "corpus", ["corpus"]],
    "prompts": [3, "the", [3], [None], {"a": 1}],
    "model": [None, 3, [], "gpt"],
    "training": [None, 3, [], "adam"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in SUMMARY.items() for v in vs])
def test_a_forged_value_of_run_json_is_refused(forged, key, value):
    change_json(forged, "run.json", lambda summary: summary.__setitem__(key, value))
    sign(forged)
    assert "is not a run that this version" in refused(forged)


@pytest.mark.parametrize("key", SUMMARY)
def test_a_missing_value_of_run_json_is_refused(forged, key):
    if key in ("planned_steps", "prompts"):
        pytest.skip("may be missing: an older format had none")
    change_json(forged, "run.json", lambda summary: summary.pop(key) and summary)
    sign(forged)
    assert "is not a run that this version" in refused(forged)


MODEL = {
    "n_layer": [0, -1, 2, 1_000, 1_000_000, 10**30, "1", None, True, 1.5],
    "n_head": [0, 3, 10**9, "1"],
    "n_embd": [0, 8, 10**13, None],
    "block_size": [0, 16, 10**13],
    "vocab_size": [0, 1, 271, 10**13],
    "dropout": [-1, 1, 2, "0", None],
    "colour": ["red"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in MODEL.items() for v in vs])
def test_a_forged_shape_is_refused_before_a_model_is_built(forged, key, value):
    change_json(forged, "run.json", lambda summary: summary["model"].__setitem__(key, value))
    sign(forged)
    assert "is not a run that this version" in refused(forged)


@pytest.mark.parametrize("n_layer", [1_000, 10**6])
def test_a_shape_without_weights_cannot_fill_the_memory(forged, n_layer):
    for name in ("best.safetensors", "resume.safetensors"):
        (forged / name).unlink()
    change_json(
        forged,
        "run.json",
        lambda summary: summary["model"].update(n_layer=n_layer, n_embd=4096, n_head=1),
    )
    sign(forged)
    assert "is not a run that this version" in refused(forged)


TRAINING = {
    "batch_size": [0, -1, "4", None, 1.5, True],
    "learning_rate": [0, -1, "1", None, "NaN"],
    "seed": [-1, 2**32, "0", 1.5],
    "max_steps": [0, -3, "3", 1.5],
    "cosine": [1, "yes", None],
    "device": [3, None],
    "colour": ["red"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in TRAINING.items() for v in vs])
def test_a_forged_training_is_refused(forged, key, value):
    change_json(forged, "run.json", lambda summary: summary["training"].__setitem__(key, value))
    sign(forged)
    assert "is not a run that this version" in refused(forged)


SAMPLES = [
    3,
    {},
    "text",
    [3],
    [None],
    [{}],
    [{"step": 1, "prompt": "the", "text": "other", "ids": []}],
    [{"step": "1", "prompt": "the", "text": "the", "ids": []}],
    [{"step": 1, "prompt": 3, "text": "the", "ids": []}],
    [{"step": 1, "prompt": "the", "text": None, "ids": []}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [999]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [-1]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [1.5]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": "12"}],
    [{"step": 1, "prompt": "the", "text": "the"}],
]


@pytest.mark.parametrize("samples", SAMPLES, ids=str)
def test_forged_samples_are_refused(forged, samples):
    (forged / "samples.json").write_text(json.dumps(samples))
    sign(forged)
    assert "is not a run that this version" in refused(forged)


HEAD = "step,batch_loss,train_loss,val_loss,tokens,epochs,seconds,learning_rate,test_loss\n"
HISTORIES = {
    "other columns": "a,b\n1,2\n",
    "a column more": HEAD.replace("test_loss", "test_loss,eta") + "0,,1,1,0,0,0,1,1,1\n",
    "a field more": HEAD + "0,,1,1,0,0,0,1,1,1\n",
    "a field less": HEAD + "0,,1,1\n",
    "words": HEAD + "zero,,low,low,0,0,0,1,1\n",
    "a fraction of a step": HEAD + "0.5,,1,1,0,0,0,1,1\n",
    "a negative step": HEAD + "-1,,1,1,0,0,0,1,1\n",
    "steps backwards": HEAD + "2,,1,1,0,0,0,1,1\n1,,1,1,0,0,0,1,1\n",
    "a step twice": HEAD + "1,,1,1,0,0,0,1,1\n1,,1,1,0,0,0,1,1\n",
    "steps to come": HEAD + "99,,1,1,0,0,0,1,1\n",
    "a huge step": HEAD + "9" * 5000 + ",,1,1,0,0,0,1,1\n",
    "no text": b"\xff\xfe\x00".decode("latin-1"),
    "a huge field": HEAD + "0," + "9" * 200_000 + ",1,1,0,0,0,1,1\n",
}


@pytest.mark.parametrize("kind", HISTORIES)
def test_a_forged_history_is_refused(forged, kind):
    (forged / "history.csv").write_text(HISTORIES[kind])
    sign(forged)
    assert "is not a run that this version" in refused(forged)


def whole_vocabulary(spec):
    return [base64.b64decode(t) for t in spec["tokens"]]


TOKENIZERS = {
    "another kind": {"kind": "runes"},
    "a list": [],
    "no tokens": {"kind": "bpe"},
    "tokens that are none": {"kind": "bpe", "tokens": [3, None]},
    "no base64": {"kind": "bpe", "tokens": ["!!!"] * 256},
    "too few": {"kind": "bpe", "tokens": [base64.b64encode(b"a").decode()]},
    "the same twice": {"kind": "bpe", "tokens": [base64.b64encode(b"a").decode()] * 300},
    "a nest": {"kind": "right-sized", "base": {"kind": "right-sized"}, "kept": [1]},
    "kept of nothing": {"kind": "right-sized", "base": {"kind": "gpt2"}},
    "kept beyond": {"kind": "right-sized", "base": {"kind": "gpt2"}, "kept": [10**9]},
    "kept words": {"kind": "right-sized", "base": {"kind": "gpt2"}, "kept": ["a"]},
    "kept negative": {"kind": "right-sized", "base": {"kind": "gpt2"}, "kept": [-1]},
    "a text": "gpt2",
    "nothing": None,
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_forged_tokenizer_is_refused(forged, kind):
    (forged / "tokenizer.json").write_text(json.dumps(TOKENIZERS[kind]))
    sign(forged)
    assert "is not a run that this version" in refused(forged)


def deep(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("name", ["run.json", "samples.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["", "{", "null", "NaN", deep(100_000), "\0", "[1", '"a'])
def test_a_file_of_json_that_is_none_is_refused(forged, name, content):
    (forged / name).write_text(content)
    sign(forged)
    refused(forged)


TEXTS = {
    "no validation": lambda t: t.pop("val"),
    "another text": lambda t: t.update(more=t["val"].clone()),
    "two dimensions": lambda t: t.update(val=t["val"][None].clone()),
    "fractions": lambda t: t.update(val=t["val"].float()),
    "ids beyond": lambda t: t["train"].__setitem__(3, 999),
    "ids below": lambda t: t["train"].__setitem__(3, -1),
    "one token": lambda t: t.update(val=t["val"][:1].clone()),
    "nothing": lambda t: t.update(train=t["train"][:0].clone()),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_forged_texts_are_refused(forged, kind):
    change_tensors(forged, "dataset.safetensors", TEXTS[kind])
    sign(forged)
    assert "is not a run that this version" in refused(forged)


WEIGHTS = {
    "one missing": lambda t: t.pop(sorted(t)[0]),
    "one more": lambda t: t.update(extra=torch.zeros(3)),
    "cut to a row": lambda t: t.update({k: v[:1].clone() for k, v in t.items() if v.dim() == 2}),
    "longer": lambda t: t.update({k: torch.cat([v, v]) for k, v in t.items() if v.dim()}),
    "transposed": lambda t: t.update({k: v.T.contiguous() for k, v in t.items() if v.dim() == 2}),
    "whole numbers": lambda t: t.update({k: v.long() for k, v in t.items()}),
    "two precisions": lambda t: t.update({k: v.double() for k, v in t.items() if v.dim() == 2}),
    "empty": lambda t: t.clear(),
    "truth values": lambda t: t.update({k: v > 0 for k, v in t.items()}),
}


@pytest.mark.parametrize("name", ["best.safetensors", "resume.safetensors"])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_forged_weights_are_refused(forged, name, kind):
    change_tensors(forged, name, WEIGHTS[kind])
    sign(forged)
    assert "is not a run that this version" in refused(forged)


MOMENTS = {
    "cut to one row": lambda v: v[:1].clone(),
    "cut to nothing": lambda v: v[:0].clone(),
    "a single number": lambda v: torch.zeros(()),
    "another precision": lambda v: v.double(),
    "whole numbers": lambda v: v.int(),
}


@pytest.mark.parametrize("which", ["exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("kind", MOMENTS)
def test_forged_moments_are_refused_and_end_no_process(forged, which, kind):
    """The optimiser's fused kernel writes beyond the end of moments that are too short."""
    name = f"adam.{which}.wte.weight"
    if which == "step" and kind.startswith(("cut", "a single")):
        change = {name: torch.zeros(2)}
    else:
        change = None
    change_tensors(
        forged,
        "resume.safetensors",
        lambda t: t.update(change or {name: MOMENTS[kind](t[name])}),
    )
    sign(forged)
    assert "is not a run that this version" in refused(forged)
    if (which, kind) == ("exp_avg", "cut to one row"):
        code = f"import slmlab as lab; lab.Run.load({str(forged)!r}).resume(progress=False)"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.returncode == 1  # a sentence, not a segmentation fault
        assert "DataError" in result.stderr


@pytest.mark.parametrize("name", ["dataset.safetensors", "best.safetensors", "resume.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"\xff" * 8, b"\x10" + b"\0" * 7 + b"not json at all.", b"PK\3\4"]
)
def test_tensors_that_are_none_are_refused(forged, name, content):
    (forged / name).write_bytes(content)
    sign(forged)
    assert "is not a run that this version" in refused(forged)


LISTS = {
    "out of the folder": "{hash}  ../../../etc/hostname\n",
    "an absolute path": "{hash}  /etc/hostname\n",
    "a foreign file": "{hash}  notes.txt\n",
    "a folder": "{hash}  .\n",
    "nothing": "",
    "no hash": "run.json\n",
    "no text": "\udcff",
    "a hidden file": "{hash}  .bashrc\n",
    "a device": "{hash}  /dev/zero\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_names_other_files_is_refused_and_opens_none(forged, kind, monkeypatch):
    line = LISTS[kind].format(hash="0" * 64)
    (forged / "SHA256SUMS").write_bytes(line.encode("utf-8", "surrogateescape"))
    opened, open_ = [], os.open
    monkeypatch.setattr(
        os, "open", lambda path, *a, **k: opened.append(path) or open_(path, *a, **k)
    )
    refused(forged)
    assert {os.path.basename(path) for path in opened} <= FILES.keys()
    assert all(str(path).startswith(str(forged)) for path in opened)


def as_fifo(path):
    os.mkfifo(path)


def as_device(path):
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # endless zeros


def as_link(path):
    path.symlink_to(path.parent.parent / "elsewhere")
    (path.parent.parent / "elsewhere").write_text("{}")


def as_folder(path):
    path.mkdir()


def as_sparse(path):
    with path.open("wb") as file:
        file.truncate(10**13)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("make", [as_fifo, as_device, as_link, as_folder, as_sparse])
def test_what_is_no_regular_file_is_refused_without_waiting(forged, name, make):
    (forged / name).unlink()
    try:
        make(forged / name)
    except OSError:
        pytest.skip("this system cannot make one")
    assert "is not a complete run" in refused(forged)


@pytest.mark.parametrize("make", [as_fifo, as_device])
def test_a_path_that_is_no_folder_is_refused_without_waiting(tmp_path, make):
    try:
        make(tmp_path / "run")
    except OSError:
        pytest.skip("only root makes devices")
    with pytest.raises(DataError, match="a saved run is a folder"):
        Run.load(tmp_path / "run")


@pytest.mark.parametrize("shape", [(1, 1, 4), (2, 2, 8), (3, 4, 12)])
def test_the_expected_shapes_are_those_of_the_model(shape):
    n_layer, n_head, n_embd = shape
    config = lab.GPTConfig(30, 6, n_layer, n_head, n_embd)
    actual = {k: tuple(v.shape) for k, v in lab.GPT(config).state_dict().items()}
    assert parameter_shapes(config) == actual
