"""A text in three parts: to train on, to validate on, and a held-out one that chooses nothing."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import PurePath
from statistics import mean, median
from typing import NamedTuple

from slmlab.text.corpus import Corpus, Document

SHARE = 0.1  # of the text for validation, and as much held out
MAX_BYTES = 30_000  # of each: some 10,000 tokens, all of which every evaluation reads
TOLERANCE = 0.25  # by which a part of whole files may be larger or smaller
USUAL_KIND = 0.2  # of the text: rarer kinds of files (by their suffix) are trained on only
COPIED = 0.5  # of the lines of the shorter of two files, and at least
COPIED_LINES = 5  # which they share if one was made from the other
BOILERPLATE = 50  # files that share a line, which then tells nothing
BLOCKS = 5  # that make up a part, if files do not: several, so that no single passage decides
SEED = 0


class Parts(NamedTuple):
    """Three parts of a text that have no file in common, or no block of lines; `by` says which."""

    train: Corpus
    val: Corpus
    test: Corpus
    by: str


def split(corpus: Corpus) -> Parts:
    """Keep about a tenth of a text for validation and hold out as much, at most 30,000 bytes each.

    These are whole files of the usual kinds, drawn with a fixed seed, if some have the right size
    together; otherwise blocks of whole lines, spread over the text. Files that share half of their
    lines go to the same part. Where lines are divided, files that differ in white space only are
    used once. Raises `ValueError` for fewer than three lines.
    """
    return _by_files(corpus.documents) or _by_blocks(corpus.documents)


def _by_files(documents: Sequence[Document]) -> Parts | None:
    """Three parts of whole files, or None if no choice of files has the right size."""
    wanted = _wanted(documents)
    least, most = (1 - TOLERANCE) * wanted, (1 + TOLERANCE) * wanted
    families = _families(documents)
    sizes: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    for document, family in zip(documents, families, strict=True):
        sizes[family] += _n_bytes(document.entry)
        kinds[_kind(document)] += _n_bytes(document.entry)
    usual = [
        family
        for document, family in zip(documents, families, strict=True)
        if kinds[_kind(document)] >= USUAL_KIND * kinds.total()
        # A part that is mostly the same file over and over would ask one question.
        and (sizes[family] <= wanted / 2 or families.count(family) == 1)
    ]
    random.Random(SEED).shuffle(usual)
    part_of: dict[int, str] = {}
    filled: Counter[str] = Counter()
    for family in dict.fromkeys(usual):
        size = sizes[family]
        fits = (p for p in ("val", "test") if filled[p] < least and filled[p] + size <= most)
        part_of[family] = next(fits, "train")
        filled[part_of[family]] += size
    if min(filled["val"], filled["test"]) < least:
        return None
    parts: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    for document, family in zip(documents, families, strict=True):
        parts[part_of.get(family, "train")].append(document)
    train, val, test = (Corpus(tuple(part)) for part in parts.values())
    return Parts(train, val, test, by="files")


def _by_blocks(documents: Sequence[Document]) -> Parts:
    """Three parts of blocks of lines; the blocks that are kept apart lie evenly over the text."""
    first = {_plain(document): document for document in reversed(documents)}
    documents = list(reversed(first.values()))
    wanted = _wanted(documents)
    blocks: list[tuple[int, str]] = []
    for size in (wanted / BLOCKS / 2, 0):  # a text of a few lines is divided line by line
        blocks = [(i, block) for i, d in enumerate(documents) for block in _blocks(d.text, size)]
        if len(blocks) >= 3:
            break
    else:
        raise ValueError(
            f"The text has too few lines ({len(blocks)}); it needs at least 3 to train on, to "
            "validate on and to hold out, because no line is cut in two."
        )
    sizes = [_n_bytes(block) for _, block in blocks]
    largest = max(2 * wanted / BLOCKS, median(sizes))
    usual = [place for place, size in enumerate(sizes) if size <= largest]
    count = round(wanted / mean(sizes[place] for place in usual))
    count = max(1, min(count, BLOCKS, len(usual) // 3))
    chosen = [usual[int((i + 0.5) * len(usual) / (2 * count))] for i in range(2 * count)]
    part_of = dict.fromkeys(chosen[::2], "val") | dict.fromkeys(chosen[1::2], "test")
    texts = {part: dict.fromkeys(range(len(documents)), "") for part in ("train", "val", "test")}
    for place, (i, block) in enumerate(blocks):
        texts[part_of.get(place, "train")][i] += block
    train, val, test = (
        Corpus(tuple(Document(documents[i].name, text) for i, text in part.items() if text))
        for part in texts.values()
    )
    return Parts(train, val, test, by="blocks of lines")


def _families(documents: Sequence[Document]) -> list[int]:
    """For each document a number, the same for those of which one was made from another."""
    numbers = {text: i for i, text in enumerate(dict.fromkeys(map(_plain, documents)))}
    family = list(range(len(numbers)))  # of each text: the number of another of it, or its own

    def first(i: int) -> int:
        while family[i] != i:
            i = family[i]
        return i

    lines_of: dict[int, set[str]] = {}
    texts_with: defaultdict[str, list[int]] = defaultdict(list)
    for document in documents:
        i = numbers[_plain(document)]
        if i in lines_of:
            continue
        lines_of[i] = {line.strip() for line in document.text.split("\n") if line.strip()}
        rare = [texts_with[line] for line in lines_of[i] if len(texts_with[line]) < BOILERPLATE]
        for j, shared in Counter(chain.from_iterable(rare)).items():
            shorter = min(len(lines_of[i]), len(lines_of[j]))
            if shared >= max(COPIED * shorter, COPIED_LINES):
                family[first(i)] = first(j)
        for line in lines_of[i]:
            texts_with[line].append(i)
    return [first(numbers[_plain(document)]) for document in documents]


def _blocks(text: str, size: float) -> list[str]:
    """Cut a text into blocks of whole paragraphs, or lines, of `size` bytes or some more."""
    blocks, lines, n_bytes, blank = [], [], 0, True
    for line in text.removesuffix("\n").split("\n"):
        lines.append(line + "\n")
        n_bytes += _n_bytes(lines[-1])
        blank = blank and not line.strip()
        ends = n_bytes >= (size if not line.strip() else 2 * size)
        if ends and not blank:
            blocks.append("".join(lines))
            lines, n_bytes, blank = [], 0, True
    rest = "".join(lines)
    if rest.strip() or not blocks:
        return [*blocks, rest]
    return [*blocks[:-1], blocks[-1] + rest]


def _wanted(documents: Sequence[Document]) -> float:
    """How many bytes are kept for validation, and as many held out."""
    return min(SHARE * sum(_n_bytes(d.entry) for d in documents), MAX_BYTES)


def _plain(document: Document) -> str:
    return " ".join(document.text.split())


def _kind(document: Document) -> str:
    return PurePath(document.name).suffix.lower()


def _n_bytes(text: str) -> int:
    return len(text.encode())
