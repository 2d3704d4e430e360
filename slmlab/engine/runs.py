"""A training run as a thing to keep: train it, look at it, save it, load it, resume it."""

import math
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from slmlab.engine import storage
from slmlab.engine.config import Progress, TrainConfig
from slmlab.engine.console import Bar, deferred_interrupt, warn
from slmlab.engine.decoding import Decoding
from slmlab.engine.environment import environment
from slmlab.engine.generation import continuation, encoded_prompt
from slmlab.engine.model import GPT
from slmlab.engine.run_folder import write_run_folder
from slmlab.engine.run_parsing import check_savable, checked_prompts
from slmlab.engine.training import check_trainable, fit
from slmlab.text.dataset import Dataset
from slmlab.validation import instance, shown, truth_values

SAMPLE_TOKENS = 30  # tokens in a sample
SAMPLING = Decoding(temperature=0.8, top_k=40)  # how samples are drawn, unless said otherwise


@dataclass
class Run(storage.RunParts):
    """A model with the story of its training; `RunParts` says what it consists of."""

    @property
    def gap(self) -> float:
        """Validation loss − training loss at the last evaluation. Signed: below 0 is suspicious.

        Raises `ValueError` for a run that was not trained yet.
        """
        return self.last.val_loss - self.last.train_loss

    @property
    def last(self) -> Progress:
        """The last evaluation. Raises `ValueError` for a run that was not trained yet."""
        if not self.state.history:
            raise ValueError(f"{self.name} was not trained yet, so it has no losses.")
        return self.state.history[-1]

    @property
    def params_per_token(self) -> float:
        """Parameters of the model for each token of its training text."""
        return self.model.n_params / len(self.dataset.train)

    @property
    def has_weights(self) -> bool:
        """False for a run that was not trained yet, or was kept without its weights."""
        return bool(self.state.best_weights)

    @property
    def weights_step(self) -> int:
        """The step whose weights `model` has: the best one, where no later ones were kept."""
        return self.state.best_step if self.state.optimizer is None else self.state.step

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
        return {"step": self.weights_step, "prompt": prompt, "text": prompt + text, "ids": new}

    def require_weights(self) -> None:
        """Raise `ValueError` for a run without weights, and say why it has none."""
        if self.has_weights:
            return
        if not self.state.history:
            raise ValueError(
                f"{self.name} was not trained yet, so there is nothing to sample from."
            )
        if self.state.best_val_loss == math.inf:
            raise ValueError(
                f"{self.name} never had a loss that is a finite number, so it has no weights to "
                "sample with; train it again from other weights, or with a lower learning rate."
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
        truth_values(progress=progress, sample_each_evaluation=sample_each_evaluation)
        new = self.config if config is None else config
        self._check_resumable(new)
        if config is not None and (config.seconds or 0) > self.state.seconds:
            self.state.planned_steps = None  # the new budget is planned afresh
        self.config = new
        self.__dict__.pop("best_model", None)
        return _train_and_sample(self, progress, sample_each_evaluation)

    def _check_resumable(self, config: TrainConfig) -> None:
        """Everything that may refuse a config, before anything is changed."""
        if not isinstance(config, TrainConfig):
            raise ValueError(f"config is {shown(config)}; it must be a TrainConfig.")
        if config.max_steps is not None and config.max_steps < self.state.step:
            raise ValueError(
                f"The run has made {self.state.step:,} steps, so it cannot go on to a max_steps of "
                f"{config.max_steps:,}; give more."
            )
        check_trainable(self.model, self.dataset, config)

    def save(
        self, folder: Path | str, keep: storage.Keep = "all", *, over: str | None = None
    ) -> Path:
        """Write the run to a folder, replacing an older run there in one step.

        `keep` is "all" (can be resumed), "best" (the best weights only) or "history" (losses and
        samples, no weights); `over` says what may be replaced (see `write_run_folder`). Formats are
        CSV, JSON and safetensors; nothing is pickled.

        Raises:
            ValueError: if `keep` is something else, or the run is not one that can be saved.
            DataError: if the folder cannot be written; what was there before is untouched.
        """
        return write_run_folder(folder, storage.contents_of(self, keep), over)

    @classmethod
    def load(cls, folder: Path | str) -> "Run":
        """Read a run that `save` wrote; one kept as "history" has its model as before training.

        Raises:
            DataError: if the folder is missing, half-written, altered or not of this format (a
                pickled checkpoint is never opened: that can run any code of its author).
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
    only at the end; `on_step` is called with the run and its progress after every step. Whatever
    goes wrong with the bar, a sample or `on_step` costs just that; an error that does end a
    training has the run so far as its attribute `run`.

    Raises:
        ValueError: if the model, the dataset and the config do not fit, for a name or prompts
            that are no text, or for more text than a saved run may have.
    """
    truth_values(progress=progress, sample_each_evaluation=sample_each_evaluation)
    asked = checked_prompts(prompts)
    check_savable(instance("dataset", dataset, Dataset))
    run = Run(model, dataset, config, prompts=asked, name=name, environment=environment())
    return _train_and_sample(run, progress, sample_each_evaluation, on_step, stop)


def _train_and_sample(
    run: Run,
    progress: bool,
    sample_each_evaluation: bool,
    on_step: Callable[[Run, Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    state = run.state
    with deferred_interrupt(threading.Event() if stop is None else stop) as interrupted:
        try:
            with Bar(run.name, state, progress) as bar:
                steps: Iterable[Progress] = fit(run.model, run.dataset, run.config, state)
                if sample_each_evaluation and _was_cut_short(run):
                    _take_samples(run, interrupted)
                    steps = () if interrupted.is_set() else steps
                for now in steps:
                    bar.show(now)
                    if on_step is not None and not _called(on_step, run, now):
                        on_step = None
                    if now.val_loss is not None and sample_each_evaluation:
                        _take_samples(run, interrupted)  # last: who watches need not wait for them
                    if interrupted.is_set() and state.status == "running":
                        state.status = "interrupted"
                        break
                _take_last_samples(run, interrupted)
        except BaseException as error:
            attach_run(run, error)
            raise
        run.model.eval()
    return run


def _was_cut_short(run: Run) -> bool:
    """Whether a stop came after the latest evaluation, and before its samples."""
    evaluated = [now.step for now in run.state.history[-1:]]
    sampled = [sample["step"] for sample in run.samples[-1:]]
    return evaluated == [run.state.step] != sampled


def _called(on_step: Callable[[Run, Progress], None], run: Run, now: Progress) -> bool:
    """Call `on_step`. If it fails, that costs a warning, never the training."""
    try:
        on_step(run, now)
    except Exception as error:
        warn(f"on_step failed and is not called again: {error!r}")
        return False
    return True


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
            warn(f"No sample was taken after {prompt!r}: {error}")
    run.samples += samples


def _take_last_samples(run: Run, interrupted: threading.Event) -> None:
    """Sample at the end, unless somebody stopped the training and there are samples already."""
    sampled, stopped = {sample["step"] for sample in run.samples}, interrupted.is_set()
    if not sampled or (run.weights_step not in sampled and not stopped):
        with suppress(KeyboardInterrupt):  # whoever does not want to wait gets the run at once
            _take_samples(run, None if stopped else interrupted)


def attach_run(run: Run, error: BaseException) -> None:
    """Let an error that ends a training carry the run so far, as its attribute `run`."""
    if not run.state.history:
        return
    if run.state.status == "running":
        run.state.status = "interrupted"
    run.model.eval()
    error.__dict__["run"] = run
    if sys.version_info >= (3, 11):
        error.add_note("The run so far is not lost: import sys; run = sys.last_value.run")
