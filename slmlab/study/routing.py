"""What the experts of a model learnt: which tokens each takes, since when, and with which others.

Each measure comes with what chance makes of it, as an untrained or random router has patterns too.
Choices are (L, N, k): for each layer and token of a text, the numbers of its experts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from slmlab.engine.experts import Routing, routings
from slmlab.engine.model import GPT
from slmlab.text.dataset import require_ids
from slmlab.validation import instance, listed, whole_number

if TYPE_CHECKING:
    import pandas as pd

SHUFFLES = 20  # of the labels, whose mean is what chance explains
ROUNDING = 1e-9  # nats, more than two sums of the same numbers differ by


def choices(model: GPT, ids: Tensor) -> Tensor:
    """Which experts each layer sends each token to: ids (N,) → (L, N, k).

    By `routes`, which raises `ValueError` for a model without experts, or something else than ids.
    """
    return torch.cat([layer.chosen for layer in routes(model, ids)])


def routes(model: GPT, ids: Tensor) -> list[Routing]:
    """As `lab.routings`, of a text of any length: B is 1, and T all its tokens.

    The text is read in windows of a context, one after the other. Raises `ValueError` for a model
    without experts, or something else than ids.
    """
    instance("model", model, GPT)
    require_ids("ids", ids)
    windows = [routings(model, window) for window in ids.split(model.config.block_size)]
    return [
        Routing(*(torch.cat(parts, 1).cpu() for parts in zip(*layer, strict=True)))
        for layer in zip(*windows, strict=True)
    ]


def load(chosen: Tensor, n_expert: int) -> Tensor:
    """The share of the choices that falls on each expert: (L, N, k) → (L, E)."""
    n_expert = _check(chosen, n_expert)
    return torch.stack([layer.flatten().bincount(minlength=n_expert) for layer in chosen]) / (
        chosen[0].numel()
    )


def saturation(chosen: Tensor, final: Tensor) -> float:
    """The share of the choices that are among the final ones of the same token and layer.

    Router saturation of OLMoE (Muennighoff et al. 2024, arXiv:2409.02060). Random choices of k in
    E have k / E.
    """
    _check(chosen)
    _check(final)
    if chosen.shape != final.shape:
        raise ValueError(
            f"The choices are {tuple(chosen.shape)} and the final ones {tuple(final.shape)}; give "
            "those of the same text and layers."
        )
    return float((chosen[..., None] == final[..., None, :]).any(-1).float().mean())


def coactivation(chosen: Tensor, n_expert: int) -> Tensor:
    """How often each expert's tokens go to each other one as well: (L, N, k) → (L, E, E).

    Row i is what share of the tokens of expert i go to expert j too; all pairs of a token's k
    experts count. The diagonal is 0, and so is the row of an expert without tokens.
    """
    n_expert = _check(chosen, n_expert)
    took = torch.zeros(*chosen.shape[:2], n_expert).scatter_(2, chosen, 1.0)  # (L, N, E)
    together = took.transpose(1, 2) @ took
    tokens = together.diagonal(dim1=1, dim2=2).clone()
    together.diagonal(dim1=1, dim2=2).zero_()
    return together / tokens.clamp(min=1)[..., None]


def specialisation(chosen: Tensor, labels: Sequence[str], n_expert: int) -> "pd.DataFrame":
    """For each label (row) the share of its choices that fall on each expert, beside their load.

    `chosen` is of one layer, (1, N, k), with one label for each token. Columns: `tokens`, how many
    have the label, and the experts' numbers. A last row, "all", is of all tokens: an expert is
    special for a label where its share is far from that. Raises `ValueError` for more layers.
    """
    import pandas as pd

    n_expert = _check(chosen, n_expert)
    if len(chosen) > 1:
        raise ValueError(
            f"There are {len(chosen)} layers; give the choices of one, such as chosen[:1]."
        )
    values, layer = _labels(labels, chosen), chosen[0]
    rows = pd.DataFrame({"label": np.repeat(values, layer.shape[1]), "expert": layer.flatten()})
    table = pd.crosstab(rows["label"], rows["expert"], normalize="index")
    table.loc["all"] = rows["expert"].value_counts(normalize=True)
    table = table.reindex(columns=range(n_expert), fill_value=0.0).fillna(0.0)
    counts = pd.Series(values).value_counts()
    table.insert(0, "tokens", [*counts.reindex(table.index[:-1]), len(values)])
    return table.rename_axis("label").rename_axis(columns=None)


def explained(chosen: Tensor, labels: Sequence[object]) -> float:
    """How much of the choice of a token's first expert its label explains: 0 by chance, 1 all.

    The mutual information of expert and label, less what shuffled labels have (the mean of
    `SHUFFLES`), as a share of the most there is; the mean of the layers (Vinh et al. 2010,
    JMLR 11). A layer that sends all tokens to one expert has nothing to explain, and counts 0.
    """
    _check(chosen)
    _, numbers = np.unique([*map(str, _labels(labels, chosen))], return_inverse=True)
    generator = np.random.default_rng(0)
    shares = []
    for layer in chosen[:, :, 0].numpy():
        by_chance = np.mean(
            [_information(layer, generator.permutation(numbers)) for _ in range(SHUFFLES)]
        )
        most = _information(layer, layer) - by_chance
        shares.append((_information(layer, numbers) - by_chance) / most if most > ROUNDING else 0.0)
    return float(np.mean(shares))


def _information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of two rows of small whole numbers, in nats."""
    n_b = int(b.max()) + 1
    joint = np.bincount(a * n_b + b, minlength=(int(a.max()) + 1) * n_b).reshape(-1, n_b)
    joint = joint / joint.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / independent[there])).sum())


def _labels(labels: Sequence[object], chosen: Tensor) -> list[Any]:
    values = listed("labels", labels, "one for each token")
    if len(values) != chosen.shape[1]:
        raise ValueError(
            f"There are {len(values):,} labels for {chosen.shape[1]:,} tokens; give one for each."
        )
    return values


def _check(chosen: Tensor, n_expert: int = 1_024) -> int:
    """Raise `ValueError` for what are no choices (L, N, k) among so many experts."""
    n_expert = whole_number("n_expert", n_expert, 1)
    instance("chosen", chosen, Tensor, "lab.routing.choices(model, ids)")
    whole = chosen.dim() == 3 and chosen.dtype == torch.int64 and chosen.numel() > 0
    if not whole or int(chosen.min()) < 0 or int(chosen.max()) >= n_expert:
        raise ValueError(
            "chosen must be whole numbers (layers, tokens, k) of experts below "
            f"{n_expert:,}, as lab.routing.choices(model, ids) gives them."
        )
    return n_expert
