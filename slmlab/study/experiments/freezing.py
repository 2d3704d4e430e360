"""Freezing: experts are kept as they are once they are stable, or at random, or not at all."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.experts import expert_layers
from slmlab.engine.model import GPT
from slmlab.engine.training import fit
from slmlab.study.experiments.arsenal import ARSENAL
from slmlab.study.experiments.evaluations import losses
from slmlab.study.experiments.mixtures import MIXTURES, Mixture, config_of
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.freezing import Freezer, Probe, stability
from slmlab.study.setups import Setup
from slmlab.study.teacher import Teacher
from slmlab.text.dataset import Dataset

PHASES = "ABC"
PUBLISHED, LOWERED = (0.95, 0.90), (0.80, 0.75)  # the least stability, in phases B and C
THRESHOLDS = (*PUBLISHED, *LOWERED)
PROBED = "stable_{:.0f}"  # a column for each threshold, in percent
COLLAPSES = 0.75  # of the steps, after which a collapse is planted
MUCH = 10.0  # added to the score of one expert, so that all tokens go to it


@dataclass(frozen=True)
class Trial:
    """One way to train.

    Attributes:
        name: of its row.
        thresholds: the least stability that freezes an expert in phase B and in phase C.
        chosen: which experts are then frozen: the "stable" ones; or as many at "random"; or,
            with no look at the stability, "all" when phase C begins.
        changes: of the set-up, by flat names.
        handed_over: whether the loss is an intrinsic one in phase A, and is handed over to the
            task's in phase B.
        collapses: whether one expert of each layer takes all tokens from `COLLAPSES` on.
        n_seeds: how many runs it has.
    """

    name: str
    thresholds: tuple[float, ...] = ()
    chosen: str = "stable"
    changes: dict[str, Any] = field(default_factory=dict)
    handed_over: bool = False
    collapses: bool = False
    n_seeds: int = 5

    def __str__(self) -> str:
        said = [*map(str, self.thresholds), self.chosen]
        said += [f"{k}={v}" for k, v in self.changes.items()]
        return ", ".join(said + ["handed over"] * self.handed_over + ["collapse"] * self.collapses)


DECAY = {"cosine": True}
TRIALS: tuple[Trial, ...] = (
    Trial("no freezing"),
    Trial("0.95 and 0.90", PUBLISHED),
    Trial("0.80 and 0.75", LOWERED),
    Trial("as many at random", PUBLISHED, "random"),
    Trial("all when C begins", chosen="all"),
    Trial("falling rate", changes=DECAY),
    Trial("falling rate, 0.95 and 0.90", PUBLISHED, changes=DECAY),
    Trial("losses handed over", handed_over=True, n_seeds=3),
    Trial("planted collapse", collapses=True),
)


@dataclass(frozen=True)
class Freezing(Experiment):
    """Eight experts of two, trained in three phases of equal length; a row a look.

    Every `interval` steps each expert's drift since the last check is measured (see `Probe`), on
    the start of the training text; from phase B on, that may freeze it for good. At the end of
    phase A a `Teacher` is made, and later looks say how far the model has gone from it, on the same
    start of the text. `seconds` are the processor's, of the training and the checks.

    Attributes:
        interval: steps between two checks.
        long_interval: another one, of which the drift is only told.
    """

    name: ClassVar[str] = "freezing"
    keys: ClassVar[tuple[str, ...]] = ("trial", "change", "seed")
    columns: ClassVar[dict[str, type]] = {
        **dict.fromkeys(("trial", "change", "phase"), str),
        **dict.fromkeys(("seed", "step", "experts", "frozen"), int),
        **dict.fromkeys(("learning_rate", "drift_low", "drift", "drift_high"), float),
        **dict.fromkeys(("long_drift", "divergence"), float),
        **{PROBED.format(100 * threshold): int for threshold in THRESHOLDS},
        **dict.fromkeys(("train_bits", "val_bits", "seconds"), float),
    }
    losses: ClassVar[tuple[str, ...]] = ("train_bits", "val_bits")
    base: Setup = ARSENAL.base.replace(max_steps=1_200)
    trials: tuple[Trial, ...] = TRIALS
    interval: int = 20
    long_interval: int = 100
    look_interval: int = 100
    probed_tokens: int = 490

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in super().settings.items() if name != "trials"}

    @property
    def mixture(self) -> Mixture:
        """The kind of model: the second of the mixtures, eight experts of two."""
        return MIXTURES[1]

    def cells(self) -> list[Cell]:
        return [self.cell(t.name, str(t), seed) for t in self.trials for seed in range(t.n_seeds)]

    def trial(self, cell: Cell) -> Trial:
        return next(trial for trial in self.trials if trial.name == cell["trial"])

    @property
    def looks(self) -> list[int]:
        steps = self.base.training.max_steps
        return [*range(0, steps + 1, self.look_interval)]

    def phase(self, step: int) -> str:
        """A, B or C; a phase begins with the step after the last one of the phase before."""
        steps = self.base.training.max_steps
        return PHASES[min(2, max(0, step - 1) * 3 // steps)]

    def task_share(self, step: int) -> float:
        """The share of the task's loss, where it is handed over: 0 in A, rising in B, 1 in C."""
        third = self.base.training.max_steps / 3
        return min(1.0, max(0.0, (step - third) / third))

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        return [row["step"] for row in rows] == self.looks

    def run_cell(self, cell: Cell) -> Rows:
        trial, seed = self.trial(cell), cell["seed"]
        setup = self.base.replace(order=seed, seed=seed, **trial.changes)
        dataset = setup.dataset(tested=False)
        kind = HandedOver if trial.handed_over else GPT
        model = kind(config_of(self.mixture, setup, dataset.tokenizer.n_vocab), seed)
        rows: Rows = []
        for found in self.training(trial, setup, dataset, model):
            if found["step"] in self.looks:
                row = cell | found | self.scores(model, dataset)
                rows.append({name: row[name] for name in self.columns})
        return rows

    def scores(self, model: GPT, dataset: Dataset) -> dict[str, float]:
        found = losses(model, dataset)
        return {name: found[name] for name in self.losses}

    def training(
        self, trial: Trial, setup: Setup, dataset: Dataset, model: GPT
    ) -> Iterator[dict[str, Any]]:
        """Train; at each check, what is known of the experts."""
        setup = setup.replace(eval_interval=setup.training.max_steps)
        text = dataset.train[: self.probed_tokens]
        freezer, teacher = Freezer(model), None
        luck = torch.Generator().manual_seed(setup.training.seed)
        probes: dict[int, Probe] = {}
        drifts = {of: torch.full(freezer.frozen.shape, math.nan) for of in self._intervals}
        seconds, began = 0.0, time.process_time()
        for now in fit(model, dataset, setup.training):
            freezer.restore()
            step, phase = now.step, self.phase(now.step + 1)
            if isinstance(model, HandedOver):
                model.task_share = self.task_share(step + 1)
            for of in self._intervals:
                if step % of == 0:
                    drifts[of] = probes[of].drift() if of in probes else drifts[of]
                    probes[of] = Probe(model, text)
            if step % self.interval == 0 and phase != "A" and step < self.looks[-1]:
                freezer.freeze(self._chosen(trial, phase, drifts[self.interval], freezer, luck))
            seconds += time.process_time() - began if step else 0.0  # not the first evaluation
            if step == self.looks[-1] // 3:
                teacher = Teacher(model)
            if trial.collapses and step == round(COLLAPSES * self.looks[-1]):
                for layer in expert_layers(model):
                    layer.router.bias[0] += MUCH
            if step % self.interval == 0:
                yield {
                    "step": step,
                    "phase": self.phase(step),
                    "experts": freezer.frozen.numel(),
                    "frozen": int(freezer.frozen.sum()),
                    "learning_rate": now.learning_rate,
                    "divergence": math.nan if teacher is None else teacher.divergence(model, text),
                    "seconds": seconds,
                    **self._summary(drifts),
                }
            began = time.process_time()

    @property
    def _intervals(self) -> tuple[int, int]:
        return self.interval, self.long_interval

    def _chosen(
        self, trial: Trial, phase: str, drift: Tensor, freezer: Freezer, luck: torch.Generator
    ) -> Tensor:
        """The experts (L, E) to freeze at a check."""
        if trial.chosen == "all":
            return torch.full_like(freezer.frozen, phase == "C")
        if not trial.thresholds:
            return torch.zeros_like(freezer.frozen)
        least = trial.thresholds[PHASES.index(phase) - 1]
        stable = (stability(drift) >= least) & ~freezer.frozen
        if trial.chosen == "stable":
            return stable
        scores = torch.rand(stable.shape, generator=luck).masked_fill(freezer.frozen, -1.0)
        chosen = torch.zeros_like(stable.flatten())
        chosen[scores.flatten().argsort(descending=True)[: int(stable.sum())]] = True
        return chosen.view_as(stable)

    def _summary(self, drifts: dict[int, Tensor]) -> dict[str, Any]:
        short, long = (drifts[of] for of in self._intervals)
        stable = {t: int((stability(short) >= t).sum()) for t in THRESHOLDS}
        return {
            "drift_low": float(short.min()),
            "drift": float(short.median()),
            "drift_high": float(short.max()),
            "long_drift": float(long.median()),
            **{PROBED.format(100 * t): n for t, n in stable.items()},
        }


FREEZING = Freezing()


class HandedOver(GPT):
    """A GPT that learns to name the token it reads, then the one that follows.

    The report calls the first loss intrinsic, and doesn't say what it is: this one needs no target
    beyond the text that is read.
    """

    task_share: float = 0.0

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        if not self.training or self.task_share == 1:
            return super().loss(idx, targets, label_smoothing)
        logits = self(idx).flatten(0, 1)  # once, as a router's loss is added to each pass
        labels = ((self.task_share, targets), (1 - self.task_share, idx))
        parts = [
            share * F.cross_entropy(logits, of.flatten(), label_smoothing=label_smoothing)
            for share, of in labels
        ]
        return parts[0] + parts[1]
