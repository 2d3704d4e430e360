"""What the figures of tables draw: sizes, spread, leaks. Those of runs are in test_plots.py."""

import numpy as np
import pandas as pd
import pytest
from drawn import is_a_picture, legend, ticks
from matplotlib.colors import to_hex

import slmlab as lab
from slmlab.show import plots
from slmlab.show.plots.chart import PARAMETER_COLOURS, SERIES
from slmlab.study.statistics import rank_correlations
from slmlab.study.verdict import published

NATS = "(nats per token)"


# Sizes


def test_parameter_breakdown(finished):
    chart = lab.parameter_breakdown(finished.model)
    [axes] = chart.axes
    counts = finished.model.config.parameter_counts
    shares = [100 * count / finished.model.n_params for count in counts.values()]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(shares)
    assert [bar.get_x() for bar in axes.patches] == pytest.approx([0, *np.cumsum(shares)[:-1]])
    assert [to_hex(bar.get_facecolor()).upper() for bar in axes.patches] == [*PARAMETER_COLOURS]
    assert legend(axes) == [
        f"{kind}: {share:.1f}%" for kind, share in zip(counts, shares, strict=True)
    ]
    assert axes.get_title() == f"Where the {finished.model.n_params:,} parameters sit"
    assert is_a_picture(chart)
    with pytest.raises(ValueError, match="it must be a GPT, such as"):
        lab.parameter_breakdown(finished)


@pytest.fixture
def runs():
    """The best looks of two widths, each with two rates and seeds, and of a third with one seed."""
    rows = [
        {
            "train_tokens": 500,
            "n_embd": width,
            "learning_rate": rate,
            "seed": seed,
            "params_per_token": width * 2.0,
            "val_bits": 3 - width / 100 + seed / 10 + rate,
            "censored": (width, seed) == (8, 1),
        }
        for width, n_seeds in ((8, 2), (64, 2), (96, 1))
        for rate in (0.1, 0.2)
        for seed in range(n_seeds)
    ]
    return pd.DataFrame(rows)


def test_bits_by_size(runs):
    counting = pd.DataFrame({"train_tokens": 500, "seed": [0, 1], "val_bits": [2.0, 2.2]})
    chart = plots.bits_by_size(runs, counting)
    [axes] = chart.axes
    line, whole, hollow, cross, counted, *_ = axes.lines
    assert list(line.get_xdata()) == [16, 128]
    assert list(line.get_ydata()) == pytest.approx([3.07, 2.51])  # both at rate 0.1
    assert list(whole.get_ydata()) == pytest.approx([3.02, 2.46, 2.56])
    assert list(hollow.get_xdata()) == [16] and hollow.get_markerfacecolor() == "none"
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([192], pytest.approx([2.14]))
    assert counted.get_ydata() == pytest.approx([2.1, 2.1])
    assert {of.get_color() for of in (line, whole, cross, counted)} == {SERIES[0]}
    [rule] = axes.patches
    assert (rule.get_x(), rule.get_width()) == (10, 90)
    assert legend(axes) == [
        "the rule: 10 to 100",
        "a 5-gram, same texts",
        "lowest at the first or last look",
        "one seed alone",
    ]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "parameters per training token"
    assert axes.get_ylabel() == "bits per byte of the held-out scripts"
    assert axes.get_title() == "Held-out loss against the ratio of the rule"
    assert plots.bits_by_size(runs, counting, title="Own").axes[0].get_title() == "Own"
    assert is_a_picture(chart)


# Spread


def test_seed_spread():
    chart = plots.seed_spread({"gpt2": [4.0, 4.4], "right-sized": [3.9]}, published=4.5)
    [axes] = chart.axes
    dots = axes.lines[:2]
    assert [list(line.get_xdata()) for line in dots] == [[4.0, 4.4], [3.9]]
    assert [list(line.get_ydata()) for line in dots] == [[0, 0], [1]]
    assert list(axes.lines[2].get_xdata()) == [4.5, 4.5]
    assert legend(axes) == ["ours, one seed", "published: +4.50"]
    assert ticks(axes.yaxis) == ["gpt2", "right-sized"]
    assert axes.get_ylim() == (1.5, -0.5)  # the first is above
    low, high = axes.get_xlim()
    assert low == 0 and high > 4.4
    assert is_a_picture(chart)
    assert plots.seed_spread({"a": [-0.3]}).axes[0].get_xlim()[0] == -0.3


