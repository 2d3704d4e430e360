"""What each token of a Python text is to Python: a keyword, a name, part of a string …"""

import io
import keyword
import tokenize
from collections import Counter
from itertools import accumulate

from torch import Tensor

from slmlab.text.dataset import require_ids
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, whole_text

CLASSES = ("keyword", "name", "number", "string", "comment", "operator", "space")
_KINDS = {
    tokenize.NUMBER: "number",
    tokenize.STRING: "string",
    tokenize.COMMENT: "comment",
    tokenize.OP: "operator",
}


def byte_classes(text: str) -> list[str]:
    """One of `CLASSES` for each byte of a text, as Python's own tokenizer reads it.

    A docstring is a string, and so is all of an f-string, whatever stands between its braces.
    Raises `ValueError` for what Python cannot read as tokens.
    """
    lines = io.StringIO(whole_text("text", text)).readlines()  # `splitlines` knows other ends too
    starts = [0, *accumulate(map(len, lines))]
    classes = ["space"] * len(text)
    opened: list[int] = []  # where f-strings begin that are open: one may be within another
    try:
        for token in tokenize.generate_tokens(iter(lines).__next__):
            kind = tokenize.tok_name[token.type]
            begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            if kind == "FSTRING_START":  # from Python 3.12 on, they have parts
                opened.append(begin)
                continue
            if kind == "FSTRING_END":
                begin, found = opened.pop(), "string"
            elif token.type == tokenize.NAME:
                found = "keyword" if keyword.iskeyword(token.string) else "name"
            elif token.type in _KINDS:
                found = _KINDS[token.type]
            elif token.type == tokenize.ERRORTOKEN:  # later Pythons raise an error
                raise SyntaxError(f"{token.string!r} in line {token.start[0]}")
            else:
                continue
            classes[begin:end] = [found] * (end - begin)
    except (tokenize.TokenError, SyntaxError) as error:
        raise ValueError(f"Not all of the text is Python: {error}.") from None
    return [c for letter, c in zip(text, classes, strict=True) for _ in letter.encode()]


def token_classes(ids: Tensor, tokenizer: Tokenizer) -> list[str]:
    """One of `CLASSES` for each token of ids (N,), which are a Python text: that of most of its
    bytes. Only blanks are "space", whatever they stand in.

    Raises `ValueError` for ids that are no Python text.
    """
    require_ids("ids", ids)
    instance("tokenizer", tokenizer, Tokenizer)
    pieces = [tokenizer.token_bytes(i) for i in ids.tolist()]
    try:
        of_bytes = byte_classes(b"".join(pieces).decode())
    except UnicodeDecodeError:
        raise ValueError(
            "The ids are no Python text: a letter is cut; give the ids of whole letters."
        ) from None
    found, at = [], 0
    for piece in pieces:
        end = at + len(piece)
        own = [c for b, c in zip(piece, of_bytes[at:end], strict=True) if not bytes([b]).isspace()]
        found.append(Counter(own).most_common(1)[0][0] if own else "space")
        at = end
    return found
