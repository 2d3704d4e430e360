"""Leaks: when a loss is low because the model has seen the answers."""

from typing import Any

import pandas as pd

from slmlab.show.plots.chart import LOSS, MUTED, TRAIN, VAL, Chart, finished
from slmlab.validation import real_number, table_with

# The faults among the values of an experiment's columns, in words.
FAULTS = {
    ("mask", "missing"): "no mask",
    ("validation", "leaked"): "leaked validation",
    ("vocabulary", "32,000"): "32,000 rows",
    ("labels", "unshifted"): "unshifted labels",
}


def suspect_perplexities(table: pd.DataFrame, title: str = "") -> Chart:
    """The perplexity that each suspect reports, one dot per seed, on a logarithmic axis.

    `table` is what `read_suspects` gives. The suspects are named by their faults, the highest mean
    perplexity below.
    """
    columns = [column for column, _ in FAULTS]
    table_with("The table", table, [*columns, "perplexity"], "what lab.read_suspects() returns")
    chart = Chart(width=8.0, height=3.8)
    axes = chart.subplots()
    groups = [
        (dict(zip(columns, values, strict=True)), rows["perplexity"])
        for values, rows in table.groupby(columns, sort=False)
    ]
    groups.sort(key=lambda group: -group[1].mean())
    names = []
    for place, (values, perplexities) in enumerate(groups):
        faults = [fault for (column, value), fault in FAULTS.items() if values[column] == value]
        names.append(" + ".join(faults) or "no fault")
        axes.plot(perplexities, [place] * len(perplexities), "o", color=VAL, alpha=0.7)
    axes.axvline(1, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("reported validation perplexity (1 = never surprised)")
    axes.set_title(title or f"The perplexity that {len(groups)} set-ups report")
    return finished(chart, axes, legend=False)


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
    dots: dict[str, Any] = {"marker": "o", "color": TRAIN, "alpha": 0.7}
    ring: dict[str, Any] = {"marker": "D", "color": VAL, "markersize": 11, "fillstyle": "none"}
    for rows, name, style in (
        (others, "other segments", dots),
        (own, "the validation text", ring),
    ):
        axes.plot(100 * rows["overlap"], rows["loss"], linestyle="none", label=name, **style)
    axes.axhline(train_loss, color=MUTED, linestyle=":", label="training loss")
    axes.set_xlim(-2, 102)  # no dot on the frame
    axes.set_ylim(bottom=0)
    axes.set_xlabel("overlap with the training text (%)")
    axes.set_ylabel(LOSS)
    axes.set_title(title or f"The loss on {len(segments)} segments of text")
    return finished(chart, axes)
