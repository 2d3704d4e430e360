"""The training loop. A script, a notebook and a widget all drive the same `fit()`."""

import math
import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.nn as nn
from torch import Tensor
from torch.optim.adamw import adamw

from slmlab.corpus import Dataset
from slmlab.model import GPT

T = TypeVar("T")

BETAS = (0.9, 0.999)  # AdamW's usual values
EVALUATION_ROWS = 512  # tokens in one batch of an evaluation
MIN_TRAIN_SAMPLE = 1000  # tokens of training text in an evaluation, at least
EVALUATIONS = 10  # in a run whose eval_interval is not given
FAR_TOO_WIDE = 10  # times the tokens that occur: a vocabulary that deserves a warning


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Give either `max_steps` or a budget in `seconds`.

    Attributes:
        max_steps: optimiser steps to take.
        seconds: time budget, evaluations included; the steps are planned from measured speed.
        batch_size: sequences in a step.
        learning_rate: AdamW's peak learning rate.
        eval_interval: steps between evaluations (default: a tenth of the steps; under a time
            budget never more than that).
        weight_decay: AdamW's decay, on matrices only.
        grad_clip: largest norm of the gradient; 0 turns clipping off.
        label_smoothing: share of the target's probability spread over the vocabulary.
        warmup_steps: steps in which the learning rate rises from 0.
        cosine: let the learning rate then fall to a tenth along a cosine.
        patience: stop early after this many evaluations without a better validation loss.
        seed: decides every batch and every dropout mask.
        device: "auto" (CUDA if present, else CPU) or a PyTorch device name.

    Raises:
        ValueError: if a value is out of range.
    """

    batch_size: int
    learning_rate: float
    max_steps: int | None = None
    seconds: float | None = None
    eval_interval: int | None = None
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    label_smoothing: float = 0.0
    warmup_steps: int = 0
    cosine: bool = False
    patience: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.max_steps is None) == (self.seconds is None):
            raise ValueError("Give either max_steps or a budget in seconds, one of the two.")
        for name in ("batch_size", "max_steps", "eval_interval", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1.")
        for name in ("learning_rate", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}; it must be a number above 0.")
        for name in ("weight_decay", "grad_clip", "warmup_steps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be 0 or more.")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed!r}; it must be a whole number from 0 to 2³² − 1.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing}; it must be at least 0 and below 1."
            )

    def learning_rate_at(self, step: int, planned_steps: int | None) -> float:
        """The learning rate of a step, counted from 1 (cosine: Loshchilov and Hutter 2017)."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if not self.cosine or planned_steps is None:
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, planned_steps - self.warmup_steps)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step. Losses are in nats per token.

    `train_loss` and `val_loss` are exact evaluations, made every `eval_interval` steps (None in
    between), and so is `test_loss` where the dataset has a test text; `batch_loss` is the loss of
    the batch just trained on (None at step 0).
    """

    step: int
    batch_loss: float | None
    train_loss: float | None
    val_loss: float | None
    tokens: int
    epochs: float
    seconds: float
    learning_rate: float
    eta: float | None
    test_loss: float | None = None


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), on matrices only.

    The arithmetic is PyTorch's own, by its functional interface: the class `torch.optim.AdamW`
    would also load PyTorch's compiler, memory and start-up time that nothing here needs.

    Attributes:
        moments: for each parameter's name its `step`, `exp_avg` and `exp_avg_sq`.
    """

    def __init__(self, model: GPT, weight_decay: float) -> None:
        self.weight_decay = weight_decay
        self.parameters = dict(model.named_parameters())
        self.moments = {
            name: {
                "step": torch.zeros((), device=p.device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }
            for name, p in self.parameters.items()
        }

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Change the parameters by their gradients, and forget the gradients."""
        matrices = [name for name, p in self.parameters.items() if p.dim() >= 2]
        vectors = [name for name, p in self.parameters.items() if p.dim() < 2]
        for names, decay in ((matrices, self.weight_decay), (vectors, 0.0)):
            adamw(
                [self.parameters[name] for name in names],
                [self.parameters[name].grad for name in names],
                [self.moments[name]["exp_avg"] for name in names],
                [self.moments[name]["exp_avg_sq"] for name in names],
                [],
                [self.moments[name]["step"] for name in names],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=learning_rate,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )
        for p in self.parameters.values():
            p.grad = None


class VocabularyWarning(UserWarning):
    """The model's vocabulary is far wider than what occurs in its data."""


@dataclass
class TrainState:
    """Everything that a run needs to go on later, apart from the model's own weights.

    `fit` keeps it up to date after every step, so whoever holds it loses nothing when the loop
    stops. `status` is "running" until the loop ends: "finished", "stopped early" or "diverged".
    """

    status: str = "running"
    step: int = 0
    seconds: float = 0.0
    planned_steps: int | None = None
    history: list[Progress] = field(default_factory=list)
    best_step: int = 0
    best_val_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: AdamW | None = None


def fit(
    model: GPT, dataset: Dataset, config: TrainConfig, state: TrainState | None = None
) -> Iterator[Progress]:
    """Train `model` in place, yielding a `Progress` at step 0 and after every step.

    The caller may stop at any yield. Passing the `state` of an earlier run, with that run's
    weights in `model`, continues it exactly. Same seed, same machine and thread count: the same
    losses, bit by bit. A loss that is not finite ends the run with a warning and puts the best
    weights back into `model`.

    Raises:
        ValueError: if the dataset does not fit the model (ids beyond the vocabulary, a context
            longer than the training text).
    """
    check_fit(model, dataset)
    state = state if state is not None else TrainState()
    device = resolve_device(config.device)
    model.to(device).train()
    state.optimizer = state.optimizer or AdamW(model, config.weight_decay)
    state.optimizer.weight_decay = config.weight_decay  # a resumed run may have another
    for moments in state.optimizer.moments.values():  # a loaded run's are on the CPU
        moments.update({key: tensor.to(device) for key, tensor in moments.items()})
    state.planned_steps = config.max_steps or state.planned_steps
    state.status = "running" if state.step < (state.planned_steps or math.inf) else "finished"
    pace = _Pace(config, state)

    if not state.history:
        losses = pace.timed_evaluation(_evaluate, model, dataset, state)
        yield _report(dataset, config, state, model, None, losses, pace)

    while state.status == "running":
        batch_loss = pace.timed_step(_step, model, dataset, config, state)
        losses = None
        if math.isfinite(batch_loss):
            state.step += 1
            last = state.step == state.planned_steps or pace.out_of_time()
            if last or pace.evaluation_is_due():
                losses = pace.timed_evaluation(_evaluate, model, dataset, state)
        if not all(map(math.isfinite, (batch_loss, *(losses or ())))):
            _give_up(model, config, state)
            return
        if last:
            state.status = "finished"
        elif losses and config.patience and _evaluations_since_best(state) >= config.patience:
            state.status = "stopped early"
        yield _report(dataset, config, state, model, batch_loss, losses, pace)


def _step(model: GPT, dataset: Dataset, config: TrainConfig, state: TrainState) -> float:
    """One optimiser step; returns the batch's loss. A loss that is not finite changes nothing."""
    step = state.step + 1
    # Batch and dropout depend on (seed, step) only, so a run can be resumed at any step.
    seed = config.seed * 1_000_003 + step
    inputs, targets = dataset.batch(config.batch_size, model.config.block_size, seed)
    device = model.wte.weight.device
    with _dropout_seed(seed, device) if model.config.dropout else nullcontext():
        loss = model.loss(inputs.to(device), targets.to(device), config.label_smoothing)
    if math.isfinite(loss.item()):
        loss.backward()
        if config.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        state.optimizer.step(config.learning_rate_at(step, state.planned_steps))
    return loss.item()


def _give_up(model: GPT, config: TrainConfig, state: TrainState) -> None:
    """The loss is infinite or not a number: put the best weights back and say what to change."""
    state.status = "diverged"
    if state.best_weights:
        model.load_state_dict(state.best_weights)
    state.optimizer = None  # its moments are spoilt
    warnings.warn(
        f"The loss stopped being a finite number after step {state.step}, so training ended; the "
        f"model has its best weights again (step {state.best_step}). Lower the learning rate "
        f"({config.learning_rate:g}), or set grad_clip and warmup_steps.",
        stacklevel=3,
    )


def _evaluate(model: GPT, dataset: Dataset, state: TrainState) -> tuple[float, ...]:
    """Train, validation and perhaps test loss; remembers the weights of the best validation loss.

    The test loss decides nothing.
    """
    starts = train_sample_starts(len(dataset.train), len(dataset.val), model.config.block_size)
    train_loss = mean_loss(model, dataset.train, starts)
    val_loss = mean_loss(model, dataset.val)
    if val_loss < state.best_val_loss:
        state.best_val_loss, state.best_step = val_loss, state.step
        if not state.best_weights:
            state.best_weights = {k: torch.empty_like(v) for k, v in model.state_dict().items()}
        for name, weight in model.state_dict().items():
            state.best_weights[name].copy_(weight)
    if dataset.test is None:
        return train_loss, val_loss
    return train_loss, val_loss, mean_loss(model, dataset.test)


def _report(
    dataset: Dataset,
    config: TrainConfig,
    state: TrainState,
    model: GPT,
    batch_loss: float | None,
    losses: tuple[float, ...] | None,
    pace: "_Pace",
) -> Progress:
    tokens = state.step * config.batch_size * model.config.block_size
    train_loss, val_loss, test_loss = (*(losses or (None, None)), None)[:3]
    report = Progress(
        step=state.step,
        batch_loss=batch_loss,
        train_loss=train_loss,
        val_loss=val_loss,
        tokens=tokens,
        epochs=tokens / len(dataset.train),
        seconds=state.seconds,
        learning_rate=config.learning_rate_at(max(1, state.step), state.planned_steps),
        eta=pace.eta(),
        test_loss=test_loss,
    )
    if losses:
        state.history.append(report)
    return report


class _Pace:
    """Measures speed as training goes; from it, plans a time budget and forecasts the end."""

    def __init__(self, config: TrainConfig, state: TrainState) -> None:
        self.config = config
        self.state = state
        self.steps: deque[float] = deque(maxlen=50)  # seconds of the latest steps
        self.evaluation = 0.0  # seconds of the latest evaluation
        self.measured = 0.0  # seconds of all steps

    def timed_evaluation(self, work: Callable[..., T], *args: object) -> T:
        result, self.evaluation = self._timed(work, *args)
        return result

    def timed_step(self, work: Callable[..., T], *args: object) -> T:
        result, seconds = self._timed(work, *args)
        self.steps.append(seconds)
        self.measured += seconds
        # The first step is slower than the rest (caches, allocations), so it is left out.
        if self.state.planned_steps is None and len(self.steps) > 3 and self.knows_speed():
            left = 0.97 * self.config.seconds - self.state.seconds - EVALUATIONS * self.evaluation
            more = left / statistics.median(list(self.steps)[1:])
            self.state.planned_steps = self.state.step + 1 + max(1, int(more))
        return result

    def _timed(self, work: Callable[..., T], *args: object) -> tuple[T, float]:
        began = time.perf_counter()
        result = work(*args)
        seconds = time.perf_counter() - began
        self.state.seconds += seconds
        return result, seconds

    def knows_speed(self) -> bool:
        """A tenth of the budget is enough to plan the rest; so are 2 seconds."""
        return self.measured > min(2.0, 0.1 * self.config.seconds)

    def out_of_time(self) -> bool:
        return self.config.seconds is not None and self.state.seconds >= self.config.seconds

    def evaluation_is_due(self) -> bool:
        planned = self.state.planned_steps
        if planned is None:
            return False
        interval = max(1, planned // EVALUATIONS)
        if self.config.eval_interval:
            # A budget may allow fewer steps than the interval was chosen for.
            budget = self.config.seconds is not None
            given = self.config.eval_interval
            interval = min(interval, given) if budget else given
        return self.state.step % interval == 0

    def eta(self) -> float | None:
        """Seconds to the end of the plan, evaluations apart; None before speed is known."""
        if self.state.status != "running":
            return 0.0
        if not self.steps or self.state.planned_steps is None:
            return None
        return statistics.median(self.steps) * (self.state.planned_steps - self.state.step)


def far_too_wide(vocab: int, distinct: int) -> bool:
    """Whether a vocabulary is out of proportion to the tokens that occur and the 256 bytes."""
    return vocab > FAR_TOO_WIDE * distinct and vocab > distinct + 256


def check_fit(model: GPT, dataset: Dataset) -> None:
    """Refuse, or warn about, a model and a dataset that do not go together (see `fit`)."""
    vocab, block = model.config.vocab_size, model.config.block_size
    ids = torch.cat([dataset.train, dataset.val])
    if int(ids.max()) >= vocab:
        raise ValueError(
            f"The data has token id {int(ids.max())}, but the model's vocabulary ends at "
            f"{vocab - 1}; make the model with vocab_size={dataset.tokenizer.n_vocab}."
        )
    check_context(len(dataset.train), block)
    distinct = len(ids.unique())
    if far_too_wide(vocab, distinct):
        warnings.warn(
            f"The model has {vocab:,} vocabulary rows, but only {distinct:,} tokens occur in the "
            "data; a right-sized vocabulary trains faster.",
            VocabularyWarning,
            stacklevel=3,
        )


def check_context(n_train: int, block_size: int) -> None:
    """Raise `ValueError` if not even one window fits into the training text."""
    if n_train <= block_size:
        raise ValueError(
            f"The context of {block_size} tokens is longer than the training text allows "
            f"({n_train} tokens); use block_size below that, or more text."
        )


@torch.no_grad()
def mean_loss(model: GPT, ids: Tensor, starts: list[int] | None = None) -> float:
    """Exact mean cross-entropy (nats per token) of a model on a 1-D tensor of token ids.

    Every token but the first is predicted exactly once, in the windows of `loss_windows`;
    `starts` picks full windows at given places instead. Dropout is off.
    Raises `ValueError` if there are fewer than two ids.
    """
    device = model.wte.weight.device
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for inputs, targets in loss_windows(ids, model.config.block_size, EVALUATION_ROWS, starts):
        total += model.loss(inputs.to(device), targets.to(device)).item() * targets.numel()
        count += targets.numel()
    model.train(was_training)
    return total / count


def loss_windows(
    ids: Tensor, block: int, rows: int, starts: list[int] | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut ids into consecutive windows of inputs and next tokens, in batches of about `rows`.

    The last window may be shorter than `block`, so a text shorter than the context works.
    Raises `ValueError` if there are fewer than two ids.
    """
    if len(ids) < 2:
        raise ValueError(f"A loss needs at least 2 tokens; got {len(ids)}.")
    if starts is None:
        starts = list(range(0, len(ids) - 1, block))
    windows = [ids[start : start + block + 1] for start in starts]
    full = [w for w in windows if len(w) == block + 1]
    per_batch = max(1, rows // block)
    for i in range(0, len(full), per_batch):
        batch = torch.stack(full[i : i + per_batch])
        yield batch[:, :-1], batch[:, 1:]
    for window in windows:
        if len(window) <= block:
            yield window[None, :-1], window[None, 1:]


def train_sample_starts(n_train: int, n_val: int, block: int) -> list[int]:
    """Where the windows of the fixed train sample begin: disjoint, evenly spread.

    The sample is as long as the validation set, but at least 1,000 tokens, and at most the
    whole training text.
    """
    wanted = round(max(n_val, MIN_TRAIN_SAMPLE) / block)
    count = max(1, min(wanted, (n_train - 1) // block))
    return [round(x) for x in torch.linspace(0, n_train - block - 1, count).tolist()]


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA if present, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'There is no device {name!r} here; use "auto", or "cpu".') from error
    return torch.device(name)


@contextmanager
def _dropout_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators inside the block, and leave them as they were after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _evaluations_since_best(state: TrainState) -> int:
    now = state.step > state.best_step
    return now + sum(p.step > state.best_step for p in state.history)
