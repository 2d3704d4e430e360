"""What to expect of a set-up before training it: time and memory here, and runs like it."""

import statistics
import time
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil

from slmlab.engine.config import TrainConfig
from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.memory import activation_bytes, training_megabytes
from slmlab.engine.model import GPTConfig
from slmlab.engine.training import VocabularyWarning, check_context, fit
from slmlab.study.diagnosis import size_advice
from slmlab.study.experiments.counting import read_counting
from slmlab.study.experiments.grid import best_looks, read_grid, size_table
from slmlab.study.phases import PHASES
from slmlab.study.setups import Setup, preset
from slmlab.text.dataset import Dataset
from slmlab.text.files import read_json
from slmlab.validation import instance, real_number

if TYPE_CHECKING:
    import pandas as pd

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
        warnings: what to think about, in words.
        too_large: why it cannot be trained here, in words; empty if its memory is free.
    """

    config: GPTConfig
    train_tokens: int
    steps: int
    seconds: float
    megabytes: float
    epochs: float
    like: str
    warnings: tuple[str, ...]
    too_large: str

    @property
    def params_per_token(self) -> float:
        return self.config.n_params / self.train_tokens


def forecast(setup: Setup, factor: float | None = None, dataset: Dataset | None = None) -> Forecast:
    """Look ahead, without training.

    `factor` is how slow this machine is (default: `machine_factor`, measured once). `dataset`
    replaces the set-up's own, as in `Setup.train`. Raises `ValueError` if the set-up cannot be
    trained, or the factor is not a positive number.
    """
    instance("setup", setup, Setup)
    factor = machine_factor() if factor is None else real_number("factor", factor, above=0)
    recorded = _recorded_phase(setup) if dataset is None else ""
    dataset = setup.dataset() if dataset is None else instance("dataset", dataset, Dataset)
    training = setup.training
    config = setup.shape.config(dataset.tokenizer.n_vocab)
    n_train = len(dataset.train)
    check_context(n_train, config.block_size)
    per_step = factor * reference_ms(config, training.batch_size) / 1000
    steps, seconds = _plan(training, per_step)
    epochs = steps * training.batch_size * config.block_size / n_train
    megabytes = BASE_MB + training_megabytes(config, training.batch_size, training.average > 0)
    planned = setup.replace(max_steps=steps)
    found = [*size_advice(config, dataset), *_reading_advice(planned, n_train)]
    return Forecast(
        config=config,
        train_tokens=n_train,
        steps=steps,
        seconds=seconds,
        megabytes=megabytes,
        epochs=epochs,
        like=recorded or _like(planned, dataset),
        warnings=tuple(found),
        too_large=_too_large(megabytes),
    )


def _too_large(megabytes: float) -> str:
    free = psutil.virtual_memory().available / 1e6
    if megabytes <= free:
        return ""
    return (
        f"This needs about {megabytes:,.0f} MB of memory, and {free:,.0f} MB are free: make the "
        "batch, the context or the model smaller."
    )


def _plan(training: TrainConfig, per_step: float) -> tuple[int, float]:
    """Steps and seconds: one of the two is given, the other follows from the time of a step."""
    if training.seconds is not None:
        return max(1, int(training.seconds / per_step)), training.seconds
    steps = training.max_steps or 0
    return steps, steps * per_step


@lru_cache(maxsize=1)
def machine_factor() -> float:
    """How many times as long as on the benchmark's machine a step takes here; half a second."""
    factors = []
    for text in PROBES:
        setup = Setup.parse(text).replace(max_steps=PROBE_STEPS, eval_interval=PROBE_STEPS)
        # Evaluations are not timed, so a little text is enough.
        dataset = setup.dataset()
        dataset = replace(dataset, val=dataset.val[:100], test=None, train=dataset.train[:1000])
        model, times = setup.model(), []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)
            steps = fit(model, dataset, setup.training)
            next(steps)
            began = time.perf_counter()
            for _ in islice(steps, PROBE_STEPS - 1):  # the last one would be evaluated
                now = time.perf_counter()
                times.append(1000 * (now - began))
                began = now
        factors.append(
            statistics.median(times) / reference_ms(model.config, setup.training.batch_size)
        )
    return statistics.geometric_mean(factors)


def reference_ms(config: GPTConfig, batch_size: int) -> float:
    """Milliseconds that a training step takes on the benchmark's machine, within 20%."""
    return float(np.dot(step_costs(), step_demands(config, batch_size)))


@lru_cache(maxsize=1)
def step_costs() -> np.ndarray:
    """Milliseconds for each unit of `step_demands` on the benchmark's machine, (4,).

    They make the relative errors of the measured steps least. Other machines differ by a factor.
    """
    steps = measured_steps()
    demands = np.array([step_demands(step.config, step.batch_size) for step in steps])
    times = np.array([step.milliseconds for step in steps])
    return np.linalg.lstsq(demands / times[:, None], np.ones(len(times)), rcond=None)[0]


class MeasuredStep(NamedTuple):
    """A training step of a phase, timed on the benchmark's machine, and the process's memory."""

    phase: int
    vocabulary: str
    config: GPTConfig
    batch_size: int
    milliseconds: float
    megabytes: float


def measured_steps() -> list[MeasuredStep]:
    """What `make bench` found: the five phases, each with two vocabularies."""
    measured = []
    for row in read_json("benchmarks", "steps.json")["steps"]:
        setup = PHASES[row["phase"]].setup
        config = setup.shape.config(row["vocab_size"])
        found = (config, setup.training.batch_size, row["ms"], row["mb"])
        measured.append(MeasuredStep(row["phase"], row["vocabulary"], *found))
    return measured


