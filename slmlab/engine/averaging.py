"""The average of a model's weights along its training, which often scores better than the last.

An exponential moving average after Polyak and Juditsky 1992, as it is used today (Morales-Brotons
et al. 2024, arXiv:2411.18704). Between steps the model holds the average, so that whatever is
scored, sampled or saved is the same model; the weights that training goes on with wait in
`TrainState.raw_weights`. Buffers, such as those of batch norm, are not averaged.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn as nn

from slmlab.engine.config import TrainState


@contextmanager
def raw_weights(model: nn.Module, state: TrainState, decay: float) -> Iterator[None]:
    """Inside the block `model` has the weights that training goes on with; after it, the average.

    The average is put back on any exit. With a decay of 0 there is none from now on.
    """
    if decay and not state.raw_weights:
        state.raw_weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    _exchange(model, state)
    if not decay:
        state.raw_weights = {}
    try:
        yield
    finally:
        _exchange(model, state)


@torch.no_grad()
def update_average(model: nn.Module, state: TrainState, decay: float) -> None:
    """Move the average, which `model` holds, towards the weights of the step just made.

    After step t it is Σ dᵗ⁻ⁱ wᵢ / Σ dᵗ⁻ⁱ over the weights wᵢ of the steps i = 1 … t, for a decay d.
    If averaging began later, the weights then stand for all those before.
    """
    share = (1 - decay) / (1 - decay**state.step)
    for name, average in model.named_parameters():
        average.lerp_(state.raw_weights[name], share)


def _exchange(model: nn.Module, state: TrainState) -> None:
    """Swap the model's weights with the state's, if it has any. No number is copied."""
    if state.raw_weights:
        for name, p in model.named_parameters():
            p.data, state.raw_weights[name] = state.raw_weights[name], p.data
