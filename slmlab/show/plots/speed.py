"""Speed: what the next token takes, by how long the text is."""

import pandas as pd

from slmlab.show.plots.chart import MUTED, Chart, coloured, finished
from slmlab.show.plots.layout import name_ends
from slmlab.validation import table_with

WAYS = ("with cache", "without cache")


def cache_speed(table: pd.DataFrame, title: str = "") -> Chart:
    """Milliseconds for the next token against the tokens before it, with the cache and without.

    `table` is what `lab.speed.cache_speed` returns. A dashed line is at half of its last context,
    where that of the model is full.
    """
    table_with("table", table, WAYS, "what lab.speed.cache_speed(model) returns")
    last = table.index[-1]
    block = last // 2
    chart = Chart(height=3.6)
    axes = chart.subplots()
    ends = []
    for way, colour in coloured(WAYS):
        [line] = axes.plot(table.index, table[way], "o-", color=colour, markersize=4)
        ends.append((way, line, table[way].iloc[-1]))
    axes.axvline(block, color=MUTED, linestyle="--", linewidth=1, label=f"context full: {block:,}")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens of the text so far")
    axes.set_ylabel("milliseconds for the next token (lower is faster)")
    axes.set_title(title or "What the next token takes, with the cache and without")
    name_ends(axes, ends)
    chart.description = (
        f"Milliseconds for the next token with the cache and without. {_said(table, block)}, where "
        f"the context is full. {_said(table, last)}."
    )
    return finished(chart, axes)


def _said(table: pd.DataFrame, n: int) -> str:
    with_cache, without = table.loc[n, list(WAYS)]
    return f"After {n:,} tokens {with_cache:.2f} and {without:.2f}"
