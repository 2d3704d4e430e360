"""A run as a folder of files: CSV, JSON and safetensors, with a list of their hashes."""

import csv
import json
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from slmlab.engine.config import Progress, TrainConfig, TrainState
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.optimizer import AdamW
from slmlab.engine.run_folder import read_run_folder
from slmlab.text.corpus import dataset_from_source
from slmlab.text.dataset import Dataset
from slmlab.text.files import DataError
from slmlab.text.tokenizer import tokenizer_from_spec

if TYPE_CHECKING:
    from slmlab.engine.runs import Run

Keep = Literal["all", "best", "history"]
# Format 2 added the prompts and the token ids of the samples; a folder of format 1 is still read.
FORMAT = 2
STATE_FIELDS = ("status", "step", "planned_steps", "seconds", "best_step", "best_val_loss")


def contents_of(run: "Run", keep: Keep) -> dict[str, bytes]:
    """The files of a run, by name.

    Raises:
        ValueError: for a `keep` that there is not, a model that the format cannot express, or a
            history alone of a text that the package does not carry.
    """
    if keep not in ("all", "best", "history"):
        raise ValueError(f'keep is {keep!r}; it must be "all", "best" or "history".')
    if keep == "history" and run.dataset.source.get("kind") != "corpus":
        raise ValueError(
            'Only a run on the corpus can be kept as "history", which does not hold its text; use '
            'keep="best".'
        )
    if run.model.exchanged_parts:
        raise ValueError(
            f"A model with {', '.join(run.model.exchanged_parts)} cannot be saved: the format "
            "holds plain GPTs only. Keep its state_dict() with safetensors instead."
        )
    state = run.state
    summary = {
        "format": FORMAT,
        "name": run.name,
        "model": asdict(run.model.config),
        "parameters": run.model.n_params,
        "training": asdict(run.config),
        "dataset": run.dataset.source
        | {"train_tokens": len(run.dataset.train), "val_tokens": len(run.dataset.val)},
        "prompts": run.prompts,
        "environment": run.environment,
    } | {key: getattr(state, key) for key in STATE_FIELDS}
    contents = {
        "run.json": _json(summary),
        "samples.json": _json(run.samples),
        "history.csv": run.history.to_csv(index=False).encode(),
    }
    if keep != "history":
        contents["tokenizer.json"] = _json(run.dataset.tokenizer.spec())
        ids = {"train": run.dataset.train.int(), "val": run.dataset.val.int()}
        if run.dataset.test is not None:
            ids["test"] = run.dataset.test.int()
        contents["dataset.safetensors"] = safetensors.torch.save(ids)
        contents["best.safetensors"] = safetensors.torch.save(_plain(state.best_weights))
    if keep == "all" and state.optimizer is not None:
        tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
        for name, moments in state.optimizer.moments.items():
            tensors |= {f"adam.{key}.{name}": value for key, value in moments.items()}
        contents["resume.safetensors"] = safetensors.torch.save(_plain(tensors))
    return contents


def parts_of(folder: Path) -> dict[str, Any]:
    """What a saved run consists of, as the arguments of `Run`.

    Raises `DataError` if the folder is no run, or none that this version can read.
    """
    contents = read_run_folder(folder)
    try:
        return _parts(contents)
    except DataError:
        raise
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as e:
        raise DataError(
            f"{folder} is not a run that this version of SLM Lab can read ({e}); make it "
            "again, or use the version that saved it."
        ) from e


def _parts(contents: dict[str, bytes]) -> dict[str, Any]:
    summary = json.loads(contents["run.json"])
    if summary["format"] not in (1, FORMAT):
        raise ValueError(f"its format is {summary['format']}, this version reads 1 and {FORMAT}")
    source = summary["dataset"]
    del source["train_tokens"], source["val_tokens"]
    if "dataset.safetensors" in contents:
        ids = safetensors.torch.load(contents["dataset.safetensors"])
        tokenizer = tokenizer_from_spec(json.loads(contents["tokenizer.json"]))
        ids = {name: tensor.long() for name, tensor in ids.items()}
        dataset = Dataset(**ids, tokenizer=tokenizer, source=source)
    else:
        dataset = dataset_from_source(source)
    config = TrainConfig(**summary["training"])
    model = GPT(GPTConfig(**summary["model"]), config.seed)
    rows = csv.DictReader(StringIO(contents["history.csv"].decode()))
    state = TrainState(history=[_progress_from_csv(row) for row in rows])
    for key in STATE_FIELDS:
        setattr(state, key, summary[key])
    if "best.safetensors" in contents:
        state.best_weights = safetensors.torch.load(contents["best.safetensors"])
        model.load_state_dict(state.best_weights)
    if "resume.safetensors" in contents:
        tensors = safetensors.torch.load(contents["resume.safetensors"])
        model.load_state_dict({k: tensors[f"model.{k}"] for k in model.state_dict()})
        state.optimizer = AdamW(model, config.weight_decay)
        for name, moments in state.optimizer.moments.items():
            moments |= {key: tensors[f"adam.{key}.{name}"] for key in moments}
    samples = json.loads(contents["samples.json"])
    if summary["format"] == 1:
        _add_ids(samples, dataset)
    prompts = summary.get("prompts", dict.fromkeys(sample["prompt"] for sample in samples))
    return {
        "model": model.eval(),
        "dataset": dataset,
        "config": config,
        "state": state,
        "prompts": tuple(prompts),
        "samples": samples,
        "environment": summary["environment"],
        "name": summary["name"],
    }


def _add_ids(samples: list[dict[str, Any]], dataset: Dataset) -> None:
    """Format 1 held no token ids: the text is cut into tokens again, nearly as it was written."""
    for sample in samples:
        text = sample["text"][len(sample["prompt"]) :]
        sample["ids"] = dataset.tokenizer.encode(text)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors wants them: on the CPU, contiguous, sharing no memory."""
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}


def _progress_from_csv(row: dict[str, str]) -> Progress:
    whole = ("step", "tokens")
    values = {k: (int(v) if k in whole else float(v)) if v else None for k, v in row.items()}
    return Progress(**values, eta=None)
