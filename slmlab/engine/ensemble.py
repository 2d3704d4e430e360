"""Several models that predict as one."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.fused_loss import counting
from slmlab.engine.model import GPT
from slmlab.validation import instances, real_number


class Ensemble(nn.Module):
    """Models whose probabilities are averaged: it can be scored like any of them.

    The logarithm is concave, so its loss on a token is at most the mean of the members' losses.
    Raises `ValueError` for no members, or members of different vocabularies or contexts.
    """

    def __init__(self, members: Sequence[GPT]) -> None:
        super().__init__()
        models = instances("members", members, GPT)
        shapes = {(m.config.vocab_size, m.config.block_size) for m in models}
        if len(shapes) != 1:
            raise ValueError(
                f"The members have {len(shapes)} different pairs of vocabulary and context; give "
                "at least one model, and all with the same."
            )
        self.members = nn.ModuleList(models)
        self.config = models[0].config

    def forward(self, idx: Tensor) -> Tensor:
        """Log-probabilities of the next token at every position: ids (B, T) → (B, T, V)."""
        each = torch.stack([F.log_softmax(member(idx), -1) for member in self.members])
        return each.logsumexp(0).log_softmax(-1)

    def next_logits(self, idx: Tensor) -> Tensor:
        """Log-probabilities after the last position only: ids (B, T) → (B, V)."""
        return self(idx)[:, -1]

    def new_cache(self) -> None:
        """Each token is computed from the whole context."""

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats per token; ids and targets (B, T), as `GPT.loss`.

        Raises `ValueError` for other targets, or a label smoothing outside 0 to 1.
        """
        label_smoothing = real_number("label_smoothing", label_smoothing, least=0, most=1)
        log_p = self(idx).flatten(0, 1)
        counted = counting(targets.flatten(), *log_p.shape)
        if not counted.any():
            return log_p.new_zeros(())
        return F.cross_entropy(
            log_p[counted], targets.flatten()[counted], label_smoothing=label_smoothing
        )

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def n_params(self) -> int:
        """Number of parameters of all members."""
        return sum(p.numel() for p in self.parameters())
