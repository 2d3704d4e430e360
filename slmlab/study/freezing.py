"""Experts that have stopped changing: how far each drifts, when to freeze it, and how.

The report that this goes back to has a drift and a stability, but doesn't define the drift. Ours is
the relative change of what an expert answers to the same inputs, between two looks. It depends on
how far apart they are.
"""

import time
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slmlab.engine.experts import Experts, expert_layers, layer_inputs
from slmlab.engine.model import GPT
from slmlab.engine.optimizer import AdamW
from slmlab.text.dataset import Dataset, require_ids
from slmlab.validation import instance, real_number, shown, whole_number

if TYPE_CHECKING:
    import pandas as pd

MOST_ROUNDS = 1_000


def stability(drift: Tensor) -> Tensor:
    """1 / (1 + drift) of each expert, as the report has it: 1 for one that stands still."""
    return 1 / (1 + drift)


def drift_at(stability: float) -> float:
    """The largest drift that still has this stability. Raises `ValueError` outside 0 to 1."""
    return 1 / real_number("stability", stability, above=0, most=1) - 1


class Probe:
    """What each expert answers at a moment, to the inputs that its layer has at that moment.

    `ids` (N,) is the text that is read, in windows of a context; what is left over is not. Raises
    `ValueError` for a model without experts, or less than a window of ids.
    """

    def __init__(self, model: GPT, ids: Tensor) -> None:
        self.layers = expert_layers(model)
        require_ids("ids", ids)
        block = model.config.block_size
        if len(ids) < block:
            raise ValueError(f"ids are {len(ids):,} tokens; give at least a context, {block:,}.")
        windows = ids[: len(ids) // block * block].view(-1, block)
        self.inputs = [x.flatten(0, 1) for x in layer_inputs(model, windows)]
        self.answers = self._answers()

    def drift(self) -> Tensor:
        """How far each expert has moved since: (L, E).

        The norm of the change of its answers to the same inputs, as a share of their norm then.
        """
        pairs = zip(self._answers(), self.answers, strict=True)
        return torch.stack([_norms(now - then) / _norms(then) for now, then in pairs])

    @torch.no_grad()
    def _answers(self) -> list[Tensor]:
        return [
            layer.answers(x.expand(layer.config.n_expert + layer.config.n_shared, -1, -1))
            for layer, x in zip(self.layers, self.inputs, strict=True)
        ]


def _norms(answers: Tensor) -> Tensor:
    return answers.flatten(1).norm(dim=1)


class Freezer:
    """Keeps chosen experts of a model as they are, in a training that goes on around them.

    They still answer, and pass gradients on to what is before them. Call `restore` after each step:
    the optimiser's momentum and weight decay move weights that have no gradient, too. Raises
    `ValueError` for a model without experts.

    Attributes:
        frozen: (L, E), true for an expert that is kept.
    """

    def __init__(self, model: GPT) -> None:
        self.layers = expert_layers(model)
        config = self.layers[0].config
        self.frozen = torch.zeros(
            len(self.layers), config.n_expert + config.n_shared, dtype=torch.bool
        )
        self._kept: list[list[Tensor]] = []
        for i, layer in enumerate(self.layers):
            for p in _parts(layer):
                p.register_hook(lambda gradient, i=i: self._without_frozen(gradient, i))
        self._keep()

    def freeze(self, chosen: Tensor) -> None:
        """Keep these experts (L, E), true for each, from now on, with those frozen before.

        Raises `ValueError` for something else.
        """
        instance("chosen", chosen, Tensor, "drift < 0.05, of lab.freezing.Probe(…).drift()")
        if chosen.shape != self.frozen.shape or chosen.dtype != torch.bool:
            raise ValueError(
                f"chosen is {shown(chosen)}; it must be a bool tensor {tuple(self.frozen.shape)}, "
                "true for each expert to freeze."
            )
        self.restore()
        self.frozen |= chosen
        self._keep()

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what the step has moved."""
        for layer, kept, frozen in zip(self.layers, self._kept, self.frozen, strict=True):
            for p, then in zip(_parts(layer), kept, strict=True):
                p.view(len(frozen), -1)[frozen] = then[frozen]

    def _keep(self) -> None:
        self._kept = [
            [p.detach().clone().view(self.frozen.shape[1], -1) for p in _parts(layer)]
            for layer in self.layers
        ]

    def _without_frozen(self, gradient: Tensor, layer: int) -> Tensor:
        live = (~self.frozen[layer]).to(gradient.dtype)
        return (gradient.view(len(live), -1) * live[:, None]).view_as(gradient)


def _parts(layer: Experts) -> list[Tensor]:
    """An expert is as many rows of each as any other."""
    return [layer.fc.weight, layer.fc.bias, layer.proj.weight, layer.proj.bias]


def frozen_speed(
    model: GPT, dataset: Dataset, batch_size: int = 8, rounds: int = 30
) -> "pd.Series":
    """Milliseconds of a training step with "no expert frozen" and with "all experts frozen".

    A frozen one needs no gradient of its weights, and no step of the optimiser; it still has to
    answer, and to pass on the gradient of what it was given. The times are medians of rounds in
    turn, of a copy of the model. Raises `ValueError` for a model without experts.
    """
    import pandas as pd

    rounds = whole_number("rounds", rounds, 1, MOST_ROUNDS)
    instance("dataset", dataset, Dataset)
    model = deepcopy(instance("model", model, GPT)).train()
    optimizer = AdamW(model, 0.0)
    parts = [p for layer in expert_layers(model) for p in _parts(layer)]
    measured = []
    for seed in range(rounds):
        row = {}
        ids, targets = dataset.batch(batch_size, model.config.block_size, seed)
        for name, learns in (("no expert frozen", True), ("all experts frozen", False)):
            for p in parts:
                p.requires_grad_(learns)
            began = time.perf_counter()
            model.loss(ids, targets).backward()
            optimizer.step(1e-6)
            row[name] = 1000 * (time.perf_counter() - began)
        measured.append(row)
    return pd.DataFrame(measured).median()
