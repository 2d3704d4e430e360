"""Leaks: when a loss is low because the model has seen the answers."""

from typing import Any

import pandas as pd

from slmlab.show.plots.chart import LOSS, MUTED, TRAIN, VAL, Chart, finished
from slmlab.show.words import joined
from slmlab.validation import real_number, table_with


def suspect_perplexities(table: pd.DataFrame, title: str = "") -> Chart:
    """The perplexity that each suspect reports, one dot per seed, on a logarithmic axis.

    `table` is what `reported_perplexities` gives: a row of the figure for each suspect and each
    text that it can be validated with, and its mean, the highest on top.
    """
    columns = ["suspect", "text", "perplexity"]
    table_with("The table", table, columns, "what lab.reported_perplexities(…) returns")
    groups = [
        (f"{' · '.join(names)}: {_short(rows['perplexity'].mean())}", rows["perplexity"])
        for names, rows in table.groupby(["suspect", "text"], sort=False)
    ]
    groups.sort(key=lambda group: -group[1].mean())
    chart = Chart(height=1.1 + 0.3 * len(groups))
    axes = chart.subplots()
    for place, (_, perplexities) in enumerate(groups):
        axes.plot(perplexities, [place] * len(perplexities), "o", color=VAL, markersize=7)
    axes.axvline(1, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(groups)), [name for name, _ in groups])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("reported validation perplexity (1 = never surprised)")
    axes.set_title(title or "What each model reports, by its validation text")
    chart.description = f"Mean validation perplexities: {joined([name for name, _ in groups])}."
    return finished(chart, axes, legend=False)


def _short(perplexity: float) -> str:
    return f"{perplexity:.2f}" if perplexity < 10 else f"{perplexity:,.0f}"


def loss_against_overlap(segments: pd.DataFrame, train_loss: float, title: str = "") -> Chart:
    """Loss on segments of text against their overlap with the training text.

    `segments` is what `verdict.segment_losses` gives; its first row, the run's own validation
    text, is marked. Losses in nats per token.
    """
    example = "what lab.verdict.segment_losses(run) returns"
    table_with("segments", segments, ["overlap", "loss"], example)
    train_loss = real_number("train_loss", train_loss)
    chart = Chart()
    axes = chart.subplots()
    own, others = segments.iloc[:1], segments.iloc[1:]
    dots: dict[str, Any] = {"marker": "o", "color": TRAIN}
    ring: dict[str, Any] = {"marker": "D", "color": VAL, "markersize": 10, "fillstyle": "none"}
    for rows, name, style in (
        (others, "other segments", dots),
        (own, "the validation text", ring),
    ):
        axes.plot(100 * rows["overlap"], rows["loss"], linestyle="none", label=name, **style)
    axes.axhline(train_loss, color=MUTED, linestyle="--", label="training loss")
    axes.set_xlim(-2, 102)  # no dot on the frame
    axes.set_ylim(bottom=0)
    axes.set_xlabel("overlap with the training text (%)")
    axes.set_ylabel(LOSS)
    axes.set_title(title or f"The loss on {len(segments)} segments of text")
    [(_, validation)] = own.iterrows()
    chart.description = (
        f"Losses in nats per token. The validation text has {validation['loss']:.2f} at "
        f"{validation['overlap']:.0%} overlap, the training text {train_loss:.2f}."
    )
    if len(others):
        chart.description += (
            f" {len(others)} other segments have {others['loss'].min():.2f} to "
            f"{others['loss'].max():.2f}, at {others['overlap'].min():.0%} to "
            f"{others['overlap'].max():.0%} overlap."
        )
    return finished(chart, axes)
