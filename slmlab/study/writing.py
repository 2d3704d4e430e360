"""What a model writes by a decoding: each token's probability, and what else could follow."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from slmlab.engine.beams import BeamSearch, beam_search
from slmlab.engine.decoding import MAX_NEW_TOKENS, Decoding, next_distribution
from slmlab.engine.evaluation import continuable
from slmlab.engine.generation import continuation, decoded
from slmlab.engine.python_prefix import can_become_python
from slmlab.engine.runs import Run
from slmlab.study.continuations import generated_logits
from slmlab.study.domain import domain_names
from slmlab.study.memorisation import copy_rate
from slmlab.study.samples import names_used, parses, repetition_rate
from slmlab.text.dataset import listed_ids
from slmlab.validation import instance, listed, whole_number


class Alternative(NamedTuple):
    """A token that could stand at some place of a text."""

    token: int
    own: float  # its probability to the model itself
    final: float | None  # after the filters; None where a decoding draws nothing
    allowed: bool  # False if the text must stay Python, which this token ends


class Written:
    """A text that a model wrote after a prompt. `write` makes one.

    Attributes:
        run: the run whose model wrote it.
        prompt: the ids before it.
        ids: the ids of the new tokens, those included that were given.
        decoding: how they were chosen.
        logits: of every token at each of their places, (n, V).
        search: what a beam search found on the way; None of another decoding.
    """

    def __init__(
        self,
        run: Run,
        prompt: list[int],
        ids: list[int],
        decoding: Decoding,
        search: BeamSearch | None = None,
    ) -> None:
        self.run, self.prompt, self.ids = run, prompt, ids
        self.decoding, self.search = decoding, search
        self.logits = logits_at_each(run, prompt, ids)

    @cached_property
    def own(self) -> list[float]:
        """The probability of each token to the model itself."""
        return self._each(self.logits.softmax(-1))

    @cached_property
    def final(self) -> list[float] | None:
        """The probability of each token after the filters, from which it was drawn.

        None for a beam search or contrastive search, which draw nothing. Where a text must stay
        Python, other tokens are struck out only after that.
        """
        if not draws(self.decoding):
            return None
        return self._each([self.distribution(place) for place in range(len(self.ids))])

    @cached_property
    def log_probability(self) -> float:
        """Of all new tokens to the model itself, in nats."""
        return math.fsum(self._each(self.logits.double().log_softmax(-1)))

    @property
    def text(self) -> str:
        """The new tokens as text."""
        return decoded(self.run.dataset.tokenizer, self.ids)

    def distribution(self, place: int) -> Tensor:
        """Probabilities after the filters, (V,), of the token at a place.

        Raises `ValueError` for a place that the text lacks.
        """
        place = whole_number("place", place, 0, len(self.ids) - 1)
        before = [*self.prompt, *self.ids[:place]]
        return next_distribution(self.logits[place], before, self.decoding)

    def alternatives(self, place: int, n: int = 8) -> list[Alternative]:
        """The n likeliest tokens at a place, before or after the filters, and the one there.

        They are in the model's order. Raises `ValueError` for a place that the text lacks, or a
        number below 1.
        """
        n = whole_number("n", n, 1)
        place = whole_number("place", place, 0, len(self.ids) - 1)
        own = self.logits[place].softmax(-1)
        final = self.distribution(place) if draws(self.decoding) else None
        # A filter can promote a token, so both count.
        likely = own if final is None else torch.maximum(own, final)
        found = {*likely.topk(min(n, len(likely))).indices.tolist(), self.ids[place]}
        return [
            Alternative(
                token,
                own[token].item(),
                None if final is None else final[token].item(),
                not self.decoding.python or self._stays_python(place, token),
            )
            for token in sorted(found, key=lambda token: (-own[token], token))
        ]

    def _stays_python(self, place: int, token: int) -> bool:
        ids = [*self.prompt, *self.ids[:place], token]
        return can_become_python(decoded(self.run.dataset.tokenizer, ids))

    def _each(self, table: Tensor | Sequence[Tensor]) -> list[float]:
        """What a row for each place has for the token there."""
        return [row[token].item() for row, token in zip(table, self.ids, strict=True)]


def draws(decoding: Decoding) -> bool:
    """Whether a decoding takes each token from `next_distribution`."""
    return decoding.beams is None and decoding.contrast is None


def write(
    run: Run,
    prompt: Sequence[int],
    n: int,
    decoding: Decoding = Decoding(),
    given: Sequence[int] = (),
) -> Written:
    """Let a run's model continue a prompt by n tokens, the first of which may be given.

    The text may be shorter, if the decoding ends it.

    Raises:
        ValueError: for a run without weights, an empty prompt, an id that the model has no row for,
            or a text that cannot become Python, if it is to.
    """
    instance("run", run, Run).require_weights()
    instance("decoding", decoding, Decoding)
    prompt, given = continuable(run.model, prompt), listed("given", given, "token ids")
    before = continuable(run.model, [*prompt, *given])
    left = whole_number("n", n, max(1, len(given)), MAX_NEW_TOKENS) - len(given)
    tokenizer, search, new = run.dataset.tokenizer, None, []
    with run.state.lock:  # another thread may be training this model
        if left and decoding.beams is not None:
            stops = decoding.stop

            def ended(new: list[int]) -> bool:
                text = decoded(tokenizer, new)
                return any(stop in text for stop in stops)

            search = beam_search(run.model, before, left, decoding, ended=ended if stops else None)
            new = list(search.beams[0].ids)
        elif left:
            new = continuation(run.model, tokenizer, before, left, decoding)[1]
        ids = [*before[len(prompt) :], *new]
        return Written(run, prompt, ids, decoding, search)


def logits_at_each(run: Run, prompt: Sequence[int], ids: Sequence[int]) -> Tensor:
    """Logits (n, V), on the CPU, of every token at the place of each of n ids after a prompt.

    See `generated_logits`. Raises `ValueError` for what is no run or no ids, or if a number is not
    finite.
    """
    instance("run", run, Run)
    prompt, ids = continuable(run.model, prompt), listed_ids("ids", ids)
    if not ids:
        return torch.empty(0, run.model.config.vocab_size)
    with run.state.lock:
        logits = generated_logits(run.model, [*prompt, *ids], len(prompt))
    if not logits.isfinite().all():
        raise ValueError("The model is damaged: it gives no finite numbers.")
    return logits


def marks(written: Written) -> dict[str, float]:
    """How good a text is and how much of it is copied: the numbers of `scorecard`, and its cost.

    `parses` is of the prompt and the text, and 1 or 0. The rest looks at the new tokens only;
    `nats per token` is what they cost the model itself. Domain names are left out where the run's
    text has none. Raises `ValueError` for something else than a `Written`.
    """
    instance("written", written, Written, "what write(run, prompt, 20) returns")
    run, text = written.run, written.text
    prompt = decoded(run.dataset.tokenizer, written.prompt)
    found = {
        "parses": float(parses(prompt + text)),
        "repetition": repetition_rate(written.ids),
        "copied": copy_rate(written.ids, run.dataset.train.tolist()),
        "domain names": names_used(text, domain_names(run.dataset)),
        "nats per token": -written.log_probability / len(written.ids) if written.ids else math.nan,
    }
    if not domain_names(run.dataset):
        del found["domain names"]
    return found
