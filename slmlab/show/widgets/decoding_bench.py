"""One prompt up a ladder of decoding methods: each token's probabilities, branches, a scorecard."""

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import NamedTuple

import ipywidgets

from slmlab.engine.decoding import Decoding
from slmlab.engine.generation import encoded_prompt
from slmlab.engine.runs import Run
from slmlab.show.runs import short
from slmlab.show.widgets.beam_tree import beam_tree_html
from slmlab.show.widgets.choices import Choices
from slmlab.show.widgets.dials import DIALS, LADDER, dials_of, make_dial, set_dial, setting
from slmlab.show.widgets.parts import (
    FULL,
    Panel,
    framed,
    live,
    paragraph,
    problem_html,
    row,
    title_html,
)
from slmlab.show.widgets.shading import percent, shade
from slmlab.show.widgets.written import (
    NONE,
    Told,
    card_html,
    in_words,
    legend_html,
    name_of,
    text_html,
    told,
)
from slmlab.show.words import counted
from slmlab.study.writing import Alternative, Written, draws, marks, write
from slmlab.validation import instance, printable, whole_number, whole_text

TOKENS = 40  # of a text: as many as are read at a glance
MOST_TOKENS = 200
AS_IN = '{"greedy": lab.Decoding(temperature=0)}'


class Branch(NamedTuple):
    """A beginning that somebody gave a text by forcing a token, and the text that it left."""

    given: tuple[int, ...]  # new tokens, up to the forced one
    forced: tuple[int, ...]  # the places of all forced tokens among them
    left: str  # as HTML


