"""The tokens that several vocabularies make of a text, side by side with what they cost."""

from collections.abc import Mapping
from html import escape

import ipywidgets

from slmlab.show.widgets.parts import (
    FULL,
    Panel,
    framed,
    live,
    problem_html,
    row,
    table_html,
    title_html,
    visible,
)
from slmlab.text.corpus import load_corpus
from slmlab.text.examples import EXAMPLES
from slmlab.text.tokenizer import Tokenizer, tokenizer_for
from slmlab.validation import instance, whole_text

LONGEST = 1_000  # characters: all is drawn anew at each key, up to 4,000 single bytes
# Neighbours differ in colour, and a line parts them, so that colour is not all that tells.
COLOURS = ("#cfe6f5", "#fde6c4", "#cdeedd", "#f6d9e8")
AS_IN = '{"GPT-2": lab.gpt2_tokenizer()}'
VOCABULARIES = {  # of the course's text: a name, and the word for it in a set-up
    "single bytes": "bpe-256",
    "learnt from the corpus": "bpe-512",
    "GPT-2's, right-sized": "right-sized",
    "GPT-2's": "gpt2",
}


class TokenExplorer(Panel):
    """A text in the tokens of several vocabularies, and the tokens that each needs for it.

    Each token has a colour and a border; hovering over it shows its id and bytes. White space is
    visible, and a character of which a token has only a part appears as bytes. Where no kernel is
    attached, the text that was last shown appears in the panel's place.

    Args:
        text: to begin with.
        vocabularies: tokenizers by the names to show; those of `VOCABULARIES` by default.

    Attributes:
        text: the field for the text; more than 1,000 characters are cut.
        examples: buttons by name, each of which puts a text into the field.
        cost: tokens and bytes per token of every vocabulary, as HTML.
        views: the coloured tokens of every vocabulary, as HTML.
        status: the cost as a sentence, or what is wrong, as HTML.

    Raises:
        ValueError: for something else than text, or than tokenizers by name.
    """

    def __init__(
        self,
        text: str = EXAMPLES["Python"],
        vocabularies: Mapping[str, Tokenizer] | None = None,
    ) -> None:
        whole_text("text", text)
        if vocabularies is None:
            corpus = load_corpus().text
            vocabularies = {
                name: tokenizer_for(corpus, word) for name, word in VOCABULARIES.items()
            }
        self.vocabularies = dict(instance("vocabularies", vocabularies, Mapping, AS_IN))
        if not self.vocabularies:
            raise ValueError(f"There are no vocabularies; give some, such as {AS_IN}.")
        for name, tokenizer in self.vocabularies.items():
            whole_text("The name of a vocabulary", name)
            instance(f"vocabularies[{name!r}]", tokenizer, Tokenizer)
        self.text = ipywidgets.Textarea(
            text, description="text", rows=5, layout=FULL, style={"description_width": "auto"}
        )
        self.examples = {
            name: ipywidgets.Button(description=name, layout={"width": "auto"}) for name in EXAMPLES
        }
        self.status, self.cost, self.views = live(), ipywidgets.HTML(), ipywidgets.HTML()
        self.status.layout.min_height = "24px"  # so that what is below does not move
        self._draw()

        self.text.observe(self._draw, "value")
        for name, button in self.examples.items():
            button.on_click(lambda _, name=name: setattr(self.text, "value", EXAMPLES[name]))
        heading = "One text, several vocabularies"
        self.box = framed(
            "tokens",
            ipywidgets.HTML(title_html(heading)),
            self.text,
            row(*self.examples.values()),
            self.status,
            self.cost,
            self.views,
            label=heading,
        )

    def _draw(self, _: object = None) -> None:
        text = self.text.value[:LONGEST]
        try:
            whole_text("The text", text)
        except ValueError as error:  # a browser can send half a character
            self.status.value, self.cost.value, self.views.value = problem_html(str(error)), "", ""
            return
        n_bytes = len(text.encode())
        ids = {name: tokenizer.encode(text) for name, tokenizer in self.vocabularies.items()}
        counts = ", ".join(f"{len(ids[k]):,} ({escape(k)})" for k in ids)
        cut = f" Only the first {LONGEST:,} characters are shown." * (
            len(self.text.value) > LONGEST
        )
        self.status.value = f"{n_bytes:,} bytes. Tokens: {counts}.{cut}"
        self.cost.value = table_html(
            ["vocabulary", "rows", "tokens", "bytes per token"],
            [
                [name, f"{tokenizer.n_vocab:,}", f"{len(ids[name]):,}", _ratio(n_bytes, ids[name])]
                for name, tokenizer in self.vocabularies.items()
            ],
        )
        self.views.value = "".join(
            _view(name, tokenizer, ids[name]) for name, tokenizer in self.vocabularies.items()
        )

    def static(self) -> str:
        """The tokens of the text and their cost."""
        return f"<p>{self.status.value}</p>{self.cost.value}{self.views.value}"


def _ratio(n_bytes: int, ids: list[int]) -> str:
    return f"{n_bytes / len(ids):.2f}" if ids else "–"


def _view(name: str, tokenizer: Tokenizer, ids: list[int]) -> str:
    """The coloured tokens of one vocabulary, under its name."""
    spans = "".join(
        token_html(i, tokenizer.token_bytes(i), COLOURS[place % len(COLOURS)])
        for place, i in enumerate(ids)
    )
    heading = f"<h4 style='margin:10px 0 2px'>{escape(name)}</h4>"
    return heading + tokens_html(f"Tokens: {name}", spans)


def tokens_html(label: str, spans: str, height: int = 150) -> str:
    """A field of tokens, such as those of `token_html`, of at most so many pixels.

    A screen reader calls it `label`.
    """
    # A long text is scrolled, for which the keyboard needs a place to go to.
    return (
        f"<div tabindex='0' role='region' aria-label='{escape(label)}' "
        f"style='max-height:{height}px;overflow:auto;border:1px solid "
        "var(--jp-border-color1,#bdbdbd);padding:4px 8px'>"
        "<pre style='margin:0;padding:0;white-space:pre-wrap;overflow-wrap:anywhere;"
        f"line-height:1.7;font-size:13px'>{spans}</pre></div>"
    )


def token_html(token_id: int, token: bytes, colour: str, style: str = "") -> str:
    """A token on a colour: white space is visible, hovering over it shows its id and bytes."""
    shown = escape(visible(token)).replace("⏎", "⏎\n")
    return (
        f"<span title='id {token_id}: {token.hex(' ')}' style='background:{colour};color:#000000;"
        f"border-right:1px solid #555555{style}'>{shown}</span>"
    )
