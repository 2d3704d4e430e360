"""The arsenal: what each technique against overfitting does alone, beside what chance does."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from torch import nn

from slmlab.engine.model import GPT
from slmlab.engine.training import fit
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
        n_seeds: how many runs it has.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    reading: str = "random"
    norm: str = "layer"
    n_seeds: int = 5

    def __str__(self) -> str:
        return ", ".join([f"{k}={v}" for k, v in self.changes.items()] + [self.reading, self.norm])


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

    def setup(self, arm: Arm, seed: int) -> Setup:
        """The set-up of a run."""
        return self.base.replace(order=seed, seed=seed, **arm.changes)

    def looks(self, cell: Cell) -> list[int]:
        """The steps at which a run is looked at, if it lasts that long."""
        steps = self.setup(self.arm(cell), cell["seed"]).training.max_steps
        return log_spaced(self.first_look, steps)

    def run_cell(self, cell: Cell) -> Rows:
        arm, looks = self.arm(cell), self.looks(cell)
        setup = self.setup(arm, cell["seed"]).replace(eval_interval=looks[-1])
        dataset = reading_of(setup.dataset(tested=False), arm.reading, setup.training.seed)
        model = setup.model(dataset.tokenizer.n_vocab)
        if arm.norm == "batch":
            use_batch_norm(model)
        rows: Rows = []
        for now in fit(model, dataset, setup.training):
            if now.step not in looks:
                continue
            facts = {"params": model.n_params, "train_tokens": len(dataset.train)}
            facts |= {"step": now.step, "epochs": now.epochs, "seconds": now.seconds}
            rows.append(cell | facts | scores(model, dataset))
            if self._is_over(arm, rows):
                break
        return rows

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        looks, steps = self.looks(cell), [row["step"] for row in rows]
        over = steps == looks or self._is_over(self.arm(cell), rows)
        return steps == looks[: len(steps)] and over

    def _is_over(self, arm: Arm, rows: Rows) -> bool:
        return not arm.changes.get("cosine", False) and _has_turned(rows)


_has_turned = partial(has_turned, loss="val_bits", rise=RISE_BITS)
ARSENAL = Arsenal()


def scores(model: GPT, dataset: Dataset) -> dict[str, float]:
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
    model.ln_f = BatchNorm(width)
