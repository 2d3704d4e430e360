"""A run folder is somebody else's data: signed as its author likes, and wrong in any way."""

import base64
import json
import os
import random
import resource
import subprocess
import sys
import tracemalloc
import warnings
from contextlib import suppress
from functools import partial
from hashlib import sha256
from types import SimpleNamespace

import psutil
import pytest
import safetensors.torch
import torch

import slmlab as lab
from slmlab import DataError, Run
from slmlab.engine import run_parsing, storage
from slmlab.engine.run_files import FILES, RunFiles
from slmlab.engine.run_parsing import parameter_shapes
from slmlab.text.tokenizer import tokenizer_from_spec

pytestmark = pytest.mark.usefixtures("quick_tokenizers")


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


@pytest.fixture(scope="module")
def original_history(tmp_path_factory):
    """A run on the corpus, of which the history alone was kept."""
    data = lab.corpus_dataset(500, "right-sized")
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 4))
    run = lab.train(
        model, data, lab.TrainConfig(2, 1e-2, max_steps=2), prompts=["#"], progress=False
    )
    return run.save(tmp_path_factory.mktemp("history") / "run", keep="history")


@pytest.fixture(scope="module")
def original_experts(original, tmp_path_factory):
    """A saved run of a model with experts."""
    data = Run.load(original).dataset
    shape = lab.ExpertConfig(data.tokenizer.n_vocab, 8, 1, 1, 4, n_expert=4, n_shared=1)
    run = lab.train(lab.GPT(shape), data, lab.TrainConfig(2, 1e-2, max_steps=3), progress=False)
    return run.save(tmp_path_factory.mktemp("experts") / "run")


def copied(original, folder):
    folder.mkdir()
    for path in original.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def forged(original, tmp_path):
    """A copy of the run, to be changed and signed again."""
    return copied(original, tmp_path / "run")


@pytest.fixture
def forged_history(original_history, tmp_path):
    return copied(original_history, tmp_path / "run")


def sign(folder):
    names = sorted(p.name for p in folder.iterdir() if p.name != "SHA256SUMS")
    lines = [f"{sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def change_json(folder, name, change):
    value = json.loads((folder / name).read_text())
    changed = change(value)
    (folder / name).write_text(json.dumps(value if changed is None else changed))
    sign(folder)


def change_tensors(folder, name, change):
    tensors = safetensors.torch.load_file(folder / name)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / name)
    sign(folder)


def refused(folder, part="is not a run that this version"):
    """Require that a folder is refused in one sentence that has this part."""
    with pytest.raises(DataError) as told:
        Run.load(folder)
    sentence = str(told.value)
    assert "\n" not in sentence and sentence.endswith("."), sentence
    assert len(sentence) < 700, sentence
    assert part in sentence
    return sentence


def test_the_copies_themselves_are_runs(forged, original_history):
    sign(forged)
    assert Run.load(forged).state.step == 3
    assert Run.load(original_history).state.step == 2


# run.json

NAN, INFINITY = float("nan"), float("inf")
SUMMARY = {
    "format": [None, 0, 3, 99, "2", [2], 2.5, 2.0, True, NAN],
    "name": [
        None,
        3,
        ["run"],
        {"a": 1},
        "two\nlines",
        "\x1b]0;title\x07",
        "a\u202eb",
        "\ud800",
        "x" * 1001,
    ],
    "parameters": [None, 7, -1, "many", 10**30],
    "status": [None, 3, "done", "<b>finished</b>", ["finished"]],
    "step": [None, -1, 2.5, "3", 10**12, True, 1, [3], INFINITY],
    "planned_steps": [-1, 0, "3", 2.5, True, [1]],
    "seconds": [None, -1, "3", [1], "NaN", NAN, INFINITY, 10**400],
    "best_step": [None, -5, 4, "x", 2.5],
    "best_val_loss": [None, "low", [1], NAN, INFINITY, 10**400],
    "environment": [None, 3, "linux", ["linux"], {"a": NAN}, {"a": "\udfff"}],
    "dataset": [None, 3, "corpus", ["corpus"]],
    "prompts": [3, "the", [3], [None], {"a": 1}, ["\ud800"]],
    "model": [None, 3, [], "gpt"],
    "training": [None, 3, [], "adam"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in SUMMARY.items() for v in vs])
def test_a_forged_value_of_run_json_is_refused(forged, key, value):
    change_json(forged, "run.json", lambda summary: summary.__setitem__(key, value))
    refused(forged)


@pytest.mark.parametrize("key", sorted(SUMMARY.keys() - {"planned_steps", "prompts"}))
def test_a_missing_value_of_run_json_is_refused(forged, key):
    change_json(forged, "run.json", lambda summary: summary.pop(key) and summary)
    refused(forged)


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
    def change(summary):
        summary["model"][key] = value
        with suppress(TypeError, ValueError):  # as a careful forger would
            summary["parameters"] = lab.GPTConfig(**summary["model"]).n_params

    change_json(forged, "run.json", change)
    refused(forged)


