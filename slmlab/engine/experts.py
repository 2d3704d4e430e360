"""A mixture of experts: many MLPs in a layer, of which each token goes through a few.

`GPT(ExpertConfig(…))` is a GPT with such a layer in the place of each MLP. A router scores the
experts for each token, the best k (`n_active`) take it, and what they return is added up by their
scores (Shazeer et al. 2017, arXiv:1701.06538). Experts are rows of the same two matrices that an
MLP has, so one expert is an MLP. Shapes as in `model.py`; E experts, each H wide.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.evaluation import continuable, evaluating
from slmlab.engine.model import GPT, GPTConfig, Part
from slmlab.text.dataset import require_ids
from slmlab.validation import instance, real_number, shown, whole_number

MAX_EXPERTS = 1_024


@dataclass(frozen=True)
class ExpertConfig(GPTConfig):
    """The shape of a GPT with experts; what `GPTConfig` says, and

    Attributes:
        n_expert: experts of a layer that the router chooses from.
        n_active: how many of them take each token.
        n_shared: further experts that take every token (Dai et al. 2024, arXiv:2401.06066).
        expert_width: of an expert, inside; if not given, those that take a token are together as
            wide as GPT-2's MLP.
        aux_loss: weight of the loss that balances the load (Fedus et al. 2021, arXiv:2101.03961).
        bias_rate: by how much a step moves the bias that balances the load without a loss (Wang et
            al. 2024, arXiv:2408.15664).
        capacity: in training, the most tokens of a sequence that an expert takes, as a multiple of
            its equal share; those that come later pass it by. 0 is no limit.

    Raises:
        ValueError: for what `GPTConfig` refuses, or more active experts than there are.
    """

    n_expert: int = 8
    n_active: int = 2
    n_shared: int = 0
    expert_width: int = 0
    aux_loss: float = 0.01
    bias_rate: float = 0.0
    capacity: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("n_expert", 1), ("n_active", 1), ("n_shared", 0), ("expert_width", 0)):
            most = 4 * 10**9 if name == "expert_width" else MAX_EXPERTS
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least, most))
        for name, top in (("aux_loss", None), ("bias_rate", 1), ("capacity", MAX_EXPERTS)):
            value = real_number(name, getattr(self, name), least=0, most=top)
            object.__setattr__(self, name, value)
        if self.n_active > self.n_expert:
            raise ValueError(
                f"n_active is {self.n_active}, but there are n_expert = {self.n_expert} experts to "
                "choose from; let fewer be active."
            )
        if not self.expert_width:
            width = 4 * whole_number("n_embd", self.n_embd, 1) // (self.n_active + self.n_shared)
            object.__setattr__(self, "expert_width", max(1, width))
        super().__post_init__()

    @property
    def mlp(self) -> Part:
        return Experts

    @property
    def parameter_counts(self) -> dict[str, int]:
        C, E = self.n_embd, self.n_expert
        layer = (E + self.n_shared) * self.expert_params + E * C + E
        return super().parameter_counts | {"MLP": self.n_layer * layer}

    @property
    def expert_params(self) -> int:
        """Parameters of one expert."""
        return 2 * self.n_embd * self.expert_width + self.expert_width + self.n_embd

    @property
    def active_params(self) -> int:
        """Parameters that a token is multiplied with: all but those of experts not chosen."""
        idle = (self.n_expert - self.n_active) * self.expert_params
        return self.n_params - self.n_layer * idle


class Routing(NamedTuple):
    """Where a layer sends tokens.

    Attributes:
        probabilities: (B, T, E), the router's, of every expert.
        chosen: (B, T, k), the experts that take each token, the best first.
        gates: (B, T, k), what their answers are multiplied with.
    """

    probabilities: Tensor
    chosen: Tensor
    gates: Tensor


class Experts(nn.Module):
    """The layer: takes the place of an MLP. Raises `ValueError` for another config."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config: ExpertConfig = instance("config", config, ExpertConfig)
        c = self.config
        n_all = c.n_expert + c.n_shared  # the shared ones come last
        self.fc = nn.Linear(c.n_embd, n_all * c.expert_width)
        self.proj = nn.Linear(c.expert_width, n_all * c.n_embd)
        self.router = nn.Linear(c.n_embd, c.n_expert)
        self.router.bias.requires_grad_(False)  # it balances the choice, and is no part of a gate

    def forward(self, x: Tensor) -> Tensor:
        routing = self.route(x)
        chosen, gates = routing.chosen, routing.gates
        if self.training:
            if self.config.aux_loss:
                gates = _AddedLoss.apply(gates, self.config.aux_loss * balance_loss(routing))
            if self.config.bias_rate:
                self._move_bias(chosen)
        taken = self._taken(chosen)
        if self.config.n_shared:
            first, end = self.config.n_expert, self.config.n_expert + self.config.n_shared
            shared = torch.arange(first, end, device=x.device).expand(*x.shape[:2], -1)
            chosen = torch.cat([chosen, shared], -1)
            gates = torch.cat([gates, torch.ones_like(shared, dtype=gates.dtype)], -1)
            taken = torch.cat([taken, torch.ones_like(shared, dtype=torch.bool)], -1)
        return F.dropout(self._mixed(x, chosen, gates, taken), self.config.dropout, self.training)

    def route(self, x: Tensor) -> Routing:
        """Which experts take each token of x (B, T, C).

        The gates of two and more add up to 1. A single expert's is its probability, as otherwise
        the router would learn nothing.
        """
        scores = F.linear(x, self.router.weight)
        probabilities = scores.softmax(-1)
        chosen = (probabilities + self.router.bias).topk(self.config.n_active, -1).indices
        if self.config.n_active == 1:
            return Routing(probabilities, chosen, probabilities.gather(-1, chosen))
        return Routing(probabilities, chosen, scores.gather(-1, chosen).softmax(-1))

    def _taken(self, chosen: Tensor) -> Tensor:
        """(B, T, k), false where an expert has its share already: of earlier tokens only.

        Whoever ranks the choices of a whole batch lets a later token push an earlier one out.
        """
        if not (self.training and self.config.capacity):
            return torch.ones_like(chosen, dtype=torch.bool)
        _, T, k = chosen.shape
        most = math.ceil(self.config.capacity * k * T / self.config.n_expert)
        asked = F.one_hot(chosen, self.config.n_expert).sum(2)  # (B, T, E), of 0 and 1
        before = asked.cumsum(1) - asked
        return before.gather(-1, chosen) < most

    def _mixed(self, x: Tensor, chosen: Tensor, gates: Tensor, taken: Tensor) -> Tensor:
        """What the experts answer, each times its gate, added up: (B, T, C).

        Each expert's tokens become rows of one batch, as many as the busiest has, so that all
        experts are two products. Tokens go there and back by `F.embedding`, whose gradient adds up
        in the same order every time; that of indexing does not.
        """
        c, flat = self.config, x.flatten(0, 1)
        expert, token = chosen[taken], taken.flatten(0, 1).nonzero()[:, 0]
        counts = expert.bincount(minlength=c.n_expert + c.n_shared)
        n_rows = int(counts.max())
        place = expert.argsort(stable=True).argsort()  # with the choices sorted by expert
        row = expert * n_rows + place - (counts.cumsum(0) - counts)[expert]
        source = row.new_zeros(len(counts) * n_rows).index_copy(0, row, token)
        answer_of = torch.zeros_like(chosen).masked_scatter(taken, row)
        answers = self.answers(F.embedding(source, flat).view(len(counts), n_rows, -1))
        found = F.embedding(answer_of, answers.flatten(0, 1))  # (B, T, k, C)
        return (found * (gates * taken)[..., None]).sum(2)

    def answers(self, rows: Tensor) -> Tensor:
        """What each expert, the shared ones last, answers to rows of its own: (E, N, C) both."""
        fc, proj = self._by_expert(self.fc), self._by_expert(self.proj)
        inside = torch.baddbmm(fc.bias, rows, fc.weight)
        return torch.baddbmm(proj.bias, F.gelu(inside, approximate="tanh"), proj.weight)

    def _by_expert(self, linear: nn.Linear) -> "_Stack":
        """The weights of a linear layer as (E, inputs, outputs), its biases as (E, 1, outputs)."""
        n_all = self.config.n_expert + self.config.n_shared
        weight = linear.weight.view(n_all, -1, linear.in_features)
        return _Stack(weight.transpose(1, 2), linear.bias.view(n_all, 1, -1))

    @torch.no_grad()
    def _move_bias(self, chosen: Tensor) -> None:
        """Make the experts with less than their share likelier, and the others less likely."""
        counts = chosen.flatten().bincount(minlength=self.config.n_expert).float()
        self.router.bias.add_((counts.mean() - counts).sign(), alpha=self.config.bias_rate)


