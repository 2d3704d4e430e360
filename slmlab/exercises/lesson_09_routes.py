"""What an exercise for 09 expects of a router: routes, and what is often written in their place."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from slmlab.engine.experts import ExpertConfig, Experts
from slmlab.exercises.checking import filled_in, require
from slmlab.validation import shown

WRONG_AXIS = (
    "You choose along the wrong axis. Each token chooses among its own experts, and these are the "
    "last axis: `topk(k, -1)`."
)
OVER_BATCH = f"You choose over the batch: for each place and expert `k` sequences. {WRONG_AXIS}"
OTHER_WAY = f"Here each expert chooses `k` tokens of a sequence, and sees later ones. {WRONG_AXIS}"
POOLED = "You choose once for many tokens. Each token of each sequence has `k` experts of its own."
MISTAKEN_ROUTES = {
    """
    gates, chosen = scores.softmax(-1).topk(k, -1)
    return chosen, gates
    """: "The gates of a token add up to less than 1: softmax gave the experts that were not "
    "chosen a share as well. Take the softmax of the chosen scores alone, or divide by the sum.",
    """
    gates, chosen = scores.softmax(-1).topk(k, -1)
    return chosen, gates.softmax(-1)
    """: "You took softmax twice. The second one makes the gates nearly equal, whatever the router "
    "says: take it once, of the chosen *scores*.",
    """
    best, chosen = scores.topk(k, -1)
    return chosen, best
    """: "Your gates are the scores themselves. Make them positive and add up to 1: softmax of the "
    "chosen scores.",
    """
    best, chosen = scores.topk(k, -1)
    return chosen, best / best.sum(-1, keepdim=True)
    """: "You divided scores by their sum. A score can be negative, and so can the sum: take the "
    "softmax of the chosen scores.",
    """
    best, chosen = scores.topk(k, -1)
    return chosen, torch.full_like(best, 1 / k)
    """: "All gates are equal, so the router only chooses, and no gradient reaches it. Weigh the "
    "chosen experts by their scores.",
    "return torch.arange(k).expand(*scores.shape[:2], k), scores[..., :k].softmax(-1)": "You took "
    "the first `k` experts, not those with the best scores.",
    "return scores.topk(k, -1).indices, scores[..., :k].softmax(-1)": "The experts are right, but "
    "the gates are made of the scores of the first `k` experts, whoever was chosen.",
    """
    chosen = scores.topk(k, -1).indices
    return chosen, scores[..., -k:].softmax(-1)
    """: "The experts are right, but the gates are made of the last `k` scores of each token, "
    "whoever was chosen.",
    """
    best, chosen = scores.topk(k, -1, largest=False)
    return chosen, best.softmax(-1)
    """: "You chose the experts with the *lowest* scores. `argsort` sorts them upwards unless you "
    "say `descending=True`.",
    """
    best, chosen = scores.topk(k, -1)
    return chosen, best.softmax(0)
    """: "Softmax went over the batch. The gates of *each token* are to add up to 1: "
    "`softmax(-1)`.",
    """
    best, chosen = scores.topk(k, -1)
    return chosen, best.softmax(1)
    """: "Softmax went over the tokens of a sequence, so a gate depends on later tokens. The gates "
    "of *each token* are to add up to 1: `softmax(-1)`.",
    """
    best, chosen = scores.topk(k, 0)
    return chosen, best.softmax(0)
    """: OVER_BATCH,
    """
    best, chosen = scores.topk(k, 0)
    return chosen, best.softmax(-1)
    """: OVER_BATCH,
    """
    best, chosen = scores.topk(k, 1)
    return chosen, best.softmax(1)
    """: OTHER_WAY,
    """
    best, chosen = scores.topk(k, 1)
    return chosen, best.softmax(-1)
    """: OTHER_WAY,
    """
    best, chosen = scores.mean((0, 1)).topk(k)
    shape = (*scores.shape[:2], k)
    return chosen.expand(shape), best.softmax(-1).expand(shape)
    """: POOLED,
    """
    chosen = scores.mean((0, 1)).topk(k).indices
    return chosen.expand(*scores.shape[:2], k), scores[..., chosen].softmax(-1)
    """: POOLED,
    """
    best, chosen = scores.topk(k, -1)
    return best.softmax(-1), chosen
    """: "You return the gates first. Return the experts, then the gates.",
    """
    best, chosen = scores.topk(k, -1)
    gates = torch.zeros_like(scores).scatter(-1, chosen, best.softmax(-1))
    return chosen, gates
    """: "Your gates have a number for every expert. Return one for each of the chosen `k`, in the "
    "order in which you return these: (B, T, k).",
}  # fmt: skip


def engine_route(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The routes of the engine's layer, whose router gives a token's own numbers as its scores."""
    E = scores.shape[-1]
    layer = Experts(ExpertConfig(8, 8, 1, 1, E, n_expert=E, n_active=k))
    with torch.no_grad():
        layer.router.weight.copy_(torch.eye(E))
        layer.router.bias.zero_()
        routing = layer.route(scores)
    return routing.chosen, routing.gates


Routes = tuple[list[Any], list[Any]]


def routes_of(value: Any, name: str) -> Routes:
    """Chosen experts and gates as lists; those of a token in the order of the experts."""
    filled_in(value, name)
    two = isinstance(value, tuple | list) and len(value) == 2
    require(
        two and all(isinstance(part, Tensor) for part in value),
        f"`{name}` returns {shown(value)}; it should return two tensors, the chosen experts and "
        "their gates.",
    )
    chosen, gates = value
    if chosen.is_floating_point() or chosen.shape != gates.shape:
        return chosen.tolist(), gates.tolist()
    order = chosen.argsort(-1)
    return chosen.gather(-1, order).tolist(), gates.gather(-1, order).tolist()


def wrong_routes(value: Routes, truth: Routes, scores: Tensor, k: int) -> str:
    sizes = [tuple(torch.tensor(part).shape) for part in value]
    wanted = (*scores.shape[:2], k)
    if sizes != [wanted, wanted]:
        return (
            f"For scores {tuple(scores.shape)} and k = {k} the chosen experts are {sizes[0]} and "
            f"the gates {sizes[1]}; both should be {wanted}."
        )
    places = [(b, t) for b in range(wanted[0]) for t in range(wanted[1])]
    for part, what in ((0, "experts"), (1, "gates")):
        for b, t in places:
            mine, right_ones = value[part][b][t], truth[part][b][t]
            if any(
                not math.isclose(a, c, abs_tol=1e-4) for a, c in zip(mine, right_ones, strict=False)
            ):
                return (
                    f"A token with the scores {_listed(scores[b, t].tolist())} and k = {k} gets "
                    f"the {what} {_listed(mine)}; it should get {_listed(right_ones)}."
                )
    return "Return whole numbers for the experts, and fractions for the gates."


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.3g}' for value in values)}]"
