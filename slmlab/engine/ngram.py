"""Counting: an n-gram model with interpolated Kneser–Ney smoothing, the number to beat.

A table of which token followed which few tokens how often, and a rule for what was never seen
(Kneser and Ney 1995; interpolated as in Chen and Goodman 1998, "An Empirical Study of Smoothing
Techniques for Language Modeling", section 2.7). It is fitted in a second, knows nothing of meaning,
and has the interface of `GPT`, so that every place that takes a model takes it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn as nn
from torch import Tensor

from slmlab.text.dataset import listed_ids
from slmlab.validation import instance, listed, real_number, whole_number

WINDOW = 512  # tokens; 50,257 log-probabilities after each take 100 MB
MAX_ORDER = 100  # 23,000 tokens are counted in ten seconds; half a window is still longer
# What is chosen from: wide, so that the best of the course's texts is neither first nor last.
ORDERS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 32)
DISCOUNTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)


@dataclass(frozen=True)
class NGramConfig:
    """The shape of a counting model, in the words of `GPTConfig`.

    Attributes:
        vocab_size: tokens that it gives a probability to.
        order: the n of the n-gram: it sees the last n − 1 tokens.
        discount: what is taken from each count and given to tokens that were not seen.

    Raises:
        ValueError: if a value is out of range.
    """

    vocab_size: int
    order: int = 5
    discount: float = 0.9

    def __post_init__(self) -> None:
        vocab_size = whole_number("vocab_size", self.vocab_size, least=1)
        object.__setattr__(self, "vocab_size", vocab_size)
        note = "longer contexts hardly ever repeat, and counting them takes long"
        order = whole_number("order", self.order, 1, MAX_ORDER, note)
        object.__setattr__(self, "order", order)
        discount = real_number("discount", self.discount, above=0, below=1)
        object.__setattr__(self, "discount", discount)

    @property
    def block_size(self) -> int:
        """Tokens that a window of text holds: more than it looks at, and more than twice as many.

        So windows that overlap by half (`strided_losses`) cut off nothing that it looks at.
        """
        return WINDOW


@dataclass
class _Followers:
    """What followed one context: the counts of the next tokens, and their sum."""

    counts: Counter
    total: int = 0


class NGram(nn.Module):
    """Counts of a text as a language model: token ids in, log-probabilities or a loss out."""

    def __init__(self, config: NGramConfig, ids: Sequence[int] | Tensor) -> None:
        """Count a text.

        Raises:
            ValueError: for a text of fewer than two tokens, or an id beyond the vocabulary.
        """
        super().__init__()
        self.config = instance("config", config, NGramConfig)
        ids = listed_ids("ids", ids)
        if len(ids) < 2:
            raise ValueError(f"Counting needs at least 2 tokens; got {len(ids)}.")
        if max(ids) >= config.vocab_size:
            raise ValueError(
                f"The text has token ids from {min(ids)} to {max(ids)}; a vocabulary of "
                f"{config.vocab_size} has 0 to {config.vocab_size - 1}."
            )
        self._orders = _count(ids, min(config.order, len(ids)))

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def n_params(self) -> int:
        """Counts that are kept: the nearest thing to parameters that a table has."""
        return sum(len(f.counts) for order in self._orders for f in order.values())

    def distribution(self, context: Sequence[int]) -> Tensor:
        """Probabilities (V,) of the token after a context, of which the end is used."""
        V, D = self.config.vocab_size, self.config.discount
        p = torch.full((V,), 1 / V, dtype=torch.float64)
        for followers in self._followers(context):
            tokens = torch.tensor(list(followers.counts))
            counts = torch.tensor(list(followers.counts.values()), dtype=torch.float64)
            p *= D * len(tokens) / followers.total
            p[tokens] += (counts - D) / followers.total
        return p

    def probability(self, context: Sequence[int], token: int) -> float:
        """The probability of one token after a context, without those of all others."""
        D, p = self.config.discount, 1 / self.config.vocab_size
        for followers in self._followers(context):
            p *= D * len(followers.counts) / followers.total
            p += max(followers.counts[token] - D, 0) / followers.total
        return p

    def _followers(self, context: Sequence[int]) -> Iterator[_Followers]:
        """What followed the context's last 0, 1, 2 … tokens, as far as they were seen."""
        for n, order in enumerate(self._orders):
            if n > len(context):
                return
            followers = order.get(tuple(context[len(context) - n :]))
            if followers is None:
                return
            yield followers

    def new_cache(self) -> None:
        """There is nothing to keep between tokens."""

    def forward(self, idx: Tensor) -> Tensor:
        """Log-probabilities of the next token at every position: ids (B, T) → (B, T, V)."""
        rows = [
            torch.stack([self.distribution(row[: t + 1]).log().float() for t in range(len(row))])
            for row in idx.tolist()
        ]
        return torch.stack(rows)

    def next_logits(self, idx: Tensor) -> Tensor:
        """Log-probabilities after the last position only: ids (B, T) → (B, V)."""
        return torch.stack([self.distribution(row) for row in idx.tolist()]).log().float()

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats per token; ids and targets (B, T), of any length."""
        if label_smoothing:
            raise ValueError("A table of counts is not trained, so it has no label smoothing.")
        losses = [
            -math.log(self.probability(row[: t + 1], target))
            for row, wanted in zip(idx.tolist(), targets.tolist(), strict=True)
            for t, target in enumerate(wanted)
        ]
        return torch.tensor(sum(losses) / len(losses))


def choose_ngram(
    train: Tensor,
    val: Tensor,
    vocab_size: int,
    orders: Sequence[int] = ORDERS,
    discounts: Sequence[float] = DISCOUNTS,
) -> NGram:
    """The counting model of `train` whose order and discount do best on the text `val`."""
    val = torch.tensor(listed_ids("val", val))
    best, chosen, lowest = None, None, math.inf
    for order in listed("orders", orders, "whole numbers"):
        model = NGram(NGramConfig(vocab_size, order), train)
        for discount in listed("discounts", discounts, "numbers"):
            model.config = replace(model.config, discount=discount)  # the counts stay the same
            loss = float(model.loss(val[None, :-1], val[None, 1:]))
            if loss < lowest:
                best, chosen, lowest = model, model.config, loss
    if best is None:
        raise ValueError("There is nothing to choose from; give some orders and discounts.")
    best.config = chosen
    return best


def _count(ids: list[int], order: int) -> list[dict[tuple[int, ...], _Followers]]:
    """For contexts of 0, 1, … order − 1 tokens: what followed them.

    The longest contexts count how often; shorter ones count after how many different tokens, so
    that a token which follows only one other is not thought common (Kneser and Ney's idea).
    """
    grams = Counter(zip(*(ids[i:] for i in range(order)), strict=False))
    orders = []
    for n in range(order, 0, -1):
        table: dict[tuple[int, ...], _Followers] = defaultdict(lambda: _Followers(Counter()))
        for gram, count in grams.items():
            followers = table[gram[:-1]]
            followers.counts[gram[-1]] += count
            followers.total += count
        orders.append(dict(table))
        # The text's first tokens are preceded by nothing, which counts as one.
        grams = Counter(gram[1:] for gram in grams) + Counter(
            [tuple(ids[: n - 1])] if n > 1 else []
        )
    return orders[::-1]
