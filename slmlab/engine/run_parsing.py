"""The files of a saved run, read as what they may be: somebody else's, and wrong in any way.

Every value is checked before it is used; what is wrong raises `ValueError`, with what it is.
"""

import csv
import json
from collections.abc import Iterable
from dataclasses import fields
from io import StringIO
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from slmlab.engine.config import Progress, TrainConfig, TrainState
from slmlab.engine.model import GPTConfig
from slmlab.text.dataset import Dataset
from slmlab.text.tokenizer import tokenizer_from_spec
from slmlab.validation import real_number, shown, whole_number

STATUSES = ("running", "finished", "stopped early", "interrupted", "diverged")
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MAX_UNTRAINED = 500_000_000  # parameters of a model that is built without weights at hand


def parse_json(content: bytes, kind: type) -> Any:
    """A file of JSON that holds a dictionary or a list."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a file is no JSON: {error}") from None
    return _of(kind, "a JSON file", value)


def parse_summary(content: bytes, formats: Iterable[int]) -> dict[str, Any]:
    """`run.json`, with a `GPTConfig` as its model and a `TrainConfig` as its training."""
    summary = parse_json(content, dict)
    if summary.get("format") not in formats:
        raise ValueError(f"its format is {shown(summary.get('format'))}, not one of {formats}")
    for name, kind in {"name": str, "environment": dict, "dataset": dict, "model": dict}.items():
        _of(kind, name, summary.get(name))
    prompts = _of(list, "prompts", summary.get("prompts", []))
    summary["prompts"] = tuple(_of(str, "a prompt", prompt) for prompt in prompts)
    summary["model"] = _made(GPTConfig, summary["model"])
    summary["training"] = _made(TrainConfig, _of(dict, "training", summary.get("training")))
    return summary


def parse_state(summary: dict[str, Any], history: bytes, best_of: int) -> TrainState:
    """The state of training, without its tensors; `best_of` is the largest step there can be."""
    planned = summary.get("planned_steps")
    state = TrainState(
        status=summary.get("status"),
        step=whole_number("step", summary.get("step"), most=best_of),
        seconds=real_number("seconds", summary.get("seconds"), least=0),
        planned_steps=None if planned is None else whole_number("planned_steps", planned),
        best_step=whole_number("best_step", summary.get("best_step"), most=best_of),
        history=_history(history),
    )
    best = summary.get("best_val_loss")
    # Infinity is what a run has before its first evaluation.
    state.best_val_loss = best if best == float("inf") else real_number("best_val_loss", best)
    if state.status not in STATUSES:
        raise ValueError(f"status is {shown(state.status)}, not one of {', '.join(STATUSES)}")
    steps = [now.step for now in state.history]
    if steps != sorted(set(steps)) or max([state.best_step, *steps], default=0) > state.step:
        raise ValueError("its history does not lead up to its last step")
    return state


def _history(content: bytes) -> list[Progress]:
    wanted = {f.name for f in fields(Progress)} - {"eta"}
    reader = csv.DictReader(StringIO(content.decode()))
    try:
        if not wanted - {"test_loss"} <= set(reader.fieldnames or ()) <= wanted:
            raise ValueError("history.csv has other columns than a history")
        return [_progress(row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"history.csv is no table: {error}") from None


def _progress(row: dict[str, str]) -> Progress:
    values: dict[str, Any] = {"test_loss": None}
    for name, text in row.items():
        if name is None or text is None:
            raise ValueError("history.csv has rows of different lengths")
        if name in ("step", "tokens"):
            values[name] = whole_number(name, int(text))
        else:  # a loss that exploded is infinite or no number, and was written so
            values[name] = float(text) if text else None
    return Progress(**values, eta=None)


def parse_samples(content: bytes, n_rows: int, with_ids: bool) -> list[dict[str, Any]]:
    """The samples; `n_rows` is how many tokens the model can write."""
    samples = parse_json(content, list)
    for sample in samples:
        _of(dict, "a sample", sample)
        whole_number("a sample's step", sample.get("step"))
        prompt, text = (_of(str, name, sample.get(name)) for name in ("prompt", "text"))
        if not text.startswith(prompt):
            raise ValueError("a sample does not begin with its prompt")
        if with_ids:
            for i in _of(list, "a sample's ids", sample.get("ids")):
                whole_number("a sample's token id", i, most=n_rows - 1)
    return samples


def parse_dataset(tokens: bytes, spec: bytes, source: dict[str, Any]) -> Dataset:
    """The texts of a run that carries its own."""
    tokenizer = tokenizer_from_spec(parse_json(spec, dict))
    ids = safetensors.torch.load(tokens)
    if not {"train", "val"} <= ids.keys() <= {"train", "val", "test"}:
        raise ValueError(f"its texts are {', '.join(map(shown, ids))}")
    for name, tensor in ids.items():
        if tensor.dim() != 1 or tensor.dtype != torch.int32 or len(tensor) < 2:
            raise ValueError(f"its {name} text is no row of token ids")
        if not 0 <= int(tensor.min()) <= int(tensor.max()) < tokenizer.n_vocab:
            raise ValueError(f"its {name} text has ids that its tokenizer has not")
    texts = {name: tensor.long() for name, tensor in ids.items()}
    return Dataset(**texts, tokenizer=tokenizer, source=source)


def parse_weights(
    content: bytes, config: GPTConfig, prefixes: tuple[str, ...]
) -> dict[str, Tensor]:
    """Tensors that have the shape of each parameter, once for each prefix, and one precision.

    Under a prefix that ends in `step.` there is one number for each parameter instead.
    """
    shapes = parameter_shapes(config)
    expected = {
        prefix + name: () if prefix.endswith("step.") else shape
        for prefix in prefixes
        for name, shape in shapes.items()
    }
    tensors = safetensors.torch.load(content)
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
        raise ValueError("its tensors do not have the shapes of its model")
    kinds = {t.dtype for name, t in tensors.items() if not name.startswith("adam.step.")}
    counts = {t.dtype for name, t in tensors.items() if name.startswith("adam.step.")}
    if len(kinds) != 1 or not kinds <= set(FLOATS) or counts - {torch.float32}:
        raise ValueError("its tensors are not of one precision")
    return tensors


def parameter_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of such a model, without building it."""
    C = config.n_embd
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (config.vocab_size, C),
        "wpe.weight": (config.block_size, C),
    }
    for layer in range(config.n_layer):
        for name, rows, columns in (
            ("attn.qkv", 3 * C, C),
            ("attn.proj", C, C),
            ("mlp.fc", 4 * C, C),
            ("mlp.proj", C, 4 * C),
        ):
            shapes[f"blocks.{layer}.{name}.weight"] = (rows, columns)
            shapes[f"blocks.{layer}.{name}.bias"] = (rows,)
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"blocks.{layer}.{norm}.{part}": (C,) for part in ("weight", "bias")}
    return shapes | {"ln_f.weight": (C,), "ln_f.bias": (C,)}


def require_buildable(config: GPTConfig) -> None:
    """Refuse a model that a few bytes of JSON would have us build in gigabytes of memory."""
    if config.n_params > MAX_UNTRAINED:
        raise ValueError(f"a model of {config.n_params:,} parameters without any weights")


def _of(kind: type, name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {shown(value)}, which is no {kind.__name__}")
    return value


def _made(kind: type, values: dict[str, Any]) -> Any:
    if unknown := values.keys() - {f.name for f in fields(kind)}:
        raise ValueError(f"there is no setting {shown(sorted(unknown)[0])}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"a setting is missing: {error}") from None
