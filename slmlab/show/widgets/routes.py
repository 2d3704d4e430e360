"""The tokens of a text, coloured by the expert that takes them, layer by layer."""

from collections import Counter
from html import escape

import ipywidgets
import torch
from torch import Tensor

from slmlab.engine.model import GPT
from slmlab.show.widgets.choices import Choices
from slmlab.show.widgets.parts import Panel, framed, live, paragraph, row, table_html, title_html
from slmlab.show.widgets.shading import on_colour
from slmlab.show.widgets.slider import Slider
from slmlab.show.widgets.tokens import tokens_html
from slmlab.show.widgets.written import MARKED, flowing, name_of
from slmlab.show.words import counted
from slmlab.study.routing import routes
from slmlab.study.samples import parses
from slmlab.text.dataset import encoded
from slmlab.text.python_classes import token_classes
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, whole_number

MOST_TOKENS = 2_000
HEIGHT = 420  # pixels of the text where no kernel is attached, as in panels.css
TOP = 8  # tokens in the table of an expert, and experts that are listed of a token
# Of experts 0, 1, 2 …: black is read on each, and colour-blind readers can tell each from each.
COLOURS = (
    "#77aaff",
    "#ffdd88",
    "#dd8866",
    "#77eedd",
    "#bb88bb",
    "#99ddaa",
    "#ccccff",
    "#88aa99",
)
IN_PYTHON = {
    "keyword": "a keyword",
    "name": "a name",
    "number": "a number",
    "string": "part of a string",
    "comment": "part of a comment",
    "operator": "an operator",
    "space": "white space",
}


