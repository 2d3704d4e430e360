"""The training loop. A script, a notebook and a widget all drive the same `fit()`."""

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn as nn

from slmlab.engine.averaging import raw_weights, update_average
from slmlab.engine.config import Losses, Progress, TrainConfig, TrainState
from slmlab.engine.console import warn
from slmlab.engine.evaluation import mean_loss, train_sample_starts
from slmlab.engine.memory import require_memory
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.optimizer import AdamW
from slmlab.engine.pace import Pace
from slmlab.engine.precision import check_precision, products
from slmlab.text.dataset import Dataset
from slmlab.validation import instance, shown

_GLOBAL_GENERATORS = threading.Lock()  # of a process, which may train in several threads
FAR_TOO_WIDE = 10  # times the tokens that occur: a vocabulary that deserves a warning
PADDING = 127  # rows that a vocabulary may have to spare: many round it up to a multiple of 128
BYTES_TRAINED = 16  # of a parameter: itself, its gradient and AdamW's two moments, 4 each


class VocabularyWarning(UserWarning):
    """The model's vocabulary is far wider than its tokenizer, or than what occurs in its data."""


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
            longer than the training text), if there is no such device, no fast bf16 where the
            config asks for it, or too little memory.
    """
    instance("config", config, TrainConfig)
    state = TrainState() if state is None else instance("state", state, TrainState)
    _prepare(model, dataset, config, state)
    pace = Pace(config, state)

    if not state.history:
        with state.lock, pace.evaluation():
            losses = _evaluate(model, dataset, state)
        yield _progress(dataset, config, state, pace, model.config.block_size, None, losses)

    while state.status == "running":
        with state.lock:
            losses = None
            with pace.step():
                batch_loss = _step(model, dataset, config, state)
            if math.isfinite(batch_loss) and (pace.is_over() or pace.evaluation_is_due()):
                with pace.evaluation():
                    losses = _evaluate(model, dataset, state)
            if not _all_finite(batch_loss, *(losses or ())):
                _give_up(model, config, state)
                return
            state.status = _status(config, state, pace, losses)
            progress = _progress(
                dataset, config, state, pace, model.config.block_size, batch_loss, losses
            )
        yield progress


def _prepare(model: GPT, dataset: Dataset, config: TrainConfig, state: TrainState) -> None:
    """Check that all goes together, and make the state one that training can begin from."""
    device = check_trainable(model, dataset, config)
    model.to(device).train()
    state.optimizer = state.optimizer or AdamW(model, config.weight_decay)
    state.optimizer.weight_decay = config.weight_decay  # a resumed run may have another
    for moments in state.optimizer.moments.values():  # a loaded run's are on the CPU
        moments.update({key: tensor.to(device) for key, tensor in moments.items()})
    state.raw_weights = {name: weight.to(device) for name, weight in state.raw_weights.items()}
    state.planned_steps = config.max_steps or state.planned_steps
    state.status = _status_at_start(config, state)


def _status_at_start(config: TrainConfig, state: TrainState) -> str:
    """What ended a run before still ends it, unless the plan, the budget or the patience grew."""
    if state.step == 0:
        return "running"
    out_of_time = config.seconds is not None and state.seconds >= config.seconds
    if state.step >= (state.planned_steps or math.inf) or out_of_time:
        return "finished"
    impatient = config.patience and state.evaluations_since_best() >= config.patience
    return "stopped early" if impatient else "running"


def _status(config: TrainConfig, state: TrainState, pace: Pace, losses: Losses | None) -> str:
    if pace.is_over():
        return "finished"
    # The evaluation at hand is not in the history yet.
    since_best = state.evaluations_since_best() + (state.step > state.best_step)
    impatient = losses is not None and config.patience and since_best >= config.patience
    return "stopped early" if impatient else "running"


def _step(model: GPT, dataset: Dataset, config: TrainConfig, state: TrainState) -> float:
    """One step, also of the average; returns the batch's loss. If not finite, nothing changes."""
    with raw_weights(model, state, config.average):
        batch_loss = _optimise(model, dataset, config, state)
    if math.isfinite(batch_loss):
        state.step += 1
        if config.average:
            update_average(model, state, config.average)
    return batch_loss


def _optimise(model: GPT, dataset: Dataset, config: TrainConfig, state: TrainState) -> float:
    """One optimiser step; returns the batch's loss."""
    step = state.step + 1
    # Batch and dropout depend on (seed, step) only, so a run can be resumed at any step.
    seed = config.seed * 1_000_003 + step
    inputs, targets = dataset.batch(config.batch_size, model.config.block_size, seed)
    device = model.device
    dropout = _dropout_seed(seed, device) if model.config.dropout else nullcontext()
    with dropout, products(config.precision, device):
        loss = model.loss(inputs.to(device), targets.to(device), config.label_smoothing)
    if math.isfinite(loss.item()):
        loss.backward()
        if config.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        state.optimizer.step(config.learning_rate_at(step, state.planned_steps))
    return loss.item()


def _evaluate(model: GPT, dataset: Dataset, state: TrainState) -> Losses:
    """Exact losses now; remembers the weights of the best validation loss.

    The test loss decides nothing.
    """
    starts = train_sample_starts(len(dataset.train), len(dataset.val), model.config.block_size)
    if dataset.train_mask is not None:
        starts = None  # all of the text, as a sample may hold no token that counts
    losses = Losses(
        train=mean_loss(model, dataset.train, starts, dataset.train_mask),
        val=mean_loss(model, dataset.val, mask=dataset.val_mask),
        test=None if dataset.test is None else mean_loss(model, dataset.test),
    )
    if losses.val < state.best_val_loss:
        weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        # Together: a second Ctrl-C must not part the weights from what is said of them.
        state.best_weights, state.best_val_loss, state.best_step = weights, losses.val, state.step
    return losses


