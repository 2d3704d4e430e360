"""Byte-pair encoding step by step: count pairs, merge one, train, encode (Sennrich et al. 2016).

Written to be read, and to check the fast tokenizers by: `train_bpe` learns the same tokens, and
`BytePairTokenizer` encodes as `encode` does.

Ties: of the pairs that occur equally often, the one whose first token has the lower id is merged,
then the one whose second has. The 256 bytes come first, in the order of `BYTES`.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

from tokenizers import Regex, pre_tokenizers

from slmlab.text.tokenizer import (
    LARGEST_VOCABULARY,
    SHORT_WORDS,
    SMALLEST_VOCABULARY,
    WHY_256,
    BytePairTokenizer,
    byte_of_letter,
)
from slmlab.validation import instance, whole_number, whole_text

Word = tuple[bytes, ...]  # a word as the tokens that it consists of
Pair = tuple[bytes, bytes]

# In the order of the letters that byte-level BPE writes them by, which is how GPT-2 counts them.
BYTES = tuple(bytes([byte]) for _, byte in sorted(byte_of_letter().items()))


def words(text: str, pattern: str = SHORT_WORDS) -> list[str]:
    """The words that a text is cut into before merging; joined again, they are the text.

    No token crosses the border of a word. `pattern` is `SHORT_WORDS`, as for `train_bpe`, or
    `WORDS`, as for GPT-2 (both of `slmlab.text.tokenizer`).
    """
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [word for word, _ in cut.pre_tokenize_str(whole_text("The text", text))]


def spelled(word: str) -> Word:
    """A word as its single bytes: the tokens it consists of before any merge."""
    return tuple(bytes([byte]) for byte in word.encode())


def count_pairs(counts: Mapping[Word, int]) -> Counter[Pair]:
    """How often each two tokens are neighbours, in words that occur so many times each."""
    pairs: Counter[Pair] = Counter()
    for word, count in counts.items():
        for pair in pairwise(word):
            pairs[pair] += count
    return pairs


def merge(word: Word, pair: Pair) -> Word:
    """The word with each such pair made one token, from left to right."""
    merged: list[bytes] = []
    for token in word:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return tuple(merged)


def train(text: str, vocab_size: int) -> dict[bytes, int]:
    """Learn a vocabulary: the id of each token, in the order in which they were learnt.

    The tokens are those of `train_bpe(text, vocab_size)`, which is a thousand times faster.
    Raises `ValueError` for a vocabulary smaller than the 256 single bytes.
    """
    whole_number("vocab_size", vocab_size, SMALLEST_VOCABULARY, LARGEST_VOCABULARY, note=WHY_256)
    ids = {byte: i for i, byte in enumerate(BYTES)}
    counts = Counter(spelled(word) for word in words(text))
    while len(ids) < vocab_size:
        pairs = count_pairs(counts)
        if not pairs:  # every word is one token
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        ids.setdefault(best[0] + best[1], len(ids))  # two pairs may spell the same token
        merged: Counter[Word] = Counter()
        for word, count in counts.items():
            merged[merge(word, best)] += count
        counts = merged
    return ids


def encode(text: str, ids: Mapping[bytes, int], pattern: str = SHORT_WORDS) -> list[int]:
    """The token ids of a text: in each word the pair that was learnt first is merged first.

    `ids` has every token's id, in the order in which they were learnt; see `ids_of`.
    """

    @cache
    def encoded(word: str) -> list[int]:
        tokens = spelled(word)
        while learnt := [pair for pair in pairwise(tokens) if pair[0] + pair[1] in ids]:
            first = min(learnt, key=lambda pair: ids[pair[0] + pair[1]])
            tokens = merge(tokens, first)
        return [ids[token] for token in tokens]

    return [i for word in words(text, pattern) for i in encoded(word)]


def ids_of(tokenizer: BytePairTokenizer) -> dict[bytes, int]:
    """The id of each token of a tokenizer, for `encode`."""
    instance("tokenizer", tokenizer, BytePairTokenizer, "lab.gpt2_tokenizer()")
    return {tokenizer.token_bytes(i): i for i in range(tokenizer.n_vocab)}
