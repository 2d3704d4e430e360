"""Spread: the same figure of many runs side by side, and how sure a figure of them is."""

from collections.abc import Sequence

import pandas as pd

from slmlab.show.plots.chart import MUTED, VAL, Chart, coloured, finished, literal
from slmlab.show.runs import short
from slmlab.show.words import joined
from slmlab.validation import instance, listed, real_number, table_with


def seed_spread(groups: dict[str, Sequence[float]], published: float | None = None) -> Chart:
    """The gap of every run as a dot, in nats per token: one row per group, one dot per seed.

    `published` draws a dotted line.
    """
    instance("groups", groups, dict, '{"GPT-2": [3.9, 4.2]}')
    groups = {name: _gaps(values) for name, values in groups.items()}
    if not any(groups.values()):
        raise ValueError("There is nothing to draw; give a group with at least one gap.")
    if published is not None:
        published = real_number("published", published)
    chart = Chart(height=1.3 + 0.45 * len(groups))
    axes = chart.subplots()
    said = []
    for place, (name, gaps) in enumerate(groups.items()):
        label = "ours, one seed" if place == 0 else None
        axes.plot(gaps, [place] * len(gaps), "o", color=VAL, markersize=8, label=label)
        if gaps:
            said.append(f"{short(name)} {min(gaps):+.2f} to {max(gaps):+.2f}")
    if published is not None:
        axes.axvline(published, color=MUTED, linestyle="--", label=f"published: {published:+.2f}")
        said.append(f"published {published:+.2f}")
    axes.set_yticks(range(len(groups)), map(literal, groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)  # the first group on top
    every = [gap for gaps in groups.values() for gap in gaps]
    axes.set_xlim(min(0.0, *every), 1.08 * max(0.1, *every))  # no dot on the frame
    axes.set_xlabel("gap, validation − training (nats per token)")
    axes.set_title("The gap at the end, seed by seed")
    chart.description = f"Gaps in nats per token: {'; '.join(said)}."
    return finished(chart, axes)


def _gaps(values: Sequence[float]) -> list[float]:
    return [real_number("A gap", gap) for gap in listed("A group", values, "gaps")]


def phase_gaps(published: pd.DataFrame, ours: dict[str, pd.DataFrame], title: str = "") -> Chart:
    """The final gap of every phase: published, and each of our runs (one dot per seed).

    `published` has a row per phase, numbered by its index; the tables of `ours` have a column
    `phase`; the gaps are in nats per token.
    """
    table_with("published", published, ["gap"], "what lab.verdict.published() returns")
    instance("ours", ours, dict, '{"ours": table}')
    chart = Chart()
    axes = chart.subplots()
    # 0.2 of the way to the next phase: the dots stand side by side, in the order of the legend.
    axes.plot(published.index - 0.2, published["gap"], "D", color=MUTED, label="published")
    said = [f"published: {joined([f'{gap:+.2f}' for gap in published['gap']])}"]
    for i, ((name, table), colour) in enumerate(coloured(ours.items())):
        table_with("A table of ours", table, ["phase", "gap"], "one with a row for each run")
        places = table["phase"] + 0.2 * i
        axes.plot(places, table["gap"], "o", color=colour, label=literal(name))
        means = table.groupby("phase")["gap"].mean()
        said.append(f"{short(name)}: {joined([f'{gap:+.2f}' for gap in means])}")
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.set_xticks(published.index, [f"Phase {number}" for number in published.index])
    axes.set_ylabel("validation − training loss (nats per token)")
    axes.set_title(title or f"The gap of {len(published)} phases")
    chart.description = f"Mean gaps in the order of the phases. {'; '.join(said)}."
    return finished(chart, axes)


def correlation_intervals(table: pd.DataFrame, title: str = "") -> Chart:
    """Rank correlations with their 95% intervals; one group of lines per outcome.

    `table` is what `statistics.rank_correlations` gives, for at most six predictors.
    """
    columns = ["outcome", "predictor", "correlation", "low", "high"]
    example = "what lab.statistics.rank_correlations(…) returns"
    table_with("The table", table, columns, example)
    chart = Chart(height=1.8 + 0.2 * len(table))
    axes = chart.subplots()
    colours = dict(coloured(table["predictor"].unique()))
    place, ticks = 0, []
    for outcome, rows in table.groupby("outcome", sort=False):
        ticks.append((place + (len(rows) - 1) / 2, outcome))  # in the middle of its lines
        for row in rows.itertuples():
            colour = colours[row.predictor]
            label = row.predictor if outcome == table["outcome"].iloc[0] else None
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
            axes.plot(row.correlation, place, "o", color=colour, label=label)
            place += 1
        place += 1  # a gap between the groups
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.invert_yaxis()
    axes.set_xlim(-1.05, 1.05)  # no dot on the frame
    axes.set_xlabel("Spearman's rank correlation (+1 same order, 0 no relation, −1 reversed)")
    axes.set_title(title or "Rank correlations and their 95% intervals")
    said = [
        f"{row.predictor} and {row.outcome} {row.correlation:+.2f}" for row in table.itertuples()
    ]
    chart.description = f"Rank correlations: {joined(said)}."
    return finished(chart, axes)