class DecodingBench(Panel):
    """What a model writes by each of several methods, token by token.

    Each token has the colour of its probability to the model itself. Choose one by mouse or
    keyboard to see what else could stand there, with the model's probability and the one after
    the filters; choose one of those to force it. The text then branches: the method goes on behind
    the forced token, and the text that was left stays in view. Another method, or a dial, writes
    the text anew behind the last forced token; another prompt starts over. Of a beam search the
    tree is drawn. Where no kernel is attached, the text and its scorecard appear in the panel's
    place.

    Args:
        run: whose model writes.
        prompt: the text to continue.
        truth: what follows the prompt in a text that somebody wrote; it is scored beside the
            model's.
        methods: by name; those of `LADDER` if not given.
        n_tokens: how many tokens a text has.

    Attributes:
        prompt: the field for the prompt.
        method: the choice of a method, by its name.
        dials: a slider for each option of `Decoding`, by its name; those that the method uses are
            shown.
        seed: of the random numbers.
        undo, again: buttons that take back the last forced token, or all.
        written: the text, a `Written`; None if none could be written.
        tokens: its tokens, to choose from.
        alternatives: what could stand at the place that was chosen, to choose from.
        place: that place; None before one was chosen.
        status: what was written, or what is wrong, as HTML.
        left: the text that the last forced token left, as HTML.
        card: the scorecard, as HTML.
        tree: the tree of a beam search, as HTML.

    Raises:
        ValueError: for a run that was kept without its weights, texts that are none, something
            else than decodings by name, or a number of tokens that is not from 1 to 200.
    """

    def __init__(
        self,
        run: Run,
        prompt: str = "collection.add(",
        truth: str | None = None,
        methods: Mapping[str, Decoding] | None = None,
        n_tokens: int = TOKENS,
    ) -> None:
        instance("run", run, Run).require_weights()
        self.run = run
        self._n = whole_number("n_tokens", n_tokens, 1, MOST_TOKENS)
        self.methods = _checked(LADDER if methods is None else methods)
        self._asked = whole_text("prompt", prompt)
        truth = "" if truth is None else whole_text("truth", truth)
        self._truth = run.dataset.tokenizer.encode(truth)[: self._n]
        self._branches: list[Branch] = []
        self._quiet = False  # while the panel itself moves its dials
        self.written: Written | None = None
        self.place: int | None = None
        self._make_widgets(prompt)
        self._choose_method()
        self._connect()
        heading = f"Decoding bench: {short(run.name)}"
        self.box = framed(
            "decoding",
            ipywidgets.HTML(title_html(heading)),
            self.prompt,
            row(self.method, self.seed, self.undo, self.again),
            self._shown_dials,
            self.status,
            self.left,
            self.tokens,
            ipywidgets.HTML(legend_html()),
            row(self._beside, self.card).add_class("slm-beside"),
            self.tree.add_class("slm-tree"),
            label=heading,
        )

    def _make_widgets(self, prompt: str) -> None:
        auto = {"description_width": "auto"}
        self.prompt = ipywidgets.Textarea(
            prompt,
            description="prompt",
            rows=min(6, 1 + prompt.count("\n")),
            continuous_update=False,
            layout=FULL,
            style=auto,
        )
        self.method = ipywidgets.Dropdown(
            options=list(self.methods),
            description="method",
            style=auto,
            layout={"width": "260px"},
        )
        self.seed = ipywidgets.BoundedIntText(
            0, max=2**31 - 1, description="seed", style=auto, layout={"width": "150px"}
        )
        self.undo, self.again = (
            ipywidgets.Button(description=name, layout={"width": "auto"}, disabled=True)
            for name in ("Undo", "Start over")
        )
        self.dials = {option: make_dial(option) for option in DIALS}
        self._shown_dials = row()
        self.status, self.left, self.card, self.tree = (
            live(),
            *(ipywidgets.HTML() for _ in range(3)),
        )
        self.status.layout.min_height = "24px"  # so that what is below does not move
        self.card.layout = {"flex": "1 1 300px", "min_width": "0"}
        self.tokens = Choices()
        self.alternatives = Choices(header=["token", "model", "after filters"])
        self._what = live()
        self._beside = ipywidgets.VBox([self._what, self.alternatives])

    def _connect(self) -> None:
        self.prompt.observe(self._start_over, "value")
        self.method.observe(self._choose_method, "value")
        self.seed.observe(self._turn, "value")
        for dial in self.dials.values():
            dial.observe(self._turn, "value")
        self.undo.on_click(self._undo)
        self.again.on_click(self._start_over)
        self.tokens.on_choice(self.choose)
        self.alternatives.on_choice(self._force)

    @property
    def decoding(self) -> Decoding:
        """The method as its dials are set now."""
        method = self.methods[self.method.value]
        changes = {option: setting(option, self.dials[option]) for option in dials_of(method)}
        return replace(method, **changes, seed=self.seed.value)

    # What somebody chooses, moves or presses

    def choose(self, place: int) -> None:
        """Choose a token of the text: what else could stand there is shown, to be forced.

        Raises `ValueError` for a place that the text lacks.
        """
        last = len(self.written.ids) - 1 if self.written else -1
        self.place = whole_number("place", place, 0, last)
        self._draw_alternatives()

    def force(self, token: int) -> None:
        """Put a token in the place that was chosen, and let the method go on behind it.

        Raises `ValueError` before a place was chosen, for what is no token of the model, and where
        the method cannot go on; the text is then unchanged.
        """
        if self.written is None or self.place is None:
            raise ValueError("No place was chosen yet; choose a token of the text first.")
        place, last = self.place, self.run.model.config.vocab_size - 1
        given = (*self.written.ids[:place], whole_number("token", token, 0, last))
        forced = (*(old for old in self._forced if old < place), place)
        branch = Branch(given, forced, self._left_html(place))
        self.written = self._write(branch)
        self._branches.append(branch)
        self._draw()

    def _force(self, index: int) -> None:
        try:
            self.force(self._offered[index].token)
        except ValueError as error:  # the text must stay Python, and this token ends that
            self.status.value = problem_html(str(error))

    def _choose_method(self, _: object = None) -> None:
        method = self.methods[self.method.value]
        shown = dials_of(method)
        self._quiet = True
        try:
            for option in shown:
                set_dial(option, self.dials[option], getattr(method, option))
        finally:
            self._quiet = False
        self._shown_dials.children = [self.dials[option] for option in shown]
        self._turn()

    def _turn(self, _: object = None) -> None:
        """Write the text anew, behind the last forced token."""
        if self._quiet:
            return
        try:
            self.written = self._write(self._branches[-1] if self._branches else None)
        except ValueError as error:  # no prompt, half a character, or options that exclude others
            self.written = None
            self.status.value = problem_html(str(error))
        self._draw()

    def _undo(self, _: object = None) -> None:
        self._branches = self._branches[:-1]
        self._turn()

    def _start_over(self, _: object = None) -> None:
        self._branches, self.place = [], None
        self._turn()

    def _write(self, branch: Branch | None) -> Written:
        prompt = encoded_prompt(self.run.dataset.tokenizer, self.prompt.value)
        return write(self.run, prompt, self._n, self.decoding, branch.given if branch else ())

    # What is shown

    @property
    def _forced(self) -> tuple[int, ...]:
        return self._branches[-1].forced if self._branches else ()

    def _name(self, token: int) -> str:
        return name_of(self.run.dataset.tokenizer, token)

    def _draw(self) -> None:
        self.undo.disabled = self.again.disabled = not self._branches
        self.left.value = self._branches[-1].left if self._branches and self.written else ""
        method = self.methods[self.method.value]
        random = draws(method) and self.dials["temperature"].value
        self.seed.layout.display = "" if random else "none"
        ids = self.written.ids if self.written else []
        if self.place is not None and self.place >= len(ids):
            self.place = None
        self._draw_alternatives()
        self.card.value = self._card() if self.written else ""
        self.tree.value = self._tree() if self.written else ""
        if self.written:
            self.status.value = paragraph(" ".join(self._sentences(self.written)))

    def _draw_tokens(self) -> None:
        with self.tokens.hold_sync():
            self.tokens.label = f"The text, by {self.method.value}"
            self.tokens.items = [
                {
                    "cells": [token.text],
                    "says": token.says,
                    "colour": shade(token.own),
                    "marked": token.forced,
                }
                for token in self._told()
            ]
            self.tokens.chosen = -1 if self.place is None else self.place

    def _told(self) -> list[Told]:
        return told(self.written, self._forced) if self.written else []

    def _sentences(self, written: Written) -> list[str]:
        n, block = len(written.ids), self.run.model.config.block_size
        said = [f"<b>{escape(self.method.value)}</b>: {counted(n, 'token')}"]
        said[0] += f", {len(self._forced):,} of them forced." if self._forced else "."
        if n < self._n:
            said.append("The method ended the text.")
        if not draws(written.decoding):
            said.append("It draws no token, so there is no final probability.")
        if written.decoding.python:
            said.append("Tokens that no Python can follow are struck out after the filters.")
        if (total := len(written.prompt) + n) > block:
            said.append(f"The model sees the last {block:,} of the {total:,} tokens.")
        return said

    def _draw_alternatives(self) -> None:
        self._draw_tokens()
        self._offered: list[Alternative] = []
        if self.written is None or self.place is None:
            self._what.value = paragraph("Choose a token to see what else could stand there.")
            self.alternatives.layout.display = "none"
            self.alternatives.items = []
            return
        self.alternatives.layout.display = ""
        self._offered = self.written.alternatives(self.place)
        there = self.written.ids[self.place]
        self._what.value = (
            f"<h4>Token {self.place + 1:,} of {len(self.written.ids):,}</h4>"
            + paragraph("Choose another to force it. Probabilities in %.")
        )
        with self.alternatives.hold_sync():
            self.alternatives.label = f"Tokens for place {self.place + 1:,}"
            self.alternatives.items = [self._row(a) for a in self._offered]
            self.alternatives.chosen = [a.token for a in self._offered].index(there)

    def _row(self, a: Alternative) -> dict[str, object]:
        final = a.final if a.allowed else None
        shown = "not Python" if not a.allowed else NONE if final is None else percent(final)
        name = self._name(a.token)
        return {
            "cells": [name, percent(a.own), shown],
            "says": in_words(name, a.own, final),
            "bars": [a.own, final],
        }

    def _card(self) -> str:
        """The scorecard of the text, beside that of the true continuation, if there is one."""
        columns = {"this text": marks(self.written)}
        if self._truth and self.prompt.value == self._asked:
            truth = write(self.run, self.written.prompt, len(self._truth), given=self._truth)
            columns["held-out text"] = marks(truth)
        return card_html(columns)

    def _tree(self) -> str:
        """The tree of a beam search, and the greedy text after the same beginning."""
        search, prompt = self.written.search, self.written.prompt
        if search is None:
            return ""
        given = self.written.ids[: len(self.written.ids) - len(search.beams[0].ids)]
        alone = replace(self.written.decoding, beams=None, temperature=0.0)
        greedy = write(self.run, [*prompt, *given], self._n - len(given), alone)
        return beam_tree_html(
            search, greedy.ids, greedy.log_probability, self._name, 1 + len(given)
        )

    def _left_html(self, place: int) -> str:
        said = paragraph(f"Before token {place + 1:,} was forced, by {escape(self.method.value)}:")
        return f"<div class='slm-left'>{said}{text_html(self._told(), place)}</div>"

    def static(self) -> str:
        """The prompt, the text by the method that was chosen, and its scorecard."""
        asked = printable(self.prompt.value, keep="\n\t")
        prompt = f"<pre style='white-space:pre-wrap'>{escape(asked)}</pre>"
        text = f"{text_html(self._told())}{legend_html()}{self.card.value}{self.tree.value}"
        return f"{prompt}{self.status.value}{self.left.value}{text}"


def _checked(methods: Mapping[str, Decoding]) -> dict[str, Decoding]:
    """Raises `ValueError` for what is not decodings by name."""
    if not instance("methods", methods, Mapping, AS_IN):
        raise ValueError(f"There are no methods; give some, such as {AS_IN}.")
    return {
        whole_text("The name of a method", name): instance(f"methods[{name!r}]", d, Decoding)
        for name, d in methods.items()
    }