def test_phase_gaps():
    theirs = published()
    ours = {"one": pd.DataFrame({"phase": [0, 0, 4], "gap": [8.0, 8.2, 3.0]}), "two": theirs}
    ours["two"] = theirs.reset_index()
    chart = plots.phase_gaps(theirs, ours)
    [axes] = chart.axes
    diamonds, one, two, _ = axes.lines
    assert list(diamonds.get_ydata()) == theirs["gap"].tolist()
    assert list(diamonds.get_xdata()) == pytest.approx([-0.2, 0.8, 1.8, 2.8, 3.8])
    assert list(one.get_xdata()) == [0, 0, 4]
    assert list(one.get_ydata()) == [8.0, 8.2, 3.0]
    assert list(two.get_xdata()) == pytest.approx([0.2, 1.2, 2.2, 3.2, 4.2])
    assert legend(axes) == ["published", "one", "two"]
    assert ticks(axes.xaxis) == [f"Phase {number}" for number in range(5)]
    assert axes.get_title() == "The gap of 5 phases"
    assert plots.phase_gaps(theirs, ours, title="All").axes[0].get_title() == "All"
    assert is_a_picture(chart)


@pytest.mark.slow
def test_correlation_intervals():
    table = pd.DataFrame({"gap": [1, 2, 3, 4, 5, 6], "seed": range(6)})
    table["parses"], table["names"] = -table["gap"], [3, 1, 4, 1, 5, 9]
    table["loss"] = table["gap"] ** 2
    rows = rank_correlations(table, ["gap", "loss"], ["parses", "names"], ["seed"])
    chart = plots.correlation_intervals(rows)
    [axes] = chart.axes
    bars, dots = axes.lines[:8:2], axes.lines[1:8:2]
    assert [list(bar.get_xdata()) for bar in bars] == rows[["low", "high"]].to_numpy().tolist()
    assert [dot.get_xdata()[0] for dot in dots] == rows["correlation"].tolist()
    assert [dot.get_ydata()[0] for dot in dots] == [0, 1, 3, 4]
    assert [dot.get_color() for dot in dots] == [*SERIES[:2], *SERIES[:2]]
    assert legend(axes) == ["gap", "loss"]
    assert ticks(axes.yaxis) == ["parses", "names"]
    assert list(axes.get_yticks()) == [0.5, 3.5]
    assert axes.yaxis_inverted()
    assert axes.get_xlim() == (-1.05, 1.05)
    assert axes.get_title() == "Rank correlations and their 95% intervals"
    assert plots.correlation_intervals(rows, title="Own").axes[0].get_title() == "Own"
    assert is_a_picture(chart)


# Leaks


def test_suspect_perplexities():
    def suspect(name, text, *perplexities):
        return [{"suspect": name, "text": text, "perplexity": value} for value in perplexities]

    table = pd.DataFrame(
        [
            *suspect("no mask", "held-out scripts", 1.01, 1.02),
            *suspect("no fault", "held-out scripts", 40.0, 50.0),
            *suspect("no fault", "end of the training text", 2.0),
        ]
    )
    chart = plots.suspect_perplexities(table)
    [axes] = chart.axes
    assert ticks(axes.yaxis) == [
        "no fault · held-out scripts: 45",
        "no fault · end of the training text: 2.00",
        "no mask · held-out scripts: 1.02",
    ]
    dots = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines[:3]]
    assert dots == [([40, 50], [0, 0]), ([2], [1]), ([1.01, 1.02], [2, 2])]
    assert list(axes.lines[3].get_xdata()) == [1, 1]
    assert axes.get_xscale() == "log"
    assert axes.get_title() == "What each model reports, by its validation text"
    assert plots.suspect_perplexities(table, title="Which?").axes[0].get_title() == "Which?"
    assert is_a_picture(chart)


# Vocabularies


