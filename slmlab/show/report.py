"""The evaluation panel: the same for every run, in every notebook."""

from dataclasses import dataclass
from html import escape

import pandas as pd

from slmlab.engine.evaluation import bits_per_byte, perplexity, token_accuracy
from slmlab.engine.runs import Run
from slmlab.show.plots.chart import Chart
from slmlab.show.plots.runs import loss_curves
from slmlab.study.diagnosis import advice, gap_band
from slmlab.study.phases import Phase
from slmlab.study.samples import scorecard


@dataclass(frozen=True)
class Report:
    """A panel: print it for text; in a notebook, end a cell with it for the curves as well.

    `facts` has one row per measure, with its value and how to read it.
    """

    title: str
    facts: pd.DataFrame
    warnings: tuple[str, ...]
    prompt: str
    sample: str
    chart: Chart

    def __str__(self) -> str:
        lines = [self.title]
        lines += [f"{name:31}{row.value:>9}  {row.reading}" for name, row in self.facts.iterrows()]
        lines += [f"! {warning}" for warning in self.warnings]
        return "\n".join([*lines, "", "A sample:", self.sample])

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        display(self.chart)
        display(HTML(self._html()))

    def _html(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(measure)}</th>"
            f"<td style='text-align:right;white-space:nowrap'><b>{escape(row.value)}</b></td>"
            f"<td style='text-align:left'>{escape(row.reading)}</td></tr>"
            for measure, row in self.facts.iterrows()
        )
        warnings = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        return (
            f"<p><b>{escape(self.title)}</b></p><table>{rows}</table>"
            + (f"<p><b>Look out:</b></p><ul>{warnings}</ul>" if warnings else "")
            + f"<p><b>What it writes</b> after <code>{escape(self.prompt)}</code>:</p>"
            f"<pre style='border-left:4px solid #0072B2;padding:6px 12px;font-family:monospace'>"
            f"{escape(self.sample)}</pre>"
        )


def report(
    run: Run,
    *,
    recorded: Run | None = None,
    published: Phase | None = None,
    guess: float | None = None,
) -> Report:
    """The panel of a run: curves, signed gap and its band, sizes, memorisation, samples, advice.

    `recorded`, `published` and `guess` are drawn into the curves (see `plots.loss_curves`).
    All losses are in nats per token.
    """
    last = run.state.history[-1]
    band = gap_band(run.gap)
    card = scorecard(run)
    dataset = run.dataset
    guessed = ""
    if run.has_weights:
        guessed = f", {token_accuracy(run.model, dataset.val):.0%} of tokens guessed"
    facts = [
        ("steps", f"{last.step:,}", f"{run.state.status}, {last.seconds:,.0f} s of training"),
        (
            "training loss",
            f"{last.train_loss:.2f}",
            f"perplexity {perplexity(last.train_loss):,.1f}",
        ),
        (
            "validation loss",
            f"{last.val_loss:.2f}",
            f"perplexity {perplexity(last.val_loss):,.1f}, "
            f"{bits_per_byte(last.val_loss, dataset):.2f} bits per byte" + guessed,
        ),
        ("gap (validation − training)", f"{run.gap:+.2f}", f"{band.name}: {band.meaning}"),
        (
            "best validation loss",
            f"{run.state.best_val_loss:.2f}",
            f"at step {run.state.best_step:,}",
        ),
        (
            "parameters per training token",
            f"{run.params_per_token:,.0f}"
            if run.params_per_token >= 1
            else f"{run.params_per_token:.2f}",
            f"{run.model.n_params:,} parameters, {len(dataset.train):,} training tokens",
        ),
        ("epochs", f"{last.epochs:,.1f}", "times the training text was read"),
        (
            "copied",
            f"{card['copied'].mean():.0%}",
            "of the samples' 8-token sequences stand in the training text; "
            f"longest match {card['longest match'].max()} tokens",
        ),
        (
            "samples that parse",
            f"{card['parses'].sum()} of {len(card)}",
            f"as Python; repetition {card['repetition'].mean():.0%}, "
            f"{card['domain names'].mean():.1f} names of the domain in a sample",
        ),
    ]
    sample = run.samples[-len(card)]
    return Report(
        title=run.name,
        facts=pd.DataFrame(facts, columns=["measure", "value", "reading"]).set_index("measure"),
        warnings=tuple(advice(run)),
        prompt=sample["prompt"],
        sample=sample["text"],
        chart=loss_curves(run, recorded=recorded, published=published, guess=guess),
    )
