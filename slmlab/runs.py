"""A training run as a thing to keep: train it, look at it, save it, load it, resume it."""

import csv
import json
import platform
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from slmlab.corpus import Dataset, corpus_dataset, load_held_out
from slmlab.files import DataError, data_path, sha256
from slmlab.generation import generate
from slmlab.model import GPT, GPTConfig
from slmlab.tokenizer import tokenizer_from_spec
from slmlab.training import AdamW, Progress, TrainConfig, TrainState, fit

if TYPE_CHECKING:
    import pandas as pd

# The prompts that the experiment tried on every model, in its order.
PROMPTS = (
    "import chromadb",
    "def get_",
    "from embeddings_utils import",
    "collection.add(",
    "logging.debug(",
    "pdf_file_path =",
    "def main():",
    "# File:",
)
SAMPLE_TOKENS = 30  # tokens in a sample
SAMPLE_OPTIONS = {"temperature": 0.8, "top_k": 40, "seed": 0}
FORMAT = 1  # of a saved run
FILES = {  # all that a saved run may hold
    "SHA256SUMS",
    "run.json",
    "samples.json",
    "history.csv",
    "tokenizer.json",
    "dataset.safetensors",
    "best.safetensors",
    "resume.safetensors",
}
STATE_FACTS = ("status", "step", "planned_steps", "seconds", "best_step", "best_val_loss")


