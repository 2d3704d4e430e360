"""The arsenal: what each technique against overfitting does alone, beside what chance does."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from torch import nn

from slmlab.engine.config import Progress
from slmlab.engine.ensemble import Ensemble
from slmlab.engine.model import GPT
from slmlab.engine.training import fit
from slmlab.study.distillation import Student
from slmlab.study.experiments.evaluations import losses
from slmlab.study.experiments.grid import has_turned
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.readings import reading_of
from slmlab.study.experiments.vocabularies import RISE_BITS, VOCABULARIES
from slmlab.study.paired import per_file_scores
from slmlab.study.setups import Setup
from slmlab.text.corpus import load_held_out
from slmlab.text.dataset import Dataset

BASE = "base"
MEMBER_STRIDE = 100  # between the seeds of an ensemble's members; the first has the run's own
SCRIPTS = tuple(
    f"script_{n}" for n in range(1, 6)
)  # the held-out ones, in the order of their names


@dataclass(frozen=True)
class Arm:
    """One technique: what it changes in the base, and nothing else.

    Attributes:
        name: of its row.
        changes: of the set-up, by flat names.
        reading: in which order the text is read (see `reading_of`).
        norm: "layer", or "batch" for batch normalisation in place of every layer norm.
        members: how many models predict as one.
        teachers: how many models, as one, teach the one that is scored; 0 for none.
        n_seeds: how many runs it has.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    reading: str = "random"
    norm: str = "layer"
    members: int = 1
    teachers: int = 0
    n_seeds: int = 5

    def __str__(self) -> str:
        said = [f"{k}={v}" for k, v in self.changes.items()] + [self.reading, self.norm]
        said += [f"{self.members} members"] * (self.members > 1)
        return ", ".join(said + [f"{self.teachers} teachers"] * (self.teachers > 0))


ARMS: tuple[Arm, ...] = (
    Arm(BASE, n_seeds=8),
    Arm("half the text", {"n_tokens": 11_500}),
    Arm("a quarter of the text", {"n_tokens": 5_750}),
    Arm("width 192, rate 0.0001", {"n_embd": 192, "learning_rate": 1e-4}),
    Arm("width 48, rate 0.001", {"n_embd": 48, "learning_rate": 1e-3}),
    Arm("rate 0.0001", {"learning_rate": 1e-4}),
    Arm("rate 0.001", {"learning_rate": 1e-3}),
    Arm("warm-up and cosine", {"warmup_steps": 100, "cosine": True, "max_steps": 2_560}),
    Arm("weight decay 0", {"weight_decay": 0.0}),
    Arm("weight decay 0.1", {"weight_decay": 0.1}),
    Arm("weight decay 1.6", {"weight_decay": 1.6}),
    Arm("label smoothing 0.1", {"label_smoothing": 0.1}),
    Arm("label smoothing 0.2", {"label_smoothing": 0.2}),
    Arm("no clipping", {"grad_clip": 0.0}),
    Arm("clipping at 0.3", {"grad_clip": 0.3}),
    Arm("dropout 0.1", {"dropout": 0.1}),
    Arm("dropout 0.3", {"dropout": 0.3}),
    Arm("every window once an epoch", reading="epochs"),
    Arm("easy windows first", reading="easy first"),
    Arm("hard windows first", reading="hard first"),
    Arm("batch norm", norm="batch"),
    Arm("average of the weights", {"average": 0.99}),
    Arm("bf16", {"precision": "bf16"}),
    Arm("ensemble of 4", members=4),
    Arm("one student of 4", teachers=4),
)


