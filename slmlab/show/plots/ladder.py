"""The ladder: every kind of model on the final scripts, beside the number to beat."""

import pandas as pd

from slmlab.show.plots.chart import MUTED, Chart, coloured, finished, literal
from slmlab.show.runs import short
from slmlab.validation import table_with


def ladder(table: pd.DataFrame) -> Chart:
    """The score of each rung as a dot, in bits per byte; the 5-gram, which is to beat, as a line.

    `table` is what `read_ladder` gives. A line is the 95% interval of the difference to the number
    to beat, about the dot: where it crosses the line, the difference is not clear.
    """
    table_with("table", table, ("kind", "score", "to_beat"), "what lab.read_ladder() returns")
    chart = Chart(height=1.4 + 0.27 * len(table))
    axes = chart.subplots()
    [to_beat] = table.loc[table["to_beat"].isna(), "score"]  # it differs from all but itself
    places = pd.Series(range(len(table)), table.index)
    for (kind, rows), colour in coloured(table.groupby("kind", sort=False)):
        at = places[rows.index]
        axes.hlines(
            at,
            to_beat + rows["to_beat_low"],
            to_beat + rows["to_beat_high"],
            color=colour,
            linewidth=2,
        )
        axes.plot(rows["score"], at, "o", color=colour, label=kind)
    axes.axvline(to_beat, color=MUTED, linestyle="--", zorder=1, label=f"to beat: {to_beat:.2f}")
    axes.set_yticks(places, map(literal, table.index))
    axes.set_ylim(len(table) - 0.5, -0.5)  # the first rung on top
    axes.set_xlabel("bits per byte of the final scripts (lower is better)")
    axes.set_title(f"{len(table)} rungs of the ladder, with 95% intervals")
    better = (table["score"] < to_beat).sum()
    best = table["score"].idxmin()
    chart.description = (
        f"{len(table)} rungs, in bits per byte. The number to beat is {to_beat:.2f}; "
        f"{better or 'none'} of the others {'is' if better == 1 else 'are'} below it. The lowest "
        f"is {short(best)}, with {table.loc[best, 'score']:.2f}."
    )
    return finished(chart, axes)
