"""Mixtures: is a layer of experts worth it, and what do its experts learn?"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from slmlab.engine.experts import ExpertConfig, Experts, Routing
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.training import fit
from slmlab.study.experiments.arsenal import ARSENAL, BASE, SCRIPTS, scores
from slmlab.study.experiments.grid import has_turned
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.vocabularies import RISE_BITS
from slmlab.study.routing import choices, coactivation, explained, load, saturation
from slmlab.study.setups import Setup
from slmlab.text.dataset import Dataset
from slmlab.text.python_classes import token_classes
from slmlab.validation import instance

LABELS = ("class", "token", "position")  # what may explain a token's expert
ROUTES = ("busiest", "saturation", "together", *LABELS)


@dataclass(frozen=True)
class Mixture:
    """One kind of model.

    Attributes:
        name: of its row.
        experts: settings of `ExpertConfig`; a dense GPT has none.
        changes: of the set-up, by flat names.
        router: "learned"; or as a control "frozen", which keeps its random first weights, or
            "hash", by the token's id alone (Roller et al. 2021, arXiv:2106.04426).
        n_seeds: how many runs it has.
    """

    name: str
    experts: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    router: str = "learned"
    n_seeds: int = 5

    def __str__(self) -> str:
        said = [f"{k}={v}" for k, v in (self.experts | self.changes).items()]
        return ", ".join([*said, self.router])


def _experts(n_expert: int = 8, **others: Any) -> dict[str, Any]:
    """Each half as wide as the base's MLP, two for each token: as many operations as the base."""
    return {"n_expert": n_expert, "n_active": 2, "expert_width": 192, **others}


# Of the base and of dropout alone, the arsenal has more runs.
MIXTURES: tuple[Mixture, ...] = (
    Mixture(BASE),
    Mixture("8 experts", _experts()),
    Mixture("8 experts, frozen router", _experts(aux_loss=0.0), router="frozen"),
    Mixture("8 experts, hashed tokens", _experts(aux_loss=0.0), router="hash"),
    Mixture(
        "MLP as wide as 8",
        _experts(1, n_active=1, expert_width=1_536, aux_loss=0.0),
        n_seeds=3,
    ),
    Mixture("8 experts, dropout 0.1", _experts(), {"dropout": 0.1}, n_seeds=3),
    Mixture("8 experts, no balancing", _experts(aux_loss=0.0), n_seeds=3),
    Mixture("8 experts, bias", _experts(aux_loss=0.0, bias_rate=0.001), n_seeds=3),
    Mixture("8 experts, rate 0.001", _experts(), {"learning_rate": 1e-3}, n_seeds=2),
)


@dataclass(frozen=True)
class Mixtures(Experiment):
    """Each kind of model with several seeds: one row a look, scored on each held-out script.

    A seed decides the order of the files, the first weights and the batches, the same for every
    kind, so that they are compared in pairs. A run ends as those of the arsenal do, whose base is
    this one's. `seconds` are the processor's, of the training alone. Of a model with experts a row
    has the `ROUTES` of the held-out scripts; the last look's choices are its final ones.
    """

    name: ClassVar[str] = "mixtures"
    keys: ClassVar[tuple[str, ...]] = ("arm", "change", "seed")
    columns: ClassVar[dict[str, type]] = {
        **dict.fromkeys(("arm", "change"), str),
        **dict.fromkeys(("seed", "params", "active", "step"), int),
        **dict.fromkeys(("epochs", "train_bits", "val_bits", *SCRIPTS, *ROUTES, "seconds"), float),
    }
    losses: ClassVar[tuple[str, ...]] = ("train_bits", "val_bits", *SCRIPTS)
    base: Setup = ARSENAL.base
    mixtures: tuple[Mixture, ...] = MIXTURES
    first_look: int = 20

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in super().settings.items() if name != "mixtures"}

    def cells(self) -> list[Cell]:
        return [self.cell(m.name, str(m), s) for m in self.mixtures for s in range(m.n_seeds)]

    def mixture(self, cell: Cell) -> Mixture:
        return next(mixture for mixture in self.mixtures if mixture.name == cell["arm"])

    def setup(self, mixture: Mixture, seed: int) -> Setup:
        return self.base.replace(order=seed, seed=seed, **mixture.changes)

    @property
    def looks(self) -> list[int]:
        """The steps at which a run is looked at, if it lasts that long."""
        return log_spaced(self.first_look, self.base.training.max_steps)

    def run_cell(self, cell: Cell) -> Rows:
        mixture, seed = self.mixture(cell), cell["seed"]
        setup = self.setup(mixture, seed)
        dataset = setup.dataset(tested=False)
        rows: Rows = []
        routes: list[Tensor] = []
        for model, now, seconds in self.training(mixture, setup, dataset):
            facts: dict[str, Any] = {
                "params": model.n_params,
                "active": active_params(model.config),
                "step": now,
            }
            facts |= {"epochs": now * self._tokens_a_step(setup) / len(dataset.train)}
            found = dict.fromkeys(ROUTES, math.nan)
            if mixture.experts.get("n_expert", 1) > 1:
                routes.append(choices(model, dataset.val))
                found = measures(routes[-1], model, dataset)
            rows.append(cell | facts | scores(model, dataset) | found | {"seconds": seconds})
            if _has_turned(rows):
                break
        for row, chosen in zip(rows, routes, strict=False):  # a dense model has none
            row["saturation"] = saturation(chosen, routes[-1])
        return rows

    def training(
        self, mixture: Mixture, setup: Setup, dataset: Dataset
    ) -> Iterator[tuple[GPT, int, float]]:
        """The model at each look, with the step and the processor's seconds of training."""
        model = model_of(mixture, setup, dataset.tokenizer.n_vocab)
        setup = setup.replace(eval_interval=setup.training.max_steps)
        seconds, began = 0.0, time.process_time()
        for now in fit(model, dataset, setup.training):
            seconds += time.process_time() - began if now.step else 0.0  # not the first evaluation
            if now.step in self.looks:
                yield model, now.step, seconds
            began = time.process_time()

    def _tokens_a_step(self, setup: Setup) -> int:
        return setup.training.batch_size * setup.shape.block_size

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        steps = [row["step"] for row in rows]
        return steps == self.looks[: len(steps)] and (steps == self.looks or _has_turned(rows))


