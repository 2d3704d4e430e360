"""Several models as one: how well they predict together."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from slmlab.engine.evaluation import LanguageModel, strided_losses
from slmlab.validation import listed


def ensemble_losses(models: Sequence[LanguageModel], ids: Tensor) -> Tensor:
    """Cross-entropy, in nats, of the mean probability of several models: ids (N,) → (N − 1,).

    Each model reads windows of its own context, as in `strided_losses`. The logarithm is concave,
    so the loss of every token is at most the mean of the members' losses. Raises `ValueError` for
    no models, models of different vocabularies, or ids that `strided_losses` refuses.
    """
    models = listed("models", models, "models")
    losses = [strided_losses(model, ids).double() for model in models]
    if len({model.config.vocab_size for model in models}) != 1:
        raise ValueError("An ensemble needs at least one model, and all of one vocabulary.")
    together = math.log(len(models)) - torch.stack(losses).neg().logsumexp(0)
    return together.float()
