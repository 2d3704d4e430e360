"""A question to several models: the raw reply of each, and the best of many after filters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import ipywidgets

from slmlab.engine.decoding import MAX_NEW_TOKENS, Decoding
from slmlab.engine.evaluation import require_model
from slmlab.engine.model import GPT
from slmlab.show.runs import short
from slmlab.show.widgets.parts import (
    FULL,
    Panel,
    framed,
    live,
    paragraph,
    problem_html,
    row,
    sample_html,
    title_html,
)
from slmlab.show.widgets.slider import Slider
from slmlab.study.replies import MAX_REPLIES, MAX_TOKENS, Reply, best, replies
from slmlab.text.tokenizer import ChatTokenizer
from slmlab.validation import instance, printable, shown, whole_number, whole_text

LONGEST = 200  # characters of a question: the models have short contexts
LONGEST_LISTED = 160  # characters of a reply in the list of all
AS_IN = '{"mine": (model, tokenizer)}'
QUESTIONS = ("Hello", "What is a string?", "What is a commit?")  # the last is of no training set
TEMPERATURES = [n / 10 for n in range(16)]


class ChatPanel(Panel):
    """A question to several models, and their replies in columns.

    Each column shows one raw reply, then the best of n: those that repeat themselves, echo the
    question or are unfinished are removed, and the likeliest of the rest is chosen. The list below
    says which filter removed which reply; the raw one is its first. Where no kernel is attached,
    the last question and its replies appear in the panel's place.

    Args:
        models: by the name to show, a model and its chat tokenizer.
        question: to begin with.
        n: how many replies the best is chosen from.
        max_tokens: after so many tokens a reply is cut off.
        decoding: how replies are drawn, but for the temperature and the seed, which the panel sets.

    Attributes:
        question: the field for the question, which Enter sends; 200 characters are read.
        examples: buttons by question, each of which asks it.
        temperature: a slider, for the next question.
        again: the button that asks for other replies to the same question.
        replies: by model, the n replies to the last question.
        status: how many replies of each model pass, or what is wrong, as HTML.
        answers: the columns, as HTML.

    Raises:
        ValueError: for something else than models with their chat tokenizers by name, or a
            question that is empty or no text.
    """

    def __init__(
        self,
        models: Mapping[str, tuple[GPT, ChatTokenizer]],
        question: str = QUESTIONS[0],
        n: int = 8,
        max_tokens: int = MAX_TOKENS,
        decoding: Decoding = Decoding(),
    ) -> None:
        self._decoding = instance("decoding", decoding, Decoding)
        self.models = {name: _pair(name, pair) for name, pair in _named(models).items()}
        self._n = whole_number("n", n, 1, MAX_REPLIES)
        self._max_tokens = whole_number("max_tokens", max_tokens, 1, MAX_NEW_TOKENS)
        self._seed = 0
        self.replies: dict[str, list[Reply]] = {}
        self.question = ipywidgets.Text(
            whole_text("question", question),
            description="question",
            continuous_update=False,
            layout=FULL,
            style={"description_width": "auto"},
        )
        self.examples = {
            q: ipywidgets.Button(description=q, layout={"width": "auto"}) for q in QUESTIONS
        }
        self.temperature = Slider(
            options=[("greedy" if t == 0 else f"{t:g}", t) for t in TEMPERATURES],
            value=0.8,
            description="temperature",
            layout={"width": "380px", "max_width": "100%"},
        )
        self.again = ipywidgets.Button(description="Ask again", layout={"width": "auto"})
        self.status, self.answers = live(), ipywidgets.HTML()
        self.status.layout.min_height = "24px"
        self._reply()

        self.question.observe(self._ask, "value")
        for q, button in self.examples.items():
            button.on_click(lambda _, q=q: self._ask_example(q))
        self.again.on_click(self._ask_again)
        heading = "Ask the models"
        self.box = framed(
            "chat",
            ipywidgets.HTML(title_html(heading)),
            self.question,
            row(*self.examples.values()),
            row(self.temperature, self.again),
            self.status,
            self.answers,
            label=heading,
        )

    def _ask_example(self, question: str) -> None:
        if self.question.value == question:
            self._ask_again()
        else:
            self.question.value = question

    def _ask_again(self, _: object = None) -> None:
        self._seed += self._n  # so that no reply is drawn as before
        self._ask()

    def _ask(self, _: object = None) -> None:
        try:
            self._reply()
        except ValueError as error:  # no question, half a character, or a damaged model
            self.replies = {}
            self.status.value, self.answers.value = problem_html(str(error)), ""

    def _reply(self) -> None:
        question = self.question.value[:LONGEST]
        decoding = replace(self._decoding, temperature=self.temperature.value, seed=self._seed)
        self.replies = {
            name: replies(self._n, model, tokenizer, question, decoding, self._max_tokens)
            for name, (model, tokenizer) in self.models.items()
        }
        passed = ", ".join(
            f"{sum(not r.problems for r in many)} ({escape(short(name))})"
            for name, many in self.replies.items()
        )
        cut = f" Only the first {LONGEST:,} characters were asked." * (
            len(self.question.value) > LONGEST
        )
        self.status.value = paragraph(f"Of {self._n:,} replies, these pass: {passed}.{cut}")
        columns = "".join(_column(name, many) for name, many in self.replies.items())
        self.answers.value = (
            f"<div style='display:flex;flex-flow:row wrap;gap:8px 20px'>{columns}</div>"
        )

    def static(self) -> str:
        """The question and the replies."""
        asked = escape(self.question.value[:LONGEST])
        return f"<p><b>{asked}</b></p>{self.status.value}{self.answers.value}"


def _named(models: Mapping[str, tuple[GPT, ChatTokenizer]]) -> dict[str, object]:
    if not instance("models", models, Mapping, AS_IN):
        raise ValueError(f"There are no models; give some, such as {AS_IN}.")
    return {whole_text("The name of a model", name): pair for name, pair in models.items()}


def _pair(name: str, pair: object) -> tuple[GPT, ChatTokenizer]:
    """A model and its tokenizer. Raises `ValueError` for anything else."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"models[{shown(name)}] is {shown(pair)}; it must be a model and its tokenizer, as in "
            f"{AS_IN}."
        )
    model, tokenizer = pair
    require_model(model)
    return model, instance("The tokenizer", tokenizer, ChatTokenizer)


