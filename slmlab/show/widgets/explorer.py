"""A model's next token: its probabilities, what each filter does to them, and what was drawn."""

import codecs
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import ipywidgets
import torch
from torch import Tensor

from slmlab.engine.decoding import STAGES, Decoding, filter_stages, sample_token
from slmlab.engine.evaluation import continuable, evaluating
from slmlab.engine.generation import encoded_prompt, next_logits
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import TRAIN
from slmlab.show.runs import short
from slmlab.show.widgets.dials import make_dial, setting
from slmlab.show.widgets.parts import (
    FULL,
    Panel,
    framed,
    live,
    paragraph,
    problem_html,
    row,
    table_html,
    title_html,
    visible,
)
from slmlab.show.widgets.shading import legend, percent, shaded, token_bytes
from slmlab.study.samples import REPEAT_NGRAM
from slmlab.text.dataset import ngrams
from slmlab.validation import instance, whole_text

ROWS = 12  # tokens in the table of probabilities, and in that of the last generated tokens
BASIC = ("repetition_penalty", "temperature", "top_k", "top_p")
MORE, FEWER = "More filters", "Fewer filters"
RULE = "border-top:1px solid var(--jp-border-color1,#bdbdbd)"
REPEATED = "border-bottom:3px solid #b3006b"
GREY = "var(--jp-content-font-color2,#616161)"


class Generated(NamedTuple):
    """One generated token."""

    token: int
    probability: float  # the model's own, before any filter
    rank: int  # 1 is the model's likeliest token
    random_state: Tensor  # of the random generator, before the token was drawn


