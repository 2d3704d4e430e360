"""Text to token ids and back: GPT-2's vocabulary, one cut to size, or one trained on a text."""

import base64
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol

import tiktoken
import tokenizers

from slmlab.text.files import data_path, read_verified

# SHA-256 of GPT-2's merge table, the value that tiktoken itself pins for r50k_base.
GPT2_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"

# How GPT-2 cuts text into words before merging (Radford et al. 2019, encoder.py).
WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class Tokenizer(Protocol):
    """What the rest of the package asks of a tokenizer. Any Unicode text round-trips."""

    name: str
    n_vocab: int

    def encode(self, text: str) -> list[int]:
        """Token ids of the text, each in range(n_vocab)."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; bytes that are not valid UTF-8 become U+FFFD."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""

    def spec(self) -> dict[str, Any]:
        """All that `tokenizer_from_spec` needs to build this tokenizer again, as JSON."""


class BytePairTokenizer:
    """Byte-level byte-pair encoding, run by tiktoken."""

    def __init__(self, name: str, ranks: dict[bytes, int], special: dict[str, int]) -> None:
        self.name = name
        self._encoding = tiktoken.Encoding(
            name, pat_str=WORDS, mergeable_ranks=ranks, special_tokens=special
        )
        self.n_vocab = self._encoding.n_vocab

    def encode(self, text: str) -> list[int]:
        return self._encoding.encode_ordinary(text)

    def decode(self, ids: Iterable[int]) -> str:
        return self._encoding.decode(_in_range(ids, self.n_vocab))

    def id_of_byte(self, byte: int) -> int:
        """The id of the token that is this single byte."""
        return self._encoding.encode_single_token(bytes([byte]))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""
        return self._encoding.decode_single_token_bytes(token_id)

    def spec(self) -> dict[str, Any]:
        if self.name == "gpt2":
            return {"kind": "gpt2"}
        tokens = (self.token_bytes(i) for i in range(self.n_vocab))
        return {"kind": "bpe", "tokens": [base64.b64encode(t).decode() for t in tokens]}


class RightSizedTokenizer:
    """A larger tokenizer cut down to the tokens that a text uses, numbered from 0 without gaps."""

    def __init__(self, base: BytePairTokenizer, kept: Iterable[int]) -> None:
        self._base = base
        self._kept = sorted(set(kept) | {base.id_of_byte(b) for b in range(256)})
        self._new_id = {old: new for new, old in enumerate(self._kept)}
        self.name = f"{base.name}, right-sized"
        self.n_vocab = len(self._kept)

    def encode(self, text: str) -> list[int]:
        ids = []
        for old in self._base.encode(text):
            if old in self._new_id:
                ids.append(self._new_id[old])
            else:  # a token that was not kept is spelled out, byte by byte
                spelled = self._base.token_bytes(old)
                ids.extend(self._new_id[self._base.id_of_byte(b)] for b in spelled)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._base.decode(self._kept[i] for i in _in_range(ids, self.n_vocab))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""
        return self._base.token_bytes(self._kept[token_id])

    def spec(self) -> dict[str, Any]:
        return {"kind": "right-sized", "base": self._base.spec(), "kept": self._kept}


def gpt2_tokenizer() -> BytePairTokenizer:
    """GPT-2's tokenizer (50,257 tokens), from the merge table that the course carries.

    Never uses the network. Raises `DataError` if the merge table is missing or altered.
    """
    table = read_verified(data_path("tokenizer", "r50k_base.tiktoken"), GPT2_SHA256)
    pairs = (line.split() for line in table.splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    return BytePairTokenizer("gpt2", ranks, {"<|endoftext|>": 50256})


def right_size(tokenizer: BytePairTokenizer, text: str) -> RightSizedTokenizer:
    """Keep only the tokens that occur in `text`, and the 256 single bytes.

    The text itself is encoded as before, under new ids; other text still round-trips, spelled
    out in bytes where it needs tokens that were dropped. Raises `ValueError` for empty text.
    """
    if not text:
        raise ValueError("The text is empty; give the text that the vocabulary should fit.")
    return RightSizedTokenizer(tokenizer, tokenizer.encode(text))


def train_bpe(text: str, vocab_size: int) -> BytePairTokenizer:
    """Train a byte-pair encoding on `text` (Sennrich et al. 2016) with Hugging Face `tokenizers`.

    The result has at most `vocab_size` tokens, fewer if the text has no more pairs to merge.
    Raises `ValueError` for empty text or a vocabulary smaller than the 256 single bytes.
    """
    if not text:
        raise ValueError("The text is empty; give some text to train the vocabulary on.")
    if vocab_size < 256:
        raise ValueError(
            f"vocab_size is {vocab_size}; it must be at least 256, one token for each byte."
        )
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(WORDS), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    bpe.train_from_iterator([text], trainer)
    byte_of = _byte_of_letter()
    ranks = {
        bytes(byte_of[letter] for letter in token): rank for token, rank in bpe.get_vocab().items()
    }
    return BytePairTokenizer(f"bpe-{len(ranks)}", ranks, {})


@lru_cache(maxsize=8)
def tokenizer_for(text: str, vocabulary: str) -> Tokenizer:
    """The tokenizer that a vocabulary's name stands for, made for a text.

    The names are "gpt2", "right-sized" and "bpe-N", such as "bpe-500". Raises `ValueError` for
    another one.
    """
    check_vocabulary(vocabulary)
    if vocabulary == "gpt2":
        return gpt2_tokenizer()
    if vocabulary == "right-sized":
        return right_size(gpt2_tokenizer(), text)
    return train_bpe(text, int(vocabulary.removeprefix("bpe-")))


def check_vocabulary(vocabulary: str) -> None:
    """Raise `ValueError` unless this names a vocabulary that `tokenizer_for` knows."""
    if vocabulary in ("gpt2", "right-sized") or vocabulary.removeprefix("bpe-").isdecimal():
        return
    raise ValueError(
        f'vocabulary is {vocabulary!r}; it must be "gpt2", "right-sized", or "bpe-" and a number '
        'of tokens, such as "bpe-500".'
    )


def tokenizer_from_spec(spec: dict[str, Any]) -> Tokenizer:
    """Build a tokenizer from what its `spec()` returned. Raises `ValueError` if it is unknown."""
    kind = spec.get("kind")
    if kind == "gpt2":
        return gpt2_tokenizer()
    if kind == "bpe":
        ranks = {base64.b64decode(token): rank for rank, token in enumerate(spec["tokens"])}
        return BytePairTokenizer(f"bpe-{len(ranks)}", ranks, {})
    if kind == "right-sized":
        return RightSizedTokenizer(tokenizer_from_spec(spec["base"]), spec["kept"])
    raise ValueError(f"Unknown tokenizer {json.dumps(kind)}; known are gpt2, bpe and right-sized.")


def _in_range(ids: Iterable[int], n_vocab: int) -> list[int]:
    ids = [int(i) for i in ids]
    wrong = next((i for i in ids if not 0 <= i < n_vocab), None)
    if wrong is not None:
        raise ValueError(f"Token id {wrong} does not exist; ids run from 0 to {n_vocab - 1}.")
    return ids


def _byte_of_letter() -> dict[str, int]:
    """The letters by which byte-level BPE writes bytes (GPT-2's encoder.py), read backwards."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}