def test_vocabulary_scores():
    runs = pd.DataFrame(
        {
            "vocabulary": ["bpe-300", "gpt2", "bpe-300"],
            "n_vocab": [300, 50257, 300],
            "val_bits": [2.0, 1.9, 2.2],
        }
    )
    names = ["bpe-256", "bpe-300", "gpt2"]
    counted = pd.DataFrame({"five_gram": [9, 1.5, 2], "sixteen_gram": [9, 1, 1.25]}, index=names)
    chart = plots.vocabulary_scores(runs, counted)
    [axes] = chart.axes
    assert ticks(axes.yaxis) == ["bpe-300 (300)", "gpt2 (50,257)"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn[:2] == [([2.0, 2.2], [0, 0]), ([1.9], [1])]
    assert drawn[2:] == [([1.5, 2.0], [0, 1]), ([1.0, 1.25], [0, 1])]
    assert legend(axes) == ["GPT, one seed", "5-gram", "16-gram"]
    assert "bpe-300: GPT 2.10, 5-gram 1.50, 16-gram 1.00; gpt2: GPT 1.90" in chart.description
    assert is_a_picture(chart)


def test_loss_against_overlap():
    segments = pd.DataFrame({"overlap": [0.9, 0.2, 0.0], "loss": [0.6, 3.0, 4.0]})
    chart = plots.loss_against_overlap(segments, 0.7)
    [axes] = chart.axes
    others, own, line = axes.lines
    assert list(others.get_xdata()) == [20, 0]
    assert list(others.get_ydata()) == [3.0, 4.0]
    assert (list(own.get_xdata()), list(own.get_ydata())) == ([90], [0.6])
    assert list(line.get_ydata()) == [0.7, 0.7]
    assert legend(axes) == ["other segments", "the validation text", "training loss"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "overlap with the training text (%)",
        f"loss {NATS}",
    )
    assert axes.get_title() == "The loss on 3 segments of text"
    assert plots.loss_against_overlap(segments, 0.7, "Own").axes[0].get_title() == "Own"
    assert is_a_picture(chart)


# Techniques


def test_changes():
    table = pd.DataFrame(
        {
            "change": [float("nan"), 0.1, -0.05, 0.001],
            "low": [float("nan"), 0.06, -0.08, -0.02],
            "high": [float("nan"), 0.12, -0.01, 0.03],
            "worth": [1.0, 0.8, 1.2, 1.0],
        },
        index=["base", "label smoothing", "dropout", "$clipping$"],
    )
    chart = plots.changes(table, 0.02)
    [axes] = chart.axes
    assert ticks(axes.yaxis) == [
        "dropout: × 1.20",
        r"\$clipping\$: × 1.00",
        "label smoothing: × 0.80",
    ]
    beyond, not_beyond = [line for line in axes.lines if line.get_marker() == "o"]
    assert list(beyond.get_xdata()) == [-0.05, 0.1] and list(beyond.get_ydata()) == [0, 2]
    assert list(not_beyond.get_xdata()) == [0.001] and list(not_beyond.get_ydata()) == [1]
    assert not_beyond.get_markerfacecolor() == "none"  # hollow on any page
    [intervals] = axes.collections
    assert [segment[:, 0].tolist() for segment in intervals.get_segments()] == [
        [-0.08, -0.01],
        [-0.02, 0.03],
        [0.06, 0.12],
    ]
    [band] = axes.patches
    in_bits = band.get_extents().transformed(axes.transData.inverted())
    assert in_bits.intervalx.tolist() == pytest.approx([-0.02, 0.02])
    assert axes.yaxis_inverted()  # the best is on top
    assert axes.get_title() == "3 techniques, one at a time"
    assert "dropout -0.050" in chart.description and "base" not in chart.description
    assert is_a_picture(chart)


def test_changes_that_are_worth_no_text():
    table = pd.DataFrame({"change": [0.1, -0.1], "low": [0.0, -0.2], "high": [0.2, -0.05]})
    [axes] = plots.changes(table.set_axis(["8 experts", "$width$"]), 0.02).axes
    assert ticks(axes.yaxis) == [r"\$width\$", "8 experts"]
    assert axes.get_ylabel() == "what is trained"
    with pytest.raises(ValueError, match="lacks high"):
        plots.changes(table.drop(columns="high"), 0.02)


@pytest.mark.parametrize("floor", [0, -1, float("nan"), "0.02", None])
def test_chance_that_is_none_gets_a_sentence(floor):
    table = pd.DataFrame({"change": [0.1], "low": [0.0], "high": [0.2], "worth": [1.0]})
    with pytest.raises(ValueError, match="floor"):
        plots.changes(table, floor)


# Speed


def test_cache_speed():
    times = {"with cache": [1.0, 1.0, 2.0, 2.5], "without cache": [1.0, 1.5, 2.0, 2.25]}
    table = pd.DataFrame(times, index=[1, 8, 9, 16])
    chart = plots.cache_speed(table)
    [axes] = chart.axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn[:2] == [([1, 8, 9, 16], values) for values in times.values()]
    assert drawn[2][0] == [8, 8]
    assert legend(axes) == ["context full: 8"]
    assert [end.get_text() for end in axes.texts] == list(times)
    assert axes.get_xscale() == "log" and axes.get_ylim()[0] == 0
    assert "After 8 tokens 1.00 and 1.50, where the context is full. After 16" in chart.description
    assert axes.get_title() == "What the next token takes, with the cache and without"
    assert plots.cache_speed(table, title="Own").axes[0].get_title() == "Own"
    assert is_a_picture(chart)
    with pytest.raises(ValueError, match=r"what lab\.speed\.cache_speed\(model\) returns"):
        plots.cache_speed(None)
