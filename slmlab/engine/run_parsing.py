"""The files of a saved run, read as what they may be: somebody else's, and wrong in any way.

Every value is checked before it is used; what is wrong raises `ValueError`, with what it is. A
save reads its own files again in this way, so that what was saved can be loaded.
"""

import codecs
import csv
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from operator import mul
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from slmlab.engine.config import Progress, TrainConfig, TrainState
from slmlab.engine.experts import ExpertConfig
from slmlab.engine.model import GPTConfig
from slmlab.engine.run_files import FILES, MB
from slmlab.text.dataset import Dataset
from slmlab.text.files import few_lines
from slmlab.text.tokenizer import (
    LARGEST_VOCABULARY,
    LONGEST_TOKEN,
    Tokenizer,
    checked_ids,
    tokenizer_from_spec,
)
from slmlab.validation import is_one_line, listed, real_number, shown, whole_number, whole_text

STATUSES = ("running", "finished", "stopped early", "interrupted", "diverged")
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MAX_UNTRAINED = 150_000_000  # parameters of a model without weights: GPT-2 small, in 600 MB
MASKS = ("train_mask", "val_mask")  # of a dataset, beside its texts
LARGEST_STEP = 10**9
MAX_PROMPTS = 500_000  # bytes as JSON: half of what run.json may have
MAX_TOKENS = (FILES["dataset.safetensors"] - 10_000) // 5  # int32 and a mask; the rest is a header
LONGEST_NAME = 1_000  # letters
# What a few megabytes of a file may fill the memory with. A look at each of 20,000 steps, with
# eight samples, has 160,000 of them.
MAX_SAMPLES = 200_000
LONGEST_SAMPLE = 10_000  # tokens
MAX_SAMPLED = 100_000  # tokens in the samples of one step
MAX_FIELDS = 10  # of a sample
MAX_SAMPLE_LETTERS = 4_000_000  # of its JSON
MAX_TEXT_BYTES = 100 * MB  # of a text: three times what its file may have
MAX_LOOKS = 400_000
LONGEST_ROW = 1_000  # letters of a row of history.csv
FIRST, NEXT = re.compile(r"\s*\[\s*(?={)"), re.compile(r"\s*,\s*(?={)")  # before a sample
LARGEST_LOSS = (
    1e9  # nats per token: beyond what 32 bits of training can reach, but a file may claim it
)


def checked_name(name: Any) -> str:
    """A run's name. Raises `ValueError` for what is no short line of text."""
    whole_text("The run's name", name)
    if len(name) > LONGEST_NAME or not is_one_line(name):
        raise ValueError(
            f"The run's name is {shown(name)}; it must be one line of at most {LONGEST_NAME:,} "
            "letters, without control characters."
        )
    return name


def checked_prompts(prompts: Any) -> tuple[str, ...]:
    """What samples begin with. Raises `ValueError` for what is no list of texts, or is too long."""
    prompts = listed("prompts", prompts, "texts")
    prompts = tuple(whole_text("A prompt", prompt) for prompt in prompts)
    if (n_bytes := sum(len(json.dumps(prompt)) for prompt in prompts)) > MAX_PROMPTS:
        raise ValueError(
            f"The prompts take {n_bytes:,} bytes; a run can be saved with {MAX_PROMPTS:,}. Give "
            "fewer, or shorter ones."
        )
    return prompts


def check_savable(dataset: Dataset) -> None:
    """Raise `ValueError` before a training on more tokens than a saved run may have."""
    texts = (dataset.train, dataset.val, dataset.test)
    n_tokens = sum(len(ids) for ids in texts if ids is not None)
    if n_tokens > MAX_TOKENS:
        raise ValueError(
            f"The dataset has {n_tokens:,} tokens; a run can be saved with {MAX_TOKENS:,}. Give "
            "less text, such as that of lab.read_text(…, max_bytes=5_000_000)."
        )