@dataclass(frozen=True)
class Arsenal(Experiment):
    """Each arm alone, with several seeds: one row a look, scored on each held-out script.

    A seed decides the order of the files, the first weights and the batches, the same for every
    arm, so that arms are compared in pairs. A run ends as those of the vocabularies do; with a
    schedule it goes to the schedule's end. Arms may be added to a recorded table, so each row
    names its own change.
    """

    name: ClassVar[str] = "arsenal"
    keys: ClassVar[tuple[str, ...]] = ("arm", "change", "seed")
    columns: ClassVar[dict[str, type]] = {
        **dict.fromkeys(("arm", "change"), str),
        **dict.fromkeys(("seed", "params", "train_tokens", "step"), int),
        **dict.fromkeys(("epochs", "train_bits", "val_bits", *SCRIPTS, "seconds"), float),
    }
    losses: ClassVar[tuple[str, ...]] = ("train_bits", "val_bits", *SCRIPTS)
    base: Setup = VOCABULARIES.setup("bpe-1000", 96, 3e-4, 0)
    arms: tuple[Arm, ...] = ARMS
    first_look: int = 20

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in super().settings.items() if name != "arms"}

    def cells(self) -> list[Cell]:
        return [self.cell(a.name, str(a), seed) for a in self.arms for seed in range(a.n_seeds)]

    def arm(self, cell: Cell) -> Arm:
        return next(arm for arm in self.arms if arm.name == cell["arm"])

    def setup(self, arm: Arm, seed: int, member: int = 0) -> Setup:
        """The set-up of a run; members of an ensemble differ in all but the text's order."""
        own = seed + MEMBER_STRIDE * member
        return self.base.replace(order=seed, seed=own, **arm.changes)

    def looks(self, cell: Cell) -> list[int]:
        """The steps at which a run is looked at, if it lasts that long."""
        steps = self.setup(self.arm(cell), cell["seed"]).training.max_steps
        return log_spaced(self.first_look, steps)

    def run_cell(self, cell: Cell) -> Rows:
        arm, seed, looks = self.arm(cell), cell["seed"], self.looks(cell)
        dataset = self.setup(arm, seed).dataset(tested=False)
        rows: Rows = []
        for model, now, seconds in self.training(arm, seed, dataset):
            if now.step not in looks:
                continue
            facts: dict[str, Any] = {"params": model.n_params, "train_tokens": len(dataset.train)}
            facts |= {"step": now.step, "epochs": now.epochs}
            rows.append(cell | facts | scores(model, dataset) | {"seconds": seconds})
            if self._is_over(arm, rows):
                break
        return rows

    def training(
        self, arm: Arm, seed: int, dataset: Dataset
    ) -> Iterator[tuple[GPT | Ensemble, Progress, float]]:
        """Train an arm; at each step what is scored, the progress, and all seconds so far."""
        teacher, spent = None, 0.0
        if arm.teachers:
            teacher, spent = self.taught(arm, seed, dataset)
        members = [self.model(arm, seed, i, dataset, teacher) for i in range(arm.members)]
        model = members[0] if arm.members == 1 else Ensemble(members)
        for now in self.side_by_side(arm, seed, members, dataset):
            yield model, now, spent + now.seconds * arm.members

    def model(
        self, arm: Arm, seed: int, member: int, dataset: Dataset, teacher: Ensemble | None = None
    ) -> GPT:
        """A member with its first weights."""
        setup = self.setup(arm, seed, member)
        if teacher is not None:
            config = setup.shape.config(dataset.tokenizer.n_vocab)
            return Student(config, teacher, setup.training.seed)
        model = setup.model(dataset.tokenizer.n_vocab)
        if arm.norm == "batch":
            use_batch_norm(model)
        return model

    def side_by_side(
        self, arm: Arm, seed: int, members: list[GPT], dataset: Dataset
    ) -> Iterator[Progress]:
        """Train the members side by side; the progress of the last one at each step."""
        trainings = []
        for i, member in enumerate(members):
            setup = self.setup(arm, seed, i)
            setup = setup.replace(eval_interval=setup.training.max_steps)
            text = reading_of(dataset, arm.reading, setup.training.seed)
            trainings.append(fit(member, text, setup.training))
        for nows in zip(*trainings, strict=True):
            yield nows[-1]

    def taught(self, arm: Arm, seed: int, dataset: Dataset) -> tuple[Ensemble, float]:
        """The teachers of an arm, as one, at the first minimum on the held-out scripts; seconds.

        They are the ensemble of as many members, whose loss has one minimum only.
        """
        members = [self.model(arm, seed, i, dataset) for i in range(arm.teachers)]
        looks = log_spaced(self.first_look, self.base.training.max_steps)
        teacher, lowest = Ensemble(members), math.inf
        best: dict[str, Any] = {}
        for now in self.side_by_side(arm, seed, members, dataset):
            if now.step not in looks:
                continue
            loss = losses(teacher, dataset)["val_bits"]
            if loss >= lowest:
                break
            lowest, best = loss, {k: v.clone() for k, v in teacher.state_dict().items()}
        teacher.load_state_dict(best)
        return teacher, now.seconds * arm.teachers

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        looks, steps = self.looks(cell), [row["step"] for row in rows]
        over = steps == looks or self._is_over(self.arm(cell), rows)
        return steps == looks[: len(steps)] and over

    def _is_over(self, arm: Arm, rows: Rows) -> bool:
        return not arm.changes.get("cosine", False) and _has_turned(rows)


_has_turned = partial(has_turned, loss="val_bits", rise=RISE_BITS)
ARSENAL = Arsenal()


def scores(model: GPT | Ensemble, dataset: Dataset) -> dict[str, float]:
    """Bits per byte of the training text (`train_bits`) and the held-out scripts (`val_bits`).

    Each script is scored alone too (`SCRIPTS`).
    """
    files = per_file_scores(model, dataset.tokenizer, load_held_out())
    each = dict(zip(SCRIPTS, (files["bits"] / files["bytes"]).tolist(), strict=True))
    found = losses(model, dataset)
    return {"train_bits": found["train_bits"], "val_bits": found["val_bits"]} | each


class BatchNorm(nn.Module):
    """Batch normalisation of every token's features, in the place of a layer norm.

    In training, its mean and variance are those of all tokens in the batch, later ones included
    (Ioffe and Szegedy 2015, arXiv:1502.03167); afterwards, running means of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Any) -> Any:
        return self.norm(x.flatten(0, 1)).view_as(x)


def use_batch_norm(model: GPT) -> None:
    """Replace every layer norm of a model."""
    width = model.config.n_embd
    for block in model.blocks:
        block.ln_1, block.ln_2 = BatchNorm(width), BatchNorm(width)
    model.ln_f = BatchNorm(width)  # type: ignore[assignment]
