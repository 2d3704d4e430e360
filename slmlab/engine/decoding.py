"""How the next token is chosen from a model's logits."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.text.dataset import ngrams
from slmlab.text.tokenizer import LARGEST_VOCABULARY, checked_ids
from slmlab.validation import instance, real_number, shown, truth_values, whole_number

# Below this a float32 tells no difference any more: all but the likeliest token have probability 0.
SMALLEST_TEMPERATURE = 1e-30
MAX_NEW_TOKENS = 1_000_000  # hours of computing; whoever wants more can go on from there
MOST_NORMALISED = 10  # a power of the length; none is used above 2, and large ones overflow
MOST = {  # of the options that are whole numbers, if they are given
    "top_k": LARGEST_VOCABULARY,
    "no_repeat_ngram": MAX_NEW_TOKENS,
    "beams": 100,  # each has a cache, and logits, of its own
}
STAGES = {  # the filters in the order in which they act: a short name, and the option of each
    "penalty": "repetition_penalty",
    "presence": "presence_penalty",
    "frequency": "frequency_penalty",
    "no repeats": "no_repeat_ngram",
    "temperature": "temperature",
    "top-k": "top_k",
    "top-p": "top_p",
    "min-p": "min_p",
    "typical": "typical_p",
}


@dataclass(frozen=True)
class Decoding:
    """How text is drawn from a model: every option in one value, which checks itself.

    A token is drawn from what the filters leave of the model's distribution. They act in this
    order, which is Hugging Face's: `repetition_penalty`, `presence_penalty`, `frequency_penalty`,
    `no_repeat_ngram`, `temperature`, `top_k`, `top_p`, `min_p`, `typical_p`. `beams` and `contrast`
    draw nothing: of the filters before, they use those up to `no_repeat_ngram`.

    Attributes:
        temperature: 0 is greedy: always the likeliest token. Otherwise a token is drawn from
            softmax(logits / temperature), after the filters.
        top_k: keep the k likeliest tokens only; None keeps all.
        top_p: keep the likeliest tokens that together reach this probability (nucleus sampling,
            Holtzman et al. 2020); None keeps all.
        repetition_penalty: above 1 makes tokens that already occur less likely (CTRL, Keskar et
            al. 2019).
        seed: of the random draws; the same seed gives the same text.
        stop: strings before which a text ends.
        min_p: keep the tokens at least this many times as likely as the likeliest (Nguyen et al.
            2024); None keeps all.
        typical_p: keep the tokens whose surprise is nearest to the entropy, until they reach this
            probability together (Meister et al. 2022); None keeps all.
        presence_penalty: subtracted from the logit of each token that already occurs.
        frequency_penalty: subtracted from a token's logit for each time that it occurs.
        no_repeat_ngram: no sequence of so many tokens comes twice; None allows it. This and the
            penalties count the prompt too.
        beams: keep so many texts at once, and choose the best (`beam_search`); None draws one.
        length_normalisation: with `beams`, texts of different lengths are compared by their
            log-probability divided by length to this power, at most 10; 0 favours short ones, 1 is
            the mean per token. Hugging Face calls it `length_penalty`.
        contrast: weight, from 0 to 1, of being unlike the text so far when the best of the `top_k`
            likeliest tokens is chosen (contrastive search, Su et al. 2022); None draws.
        python: only tokens after which the text can still become Python (`can_become_python`).

    Raises:
        ValueError: if a value is out of range, for two of `beams`, `contrast` and `python`, for
            `contrast` without `top_k`, or another `length_normalisation` than 1 without `beams`.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    min_p: float | None = None
    typical_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram: int | None = None
    beams: int | None = None
    length_normalisation: float = 1.0
    contrast: float | None = None
    python: bool = False

    def __post_init__(self) -> None:
        self._set("temperature", real_number("temperature", self.temperature, least=0))
        for name, most in MOST.items():
            if (value := getattr(self, name)) is not None:
                self._set(name, whole_number(name, value, 1, most))
        for name in ("top_p", "typical_p"):
            if (value := getattr(self, name)) is not None:
                self._set(name, real_number(name, value, above=0, most=1))
        if self.min_p is not None:
            self._set("min_p", real_number("min_p", self.min_p, above=0, below=1))
        if self.contrast is not None:
            self._set("contrast", real_number("contrast", self.contrast, least=0, most=1))
        penalty = real_number("repetition_penalty", self.repetition_penalty, above=0)
        self._set("repetition_penalty", penalty)
        for name in ("presence_penalty", "frequency_penalty"):
            self._set(name, real_number(name, getattr(self, name)))
        power = self.length_normalisation
        power = real_number("length_normalisation", power, least=0, most=MOST_NORMALISED)
        self._set("length_normalisation", power)
        self._set("seed", whole_number("seed", self.seed, most=2**63 - 1))
        truth_values(python=self.python)
        if not isinstance(self.stop, list | tuple) or not all(
            isinstance(s, str) and s for s in self.stop
        ):
            raise ValueError(
                f"stop is {shown(self.stop)}; it must be a list of strings that are not empty, "
                'such as ["\\n\\n"].'
            )
        self._set("stop", tuple(self.stop))
        if (self.beams is not None) + (self.contrast is not None) + self.python > 1:
            raise ValueError("beams, contrast and python exclude each other; set only one of them.")
        if self.contrast is not None and self.top_k is None:
            raise ValueError("contrast chooses among the top_k likeliest tokens; set top_k too.")
        if self.beams is None and power != 1:
            raise ValueError("length_normalisation compares the texts of beams; set beams too.")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the class is frozen


