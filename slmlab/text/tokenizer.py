"""Text to token ids and back: GPT-2's vocabulary, one cut to size, or one trained on a text."""

import base64
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Any, Protocol, runtime_checkable

import tiktoken
import tokenizers

from slmlab.text.files import data_path, read_verified
from slmlab.validation import instance, listed, one, shown, whole_number, whole_text

# SHA-256 of GPT-2's merge table, the value that tiktoken itself pins for r50k_base.
GPT2_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"

# How GPT-2 cuts text into words before merging (Radford et al. 2019, encoder.py).
WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# The same, but no word is longer than 100 characters: the time to train a vocabulary grows with
# the square of the longest word (200,000 letters in a row took 22 s).
LONGEST_WORD = 100
LONGEST_TOKEN = 1_000  # bytes; a word of 100 characters has at most 400, and a space
SHORT_WORDS = WORDS.replace("+", f"{{1,{LONGEST_WORD}}}")

# White space as GPT-2's pattern knows it; beyond a million in a row its engine gives up.
LONG_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{10000,}")

MARKERS = ("<|user|>", "<|assistant|>", "<|end|>")  # of the parts of a dialogue

SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 256, 1_000_000
WHY_256 = "one token for each byte, so that any text can be encoded, and what is learnt"


@runtime_checkable
class Tokenizer(Protocol):
    """What the rest of the package asks of a tokenizer. Any Unicode text round-trips.

    Each method raises `ValueError` for what is no text, or no token id in range(n_vocab).
    """

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
    """Byte-level byte-pair encoding, run by tiktoken.

    `words` is the pattern by which text is cut before merging.
    """

    def __init__(
        self,
        name: str,
        ranks: dict[bytes, int],
        words: str = SHORT_WORDS,
        special: dict[str, int] | None = None,
    ) -> None:
        self.name, self._ranks = name, ranks
        self._encoding = tiktoken.Encoding(
            name, pat_str=words, mergeable_ranks=ranks, special_tokens=special or {}
        )
        self.n_vocab = self._encoding.n_vocab

    def encode(self, text: str) -> list[int]:
        return self._encoding.encode_ordinary(whole_text("The text", text))

    def decode(self, ids: Iterable[int]) -> str:
        return self._encoding.decode(checked_ids(ids, self.n_vocab))

    def id_of_byte(self, byte: int) -> int:
        """The id of the token that is this single byte."""
        byte = whole_number("A byte", byte, most=255)
        return self._encoding.encode_single_token(bytes([byte]))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""
        [token_id] = checked_ids([token_id], self.n_vocab)
        return self._encoding.decode_single_token_bytes(token_id)

    def spec(self) -> dict[str, Any]:
        tokens = sorted(self._ranks, key=self._ranks.__getitem__)  # many: asking for each is slow
        return {"kind": "bpe", "tokens": [base64.b64encode(t).decode() for t in tokens]}


class GPT2Tokenizer(BytePairTokenizer):
    """GPT-2's byte-pair encoding: its own merge table, and its own way to cut text into words."""

    def __init__(self, ranks: dict[bytes, int]) -> None:
        super().__init__("gpt2", ranks, WORDS, special={"<|endoftext|>": 50256})

    def encode(self, text: str) -> list[int]:
        text = whole_text("The text", text)
        ids, start = [], 0
        for space in LONG_SPACE.finditer(text):
            # By GPT-2's pattern, white space is one word, but for the last of it before a word.
            end = space.end() - (space.end() < len(text))
            ids += self._encoding.encode_ordinary(text[start : space.start()])
            ids += self._one_word.encode_ordinary(text[space.start() : end])
            start = end
        return ids + self._encoding.encode_ordinary(text[start:])

    @cached_property
    def _one_word(self) -> tiktoken.Encoding:
        """The same merges, for a text that is a single word."""
        return tiktoken.Encoding(
            "uncut", pat_str=r"[\s\S]+", mergeable_ranks=self._ranks, special_tokens={}
        )

    def spec(self) -> dict[str, Any]:
        return {"kind": "gpt2"}


