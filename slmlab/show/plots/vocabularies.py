"""Vocabularies: what the same text costs in each."""

import pandas as pd

from slmlab.show.plots.chart import BITS, MUTED, VAL, Chart, finished
from slmlab.validation import table_with

MARKS = {"five_gram": ("D", "5-gram"), "sixteen_gram": ("s", "16-gram")}  # of what counts


def vocabulary_scores(runs: pd.DataFrame, counted: pd.DataFrame, title: str = "") -> Chart:
    """Bits per byte on the held-out scripts in each vocabulary: a dot a seed, beside counting.

    `runs` is what `best_looks` gives of `read_vocabularies`, or some rows of it; `counted` is what
    `vocabulary_table` gives. The vocabularies of `runs` are drawn, the smallest on top.
    """
    table_with("runs", runs, ["vocabulary", "n_vocab", "val_bits"])
    table_with("counted", counted, list(MARKS), "what lab.vocabulary_table(…) returns")
    groups = runs.sort_values("n_vocab").groupby("vocabulary", sort=False)
    counts = counted.reindex(list(groups.groups))
    names = [f"{name} ({rows['n_vocab'].iloc[0]:,})" for name, rows in groups]
    chart = Chart(height=1.5 + 0.35 * len(names))
    axes = chart.subplots()
    for place, (_, rows) in enumerate(groups):
        label = None if place else "GPT, one seed"
        axes.plot(rows["val_bits"], [place] * len(rows), "o", color=VAL, label=label)
    for column, (mark, name) in MARKS.items():
        axes.plot(
            counts[column], range(len(names)), mark, color=MUTED, fillstyle="none", label=name
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_ylabel("vocabulary (tokens)")
    axes.set_xlabel(f"held-out {BITS}")
    axes.set_title(title or "The same text in several vocabularies")
    means = groups["val_bits"].mean()
    said = [
        f"{name}: GPT {means[name]:.2f}, 5-gram {row.five_gram:.2f}, 16-gram {row.sixteen_gram:.2f}"
        for name, row in zip(means.index, counts.itertuples(), strict=True)
    ]
    chart.description = f"Mean bits per byte on the held-out scripts. {'; '.join(said)}."
    return finished(chart, axes)
