"""A written text as HTML and in words: its tokens, coloured by their probability, and its marks."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from slmlab.show.widgets.parts import paragraph, table_html, visible
from slmlab.show.widgets.shading import legend, percent, shaded, token_bytes
from slmlab.study.memorisation import COPY_NGRAM
from slmlab.study.samples import REPEAT_NGRAM
from slmlab.study.writing import Written
from slmlab.text.tokenizer import Tokenizer

MARKED = "box-shadow:inset 0 -3px #6a1fd0;font-weight:bold"
NONE = "–"
WHAT = (
    f"Repetition is the share of {REPEAT_NGRAM}-token sequences that came before, copied that of "
    f"{COPY_NGRAM}-token sequences that the training text has."
)


class Told(NamedTuple):
    """A token of a text as it is shown."""

    text: str  # as it flows
    own: float  # its probability to the model itself
    says: str  # both of its probabilities in words
    forced: bool


def told(written: Written, forced: Sequence[int]) -> list[Told]:
    """The tokens of a text, of which those at the places `forced` were forced."""
    tokenizer, own = written.run.dataset.tokenizer, written.own
    final = written.final or [None] * len(own)
    tokens = []
    for i, (token, p, q) in enumerate(zip(written.ids, own, final, strict=True)):
        name = name_of(tokenizer, token)
        says = in_words(name, p, q) + ", forced" * (i in forced)
        tokens.append(Told(flowing(name), p, says, i in forced))
    return tokens


def name_of(tokenizer: Tokenizer, token: int) -> str:
    """A token's text with everything visible."""
    return visible(token_bytes(tokenizer, token))


def flowing(name: str) -> str:
    """A token's name as part of a text that flows: with its own spaces and ends of lines."""
    return name.replace("␣", " ").replace("⏎", "⏎\n")


def in_words(name: str, own: float, final: float | None) -> str:
    """The probabilities of a token; None for the final one where nothing is drawn."""
    said = f"“{name}”: {percent(own)}% to the model itself"
    return said if final is None else f"{said}, {percent(final)}% final"


def text_html(tokens: Sequence[Told], since: int = 0) -> str:
    """The tokens of a text, of which those before the place `since` have no colour."""
    spans = [escape(token.text) for token in tokens[:since]]
    for token in tokens[since:]:
        style = MARKED if token.forced else ""
        spans.append(shaded(token.own, escape(token.text), style, token.says))
    return (
        "<pre style='margin:0;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6;"
        f"font-size:13px'>{''.join(spans)}</pre>"
    )


def legend_html() -> str:
    """What the colours and the line below a token mean."""
    forced = f"<span style='{MARKED}'>&nbsp;forced&nbsp;</span>"
    said = f"probability to the model, in %: {legend()} &nbsp;{forced}"
    return f"<div class='slm-shades' style='line-height:1.6'>{said}</div>"


def card_html(columns: Mapping[str, Mapping[str, float]]) -> str:
    """The scorecard: the marks of several texts, each by its name."""
    first = next(iter(columns.values()))
    rows = [[name, *(_mark(name, marks[name]) for marks in columns.values())] for name in first]
    return f"<h4>Scorecard</h4>{table_html(['', *columns], rows)}{paragraph(WHAT)}"


def _mark(name: str, value: float) -> str:
    if math.isnan(value):
        return NONE
    if name == "parses":
        return "yes" if value else "no"
    if name in ("repetition", "copied"):
        return f"{value:.0%}"
    return f"{value:.2f}" if name == "nats per token" else f"{value:,}"
