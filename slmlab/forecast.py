"""What to expect of a set-up before training it: time and memory here, and runs like it."""

import statistics
import time
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import psutil

from slmlab import audit
from slmlab.diagnosis import gap_band, size_advice
from slmlab.experiments import Grid
from slmlab.model import GPTConfig
from slmlab.phases import PHASES
from slmlab.setups import Setup
from slmlab.training import VocabularyWarning, check_context, fit

if TYPE_CHECKING:
    import pandas as pd

# Milliseconds of a training step for each unit of `work`. benchmarks/widgets.py fits them to the
# ten step times of results.md, which they meet within 20 %. Other machines differ by a factor.
STEP_MS = (0.513, 6.066, 0.832, 2.616)
PROBES = ("phase-1 vocabulary=gpt2", "phase-3")  # tens of milliseconds a step each
PROBE_STEPS = 7
BASE_MB = 280  # Python, PyTorch, pandas and matplotlib
FAR = 2.0  # doublings in all from the nearest cell of the grid: beyond, nothing is like it


@dataclass(frozen=True)
class Forecast:
    """What is known of a set-up before it is trained.

    Attributes:
        config: the model's shape, vocabulary included.
        train_tokens: tokens of its vocabulary to train on.
        steps: optimiser steps, planned or what the time budget allows.
        seconds: of training on this machine, evaluations apart; may be a third off.
        megabytes: largest resident memory, roughly.
        epochs: times the training text will be read.
        like: what recorded runs like this one ended at, in words.
        warnings: what to worry about, in words.
    """

    config: GPTConfig
    train_tokens: int
    steps: int
    seconds: float
    megabytes: float
    epochs: float
    like: str
    warnings: tuple[str, ...]

    @property
    def params_per_token(self) -> float:
        return self.config.n_params / self.train_tokens


def forecast(setup: Setup, factor: float | None = None) -> Forecast:
    """Look ahead, without training. Raises `ValueError` if the set-up cannot be trained.

    `factor` is how slow this machine is (default: `machine_factor`, measured once).
    """
    dataset = setup.dataset()
    config = setup.model_config(dataset.tokenizer.n_vocab)
    n_train = len(dataset.train)
    check_context(n_train, setup.block_size)
    per_step = (factor or machine_factor()) * reference_ms(config, setup.batch_size) / 1000
    steps = setup.max_steps or max(1, int(setup.seconds / per_step))
    epochs = steps * setup.batch_size * setup.block_size / n_train
    megabytes = _megabytes(config, setup.batch_size)
    found = [*size_advice(config, dataset), *_reading_advice(n_train, epochs)]
    free = psutil.virtual_memory().available / 1e6
    if megabytes > free:
        found.append(
            f"This needs about {megabytes:,.0f} MB of memory, and {free:,.0f} MB are free: make "
            "the batch, the context or the model smaller."
        )
    return Forecast(
        config=config,
        train_tokens=n_train,
        steps=steps,
        seconds=setup.seconds or steps * per_step,
        megabytes=megabytes,
        epochs=epochs,
        like=_recorded_phase(setup) or _like(config, n_train, epochs),
        warnings=tuple(found),
    )


@lru_cache(maxsize=1)
def machine_factor() -> float:
    """How many times as long as on the benchmark's machine a step takes here; half a second."""
    factors = []
    for text in PROBES:
        setup = replace(Setup.parse(text), max_steps=PROBE_STEPS)
        # Evaluations are not timed, so a little text is enough.
        dataset = setup.dataset()
        dataset = replace(dataset, val=dataset.val[:100], test=None, train=dataset.train[:1000])
        model, times = setup.model(), []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)
            config = replace(setup.training(), eval_interval=PROBE_STEPS)
            steps = fit(model, dataset, config)
            next(steps)
            for _ in range(PROBE_STEPS - 1):
                began = time.perf_counter()
                next(steps)
                times.append(1000 * (time.perf_counter() - began))
            steps.close()
        factors.append(statistics.median(times) / reference_ms(model.config, setup.batch_size))
    return statistics.geometric_mean(factors)


