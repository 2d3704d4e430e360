"""Decoders side by side: what each one changes, in several measures at once."""

from collections.abc import Mapping

import pandas as pd

from slmlab.show.plots.chart import MUTED, SERIES, VAL, Chart, finished, literal
from slmlab.study.continuations import TRUTH
from slmlab.validation import instance, table_with

MOST = 4  # measures that a figure has room for


def decoders(measures: Mapping[str, pd.DataFrame]) -> Chart:
    """A panel for each measure, a row for each decoder: its mean, and how sure its change is.

    Each table is what `lab.repairs.decoder_changes` gives, or the same rows of it; the first
    table's order is the figure's. A line is the 95% interval of the change from the base, about the
    dot, which is filled where the interval does not touch 0. Dashed: the base; dotted: the truth,
    if it is a row. Raises `ValueError` for no tables, more than four, or different rows.
    """
    instance("measures", measures, Mapping, '{"repetition": table}')
    if not 1 <= len(measures) <= MOST:
        raise ValueError(f"measures has {len(measures)} tables; give 1 to {MOST}.")
    for table in measures.values():
        table_with(
            "A table", table, ["mean", "change", "low", "high"], "lab.repairs.decoder_changes"
        )
    first = next(iter(measures.values()))
    names = [name for name in first.index if name != TRUTH]
    if any(set(table.index) != set(first.index) for table in measures.values()):
        raise ValueError("The tables have different decoders; give the same rows of each.")
    unchanged = (first[["change", "low", "high"]] == 0).all(axis=1)
    compared = next(iter(first.index[unchanged]), "to compare with")
    chart = Chart(height=1.4 + 0.25 * len(names))
    panels = chart.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    said = []
    for axes, (measure, table) in zip(panels, measures.items(), strict=True):
        rows = table.loc[names]
        [base] = (rows["mean"] - rows["change"]).round(9).unique()
        places = range(len(rows))
        axes.hlines(places, base + rows["low"], base + rows["high"], color=SERIES[0], linewidth=2)
        sure = rows["low"] * rows["high"] > 0
        for passes, fill, label in (
            (True, SERIES[0], "a clear change"),
            (False, "none", "not clear"),
        ):
            at = [place for place, one in zip(places, sure, strict=True) if one == passes]
            [dots] = axes.plot(rows["mean"].iloc[at], at, "o", color=SERIES[0], markersize=5)
            dots.set(markerfacecolor=fill, label=f"mean, {label}")
        axes.axvline(base, color=MUTED, linestyle="--", zorder=1, label=literal(compared))
        if TRUTH in table.index:
            truth = table.loc[TRUTH, "mean"]
            axes.axvline(truth, color=VAL, linestyle=":", zorder=1, label=TRUTH)
        axes.set_title(literal(measure))
        axes.set_xlabel("mean of the texts")
        said.append(
            f"{measure}: " + ", ".join(f"{name} {mean:.2f}" for name, mean in table["mean"].items())
        )
    panels[0].set_yticks(range(len(names)), map(literal, names))
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    chart.description = f"Means of {len(first)} decoders. {'; '.join(said)}."
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
        finished(chart, axes, legend=False)
    return finished(chart, panels[0])
