"""What an exercise for 08 is about: a language model of twelve numbers, and its texts."""

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from slmlab.exercises.checking import Probe, filled_in, require
from slmlab.validation import shown

if TYPE_CHECKING:
    import pandas as pd

WORDS = ("one", "of", "and")
FIRST = "(start)"
NEXT = {  # of each token, or of the start, the probabilities of WORDS to come next
    FIRST: (0.40, 0.35, 0.25),
    "one": (0.34, 0.30, 0.36),
    "of": (0.46, 0.44, 0.10),
    "and": (0.06, 0.04, 0.90),
}
LENGTH = 3
TEXTS = list(product(WORDS, repeat=LENGTH))


def next_tokens() -> "pd.DataFrame":
    """The model as a table: a row for each token that may come before, a column for the next."""
    import pandas as pd

    table = pd.DataFrame.from_dict(NEXT, orient="index", columns=list(WORDS))
    return table.rename_axis("after")


def text_of(answer: Any, name: str) -> Any:
    """The text that is an answer, which may also be a list of words."""
    if isinstance(answer, Probe):
        return answer
    filled_in(answer, name)
    words = answer.replace(",", " ").split() if isinstance(answer, str) else answer
    is_list = isinstance(words, list | tuple)
    require(
        is_list and len(words) == LENGTH and all(word in WORDS for word in words),
        f'`{name}` is {shown(answer)}; it should be {LENGTH} words of the table, such as "of one '
        'one".',
    )
    return " ".join(words)


def probability(text: Sequence[str]) -> float:
    """The probability of a text, or of the beginning of one."""
    return math.prod(_factors(text))


def kept(n: int) -> list[list[tuple[str, ...]]]:
    """The n beams after one token, after two, after three: each time the likeliest, best first."""
    beams: list[tuple[str, ...]] = [()]
    after = []
    for _ in range(LENGTH):
        grown = [(*beam, token) for beam in beams for token in WORDS]
        beams = sorted(grown, key=probability, reverse=True)[:n]
        after.append(beams)
    return after


def not_greedy(text: Sequence[str]) -> str:
    """Where a text leaves the greedy one."""
    pairs = pairwise((FIRST, *text))
    greedy = {before: WORDS[p.index(max(p))] for before, p in NEXT.items()}
    before, token = next(pair for pair in pairs if greedy[pair[0]] != pair[1])
    return f"After {before} the likeliest token is “{greedy[before]}”, not “{token}”."


def not_beams(text: tuple[str, ...]) -> str:
    """Where two beams drop a text."""
    for length, beams in enumerate(kept(2)[:-1], 1):
        if text[:length] not in beams:
            best = " and ".join(f"“{' '.join(beam)}” ({probability(beam):.3f})" for beam in beams)
            return (
                f"After {length} token{'s' * (length > 1)} the two likeliest are kept, {best}. "
                f"“{' '.join(text[:length])}” ({probability(text[:length]):.3f}) is dropped for "
                "good: two beams are two in all, not two of each."
            )
    return f"That has {probability(text):.4f}. One of the two beams can become something likelier."


def not_likeliest(text: Sequence[str]) -> str:
    """That a text has a likelier one beside it."""
    return (
        f"That has {probability(text):.4f}, and another of the {len(TEXTS)} texts is likelier. Let "
        "Python multiply them all, or ask which token is likely after itself."
    )


def mistaken_products(text: Sequence[str], rel_tol: float) -> dict[float, str]:
    """Wrong probabilities of a text, without those that happen to be right."""
    factors = _factors(text)
    turned = [NEXT[token][WORDS.index(before)] for before, token in pairwise(text)]
    alone = [NEXT[FIRST][WORDS.index(token)] for token in text]
    found = {
        sum(factors): "You added the three probabilities. Multiply them.",
        sum(factors) / LENGTH: "That is the mean of the three probabilities. Multiply them.",
        math.prod(factors[1:]): "The first token has a probability as well, in the first row.",
        math.prod(factors[:2]): "That is the probability of the first two tokens. There are three.",
        factors[-1]: "That is the probability of the last token alone. Multiply all three.",
        math.log(math.prod(factors)): "That is the log of the probability. Give the probability.",
        factors[0] * math.prod(turned): "You read the table the wrong way round: the *row* is the "
        "token before.",
        math.prod(alone): "You took all three from the first row. Each token has the row of the "
        "one before.",
    }
    truth = probability(text)
    return {p: told for p, told in found.items() if not math.isclose(p, truth, rel_tol=rel_tol)}


def _factors(text: Sequence[str]) -> list[float]:
    """The probability of each token, after the one before it."""
    return [NEXT[before][WORDS.index(token)] for before, token in pairwise((FIRST, *text))]