def reference_ms(config: GPTConfig, batch_size: int) -> float:
    """Milliseconds that a training step took on the benchmark's machine, within 20 %."""
    return sum(a * b for a, b in zip(STEP_MS, work(config, batch_size), strict=True))


def work(config: GPTConfig, batch_size: int) -> tuple[float, ...]:
    """What a step has to do: layers to call, 10⁹ operations, 10⁶ activations, 10⁶ logits."""
    L, C, block, V = config.n_layer, config.n_embd, config.block_size, config.vocab_size
    tokens = batch_size * block
    # As in benchmarks/README.md: 6 for every weight and token, and attention (Chowdhery et al.).
    operations = 6 * tokens * (12 * L * C**2 + V * C) + 12 * L * block * C * tokens
    return 1 + L, operations / 1e9, _activations(config, batch_size) / 1e6, tokens * V / 1e6


def _activations(config: GPTConfig, batch_size: int) -> float:
    """Numbers that the backward pass reads again: per token and layer about 34 widths, and the
    attention scores (Korthikanti et al. 2022, arXiv:2205.05198)."""
    c = config
    per_token = c.n_layer * (34 * c.n_embd + 5 * c.block_size * c.n_head)
    return batch_size * c.block_size * per_token


def _megabytes(config: GPTConfig, batch_size: int) -> float:
    """Weights, gradients, AdamW's two moments, the best weights; activations; a chunk of logits."""
    logits = 3 * 256 * config.vocab_size
    numbers = 5 * config.n_params + _activations(config, batch_size) / 2 + logits
    return BASE_MB + 4 * numbers / 1e6


def nearest(config: GPTConfig, n_train: int, epochs: float) -> "tuple[pd.DataFrame, float]":
    """The grid's rows (one per seed) most like a run, and how far off they are in doublings.

    Likeness is in parameters apart from the token table, training tokens and times read.
    """
    rows = _grid()
    own = (config.n_params - config.vocab_size * config.n_embd, n_train, max(epochs, 0.01))
    theirs = rows[["other_params", "train_tokens", "epochs"]].to_numpy()
    distance = np.abs(np.log2(theirs / np.array(own))).sum(axis=1)
    keys = ["n_embd", "train_tokens", "step"]
    best = rows.iloc[int(distance.argmin())][keys]
    return rows[(rows[keys] == best).all(axis=1)], float(distance.min())


def _recorded_phase(setup: Setup) -> str:
    """If the set-up is a phase's, seed and vocabulary apart: what its recorded runs ended at."""
    for phase in PHASES:
        if replace(setup, seed=0, vocabulary="right-sized") == Setup.of_phase(phase):
            own, held_out = _phase_gaps(phase.number)
            return (
                f"This is Phase {phase.number}. Recorded with a right-sized vocabulary and three "
                f"seeds, it ended at gap {min(own):+.2f} to {max(own):+.2f} on its own "
                f"validation text, and {min(held_out):+.1f} to {max(held_out):+.1f} on the "
                f"held-out scripts ({gap_band(statistics.mean(held_out)).name})."
            )
    return ""


@lru_cache(maxsize=len(PHASES))
def _phase_gaps(number: int) -> tuple[list[float], list[float]]:
    """The last gaps of three seeds: on the phase's own validation text, on the held-out scripts."""
    runs = [PHASES[number].recorded("right-sized", seed) for seed in range(3)]
    ends = [run.state.history[-1] for run in runs]
    return [run.gap for run in runs], [end.test_loss - end.train_loss for end in ends]