def sample_token(
    logits: Tensor, ids: Sequence[int], decoding: Decoding, generator: torch.Generator
) -> int:
    """The id of the next token, drawn from `next_distribution`; `ValueError` as there."""
    instance("decoding", decoding, Decoding)
    if decoding.temperature == 0:  # the likeliest is found without the others' probabilities
        return _likeliest(adjusted(logits, ids, decoding))
    p = next_distribution(logits, ids, decoding)
    return int(torch.multinomial(p.float().cpu(), 1, generator=generator))


def next_distribution(
    logits: Tensor, ids: Sequence[int], decoding: Decoding = Decoding()
) -> Tensor:
    """Probabilities of the next token, (V,), from logits (V,) and the ids so far.

    `Decoding` gives the order of the filters. Where logits are equal, `top_k` keeps exactly k.
    Raises `ValueError` for other logits, where the filters leave no token, and, if a filter looks
    at the text so far, for something else than ids that have a logit.
    """
    instance("decoding", decoding, Decoding)
    _require_logits(logits)
    logits = adjusted(logits, ids, decoding)
    if decoding.temperature == 0:
        return F.one_hot(torch.tensor(_likeliest(logits)), len(logits)).to(logits)
    # Softmax does not change when a constant is added; so no quotient is too large.
    logits = (logits - logits.max()) / max(decoding.temperature, SMALLEST_TEMPERATURE)
    if decoding.top_k is not None and decoding.top_k < len(logits):
        kept = logits.topk(decoding.top_k).indices
        logits = torch.full_like(logits, -torch.inf).index_put((kept,), logits[kept])
    p = logits.softmax(0)
    for option, kept_by in FILTERS.items():
        threshold = getattr(decoding, option)
        if threshold is not None and threshold < 1:
            p = p.masked_fill(~kept_by(p, threshold), 0.0)
            p = p / p.sum()
    require_finite(p.sum())
    return p


def _require_logits(logits: Tensor) -> None:
    """Raise `ValueError` for something else than a number for each token."""
    right = isinstance(logits, Tensor) and logits.dim() == 1 and logits.is_floating_point()
    if not right or not len(logits) or logits.is_meta or logits.layout != torch.strided:
        raise ValueError(
            f"logits is {shown(logits)}; it must be a 1-D tensor with a number for each token."
        )


def require_finite(number: Tensor | float) -> None:
    """Raise `ValueError` for what shows that no token can be drawn: infinity, or NaN.

    The largest of some logits shows it of all: it is NaN if one of them is, infinite if one of them
    is, and −∞ if every token is impossible. So does a sum of probabilities.
    """
    if not math.isfinite(number):
        raise ValueError(
            "No token can be drawn, because the model's logits, or what the penalties make of "
            "them, are not finite numbers; use other weights, or weaker penalties."
        )


def _likeliest(logits: Tensor) -> int:
    """The id of the likeliest token. Raises `ValueError` if no token can be drawn."""
    token = int(logits.argmax())
    require_finite(logits[token])
    return token


