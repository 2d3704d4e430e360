"""The report of a run: the same for every run, in every notebook."""

from dataclasses import dataclass
from html import escape

import pandas as pd

from slmlab.engine.evaluation import bits_per_byte, perplexity, token_accuracy
from slmlab.engine.runs import Run
from slmlab.show.harmless import in_terminal
from slmlab.show.plots.chart import Chart
from slmlab.show.plots.curves import loss_curves
from slmlab.show.runs import evaluated
from slmlab.show.words import FEW_STEPS, counted, ending, number, of_steps, outcome_in_words
from slmlab.study.baseline import NUMBER_TO_BEAT, beside_counting
from slmlab.study.diagnosis import GAP_BANDS, advice, gap_band
from slmlab.study.domain import domain_names
from slmlab.study.memorisation import COPY_NGRAM
from slmlab.study.phases import Phase
from slmlab.study.samples import scorecard

Measure = tuple[str, str, str]  # its name, its value, and how to read it


@dataclass(frozen=True)
class Report:
    """A report: print it for text; in a notebook, end a cell with it for the curves as well.

    `outcome` says what became of the gap. `measures` has one row per measure, with its `value` and
    its `reading`. Without samples, `prompt` and `sample` are empty.
    """

    title: str
    outcome: str
    measures: pd.DataFrame
    warnings: tuple[str, ...]
    prompt: str
    sample: str
    chart: Chart

    def __str__(self) -> str:
        lines = [self.title, self.outcome]
        rows = self.measures.iterrows()
        lines += [f"{name:31}{row.value:>9}  {row.reading}" for name, row in rows]
        lines += [f"! {warning}" for warning in self.warnings]
        if self.sample:
            lines += ["", "A sample:", in_terminal(self.sample)]
        return "\n".join(lines)

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        display(self.chart)
        display(HTML(self._html()))

    def _html(self) -> str:
        left, right = "style='text-align:left'", "style='text-align:right;white-space:nowrap'"
        heads = (("measure", left), ("value", right), ("how to read it", left))
        head = "".join(f"<th scope='col' {side}>{name}</th>" for name, side in heads)
        rows = "".join(
            f"<tr><th scope='row' {left}>{escape(measure)}</th>"
            f"<td {right}><b>{escape(row.value)}</b></td>"
            f"<td {left}>{escape(row.reading)}</td></tr>"
            for measure, row in self.measures.iterrows()
        )
        page = (
            f"<p><b>{escape(self.title)}</b></p><p>{escape(self.outcome)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )
        if self.warnings:
            warnings = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
            page += f"<p><b>Look out:</b></p><ul>{warnings}</ul>"
        if self.sample:
            page += (
                f"<p><b>What it writes</b> after <code>{escape(self.prompt)}</code>:</p><pre style="
                "'border-left:4px solid #0072B2;padding:6px 12px;font-family:monospace'>"
                f"{escape(self.sample)}</pre>"
            )
        return page


def report(
    run: Run,
    *,
    recorded: Run | None = None,
    published: Phase | None = None,
    guess: float | None = None,
) -> Report:
    """The report of a run: its score beside the number to beat, copying, gap, losses, advice.

    `recorded`, `published` and `guess` are drawn into the curves (see `plots.loss_curves`).
    All losses are in nats per token but where it says bits per byte. A run without samples has no
    rows on copying and parsing. Raises `ValueError` for a run that was not trained, or whose losses
    are not finite.
    """
    with evaluated(run).state.lock:  # another thread may be training this model
        chart = loss_curves(run, recorded=recorded, published=published, guess=guess)
        measures = [
            *_measures_of_skill(run),
            *_measures_of_samples(run),
            _gap(run),
            *_measures_of_losses(run),
            *_measures_of_sizes(run),
        ]
        step = max((sample["step"] for sample in run.samples), default=0)
        samples = [sample for sample in run.samples if sample["step"] == step]
        first = samples[0] if samples else {"prompt": "", "text": ""}
        table = pd.DataFrame(measures, columns=["measure", "value", "reading"])
        return Report(
            title=run.name,
            outcome=outcome_in_words(run, recorded),
            measures=table.set_index("measure"),
            warnings=tuple(advice(run)),
            prompt=first["prompt"],
            sample=first["text"],
            chart=chart,
        )


def _measures_of_skill(run: Run) -> list[Measure]:
    standing = beside_counting(run)
    unit = f"bits per byte on the {standing.text}, lower is better"
    return [
        ("this run", number(standing.score), unit),
        (NUMBER_TO_BEAT, f"{standing.number:.2f}", standing.verdict),
    ]


def _gap(run: Run) -> Measure:
    band = gap_band(run.gap)
    whose = "this course's" if band is GAP_BANDS[0] else "the experiment's"
    word = f"{whose} word: {band.name} ({band.meaning})"
    if run.last.step < FEW_STEPS:
        word = f"after {of_steps(run.last.step)} it is too early to judge by it"
    return "gap (validation − training)", number(run.gap, "+.2f"), word


def _measures_of_losses(run: Run) -> list[Measure]:
    last, state = run.last, run.state
    bits = bits_per_byte(last.val_loss, run.dataset)
    reading = f"perplexity {perplexity(last.val_loss):,.1f}, {bits:.2f} bits per byte"
    if run.has_weights:
        reading += f", {token_accuracy(run.model, run.dataset.val):.0%} of tokens guessed"
        if run.weights_step != last.step:  # later ones were not kept, or not evaluated
            reading += f" by the model of step {run.weights_step:,}"
    return [
        (
            "training loss",
            f"{last.train_loss:.2f}",
            f"perplexity {perplexity(last.train_loss):,.1f}",
        ),
        ("validation loss", f"{last.val_loss:.2f}", reading),
        ("best validation loss", f"{state.best_val_loss:.2f}", f"at step {state.best_step:,}"),
    ]


def _measures_of_sizes(run: Run) -> list[Measure]:
    ratio, n_train = run.params_per_token, len(run.dataset.train)
    return [
        (
            "parameters per training token",
            f"{ratio:,.0f}" if ratio >= 1 else f"{ratio:.2f}",
            f"{run.model.n_params:,} parameters, {n_train:,} training tokens",
        ),
        (
            "steps",
            f"{run.last.step:,}",
            f"{ending(run) or 'finished'}, {run.last.seconds:,.0f} s of training",
        ),
        ("epochs", f"{run.last.epochs:,.1f}", "times the training text was read"),
    ]


def _measures_of_samples(run: Run) -> list[Measure]:
    card = scorecard(run)
    if card.empty:
        return []
    reading = f"as Python; repetition {card['repetition'].mean():.0%}"
    if domain_names(run.dataset):  # those of a learner's own text are not known
        reading += f", {card['domain names'].mean():.1f} domain names in a sample"
    return [
        (
            "copied",
            f"{card['copied'].mean():.0%}",
            f"of the samples' {COPY_NGRAM}-token sequences appear in the training text; "
            f"longest match {counted(card['longest match'].max(), 'token')}",
        ),
        ("samples that parse", f"{card['parses'].sum()} of {len(card)}", reading),
    ]
