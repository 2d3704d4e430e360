"""How to train, and where a training stands."""

import math
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from slmlab.engine.optimizer import AdamW
from slmlab.engine.precision import PRECISIONS
from slmlab.text.dataset import MAX_BATCH
from slmlab.validation import is_word, one_of, real_number, shown, truth_values, whole_number

ENDLESS = 1_000_000_000  # steps, or seconds (32 years): more is a slip of the keyboard


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
        average: decay of a moving average of the weights; 0 turns it off. The average is what is
            evaluated, sampled and kept; training goes on with the weights behind it.
        precision: of a training step's matrix products, "fp32" or "bf16" (half the bits; weights,
            optimiser and evaluations stay fp32). bf16 needs a processor that is faster with it, and
            a model whose matrices are large enough: a small one gains nothing.
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
    average: float = 0.0
    precision: str = "fp32"
    patience: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.max_steps is None) == (self.seconds is None):
            raise ValueError("Give either max_steps or a budget in seconds, one of the two.")
        self._set("batch_size", whole_number("batch_size", self.batch_size, 1, MAX_BATCH))
        for name in ("max_steps", "eval_interval", "patience"):
            if getattr(self, name) is not None:
                self._set(name, whole_number(name, getattr(self, name), 1, ENDLESS))
        self._set("learning_rate", real_number("learning_rate", self.learning_rate, above=0))
        if self.seconds is not None:
            self._set("seconds", real_number("seconds", self.seconds, above=0, most=ENDLESS))
        for name in ("weight_decay", "grad_clip"):
            self._set(name, real_number(name, getattr(self, name), least=0))
        self._set("warmup_steps", whole_number("warmup_steps", self.warmup_steps, most=ENDLESS))
        self._set("seed", whole_number("seed", self.seed, most=2**32 - 1))
        for name in ("label_smoothing", "average"):
            self._set(name, real_number(name, getattr(self, name), least=0, below=1))
        truth_values(cosine=self.cosine)
        one_of("precision", self.precision, PRECISIONS)
        if not is_word(self.device):
            raise ValueError(f'device is {shown(self.device)}; it must be a name, such as "cpu".')

    def _set(self, name: str, value: float) -> None:
        object.__setattr__(
            self, name, value
        )  # the class is frozen, and NumPy's numbers are not JSON

    def learning_rate_at(self, step: int, planned_steps: int | None) -> float:
        """The learning rate of a step, counted from 1 (cosine: Loshchilov and Hutter 2017).

        Raises `ValueError` for a step, or a number of steps, that is no whole number from 1 on.
        """
        step = whole_number("step", step, 1, ENDLESS)
        if planned_steps is not None:
            planned_steps = whole_number("planned_steps", planned_steps, 1, ENDLESS)
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if not self.cosine or planned_steps is None:
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, planned_steps - self.warmup_steps)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, done))))


class Losses(NamedTuple):
    """Exact losses of one evaluation, in nats per token; `test` is None without a test text."""

    train: float
    val: float
    test: float | None = None


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


@dataclass
class TrainState:
    """Everything that a run needs to go on later, apart from the model's own weights.

    `fit` keeps it up to date after every step, so whoever holds it loses nothing when the loop
    stops. `raw_weights` are those that training goes on with, where the model holds their average
    (see `TrainConfig.average`). `status` is "running" until the loop ends: "finished", "stopped
    early" or "diverged". Whoever reads the model or the state from another thread takes `lock`
    meanwhile, so that what they see is of one step.
    """

    status: str = "running"
    step: int = 0
    seconds: float = 0.0
    planned_steps: int | None = None
    history: list[Progress] = field(default_factory=list)
    best_step: int = 0
    best_val_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    raw_weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: AdamW | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def evaluations_since_best(self) -> int:
        """How many evaluations came after the one with the lowest validation loss."""
        return sum(p.step > self.best_step for p in self.history)
