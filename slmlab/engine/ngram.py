"""Counting: an n-gram model with interpolated Kneser–Ney smoothing, the number to beat.

A table of which token followed which few tokens how often, and a rule for what was never seen
(Kneser and Ney 1995; interpolated as in Chen and Goodman 1998, "An Empirical Study of Smoothing
Techniques for Language Modeling", section 2.7). It is fitted in a second, knows nothing of meaning,
and has the interface of `GPT`, so that every place that takes a model takes it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from slmlab.text.dataset import IGNORED, are_ids, id_array
from slmlab.validation import instance, listed, real_number, shown, whole_number

WINDOW = 512  # tokens; 50,257 log-probabilities after each take 100 MB
MAX_ORDER = 100  # 23,000 tokens are counted in ten seconds; half a window is still longer
# What is chosen from: wide, so that the best of the course's texts is neither first nor last.
ORDERS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 32, 48)
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


@dataclass(frozen=True)
class _Table:
    """The different n-token sequences of a text, in order, and what follows each context.

    Sequences are numbered from 0. The key of one is the number of its first n − 1 tokens, its
    context, times `base`, and its last token; so what follows a context stands together.

    Attributes:
        base: one more than the largest id of the text.
        keys: (G,) of the sequences.
        counts: (G,) of the last token after the context.
        begins: (contexts + 1,) where those that follow a context begin; at the next they end.
        totals: (contexts,) sum of their counts.
    """

    base: int
    keys: np.ndarray
    counts: np.ndarray
    begins: np.ndarray
    totals: np.ndarray

    def find(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The numbers of sequences, of their contexts' numbers and last tokens; −1 if not seen."""
        keys = contexts * self.base + tokens
        numbers = self.keys.searchsorted(keys).clip(max=len(self.keys) - 1)
        seen = (contexts >= 0) & (tokens >= 0) & (tokens < self.base)
        return np.where(seen & (self.keys[numbers] == keys), numbers, -1)

    def find_one(self, context: int, token: int) -> int:
        """As `find` for a single sequence, in a fraction of its time."""
        key = context * self.base + token
        number = int(self.keys.searchsorted(key))
        seen = context >= 0 and token < self.base and number < len(self.keys)
        return number if seen and self.keys[number] == key else -1


