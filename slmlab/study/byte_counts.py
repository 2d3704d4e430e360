"""Bits per byte, and four ways to count the bytes: three of them make scores that are none.

Two of the three mistakes passed for progress in public: a space that is counted twice, and U+FFFD
in the place of a broken character (reports on github.com/openai/parameter-golf and
github.com/karpathy/nanochat). The third is text that is changed before it is read. Two assertions
find them: what is decoded is the text, and the bytes that were counted are the text's. Neither
finds all three alone.
"""

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from slmlab.engine.evaluation import strided_losses
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, whole_text

if TYPE_CHECKING:
    import pandas as pd

# Gives the token ids that a model reads of a text, and the bytes that its bits are divided by.
Counter = Callable[[Tokenizer, str], tuple[list[int], int]]


def from_tokens(tokenizer: Tokenizer, text: str) -> tuple[list[int], int]:
    ids = tokenizer.encode(text)
    return ids, sum(len(tokenizer.token_bytes(i)) for i in ids)


def from_words(tokenizer: Tokenizer, text: str) -> tuple[list[int], int]:
    ids = tokenizer.encode(text)
    tokens = [tokenizer.token_bytes(i) for i in ids]
    spaces = sum(token.startswith(b" ") for token in tokens)
    return ids, sum(map(len, tokens)) + spaces


def from_file(tokenizer: Tokenizer, text: str) -> tuple[list[int], int]:
    cleaned = re.sub(" +", " ", text)
    return tokenizer.encode(cleaned), len(text.encode())


def from_pieces(tokenizer: Tokenizer, text: str) -> tuple[list[int], int]:
    ids = tokenizer.encode(text)
    pieces = [tokenizer.decode([i]) for i in ids]
    return ids, sum(len(piece.encode()) for piece in pieces)


COUNTERS: dict[str, Counter] = {
    "from tokens": from_tokens,  # the honest one
    "from words": from_words,  # a space before a word counts twice
    "from file": from_file,  # the model reads a shorter text than the one whose bytes count
    "from pieces": from_pieces,  # each byte of a broken character becomes U+FFFD, of three bytes
}


def gives_text_back(tokenizer: Tokenizer, text: str, ids: list[int]) -> bool:
    """The first assertion: what the model reads is the text, to the letter."""
    return tokenizer.decode(ids) == text


def bytes_add_up(text: str, n_bytes: int) -> bool:
    """The second assertion: as many bytes were counted as the text has."""
    return n_bytes == len(text.encode())


def fake_wins(tokenizer: Tokenizer, train_text: str, text: str) -> "pd.DataFrame":
    """The 5-gram of a training text, scored on another text with each of the `COUNTERS`.

    One row a counter. `bytes` are those counted, `bits_per_byte` the score (as `text_score` has it
    for the honest counter, the first), `win` by how many per cent it seems better than the honest
    one, `round_trip` and `bytes_add_up` what the two assertions say.
    """
    import pandas as pd

    instance("tokenizer", tokenizer, Tokenizer)
    whole_text("text", text)
    rows = {}
    for name, counter in COUNTERS.items():
        train_ids, _ = counter(tokenizer, train_text)
        ids, n_bytes = counter(tokenizer, text)
        model = NGram(NGramConfig(tokenizer.n_vocab), torch.tensor(train_ids))
        bits = strided_losses(model, torch.tensor(ids)).double().sum().item() / math.log(2)
        given = len(tokenizer.token_bytes(ids[0]))  # the first token, which nothing predicts
        rows[name] = {
            "tokens": len(ids),
            "bytes": n_bytes,
            "bits_per_byte": bits / (n_bytes - given),
            "round_trip": gives_text_back(tokenizer, text, ids),
            "bytes_add_up": bytes_add_up(text, n_bytes),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("bytes counted")
    honest = table["bits_per_byte"].iloc[0]
    table.insert(3, "win", 100 * (1 - table["bits_per_byte"] / honest))
    return table
