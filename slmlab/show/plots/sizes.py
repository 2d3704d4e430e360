"""Sizes: where parameters sit, and what models of many sizes do with more or less text."""

import pandas as pd

from slmlab.engine.model import GPT
from slmlab.show.plots.chart import MUTED, PARAMETER_COLOURS, Chart, coloured, finished
from slmlab.show.plots.layout import name_ends
from slmlab.validation import instance, table_with

RULE = (10, 100)  # parameters per training token: the published "golden" range


def parameter_breakdown(model: GPT) -> Chart:
    """One bar: where a model's parameters sit."""
    instance("model", model, GPT)
    chart = Chart(height=2.2)
    axes = chart.subplots()
    left, said = 0.0, []
    kinds = model.parameter_table()["share"].items()
    for (kind, part), colour in zip(kinds, PARAMETER_COLOURS, strict=True):
        share = 100 * part
        shown = f"{share:.1f}%" if share >= 0.05 else "< 0.1%"
        said.append(f"{kind}: {shown}")
        axes.barh(0, share, left=left, color=colour, label=said[-1])
        left += share
    axes.set_title(f"Where the {model.n_params:,} parameters sit")
    axes.set_xlabel("share of all parameters (%)")
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    chart.description = f"Of {model.n_params:,} parameters: {', '.join(said)}."
    return finished(chart, axes)


def bits_by_size(runs: pd.DataFrame, counting: pd.DataFrame, title: str = "") -> Chart:
    """Held-out loss against parameters per training token: a line for each amount of text.

    `runs` is what `best_looks` gives, `counting` what `read_counting` does. A line joins the means
    over the seeds of each width at its best learning rate; its dots are the runs, hollow where the
    lowest look is the first or the last. Crosses are widths that one seed alone was run with. In
    the same colour, dashed: a 5-gram on the same texts. The range of the rule is shaded.
    """
    from slmlab.study.experiments.grid import at_best_rates  # which reads the corpus

    example = "what lab.best_looks(lab.read_grid()) returns"
    table_with("runs", runs, ["n_embd", "params_per_token", "val_bits", "censored"], example)
    table_with("counting", counting, ["train_tokens", "val_bits"], "lab.read_counting()")
    chart = Chart(height=5.0)
    axes = chart.subplots()
    at_best = at_best_rates(runs)
    beyond = runs[~runs["n_embd"].isin(at_best["n_embd"])]
    ends, said = [], []
    for (tokens, rows), colour in coloured(at_best.groupby("train_tokens")):
        means = rows.groupby("params_per_token")["val_bits"].mean()
        [line] = axes.plot(means.index, means, color=colour, linewidth=1.8)
        ends.append((f"{tokens:,} tokens", line, means.iloc[-1]))
        for censored, dots in rows.groupby("censored"):
            fill = "none" if censored else colour
            at = dots["params_per_token"], dots["val_bits"]
            axes.plot(*at, "o", color=colour, markerfacecolor=fill, markersize=4)
        alone = beyond[beyond["train_tokens"] == tokens].groupby("params_per_token")["val_bits"]
        axes.plot(alone.min().index, alone.min(), "x", color=colour, markersize=6)
        counted = counting.loc[counting["train_tokens"] == tokens, "val_bits"].mean()
        axes.axhline(counted, color=colour, linestyle="--", linewidth=1.2)
        said.append(
            f"{tokens:,} tokens: {means.min():.2f} at {means.idxmin():,.0f} parameters per token, "
            f"5-gram {counted:.2f}"
        )
    axes.axvspan(*RULE, color=MUTED, alpha=0.15, linewidth=0, label="the rule: 10 to 100")
    axes.plot([], [], "--", color=MUTED, linewidth=1, label="a 5-gram, same texts")
    for style, name in (("o", "lowest at the first or last look"), ("x", "one seed alone")):
        axes.plot([], [], style, color=MUTED, markerfacecolor="none", markersize=5, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel("parameters per training token")
    axes.set_ylabel("bits per byte of the held-out scripts")
    axes.set_title(title or "Held-out loss against the ratio of the rule")
    name_ends(axes, ends)
    chart.description = f"The lowest means in bits per byte. {'; '.join(said)}."
    return finished(chart, axes)