class NextTokenExplorer(Panel):
    """Generation, one token at a time, with the probabilities that each token is drawn from.

    The tokens are those of `generate_tokens` with the same options and seed. Another decoding
    option changes only what comes next; another seed begins its random numbers at the next token;
    another prompt starts again. Where no kernel is attached, the text so far and the table of
    probabilities appear in the panel's place.

    Attributes:
        prompt: the text to continue.
        dials: a slider for each filter, by its option of `Decoding`, in the order in which they
            act; `penalty`, `temperature`, `top_k` and `top_p` are those to begin with.
        more: the button that shows the others.
        seed: of the random numbers.
        one, ten, undo, again: the buttons.
        text: the prompt and the generated tokens, shaded by probability, as HTML.
        status: how many of the generated tokens repeat, or what is wrong, as HTML.
        distribution: the probabilities of the next token, before and after each filter, as HTML.
        last: the last generated tokens, each with its probability and rank, as HTML.

    Raises:
        ValueError: for a run that was kept without its weights, or a prompt that is no text.
    """

    def __init__(self, run: Run, prompt: str = "collection.add(") -> None:
        instance("run", run, Run).require_weights()
        whole_text("prompt", prompt)
        self.run = run
        self._read_at = -1  # the run's step when the model last read the text
        self._generator = torch.Generator()
        self.prompt = ipywidgets.Text(
            prompt, description="prompt", layout=FULL, style={"description_width": "auto"}
        )
        self.dials = {option: make_dial(option) for option in STAGES.values()}
        basic = [self.dials[option] for option in BASIC]
        self.penalty, self.temperature, self.top_k, self.top_p = basic
        self.more = ipywidgets.ToggleButton(description=MORE, layout={"width": "auto"})
        self.seed = ipywidgets.BoundedIntText(
            0,
            max=2**31 - 1,
            description="seed",
            style={"description_width": "auto"},
            layout={"width": "150px"},
        )
        self.one, self.ten, self.undo, self.again = (
            ipywidgets.Button(description=name, layout={"width": "auto"})
            for name in ("Next token", "10 tokens", "Undo", "Start again")
        )
        # Heights that hold whatever is shown keep what is below from moving.
        self.text, self.status = ipywidgets.HTML(layout={"height": "174px"}), live()
        self.status.layout.min_height = "42px"
        self.distribution, self.last = (
            ipywidgets.HTML(layout={"min_height": "380px", "flex": flex})
            for flex in ("1 1 430px", "0 1 320px")
        )
        self._restart()

        for dial in self.dials.values():
            dial.observe(self._draw_distribution, "value")
        self.more.observe(self._show_more, "value")
        self.prompt.observe(self._restart, "value")
        self.seed.observe(self._reseed, "value")
        self.one.on_click(lambda _: self._generate(1))
        self.ten.on_click(lambda _: self._generate(10))
        self.undo.on_click(self._undo)
        self.again.on_click(self._restart)
        self._folded = row(*(dial for option, dial in self.dials.items() if option not in BASIC))
        self._show_more()
        heading = f"Token by token: {short(run.name)}"
        self.box = framed(
            "explorer",
            ipywidgets.HTML(title_html(heading)),
            self.prompt,
            row(*basic, self.seed, self.more),
            self._folded,
            row(self.one, self.ten, self.undo, self.again),
            self.text,
            self.status,
            row(self.distribution, self.last),
            label=heading,
        )

    @property
    def decoding(self) -> Decoding:
        """The decoding as it is set now."""
        options = {option: setting(option, dial) for option, dial in self.dials.items()}
        return Decoding(**options, seed=self.seed.value)

    @property
    def generated(self) -> list[int]:
        """The ids of the tokens that were generated so far."""
        return [step.token for step in self._steps]

    def _restart(self, _: object = None) -> None:
        self._ids, self._problem = [], ""
        self._steps: list[Generated] = []
        self._generator.manual_seed(self.seed.value)
        try:
            ids = encoded_prompt(self.run.dataset.tokenizer, self.prompt.value)
            self._ids = continuable(self.run.model, ids)
        except ValueError as error:
            self._problem = str(error)
        self._read()
        self._draw()

    def _reseed(self, _: object) -> None:
        state = self._generator.manual_seed(self.seed.value).get_state()
        # The old seed's numbers must not come back when its tokens are undone.
        self._steps = [step._replace(random_state=state) for step in self._steps]

    def _generate(self, n: int) -> None:
        for _ in range(n):
            if self._problem:
                break
            state = self._generator.get_state()
            try:
                token = sample_token(self._logits, self._ids, self.decoding, self._generator)
            except ValueError:  # a filter leaves no token, as the table says
                break
            probability = self._logits.softmax(0)[token].item()
            rank = 1 + int((self._logits > self._logits[token]).sum())
            self._ids.append(token)
            self._steps.append(Generated(token, probability, rank, state))
            self._read()
        self._draw()

    def _undo(self, _: object) -> None:
        if self._steps:
            self._generator.set_state(self._steps.pop().random_state)
            self._ids.pop()
            self._read()
            self._draw()

    def _read(self) -> None:
        """Let the model read the text as it is now."""
        if not self._ids:
            return
        model, state = self.run.model, self.run.state
        with state.lock, evaluating(model), torch.inference_mode():
            if not self._steps or self._read_at != state.step:  # what was cached is out of date
                self._cache, self._read_at = model.new_cache(), state.step
            self._logits = next_logits(model, self._ids, self._cache)
        finite = self._logits.isfinite().all()
        self._problem = "" if finite else "The model is damaged: it gives no finite numbers."

    def _show_more(self, _: object = None) -> None:
        self._folded.layout.display = "" if self.more.value else "none"
        self.more.description = FEWER if self.more.value else MORE

    def _token_bytes(self, token: int) -> bytes:
        return token_bytes(self.run.dataset.tokenizer, token)

    def _draw(self) -> None:
        repeats = repeated(self.generated)
        self._draw_text(repeats)
        self._draw_status(len(repeats))
        self._draw_last(repeats)
        self._draw_distribution()

    def _draw_text(self, repeats: set[int]) -> None:
        # A character of several tokens belongs to the one that completes it.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = [decoder.decode(self._token_bytes(i)) for i in self._ids]
        start = len(self._ids) - len(self._steps)
        spans = [f"<b>{escape(''.join(pieces[:start]))}</b>"]
        for i, (step, piece) in enumerate(zip(self._steps, pieces[start:], strict=True)):
            shown = escape(piece).replace("\n", "⏎\n")
            spans.append(shaded(step.probability, shown, REPEATED if i in repeats else ""))
        # The reversed column keeps the end of a long text in view.
        self.text.value = (
            "<div tabindex='0' role='region' aria-label='The text so far' "
            "style='display:flex;flex-direction:column-reverse;height:134px;overflow:auto;"
            "border:1px solid var(--jp-border-color1,#bdbdbd);padding:4px 8px'>"
            "<pre style='margin:0 0 auto 0;padding:0;white-space:pre-wrap;overflow-wrap:anywhere;"
            f"line-height:1.6;font-size:13px'>{''.join(spans)}</pre></div>"
            f"<div style='line-height:1.6'>probability in %: {legend()} "
            f"&nbsp;<span style='{REPEATED}'>repeated</span></div>"
        )

    def _draw_status(self, repeats: int) -> None:
        block = self.run.model.config.block_size
        if self._problem:
            sentences = [escape(self._problem)]
        elif not self._steps:
            sentences = ["No token was generated yet."]
        else:
            sentences = [
                f"{repeats:,} of {len(self._steps):,} tokens repeat an earlier "
                f"{REPEAT_NGRAM}-token sequence."
            ]
        if len(self._ids) > block:
            sentences.append(f"The model sees the last {block:,} of the {len(self._ids):,} tokens.")
        self.status.value = paragraph("<br>".join(sentences))

    def _draw_last(self, repeats: set[int]) -> None:
        rows = [
            [
                visible(self._token_bytes(step.token)),
                f"{i + 1:,}",
                percent(step.probability),
                f"{step.rank:,}",
                "yes" if i in repeats else "",
            ]
            for i, step in enumerate(self._steps)
        ]
        header = ["token", "no.", "probability, %", "rank", "repeats"]
        self.last.value = (
            f"<h4>The last {ROWS} tokens</h4>"
            + paragraph("Newest first; probability and rank are the model's own.")
            + table_html(header, rows[: -ROWS - 1 : -1])
        )

    def _draw_distribution(self, _: object = None) -> None:
        try:
            self.distribution.value = "" if self._problem else self._distribution_html()
        except ValueError as error:  # a filter leaves no token
            self.distribution.value = problem_html(str(error))

    def _distribution_html(self) -> str:
        stages = filter_stages(self._logits, self._ids, self.decoding)
        p = torch.stack(list(stages.values())).cpu()
        # What is likely in any column, as a filter can promote a token; in the model's order.
        tokens = p.amax(0).topk(min(ROWS, p.shape[1])).indices
        tokens = tokens[p[0, tokens].argsort(descending=True)]
        dials = {name: self.dials[option] for name, option in STAGES.items()}
        settings = {name: dial.options[dial.index][0] for name, dial in dials.items()}
        head = "".join(
            "<th style='text-align:right;padding:0 3px;font-size:12px;font-weight:normal'>"
            f"{'temp.' if name == 'temperature' else name}<br><b>{settings.get(name, '–')}</b></th>"
            for name in stages
        )
        likeliest, width = p.max().item(), max(620, 82 * len(stages))
        rows = [
            _bars(escape(visible(self._token_bytes(token))), p[:, token].tolist(), likeliest)
            for token in tokens.tolist()
        ]
        others = p.index_fill(1, tokens, 0.0).sum(1).tolist()
        rows.append(_bars(f"<i>{p.shape[1] - len(tokens):,} others</i>", others, 1.0, RULE))
        kept = "".join(f"<td style='text-align:right'>{n:,}</td>" for n in (p > 0).sum(1).tolist())
        rows.append(f"<tr><td style='text-align:left'><i>tokens left</i></td>{kept}</tr>")
        return (
            "<h4>The next token</h4>"
            + paragraph(
                "Probability in %, filter by filter; the last column is drawn from. A grey 0 was "
                "removed. Bars are relative to the likeliest token, that of the others to 100%."
            )
            + f"<table style='width:100%;max-width:{width}px;table-layout:fixed;font-size:13px;"
            "line-height:1.5;border-collapse:separate;border-spacing:2px 1px'>"
            f"<tr><th style='text-align:left;width:22%'>token</th>{head}</tr>"
            f"{''.join(rows)}</table>"
        )

    def static(self) -> str:
        """The text so far, and the probabilities of its next token."""
        return self.text.value + self.status.value + self.distribution.value