def filter_stages(logits: Tensor, ids: Sequence[int], decoding: Decoding) -> dict[str, Tensor]:
    """What each filter of `next_distribution` does: the probabilities (V,) after one more each.

    The first is the model's own distribution, the last is `next_distribution` with all options.
    Filters that are off are left out; `STAGES` has the names of the others. Raises `ValueError` as
    `next_distribution` does.
    """
    instance("decoding", decoding, Decoding)
    stage = Decoding()
    stages = {"model": next_distribution(logits, ids, stage)}
    for name, option in STAGES.items():
        value = getattr(decoding, option)
        keeps_all = option in FILTERS and value == 1
        if value != getattr(stage, option) and not keeps_all:
            stage = replace(stage, **{option: value})
            stages[name] = next_distribution(logits, ids, stage)
    return stages


def adjusted(logits: Tensor, ids: Sequence[int], decoding: Decoding) -> Tensor:
    """Logits (V,) after the filters that look at the text so far, before any is drawn.

    Raises `ValueError` for other logits or ids, as do the three filters.
    """
    instance("decoding", decoding, Decoding)
    logits = penalise(logits, ids, decoding.repetition_penalty)
    logits = subtract(logits, ids, decoding.presence_penalty, decoding.frequency_penalty)
    return without_repeats(logits, ids, decoding.no_repeat_ngram)


def penalise(logits: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """Make tokens that already occur in `ids` less likely (CTRL, Keskar et al. 2019).

    What it does depends on where the logits have their zero, though softmax does not.
    """
    _require_logits(logits)
    if real_number("penalty", penalty, above=0) == 1.0:
        return logits
    distinct = sorted(set(checked_ids(ids, len(logits))))
    seen = torch.tensor(distinct, dtype=torch.long, device=logits.device)
    values = logits[seen]
    return logits.index_put((seen,), torch.where(values > 0, values / penalty, values * penalty))


def subtract(logits: Tensor, ids: Sequence[int], presence: float, frequency: float) -> Tensor:
    """Logits less `presence` for each token of `ids`, and `frequency` for each time it occurs.

    It gives the same probabilities wherever the logits have their zero.
    """
    _require_logits(logits)
    presence, frequency = real_number("presence", presence), real_number("frequency", frequency)
    if presence == frequency == 0:
        return logits
    seen = torch.tensor(checked_ids(ids, len(logits)), dtype=torch.long)
    counts = seen.bincount(minlength=len(logits)).to(logits)
    return logits - presence * (counts > 0) - frequency * counts


def without_repeats(logits: Tensor, ids: Sequence[int], n: int | None) -> Tensor:
    """Logits, −∞ for each token that would complete a sequence of n that `ids` already has.

    Raises `ValueError` if that leaves no token.
    """
    _require_logits(logits)
    if n is None:
        return logits
    n = whole_number("n", n, 1)
    ids = checked_ids(ids, len(logits))
    last = tuple(ids[len(ids) - n + 1 :])
    repeating = {gram[-1] for gram in ngrams(ids, n) if gram[:-1] == last}
    banned = torch.tensor(sorted(repeating), dtype=torch.long, device=logits.device)
    logits = logits.index_fill(0, banned, -torch.inf)
    if logits.isneginf().all():
        raise ValueError(
            f"Every token would repeat a sequence of {n:,}; use a larger no_repeat_ngram."
        )
    return logits


def _nucleus(p: Tensor, mass: float) -> Tensor:
    """Which tokens are the likeliest that together reach a probability; (V,)."""
    return _reaching(p, p.argsort(descending=True), mass)


def _near_likeliest(p: Tensor, share: float) -> Tensor:
    """Which tokens have at least a share of the likeliest token's probability; (V,)."""
    return p >= share * p.max()


def _typical(p: Tensor, mass: float) -> Tensor:
    """Which tokens, the nearest to the entropy by their surprise −log p first, reach a mass."""
    entropy = torch.special.entr(p).sum()
    return _reaching(p, (-p.log() - entropy).abs().argsort(), mass)


def _reaching(p: Tensor, order: Tensor, mass: float) -> Tensor:
    """Which tokens, taken in this order, are needed to reach a probability `mass`; (V,)."""
    ordered = p[order]
    before = ordered.cumsum(0) - ordered  # probability of the tokens that come before each
    needed = before < mass
    needed[0] = True  # however small the mass is
    return torch.zeros_like(needed).index_put((order,), needed)


# What each option keeps of the probabilities, in the order in which they act.
FILTERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "top_p": _nucleus,
    "min_p": _near_likeliest,
    "typical_p": _typical,
}