EXPERTS = {
    "n_expert": [0, 1, 3, 5, 1_025, 10**30, "4", None, True, 4.5],
    "n_active": [0, 5, "2", None],
    "n_shared": [-1, 0, 2, "1"],
    "expert_width": [-1, 2, 10**10, "1", None],
    "aux_loss": [-1, "0.1", None, INFINITY],
    "bias_rate": [-1, 2, "0", NAN],
    "capacity": [-1, 10**5, "1", NAN],
    "n_embd": [0, 8, "4", None],
    "colour": ["red"],
}


@pytest.mark.parametrize("careful", [True, False], ids=["parameters too", "alone"])
@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in EXPERTS.items() for v in vs])
def test_forged_experts_are_refused(original_experts, tmp_path, key, value, careful):
    def change(summary):
        summary["model"][key] = value
        with suppress(TypeError, ValueError):
            if careful:
                summary["parameters"] = lab.ExpertConfig(**summary["model"]).n_params

    forged = copied(original_experts, tmp_path / "run")
    change_json(forged, "run.json", change)
    refused(forged)


def without_experts(summary):
    summary["model"] = {
        k: v for k, v in summary["model"].items() if k not in EXPERTS or k == "n_embd"
    }


FORMATS = {
    "2 with experts": lambda summary: summary.update(format=2),
    "1 with experts": lambda summary: summary.update(format=1),
    "3 without experts": without_experts,
    "2 without experts": lambda summary: (summary.update(format=2), without_experts(summary))[0],
}


@pytest.mark.parametrize("careful", [True, False], ids=["parameters too", "alone"])
@pytest.mark.parametrize("kind", FORMATS)
def test_experts_and_the_format_go_together(original_experts, tmp_path, kind, careful):
    forged = copied(original_experts, tmp_path / "run")
    sign(forged)
    assert Run.load(forged).model.config.n_expert == 4

    def change(summary):
        FORMATS[kind](summary)
        shape = lab.ExpertConfig if summary["format"] == 3 else lab.GPTConfig
        with suppress(TypeError):
            if careful:
                summary["parameters"] = shape(**summary["model"]).n_params

    change_json(forged, "run.json", change)
    refused(forged)


def test_a_shape_without_weights_cannot_fill_the_memory(forged_history):
    def change(summary):
        summary["model"] |= {"n_layer": 1_000, "n_embd": 512, "n_head": 1}
        summary["parameters"] = lab.GPTConfig(**summary["model"]).n_params

    change_json(forged_history, "run.json", change)
    assert "parameters without any weights" in refused(forged_history)


@pytest.mark.parametrize("n_params", [150_000_001, 480_000_000])
def test_a_run_without_weights_has_no_more_parameters_than_gpt2_small(n_params, monkeypatch):
    """A few kilobytes would take gigabytes; GPT-2 small takes half of one."""
    small = lab.GPTConfig(50_257, 1_024, 12, 12, 768)
    run_parsing.require_buildable(small)
    monkeypatch.setattr(lab.GPTConfig, "n_params", n_params)
    with pytest.raises(ValueError, match="parameters without any weights; it may have 150,000,000"):
        run_parsing.require_buildable(small)


def test_a_history_that_could_not_be_built_again_is_not_saved(
    original_history, tmp_path, monkeypatch
):
    run = Run.load(original_history)
    monkeypatch.setattr(run_parsing, "MAX_UNTRAINED", run.model.n_params - 1)
    with pytest.raises(ValueError, match=r"cannot be saved: a model of .* still in memory"):
        run.save(tmp_path / "run", keep="history")
    assert not list(tmp_path.iterdir())


TRAINING = {
    "batch_size": [0, -1, "4", None, 1.5, True, 10**12],
    "learning_rate": [0, -1, "1", None, "NaN", NAN],
    "seed": [-1, 2**32, "0", 1.5],
    "max_steps": [0, -3, "3", 1.5, None],
    "seconds": [5, "5"],
    "cosine": [1, "yes", None],
    "average": [1, -0.5, "0.9", None, NAN],
    "precision": ["fp16", 16, None, ["bf16"]],
    "device": [3, None, "\x1b[31m", ""],
    "colour": ["red"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in TRAINING.items() for v in vs])
def test_a_forged_training_is_refused(forged, key, value):
    change_json(forged, "run.json", lambda summary: summary["training"].__setitem__(key, value))
    refused(forged)


@pytest.mark.parametrize("device", ["meta", "cuda:99", "banana"])
def test_a_forged_device_is_refused_before_a_step(forged, device):
    def change(summary):
        summary["training"] |= {"device": device, "max_steps": 9}

    change_json(forged, "run.json", change)
    with pytest.raises(ValueError, match="no device"):
        Run.load(forged).resume(progress=False)