class RightSizedTokenizer:
    """A larger tokenizer cut down to the tokens that a text uses, numbered from 0 without gaps."""

    def __init__(self, base: BytePairTokenizer, kept: Iterable[int]) -> None:
        self._base = base
        kept = checked_ids(kept, base.n_vocab)
        self._kept = sorted({*kept, *(base.id_of_byte(b) for b in range(256))})
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
        return self._base.decode([self._kept[i] for i in checked_ids(ids, self.n_vocab)])

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""
        [token_id] = checked_ids([token_id], self.n_vocab)
        return self._base.token_bytes(self._kept[token_id])

    def spec(self) -> dict[str, Any]:
        return {"kind": "right-sized", "base": self._base.spec(), "kept": self._kept}


class ChatTokenizer:
    """Another tokenizer with three tokens more, which mark the parts of a dialogue.

    They come last in the vocabulary and are decoded to their names, `MARKERS`. No text is encoded
    to them: where it spells a marker's name, it becomes the tokens that `base` makes of it.

    Attributes:
        user: id of the marker before a question.
        assistant: id of the marker before an answer.
        end: id of the marker after an answer.
    """

    def __init__(self, base: Tokenizer) -> None:
        if isinstance(instance("base", base, Tokenizer), ChatTokenizer):
            raise ValueError("The tokenizer has the markers of a dialogue already; use it as is.")
        self.base = base
        self.name = f"{base.name}, chat"
        self.n_vocab = base.n_vocab + len(MARKERS)
        self.user, self.assistant, self.end = range(base.n_vocab, self.n_vocab)

    def encode(self, text: str) -> list[int]:
        return self.base.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        pieces = map(self.token_bytes, listed("ids", ids, "token ids"))
        return b"".join(pieces).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for; those of a marker are its name."""
        [token_id] = checked_ids([token_id], self.n_vocab)
        if token_id < self.base.n_vocab:
            return self.base.token_bytes(token_id)
        return MARKERS[token_id - self.base.n_vocab].encode()

    def spec(self) -> dict[str, Any]:
        return {"kind": "chat", "base": self.base.spec()}


def gpt2_tokenizer() -> GPT2Tokenizer:
    """GPT-2's tokenizer (50,257 tokens), from the merge table that the course carries.

    Never uses the network. Raises `DataError` if the merge table is missing or altered.
    """
    table = read_verified(data_path("tokenizer", "r50k_base.tiktoken"), GPT2_SHA256)
    pairs = (line.split() for line in table.splitlines())
    return GPT2Tokenizer({base64.b64decode(token): int(rank) for token, rank in pairs})


def right_size(tokenizer: BytePairTokenizer, text: str) -> RightSizedTokenizer:
    """Keep only the tokens that occur in `text`, and the 256 single bytes.

    The text itself is encoded as before, under new ids; other text still round-trips, spelled
    out in bytes where it needs tokens that were dropped. Raises `ValueError` for empty text, or a
    tokenizer that was cut to size before.
    """
    if not isinstance(tokenizer, BytePairTokenizer):
        raise ValueError(
            f"The tokenizer is {one(type(tokenizer))}; it must be a whole one, of "
            "gpt2_tokenizer() or train_bpe(…)."
        )
    return RightSizedTokenizer(tokenizer, tokenizer.encode(_some_text(text)))


def chat_tokenizer(base: Tokenizer) -> ChatTokenizer:
    """A tokenizer with one more token each for <|user|>, <|assistant|> and <|end|>.

    As plain text, GPT-2's tokenizer makes five tokens or more of each. Raises `ValueError` for
    something else than a tokenizer, or one that has the three already.
    """
    return ChatTokenizer(base)


def train_bpe(text: str, vocab_size: int) -> BytePairTokenizer:
    """Train a byte-pair encoding on `text` (Sennrich et al. 2016) with Hugging Face `tokenizers`.

    The text is cut into words as by GPT-2, except that a run of more than 100 letters, digits,
    signs or blanks is cut after each 100, here and whenever text is encoded. The result has at most
    `vocab_size` tokens, fewer if the text has no more pairs to merge. Raises `ValueError` for
    empty text or a vocabulary smaller than the 256 single bytes.
    """
    vocab_size = whole_number(
        "vocab_size", vocab_size, SMALLEST_VOCABULARY, LARGEST_VOCABULARY, note=WHY_256
    )
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(SHORT_WORDS), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    bpe.train_from_iterator([_some_text(text)], trainer)
    byte_of = byte_of_letter()
    ranks = {
        bytes(byte_of[letter] for letter in token): rank for token, rank in bpe.get_vocab().items()
    }
    return BytePairTokenizer(f"bpe-{len(ranks)}", ranks)


def tokenizer_for(text: str, vocabulary: str) -> Tokenizer:
    """The tokenizer that a vocabulary's name stands for, made for a text.

    The names are "gpt2", "right-sized" and "bpe-N", such as "bpe-500". Raises `ValueError` for
    another one.
    """
    check_vocabulary(vocabulary)
    return _tokenizer_for(_some_text(text), vocabulary)


@lru_cache(maxsize=8)
def _tokenizer_for(text: str, vocabulary: str) -> Tokenizer:
    if vocabulary == "gpt2":
        return gpt2_tokenizer()
    if vocabulary == "right-sized":
        return right_size(gpt2_tokenizer(), text)
    return train_bpe(text, int(vocabulary.removeprefix("bpe-")))


def check_vocabulary(vocabulary: str) -> None:
    """Raise `ValueError` unless this names a vocabulary that `tokenizer_for` knows."""
    names = "gpt2|right-sized|bpe-([0-9]{1,20})"
    named = isinstance(vocabulary, str) and re.fullmatch(names, vocabulary)
    if not named:
        raise ValueError(
            f'vocabulary is {shown(vocabulary)}; it must be "gpt2", "right-sized", or "bpe-" and a '
            'number of tokens, such as "bpe-500".'
        )
    if named[1]:
        whole_number(
            f"The number in {vocabulary}",
            int(named[1]),
            SMALLEST_VOCABULARY,
            LARGEST_VOCABULARY,
            note=WHY_256,
        )


def tokenizer_from_spec(spec: dict[str, Any]) -> Tokenizer:
    """Build a tokenizer from what its `spec()` returned.

    The spec may come from somebody else's file: `ValueError` is raised for anything that no
    `spec()` returns.
    """
    if isinstance(spec, dict) and spec.get("kind") == "chat":
        return ChatTokenizer(_plain_tokenizer(spec.get("base")))
    return _plain_tokenizer(spec)


def checked_ids(ids: Iterable[int], n_vocab: int) -> list[int]:
    """The ids as a list. Raises `ValueError` for anything but whole numbers in range(n_vocab)."""
    return [
        i if type(i) is int and 0 <= i < n_vocab else whole_number("A token id", i, 0, n_vocab - 1)
        for i in listed("ids", ids, "token ids")
    ]


def _some_text(text: str) -> str:
    if not whole_text("The text", text):
        raise ValueError("The text is empty; give the text that the vocabulary is to fit.")
    return text


def _plain_tokenizer(spec: Any) -> Tokenizer:
    """A tokenizer without markers, from its spec."""
    if isinstance(spec, dict) and spec.get("kind") == "right-sized":
        if not isinstance(spec.get("kept"), list):
            raise ValueError("The vocabulary is damaged: it does not list the tokens it keeps.")
        return RightSizedTokenizer(_whole_tokenizer(spec.get("base")), spec["kept"])
    return _whole_tokenizer(spec)


def _whole_tokenizer(spec: Any) -> BytePairTokenizer:
    """A tokenizer that was not cut to size, from its spec."""
    kind = spec.get("kind") if isinstance(spec, dict) else None
    if kind == "gpt2":
        return gpt2_tokenizer()
    if kind == "bpe":
        ranks = _ranks_of(spec.get("tokens"))
        return BytePairTokenizer(f"bpe-{len(ranks)}", ranks)
    raise ValueError(f"Unknown tokenizer {shown(kind)}; known are gpt2, bpe, right-sized and chat.")


def _ranks_of(tokens: Any) -> dict[bytes, int]:
    """The ranks of a trained vocabulary's tokens, which a spec lists in order, in base64."""
    ranks = {}
    if isinstance(tokens, list) and len(tokens) <= LARGEST_VOCABULARY:
        with suppress(TypeError, ValueError):
            ranks = {base64.b64decode(t, validate=True): rank for rank, t in enumerate(tokens)}
    single_bytes = {bytes([b]) for b in range(256)}
    whole = single_bytes <= ranks.keys() and b"" not in ranks and len(ranks) == len(tokens)
    if not whole or max(map(len, ranks)) > LONGEST_TOKEN:
        raise ValueError(
            "The vocabulary is damaged: its tokens must be listed in base64, each once and of at "
            f"most {LONGEST_TOKEN:,} bytes, and the 256 single bytes among them."
        )
    return ranks


def byte_of_letter() -> dict[str, int]:
    """The letters by which byte-level BPE writes bytes (GPT-2's encoder.py), read backwards."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}