class _Stack(NamedTuple):
    weight: Tensor
    bias: Tensor


class _AddedLoss(torch.autograd.Function):
    """Gives a tensor on unchanged, and the gradient of a loss to whatever that came from.

    So the loss is never part of one that is reported, and the training loop knows nothing of it.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, loss: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        [gradient] = gradients
        return gradient, gradient.new_ones(())


def balance_loss(routing: Routing) -> Tensor:
    """How unequal a layer's load is, as Fedus et al. 2021 punish it: 1 if it is equal.

    E times the sum, over the experts, of the share of choices that fall on it and its mean
    probability; gradients flow through the probabilities.
    """
    n_expert = routing.probabilities.shape[-1]
    counts = routing.chosen.flatten().bincount(minlength=n_expert)
    share = counts / routing.chosen.numel()
    return n_expert * (share * routing.probabilities.flatten(0, -2).mean(0)).sum()


def expert_layers(model: GPT) -> list[Experts]:
    """The layers of experts of a model. Raises `ValueError` if it has none."""
    instance("model", model, GPT)
    layers = [block.mlp for block in model.blocks if isinstance(block.mlp, Experts)]
    if not layers:
        raise ValueError(
            f"The model's {shown(type(model.config).__name__)} has no experts; give a "
            "lab.GPT(lab.ExpertConfig(…))."
        )
    return layers


def layer_inputs(model: GPT, windows: Tensor) -> list[Tensor]:
    """What each layer of experts is given when the model reads ids (B, T): (B, T, C) each.

    Raises `ValueError` for a model without experts, or more tokens than its context has.
    """
    found: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, x: found.append(x[0]))
        for layer in expert_layers(model)
    ]
    try:
        with evaluating(model):
            model.hidden(model.wte(windows.to(model.device)))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def routings(model: GPT, ids: Tensor) -> list[Routing]:
    """Where each layer of a model sends the tokens ids (N,), as one sequence: B is 1.

    Raises `ValueError` for a model without experts, ids that are no row of whole numbers, none of
    them, one that the model has no row for, or more of them than its context has.
    """
    layers = expert_layers(model)
    require_ids("ids", ids)
    continuable(model, ids.tolist())
    with torch.no_grad():
        inputs = layer_inputs(model, ids[None])
        return [layer.route(x) for layer, x in zip(layers, inputs, strict=True)]