def _progress(
    dataset: Dataset,
    config: TrainConfig,
    state: TrainState,
    pace: Pace,
    block_size: int,
    batch_loss: float | None,
    losses: Losses | None,
) -> Progress:
    """Where training stands; an evaluation also enters the history."""
    tokens = state.step * config.batch_size * block_size
    progress = Progress(
        step=state.step,
        batch_loss=batch_loss,
        train_loss=losses.train if losses else None,
        val_loss=losses.val if losses else None,
        test_loss=losses.test if losses else None,
        tokens=tokens,
        epochs=tokens / len(dataset.train),
        seconds=state.seconds,
        learning_rate=config.learning_rate_at(max(1, state.step), state.planned_steps),
        eta=pace.eta(),
    )
    if losses:
        state.history.append(progress)
    return progress


def _all_finite(*losses: float | None) -> bool:
    return all(math.isfinite(loss) for loss in losses if loss is not None)


def _give_up(model: GPT, config: TrainConfig, state: TrainState) -> None:
    """The loss is infinite or not a number: put the best weights back and say what to change."""
    state.status = "diverged"
    if state.best_weights:
        model.load_state_dict(state.best_weights)
    state.optimizer = None  # its moments are spoilt
    state.raw_weights = {}
    warn(
        f"The loss stopped being a finite number after step {state.step}, so training ended; the "
        f"model has its best weights again (step {state.best_step}). Lower the learning rate "
        f"({config.learning_rate:g}), or set grad_clip and warmup_steps."
    )


def _far_too_wide(vocab: int, distinct: int) -> bool:
    """Whether a vocabulary is out of proportion to the tokens that occur and the 256 bytes."""
    return vocab > FAR_TOO_WIDE * distinct and vocab > distinct + 256


def vocabulary_advice(config: GPTConfig, dataset: Dataset) -> str:
    """A warning in words about vocabulary rows that a model never needs; empty if it has few."""
    rows, n_vocab = config.vocab_size, dataset.tokenizer.n_vocab
    distinct = len(torch.cat([dataset.train, dataset.val]).unique())
    if rows > n_vocab + PADDING:
        return (
            f"The model has {rows:,} vocabulary rows for a tokenizer of {n_vocab:,} tokens. "
            f"{_spare(config, rows - n_vocab)} belong to no token: make the model with "
            f"vocab_size={n_vocab}."
        )
    if _far_too_wide(rows, distinct):
        return (
            f"The model has {rows:,} vocabulary rows, but only {distinct:,} tokens occur in the "
            f"data. {_spare(config, rows - distinct)} are never read, and slow every step. A "
            "right-sized vocabulary gives the same tokens for this text; one trained on the text "
            "can have as few rows, and suits new text better."
        )
    return ""


def _spare(config: GPTConfig, rows: int) -> str:
    """How much some vocabulary rows cost; the output head has the same ones."""
    n_params = rows * config.n_embd
    return (
        f"{rows:,} rows ({n_params:,} parameters, {n_params * BYTES_TRAINED / 1e6:,.0f} MB while "
        "training)"
    )


def check_trainable(model: GPT, dataset: Dataset, config: TrainConfig) -> torch.device:
    """The device of a training; refuses, before anything is changed, what `fit` says it does."""
    _check_fit(model, dataset)
    device = resolve_device(config.device)
    check_precision(config.precision, device)
    if device.type == "cpu":
        require_memory(model.config, config.batch_size, averaged=config.average > 0)
    return device


def _check_fit(model: GPT, dataset: Dataset) -> None:
    """Refuse, or warn about, a model and a dataset that do not go together (see `fit`)."""
    instance("model", model, GPT)
    instance("dataset", dataset, Dataset)
    vocab, block = model.config.vocab_size, model.config.block_size
    ids = torch.cat([dataset.train, dataset.val, *filter(torch.is_tensor, [dataset.test])])
    if min(len(dataset.train), len(dataset.val)) < 2:
        raise ValueError(
            f"The dataset has {len(dataset.train)} tokens to train on and {len(dataset.val)} to "
            "validate on; each needs at least 2."
        )
    if int(ids.max()) >= vocab:
        raise ValueError(
            f"The data has token id {int(ids.max())}, but the model's vocabulary ends at "
            f"{vocab - 1}; make the model with vocab_size={dataset.tokenizer.n_vocab}."
        )
    check_context(len(dataset.train), block)
    if advice := vocabulary_advice(model.config, dataset):
        warnings.warn(advice, VocabularyWarning, stacklevel=4)


def check_context(n_train: int, block_size: int) -> None:
    """Raise `ValueError` if not even one window fits into the training text."""
    if n_train <= block_size:
        raise ValueError(
            f"The context of {block_size} tokens is longer than the training text allows "
            f"({n_train} tokens); use block_size below that, or more text."
        )


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA if present, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # "meta" has no numbers
    except Exception as error:  # each kind of device has its own
        raise ValueError(f'There is no device {shown(name)} here; use "auto", or "cpu".') from error
    return torch.device(name)


@contextmanager
def _dropout_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators inside the block, and leave them as they were after it."""
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_GENERATORS, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