def repeated(ids: Sequence[int], n: int = REPEAT_NGRAM) -> set[int]:
    """The places in `ids` that belong to a sequence of n tokens that occurred already."""
    seen: set[tuple[int, ...]] = set()
    places: set[int] = set()
    for i, gram in enumerate(ngrams(list(ids), n)):
        if gram in seen:
            places |= set(range(i, i + n))
        seen.add(gram)
    return places


def _bars(name: str, probabilities: list[float], full: float, style: str = "") -> str:
    """A row of the table of probabilities, in which a probability of `full` fills a field."""
    colour = "inherit" if probabilities[-1] > 0 else GREY
    return (
        "<tr><td style='text-align:left;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;"
        f"padding:0;color:{colour};{style}'>{name}</td>"
        f"{''.join(_bar(p, full, style) for p in probabilities)}</tr>"
    )


def _bar(p: float, full: float, style: str) -> str:
    """A field of the table of probabilities: a number over its bar."""
    if p > 0:
        bar = f"linear-gradient(90deg,{TRAIN} max(1px,{p / full:.1%}),rgba(128,128,128,.15) 0)"
        style += f";background:{bar} bottom/100% 4px no-repeat"
    else:
        style += f";color:{GREY}"
    return f"<td style='text-align:right;padding:0 3px 4px;{style}'>{escape(percent(p))}</td>"