class RouteExplorer(Panel):
    """A text whose tokens have the colour of the expert that takes them, in one layer at a time.

    Choose a token by mouse or keyboard to see its experts in every layer, and what else the expert
    takes whose colour it has: those tokens are marked. Choose an expert in the table to mark its
    tokens, and once more to mark none. The model reads the text when the panel is made, in windows
    of a context, one after the other. Where no kernel is attached, the text in its colours and the
    experts' shares appear in the panel's place.

    Args:
        model: a `GPT` with experts.
        tokenizer: the one that it was trained with.
        text: of at most 2,000 tokens.

    Attributes:
        layer: the slider for the layer.
        choice: the slider for which of a token's experts has its colour; 1 is the router's first.
        tokens: the text's tokens, to choose from.
        experts: the layer's experts and the share of the tokens that each takes, to choose from.
        place: that of the token that was chosen; None before one was.
        expert: whose tokens are marked, or None.
        status: what the colours show, as HTML.
        said: what was chosen, in words, as HTML.
        details: the chosen token's experts, and the chosen expert's tokens, as HTML.

    Raises:
        ValueError: for a model without experts or with damaged weights, a tokenizer that does not
            fit it, or a text that is none, empty or too long.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, text: str) -> None:
        ids = encoded(text, tokenizer)
        self._chosen, self._gates = _read(model, tokenizer, ids)
        self._config = model.config
        self._names = [name_of(tokenizer, token) for token in ids.tolist()]
        self._classes = _classes(text, tokenizer, ids)
        self.place: int | None = None
        self.expert: int | None = None

        self.layer = _slider("layer", len(self._chosen))
        self.choice = _slider("choice", self._chosen.shape[2])
        self.tokens, self.experts = Choices(), Choices()
        self.status, self.details = ipywidgets.HTML(), ipywidgets.HTML()
        self.said = live()
        self._draw()

        for slider in (self.layer, self.choice):
            slider.observe(self._turn, "value")
        self.tokens.on_choice(self.choose)
        self.experts.on_choice(self.mark)
        heading = "Which expert takes which token"
        self.box = framed(
            "routes",
            ipywidgets.HTML(title_html(heading)),
            row(self.layer, self.choice),
            self.status,
            self.tokens,
            row(self.experts, ipywidgets.VBox([self.said, self.details])).add_class("slm-beside"),
            label=heading,
        )

    # What somebody chooses or moves

    def choose(self, place: int) -> None:
        """Choose a token of the text, and with it the expert whose colour it has.

        Raises `ValueError` for a place that the text lacks.
        """
        self.place = whole_number("place", place, 0, len(self._names) - 1)
        self._turn()

    def mark(self, expert: int) -> None:
        """Mark the tokens that an expert takes; none, if they are marked already.

        Raises `ValueError` for an expert that the layer lacks.
        """
        expert = whole_number("expert", expert, 0, self._config.n_expert - 1)
        self.expert = None if expert == self.expert else expert
        self._draw()

    def _turn(self, _: object = None) -> None:
        # An expert of the same number in another layer is another one.
        self.expert = None if self.place is None else int(self._coloured[self.place])
        self._draw()

    # What is shown

    @property
    def _here(self) -> Tensor:
        """The experts of each token in the layer at hand: (N, k)."""
        return self._chosen[self.layer.value - 1]

    @property
    def _coloured(self) -> Tensor:
        """The expert whose colour each token has: (N,)."""
        return self._here[:, self.choice.value - 1]

    def _taken(self, expert: int) -> Tensor:
        """Which tokens an expert takes, by whichever choice: (N,)."""
        return (self._here == expert).any(1)

    def _listed(self, layer: int, place: int) -> list[tuple[int, float]]:
        """The experts of a token in a layer, with their gates; the first of many."""
        experts, gates = (part[layer, place, :TOP].tolist() for part in (self._chosen, self._gates))
        return list(zip(experts, gates, strict=True))

    def _draw(self) -> None:
        self.status.value = paragraph(" ".join(self._sentences()))
        with self.tokens.hold_sync():
            self.tokens.label = f"The text, layer {self.layer.value}"
            self.tokens.items = self._items()
            self.tokens.chosen = -1 if self.place is None else self.place
        with self.experts.hold_sync():
            self.experts.label = f"The experts of layer {self.layer.value}"
            self.experts.header = ["expert", *self._shares(0)]
            self.experts.items = [self._row(expert) for expert in range(self._config.n_expert)]
            self.experts.chosen = -1 if self.expert is None else self.expert
        self.said.value = paragraph(self._in_words())
        self.details.value = self._details()

    def _sentences(self) -> list[str]:
        n, k = self._here.shape
        c = self._config
        whose = f"the router's choice {self.choice.value} of {k}" if k > 1 else "its expert"
        said = [
            f"<b>Layer {self.layer.value} of {len(self._chosen)}</b>: each of the {n:,} tokens has "
            f"the colour of {whose}, among {c.n_expert:,} experts."
        ]
        if c.n_shared:
            said.append(f"Every token goes through {counted(c.n_shared, 'shared expert')} too.")
        if c.n_expert > len(COLOURS):
            said.append(f"The colours repeat after {len(COLOURS)} experts.")
        if n > c.block_size:
            said.append(f"The model reads {c.block_size:,} tokens at a time.")
        return said

    def _items(self) -> list[dict[str, object]]:
        marked = self._taken(-1 if self.expert is None else self.expert).tolist()
        items = []
        for place, (name, expert) in enumerate(
            zip(self._names, self._coloured.tolist(), strict=True)
        ):
            listed = self._listed(self.layer.value - 1, place)
            experts = "; ".join(f"expert {e}, gate {gate:.2f}" for e, gate in listed)
            items.append(
                {
                    "cells": [flowing(name)],
                    "says": f"“{name}”: {experts}",
                    "colour": _colour(expert),
                    "marked": marked[place],
                }
            )
        return items

    def _shares(self, expert: int) -> dict[str, float]:
        """The share of the tokens that an expert takes, by the choice at hand and by all."""
        shares = {f"choice {self.choice.value}": self._coloured == expert}
        if self._here.shape[1] > 1:
            shares["all choices"] = self._taken(expert)
        return {name: took.float().mean().item() for name, took in shares.items()}

    def _row(self, expert: int) -> dict[str, object]:
        shares = self._shares(expert)
        percents = {name: f"{share:.0%}" for name, share in shares.items()}
        said = ", ".join(f"{percent} by {name}" for name, percent in percents.items())
        return {
            "cells": [str(expert), *percents.values()],
            "says": f"Expert {expert}: of the tokens {said}",
            "colour": _colour(expert),
            "bars": list(shares.values()),
        }

    def _in_words(self) -> str:
        """The chosen token and the expert at hand."""
        n, said = len(self._names), []
        if self.place is not None:
            name = escape(self._names[self.place])
            said.append(f"Token {self.place + 1:,} of {n:,} is “<code>{name}</code>”")
            if self._classes:
                said[0] += f", {IN_PYTHON[self._classes[self.place]]} in Python"
            said[0] += "."
        if self.expert is not None:
            whose, took = (
                f"Expert {self.expert} of layer {self.layer.value}",
                self._taken(self.expert),
            )
            told = f"{whose} takes {int(took.sum()):,} of the {n:,} tokens"
            if self._here.shape[1] > 1:
                coloured = int((self._coloured == self.expert).sum())
                told += f", {coloured:,} of them as choice {self.choice.value}"
            said.append(f"{told}.")
        return " ".join(said) or "Choose a token of the text or an expert."

    def _details(self) -> str:
        parts = []
        if self.place is not None:
            lines = (
                f"<div>layer {layer + 1}: {self._chips(layer, self.place)}</div>"
                for layer in range(len(self._chosen))
            )
            parts.append(f"<h4>Its experts, and their gates</h4>{''.join(lines)}")
        if self.expert is not None:
            took = self._taken(self.expert).tolist()
            whole = Counter(self._names)
            own = Counter(name for name, taken in zip(self._names, took, strict=True) if taken)
            rows = [[name, f"{n:,}", f"{whole[name]:,}"] for name, n in own.most_common(TOP)]
            parts.append(
                f"<h4>What expert {self.expert} takes most often</h4>"
                + table_html(["token", "takes", "in the text"], rows)
            )
        sections = "".join(
            f"<section style='min-width:0;overflow-wrap:anywhere'>{part}</section>"
            for part in parts
        )
        return f"<div style='display:flex;flex-flow:row wrap;gap:8px 32px'>{sections}</div>"

    def _chips(self, layer: int, place: int) -> str:
        """The experts of a token in a layer, each on its colour, with their gates."""
        return " &nbsp;".join(
            f"{_chip(expert)} {gate:.2f}" for expert, gate in self._listed(layer, place)
        )

    def static(self) -> str:
        """The text in its colours, the experts' shares, and what was chosen."""
        spans = "".join(
            on_colour(
                item["colour"],
                escape(item["cells"][0]),
                f"border-right:1px solid #555555;{MARKED if item['marked'] else ''}",
                item["says"],
            )
            for item in self.tokens.items
        )
        shares = " &nbsp;".join(
            f"{_chip(expert)} {item['cells'][1]}" for expert, item in enumerate(self.experts.items)
        )
        chosen = self.place is not None or self.expert is not None
        return (
            f"{self.status.value}{tokens_html(self.tokens.label, spans, HEIGHT)}"
            f"{paragraph(f'Experts, and their share of the tokens: {shares}')}"
            + (f"{self.said.value}{self.details.value}" if chosen else "")
        )


