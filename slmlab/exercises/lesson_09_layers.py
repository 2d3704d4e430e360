"""What an exercise for 09 is about: four small layers of experts, two of which see the future.

Each takes tokens (B, T, C) and gives as many back. They have the same weights, and differ in one
rule alone: which expert takes which tokens.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH, EXPERTS, ACTIVE = 8, 4, 2  # C, E, and how many experts a token asks for
CAPACITY = 1.25  # of an expert, in equal shares
SHAPE = (3, 9, WIDTH)
N_INPUTS = 40

Layer = Callable[[Tensor], Tensor]


def layers() -> dict[str, Layer]:
    """The four layers, by the name of their rule."""
    rules = (best_two, first_come, first_choices, expert_choice)
    return {rule.__name__: partial(_answer, rule) for rule in rules}


def inputs() -> list[Tensor]:
    """Tokens (B, T, C) to try them on; not each shows every leak."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator) for _ in range(N_INPUTS)]


# The rules: scores (B, T, E) → 1 where an expert takes a token, else 0


def best_two(scores: Tensor) -> Tensor:
    """Each token goes to the two experts with its best scores, however many they have."""
    return _asked(scores).sum(2)


def first_come(scores: Tensor) -> Tensor:
    """The same, but an expert takes the tokens of a sequence in their order until it is full."""
    asked = best_two(scores)
    before = asked.cumsum(1) - asked
    return asked * (before < _room(scores.shape[1]))


def first_choices(scores: Tensor) -> Tensor:
    """An expert takes those of the whole batch whose first choice it is, in their order, and then
    those whose second choice it is, until it is full."""
    B, T, E = scores.shape
    in_order = _asked(scores).permute(2, 0, 1, 3).reshape(-1, E)  # (k * B * T, E)
    before = in_order.cumsum(0) - in_order
    taken = in_order * (before < _room(B * T))
    return taken.view(ACTIVE, B, T, E).sum(0)


def expert_choice(scores: Tensor) -> Tensor:
    """Each expert takes the tokens of a sequence that have the best scores for it, as many as there
    is room for."""
    best = scores.topk(_room(scores.shape[1]), 1).indices
    return torch.zeros_like(scores).scatter(1, best, 1.0)


def _asked(scores: Tensor) -> Tensor:
    """(B, T, k, E), 1 at each of the experts that a token asks for, the best first."""
    return F.one_hot(scores.topk(ACTIVE, -1).indices, EXPERTS)


def _room(n_tokens: int) -> int:
    """How many of the tokens an expert has room for."""
    return math.ceil(CAPACITY * ACTIVE * n_tokens / EXPERTS)


def _answer(rule: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    router = torch.randn(WIDTH, EXPERTS, generator=generator)
    experts = torch.randn(EXPERTS, WIDTH, WIDTH, generator=generator)
    scores = x @ router
    gates = scores.softmax(-1) * rule(scores)
    answers = torch.einsum("btc,ecd->bted", x, experts).tanh()
    return (answers * gates[..., None]).sum(2)