_has_turned = partial(has_turned, loss="val_bits", rise=RISE_BITS)
MIXING = Mixtures()


def model_of(mixture: Mixture, setup: Setup, n_vocab: int) -> GPT:
    """A model of this kind with its first weights."""
    config, seed = config_of(mixture, setup, n_vocab), setup.training.seed
    if mixture.router == "hash":
        return HashedGPT(config, seed)
    return GPT(config, seed, mlp=FrozenRouter) if mixture.router == "frozen" else GPT(config, seed)


def config_of(mixture: Mixture, setup: Setup, n_vocab: int) -> GPTConfig:
    """The shape of a model of this kind."""
    shape = setup.shape.config(n_vocab)
    return ExpertConfig(**asdict(shape), **mixture.experts) if mixture.experts else shape


def active_params(config: GPTConfig) -> int:
    """Parameters that a token is multiplied with."""
    return config.active_params if isinstance(config, ExpertConfig) else config.n_params


def measures(chosen: Tensor, model: GPT, dataset: Dataset) -> dict[str, float]:
    """The `ROUTES` of a model with experts, but for the saturation.

    `busiest`: the load of the busiest expert, in equal shares; `together`: how often an expert's
    tokens go to the one that most of them also go to; then what share of the choice each of the
    `LABELS` explains. All are means of the layers.
    """
    n_expert = model.config.n_expert
    both = coactivation(chosen, n_expert)
    found = {
        "busiest": float(load(chosen, n_expert).amax(1).mean()) * n_expert,
        "saturation": math.nan,
        "together": float(both.amax(2).mean()),
    }
    labels = {
        "class": token_classes(dataset.val, dataset.tokenizer),
        "token": dataset.val.tolist(),
        "position": [i % model.config.block_size for i in range(len(dataset.val))],
    }
    return found | {name: explained(chosen, labels[name]) for name in LABELS}


class FrozenRouter(Experts):
    """Experts whose router never learns."""

    def route(self, x: Tensor) -> Routing:
        with torch.no_grad():
            return super().route(x)


class HashedExperts(Experts):
    """Experts that are chosen by the token's id alone: from a `table` (V, k), for the `ids` at
    hand (B, T)."""

    table: Tensor
    ids: Tensor

    def route(self, x: Tensor) -> Routing:
        chosen = self.table[self.ids]
        gates = x.new_full(chosen.shape, 1 / self.config.n_active)
        n_expert = self.config.n_expert
        return Routing(x.new_full((*x.shape[:2], n_expert), 1 / n_expert), chosen, gates)


class HashedGPT(GPT):
    """A GPT that tells its layers which tokens it reads. Each has a random table of its own."""

    def __init__(self, config: GPTConfig, seed: int) -> None:
        super().__init__(config, seed, mlp=HashedExperts)
        c = instance("config", config, ExpertConfig)
        generator = torch.Generator().manual_seed(0)
        self.layers: list[Any] = [block.mlp for block in self.blocks]
        for layer in self.layers:
            luck = torch.rand(c.vocab_size, c.n_expert, generator=generator)
            layer.table = luck.argsort(1)[:, : c.n_active]
        self.wte.register_forward_pre_hook(lambda _, ids: self.tell(*ids))

    def tell(self, ids: Tensor) -> None:
        for layer in self.layers:
            layer.ids = ids

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        self.tell(idx)  # its embedding is looked up in another way
        return super().loss(idx, targets, label_smoothing)