def parse_json(content: bytes, kind: type) -> Any:
    """A file of JSON that holds a dictionary or a list."""
    try:
        value = json.loads(content, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a file is no JSON: {error}") from None
    return _of(kind, "a JSON file", value)


def parse_summary(content: bytes, formats: Iterable[int]) -> dict[str, Any]:
    """`run.json`, with a `GPTConfig` as its model and a `TrainConfig` as its training.

    From format 3 on, the model has experts.
    """
    summary = parse_json(content, dict)
    number = summary.get("format")
    if isinstance(number, bool | float) or number not in formats:
        raise ValueError(f"its format is {shown(number)}, not one of {formats}")
    for name, kind in {"environment": dict, "dataset": dict, "model": dict}.items():
        _of(kind, name, summary.get(name))
    whole_text("run.json", json.dumps(summary, ensure_ascii=False))
    checked_name(summary.get("name"))
    summary["prompts"] = checked_prompts(summary.get("prompts", []))
    summary["model"] = _made(ExpertConfig if number == 3 else GPTConfig, summary["model"])
    summary["training"] = _made(TrainConfig, _of(dict, "training", summary.get("training")))
    if summary.get("parameters") != summary["model"].n_params:
        raise ValueError(f"its model has not {shown(summary.get('parameters'))} parameters")
    return summary


def parse_state(summary: dict[str, Any], history: bytes) -> TrainState:
    """The state of training, without its tensors."""
    planned, best = summary.get("planned_steps"), summary.get("best_val_loss")
    if summary.get("status") not in STATUSES:
        raise ValueError(
            f"status is {shown(summary.get('status'))}, not one of {', '.join(STATUSES)}"
        )
    state = TrainState(
        status=summary["status"],
        step=whole_number("step", summary.get("step"), most=LARGEST_STEP),
        seconds=real_number("seconds", summary.get("seconds"), least=0),
        planned_steps=None
        if planned is None
        else whole_number("planned_steps", planned, 1, LARGEST_STEP),
        best_step=whole_number("best_step", summary.get("best_step"), most=LARGEST_STEP),
        best_val_loss=math.inf if best is None else real_number("best_val_loss", best),
    )
    state.history = _history(history, broken=best is None or state.status == "diverged")
    steps = [now.step for now in state.history]
    if steps != sorted(set(steps)) or max([state.best_step, *steps], default=0) > state.step:
        raise ValueError("its history does not lead up to its last step")
    if state.step and not steps:
        raise ValueError("it was trained, but it has no history")
    if best is None and any(math.isfinite(now.val_loss) for now in state.history):
        raise ValueError("it has validation losses, but no best one")
    return state


def parse_samples(
    content: bytes, n_rows: int, last_step: int, with_ids: bool
) -> list[dict[str, Any]]:
    """The samples; `n_rows` is how many tokens the model can write."""
    samples: list[dict[str, Any]] = []
    sampled: Counter[int] = Counter()  # tokens by step
    same: dict[Any, Any] = {}  # of equal prompts and ids, one is enough
    for sample in _listed(content):
        if len(samples) == MAX_SAMPLES:
            raise ValueError(f"it has more than {MAX_SAMPLES:,} samples")
        _of(dict, "a sample", sample)
        others = (value for name, value in sample.items() if name != "ids")
        if len(sample) > MAX_FIELDS or any(isinstance(value, dict | list) for value in others):
            raise ValueError("a sample holds more than a step, texts and ids")
        step = whole_number("a sample's step", sample.get("step"), most=last_step)
        prompt = whole_text("a sample's prompt", sample.get("prompt"))
        if not whole_text("a sample's text", sample.get("text")).startswith(prompt):
            raise ValueError("a sample does not begin with its prompt")
        if with_ids or "ids" in sample:
            ids = checked_ids(_of(list, "a sample's ids", sample.get("ids")), n_rows)
            sampled[step] += len(ids)
            if len(ids) > LONGEST_SAMPLE or sampled[step] > MAX_SAMPLED:
                raise ValueError(
                    f"a sample has {len(ids):,} tokens, or those of its step {sampled[step]:,}, "
                    f"more than {LONGEST_SAMPLE:,} and {MAX_SAMPLED:,}"
                )
            sample["ids"] = [same.setdefault(i, i) for i in ids]
        sample["prompt"] = same.setdefault(prompt, prompt)
        samples.append({sys.intern(name): value for name, value in sample.items()})
    return samples


def _listed(content: bytes) -> Iterator[Any]:
    """The entries of a JSON list of dictionaries, each before the next is parsed.

    What is no such list is refused where it ceases to be one: `{}` takes thirty times its bytes.
    """
    decoder = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
    utf8 = codecs.getincrementaldecoder("utf-8")()
    text, between, end = "", FIRST, r"\s*\[\s*\]\s*"
    try:
        for start in range(0, len(content) + 1, MB):
            text += utf8.decode(content[start : start + MB], final=start + MB > len(content))
            at = 0
            while before := between.match(text, at):
                try:
                    entry, at = decoder.raw_decode(text, before.end())
                except json.JSONDecodeError:  # its end may be still to come
                    break
                between, end = NEXT, r"\s*\]\s*"
                yield entry
            text = text[at:]
            if len(text) > MAX_SAMPLE_LETTERS:
                break
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a file is no JSON: {error}") from None
    if not re.fullmatch(end, text):
        raise ValueError("samples.json does not hold samples only")


def parse_dataset(tokens: bytes, spec: bytes, source: dict[str, Any]) -> Dataset:
    """The texts of a run that carries its own."""
    # Base64 has none of these signs: counted before they are parsed, they tell what it will take.
    signs = {b"{": 3, b"[": 2, b",": 2 * LARGEST_VOCABULARY}
    if not spec.isascii() or any(spec.count(sign) > most for sign, most in signs.items()):
        raise ValueError("tokenizer.json holds more than a tokenizer")
    described = parse_json(spec, dict)
    tokenizer = tokenizer_from_spec(described)
    if tokenizer.spec() != described:  # another order would be other ids
        raise ValueError("its tokenizer is not as one is written")
    ids = load_tensors(tokens, n_names=3 + len(MASKS))
    masks = {name: ids.pop(name) for name in MASKS if name in ids}
    check_texts(ids, tokenizer)
    texts = {name: tensor.long() for name, tensor in ids.items()}
    return Dataset(**texts, **masks, tokenizer=tokenizer, source=source)


def load_tensors(content: bytes, n_names: int) -> dict[str, Tensor]:
    """The tensors of a file, which may list so many: each in the list takes more than its bytes."""
    if int.from_bytes(content[:8], "little") > 250 * n_names + 1_000:
        raise ValueError("it lists more tensors than it can have")
    return safetensors.torch.load(content)


def check_texts(ids: dict[str, Tensor], tokenizer: Tokenizer) -> None:
    """Require token ids, int32 of shape (T,), to train and to validate on, and perhaps to test.

    Their texts may not be many times as long as the file: a token may have a thousand bytes.
    """
    if not {"train", "val"} <= ids.keys() <= {"train", "val", "test"}:
        raise ValueError(f"its texts are {', '.join(map(shown, ids))}")
    for name, tensor in ids.items():
        if tensor.dim() != 1 or tensor.dtype != torch.int32 or len(tensor) < 2:
            raise ValueError(f"its {name} text is no row of at least 2 token ids")
        if not 0 <= int(tensor.min()) <= int(tensor.max()) < tokenizer.n_vocab:
            raise ValueError(f"its {name} text has ids that its tokenizer has not")
        if len(tensor) * LONGEST_TOKEN > MAX_TEXT_BYTES:
            tokens, counts = (t.tolist() for t in tensor.unique(return_counts=True))
            n_bytes = sum(map(mul, counts, (len(tokenizer.token_bytes(i)) for i in tokens)))
            if n_bytes > MAX_TEXT_BYTES:
                raise ValueError(
                    f"its {name} text has {n_bytes:,} bytes; it may have {MAX_TEXT_BYTES:,}"
                )


def check_rows(dataset: Dataset, n_rows: int) -> None:
    """Require that a model of so many rows knows every token of its texts."""
    texts = [ids for ids in (dataset.train, dataset.val, dataset.test) if ids is not None]
    if max(int(ids.max()) for ids in texts) >= n_rows:
        raise ValueError("its texts have ids that its model has not")


def check_weights(
    tensors: dict[str, Tensor], config: GPTConfig, prefixes: tuple[str, ...] = ("",)
) -> None:
    """Require tensors of the shape of each parameter, once for each prefix, and one precision.

    Under a prefix that ends in `step.` there is one float32 for each parameter instead. PyTorch's
    fused optimiser does not look at shapes: it writes beyond the end of what is too short.
    """
    shapes = parameter_shapes(config)
    expected = {
        prefix + name: () if prefix.endswith("step.") else shape
        for prefix in prefixes
        for name, shape in shapes.items()
    }
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
        raise ValueError("its tensors do not have the shapes of its model")
    kinds = {t.dtype for name, t in tensors.items() if not name.startswith("adam.step.")}
    counts = {t.dtype for name, t in tensors.items() if name.startswith("adam.step.")}
    if len(kinds) != 1 or not kinds <= set(FLOATS) or counts - {torch.float32}:
        raise ValueError("its tensors are not of one precision")
    if not all_finite(t for name, t in tensors.items() if not name.startswith("adam.")):
        raise ValueError("its weights are not finite numbers")


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number is infinite or not a number."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def weights_size(config: GPTConfig, n_prefixes: int = 1) -> int:
    """How many bytes the file of a model's weights may have: 8 a number, and a list of names."""
    return n_prefixes * (8 * config.n_params + 5_000 * (config.n_layer + 1))


def parameter_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of such a model, without building it."""
    C = config.n_embd
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (config.vocab_size, C),
        "wpe.weight": (config.block_size, C),
    }
    linear = [("attn.qkv", 3 * C, C), ("attn.proj", C, C)]
    if isinstance(config, ExpertConfig):
        n_all, H = config.n_expert + config.n_shared, config.expert_width
        linear += [("mlp.fc", n_all * H, C), ("mlp.proj", n_all * C, H)]
        linear += [("mlp.router", config.n_expert, C)]
    else:
        linear += [("mlp.fc", 4 * C, C), ("mlp.proj", C, 4 * C)]
    for layer in range(config.n_layer):
        for name, rows, columns in linear:
            shapes[f"blocks.{layer}.{name}.weight"] = (rows, columns)
            shapes[f"blocks.{layer}.{name}.bias"] = (rows,)
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"blocks.{layer}.{norm}.{part}": (C,) for part in ("weight", "bias")}
    return shapes | {"ln_f.weight": (C,), "ln_f.bias": (C,)}


def require_buildable(config: GPTConfig) -> None:
    """Refuse a model that a few bytes of JSON would have us build in gigabytes of memory."""
    if config.n_params > MAX_UNTRAINED:
        raise ValueError(
            f"a model of {config.n_params:,} parameters without any weights; it may have "
            f"{MAX_UNTRAINED:,}"
        )


def _history(content: bytes, broken: bool) -> list[Progress]:
    """The rows of `history.csv`. Only a `broken` run has losses that are not finite."""
    wanted = {f.name for f in fields(Progress)} - {"eta"}
    lines = few_lines(content, MAX_LOOKS + 1, LONGEST_ROW)  # one of names
    reader = csv.DictReader(lines, quoting=csv.QUOTE_NONE)
    try:
        names = list(reader.fieldnames or ())
        if len(set(names)) < len(names) or not wanted - {"test_loss"} <= set(names) <= wanted:
            raise ValueError("history.csv has other columns than a history")
        return [_progress(row, broken) for row in reader]
    except csv.Error as error:
        raise ValueError(f"history.csv is no table: {error}") from None


def _progress(row: dict[str, str], broken: bool) -> Progress:
    values: dict[str, Any] = {"test_loss": None}
    for name, text in row.items():
        if name is None or text is None:
            raise ValueError("history.csv has rows of different lengths")
        if name in ("step", "tokens"):
            values[name] = whole_number(name, int(text))
        elif name in ("batch_loss", "test_loss") and not text:
            values[name] = None  # there is no batch at step 0, and not always a test text
        elif name.endswith("_loss"):
            loss = float(text or "nan")
            if not broken or math.isfinite(loss):
                real_number(name, loss, least=-LARGEST_LOSS, most=LARGEST_LOSS)
            values[name] = loss
        else:
            values[name] = real_number(name, float(text), least=0)
    return Progress(**values, eta=None)


def _of(kind: type, name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {shown(value)}, which is no {kind.__name__}")
    return value


def _made(kind: type, values: dict[str, Any]) -> Any:
    if unknown := values.keys() - {f.name for f in fields(kind)}:
        raise ValueError(f"there is no setting {shown(sorted(unknown)[0])}")
    for f in fields(kind):
        if f.default is MISSING and f.name not in values:
            raise ValueError(f"the setting {f.name} is missing")
    return kind(**values)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    """A number of a JSON file. Python reads 1e999 as infinity, which could not be saved again."""
    return real_number("a number", float(text))