def step_demands(config: GPTConfig, batch_size: int) -> tuple[float, ...]:
    """What a step has to do: layers to call, 10⁹ operations, 10⁶ bytes of activations (of 16
    bits), 10⁶ logits."""
    L, C, block, V = config.n_layer, config.n_embd, config.block_size, config.vocab_size
    tokens = batch_size * block
    # As in benchmarks/README.md: 6 for every weight and token, and attention (Chowdhery et al.).
    operations = 6 * tokens * (12 * L * C**2 + V * C) + 12 * L * block * C * tokens
    return 1 + L, operations / 1e9, activation_bytes(config, batch_size) / 1e6, tokens * V / 1e6


def nearest(setup: Setup, dataset: Dataset) -> "tuple[pd.DataFrame, float]":
    """The grid's rows (one per seed) most like a set-up's end, and how far off, in doublings.

    Likeness is in parameters apart from the token table, training tokens, times read and learning
    rate. The set-up has a number of steps; the dataset is what it is trained on.
    """
    training = setup.training
    config = setup.shape.config(dataset.tokenizer.n_vocab)
    n_train = len(dataset.train)
    epochs = (training.max_steps or 0) * training.batch_size * config.block_size / n_train
    other = config.n_params - config.vocab_size * config.n_embd
    own = (other, n_train, max(epochs, 0.01), training.learning_rate)
    rows = _grid()
    theirs = rows[["other_params", "train_tokens", "epochs", "learning_rate"]].to_numpy()
    distance = np.abs(np.log2(theirs / np.array(own))).sum(axis=1)
    keys = ["n_embd", "learning_rate", "train_tokens", "step"]
    best = rows.iloc[int(distance.argmin())][keys]
    return rows[(rows[keys] == best).all(axis=1)], float(distance.min())


def _recorded_phase(setup: Setup) -> str:
    """How the recorded runs of a phase ended, if this is its right-sized set-up of any seed."""
    for phase in PHASES:
        if setup.replace(seed=0) == preset(phase.number):
            gaps, scores = _phase_ends(phase.number)
            return (
                f"This is Phase {phase.number} with a right-sized vocabulary. Recorded with three "
                f"seeds, it ended at gap {min(gaps):+.2f} to {max(gaps):+.2f} on its own "
                f"validation text, and {min(scores):.2f} to {max(scores):.2f} bits per byte on "
                "the held-out scripts."
            )
    return ""


@lru_cache(maxsize=len(PHASES))
def _phase_ends(number: int) -> tuple[list[float], list[float]]:
    """Three seeds' last gaps on their own validation text, and bits per byte on the held-out."""
    runs = [PHASES[number].recorded("right-sized", seed) for seed in range(3)]
    tests = [(run.last.test_loss, run.dataset) for run in runs]
    return [run.gap for run in runs], [bits_per_byte(loss, d, d.test) for loss, d in tests]


def _like(setup: Setup, dataset: Dataset) -> str:
    rows, distance = nearest(setup, dataset)
    if distance > FAR:
        return "No run of the recorded grid is like this one, so what will come of it is open."
    first, mean = rows.iloc[0], rows["val_bits"].mean()
    half = (rows["val_bits"].max() - rows["val_bits"].min()) / 2
    counted = read_counting().query("train_tokens == @first.train_tokens")["val_bits"].mean()
    return (
        f"The nearest recorded models ({int(first['params']):,} parameters, "
        f"{int(first['train_tokens']):,} tokens read {first['epochs']:.0f} times at a learning "
        f"rate of {first['learning_rate']:g}) had {mean:.2f} ± {half:.2f} bits per byte on the "
        f"held-out scripts; a 5-gram on those texts has {counted:.2f}."
    )


def _reading_advice(setup: Setup, n_train: int) -> list[str]:
    """Is the training far longer than was best for about as much text in the grid?

    At the grid's best looks, steps × learning rate × width hardly depends on the width and the
    rate, but on the amount of text. Within a factor of two that holds for Phases 2 to 4 as well.
    """
    steps, travel = setup.training.max_steps or 0, _travel()
    amounts = np.log(travel.index.to_numpy(float))
    best = float(np.interp(np.log(n_train), amounts, travel))
    best /= setup.training.learning_rate * setup.shape.n_embd
    if steps <= 2 * best or n_train > 2 * travel.index.max():  # no record has so much text
        return []
    return [
        f"This trains for {steps:,} steps; recorded models with about as much text did best on "
        f"held-out scripts after about {best:,.0f} at this width and learning rate: stop early, "
        "or train less."
    ]


@lru_cache(maxsize=1)
def _grid() -> "pd.DataFrame":
    table = read_grid()
    table = table[table["step"] > 0].copy()
    n_vocab = Setup.parse("phase-4").dataset().tokenizer.n_vocab
    table["other_params"] = table["params"] - n_vocab * table["n_embd"]
    return table


@lru_cache(maxsize=1)
def _travel() -> "pd.Series":
    """Steps × learning rate × width at the best looks, by the amount of training text."""
    sizes = size_table(best_looks(read_grid())).reset_index()
    travel = sizes["steps"] * sizes["learning_rate"] * sizes["n_embd"]
    return travel.groupby(sizes["train_tokens"]).mean()
