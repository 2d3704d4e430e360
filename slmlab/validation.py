"""One way to refuse a value: what was given, and what is allowed. Stands below all floors."""

import math
import operator
import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # of a writing's direction
MOST_LISTED = 100_000_000  # items of a list: as many as the largest text of a learner has tokens

EXAMPLES = {  # how to come by what functions ask for
    "ChatTokenizer": "lab.chat_tokenizer(lab.gpt2_tokenizer())",
    "Corpus": "lab.load_corpus()",
    "Dataset": "lab.corpus_dataset(1_000)",
    "Dialogue": 'lab.load_dialogues("plain")[0]',
    "Document": "lab.load_corpus().documents[0]",
    "Decoding": "lab.Decoding(temperature=0.8)",
    "Event": "threading.Event()",
    "Example": 'lab.accuracy.domain_examples(tokenizer, True)["puzzles"][0]',
    "ExpertConfig": "lab.ExpertConfig(1_000, 64, 2, 2, 32)",
    "GPT": "lab.GPT(config)",
    "GPTConfig": "lab.GPTConfig(1_000, 64, 2, 2, 32)",
    "Module": "lab.GPT(config)",
    "NGramConfig": "lab.NGramConfig(1_000)",
    "Phase": "lab.PHASES[2]",
    "Reply": "what lab.replies.reply(…) returns",
    "Run": "what lab.train(…) returns",
    "Setup": 'lab.Setup.parse("phase-2")',
    "Task": "lab.continuations.script_tasks(tokenizer)[0]",
    "Tokenizer": "lab.gpt2_tokenizer()",
    "TrainConfig": "lab.TrainConfig(8, 1e-3, max_steps=100)",
    "TrainState": "run.state",
}


def whole_number(
    name: str, value: Any, least: int = 0, most: int | None = None, note: str = ""
) -> int:
    """`value` as an int, NumPy's included. Raises `ValueError` for anything else or out of range.

    True and False are refused: they are whole numbers to Python, but not to anybody who reads.
    A `note` explains the bounds at the end of the sentence.
    """
    try:
        if _is_truth_value(value):
            raise TypeError
        number = operator.index(value)
        if number < least or (most is not None and number > most):
            raise ValueError
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor that has no data
        bounds = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        note = f" ({note})" if note else ""
        raise ValueError(
            f"{name} is {shown(value)}; it must be a whole number {bounds}{note}."
        ) from None
    return number


