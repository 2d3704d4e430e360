"""A training run as a thing to keep: train it, look at it, save it, load it, resume it."""

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from slmlab.engine import storage
from slmlab.engine.config import Progress, TrainConfig
from slmlab.engine.decoding import Decoding
from slmlab.engine.environment import environment
from slmlab.engine.generation import continuation, encoded_prompt
from slmlab.engine.model import GPT
from slmlab.engine.run_folder import write_run_folder
from slmlab.engine.training import check_fit, fit, resolve_device
from slmlab.text.dataset import Dataset

SAMPLE_TOKENS = 30  # tokens in a sample
SAMPLING = Decoding(temperature=0.8, top_k=40)  # how samples are drawn, unless said otherwise


@dataclass
class Run(storage.RunParts):
    """A model with the story of its training; `RunParts` says what it consists of."""

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
        """False for a run that was not trained yet, or was kept without its weights."""
        return bool(self.state.best_weights)

    @cached_property
    def best_model(self) -> GPT:
        """The model with the weights of the lowest validation loss (`ValueError` if not kept)."""
        self.require_weights()
        with self.state.lock:  # another thread may be training this model
            best = deepcopy(self.model)
            best.load_state_dict(self.state.best_weights)
        return best.eval()

    def sample(self, prompt: str, max_new_tokens: int = SAMPLE_TOKENS, **changes: Any) -> str:
        """What the model writes after `prompt`, the prompt included.

        `changes` are options of `Decoding`, in place of those of `SAMPLING`. Raises `ValueError`
        for a run without weights, or a prompt that the model has no rows for.
        """
        return self.take_sample(prompt, max_new_tokens, **changes)["text"]

    def take_sample(
        self, prompt: str, max_new_tokens: int = SAMPLE_TOKENS, **changes: Any
    ) -> dict[str, Any]:
        """The same as an entry of `samples`, with the step and the new tokens' ids."""
        self.require_weights()
        decoding = replace(SAMPLING, **changes)
        tokenizer = self.dataset.tokenizer
        with self.state.lock:  # another thread may be training this model
            ids = encoded_prompt(tokenizer, prompt)
            text, new = continuation(self.model, tokenizer, ids, max_new_tokens, decoding)
        return {"step": self.state.step, "prompt": prompt, "text": prompt + text, "ids": new}

    def require_weights(self) -> None:
        """Raise `ValueError` for a run without weights, and say why it has none."""
        if self.has_weights:
            return
        if not self.state.history:
            raise ValueError(
                f"{self.name} was not trained yet, so there is nothing to sample from."
            )
        raise ValueError(
            f"{self.name} was kept without its weights; its texts are in `samples`, and training "
            "it again brings the weights back."
        )

    def resume(
        self,
        config: TrainConfig | None = None,
        progress: bool = True,
        sample_each_evaluation: bool = False,
    ) -> "Run":
        """Train on from where the run stopped, exactly as if it had never stopped.

        A `config` with more steps, more seconds or more patience prolongs a run that ended; by
        default the run's own goes on, and a run that ended stays as it is.

        Raises:
            ValueError: if the run was saved without the optimiser's state, or diverged, or the
                config does not fit; the run is then unchanged.
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
        if config is not None:
            check_fit(self.model, self.dataset)
            resolve_device(config.device)
            self.config = config
            if config.seconds is not None:
                self.state.planned_steps = None  # the new budget is planned afresh
        self.__dict__.pop("best_model", None)
        return _train_and_sample(self, progress, sample_each_evaluation)

    def save(self, folder: Path | str, keep: storage.Keep = "all") -> Path:
        """Write the run to a folder, replacing an older run there in one step.

        `keep` is "all" (can be resumed), "best" (the best weights only) or "history" (losses and
        samples, no weights). Formats are CSV, JSON and safetensors; nothing is pickled.

        Raises:
            ValueError: if `keep` is something else.
            DataError: if the folder cannot be written; what was there before is untouched.
        """
        with self.state.lock:  # another thread may be training this model
            contents = storage.contents_of(self, keep)
        return write_run_folder(folder, contents)

    @classmethod
    def load(cls, folder: Path | str) -> "Run":
        """Read a run that `save` wrote.

        A run kept as "history" has no weights: its model is as before training.

        Raises:
            DataError: if the folder is missing, half-written or altered, or if it is not a
                folder of this format (a pickled checkpoint is never opened: unpickling a file
                can run any code that its author put there).
        """
        parts = storage.parts_of(folder)
        return cls(**{f.name: getattr(parts, f.name) for f in fields(parts)})


def train(
    model: GPT,
    dataset: Dataset,
    config: TrainConfig,
    *,
    prompts: Sequence[str] = (),
    name: str = "run",
    progress: bool = True,
    sample_each_evaluation: bool = False,
    on_step: Callable[[Run, Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    """Train a model in place and return the `Run`, with a sample for each of the `prompts`.

    Ctrl-C, a notebook's stop button, or setting the event `stop` from another thread ends
    training after the step at hand; the run so far comes back, marked "interrupted", and can be
    resumed. `progress` shows a bar; `sample_each_evaluation` samples at every evaluation, not
    only at the end; `on_step` is called with the run and its progress after every step.
    """
    run = Run(model, dataset, config, prompts=tuple(prompts), name=name, environment=environment())
    return _train_and_sample(run, progress, sample_each_evaluation, on_step, stop)


def _train_and_sample(
    run: Run,
    progress: bool,
    sample_each_evaluation: bool,
    on_step: Callable[[Run, Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    state = run.state
    with (
        _bar(run.name, progress, state.step) as bar,
        _deferred_interrupt(stop or threading.Event()) as interrupted,
    ):
        steps: Iterable[Progress] = fit(run.model, run.dataset, run.config, state)
        if sample_each_evaluation and _was_cut_short(run):
            _take_samples(run, interrupted)
            steps = () if interrupted.is_set() else steps
        for now in steps:
            bar.total = state.planned_steps
            bar.update(now.step - bar.n)
            if now.val_loss is not None:
                bar.set_postfix_str(f"train {now.train_loss:.2f} · val {now.val_loss:.2f}")
                if sample_each_evaluation:
                    _take_samples(run, interrupted)
            if on_step is not None:
                try:
                    on_step(run, now)
                except Exception as error:
                    warnings.warn(
                        f"on_step failed and is not called again: {error!r}", stacklevel=3
                    )
                    on_step = None
            if interrupted.is_set() and state.status == "running":
                state.status = "interrupted"
                break
    sampled = run.samples[-1]["step"] if run.samples else None
    # After a stop nobody wants to wait for samples, if there are some.
    if sampled is None or (sampled != state.step and not interrupted.is_set()):
        _take_samples(run)
    run.model.eval()
    return run


def _was_cut_short(run: Run) -> bool:
    """Whether a stop came after the latest evaluation, and before its samples."""
    evaluated = [now.step for now in run.state.history[-1:]]
    sampled = [sample["step"] for sample in run.samples[-1:]]
    return evaluated == [run.state.step] != sampled


def _bar(title: str, shown: bool, step: int) -> tqdm:
    """A bar of text, which is still readable in a stored notebook; there stderr is red."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    file = sys.stdout if in_notebook else sys.stderr
    return tqdm(
        desc=title,
        unit="step",
        initial=step,  # a resumed run has made some before
        disable=not shown or file is None,
        file=Forgiving(file),
        ncols=110,
        mininterval=0.5,
    )


class Forgiving:
    """A stream for a bar. What it cannot write costs the bar, never the training."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(AttributeError, OSError, ValueError):  # none, closed, on a full disk
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode("ascii", "replace").decode())

    def flush(self) -> None:
        with suppress(AttributeError, OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # its encoding, and whether it is a terminal


def _take_samples(run: Run, stop: threading.Event | None = None) -> None:
    """Sample all prompts, or none if `stop` is set meanwhile.

    A prompt that cannot be continued costs its sample and a warning, never the training.
    """
    samples = []
    for prompt in run.prompts:
        if stop is not None and stop.is_set():
            return
        try:
            samples.append(run.take_sample(prompt))
        except Exception as error:  # whatever it is, the training is worth more
            warnings.warn(f"No sample was taken after {prompt!r}: {error}", stacklevel=2)
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