SOURCE = {
    "kind": [None, 3, "novel", ["corpus"]],
    "vocabulary": [None, 3, ["gpt2"], "bpe-1", "bpe-999999999999", "bpe-400", "gpt2", "runes"],
    "n_tokens": [None, "500", 2.5, -1, 0, True, 10**30, [500], 400],
    "sha256": [None, "", "0" * 64],
    "test_sha256": [None, "0" * 64],
    "train_tokens": [None, 449, "450", 10**30],
    "val_tokens": [None, 51, "50"],
    "more": [1],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in SOURCE.items() for v in vs])
def test_a_forged_source_of_the_corpus_is_refused(forged_history, key, value):
    change_json(
        forged_history, "run.json", lambda summary: summary["dataset"].__setitem__(key, value)
    )
    refused(forged_history)


def test_a_history_of_a_model_that_does_not_know_its_texts_is_refused(forged_history):
    def change(summary):
        summary["model"]["vocab_size"] = 10
        summary["parameters"] = lab.GPTConfig(**summary["model"]).n_params

    change_json(forged_history, "run.json", change)
    (forged_history / "samples.json").write_text("[]")
    sign(forged_history)
    assert "ids that its model has not" in refused(forged_history)


@pytest.mark.parametrize("name", ["dataset", "best", "resume"])
def test_a_forged_type_of_tensors_does_not_rule_the_terminal(forged, name):
    entry = {"dtype": "\x1b[2J\x1b]0;pwn\x07", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({"train": entry}).encode()
    content = len(header).to_bytes(8, "little") + header
    (forged / f"{name}.safetensors").write_bytes(content)
    sign(forged)
    assert refused(forged, "pwn").isprintable()


# The other texts

SAMPLES = [
    3,
    {},
    "text",
    [3],
    [None],
    [{}],
    [{"step": 1, "prompt": "the", "text": "other", "ids": []}],
    [{"step": "1", "prompt": "the", "text": "the", "ids": []}],
    [{"step": 4, "prompt": "the", "text": "the", "ids": []}],
    [{"step": -1, "prompt": "the", "text": "the", "ids": []}],
    [{"step": True, "prompt": "the", "text": "the", "ids": []}],
    [{"step": 1, "prompt": 3, "text": "the", "ids": []}],
    [{"step": 1, "prompt": "the", "text": None, "ids": []}],
    [{"step": 1, "prompt": "the", "text": "the\ud800", "ids": []}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [999]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [-1]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [1.5]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [True]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": [[1]]}],
    [{"step": 1, "prompt": "the", "text": "the", "ids": "12"}],
    [{"step": 1, "prompt": "the", "text": "the"}],
]


@pytest.mark.parametrize("samples", SAMPLES, ids=ascii)
def test_forged_samples_are_refused(forged, samples):
    (forged / "samples.json").write_text(json.dumps(samples))
    sign(forged)
    refused(forged)


EMPTY_SAMPLE = '{"step":1,"prompt":"","text":"","ids":[]}'
SAMPLE_FLOODS = {
    filling: f"[{','.join([filling] * (1_000_000 // len(filling)))}]"
    for filling in (
        *("{}", "[]", "1", '"ab"', '{"ids":[]}', '"step":', '{"step":1}'),
        '{"step":1,"ids":[[],[],[]]}',
    )
} | {
    "texts that make an outline": ('"step":' + 'ab"' * 22) * 13_000,
    "lists in a sample": f'[{EMPTY_SAMPLE[:-1]},"a":[{",".join(["[]"] * 400_000)}]}}]',
}


def memory_of(call):
    """How many bytes a call takes until it is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", SAMPLE_FLOODS)
def test_forged_samples_take_little_memory_before_they_are_refused(kind):
    content = SAMPLE_FLOODS[kind].encode()
    parse = partial(run_parsing.parse_samples, content, 270, 3, with_ids=True)
    assert memory_of(parse) < 40_000_000


def test_a_run_has_200000_samples_at_most():
    content = f"[{','.join([EMPTY_SAMPLE] * 200_000)}]".encode()
    assert len(run_parsing.parse_samples(content, 270, 3, with_ids=True)) == 200_000
    with pytest.raises(ValueError, match="more than 200,000 samples"):
        run_parsing.parse_samples(content[:-1] + f",{EMPTY_SAMPLE}]".encode(), 270, 3, True)


def test_a_step_has_samples_of_a_hundred_thousand_tokens_at_most():
    sample = {"step": 1, "prompt": "", "text": "", "ids": [1] * 10_000}
    content = json.dumps([sample] * 10 + [sample | {"step": 2}] * 10).encode()
    assert len(run_parsing.parse_samples(content, 270, 3, with_ids=True)) == 20
    with pytest.raises(ValueError, match="those of its step 110,000"):
        run_parsing.parse_samples(json.dumps([sample] * 11).encode(), 270, 3, with_ids=True)


def test_samples_are_read_across_the_parts_of_a_file():
    rng = random.Random(0)
    samples = [
        {"step": n, "prompt": "", "text": '\U0001f600é\\"}]' * rng.randrange(30_000), "ids": [n]}
        for n in range(20)
    ]
    for content in (json.dumps(samples), json.dumps(samples, ensure_ascii=False, indent=1)):
        assert run_parsing.parse_samples(content.encode(), 270, 30, with_ids=True) == samples


def test_the_samples_of_20000_looks_fit_into_a_run():
    sample = {
        "step": 19_999,
        "prompt": "collection.add(",
        "text": "collection.add(" + " words" * 30,
    }
    content = storage._json_lines([sample | {"ids": list(range(50_200, 50_230))}])
    assert len(content) * 160_000 < FILES["samples.json"]


FLOODS = {
    "commas": b"ab," * 400_000,
    "commas below the head": lambda: HEAD.encode() + b"1," * 400_000,
    "a row over many lines": lambda: HEAD.encode() + b'1,"\n",' * 200_000,
    "blank lines": lambda: HEAD.encode() + b"\n" * 500_000,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_forged_history_takes_little_memory_before_it_is_refused(kind):
    content = made() if callable(made := FLOODS[kind]) else made
    assert memory_of(lambda: run_parsing._history(content, broken=False)) < 5_000_000


def test_a_history_has_400000_looks_at_most(monkeypatch):
    monkeypatch.setattr(run_parsing, "MAX_LOOKS", 3)
    rows = [f"{step},,1,1,0,0,0,1,1\n" for step in range(4)]
    assert len(run_parsing._history((HEAD + "".join(rows[:3])).encode(), False)) == 3
    with pytest.raises(ValueError, match="more than 4 lines"):
        run_parsing._history((HEAD + "".join(rows)).encode(), False)


@pytest.mark.parametrize("filling", ["{}", "[]", '"\u00fc"'])
def test_a_forged_tokenizer_takes_little_memory_before_it_is_refused(filling):
    tokens = ",".join([filling] * 600_000)
    content = f'{{"kind": "bpe", "tokens": [{tokens}]}}'.encode()
    assert memory_of(lambda: run_parsing.parse_dataset(b"", content, {})) < 5_000_000


@pytest.mark.parametrize("name", ["dataset.safetensors", "best.safetensors"])
def test_a_long_list_of_tensors_is_not_parsed(forged, name):
    entries = {f"{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100)}
    header = json.dumps(entries).encode()
    (forged / name).write_bytes(len(header).to_bytes(8, "little") + header)
    sign(forged)
    assert "it lists more tensors than it can have" in refused(forged)


def test_samples_of_thousands_of_steps_are_read():
    text = 'step: \\"{[x]}\\\\" \\\\" "step": 1'
    samples = [
        {"step": step, "prompt": prompt, "text": prompt + text, "ids": [1, 2]}
        for step in range(3_000)
        for prompt in ("step", '"', "\\")
    ]
    content = json.dumps(samples, indent=1).encode()
    assert run_parsing.parse_samples(content, 270, 3_000, with_ids=True) == samples


def test_a_sample_has_ten_thousand_tokens_at_most(forged):
    def samples(n):
        return [{"step": 1, "prompt": "the", "text": "the", "ids": [1] * n}]

    change_json(forged, "samples.json", lambda _: samples(10_000))
    assert len(Run.load(forged).samples[0]["ids"]) == 10_000
    change_json(forged, "samples.json", lambda _: samples(10_001))
    assert "more than 10,000" in refused(forged)


def test_a_context_has_8192_tokens_at_most(forged):
    assert lab.GPTConfig(10, 8_192, 1, 1, 1).block_size == 8_192
    change_json(forged, "run.json", lambda s: s["model"].__setitem__("block_size", 8_193))
    assert "8,192" in refused(forged)


def test_a_token_has_a_thousand_bytes_at_most():
    spec = {"kind": "bpe", "tokens": [*ALL_BYTES, *bytes_of(b"a" * 1_000)]}
    assert tokenizer_from_spec(spec).n_vocab == 257
    spec["tokens"] += bytes_of(b"b" * 1_001)
    with pytest.raises(ValueError, match="of at most 1,000 bytes"):
        tokenizer_from_spec(spec)


def test_a_text_has_32_megabytes_at_most(forged):
    os.truncate(forged / "dataset.safetensors", 32_000_001)  # a file of holes: nothing is written
    assert "it may have 32,000,000 at most" in refused(forged, "not a complete run")


def test_a_large_file_is_hashed_in_parts(forged):
    size = 30_000_000
    os.truncate(forged / "resume.safetensors", size)
    files = RunFiles(forged)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"resume\.safetensors has changed"):
        files.verify("resume.safetensors")
    assert tracemalloc.get_traced_memory()[1] < size / 5
    tracemalloc.stop()


HEAD = "step,batch_loss,train_loss,val_loss,tokens,epochs,seconds,learning_rate,test_loss\n"
HISTORIES = {
    "nothing": "",
    "no rows": HEAD,
    "other columns": "a,b\n1,2\n",
    "a column more": HEAD.replace("test_loss", "test_loss,eta") + "0,,1,1,0,0,0,1,1,1\n",
    "a column twice": HEAD.replace("test_loss", "val_loss") + "0,,1,1,0,0,0,1,1\n",
    "a field more": HEAD + "0,,1,1,0,0,0,1,1,1\n",
    "a field less": HEAD + "0,,1,1\n",
    "words": HEAD + "zero,,low,low,0,0,0,1,1\n",
    "no step": HEAD + ",,1,1,0,0,0,1,1\n",
    "a fraction of a step": HEAD + "0.5,,1,1,0,0,0,1,1\n",
    "a negative step": HEAD + "-1,,1,1,0,0,0,1,1\n",
    "steps backwards": HEAD + "2,,1,1,0,0,0,1,1\n1,,1,1,0,0,0,1,1\n",
    "a step twice": HEAD + "1,,1,1,0,0,0,1,1\n1,,1,1,0,0,0,1,1\n",
    "steps to come": HEAD + "99,,1,1,0,0,0,1,1\n",
    "a huge step": HEAD + "9" * 5000 + ",,1,1,0,0,0,1,1\n",
    "no losses": HEAD + "0,,,,0,0,0,1,1\n",
    "losses that are no numbers": HEAD + "0,,nan,nan,0,0,0,1,1\n",
    "an infinite loss": HEAD + "0,,inf,1,0,0,0,1,1\n",
    "a loss beyond any training's": HEAD + "0,,2e9,1,0,0,0,1,1\n",
    "a loss as far below 0": HEAD + "0,,1,-2e9,0,0,0,1,1\n",
    "an infinite test loss": HEAD + "0,,1,1,0,0,0,1,inf\n",
    "negative seconds": HEAD + "0,,1,1,0,0,-1,1,1\n",
    "endless seconds": HEAD + "0,,1,1,0,0,inf,1,1\n",
    "no seconds": HEAD + "0,,1,1,0,0,,1,1\n",
    "no epochs": HEAD + "0,,1,1,0,nan,0,1,1\n",
    "negative tokens": HEAD + "0,,1,1,-5,0,0,1,1\n",
    "no learning rate": HEAD + "0,,1,1,0,0,0,,1\n",
    "no text": b"\xff\xfe\x00".decode("latin-1"),
    "a huge field": HEAD + "0," + "9" * 200_000 + ",1,1,0,0,0,1,1\n",
}


@pytest.mark.parametrize("kind", HISTORIES)
def test_a_forged_history_is_refused(forged, kind):
    (forged / "history.csv").write_text(HISTORIES[kind])
    sign(forged)
    refused(forged)


def bytes_of(*tokens):
    return [base64.b64encode(token).decode() for token in tokens]


ALL_BYTES = bytes_of(*(bytes([i]) for i in range(256)))
GPT2 = {"kind": "gpt2"}
TOKENIZERS = {
    "another kind": {"kind": "runes"},
    "a list": [],
    "no tokens": {"kind": "bpe"},
    "tokens that are none": {"kind": "bpe", "tokens": [3, None]},
    "no base64": {"kind": "bpe", "tokens": ["!!!"] * 256},
    "base64 in another way": {"kind": "bpe", "tokens": [*ALL_BYTES, "YWI=\n"]},
    "too few": {"kind": "bpe", "tokens": bytes_of(b"a")},
    "the same twice": {"kind": "bpe", "tokens": bytes_of(b"a") * 300},
    "a token twice": {"kind": "bpe", "tokens": [*ALL_BYTES, *bytes_of(b"ab", b"ab")]},
    "an empty token": {"kind": "bpe", "tokens": [*ALL_BYTES, ""]},
    "a byte missing": {"kind": "bpe", "tokens": [*ALL_BYTES[1:], *bytes_of(b"ab")]},
    "more than it takes": {"kind": "bpe", "tokens": ALL_BYTES, "colour": "red"},
    "a nest": {"kind": "right-sized", "base": {"kind": "right-sized"}, "kept": [1]},
    "kept of nothing": {"kind": "right-sized", "base": GPT2},
    "kept beyond": {"kind": "right-sized", "base": GPT2, "kept": [10**9]},
    "kept words": {"kind": "right-sized", "base": GPT2, "kept": ["a"]},
    "kept negative": {"kind": "right-sized", "base": GPT2, "kept": [-1]},
    "kept fractions": {"kind": "right-sized", "base": GPT2, "kept": [i + 0.5 for i in range(256)]},
    "kept without bytes": {"kind": "right-sized", "base": GPT2, "kept": list(range(300, 600))},
    "kept backwards": {"kind": "right-sized", "base": GPT2, "kept": list(range(299, -1, -1))},
    "kept twice": {"kind": "right-sized", "base": GPT2, "kept": [*range(300), 299]},
    "a text": "gpt2",
    "nothing": None,
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_forged_tokenizer_is_refused(forged, kind):
    (forged / "tokenizer.json").write_text(json.dumps(TOKENIZERS[kind]))
    sign(forged)
    refused(forged)


def deep(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("name", ["run.json", "samples.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "null", "NaN", "Infinity", deep(100_000), "\0", "[1", '"a', "1" * 5000]
)
def test_a_file_of_json_that_is_none_is_refused(forged, name, content):
    (forged / name).write_text(content)
    sign(forged)
    refused(forged)


# Tensors

TEXTS = {
    "no validation": lambda t: t.pop("val"),
    "another text": lambda t: t.update(more=t["val"].clone()),
    "two dimensions": lambda t: t.update(val=t["val"][None].clone()),
    "a single number": lambda t: t.update(val=t["val"][0].clone()),
    "fractions": lambda t: t.update(val=t["val"].float()),
    "longer numbers": lambda t: t.update(val=t["val"].long()),
    "ids beyond": lambda t: t["train"].__setitem__(3, 999),
    "ids below": lambda t: t["train"].__setitem__(3, -1),
    "test ids beyond": lambda t: t["test"].__setitem__(3, 999),
    "one token": lambda t: t.update(val=t["val"][:1].clone()),
    "nothing": lambda t: t.update(train=t["train"][:0].clone()),
    "another length": lambda t: t.update(train=t["train"][:-1].clone()),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_forged_texts_are_refused(forged, kind):
    change_tensors(forged, "dataset.safetensors", TEXTS[kind])
    refused(forged)


WEIGHTS = {
    "one missing": lambda t: t.pop(sorted(t)[0]),
    "one more": lambda t: t.update(extra=torch.zeros(3)),
    "cut to a row": lambda t: t.update({k: v[:1].clone() for k, v in t.items() if v.dim() == 2}),
    "longer": lambda t: t.update({k: torch.cat([v, v]) for k, v in t.items() if v.dim()}),
    "transposed": lambda t: t.update({k: v.T.contiguous() for k, v in t.items() if v.dim() == 2}),
    "flat": lambda t: t.update({k: v.flatten() for k, v in t.items()}),
    "whole numbers": lambda t: t.update({k: v.long() for k, v in t.items()}),
    "complex numbers": lambda t: t.update({k: v.to(torch.complex64) for k, v in t.items()}),
    "two precisions": lambda t: t.update({k: v.double() for k, v in t.items() if v.dim() == 2}),
    "empty": lambda t: t.clear(),
    "truth values": lambda t: t.update({k: v > 0 for k, v in t.items()}),
    "no numbers": lambda t: [v.view(-1)[0].fill_(NAN) for k, v in t.items() if "adam" not in k],
    "infinite": lambda t: [v.view(-1)[0].fill_(INFINITY) for k, v in t.items() if "adam" not in k],
}


@pytest.mark.parametrize("name", ["best.safetensors", "resume.safetensors"])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_forged_weights_are_refused(forged, name, kind):
    change_tensors(forged, name, WEIGHTS[kind])
    refused(forged)


MOMENTS = {
    "cut to one row": lambda v: v[:1].clone() if v.dim() else torch.zeros(2),
    "cut to nothing": lambda v: v[:0].clone() if v.dim() else torch.zeros(0),
    "of another shape": lambda v: torch.zeros(()) if v.dim() else torch.zeros(1),
    "another precision": lambda v: v.double(),
    "whole numbers": lambda v: v.int(),
}


@pytest.mark.parametrize("which", ["exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("kind", MOMENTS)
def test_forged_moments_are_refused(forged, which, kind):
    name = f"adam.{which}.wte.weight"
    change_tensors(
        forged, "resume.safetensors", lambda t: t.__setitem__(name, MOMENTS[kind](t[name]))
    )
    refused(forged)


@pytest.fixture(scope="module")
def original_average(original, tmp_path_factory):
    """A saved run whose model is an average of weights."""
    run = Run.load(original)
    run.resume(lab.TrainConfig(2, 1e-2, max_steps=6, average=0.5), progress=False)
    return run.save(tmp_path_factory.mktemp("average") / "run")


RAW = {
    "one missing": lambda t: t.pop("raw.wte.weight"),
    "all but one missing": lambda t: [
        t.pop(name) for name in list(t) if name.startswith("raw.") and "wte" not in name
    ],
    "one more": lambda t: t.update({"raw.extra": torch.zeros(3)}),
    "too short": lambda t: t.update({"raw.wte.weight": t["raw.wte.weight"][:1].clone()}),
    "another precision": lambda t: t.update({"raw.ln_f.bias": t["raw.ln_f.bias"].double()}),
    "whole numbers": lambda t: t.update({"raw.ln_f.bias": t["raw.ln_f.bias"].int()}),
    "no numbers": lambda t: t["raw.ln_f.bias"].fill_(NAN),
}


@pytest.mark.parametrize("kind", RAW)
def test_forged_weights_behind_an_average_are_refused(original_average, tmp_path, kind):
    forged = copied(original_average, tmp_path / "run")
    assert Run.load(forged).state.raw_weights
    change_tensors(forged, "resume.safetensors", RAW[kind])
    refused(forged)


def test_moments_that_are_too_short_end_no_process(forged):
    """PyTorch's fused optimiser writes beyond their end, which is a segmentation fault."""
    cut = MOMENTS["cut to one row"]
    change_tensors(
        forged,
        "resume.safetensors",
        lambda t: t.update({k: cut(v) for k, v in t.items() if k.startswith("adam.exp")}),
    )
    code = (
        "import sys, slmlab as lab\n"
        "try:\n"
        "    lab.Run.load(sys.argv[1]).resume(lab.TrainConfig(2, 1e-2, max_steps=200))\n"
        "except lab.DataError:\n"
        "    sys.exit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(forged)], capture_output=True)
    assert ended.returncode == 7, ended.stderr


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, 1e30])
@pytest.mark.parametrize("which", ["exp_avg", "exp_avg_sq", "step"])
def test_moments_of_any_value_train_or_diverge(forged, which, value):
    def change(tensors):
        for name, tensor in tensors.items():
            if name.startswith(f"adam.{which}."):
                tensor.fill_(value)

    change_tensors(forged, "resume.safetensors", change)
    run = Run.load(forged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it diverged
        run.resume(lab.TrainConfig(2, 1e-2, max_steps=6), progress=False)
    assert run.state.status in ("finished", "diverged")
    assert torch.isfinite(run.best_model.wte.weight).all()


@pytest.mark.parametrize("name", ["dataset.safetensors", "best.safetensors", "resume.safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\xff" * 8,
        b"\x10" + b"\0" * 7 + b"not json at all.",
        b"\x02" + b"\0" * 7 + b"[]",
        b"PK\3\4",
    ],
)
def test_tensors_that_are_none_are_refused(forged, name, content):
    (forged / name).write_bytes(content)
    sign(forged)
    refused(forged)


@pytest.mark.parametrize("name", ["best.safetensors", "resume.safetensors"])
def test_weights_larger_than_their_model_explains_are_never_read(forged, name):
    """Two gigabytes of nothing, which a few kilobytes of disk can hold."""
    os.truncate(forged / name, 1_900_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "but it may have" in refused(forged, "is not a complete run")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


def test_weights_larger_than_the_memory_are_never_read(forged, monkeypatch):
    """Zeros of the right shapes, with the right hash: a sparse file of them takes no disk."""
    read, opened = RunFiles.read, []

    def noted(files, name, *most):
        opened.append(name)
        return read(files, name, *most)

    monkeypatch.setattr(RunFiles, "read", noted)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5_000))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=1_000))
    with pytest.raises(DataError, match=r"needs about .* MB of memory to be loaded, and 0 MB are"):
        Run.load(forged)
    assert opened and not [name for name in opened if name.startswith(("best", "resume"))]


