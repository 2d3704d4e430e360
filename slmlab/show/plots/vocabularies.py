"""Vocabularies: what the same text costs in each."""

import pandas as pd

from slmlab.show.plots.chart import BITS, MUTED, VAL, Chart, finished
from slmlab.show.words import joined
from slmlab.validation import table_with


def vocabulary_scores(runs: pd.DataFrame, counted: pd.DataFrame, title: str = "") -> Chart:
    """Bits per byte on the held-out scripts in each vocabulary: a dot a seed, beside counting.

    `runs` is what `best_looks` gives of `read_vocabularies`, or some rows of it; `counted` is what
    `vocabulary_table` gives. The vocabularies of `runs` are drawn, the smallest on top.
    """
    table_with("runs", runs, ["vocabulary", "n_vocab", "val_bits"])
    table_with("counted", counted, ["bits"], "what lab.vocabulary_table(…) returns")
    groups = runs.sort_values("n_vocab").groupby("vocabulary", sort=False)
    chart = Chart(height=1.3 + 0.35 * len(groups))
    axes = chart.subplots()
    names, said = [], []
    for place, (vocabulary, rows) in enumerate(groups):
        names.append(f"{vocabulary} ({rows['n_vocab'].iloc[0]:,})")
        bits, count = rows["val_bits"], counted["bits"].get(vocabulary)
        label = place == 0
        axes.plot(
            bits, [place] * len(bits), "o", color=VAL, label="GPT, one seed" if label else None
        )
        said.append(f"{vocabulary}: GPT {bits.mean():.2f}")
        if count is not None:
            name = "5-gram of the same tokens" if label else None
            axes.plot(count, place, "D", color=MUTED, markersize=8, label=name)
            said[-1] += f", 5-gram {count:.2f}"
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_ylabel("vocabulary (tokens)")
    axes.set_xlabel(f"held-out {BITS}")
    axes.set_title(title or "The same text in several vocabularies")
    chart.description = f"Mean bits per byte on the held-out scripts: {joined(said)}."
    return finished(chart, axes)
