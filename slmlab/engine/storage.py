"""A run as a folder of files: CSV, JSON and safetensors, with a list of their hashes."""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from slmlab.engine import run_parsing as parsing
from slmlab.engine.config import Progress, TrainConfig, TrainState
from slmlab.engine.console import warn
from slmlab.engine.experts import ExpertConfig
from slmlab.engine.memory import free_megabytes, loading_megabytes
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.optimizer import AdamW
from slmlab.engine.run_files import RunFiles
from slmlab.engine.run_folder import opened_run_folder
from slmlab.text.corpus import dataset_from_source
from slmlab.text.dataset import Dataset
from slmlab.text.files import DataError
from slmlab.validation import instance, printable, shown

if TYPE_CHECKING:
    import pandas as pd

Keep = Literal["all", "best", "history"]
# Format 2 added the prompts and the token ids of the samples; a folder of format 1 is still read.
# Format 3 is format 2 with experts, which an older version would not know what to do with.
FORMATS = (1, 2, 3)
STATE_FIELDS = ("status", "step", "planned_steps", "seconds", "best_step", "best_val_loss")
SAMPLE_PARTS = {"step", "prompt", "text", "ids"}
PREFIXES = ("model.", "adam.step.", "adam.exp_avg.", "adam.exp_avg_sq.")  # of resume.safetensors
RAW = "raw."  # one more, where model. is an average
WEIGHTS = {"best.safetensors": ("",), "resume.safetensors": (*PREFIXES, RAW)}


@dataclass
class RunParts:
    """What a run consists of; `Run` says what can be done with it.

    Attributes:
        model: the model with the weights of the last step, or with their average.
        dataset: what it was trained and validated on.
        config: how it was trained.
        state: where training stands; with `model` it is all that resuming needs.
        prompts: what the model is asked to continue when samples are taken.
        samples: what it wrote: dictionaries of `step`, `prompt`, `text` (the prompt included) and
            `ids` (the new tokens).
        environment: versions, threads, processor: what the numbers were made with.
        name: a short title for figures and tables.
    """

    model: GPT
    dataset: Dataset
    config: TrainConfig
    state: TrainState = field(default_factory=TrainState)
    prompts: tuple[str, ...] = ()
    samples: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    name: str = "run"

    def __post_init__(self) -> None:
        check_kinds(self)
        for sample in self.samples:
            if not isinstance(sample, dict) or not sample.keys() >= SAMPLE_PARTS:
                raise ValueError(
                    f"A sample of the run is {shown(sample)}; it must be a dictionary of "
                    f"{', '.join(sorted(SAMPLE_PARTS))}, as run.take_sample(…) makes one."
                )
        self.prompts = parsing.checked_prompts(self.prompts)

    @property
    def history(self) -> "pd.DataFrame":
        """One row per evaluation, with the columns of `Progress`; losses in nats per token.

        There is a `test_loss` only if the dataset has a test text.
        """
        import pandas as pd

        unused = {"eta", "test_loss"} if self.dataset.test is None else {"eta"}
        columns = [f.name for f in fields(Progress) if f.name not in unused]
        rows = [[getattr(now, name) for name in columns] for now in self.state.history]
        return pd.DataFrame(rows, columns=columns)


def contents_of(run: RunParts, keep: Keep) -> dict[str, bytes]:
    """The files of a run, by name.

    Raises:
        ValueError: for a `keep` that there is not, for what the format cannot express, or for a
            history alone of a text that the package does not carry.
    """
    if not isinstance(keep, str) or keep not in ("all", "best", "history"):
        raise ValueError(f'keep is {shown(keep)}; it must be "all", "best" or "history".')
    check_kinds(run)
    with run.state.lock:  # another thread may be training this model
        return _contents(run, keep)


def check_kinds(run: RunParts) -> None:
    """Raise `ValueError` unless a run consists of what it should, whoever has changed it since."""
    kinds = {"model": GPT, "dataset": Dataset, "config": TrainConfig, "state": TrainState}
    for name, kind in kinds.items():
        instance(f"The run's {name}", getattr(run, name), kind)
    for name, kind in {"samples": list, "environment": dict}.items():
        instance(f"The run's {name}", getattr(run, name), kind, str(kind()))
    parsing.checked_name(run.name)
    parsing.checked_prompts(run.prompts)


def _contents(run: RunParts, keep: Keep) -> dict[str, bytes]:
    if keep == "history":
        require_rebuildable(run.dataset)
    elif not run.state.best_weights and run.state.best_val_loss < math.inf:
        raise ValueError(
            f'{run.name} was kept without its weights; save it with keep="history" again.'
        )
    if run.model.exchanged_parts:
        raise ValueError(
            f"A model with {', '.join(run.model.exchanged_parts)} cannot be saved: the format "
            "holds only GPTs with the parts that their config names. Keep its state_dict() with "
            "safetensors instead."
        )
    if keep == "all" and type(run.model) is not GPT:
        raise ValueError(
            f"A {type(run.model).__name__} learns from more than a text, so a file of it cannot be "
            'trained on; save it with keep="best", as the GPT that it is now.'
        )
    try:
        if keep == "history":
            parsing.require_buildable(run.model.config)
        contents = _story(run)
        _check_story(contents)
        if keep != "history":
            contents |= _texts(run) | {"best.safetensors": _best(run)}
        if keep == "all" and run.state.optimizer is not None:
            contents |= _resume(run)
    except Exception as error:  # whatever somebody has put into its state
        raise ValueError(
            f"The run cannot be saved: {_clause(error)}. It is still in memory; put that right and "
            "save it again."
        ) from error
    return contents