def _column(name: str, many: Sequence[Reply]) -> str:
    """What one model replied, as HTML."""
    chosen, n_passed = best(many), sum(not reply.problems for reply in many)
    why = "the likeliest that passes" if n_passed else "none passes, so the likeliest of all"
    removed = Counter(problem for reply in many for problem in reply.problems)
    counts = ", ".join(f"{problem} {n:,}" for problem, n in removed.items()) or "nothing"
    listed = "".join(f"<li>{_line(reply, times)}</li>" for reply, times in Counter(many).items())
    return (
        f"<section aria-label='{escape(short(name))}' style='flex:1 1 260px;min-width:0'>"
        f"<h4>{escape(short(name))}</h4>"
        f"{paragraph(f'<b>Raw reply</b>, {_ending(many[0])}')}{sample_html(many[0].text)}"
        f"{paragraph(f'<b>Best of {len(many):,}</b>, {why}')}{sample_html(chosen.text)}"
        f"{paragraph(f'Removed by filter: {counts}.')}"
        "<ul style='margin:4px 0;padding-left:1.4em;font-size:13px;line-height:1.4;"
        f"overflow-wrap:anywhere'>{listed}</ul></section>"
    )


def _ending(reply: Reply) -> str:
    n = len(reply.ids)
    return "which ended by itself:" if reply.ended else f"cut off after {n:,} tokens:"


def _line(reply: Reply, times: int) -> str:
    """One of many replies, how often it came, its loss, and which filters removed it."""
    verdict = f"removed: {', '.join(reply.problems)}" if reply.problems else "passes"
    text = printable(" ".join(reply.text.split()))
    text = text if len(text) <= LONGEST_LISTED else f"{text[:LONGEST_LISTED]}…"
    often = f", {times:,} times" if times > 1 else ""
    return f"<b>{verdict}</b>{often}, {reply.loss:.2f} nats per token: “{escape(text)}”"
