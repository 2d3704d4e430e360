"""The fused linear cross-entropy: output head and loss in one, without all logits at once.

The idea is Liger Kernel's (Hsu et al. 2024, arXiv:2410.10989). With a vocabulary of 50,257 the
logits of a batch are most of a training step's memory, and writing them most of its time.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from slmlab.validation import shown

# Rows of the (tokens × vocabulary) logits that exist at a time: at V = 50,257, 256 rows are 51 MB.
HEAD_CHUNK = 256
IGNORE_INDEX = -100  # a target that does not count, as in `F.cross_entropy`


def tied_cross_entropy(
    weight: Tensor, hidden: Tensor, targets: Tensor, label_smoothing: float, shared: list[Tensor]
) -> Tensor:
    """Mean cross-entropy, in nats, of `hidden @ weight.T` against targets.

    `weight` (V, C) is the matrix that `TiedEmbedding` read, with the same list `shared`; `hidden`
    is (N, C), targets (N,). Targets of −100 do not count, as in `F.cross_entropy`. Only the first
    derivative exists, and it can be taken once.

    Raises:
        ValueError: for a target that is no row of `weight`, or not one for each row of `hidden`.
    """
    if len(hidden) != len(targets):
        raise ValueError(f"{len(hidden)} tokens have {len(targets)} targets; give each its own.")
    ignored = targets == IGNORE_INDEX
    if ignored.any():
        hidden, targets = hidden[~ignored], targets[~ignored]
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(weight):
        wrong = targets[(targets < 0) | (targets >= len(weight))][0]
        raise ValueError(
            f"A target is {int(wrong)}; targets run from 0 to {len(weight) - 1}, and "
            f"{IGNORE_INDEX} marks one that does not count."
        )
    return _FusedLinearCrossEntropy.apply(hidden, weight.detach(), targets, label_smoothing, shared)


def look_up(weight: Tensor, idx: Tensor) -> Tensor:
    """Rows of an embedding: (V, C) and ids (B, T) → (B, T, C). Raises `ValueError` for no ids."""
    try:
        return F.embedding(idx, weight)
    except (IndexError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"idx is {shown(idx)}; it must be a tensor of token ids, whole numbers from 0 to "
            f"{len(weight) - 1}."
        ) from error


class Embedding(nn.Embedding):
    """An embedding that says what ids are; alone it is the lookup (see `look_up`)."""

    def forward(self, idx: Tensor) -> Tensor:
        return look_up(self.weight, idx)


class TiedEmbedding(torch.autograd.Function):
    """The token embedding, (B, T) → (B, T, C), for a matrix that the fused loss uses as well.

    Autograd would make a V × C gradient for each of the two uses and add them. Here the head's is
    handed over in the list `shared`, and the lookup's few rows are added to it in place.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, idx: Tensor, shared: list[Tensor]) -> Tensor:
        ctx.idx, ctx.shared = idx, shared
        return look_up(weight, idx)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        total = ctx.shared.pop()
        return total.index_add_(0, ctx.idx.flatten(), grad.flatten(0, 1)), None, None


class _FusedLinearCrossEntropy(torch.autograd.Function):
    """`HEAD_CHUNK` rows of logits at a time, and their gradients while they are still at hand.

    The gradient of cross-entropy is softmax(logits) − one-hot(target), so no logits are kept for
    later. The gradient of the matrix goes to `TiedEmbedding`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, smoothing: float, shared: list[Tensor]
    ) -> Tensor:
        N, V = len(x), len(weight)
        training = ctx.needs_input_grad[0]
        grad_x = torch.empty_like(x) if training else None
        grad_weight = torch.zeros_like(weight) if training else None
        buffer = x.new_empty(min(N, HEAD_CHUNK), V)
        total = x.new_zeros(())
        for start in range(0, N, HEAD_CHUNK):
            rows = x[start : start + HEAD_CHUNK]
            labels = targets[start : start + HEAD_CHUNK, None]
            logits = torch.mm(rows, weight.T, out=buffer[: len(rows)])
            target_logits = logits.gather(1, labels)
            mean_logits = logits.mean(1, keepdim=True) if smoothing else 0.0
            top = logits.amax(1, keepdim=True)
            p = torch.softmax(logits, 1, out=logits)
            log_sum = top - p.amax(1, keepdim=True).log()  # log Σ exp(logits), without overflow
            total += (log_sum - (1 - smoothing) * target_logits - smoothing * mean_logits).sum()
            if training:
                if smoothing:
                    p -= smoothing / V
                p.scatter_add_(1, labels, p.new_full(labels.shape, smoothing - 1))
                torch.mm(p, weight, out=grad_x[start : start + HEAD_CHUNK])
                grad_weight.addmm_(p.T, rows / N)
        ctx.grads, ctx.shared = (grad_x, grad_weight), shared
        return total / N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError(
                "The gradient of this loss was taken already, and taking it gives its memory "
                "away; call model.loss(…) again for a second backward()."
            )
        grad_x, grad_weight = ctx.grads
        ctx.grads = None
        ctx.shared.append(grad_weight.mul_(grad))
        return grad_x.mul_(grad / len(grad_x)), None, None, None, None