def _like(config: GPTConfig, n_train: int, epochs: float) -> str:
    rows, distance = nearest(config, n_train, epochs)
    if distance > FAR:
        return "None of the recorded grid is like this: you will be the first to know."
    gap, half = rows["gap"].mean(), (rows["gap"].max() - rows["gap"].min()) / 2
    first = rows.iloc[0]
    return (
        f"The nearest recorded models ({int(first['params']):,} parameters, "
        f"{int(first['train_tokens']):,} tokens read {first['epochs']:.0f} times) ended at gap "
        f"{gap:+.1f} ± {half:.1f} on the held-out scripts ({gap_band(gap).name})."
    )


def _reading_advice(n_train: int, epochs: float) -> list[str]:
    """Is the text read far more often than was best for about as much text in the grid?"""
    best_epochs = _decisions()["stop_at_epochs"]
    amounts = np.log(best_epochs.index.to_numpy(float))
    best = float(np.interp(np.log(n_train), amounts, best_epochs))
    if epochs <= 2 * best:
        return []
    return [
        f"The text will be read {epochs:,.0f} times; recorded models with about as much text did "
        f"best on held-out scripts after about {best:.0f}: stop early, or train less."
    ]


@dataclass(frozen=True)
class Recommendation:
    """A model for an amount of text, when to expect its best step, and what speaks for it."""

    config: GPTConfig
    epochs: float
    reasons: tuple[str, ...]


def recommend(n_tokens: int, vocab_size: int = 1000) -> Recommendation:
    """A sensible model for `n_tokens` tokens of training text.

    It is the smallest shape of the recorded grid that was near the best for every amount of text,
    each taken at its best step. One pass over much more text, about 20 tokens for each parameter,
    asks for larger models (Hoffmann et al. 2022, arXiv:2203.15556).
    Raises `ValueError` for fewer than 100 tokens, or a vocabulary below 2.
    """
    if n_tokens < 100:
        raise ValueError(
            f"{n_tokens} tokens are too few to train on; give at least 100, better 10,000."
        )
    if vocab_size < 2:
        raise ValueError(f"vocab_size is {vocab_size}; it must be at least 2.")
    width, loses = _steady_width()
    config = Grid().model_config(width, vocab_size)
    table = _decisions()
    nearest_amount = np.abs(np.log(table.index.to_numpy() / n_tokens)).argmin()
    epochs = float(table["stop_at_epochs"].iloc[nearest_amount])
    reasons = [
        f"In the recorded grid this shape (width {width}) was within {loses:.1f} nats of the best "
        f"for every amount of text from {table.index.min():,} to {table.index.max():,} tokens; "
        f"with your vocabulary it has {config.n_params:,} parameters.",
        f"The best step came after the text was read about {epochs:.0f} times: train with "
        "patience, and keep the best weights.",
    ]
    if not table.index.min() / 2 <= n_tokens <= 2 * table.index.max():
        reasons.append("Your text is much shorter or longer than those: this is a guess.")
    if vocab_size * config.n_embd > config.n_params / 2:
        reasons.append(
            "More than half of the parameters are the vocabulary's: a smaller one helps most."
        )
    return Recommendation(config, epochs, tuple(reasons))


@lru_cache(maxsize=1)
def _steady_width() -> tuple[int, float]:
    """The smallest width near the best for every amount of text, and how much it loses at most."""
    runs = audit.last_and_best(audit.grid())
    means = runs.groupby(["n_embd", "train_tokens"])["best_val_loss"].mean().unstack()
    worst = (means - means.min()).max(axis=1)
    width = worst.index[worst <= audit.NEAR].min()
    return int(width), float(worst[width])


@lru_cache(maxsize=1)
def _grid() -> "pd.DataFrame":
    table = audit.grid()
    table = table[table["step"] > 0].copy()
    n_vocab = Setup.parse("phase-4").dataset().tokenizer.n_vocab
    table["other_params"] = table["params"] - n_vocab * table["n_embd"]
    return table


@lru_cache(maxsize=1)
def _decisions() -> "pd.DataFrame":
    return audit.decision_table(audit.grid())
