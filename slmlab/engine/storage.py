"""A run as a folder of files: CSV, JSON and safetensors, with a list of their hashes."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from slmlab.engine import run_parsing as parsing
from slmlab.engine.config import Progress, TrainConfig, TrainState
from slmlab.engine.model import GPT
from slmlab.engine.optimizer import AdamW
from slmlab.engine.run_folder import read_run_folder
from slmlab.text.corpus import dataset_from_source
from slmlab.text.dataset import Dataset
from slmlab.text.files import DataError

if TYPE_CHECKING:
    import pandas as pd

Keep = Literal["all", "best", "history"]
# Format 2 added the prompts and the token ids of the samples; a folder of format 1 is still read.
FORMATS = (1, 2)
STATE_FIELDS = ("status", "step", "planned_steps", "seconds", "best_step", "best_val_loss")
PREFIXES = ("model.", "adam.step.", "adam.exp_avg.", "adam.exp_avg_sq.")  # of resume.safetensors
LARGEST_STEP = 10**9


@dataclass
class RunParts:
    """What a run consists of; `Run` says what can be done with it.

    Attributes:
        model: the model with the weights of the last step.
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

    @property
    def history(self) -> "pd.DataFrame":
        """One row per evaluation, with the columns of `Progress`; losses in nats per token.

        There is a `test_loss` only if the dataset has a test text.
        """
        import pandas as pd

        unused = {"eta", "test_loss"} if self.dataset.test is None else {"eta"}
        columns = [f.name for f in fields(Progress) if f.name not in unused]
        return pd.DataFrame([asdict(p) for p in self.state.history], columns=columns)


def contents_of(run: RunParts, keep: Keep) -> dict[str, bytes]:
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
    if not isinstance(run.name, str):
        raise ValueError(f"The run's name is {run.name!r}; give it a name that is text.")
    state = run.state
    summary = {
        "format": FORMATS[-1],
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


def parts_of(folder: Path | str) -> RunParts:
    """What a saved run consists of.

    Raises `DataError` if the folder is no run, or none that this version can read.
    """
    contents = read_run_folder(folder)
    try:
        return _parts(contents)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as e:
        raise DataError(
            f"{folder} is not a run that this version of SLM Lab can read ({e}); make it "
            "again, or use the version that saved it."
        ) from e


def _parts(contents: dict[str, bytes]) -> RunParts:
    summary = parsing.parse_summary(contents["run.json"], FORMATS)
    config, shape, source = summary["training"], summary["model"], summary["dataset"]
    for name in ("train_tokens", "val_tokens"):
        source.pop(name, None)  # told for readers of the file
    state = parsing.parse_state(summary, contents["history.csv"], LARGEST_STEP)
    with_ids = summary["format"] > 1
    samples = parsing.parse_samples(contents["samples.json"], shape.vocab_size, with_ids)
    if "dataset.safetensors" in contents:
        dataset = parsing.parse_dataset(
            contents["dataset.safetensors"], contents["tokenizer.json"], source
        )
    else:
        dataset = dataset_from_source(source)
    resume = {}
    if "best.safetensors" in contents:
        state.best_weights = parsing.parse_weights(contents["best.safetensors"], shape, ("",))
    if "resume.safetensors" in contents:
        resume = parsing.parse_weights(contents["resume.safetensors"], shape, PREFIXES)
    if not state.best_weights and not resume:
        parsing.require_buildable(shape)
    model = _model(GPT(shape, config.seed), state, resume, config)
    if not with_ids:  # the text is cut into tokens again, nearly as it was written
        for sample in samples:
            sample["ids"] = dataset.tokenizer.encode(sample["text"][len(sample["prompt"]) :])
    prompts = summary["prompts"] or tuple(dict.fromkeys(s["prompt"] for s in samples))
    environment, name = summary["environment"], summary["name"]
    return RunParts(model, dataset, config, state, prompts, samples, environment, name)


def _model(model: GPT, state: TrainState, resume: dict[str, Tensor], config: TrainConfig) -> GPT:
    """The model with the weights that were kept, if any; makes the state's optimiser as well."""
    weights = {k: resume[f"model.{k}"] for k in model.state_dict()} if resume else {}
    weights = weights or state.best_weights
    if weights:
        model.to(next(iter(weights.values())).dtype).load_state_dict(weights)
    if resume:
        state.optimizer = AdamW(model, config.weight_decay)
        for name, moments in state.optimizer.moments.items():
            moments |= {key: resume[f"adam.{key}.{name}"] for key in moments}
    return model.eval()


def _json(value: Any) -> bytes:
    try:
        return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The run holds something that JSON cannot ({error}); its prompts, its environment "
            "and the dataset's source may hold text, numbers, lists and dictionaries."
        ) from None


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors wants them: on the CPU, contiguous, sharing no memory."""
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
