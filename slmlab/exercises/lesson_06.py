"""Checks of the exercises for 06: merge a pair, encode, bits per byte, an honest count of bytes."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import slmlab as lab
from slmlab.exercises.checking import (
    Case,
    Probe,
    expect,
    expect_function,
    is_truth_value,
    require,
)
from slmlab.exercises.telling import right, task
from slmlab.text.examples import EXAMPLES
from slmlab.validation import shown

if TYPE_CHECKING:
    import pandas as pd

# Task 1

MERGED = """
merged, i = [], 0
while i < len(tokens):
    if tuple(tokens[i : i + 2]) == tuple(pair):
        merged.append(tokens[i] + tokens[i + 1])
        i += 2
    else:
        merged.append(tokens[i])
        i += 1
return merged
"""
OVERLAPPING = """
merged = []
for i, token in enumerate(tokens):
    if tuple(tokens[i : i + 2]) == tuple(pair):
        merged.append(token + tokens[i + 1])
    elif i == 0 or tuple(tokens[i - 1 : i + 1]) != tuple(pair):
        merged.append(token)
return merged
"""
SPELLED = """
merged, i = [], 0
while i < len(tokens):
    for end in range(i + 1, len(tokens) + 1):
        if end > i + 1 and "".join(tokens[i:end]) == "".join(pair):
            break
    else:
        end = i + 1
    merged.append("".join(tokens[i:end]))
    i = end
return merged
"""
FROM_THE_RIGHT = """
merged, i = [], len(tokens)
while i > 0:
    step = 2 if tuple(tokens[max(0, i - 2) : i]) == tuple(pair) else 1
    merged.insert(0, "".join(tokens[i - step : i]))
    i -= step
return merged
"""
MISTAKEN_MERGES = {
    OVERLAPPING: "A token is used twice. In `a a a` only two of the three become `aa`: go on "
    "behind the merged token.",
    FROM_THE_RIGHT: "You merge from the right. In `a a a` the first two are merged: `aa a`.",
    MERGED.replace("merged.append(tokens[i] + tokens[i + 1])\n        i += 2", "return "
    "tokens[:i] + [tokens[i] + tokens[i + 1]] + tokens[i + 2 :]"): "You stop at the first place. "
    "Merge the pair wherever it occurs.",
    MERGED.replace("i += 2", "i += 1"): "The second token of a merged pair is still there: it is "
    "now part of the merged one, so go on behind it.",
    SPELLED: "You merged other tokens that spell the same letters. Only neighbours that *are* the "
    "pair are merged: `ab` and `c` are not the pair `a`, `bc`.",
    MERGED.replace("tuple(pair)", "tuple(pair)[::-1]"): "You merged the pair in the other order.",
}  # fmt: skip


def _tokens(value: Any, name: str) -> list[str]:
    """A list of tokens, as text."""
    right_kind = isinstance(value, list | tuple) and all(isinstance(t, str) for t in value)
    told = f"`{name}` returns {shown(value)}; it should return a list of tokens, as text."
    require(right_kind, told)
    return list(value)


@task
def merge(function: Callable[..., Any]) -> None:
    """`function(tokens, pair)`: the tokens with each such pair made one."""
    expect_function(
        "merge_pair(tokens, pair)",
        function,
        [
            (["l", "o", "w", "l", "o"], ("l", "o")),
            (["a", "a", "a"], ("a", "a")),
            (["a", "a", "a", "a", "b"], ("a", "a")),
            (["ab", "c", "a", "bc", "a", "b", "c"], ("a", "bc")),
            (["x", "y"], ("y", "x")),
            ([], ("a", "b")),
            (["a"], ("a", "a")),
        ],
        MERGED,
        MISTAKEN_MERGES,
        read=_tokens,
    )
    if not isinstance(function, Probe):
        given = ["a", "b"]
        function(given, ("a", "b"))
        require(
            given == ["a", "b"], "`merge_pair` changes the list that it is given. Make a new one."
        )
    right("Every pair became one token, from left to right, and nothing else changed.")


# Task 2

LOWER = [("e", "r"), ("l", "o"), ("o", "w"), ("lo", "w"), ("low", "er"), ("n", "e"), ("ne", "w")]
CROSSED = [("b", "c"), ("a", "b"), ("bc", "d")]
SHADOWED = [("x", "y"), ("y", "z"), ("x", "yz")]

ENCODED = """
tokens = tuple(word)
while True:
    known = [pair for pair in zip(tokens, tokens[1:]) if pair in merges]
    if not known:
        return list(tokens)
    tokens = lab.byte_pairs.merge(tokens, min(known, key=merges.index))
"""
LONGEST = """
tokens, vocabulary = [], {a + b for a, b in merges}
while word:
    end = max((n for n in range(1, len(word) + 1) if word[:n] in vocabulary), default=1)
    tokens.append(word[:end])
    word = word[end:]
