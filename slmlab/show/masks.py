"""A dialogue's tokens, and which of them count in the loss."""

from dataclasses import dataclass

from slmlab.show.widgets.parts import paragraph, visible
from slmlab.show.widgets.tokens import COLOURS, token_html, tokens_html
from slmlab.text.dialogues import Dialogue, render
from slmlab.text.tokenizer import ChatTokenizer

GREEN, GREY = COLOURS[2], "#eeeeee"
UNDERLINED = ";border-bottom:3px solid #00664b"


@dataclass(frozen=True)
class TokenMask:
    """Tokens, each with its id, its bytes and whether it counts: end a cell with it, or print it.

    What counts is green and underlined; in plain text, it has brackets around it.
    """

    tokens: tuple[tuple[int, bytes, bool], ...]

    @property
    def sentence(self) -> str:
        """How many of the tokens count."""
        n = sum(counts for *_, counts in self.tokens)
        return f"{n:,} of {len(self.tokens):,} tokens count in the loss"

    def __repr__(self) -> str:
        shown = (f"[{visible(b)}]" if counts else visible(b) for _, b, counts in self.tokens)
        return f"{self.sentence} (in brackets):\n{' '.join(shown)}"

    def _repr_html_(self) -> str:
        spans = "".join(
            token_html(i, b, GREEN if counts else GREY, UNDERLINED if counts else "")
            for i, b, counts in self.tokens
        )
        said = f"{self.sentence} (green and underlined)."
        return paragraph(said) + tokens_html("Tokens of the dialogue", spans)


def show_mask(dialogue: Dialogue, tokenizer: ChatTokenizer, count_end: bool = True) -> TokenMask:
    """The tokens of a dialogue, coloured by whether they count in the loss.

    `count_end` is that of `dialogue_dataset`. Raises `ValueError` as `render` does.
    """
    ids, mask = render(dialogue, tokenizer, count_end)
    pieces = map(tokenizer.token_bytes, ids)
    return TokenMask(tuple(zip(ids, pieces, mask, strict=True)))