def require_rebuildable(dataset: Dataset) -> None:
    """Raise `ValueError` for a text that a history alone would lose: all but the package's own."""
    try:
        same = _same_texts(dataset_from_source(dataset.source), dataset)
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            'Only a run on the corpus can be kept as "history", which does not hold its text; use '
            'keep="best".'
        )


def _same_texts(one: Dataset, other: Dataset) -> bool:
    names = ("train", "val", "test", *parsing.MASKS)
    pairs = ((getattr(one, name), getattr(other, name)) for name in names)
    return one.tokenizer.spec() == other.tokenizer.spec() and all(
        a is b if a is None or b is None else torch.equal(a, b) for a, b in pairs
    )


def _story(run: RunParts) -> dict[str, bytes]:
    state = run.state
    summary = {
        "format": 3 if isinstance(run.model.config, ExpertConfig) else 2,
        "name": run.name,
        "model": asdict(run.model.config),
        "parameters": run.model.config.n_params,
        "training": asdict(run.config),
        "dataset": run.dataset.source
        | {"train_tokens": len(run.dataset.train), "val_tokens": len(run.dataset.val)},
        "prompts": run.prompts,
        "environment": run.environment,
    } | {key: getattr(state, key) for key in STATE_FIELDS}
    if state.best_val_loss == math.inf:  # before the first evaluation
        summary["best_val_loss"] = None
    return {
        "run.json": _json(summary),
        "samples.json": _json_lines(run.samples),
        "history.csv": run.history.to_csv(index=False).encode(),
    }


def _texts(run: RunParts) -> dict[str, bytes]:
    dataset = run.dataset
    ids = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    ids = {name: tensor.int() for name, tensor in ids.items() if tensor is not None}
    spec = dataset.tokenizer.spec()
    if spec.get("kind") not in ("gpt2", "bpe", "right-sized", "chat"):
        raise ValueError("its tokenizer is none of the package's")
    parsing.check_texts(ids, dataset.tokenizer)
    parsing.check_rows(dataset, run.model.config.vocab_size)
    masks = {name: getattr(dataset, name) for name in parsing.MASKS}
    ids |= {name: mask for name, mask in masks.items() if mask is not None}
    return {
        "tokenizer.json": _json(spec),
        "dataset.safetensors": safetensors.torch.save(_plain(ids)),
    }


def _best(run: RunParts) -> bytes:
    """The best weights, or the model's own where no evaluation has had a finite loss."""
    weights = _plain(run.state.best_weights or run.model.state_dict())
    parsing.check_weights(weights, run.model.config)
    return safetensors.torch.save(weights)


def _resume(run: RunParts) -> dict[str, bytes]:
    """What resuming needs: the weights of the last step, and the optimiser's moments."""
    weights = {f"model.{name}": weight for name, weight in run.model.state_dict().items()}
    weights |= {RAW + name: weight for name, weight in run.state.raw_weights.items()}
    if not parsing.all_finite(weights.values()):
        warn(
            f"The weights of step {run.state.step} are not finite numbers, so only the best ones "
            "are saved; the run cannot be resumed from there."
        )
        return {}
    tensors = _plain(weights)
    for name, moments in run.state.optimizer.moments.items():
        tensors |= _plain({f"adam.{key}.{name}": value for key, value in moments.items()})
    parsing.check_weights(tensors, run.model.config, _prefixes("resume.safetensors", tensors))
    return {"resume.safetensors": safetensors.torch.save(tensors)}


def parts_of(folder: Path | str) -> RunParts:
    """What a saved run consists of.

    Raises `DataError` if the folder is no run, or none that this version can read.
    """
    with opened_run_folder(folder) as files:
        try:
            return _parts(files)
        except DataError:
            raise
        except Exception as error:  # whatever somebody else's file makes a parser say
            raise DataError(
                f"{folder} is not a run that this version of SLM Lab can read ({_clause(error)}); "
                "make it again, or use the version that saved it."
            ) from error


