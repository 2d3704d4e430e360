"""Experts: what they score for their seconds, since when a token's are the same, how they drift."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.lines import Line2D

from slmlab.show.plots.chart import BITS, MUTED, Chart, coloured, finished, literal
from slmlab.show.plots.layout import LETTERS, name_ends
from slmlab.validation import instance, listed, real_number, table_with

# Not of `mixing`: that reads data when it is imported, which no figure may need.
READ, READ_TRIALS = (
    "what lab.mixing.read_mixtures() returns",
    "what lab.mixing.read_freezing() returns",
)
FAR = 1.5  # times the number to beat


def budgets(looks: pd.DataFrame, arms: Sequence[str], counting: float, title: str = "") -> Chart:
    """The lowest held-out loss so far against the processor's seconds, the mean of an arm's seeds.

    `looks` is what `lab.mixing.read_mixtures()` returns; a line ends where the first of its seeds
    does. `counting` is the number to beat, in bits per byte, drawn dashed; what is far above it
    (`FAR`) is left out.
    """
    counting = real_number("counting", counting, above=0)
    columns = ["arm", "seed", "step", "seconds", "val_bits"]
    table_with("looks", looks, columns, READ)
    chart = Chart(height=4.2)
    axes = chart.subplots()
    ends, starts, said = [], [], []
    for arm, colour in coloured(listed("arms", arms, "names of arms")):
        of = looks[(looks["arm"] == arm) & (looks["step"] > 0)].dropna(subset="seconds")
        if of.empty:
            raise ValueError(f"No seconds are known of an arm {arm!r}; give some of the others.")
        best = of.assign(best=of.groupby("seed")["val_bits"].cummin()).groupby("step")
        full = best["seed"].count() == of["seed"].nunique()
        line = best[["seconds", "best"]].mean()[full]
        [drawn] = axes.plot(line["seconds"], line["best"], color=colour, linewidth=2)
        ends.append((literal(arm), drawn, line["best"].iloc[-1]))
        starts.append(line["seconds"][line["best"] < FAR * counting].min())
        said.append(f"{arm}: {line['best'].iloc[-1]:.2f} after {line['seconds'].iloc[-1]:.0f} s")
    axes.axhline(counting, color=MUTED, linestyle="--", linewidth=1, label="5-gram")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_ylim(0.95 * min(counting, *(height for *_, height in ends)), FAR * counting)
    if pd.notna(earliest := min(starts)):
        axes.set_xlim(left=earliest)
    axes.set_xlabel("seconds of one processor")
    axes.set_ylabel(f"lowest held-out {BITS} so far")
    axes.set_title(title or "What the same seconds buy")
    name_ends(axes, ends)
    chart.description = (
        f"Lowest held-out bits per byte so far by seconds. {'; '.join(said)}. The 5-gram has "
        f"{counting:.2f}."
    )
    return finished(chart, axes)


def saturation(looks: pd.DataFrame, arms: Sequence[str], chance: float, title: str = "") -> Chart:
    """The share of the experts that are the final ones already, by step; a line an arm.

    `looks` is what `lab.mixing.read_mixtures()` returns; each run's final experts are those of its
    last look, and a line ends before the first of an arm's runs does. `chance`, dashed, is what
    random choices share.
    """
    chance = real_number("chance", chance, least=0, most=1)
    table_with("looks", looks, ["arm", "seed", "step", "saturation"], READ)
    chart = Chart(height=3.8)
    axes = chart.subplots()
    ends, said = [], []
    for arm, colour in coloured(listed("arms", arms, "names of arms")):
        of = looks[(looks["arm"] == arm) & (looks["step"] > 0)].dropna(subset="saturation")
        if of.empty:
            raise ValueError(f"The arm {arm!r} has no routes; give arms with experts.")
        before = of[of["step"] < of.groupby("seed")["step"].transform("max")]
        means = before.groupby("step")["saturation"].agg(["mean", "count"])
        line = means["mean"][means["count"] == of["seed"].nunique()]
        if line.empty:
            raise ValueError(f"The runs of {arm!r} have one look each; give longer ones.")
        [drawn] = axes.plot(line.index, line, color=colour, linewidth=2)
        ends.append((literal(arm), drawn, line.iloc[-1]))
        said.append(f"{arm}: {line.iloc[0]:.2f} at step {line.index[0]}, {line.iloc[-1]:.2f} last")
    axes.axhline(chance, color=MUTED, linestyle="--", linewidth=1, label="random choices")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("step")
    axes.set_ylabel("share of the experts that are the final ones (more is more settled)")
    axes.set_title(title or "Since when does a token have its experts?")
    name_ends(axes, ends)
    chart.description = f"Router saturation. {'; '.join(said)}. Random choices: {chance:.2f}."
    return finished(chart, axes)


def drifts(
    table: pd.DataFrame, trials: Sequence[str], limits: dict[str, float], title: str = ""
) -> Chart:
    """The drift of the median expert by step: of a short interval, and dashed of a long one.

    `table` is what `lab.mixing.read_freezing()` returns; lines are means of the seeds. `limits` are
    the largest drifts of the thresholds, by name, dotted.
    """
    for name, limit in instance("limits", limits, dict, '{"0.95": 0.053}').items():
        real_number(f"The limit {name}", limit, above=0)
    columns = ["trial", "seed", "step", "drift", "long_drift"]
    table_with("table", table, columns, READ_TRIALS)
    chart = Chart(height=4.2)
    axes = chart.subplots()
    ends: list[tuple[str, Line2D, float]] = []
    said = []
    styles = (
        ("drift", "-", "since the last check"),
        ("long_drift", "--", "over five times as many steps"),
    )
    for _, style, label in styles:
        axes.plot([], [], style, color=MUTED, label=label)
    for trial, colour in coloured(listed("trials", trials, "names of trials")):
        of = table[table["trial"] == trial]
        if of.empty:
            raise ValueError(f"The table has no trial {trial!r}; give some of its trials.")
        lines = of.groupby("step")[["drift", "long_drift"]].mean().dropna()
        if lines.empty:
            raise ValueError(f"Nothing is known of the drift of {trial!r}; give a whole trial.")
        drawable = lines.where(lines > 0)  # a frozen expert has no place on a log scale
        for name, style, label in styles:
            [drawn] = axes.plot(lines.index, drawable[name], style, color=colour, linewidth=2)
            if name == "drift":
                ends.append((literal(trial), drawn, drawable[name].iloc[-1]))
            said.append(f"{trial}, {label}: {lines[name].iloc[-1]:.3f} at the end")
    for name, limit in limits.items():
        axes.axhline(limit, color=MUTED, linestyle=":", linewidth=1)
        place = axes.get_yaxis_transform()  # at the right, where no tick is
        word = axes.text(1, limit, literal(name), transform=place, color=MUTED)
        word.set(ha="right", va="bottom", fontsize=LETTERS)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlabel("step")
    axes.set_ylabel("drift: relative change of an expert's answers (log scale)")
    axes.set_title(title or "How far the median expert drifts")
    name_ends(axes, ends)
    chart.description = (
        f"Drift of the median expert. {'; '.join(said)}. Thresholds: "
        f"{', '.join(f'{name} at {limit:.3f}' for name, limit in limits.items())}."
    )
    return finished(chart, axes)
