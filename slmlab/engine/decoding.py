"""How the next token is chosen from a model's logits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.text.tokenizer import LARGEST_VOCABULARY, checked_ids
from slmlab.validation import instance, real_number, shown, whole_number

# Below this a float32 tells no difference any more: all but the likeliest token have probability 0.
SMALLEST_TEMPERATURE = 1e-30


@dataclass(frozen=True)
class Decoding:
    """How text is drawn from a model: every option in one value, which checks itself.

    Attributes:
        temperature: 0 is greedy: always the likeliest token. Otherwise a token is drawn from
            softmax(logits / temperature), after the filters below.
        top_k: keep the k likeliest tokens only; None keeps all.
        top_p: keep the likeliest tokens that together reach this probability (nucleus sampling,
            Holtzman et al. 2020); None keeps all.
        repetition_penalty: above 1 makes tokens that already occur less likely (CTRL, Keskar et
            al. 2019).
        seed: of the random draws; the same seed gives the same text.
        stop: strings before which a text ends.

    Raises:
        ValueError: if a value is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._set("temperature", real_number("temperature", self.temperature, least=0))
        if self.top_k is not None:
            self._set("top_k", whole_number("top_k", self.top_k, 1, LARGEST_VOCABULARY))
        if self.top_p is not None:
            self._set("top_p", real_number("top_p", self.top_p, above=0, most=1))
        penalty = real_number("repetition_penalty", self.repetition_penalty, above=0)
        self._set("repetition_penalty", penalty)
        self._set("seed", whole_number("seed", self.seed, most=2**63 - 1))
        if not isinstance(self.stop, list | tuple) or not all(
            isinstance(s, str) and s for s in self.stop
        ):
            raise ValueError(
                f"stop is {shown(self.stop)}; it must be a list of strings that are not empty, "
                'such as ["\\n\\n"].'
            )
        self._set("stop", tuple(self.stop))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the class is frozen


def sample_token(
    logits: Tensor, ids: Sequence[int], decoding: Decoding, generator: torch.Generator
) -> int:
    """The id of the next token, drawn from `next_distribution`."""
    p = next_distribution(logits, ids, decoding)
    if decoding.temperature == 0:
        return int(p.argmax())
    return int(torch.multinomial(p.float().cpu(), 1, generator=generator))


def next_distribution(
    logits: Tensor, ids: Sequence[int], decoding: Decoding = Decoding()
) -> Tensor:
    """Probabilities of the next token, (V,), from logits (V,) and the ids so far.

    In this order: the repetition penalty, the temperature, top-k, top-p.
    Raises `ValueError` for other logits, where they leave no distribution, and, if there is a
    repetition penalty, for something else than ids that have a logit.
    """
    instance("decoding", decoding, Decoding)
    right = isinstance(logits, Tensor) and logits.dim() == 1 and logits.is_floating_point()
    if not right or not len(logits) or logits.is_meta or logits.layout != torch.strided:
        raise ValueError(
            f"logits is {shown(logits)}; it must be a 1-D tensor with a number for each token."
        )
    logits = penalise(logits, ids, decoding.repetition_penalty)
    if decoding.temperature == 0:
        return F.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
    # Softmax does not change when a constant is added; so no quotient is too large.
    logits = (logits - logits.max()) / max(decoding.temperature, SMALLEST_TEMPERATURE)
    if decoding.top_k is not None and decoding.top_k < len(logits):
        kept = logits.topk(decoding.top_k).indices
        logits = torch.full_like(logits, -torch.inf).index_put((kept,), logits[kept])
    p = logits.softmax(0)
    if decoding.top_p is not None and decoding.top_p < 1:
        ordered, index = p.sort(descending=True)
        before = ordered.cumsum(0) - ordered  # probability of the tokens likelier than each
        left_out = before >= decoding.top_p
        left_out[0] = False  # the likeliest stays, however small top_p is
        rest = ordered.masked_fill(left_out, 0.0)
        p = torch.zeros_like(p).index_put((index,), rest)
        p = p / p.sum()
    if not p.isfinite().all():
        raise ValueError(
            "No token can be drawn, because the model's logits, or what the repetition penalty of "
            f"{decoding.repetition_penalty:g} makes of them, are not finite numbers; use other "
            "weights, or a penalty near 1."
        )
    return p


def filter_stages(logits: Tensor, ids: Sequence[int], decoding: Decoding) -> dict[str, Tensor]:
    """What each filter of `next_distribution` does: the probabilities (V,) after one more each.

    The first is the model's own distribution, the last is `next_distribution` with all options.
    """
    stage = Decoding()
    stages = {"model": next_distribution(logits, ids, stage)}
    for name, option in {
        "penalty": "repetition_penalty",
        "temperature": "temperature",
        "top-k": "top_k",
        "top-p": "top_p",
    }.items():
        stage = replace(stage, **{option: getattr(decoding, option)})
        stages[name] = next_distribution(logits, ids, stage)
    return stages


def penalise(logits: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """Make tokens that already occur in `ids` less likely (CTRL, Keskar et al. 2019)."""
    if penalty == 1.0:
        return logits
    distinct = sorted(set(checked_ids(ids, len(logits))))
    seen = torch.tensor(distinct, dtype=torch.long, device=logits.device)
    values = logits[seen]
    return logits.index_put((seen,), torch.where(values > 0, values / penalty, values * penalty))