return tokens
"""
MISTAKEN_ENCODINGS = {
    ENCODED.replace("min(known, key=merges.index)", "known[0]"): "You merge the leftmost known "
    "pair. Merge the one that was *learnt* first, wherever in the word it is.",
    ENCODED.replace("min(", "max("): "You merge the pair that was learnt last; the order of the "
    "table is the order of merging.",
    ENCODED.replace("key=merges.index", "key=lambda p: -list(zip(tokens, tokens[1:])).count(p)"): (
        "You merge the pair that is most frequent in this word. That is how a table is learnt; to "
        "encode, follow the table."
    ),
    ENCODED.replace("    tokens = lab", "    return list(lab").replace(
        "key=merges.index))", "key=merges.index)))"
    ): "You stop after one merge. Go on until the word has no pair of the table left.",
    LONGEST: "You take the longest token that fits. Byte-pair encoding follows the order of "
    "merges, also where a longer token exists.",
    "return list(word)": "These are still the single letters: no pair was merged.",
}


@task
def encode(function: Callable[..., Any]) -> None:
    """`function(word, merges)`: the tokens of a word, by a table of merges."""
    expect_function(
        "encode(word, merges)",
        function,
        [
            ("lower", LOWER),
            ("newer", LOWER),
            ("lowlow", LOWER),
            ("owl", LOWER),
            ("zebra", LOWER),
            ("", LOWER),
            ("abcd", CROSSED),
            ("abcab", CROSSED),
            ("bcababcab", CROSSED),
            ("xyz", SHADOWED),
        ],
        ENCODED,
        MISTAKEN_ENCODINGS,
        read=_tokens,
        otherwise=lambda value, truth, word, merges: (
            f"For {word!r} and the merges {', '.join(f'{a}+{b}' for a, b in merges)} it gives "
            f"{value}; it should be {truth}."
        ),
    )
    right("It follows the table, as GPT-2's tokenizer does with its 50,000 merges.")


# Task 3

BITS = "return sum(losses) / math.log(2) / sum(len(token) for token in tokens)"
MISTAKEN_BITS = {
    "return sum(losses) / sum(len(token) for token in tokens)": "These are nats per byte; a bit "
    "is ln 2 nats, so divide by `math.log(2)`.",
    "return sum(losses) * math.log(2) / sum(len(token) for token in tokens)": "A nat is more than "
    "a bit, so there are more bits than nats: divide by ln 2.",
    "return sum(losses) / math.log(2) / len(tokens)": "These are bits per token. Divide by the "
    "bytes of all tokens.",
    "return sum(losses) / len(tokens)": "That is the loss per token, in nats.",
    "return sum(losses) / math.log(2) / len(b''.join(tokens).decode())": "You divided by the "
    "characters. A character has up to four bytes.",
    """
    sizes = [len(token.decode("utf-8", "replace").encode()) for token in tokens]
    return sum(losses) / math.log(2) / sum(sizes)
    """: "A token that is part of a character became U+FFFD, which has three bytes. "
    "Count the bytes that the token has.",
    """
    sizes = [len(token.decode("utf-8", "ignore").encode()) for token in tokens]
    return sum(losses) / math.log(2) / sum(sizes)
    """: "A token that is part of a character was ignored. Its bytes count, too.",
    """
    sizes = [len(token.decode("utf-8", "replace")) for token in tokens]
    return sum(losses) / math.log(2) / sum(sizes)
    """: "You decoded each token and counted characters. Count the bytes that the token has.",
    """
    each = [loss / math.log(2) / len(token) for loss, token in zip(losses, tokens)]
    return sum(each) / len(each)
    """: "That is the mean of each token's own bits per byte. Long tokens stand for more of the "
    "text: divide the sum of all bits by the sum of all bytes.",
}  # fmt: skip


@task
def bits(function: Callable[..., Any]) -> None:
    """`function(losses, tokens)`: bits per byte, of losses in nats and the tokens' bytes."""
    expect_function(
        "bits_per_byte(losses, tokens)",
        function,
        [
            ([2.0, 0.5, 1.25], [b"def", b" add", b"("]),
            ([3.0, 1.0, 0.5, 0.25], [b"\xe6", b"\x95\xb0", b" =", b" 1"]),
            ([0.75, 0.5], ["é".encode(), b"\n    "]),
        ],
        BITS,
        MISTAKEN_BITS,
        advice={"UnicodeDecodeError": "A token may be a part of a character: count its bytes."},
    )
    right("Bits of the whole text over bytes of the whole text: any two vocabularies compare.")


# Task 4