def _read(model: GPT, tokenizer: Tokenizer, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Each token's experts and their gates, (L, N, k) both. Raises `ValueError` as the panel."""
    rows = instance("model", model, GPT).config.vocab_size
    if tokenizer.n_vocab > rows:
        raise ValueError(
            f"The tokenizer has {tokenizer.n_vocab:,} tokens, but the model's vocabulary ends at "
            f"{rows - 1:,}; use the tokenizer that the model was trained with."
        )
    if len(ids) > MOST_TOKENS:
        raise ValueError(
            f"The text has {len(ids):,} tokens; give a part of it, of at most {MOST_TOKENS:,}."
        )
    found = routes(model, ids)
    chosen, gates = (torch.cat(parts) for parts in zip(*(r[1:] for r in found), strict=True))
    if not gates.isfinite().all():
        raise ValueError("The model is damaged: it gives no finite numbers.")
    return chosen, gates


def _classes(text: str, tokenizer: Tokenizer, ids: Tensor) -> list[str]:
    """What each token is to Python; nothing for what is not Python."""
    try:
        return token_classes(ids, tokenizer) if parses(text) else []
    except ValueError:  # it may be Python up to its last line
        return []


def _slider(name: str, count: int) -> Slider:
    """A slider from 1 to a count; hidden, where there is nothing to move."""
    layout = {"width": "260px", "max_width": "100%", "display": "" if count > 1 else "none"}
    options = [(f"{n} of {count}", n) for n in range(1, count + 1)]
    return Slider(options=options, description=name, layout=layout)


def _colour(expert: int) -> str:
    return COLOURS[expert % len(COLOURS)]


def _chip(expert: int) -> str:
    """An expert's number on its colour."""
    return on_colour(_colour(expert), f"&nbsp;{expert}&nbsp;")