@pytest.mark.parametrize("shape", [(1, 1, 4), (2, 2, 8), (3, 4, 12)])
def test_the_expected_shapes_are_those_of_the_model(shape):
    n_layer, n_head, n_embd = shape
    shape = (30, 6, n_layer, n_head, n_embd)
    for config in (lab.GPTConfig(*shape), lab.ExpertConfig(*shape, n_expert=3, n_shared=n_layer)):
        actual = {k: tuple(v.shape) for k, v in lab.GPT(config).state_dict().items()}
        assert parameter_shapes(config) == actual


# The folder

LISTS = {
    "out of the folder": "{hash}  ../../../etc/hostname\n",
    "an absolute path": "{hash}  /etc/hostname\n",
    "a foreign file": "{hash}  notes.txt\n",
    "a folder": "{hash}  .\n",
    "itself": "{hash}  SHA256SUMS\n",
    "nothing": "",
    "no hash": "run.json\n",
    "another hash": "0123  run.json\n",
    "no text": "\udcff",
    "a hidden file": "{hash}  .bashrc\n",
    "a device": "{hash}  /dev/zero\n",
    "a name of another system": "{hash}  C:\\run.json\n",
    "a file twice": "{hash}  run.json\n{hash}  run.json\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_names_other_files_is_refused_and_opens_none(forged, kind, monkeypatch):
    line = LISTS[kind].format(hash="0" * 64)
    whole = (forged / "SHA256SUMS").read_bytes()
    opened, open_ = [], os.open
    monkeypatch.setattr(
        os, "open", lambda path, *a, **k: opened.append(str(path)) or open_(path, *a, **k)
    )
    for others in (b"", whole):
        (forged / "SHA256SUMS").write_bytes(others + line.encode("utf-8", "surrogateescape"))
        if others and not line:
            continue
        refused(forged, "is not a complete run")
    # The folder that it is in, to lock it, and the list.
    assert set(opened) == {str(forged.parent), str(forged / "SHA256SUMS")}


SETS = {
    "no weights, but texts": {"best.safetensors", "resume.safetensors"},
    "no best weights": {"best.safetensors"},
    "no texts": {"dataset.safetensors"},
    "no tokenizer": {"tokenizer.json"},
    "no history": {"history.csv"},
    "no samples": {"samples.json"},
    "no summary": {"run.json"},
}


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("listed", [True, False], ids=["there but not listed", "not there"])
def test_a_run_that_lacks_files_is_refused(forged, kind, listed):
    for name in SETS[kind]:
        (forged / name).rename(forged.parent / name)
    sign(forged)
    for name in SETS[kind] if listed else ():
        (forged.parent / name).rename(forged / name)
    refused(forged, "is not a complete run")


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
    refused(forged, "is not a complete run")


@pytest.mark.parametrize("make", [as_fifo, as_device])
def test_a_path_that_is_no_folder_is_refused_without_waiting(tmp_path, make):
    try:
        make(tmp_path / "run")
    except OSError:
        pytest.skip("only root makes devices")
    with pytest.raises(DataError, match="a saved run is a folder"):
        Run.load(tmp_path / "run")


# Whatever is not refused can be used

JUNK = [None, True, -1, 0, 1.5, 10**20, 1e300, NAN, "", "x", "−", [], {}, [[]], {"a": []}, "\x00"]


def mutated(value, choose):
    """JSON in which one value, somewhere, is another."""
    if isinstance(value, dict | list) and value and choose.random() < 0.9:
        key = choose.choice(list(value) if isinstance(value, dict) else range(len(value)))
        copy = value.copy()
        copy[key] = mutated(copy[key], choose)
        return copy
    return choose.choice(JUNK)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_loaded_can_be_used_and_saved_again(forged, tmp_path, seed):
    choose = random.Random(seed)
    name = choose.choice(["run.json", "run.json", "samples.json", "history.csv"])
    if name == "history.csv":
        rows = [line.split(",") for line in (forged / name).read_text().splitlines()]
        row = choose.choice(rows[1:])
        row[choose.randrange(len(row))] = str(choose.choice(JUNK))
        (forged / name).write_text("\n".join(map(",".join, rows)) + "\n")
        sign(forged)
    else:
        change_json(forged, name, lambda value: mutated(value, choose))
    try:
        run = Run.load(forged)
    except DataError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        return
    lab.report(run)
    assert str(run.gap)
    assert run.best_model.n_params == run.model.n_params
    assert run.sample("the").startswith("the")
    assert Run.load(run.save(tmp_path / "again")).samples == run.samples


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_too_large_for_a_float_is_refused(forged, number):
    text = (forged / "run.json").read_text()
    start = '"environment": {'
    (forged / "run.json").write_text(text.replace(start, f'{start}"a": {number},', 1))
    sign(forged)
    assert "a number is " in refused(forged)


def test_a_sample_may_not_hold_a_number_too_large_for_a_float():
    content = f'[{EMPTY_SAMPLE[:-1]},"a":1e999}}]'.encode()
    with pytest.raises(ValueError, match="a number is inf; it must be a finite number"):
        run_parsing.parse_samples(content, 270, 3, with_ids=True)


def test_a_text_may_not_be_hundreds_of_times_as_long_as_its_file(forged):
    def lengthen(spec):
        spec["tokens"][-1] = base64.b64encode(b"x" * 1_000).decode()

    change_json(forged, "tokenizer.json", lengthen)
    last = len(json.loads((forged / "tokenizer.json").read_text())["tokens"]) - 1
    ids = torch.full((300_000,), last, dtype=torch.int32)
    change_tensors(forged, "dataset.safetensors", lambda texts: texts.update(train=ids))
    change_json(forged, "run.json", lambda run: run["dataset"].update(train_tokens=len(ids)))
    assert "its train text has 300,000,000 bytes; it may have 100,000,000" in refused(forged)


@pytest.mark.parametrize("text", [";a" * 250_000, "a," * 1_950_000 + "\nx"], ids=[";a", "a,"])
def test_a_long_sample_is_judged_with_little_memory(text):
    """Its parser's own memory counts, so another process is asked how much it took."""
    code = (
        "import resource, sys; from slmlab.study.samples import parses; parses('x'); "
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = most(); "
        "parses(sys.stdin.read()); print(most() - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True
    )
    assert int(result.stdout) < 80_000, result.stderr  # kilobytes
