"""Tokens shaded by their probability, and probabilities in percent."""

from html import escape

from slmlab.text.tokenizer import Tokenizer

SHADES = (  # from this probability on: the background of a generated token, and its range in %
    (0.5, "#8fc1e3", "≥ 50"),
    (0.1, "#d3e7f4", "10–50"),
    (0.01, "#fbe3c8", "1–10"),
    (0.0, "#f2b083", "&lt; 1"),
)


def shade(probability: float) -> str:
    """The background of a token of this probability."""
    return next(colour for low, colour, _ in SHADES if probability >= low)


def shaded(probability: float, html: str, style: str = "", title: str = "") -> str:
    """HTML on the background of its probability; `title` is seen when one points at it."""
    return on_colour(shade(probability), html, style, title)


def on_colour(colour: str, html: str, style: str = "", title: str = "") -> str:
    """HTML in black on a background; `title` is seen when one points at it."""
    told = f" title='{escape(title)}'" if title else ""
    return f"<span{told} style='background:{colour};color:#000000;{style}'>{html}</span>"


def legend() -> str:
    """What the backgrounds mean."""
    return "".join(shaded(low, f"&nbsp;{name}&nbsp;") for low, _, name in SHADES)


def percent(p: float) -> str:
    """A probability in percent, without the sign."""
    return "<0.1" if 0 < p < 0.0005 else f"{100 * p:.1f}" if p else "0"


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes of a token, or its id: a model may have more rows than its tokenizer has tokens."""
    return tokenizer.token_bytes(token) if token < tokenizer.n_vocab else f"<id {token}>".encode()
