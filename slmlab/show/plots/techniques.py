"""Techniques beside chance: what each one changes, and what two equal set-ups differ by."""

import pandas as pd

from slmlab.show.plots.chart import BITS, MUTED, SERIES, Chart, finished, literal
from slmlab.validation import real_number, table_with


def changes(table: pd.DataFrame, floor: float, title: str = "") -> Chart:
    """What each technique changes in the loss, with its 95% interval, the most helpful on top.

    `table` is what `technique_table` or `change_table` gives, or some rows of it. `floor`, in bits
    per byte, is what `noise_floor` gives, and drawn as a band about 0: a dot is filled if it lies
    beyond it, and its interval beyond 0.
    """
    table_with(
        "table", table, ["change", "low", "high"], "what lab.techniques.change_table(…) returns"
    )
    floor = real_number("floor", floor, above=0)
    rows = table.dropna(subset="change").sort_values("change")
    places = range(len(rows))
    chart = Chart(height=1.4 + 0.27 * len(rows))
    axes = chart.subplots()
    axes.axvspan(-floor, floor, color=MUTED, alpha=0.25, linewidth=0, label="chance")
    axes.axvline(0, color=MUTED, zorder=1)
    axes.hlines(places, rows["low"], rows["high"], color=SERIES[0], linewidth=2)
    beyond = (rows["low"] * rows["high"] > 0) & (rows["change"].abs() > floor)
    for passes, fill, label in ((True, SERIES[0], "beyond chance"), (False, "none", "not clear")):
        at = [place for place, one in zip(places, beyond, strict=True) if one == passes]
        [dots] = axes.plot(rows["change"].iloc[at], at, "o", color=SERIES[0])
        dots.set(markerfacecolor=fill, label=f"mean, {label}")
    of_text = "worth" in rows
    names = [f"{name}: × {row.worth:.2f}" if of_text else name for name, row in rows.iterrows()]
    axes.set_yticks(places, map(literal, names))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_ylabel("technique: worth how much text" if of_text else "what is trained")
    axes.set_xlabel(f"change of the held-out {BITS}; below 0 is better")
    axes.set_title(title or f"{len(rows)} techniques, one at a time")
    said = [f"{name} {change:+.3f}" for name, change in rows["change"].items()]
    chart.description = (
        f"Changes in bits per byte, the best first, where chance alone makes {floor:.3f}: "
        f"{', '.join(said)}."
    )
    return finished(chart, axes)