@dataclass
class Run:
    """A model with the story of its training.

    Attributes:
        model: the model with the weights of the last step.
        dataset: what it was trained and validated on.
        config: how it was trained.
        state: where training stands; with `model` it is all that resuming needs.
        samples: what the model wrote: dictionaries of `step`, `prompt` and `text`.
        environment: versions, threads, processor: what the numbers were made with.
        name: a short title for figures and tables.
    """

    model: GPT
    dataset: Dataset
    config: TrainConfig
    state: TrainState = field(default_factory=TrainState)
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

    @property
    def gap(self) -> float:
        """Validation loss − training loss at the last evaluation. Signed: below 0 is suspicious."""
        last = self.state.history[-1]
        return last.val_loss - last.train_loss

    @property
    def params_per_token(self) -> float:
        """Parameters of the model for each token of its training text."""
        return self.model.n_params / len(self.dataset.train)

    @property
    def has_weights(self) -> bool:
        """False for a run that was kept as a "record": its model is as before training."""
        return bool(self.state.best_weights)

    @cached_property
    def best_model(self) -> GPT:
        """The model with the weights of the lowest validation loss (`ValueError` if not kept)."""
        self._require_weights()
        best = GPT(self.model.config)
        best.load_state_dict(self.state.best_weights)
        return best.eval()

    def sample(self, prompt: str, max_new_tokens: int = SAMPLE_TOKENS, **options: Any) -> str:
        """What the model writes after `prompt`; the options are those of `generate`.

        Raises `ValueError` for a run that was kept without its weights.
        """
        self._require_weights()
        options = SAMPLE_OPTIONS | options
        return generate(self.model, self.dataset.tokenizer, prompt, max_new_tokens, **options)

    def _require_weights(self) -> None:
        if not self.has_weights:
            raise ValueError(
                f"{self.name} was kept as a record, without weights; its texts are in `samples`, "
                "and training it again brings the weights back."
            )

    def resume(
        self,
        config: TrainConfig | None = None,
        progress: bool = True,
        sample_often: bool = False,
    ) -> "Run":
        """Train on from where the run stopped, exactly as if it had never stopped.

        A `config` with more steps prolongs the run; the default goes on with the run's own.
        Raises `ValueError` if the run was saved without the optimiser's state.
        """
        if self.state.status == "diverged":
            raise ValueError(
                "This run diverged, so there is nothing to go on from; train again with a lower "
                "learning rate."
            )
        if self.state.step and self.state.optimizer is None:
            raise ValueError(
                'This run was saved without its training state; only a run saved with keep="all" '
                "can be resumed."
            )
        if config is not None and config.seconds is not None:
            self.state.planned_steps = None  # the new budget is planned afresh
        self.config = config or self.config
        self.__dict__.pop("best_model", None)
        return _drive(self, progress, sample_often)

    def save(self, folder: Path | str, keep: Literal["all", "best", "record"] = "all") -> Path:
        """Write the run to a folder, replacing an older one there in one step.

        `keep` is "all" (can be resumed), "best" (the best weights only) or "record" (history and
        samples, no weights). Formats are CSV, JSON and safetensors; nothing is pickled.

        Raises:
            ValueError: if `keep` is something else.
            DataError: if the folder cannot be written; what stood there before is untouched.
        """
        folder = Path(folder)
        contents = self._contents(keep)
        if folder.is_file() or (folder.is_dir() and not _may_replace(folder)):
            raise DataError(
                f"{folder} exists and is not a saved run, so it was left alone; choose another."
            )
        sums = {name: sha256(content) for name, content in contents.items()}
        contents["SHA256SUMS"] = "".join(f"{v}  {k}\n" for k, v in sums.items()).encode()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                for name, content in contents.items():
                    (temporary / name).write_bytes(content)
                temporary.chmod(0o755)
                _replace_folder(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise DataError(
                f"The run could not be saved to {folder} ({error.strerror}); it is still in "
                "memory, so free some space or choose a folder you may write to, and save again."
            ) from error
        return folder

    def _contents(self, keep: str) -> dict[str, bytes]:
        if keep not in ("all", "best", "record"):
            raise ValueError(f'keep is {keep!r}; it must be "all", "best" or "record".')
        if keep == "record" and self.dataset.source.get("kind") != "corpus":
            raise ValueError(
                'Only a run on the corpus can be kept as a "record", which does not hold its '
                'text; use keep="best".'
            )
        state = self.state
        facts = {
            "format": FORMAT,
            "name": self.name,
            "model": asdict(self.model.config),
            "parameters": self.model.n_params,
            "training": asdict(self.config),
            "dataset": self.dataset.source
            | {"train_tokens": len(self.dataset.train), "val_tokens": len(self.dataset.val)},
            "environment": self.environment,
        } | {key: getattr(state, key) for key in STATE_FACTS}
        contents = {
            "run.json": _json(facts),
            "samples.json": _json(self.samples),
            "history.csv": self.history.to_csv(index=False).encode(),
        }
        if keep != "record":
            contents["tokenizer.json"] = _json(self.dataset.tokenizer.spec())
            ids = {"train": self.dataset.train.int(), "val": self.dataset.val.int()}
            if self.dataset.test is not None:
                ids["test"] = self.dataset.test.int()
            contents["dataset.safetensors"] = safetensors.torch.save(ids)
            contents["best.safetensors"] = safetensors.torch.save(_plain(state.best_weights))
        if keep == "all" and state.optimizer is not None:
            tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
            for name, moments in state.optimizer.moments.items():
                tensors |= {f"adam.{key}.{name}": value for key, value in moments.items()}
            contents["resume.safetensors"] = safetensors.torch.save(_plain(tensors))
        return contents

    @classmethod
    def load(cls, folder: Path | str) -> "Run":
        """Read a run that `save` wrote.

        A run kept as "record" has no weights: its model is as before training.

        Raises:
            DataError: if the folder is missing, half-written or altered, or if it is not a
                folder of this format (a pickled checkpoint is never opened: unpickling a file
                can run any code that its author put there).
        """
        folder = Path(folder)
        contents = _verified_contents(folder)
        try:
            return cls._from_contents(contents)
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

    @classmethod
    def _from_contents(cls, contents: dict[str, bytes]) -> "Run":
        facts = json.loads(contents["run.json"])
        if facts["format"] != FORMAT:
            raise ValueError(f"its format is {facts['format']}, this version reads {FORMAT}")
        source = facts["dataset"]
        n_train, n_val = source.pop("train_tokens"), source.pop("val_tokens")
        if "dataset.safetensors" in contents:
            ids = safetensors.torch.load(contents["dataset.safetensors"])
            tokenizer = tokenizer_from_spec(json.loads(contents["tokenizer.json"]))
            ids = {name: tensor.long() for name, tensor in ids.items()}
            dataset = Dataset(**ids, tokenizer=tokenizer, source=source)
        else:
            dataset = corpus_dataset(n_train + n_val, source["vocabulary"])
            if "test_sha256" in source:
                dataset = dataset.with_test(load_held_out().text)
            if dataset.source != source:
                raise ValueError("the corpus has changed since it was made")
        config = TrainConfig(**facts["training"])
        model = GPT(GPTConfig(**facts["model"]), config.seed)
        rows = csv.DictReader(StringIO(contents["history.csv"].decode()))
        state = TrainState(history=[_progress_from_csv(row) for row in rows])
        for key in STATE_FACTS:
            setattr(state, key, facts[key])
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
        environment = facts["environment"]
        return cls(model.eval(), dataset, config, state, samples, environment, facts["name"])


def train(
    model: GPT,
    dataset: Dataset,
    config: TrainConfig,
    *,
    name: str = "run",
    progress: bool = True,
    sample_often: bool = False,
    watch: Callable[["Run", Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    """Train a model in place and return the `Run`, with samples for the eight `PROMPTS`.

    Ctrl-C, a notebook's stop button, or setting the event `stop` from another thread ends
    training after the step at hand; the run so far comes back, marked "interrupted", and can be
    resumed. `progress` shows a bar; `sample_often` samples at every evaluation, not only at the
    end; `watch` is called with the run and its progress after every step.
    """
    run = Run(model, dataset, config, name=name, environment=environment())
    return _drive(run, progress, sample_often, watch, stop)


def _drive(
    run: Run,
    progress: bool,
    sample_often: bool,
    watch: Callable[[Run, Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    state = run.state
    with (
        _bar(run.name, progress, state.step) as bar,
        _deferred_interrupt(stop or threading.Event()) as interrupted,
    ):
        for report in fit(run.model, run.dataset, run.config, state):
            bar.total = state.planned_steps
            bar.update(report.step - bar.n)
            if report.val_loss is not None:
                bar.set_postfix_str(f"train {report.train_loss:.2f} · val {report.val_loss:.2f}")
                if sample_often:
                    _take_samples(run, interrupted)
            if watch is not None:
                watch(run, report)
            if interrupted.is_set() and state.status == "running":
                state.status = "interrupted"
                break
    sampled = run.samples[-1]["step"] if run.samples else None
    # Who stops does not want to wait for samples, if there are some.
    if sampled is None or (sampled != state.step and not interrupted.is_set()):
        _take_samples(run)
    run.model.eval()
    return run


def _bar(title: str, shown: bool, step: int) -> tqdm:
    """A bar of text, which is still readable in a stored notebook; there stderr is red."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    file = sys.stdout if in_notebook else sys.stderr
    return tqdm(
        desc=title,
        unit="step",
        initial=step,  # a resumed run has made some before
        disable=not shown,
        file=file,
        ncols=110,
        mininterval=0.5,
    )


def _take_samples(run: Run, stop: threading.Event | None = None) -> None:
    """Sample all prompts, or none if `stop` is set meanwhile."""
    samples = []
    for prompt in PROMPTS:
        if stop is not None and stop.is_set():
            return
        samples.append({"step": run.state.step, "prompt": prompt, "text": run.sample(prompt)})
    run.samples += samples


@contextmanager
def _deferred_interrupt(event: threading.Event) -> Iterator[threading.Event]:
    """Let the first Ctrl-C set the event, so that a step is never cut in two."""
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals reach the main thread only
        return

    def on_interrupt(*_: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        event.set()

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)


def environment() -> dict[str, Any]:
    """Versions, threads and processor: what a run's numbers depend on."""
    packages = ("slmlab", "torch", "tiktoken", "numpy")
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # on the path without being installed
        return "not installed"


def _processor() -> str:
    try:  # Linux: the only place that names the model
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor()


def recorded(name: str) -> Run:
    """A run that the course carries in `data/runs/`, such as "phase-0-gpt2-seed-0".

    Raises `DataError`, with the names there are, if it does not exist.
    """
    folder = data_path("runs", name)
    if not folder.is_dir():
        runs = data_path("runs")
        folders = [p.name for p in runs.iterdir() if p.is_dir()] if runs.is_dir() else []
        known = ", ".join(sorted(folders)) or "none"
        raise DataError(f"There is no recorded run {name!r}; the recorded runs are: {known}.")
    return Run.load(folder)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors wants them: on the CPU, contiguous, sharing no memory."""
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}


def _progress_from_csv(row: dict[str, str]) -> Progress:
    whole = ("step", "tokens")
    values = {k: (int(v) if k in whole else float(v)) if v else None for k, v in row.items()}
    return Progress(**values, eta=None)


def _verified_contents(folder: Path) -> dict[str, bytes]:
    """All files of a saved run, each checked against the run's SHA256SUMS."""
    if folder.is_file():
        raise DataError(
            f"{folder} is a file, but a saved run is a folder; checkpoints such as .pt or .pkl "
            "are never opened, because a pickle can run any code when it is loaded."
        )
    if not folder.is_dir():
        raise DataError(f"There is no run in {folder}; check the path, or save a run there first.")
    try:
        sums = (folder / "SHA256SUMS").read_text().splitlines()
        expected = dict(reversed(line.split("  ", 1)) for line in sums)
        contents = {name: (folder / name).read_bytes() for name in expected}
        unlisted = {path.name for path in folder.iterdir()} & FILES - {"SHA256SUMS", *expected}
        if unlisted:
            raise ValueError(f"SHA256SUMS does not list {', '.join(sorted(unlisted))}")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} is not a complete run ({error}); it was half-written or a file was "
            "removed, so train it again or restore it from a copy."
        ) from error
    for name, content in contents.items():
        if sha256(content) != expected[name]:
            raise DataError(
                f"{folder / name} has changed since the run was saved; restore it from a copy, "
                "or train the run again."
            )
    return contents


def _may_replace(folder: Path) -> bool:
    """Whether a folder holds nothing but a saved run, or nothing at all."""
    return {path.name for path in folder.iterdir()} <= FILES


def _replace_folder(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`, which is set aside until the new one stands."""
    if not target.exists():
        new.replace(target)
        return
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    try:
        target.replace(old / "run")
        try:
            new.replace(target)
        except OSError:
            (old / "run").replace(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
