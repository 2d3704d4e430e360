"""Passages of one text that stand in another, token for token, among millions of tokens.

A passage is looked up by a number of 64 bits, made of numbers drawn at random: equal passages have
equal ones. Whatever seems to be found is compared token by token, so that results are exact; where
two numbers are equal by chance, all is done again with others.
"""

import secrets
from collections.abc import Iterator

import numpy as np

PART = 1 << 18  # passages of the other text that are looked at at once
FIRST_BITS = 20  # of a number at most, by which most passages are passed over


def known_passages(texts: list[np.ndarray], source: np.ndarray, n: int) -> list[np.ndarray]:
    """For each text (N,), which of its n-token passages stand in the source: bool (N − n + 1,).

    A text of fewer tokens has none: (0,). Ids are whole numbers of at least 0.
    """
    while True:
        numbers = _Numbers()
        wanted = [numbers.of(text, n) for text in texts]
        distinct, of_each = np.unique(np.concatenate([*wanted, _NONE]), return_inverse=True)
        places = np.full(len(distinct), -1)
        for which, where in _shared(distinct, numbers.parts(source, n)):
            places[which] = where
        each = np.split(places[of_each], np.cumsum([len(passages) for passages in wanted])[:-1])
        pairs = list(zip(texts, each, strict=False))  # of no texts, split makes one
        if all(_equal(text, source, place, n) for text, place in pairs):
            return [place >= 0 for _, place in pairs]


def longest_passage(text: np.ndarray, source: np.ndarray) -> int:
    """How many tokens the longest passage of the text has that stands in the source."""
    while True:
        length, start, place = _likely_longest(text, source, _Numbers())
        if (text[start : start + length] == source[place : place + length]).all():
            return length


_NONE = np.zeros(0, np.uint64)


class _Numbers:
    """The numbers of passages: by factors of their own, so that nobody can foresee them."""

    def __init__(self) -> None:
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(3)]

    def of(self, ids: np.ndarray, n: int) -> np.ndarray:
        """The numbers of all n-token passages, (N − n + 1,)."""
        if n > len(ids):
            return _NONE
        numbers, length = self.longer(ids.astype(np.uint64), 0), 1
        while length < n:
            more = min(length, n - length)
            numbers, length = self.longer(numbers, more), length + more
        return numbers

    def longer(self, numbers: np.ndarray, more: int) -> np.ndarray:
        """Of passages that are longer by `more`, at most twice as long: two each, one further on.

        The two overlap where it is less than twice.
        """
        first, second = numbers[: max(0, len(numbers) - more)], numbers[more:]
        made = first * self._factors[0]
        made ^= made >> np.uint64(29)
        made += second * self._factors[1]
        made ^= made >> np.uint64(32)
        made *= self._factors[2]
        return made

    def parts(self, ids: np.ndarray, n: int) -> Iterator[np.ndarray]:
        """As `of`, part by part, which takes little memory."""
        for start in range(0, len(ids) - n + 1, PART):
            yield self.of(ids[start : start + PART + n - 1], n)

    def longer_parts(self, numbers: np.ndarray, more: int) -> Iterator[np.ndarray]:
        """As `longer`, part by part."""
        for start in range(0, len(numbers) - more, PART):
            yield self.longer(numbers[start : start + PART + more], more)


def _likely_longest(
    text: np.ndarray, source: np.ndarray, numbers: _Numbers
) -> tuple[int, int, int]:
    """The length of the longest passage, or more by chance; where in the text and the source."""
    mine, theirs = numbers.of(text, 1), numbers.of(source, 1)

    def common(more: int) -> tuple[int, int] | None:
        distinct, starts = np.unique(numbers.longer(mine, more), return_index=True)
        for which, where in _shared(distinct, numbers.longer_parts(theirs, more)):
            return int(starts[which[0]]), int(where[0])
        return None

    length, at = 1, common(0)
    if at is None:
        return 0, 0, 0
    while (found := common(length)) is not None:  # twice as long
        mine, theirs = numbers.longer(mine, length), numbers.longer(theirs, length)
        length, at = 2 * length, found
    least, most = 0, length - 1  # tokens more
    while least < most:
        more = (least + most + 1) // 2
        if (found := common(more)) is None:
            most = more - 1
        else:
            least, at = more, found
    return length + least, *at


def _shared(
    distinct: np.ndarray, parts: Iterator[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where numbers, in order, stand in the parts: their indices, and places in all parts."""
    if not len(distinct):
        return
    bits = min(FIRST_BITS, len(distinct).bit_length() + 6)  # one place in 64 is taken, or fewer
    shift = np.uint64(64 - bits)
    begins = np.zeros(1 << bits, bool)
    begins[distinct >> shift] = True
    passed = 0
    for part in parts:
        [likely] = begins[part >> shift].nonzero()
        which = distinct.searchsorted(part[likely]).clip(max=len(distinct) - 1)
        same = distinct[which] == part[likely]
        if same.any():
            yield which[same], passed + likely[same]
        passed += len(part)


def _equal(text: np.ndarray, source: np.ndarray, places: np.ndarray, n: int) -> bool:
    """Whether the passages of a text are those at places in the source (−1: at none)."""
    [starts] = (places >= 0).nonzero()
    places = places[starts]
    return not len(starts) or all((text[starts + i] == source[places + i]).all() for i in range(n))