class NGram(nn.Module):
    """Counts of a text as a language model: token ids in, log-probabilities or a loss out."""

    def __init__(self, config: NGramConfig, ids: Sequence[int] | Tensor) -> None:
        """Count a text.

        Raises:
            ValueError: for a text of fewer than two tokens, or an id beyond the vocabulary.
        """
        super().__init__()
        self.config = instance("config", config, NGramConfig)
        text = id_array("ids", ids)
        if len(text) < 2:
            raise ValueError(f"Counting needs at least 2 tokens; got {len(text)}.")
        if text.max() >= config.vocab_size:
            raise ValueError(
                f"The text has token ids from {text.min()} to {text.max()}; a vocabulary of "
                f"{config.vocab_size} has 0 to {config.vocab_size - 1}."
            )
        self._tables = _count(text, min(config.order, len(text)))

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def n_params(self) -> int:
        """Counts that are kept: the nearest thing to parameters that a table has."""
        return sum(len(table.keys) for table in self._tables)

    def distribution(self, context: Sequence[int]) -> Tensor:
        """Probabilities (V,) of the token after a context, of which the end is used.

        Raises `ValueError` for a context that is no list of token ids.
        """
        return self._distribution(self._end(id_array("context", context)))

    def _distribution(self, ids: np.ndarray) -> Tensor:
        """As `distribution`, after the end of a context."""
        V, D = self.config.vocab_size, self.config.discount
        p = np.full(V, 1 / V)
        for n, (table, numbers) in enumerate(zip(self._tables, self._numbers(ids), strict=False)):
            number = numbers[len(ids) - n]
            if number < 0 or not table.totals[number]:
                break
            followers = slice(table.begins[number], table.begins[number + 1])
            counts = table.counts[followers]
            p *= D * len(counts) / table.totals[number]
            p[table.keys[followers] % table.base] += (counts - D) / table.totals[number]
        return torch.from_numpy(p)

    def probability(self, context: Sequence[int], token: int) -> float:
        """The probability of one token after a context, without those of all others.

        Raises `ValueError` for a context, or a token, of something else than token ids.
        """
        token = whole_number("token", token, most=self.config.vocab_size - 1)
        ids = self._end(id_array("context", context))
        return float(self._probabilities(ids, np.array([token]))[0])

    def guess(self, context: Sequence[int]) -> int:
        """The commonest token after the longest end of a context that the text goes on from.

        Of several, the lowest id. `distribution` weighs shorter ends as well, so its likeliest
        token can be another; but this one is as often right, and found many times faster.

        Raises `ValueError` for a context that is no list of token ids.
        """
        ids = self._end(id_array("context", context)).tolist()
        for n in range(len(ids), -1, -1):
            number = 0
            for table, token in zip(self._tables, ids[len(ids) - n :], strict=False):
                number = table.find_one(number, token)
            table = self._tables[n]
            if number >= 0 and table.totals[number]:
                break
        begin, end = table.begins[number : number + 2]
        return int(table.keys[begin + table.counts[begin:end].argmax()] % table.base)

    def _end(self, context: np.ndarray) -> np.ndarray:
        """What is used of a context: no table looks further back than the last one's."""
        return context[max(0, len(context) - len(self._tables) + 1) :]

    def _probabilities(self, ids: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Probabilities (T,) of targets (T,): the last one's context is ids, each other's one less.

        Longer and longer ends of the contexts are looked up, all of one length at once.
        """
        D, p = self.config.discount, np.full(len(targets), 1 / self.config.vocab_size)
        ends = np.arange(len(ids) - len(targets), len(ids)) + 1  # of the contexts
        for n, (table, numbers) in enumerate(zip(self._tables, self._numbers(ids), strict=False)):
            [known] = (ends >= n).nonzero()
            contexts = numbers[ends[known] - n]
            followed = (contexts >= 0) & (table.totals[contexts] > 0)
            known, contexts = known[followed], contexts[followed]
            totals = table.totals[contexts]
            p[known] *= D * (table.begins[contexts + 1] - table.begins[contexts]) / totals
            grams = table.find(contexts, targets[known])
            p[known] += np.where(grams < 0, 0, (table.counts[grams] - D).clip(min=0)) / totals
        return p

    def _numbers(self, ids: np.ndarray) -> Iterator[np.ndarray]:
        """The numbers of all sequences of 0, 1, 2 … tokens; −1 where the text had it not."""
        numbers = np.zeros(len(ids) + 1, dtype=np.int64)
        yield numbers
        for n, table in enumerate(self._tables[: len(ids)], start=1):
            numbers = table.find(numbers[: len(ids) - n + 1], ids[n - 1 :])
            yield numbers

    def new_cache(self) -> None:
        """There is nothing to keep between tokens."""

    def forward(self, idx: Tensor) -> Tensor:
        """Log-probabilities of the next token at every position: ids (B, T) → (B, T, V)."""
        rows = [
            torch.stack([self._after(row[: t + 1]) for t in range(len(row))])
            for row in _rows("idx", idx)
        ]
        return torch.stack(rows)

    def next_logits(self, idx: Tensor) -> Tensor:
        """Log-probabilities after the last position only: ids (B, T) → (B, V)."""
        return torch.stack([self._after(row) for row in _rows("idx", idx)])

    def _after(self, context: np.ndarray) -> Tensor:
        """Log-probabilities (V,) of the token after a context."""
        return self._distribution(self._end(context)).log().float()

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats per token; ids and targets (B, T), of any length.

        Targets of −100 do not count; if none counts, the loss is 0, as a GPT's.
        Raises `ValueError` for a label smoothing, or something else than ids and their targets.
        """
        if label_smoothing:
            raise ValueError("A table of counts is not trained, so it has no label smoothing.")
        if isinstance(targets, Tensor):
            counted, targets = targets != IGNORED, targets.masked_fill(targets == IGNORED, 0)
        ids, following = _rows("idx", idx), _rows("targets", targets)
        if ids.shape != following.shape:
            raise ValueError(
                f"idx has the shape {ids.shape}, but targets has {following.shape}; give one "
                "target for each id."
            )
        rows = zip(ids, following, strict=True)
        p = np.concatenate([self._probabilities(row, wanted) for row, wanted in rows])
        losses = -np.log(p[counted.flatten().numpy()])
        return torch.tensor(losses.mean() if len(losses) else 0.0).float()


def choose_ngram(
    train: Tensor,
    val: Tensor,
    vocab_size: int,
    orders: Sequence[int] = ORDERS,
    discounts: Sequence[float] = DISCOUNTS,
) -> NGram:
    """The counting model of `train` whose order and discount do best on the text `val`."""
    val = torch.from_numpy(id_array("val", val))
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


def _rows(name: str, ids: Any) -> np.ndarray:
    """Token ids (B, T) as an array. Raises `ValueError` for something else."""
    if not isinstance(ids, Tensor) or ids.dim() != 2 or not len(ids) or not are_ids(ids.flatten()):
        raise ValueError(f"{name} is {shown(ids)}; it must be a 2-D int64 tensor of token ids.")
    return ids.numpy()


def _count(ids: np.ndarray, order: int) -> list[_Table]:
    """For contexts of 0, 1, … order − 1 tokens: what followed them.

    The longest contexts count how often; shorter ones count after how many different tokens, so
    that a token which follows only one other is not thought common (Kneser and Ney's idea).
    """
    base, n_contexts = int(ids.max()) + 1, 1
    numbers = np.zeros(len(ids) + 1, dtype=np.int64)  # of what begins at each place
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for n in range(1, order + 1):
        shorter = numbers
        keys, firsts, numbers, counts = np.unique(
            shorter[: len(ids) - n + 1] * base + ids[n - 1 :],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        if found:  # each of these was preceded by another token, or the same after another
            before = np.bincount(shorter[firsts + 1], minlength=len(found[-1][0]))
            before[shorter[0]] += 1  # the text's first tokens are preceded by nothing
            found[-1] = found[-1][0], before
        found.append((keys, counts))
    tables = []
    for keys, counts in found:
        begins = keys.searchsorted(np.arange(n_contexts + 1) * base)
        totals = np.diff(np.concatenate([[0], counts.cumsum()])[begins])
        tables.append(_Table(base, keys, counts, begins, totals))
        n_contexts = len(keys)
    return tables
