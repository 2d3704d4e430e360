"""The fused linear cross-entropy: output head and loss in one, without all logits at once.

The idea is Liger Kernel's (Hsu et al. 2024, arXiv:2410.10989). With a vocabulary of 50,257 the
logits of a batch are most of a training step's memory, and writing them most of its time.
"""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from slmlab.text.dataset import IGNORED
from slmlab.validation import shown

# Rows of the (tokens × vocabulary) logits that exist at a time: at V = 50,257, 256 rows are 51 MB.
HEAD_CHUNK = 256


def tied_cross_entropy(
    weight: Tensor, hidden: Tensor, targets: Tensor, label_smoothing: float, shared: list[Tensor]
) -> Tensor:
    """Mean cross-entropy, in nats, of `hidden @ weight.T` against targets.

    `weight` (V, C) is the matrix that `TiedEmbedding` read, with the same list `shared`; `hidden`
    is (N, C), targets (N,). Targets that are `IGNORED` do not count; if none counts, the loss is 0
    with zero gradients, where `F.cross_entropy` has NaN. Inside `torch.autocast`, products are of
    bfloat16 numbers. Only the first derivative exists, and it can be taken once.

    Raises:
        ValueError: for a target that is no row of `weight`, or not one for each row of `hidden`.
    """
    counted = counting(targets, len(hidden), len(weight))
    if not counted.all():
        hidden, targets = hidden[counted], targets[counted]
    return _FusedLinearCrossEntropy.apply(hidden, weight.detach(), targets, label_smoothing, shared)


def counting(targets: Tensor, n_tokens: int, n_rows: int) -> Tensor:
    """Which targets (N,) count: those that are not `IGNORED`.

    Raises `ValueError` unless there are as many as tokens, each of them a row.
    """
    if n_tokens != len(targets):
        raise ValueError(f"{n_tokens} tokens have {len(targets)} targets; give each its own.")
    counted = targets != IGNORED
    wrong = targets[counted & ((targets < 0) | (targets >= n_rows))]
    if len(wrong):
        raise ValueError(
            f"A target is {int(wrong[0])}; targets run from 0 to {n_rows - 1}, and "
            f"{IGNORED} marks one that does not count."
        )
    return counted


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
    """Some rows of logits at a time, and their gradients while they are still at hand.

    The gradient of cross-entropy is softmax(logits) − one-hot(target), so no logits are kept for
    later. The gradient of the matrix goes to `TiedEmbedding`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, smoothing: float, shared: list[Tensor]
    ) -> Tensor:
        device = x.device.type
        found = _in_bf16 if torch.is_autocast_enabled(device) else _in_full
        training = ctx.needs_input_grad[0]
        with torch.autocast(device, enabled=False) if found is _in_bf16 else nullcontext():
            total, *ctx.grads = found(x, weight, targets, smoothing, training)
        ctx.shared = shared
        return total / max(1, len(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.grads:
            raise RuntimeError(
                "The gradient of this loss was taken already, and taking it gives its memory "
                "away; call model.loss(…) again for a second backward()."
            )
        grad_x, grad_weight = ctx.grads
        ctx.grads = []
        ctx.shared.append(grad_weight.mul_(grad))
        return grad_x.mul_(grad / max(1, len(grad_x))), None, None, None, None


def _in_full(
    x: Tensor, weight: Tensor, targets: Tensor, smoothing: float, training: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Sum of the losses, its gradient by `x`, and the mean's by `weight`, in their own precision.

    `HEAD_CHUNK` rows of logits at a time. There are gradients only when training.
    """
    N, V = len(x), len(weight)
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
        if grad_x is not None and grad_weight is not None:
            if smoothing:
                p -= smoothing / V
            p.scatter_add_(1, labels, p.new_full(labels.shape, smoothing - 1))
            torch.mm(p, weight, out=grad_x[start : start + HEAD_CHUNK])
            grad_weight.addmm_(p.T, rows / N)
    return total, grad_x, grad_weight


def _in_bf16(
    x: Tensor, weight: Tensor, targets: Tensor, smoothing: float, training: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """As `_in_full`, with logits, probabilities and the factors of matrix products in bfloat16.

    Twice as many rows at a time take the same memory. Sums stay in float32. A bfloat16 just below
    1 has steps of 0.004, more than what a memorised token has still to gain, so what its target
    lacks is the sum of the others' probabilities. Where that is most of 1, the loss is −log p of
    the target, at most 87.
    """
    N, V = len(x), len(weight)
    chunk = 2 * HEAD_CHUNK
    grad_x = torch.empty_like(x) if training else None
    grad_weight = torch.zeros_like(weight) if training else None
    x_low, weight_low = x.bfloat16(), weight.bfloat16()
    buffer = x_low.new_empty(min(N, chunk), V)
    total = x.new_zeros(())
    for start in range(0, N, chunk):
        rows, labels = x_low[start : start + chunk], targets[start : start + chunk]
        # Indexing, because PyTorch's scatter takes as long as a product for bfloat16 on a CPU.
        at_targets = torch.arange(len(rows), device=x.device), labels
        logits = torch.mm(rows, weight_low.T, out=buffer[: len(rows)])
        p = torch.softmax(logits, 1, out=logits)
        right = p[at_targets].to(x.dtype)
        p[at_targets] = 0
        lacking = p.sum(1).to(x.dtype)
        unlikely = -right.clamp_min(torch.finfo(torch.float32).tiny).log()
        total += torch.where(lacking < 0.5, -torch.log1p(-lacking), unlikely).sum()
        if grad_x is not None and grad_weight is not None:
            p[at_targets] = (smoothing - lacking).bfloat16()
            grad_x[start : start + chunk] = torch.mm(p, weight_low)
            grad_weight.add_(torch.mm(p.T, rows), alpha=1 / N)
    if smoothing:  # its other parts are the same for every token, so they need no logits
        mean = weight.mean(0)
        total += smoothing * (x * (weight[targets] - mean)).sum()
        if grad_x is not None and grad_weight is not None:
            grad_x -= smoothing * mean
            grad_weight -= smoothing / V / max(1, N) * x.sum(0)
    return total, grad_x, grad_weight
