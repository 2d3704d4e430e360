"""Speculative decoding: a quick drafter guesses some tokens, and the model reads them all at once.

To write a token a model reads all of its weights; to read five tokens it reads them once, too. So
a drafter that is often right saves time, and one that is always wrong costs some, but never changes
the text. The drafter here counts: an n-gram of the training text.

The rule by which a draft is kept is that of Leviathan et al. 2023 ("Fast Inference from
Transformers via Speculative Decoding") and Chen et al. 2023, for a drafter without doubts. It gives
its guess x the probability q(x) = 1, so x is kept with the probability min(1, p(x) / q(x)) = p(x);
otherwise a token is drawn from what p has more than q, which is p without x. Drawing one token from
p and comparing it with x does both. It also takes the same random numbers as drawing without a
drafter, so not only the distribution is the same, but the text. A drafter that drew its guesses
would be right more often where the model itself is in doubt, and less often in greedy text.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from slmlab.engine.decoding import MAX_NEW_TOKENS, Decoding, sample_token
from slmlab.engine.evaluation import continuable, evaluating
from slmlab.engine.generation import next_logits
from slmlab.engine.model import GPT, KVCache
from slmlab.engine.ngram import NGram
from slmlab.validation import instance, whole_number

MOST_DRAFTED = 100  # tokens at once; few drafts are right for so long
DRAFTER = "lab.NGram(lab.NGramConfig(tokenizer.n_vocab), dataset.train)"


class Speculation(NamedTuple):
    """A text that was written with a drafter, and what the drafter was good for."""

    ids: tuple[int, ...]  # the new tokens
    from_draft: tuple[bool, ...]  # of each: the drafter guessed it, before the model read it
    drafted: int  # tokens that the drafter guessed
    judged: int  # of them, up to the first wrong one of each draft; those behind it are dropped
    calls: int  # of the model

    @property
    def accepted(self) -> int:
        """Drafted tokens that are in the text."""
        return sum(self.from_draft)

    @property
    def acceptance(self) -> float:
        """Share of the judged tokens that were accepted; NaN if none was judged."""
        return self.accepted / self.judged if self.judged else math.nan


def speculative(
    model: GPT,
    drafter: NGram,
    ids: Sequence[int],
    max_new_tokens: int,
    decoding: Decoding = Decoding(),
    *,
    draft: int = 4,
) -> Speculation:
    """Continue `ids` by `max_new_tokens` tokens: those of `generate_tokens`, with fewer calls.

    In each call the model reads up to `draft` tokens that the drafter guessed, keeps those that it
    would have drawn itself, and adds one of its own. The first call reads the prompt. Once the text
    fills the model's context, every position shifts with each new token and nothing that was read
    before is of use; from there on, the model writes one token a call without the drafter.

    The text is that of `generate_tokens` but for rounding: a product of several rows may differ in
    the last bit from that of one. As there, `stop` is left to who knows the tokens' text.

    Raises:
        ValueError: for a decoding with `beams`, `contrast` or `python`; for a drafter that is no
            `NGram`, or has more tokens than the model; as `generate_tokens` does for ids.
    """
    instance("decoding", decoding, Decoding)
    for option, off in {"beams": None, "contrast": None, "python": False}.items():
        if getattr(decoding, option) != off:
            raise ValueError(
                f"A drafter speeds up tokens that are drawn one by one; set {option} to {off}."
            )
    instance("model", model, GPT)
    instance("drafter", drafter, NGram, DRAFTER)
    if drafter.config.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"The drafter knows {drafter.config.vocab_size:,} tokens, but the model has only "
            f"{model.config.vocab_size:,}; count a text in the tokens of the model."
        )
    text = continuable(model, ids)
    count = whole_number("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    draft = whole_number("draft", draft, 1, MOST_DRAFTED)
    generator = torch.Generator().manual_seed(decoding.seed)
    cache = model.new_cache()
    from_draft: list[bool] = []
    drafted = judged = calls = 0
    with evaluating(model), torch.inference_mode():
        while (missing := count - len(from_draft)) > 0:
            room = min(draft, missing - 1, model.config.block_size - len(text)) if calls else 0
            guesses = guessed(drafter, text, room)
            logits = _read(model, text, guesses, cache)
            new = kept(logits, text, guesses, decoding, generator)
            text += new
            from_draft += [True] * (len(new) - 1) + [False]
            drafted += len(guesses)
            judged += min(len(new), len(guesses))
            calls += 1
    return Speculation(tuple(text[-count:]), tuple(from_draft), drafted, judged, calls)


def guessed(drafter: NGram, text: Sequence[int], n: int) -> list[int]:
    """The drafter's guess of the n tokens after `text`; none if n is not positive."""
    seen, new = text[-drafter.config.order :], list[int]()
    for _ in range(n):
        new.append(drafter.guess([*seen, *new]))
    return new


def kept(
    logits: Tensor,
    text: Sequence[int],
    guesses: Sequence[int],
    decoding: Decoding,
    generator: torch.Generator,
) -> list[int]:
    """The right guesses up to the first wrong one, and a token of the model's own behind them.

    Logits (guesses + 1, V) are those after `text`, and after each of the guesses as well. The wrong
    guess is replaced by the token that was drawn in its place; behind all the right ones comes one
    that nobody guessed.
    """
    new: list[int] = []
    for row, guess in zip(logits, [*guesses, None], strict=True):
        new.append(sample_token(row, [*text, *new], decoding, generator))
        if new[-1] != guess:
            break
    return new


def _read(model: GPT, text: Sequence[int], guesses: Sequence[int], cache: list[KVCache]) -> Tensor:
    """Logits (guesses + 1, V) after `text`, and after each of the guesses, in one call."""
    if not guesses:
        return next_logits(model, text, cache)[None]
    for layer in cache:
        layer.length = len(text) - 1  # wrong guesses of the draft before are forgotten
    return model(torch.tensor([[text[-1], *guesses]], device=model.device), cache)[0]