HONEST = "return tokenizer.decode(ids) == text and n_bytes == len(text.encode())"
MISTAKEN_VERDICTS = {
    "return tokenizer.decode(ids) == text": "The round trip alone does not look at `n_bytes`.",
    "return n_bytes == len(text.encode())": "The count is right, but do the ids stand for the "
    "text? A model that reads an easier text has fewer bits.",
    HONEST.replace(" and ", " or "): "One assertion that holds is not enough; both have to.",
    HONEST.replace("len(text.encode())", "len(text)"): "`len(text)` counts characters; bytes are "
    "`len(text.encode())`.",
    "return n_bytes == sum(len(tokenizer.token_bytes(i)) for i in ids)": "You compared the count "
    "with the ids. If the ids lost some of the text, both are wrong alike: compare with the text.",
    HONEST.replace(
        "len(text.encode())", "sum(len(tokenizer.decode([i]).encode()) for i in ids)"
    ): "A token that is part of a character decodes to U+FFFD, which has three bytes. Count the "
    "bytes of the text.",
    HONEST.replace("tokenizer.decode(ids) == text", "ids == tokenizer.encode(text)"): "Other ids "
    "can stand for the same text, such as one for each letter. Decode the ids, and compare texts.",
    "return not (" + HONEST.removeprefix("return ") + ")": "That is the other way round: True "
    "should mean that the count is honest.",
}  # fmt: skip


@task
def honest(function: Callable[..., Any]) -> None:
    """`function(tokenizer, text, ids, n_bytes)`: whether bits over these bytes are honest."""
    expect_function(
        "is_honest(tokenizer, text, ids, n_bytes)",
        function,
        _reports,
        HONEST,
        MISTAKEN_VERDICTS,
        read=_verdict,
        otherwise=lambda value, truth, tokenizer, text, ids, n_bytes: (
            f"The text {text[:24]!r} has {len(text.encode())} bytes; the ids are read as "
            f"{tokenizer.decode(ids)[:24]!r}, and {n_bytes} bytes were counted. You return {value}."
        ),
    )
    right("Two assertions belong beside every such score: the text comes back, the bytes add up.")


def _verdict(value: Any, name: str) -> bool:
    told = f"`{name}` returns {shown(value)}; it should return True or False."
    require(is_truth_value(value), told)
    return bool(value)


def _reports() -> list[Case]:
    """What counters, right ones and wrong ones, say of two texts."""
    tokenizer = _tokenizer()
    cases = []
    for text in (EXAMPLES["Python"], EXAMPLES["German"] + EXAMPLES["Chinese"], "if  x:\n    数"):
        n_bytes = len(text.encode())
        for counter in COUNTERS.values():
            cases.append(Case((tokenizer, text, *counter(tokenizer, text))))
        lost = tokenizer.encode(text[:-1])
        cases.append(Case((tokenizer, text, lost, len(text[:-1].encode()))))
        cases.append(Case((tokenizer, text, tokenizer.encode(text.swapcase()), n_bytes)))
        letters = [i for letter in text for i in tokenizer.encode(letter)]  # cut in another way
        cases.append(Case((tokenizer, text, letters, n_bytes)))
    return cases


# Task 5

# In an order that gives nothing away.
COUNTERS = dict(
    zip(
        "ABCD",
        (lab.byte_counts.COUNTERS[f"from {w}"] for w in ("words", "pieces", "tokens", "file")),
        strict=True,
    )
)
LETTERS = tuple(COUNTERS)


@cache
def _tokenizer() -> Any:
    return lab.right_size(lab.gpt2_tokenizer(), lab.load_corpus().text)


def show_counters() -> None:
    """Print the four functions that return token ids and a count of bytes."""
    for letter, counter in COUNTERS.items():
        source = inspect.getsource(counter).replace(counter.__name__, f"count_{letter.lower()}")
        print(f"{letter}: {source}")  # its own name would tell what it does


def scores() -> "pd.DataFrame":
    """What the 5-gram of the corpus scores on the held-out scripts, by each of the counters."""
    corpus, held_out = lab.load_corpus().text, lab.load_held_out().text
    table = lab.byte_counts.fake_wins(_tokenizer(), corpus, held_out)
    table.index = [_letter(name) for name in table.index]
    return table[["tokens", "bytes", "bits_per_byte"]].sort_index()


def _letter(name: str) -> str:
    wanted = lab.byte_counts.COUNTERS[name]
    return next(letter for letter, counter in COUNTERS.items() if counter is wanted)


@task
def fake_win(honest: Any, round_trip: Any, hidden: Any) -> None:
    """The honest counter, the one that only the round trip catches, the one that scripts hide."""
    say = dict.fromkeys
    expect(
        "honest",
        honest,
        "C",
        {
            "A": "`len(token)` counts the space already, so A counts it twice.",
            "B": "On the scripts its count is right. Try a text with a character beyond ASCII, "
            'such as "数": what is a part of it decoded to?',
            "D": "D divides by the bytes of a text that the model does not read: runs of spaces "
            "were taken out before.",
        },
    )
    expect(
        "round_trip",
        round_trip,
        "D",
        say("ABC", "Its ids decode to the text. Which of the four changes the text first?"),
    )
    expect(
        "hidden",
        hidden,
        "B",
        {
            "A": "A counts too many bytes on the scripts as well: compare with the size of the "
            "file.",
            "C": "C is right on every text.",
            "D": "D fails the round trip on the scripts, which are indented.",
        },
    )
    right("No win was real, and one mistake stays hidden until the text has an é in it.")