def _parts(files: RunFiles) -> RunParts:
    names = ("run.json", "samples.json", "history.csv")
    summary, state, samples = _check_story({name: files.read(name) for name in names})
    config, shape, source = summary["training"], summary["model"], summary["dataset"]
    lengths = [source.pop(name, None) for name in ("train_tokens", "val_tokens")]
    if "dataset.safetensors" in files:
        dataset = parsing.parse_dataset(
            files.read("dataset.safetensors"), files.read("tokenizer.json"), source
        )
    else:
        dataset = dataset_from_source(source)
        parsing.require_buildable(shape)
    if lengths != [len(dataset.train), len(dataset.val)]:
        raise ValueError("its texts are not as long as run.json says")
    parsing.check_rows(dataset, shape.vocab_size)
    _require_memory(files, shape)
    best, resume = (_weights(files, name, shape) for name in WEIGHTS)
    model = _model(GPT(shape, config.seed), best, resume)
    if state.best_val_loss < math.inf:
        state.best_weights = best
    if resume:
        state.optimizer = AdamW(model, config.weight_decay)
        for name, moments in state.optimizer.moments.items():
            moments |= {key: resume[f"adam.{key}.{name}"] for key in moments}
        if RAW + "wte.weight" in resume:
            state.raw_weights = {name: resume[RAW + name] for name in state.optimizer.moments}
    for sample in samples:
        if "ids" not in sample:  # format 1: cut into tokens again, nearly as it was written
            sample["ids"] = dataset.tokenizer.encode(sample["text"][len(sample["prompt"]) :])
    prompts = summary["prompts"]
    if summary["format"] == 1:
        prompts = tuple(dict.fromkeys(sample["prompt"] for sample in samples))
    environment, name = summary["environment"], summary["name"]
    return RunParts(model, dataset, config, state, prompts, samples, environment, name)


def _check_story(
    contents: dict[str, bytes],
) -> tuple[dict[str, Any], TrainState, list[dict[str, Any]]]:
    """`run.json`, the state and the samples, each value checked."""
    summary = parsing.parse_summary(contents["run.json"], FORMATS)
    state = parsing.parse_state(summary, contents["history.csv"])
    samples = parsing.parse_samples(
        contents["samples.json"],
        summary["model"].vocab_size,
        state.step,
        with_ids=summary["format"] > 1,
    )
    return summary, state, samples


def _require_memory(files: RunFiles, shape: GPTConfig) -> None:
    """Raise `DataError`, before they are read, if the weights need more memory than is free.

    Zeros take no space on a disk, so a few kilobytes may hold gigabytes of them.
    """
    sizes = [
        files.size(name, parsing.weights_size(shape, len(prefixes)))
        for name, prefixes in WEIGHTS.items()
        if name in files
    ]
    needed, free = loading_megabytes(shape, sizes), free_megabytes()
    if needed > free:
        raise DataError(
            f"{files.folder} needs about {needed:,.0f} MB of memory to be loaded, and "
            f"{free:,.0f} MB are free; close other programs, or load it on a computer with more."
        )


def _weights(files: RunFiles, name: str, shape: GPTConfig) -> dict[str, Tensor]:
    """The tensors of a file, if there is one; it may be no larger than the model explains."""
    if name not in files:
        return {}
    prefixes = WEIGHTS[name]
    content = files.read(name, parsing.weights_size(shape, len(prefixes)))
    tensors = parsing.load_tensors(content, len(prefixes) * len(parsing.parameter_shapes(shape)))
    parsing.check_weights(tensors, shape, _prefixes(name, tensors))
    return tensors


def _prefixes(name: str, tensors: dict[str, Tensor]) -> tuple[str, ...]:
    """Those that the tensors of a file must have: `RAW` is for all of them, or for none."""
    has_raw = any(tensor.startswith(RAW) for tensor in tensors)
    return tuple(prefix for prefix in WEIGHTS[name] if prefix != RAW or has_raw)


def _model(model: GPT, best: dict[str, Tensor], resume: dict[str, Tensor]) -> GPT:
    """The model with the weights of the last step, or else the best, if any were kept."""
    weights = {name: resume[f"model.{name}"] for name in model.state_dict()} if resume else best
    if weights:
        model.to(next(iter(weights.values())).dtype).load_state_dict(weights)
    return model.eval()


def _clause(error: Exception) -> str:
    """An error's sentence, or its kind, for the middle of another sentence.

    It may quote a file that somebody else wrote, which a terminal must not obey.
    """
    return printable(" ".join(str(error).split())).rstrip(".") or type(error).__name__


def _json_lines(values: list[Any]) -> bytes:
    """A list with one entry on each line: with one value on each, long runs had half as much."""
    return b"[\n" + b",\n".join(_json(value, indent=None).rstrip() for value in values) + b"\n]\n"


def _json(value: Any, indent: int | None = 1) -> bytes:
    try:
        signs = None if indent else (",", ":")  # without blanks where it is one line
        text = json.dumps(
            value, indent=indent, separators=signs, ensure_ascii=False, allow_nan=False
        )
        return f"{text}\n".encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"The run holds something that JSON cannot ({error}); its prompts, its environment "
            "and the dataset's source may hold text, numbers, lists and dictionaries."
        ) from None


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors wants them: on the CPU, contiguous, sharing no memory."""
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
