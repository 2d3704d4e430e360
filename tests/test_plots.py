"""What each figure draws: its lines, labels, axes and ticks."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import slmlab as lab
from slmlab.show import plots
from slmlab.show.plots.chart import GUESS, HELD_OUT, MUTED, PARAMETER_COLOURS, SERIES, TRAIN, VAL
from slmlab.study.diagnosis import early_stop
from slmlab.study.statistics import fit_power_law, rank_correlations
from slmlab.study.verdict import published

NATS = "(nats per token)"


@pytest.fixture(scope="module")
def runs(dataset, tiny, text):
    """Three tiny runs that differ in their seed, with held-out losses at steps 0, 2, 4, 6."""
    tested = dataset.with_test(text[:400])

    def make(seed):
        config = lab.TrainConfig(2, 1e-2, max_steps=6, eval_interval=2, seed=seed)
        return lab.train(
            tiny(seed),
            tested,
            config,
            prompts=("The", "My"),
            name=f"seed {seed}",
            progress=False,
            sample_each_evaluation=True,
        )

    return [make(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def untested(dataset, tiny):
    """A run without held-out losses."""
    return lab.train(tiny(), dataset, lab.TrainConfig(2, 1e-2, max_steps=4), progress=False)


def lines(axes):
    """The lines of curves: (x, y, colour), without rings, dots and straight lines across."""
    found = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
    return [(list(line.get_xdata()), list(line.get_ydata()), line.get_color()) for line in found]


def points(axes):
    """Single points: (x, y)."""
    found = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in found]


def legend(axes):
    return axes.get_legend_handles_labels()[1]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def is_a_picture(chart):
    return chart._repr_png_().startswith(b"\x89PNG")


# Curves over training


def test_loss_curves(runs, finished):
    phase = lab.PHASES[1]
    chart = lab.loss_curves(finished, recorded=runs[0], published=phase, guess=1.5, marked=4)
    [axes] = chart.axes
    own, full, theirs = finished.history, runs[0].history, phase.curve
    drawn = lines(axes)
    for (x, y, colour), (table, column, expected) in zip(
        drawn,
        [
            (full, "train_loss", TRAIN),
            (full, "val_loss", VAL),
            (theirs, "train_loss", TRAIN),
            (theirs, "val_loss", VAL),
            (own, "train_loss", TRAIN),
            (own, "val_loss", VAL),
        ],
        strict=True,
    ):
        assert (x, y, colour) == (table["step"].tolist(), table[column].tolist(), expected)
    assert legend(axes) == [
        "training (recorded full run)",
        "validation (recorded full run)",
        "training (published)",
        "validation (published)",
        "training (this run)",
        "validation (this run)",
        "your guess: gap +1.5",
    ]
    [bar] = [line for line in axes.get_lines() if line.get_color() == GUESS]
    last = full["train_loss"].iloc[-1]
    assert list(bar.get_xdata()) == [6, 6]
    assert list(bar.get_ydata()) == [last, last + 1.5]
    assert points(axes) == [(runs[0].state.best_step, runs[0].state.best_val_loss)]
    assert [t.get_text() for t in axes.texts] == [f"best: step {runs[0].state.best_step}"]
    [mark] = [line for line in axes.get_lines() if line.get_color() == MUTED]
    assert list(mark.get_xdata()) == [4, 4]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", f"loss {NATS}")
    assert axes.get_title() == f"Loss: the recorded run's gap ends at {runs[0].gap:+.2f}"
    assert axes.get_ylim()[0] == 0
    assert len(axes.collections) == 1  # the shaded gap
    assert is_a_picture(chart)


def test_one_evaluation_is_seen_as_two_dots(runs):
    first = replace(runs[0].state, history=runs[0].state.history[:1], step=0)
    [axes] = lab.loss_curves(replace(runs[0], state=first)).axes
    pair = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert [line.get_marker() for line in pair] == ["o", "o"]


def test_compared(runs):
    chart = plots.compared(runs)
    [axes] = chart.axes
    assert legend(axes) == ["1", "2", "3"]
    expected = [
        (run.history["step"].tolist(), run.history[column].tolist(), colour)
        for run, colour in zip(runs, SERIES, strict=False)
        for column in ("val_loss", "train_loss")
    ]
    assert lines(axes) == expected
    assert is_a_picture(chart)


@pytest.mark.parametrize("number", [0, 7])
def test_more_runs_than_colours_or_none_get_a_sentence(runs, number):
    with pytest.raises(ValueError, match=rf"draws 1 to 6 things in colours .* got {number}\."):
        plots.compared([runs[0]] * number)


def test_two_exams(runs):
    chart = plots.two_exams(runs)
    [axes] = chart.axes
    assert legend(axes) == ["training", "validation", "held-out scripts"]
    expected = [
        (run.history["step"].tolist(), run.history[column].tolist(), colour)
        for column, colour in (("train_loss", TRAIN), ("val_loss", VAL), ("test_loss", HELD_OUT))
        for run in runs
    ]
    assert lines(axes) == expected
    mean = np.mean([run.history["test_loss"] for run in runs], axis=0)
    [(step, loss)] = points(axes)
    assert (step, loss) == (2 * mean.argmin(), pytest.approx(mean.min()))
    assert [t.get_text() for t in axes.texts] == [f"lowest: step {step}"]
    assert axes.get_title() == "Training, validation and held-out loss (3 runs)"
    assert plots.two_exams(runs[:1]).axes[0].get_title().endswith("(one run)")
    assert plots.two_exams(runs, title="Two").axes[0].get_title() == "Two"
    assert is_a_picture(chart)


def test_exam_curves(runs):
    chart = plots.exam_curves({"small": runs[:2], "_large $x$": runs[2:]})
    [axes] = chart.axes
    assert legend(axes)[0] == "small"
    assert legend(axes)[1].endswith(r"_large \$x\$")  # shown, and no formula
    done = [0, 100 / 3, 200 / 3, 100]
    colours = [SERIES[0], SERIES[0], SERIES[1]]
    drawn = lines(axes)
    for (x, y, colour), run, expected in zip(drawn, runs, colours, strict=True):
        assert x == pytest.approx(done)
        assert (y, colour) == (run.history["test_loss"].tolist(), expected)
    for dot, ring, run in zip(points(axes)[::2], points(axes)[1::2], runs, strict=True):
        losses = run.history["test_loss"]
        assert dot == (100, losses.iloc[-1])
        assert ring == (pytest.approx(done[losses.argmin()]), losses.min())
    assert axes.get_ylabel() == f"loss on the held-out scripts {NATS}"
    assert axes.get_title() == "Held-out loss (3 runs)"
    assert plots.exam_curves({"a": runs}, title="All").axes[0].get_title() == "All"
    assert is_a_picture(chart)


@pytest.mark.parametrize("draw", [plots.two_exams, lambda runs: plots.exam_curves({"a": runs})])
def test_without_held_out_losses_there_is_a_sentence(draw, untested):
    with pytest.raises(ValueError, match="run has no held-out losses; train it on"):
        draw([untested])


def test_memory_curves(runs):
    histories = [lab.scorecard_history(run) for run in runs]
    chart = plots.memory_curves(histories)
    losses, copied, names = chart.axes
    assert [len(axes.lines) for axes in chart.axes] == [9, 3, 3]
    assert legend(losses) == ["training", "validation", "held-out scripts"]
    steps = [0, 2, 4, 6]
    assert lines(losses)[3] == (steps, histories[0]["val_loss"].tolist(), VAL)
    assert lines(copied)[1] == (steps, (100 * histories[1]["copied"]).tolist(), SERIES[3])
    assert lines(names)[2] == (steps, histories[2]["domain names"].tolist(), SERIES[5])
    assert copied.get_ylim() == (0, 100)
    assert names.get_xlabel() == "step"
    assert names.get_ylabel() == "domain names\nper sample"
    assert losses.get_title() == "Losses, copying and domain names (3 runs)"
    assert plots.memory_curves(histories, title="Own").axes[0].get_title() == "Own"
    assert is_a_picture(chart)


def test_memory_without_a_test_text_does_not_name_one():
    chart = plots.memory_curves([lab.scorecard_history(lab.PHASES[1].recorded())])
    assert legend(chart.axes[0]) == ["training", "validation"]


@pytest.mark.parametrize("draw", [plots.two_exams, plots.memory_curves])
def test_nothing_to_draw_gets_a_sentence(draw):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw([])


def test_stopping_points(runs):
    def with_losses(run, *val_losses):
        now = run.state.history[-1]
        history = [
            replace(now, step=step, val_loss=loss, test_loss=loss + 0.5)
            for step, loss in enumerate(val_losses)
        ]
        return replace(run, state=replace(run.state, history=history))

    runs = [with_losses(runs[0], 6.0, 3.0, 3.5, 3.4, 2.0), with_losses(runs[1], 5.0, 4.0, 3.9)]
    chart = plots.stopping_points(runs, patience=2)
    above, below = chart.axes
    for axes, column in ((above, "val_loss"), (below, "test_loss")):
        faint, thick, *_ = axes.lines
        stop = early_stop(runs[0], 2)
        assert list(faint.get_ydata()) == runs[0].history[column].tolist()
        assert thick.get_xdata()[-1] == stop["stops"] == 3 < faint.get_xdata()[-1]
        best = runs[0].history.set_index("step")[column][stop["best step"]]
        assert points(axes)[0] == (stop["best step"], best)
        lowest = min(run.history[column].min() for run in runs)
        assert axes.get_ylim() == pytest.approx((lowest - 0.1, lowest + 1))
    assert legend(above) == [run.name for run in runs]
    assert [axes.get_ylabel() for axes in chart.axes] == [
        f"validation\n{NATS}",
        f"held-out scripts\n{NATS}",
    ]
    assert above.get_title() == "Early stopping with patience 2"
    assert below.get_xlabel() == "step"
    assert is_a_picture(chart)


def test_without_a_test_text_only_the_validation_loss_is_drawn():
    assert len(plots.stopping_points([lab.PHASES[1].recorded()], patience=2).axes) == 1


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
        f"{kind}: {share:.1f} %" for kind, share in zip(counts, shares, strict=True)
    ]
    assert axes.get_title() == f"Where the {finished.model.n_params:,} parameters sit"
    assert is_a_picture(chart)
    with pytest.raises(ValueError, match="A Run is no model; give a GPT"):
        lab.parameter_breakdown(finished)


@pytest.fixture
def grid():
    """A grid of two sizes, two amounts of text and two seeds, evaluated at steps 0 and 10."""
    rows = [
        {
            "params": params,
            "train_tokens": tokens,
            "seed": seed,
            "step": step,
            "epochs": 160 * step / tokens,
            "gap": params / tokens + seed / 10,
            "params_per_token": params / tokens,
        }
        for params in (1_000, 20_000)
        for tokens in (500, 2_000)
        for seed in (0, 1)
        for step in (0, 10)
    ]
    return pd.DataFrame(rows)


def test_grid_map(grid):
    chart = plots.grid_map(grid, "gap", "The gap")
    axes, scale = chart.axes
    [image] = axes.images
    assert image.get_array().tolist() == [[2.05, 0.55], [40.05, 10.05]]
    assert ticks(axes.xaxis) == ["500", "2,000"]
    assert ticks(axes.yaxis) == ["1,000", "20,000"]
    fields = {t.get_position(): (t.get_text(), t.get_color()) for t in axes.texts}
    assert fields == {
        (0, 0): ("2.05\n±0.05", "white"),
        (1, 0): ("0.55\n±0.05", "white"),
        (0, 1): ("40.05\n±0.05", "black"),
        (1, 1): ("10.05\n±0.05", "white"),
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training tokens", "parameters")
    assert scale.get_ylabel() == "nats per token"
    assert axes.get_title() == "The gap"
    assert plots.grid_map(grid, "gap").axes[0].get_title() == "gap"
    assert is_a_picture(chart)


def test_fitted():
    table = pd.DataFrame({"tokens": [1e3, 2e3, 4e3] * 2, "loss": [4, 3.6, 3.3, 4.2, 3.9, 3.5]})
    table["seed"] = [0, 0, 0, 1, 1, 1]
    curve = fit_power_law(table, "tokens", "loss", ["seed"])
    labels = {"title": "Loss against text", "xlabel": "tokens", "ylabel": "loss"}
    chart = plots.fitted(table, "tokens", "loss", {"100 parameters": (table, curve)}, **labels)
    [axes] = chart.axes
    dots, line, _ = axes.lines
    assert list(dots.get_xdata()) == table["tokens"].tolist()
    assert list(dots.get_ydata()) == table["loss"].tolist()
    assert list(line.get_xdata()) == [1e3, 4e3]
    assert list(line.get_ydata()) == curve(np.array([1e3, 4e3])).tolist()
    assert legend(axes) == ["100 parameters", "one run each"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert ticks(axes.xaxis) == ["1,000", "2,000", "4,000"]
    assert axes.get_title() == "Loss against text"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tokens", "loss")
    assert is_a_picture(chart)


def test_gap_against(grid):
    chart = plots.gap_against(grid)
    left, right = chart.axes
    rows = grid[grid["step"] > 0]
    for axes, column in ((left, "epochs"), (right, "params_per_token")):
        drawn = [line for line in axes.lines if len(line.get_xdata())]
        for line, (_, group), colour in zip(
            drawn, rows.groupby("train_tokens"), SERIES[:2], strict=True
        ):
            assert list(line.get_xdata()) == group[column].tolist()
            assert list(line.get_ydata()) == group["gap"].tolist()
            assert line.get_color() == colour
        assert axes.get_xscale() == "log"
    assert legend(right) == ["500 tokens", "2,000 tokens"]
    assert left.get_legend() is None
    assert left.get_xlabel() == "epochs (times the text was read)"
    assert right.get_xlabel() == "parameters per training token"
    titles = ["Gap against epochs", "Gap against parameters per token"]
    assert [axes.get_title() for axes in chart.axes] == titles
    chart = plots.gap_against(grid, titles=("a", "b"))
    assert [axes.get_title() for axes in chart.axes] == ["a", "b"]
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
    assert axes.get_title() == "Rank correlations and their 95 % intervals"
    assert plots.correlation_intervals(rows, title="Own").axes[0].get_title() == "Own"
    assert is_a_picture(chart)


# Leaks


def test_suspect_perplexities():
    def suspect(perplexities, vocabulary="423", validation="held out", mask="causal", labels=""):
        return [
            {
                "vocabulary": vocabulary,
                "validation": validation,
                "mask": mask,
                "labels": labels or "next token",
                "perplexity": perplexity,
            }
            for perplexity in perplexities
        ]

    table = pd.DataFrame(
        [
            *suspect([1.01, 1.02], mask="missing", validation="leaked"),
            *suspect([40.0, 50.0]),
            *suspect([30.0], vocabulary="32,000"),
            *suspect([2.0], labels="unshifted"),
        ]
    )
    chart = plots.suspect_perplexities(table)
    [axes] = chart.axes
    assert ticks(axes.yaxis) == [
        "no fault",
        "32,000 rows",
        "unshifted labels",
        "no mask + leaked validation",
    ]
    dots = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines[:4]]
    assert dots == [([40, 50], [0, 0]), ([30], [1]), ([2], [2]), ([1.01, 1.02], [3, 3])]
    assert list(axes.lines[4].get_xdata()) == [1, 1]
    assert axes.get_xscale() == "log"
    assert axes.get_title() == "The perplexity that 4 set-ups report"
    assert plots.suspect_perplexities(table, title="Which?").axes[0].get_title() == "Which?"
    assert is_a_picture(chart)


def test_the_faults_have_the_names_that_the_experiment_uses():
    chart = plots.suspect_perplexities(lab.read_suspects())
    names = ticks(chart.axes[0].yaxis)
    assert len(names) == len(set(names)) == 9
    for fault in ("no fault", "no mask", "leaked validation", "32,000 rows", "unshifted labels"):
        assert fault in names


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


# What no figure may do


@pytest.mark.parametrize("name", ["$\\frac{1$", "$x$", "_hidden", "x" * 10_000, "a\nb", "\x00"])
@pytest.mark.filterwarnings("ignore:Glyph")  # for a sign that no font has, a box is drawn
def test_any_name_of_a_run_can_be_drawn(runs, name):
    named = replace(runs[0], name=name)
    for chart in (
        plots.stopping_points([named], 2),
        plots.exam_curves({name: [named]}),
        plots.seed_spread({name: [1.0]}),
    ):
        assert is_a_picture(chart)
    [label] = legend(plots.stopping_points([named], 2).axes[0])
    assert label.replace("\u200b", "").replace(r"\$", "$").startswith(name[:60])


def test_no_title_says_how_many_there_are_before_it_has_looked():
    """Titles such as "all five phases, three seeds" are for the caller, who knows."""
    folder = lab.plots.__path__[0]
    for path in Path(folder).glob("*.py"):
        titles = re.findall(r"set_title\((.*?)\)\n", path.read_text("utf-8"))
        for title in titles:
            assert not re.search(r"\b(three|five|all|75|15)\b", title), (path.name, title)