def real_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """`value` as a finite float, NumPy's included. Raises `ValueError` for anything else.

    The bounds `above` and `below` are excluded, `least` and `most` are allowed.
    """
    number = _as_float(value)
    allowed = (
        math.isfinite(number)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if allowed:
        return number
    limits = {"above": above, "at least": least, "below": below, "at most": most}
    bounds = " and ".join(
        f"{word} {limit:,}" if isinstance(limit, int) else f"{word} {limit:g}"
        for word, limit in limits.items()
        if limit is not None
    )
    kind = "finite number" if math.isinf(number) else "number"
    raise ValueError(f"{name} is {shown(value)}; it must be a {kind} {bounds}".rstrip() + ".")


def truth_values(**values: Any) -> None:
    """Raise `ValueError` for the first of some options that is neither True nor False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {shown(value)}; it must be True or False.")


def instance(name: str, value: Any, kind: Any, example: str = "") -> Any:
    """`value`, if it is of a kind. Raises `ValueError`, with an example, for anything else."""
    if not isinstance(value, kind):
        example = example or EXAMPLES[kind.__name__]
        raise ValueError(f"{name} is {shown(value)}; it must be {one(kind)}, such as {example}.")
    return value


def listed(name: str, values: Any, things: str) -> list[Any]:
    """`values` as a list. Raises `ValueError` for what cannot be a list of such things.

    So does what would fill the memory, such as a range of a billion numbers.
    """
    try:
        if isinstance(values, str | bytes | dict) or operator.length_hint(values) > MOST_LISTED:
            raise TypeError
        return list(values)
    except (TypeError, OverflowError, RuntimeError):  # as tensors say that they have no items
        most = f" (at most {MOST_LISTED:,})" if isinstance(values, range) else ""
        raise ValueError(
            f"{name} is {shown(values)}; it must be a list of {things}{most}."
        ) from None


def one(kind: type) -> str:
    """The name of a kind with its article, as it is spoken: "a GPT", "an NGram"."""
    name = kind.__name__
    return f"an {name}" if re.match("[AEIOaeio]|N[A-Z]", name) else f"a {name}"


def one_of(name: str, value: Any, words: Collection[str]) -> str:
    """`value`, if it is one of these words. Raises `ValueError`, with the words, if it is not."""
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} is {shown(value)}; it must be one of {', '.join(words)}.")
    return value


def instances(name: str, values: Any, kind: type) -> list[Any]:
    """`values` as a list, if each is of a kind. Raises `ValueError` for anything else."""
    values = listed(name, values, f"{kind.__name__}s, each such as {EXAMPLES[kind.__name__]}")
    return [instance(f"{name}[{i}]", value, kind) for i, value in enumerate(values)]


def table_with(
    name: str, value: Any, columns: Iterable[Any], example: str = "what lab.read_grid() returns"
) -> "pd.DataFrame":
    """`value`, if it is a table with rows and these columns, each column once.

    Raises `ValueError` if it is not.
    """
    import pandas as pd

    instance(name, value, pd.DataFrame, example)
    columns = listed("The columns", columns, "names of columns")
    named = [column if isinstance(column, str) else shown(column) for column in columns]
    if missing := [column for column in named if column not in value]:
        raise ValueError(f"{name} lacks {', '.join(missing)}; it needs {', '.join(named)}.")
    if not value.columns.is_unique:
        twice = value.columns[value.columns.duplicated()][0]
        raise ValueError(f"{name} has the column {shown(twice)} twice; give each its own name.")
    if value.empty:
        raise ValueError(f"{name} has no rows; give one with rows, such as {example}.")
    return value


def number_columns(name: str, table: "pd.DataFrame", columns: Iterable[str], gaps: bool) -> None:
    """Raise `ValueError` for a column of a table with other values than numbers, NaN and infinity.

    With `gaps`, NaN is allowed.
    """
    for column in columns:
        values = table[column]
        right = values.dtype.kind in "iufb" and not values.abs().eq(math.inf).any()
        if not right or (not gaps and values.isna().any()):
            raise ValueError(
                f"The column {shown(column)} of {name} has other values than numbers; leave out "
                "the rows without one."
            )


def text_columns(name: str, table: "pd.DataFrame", columns: Iterable[str]) -> None:
    """Raise `ValueError` for a column of a table with other values than text."""
    for column in columns:
        for value in table[column]:
            whole_text(f"A {column} of {name}", value)


def whole_text(name: str, value: Any) -> str:
    """`value`, if it is text that can be written to a file. Raises `ValueError` for anything else.

    A Python string may hold half a character (a lone surrogate, U+D800 to U+DFFF), which no
    encoding can write and no tokenizer can give back.
    """
    if not isinstance(value, str):
        hint = "; decode it first" if isinstance(value, bytes | bytearray) else ""
        raise ValueError(f"{name} is {shown(value)}; it must be text (a str){hint}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = ord(value[error.start])
        raise ValueError(
            f"{name} has half a character (U+{half:04X}) at place {error.start:,}; remove it, "
            'such as by text.encode("utf-8", "replace").decode().'
        ) from None
    return value


def is_one_line(text: str) -> bool:
    """Whether a text has neither lines nor what rewrites a terminal or turns the writing round."""
    return not any(
        unicodedata.category(letter) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(letter) in TURNS
        for letter in text
    )


def is_nan(value: Any) -> bool:
    """Whether it is NaN, as a number of Python, NumPy or PyTorch."""
    try:
        return math.isnan(value)
    except Exception:  # text and lists are no numbers, and a number may be too large
        return False


def is_word(value: object) -> bool:
    """Whether it is text without blanks and control characters, and not empty."""
    return isinstance(value, str) and value.isprintable() and value.split() == [value]


def printable(text: object, keep: str = "") -> str:
    """What somebody wrote, for a text or a sentence: without control characters but `keep`.

    So it is on one line, unless line ends are kept.
    """
    return "".join(c if c.isprintable() or c in keep else "\ufffd" for c in str(text))


def shown(value: Any, longest: int = 80) -> str:
    """A value in an error sentence: on one line, and cut where it would fill the screen."""
    if isinstance(value, int) and abs(value) >= 10**longest:
        return "a number that is far too large"  # Python refuses to print the largest
    if isinstance(value, str | bytes | bytearray):
        value = value[: longest + 1]
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = one(type(value))  # which cannot even be printed
    return printable(text if len(text) <= longest else f"{text[:longest]}…")


def _as_float(value: Any) -> float:
    """The number, or NaN for what is none. Text is none, even where it looks like a number."""
    has_rows = bool(getattr(value, "ndim", False))  # an array or a tensor of several numbers
    if not hasattr(value, "__float__") or _is_truth_value(value) or has_rows:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return math.nan


def _is_truth_value(value: Any) -> bool:
    """Whether it is True or False, of Python, of NumPy or in a tensor."""
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
