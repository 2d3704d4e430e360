"""What each figure draws: its lines, labels, axes and ticks."""

import re
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn import across, ends, is_a_picture, legend, lines, points
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.show import plots
from slmlab.show.plots.chart import BITS, GUESS, HELD_OUT, SERIES, TRAIN, VAL
from slmlab.show.plots.layout import apart
from slmlab.show.words import number
from slmlab.study.diagnosis import early_stop
from slmlab.validation import printable

BLACK = "black"  # in a page it is the colour of the text
NATS = "(nats per token)"
NAMED = [("training", TRAIN), ("validation", VAL), ("held-out scripts", HELD_OUT)]


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


# Curves over training


def test_loss_curves(runs, finished):
    phase = lab.PHASES[1]
    chart = lab.loss_curves(finished, recorded=runs[0], published=phase, guess=1.5)
    [axes] = chart.axes
    own, full, theirs = finished.history, runs[0].history, phase.curve
    drawn = lines(axes)
    for (x, y, colour), (table, column, expected) in zip(
        drawn,
        [
            (own, "train_loss", TRAIN),
            (own, "val_loss", VAL),
            (full, "train_loss", TRAIN),
            (full, "val_loss", VAL),
            (theirs, "train_loss", TRAIN),
            (theirs, "val_loss", VAL),
        ],
        strict=True,
    ):
        assert (x, y, colour) == (table["step"].tolist(), table[column].tolist(), expected)
    assert legend(axes) == [
        "your run",
        "recorded run",
        f"lowest: step {finished.state.best_step} (your run) and step {runs[0].state.best_step} "
        "(recorded run)",
        "published",
        "5-gram (the number to beat)",
        "your guess: gap +1.5",
    ]
    last = finished.last  # the longer one's
    assert ends(axes) == [("training", last.train_loss, TRAIN), ("validation", last.val_loss, VAL)]
    [bar, _] = [line for line in axes.get_lines() if line.get_color() == GUESS]
    last = full["train_loss"].iloc[-1]
    assert list(bar.get_xdata()) == [6, 6]
    assert list(bar.get_ydata()) == [last, last + 1.5]
    assert points(axes) == [
        (run.state.best_step, run.state.best_val_loss) for run in (finished, runs[0])
    ]
    assert across(axes) == [(lab.number_to_beat(runs[0].dataset).val_loss, BLACK)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", f"loss {NATS}")
    assert axes.get_title() == (
        f"Your run: the gap ends at {number(finished.gap, '+.2f')}; recorded run: the gap ends at "
        f"{number(runs[0].gap, '+.2f')}"
    )
    assert axes.get_ylim()[0] == 0
    assert len(axes.collections) == 1  # the shaded gap
    assert is_a_picture(chart)


def test_one_evaluation_is_seen_as_two_dots(runs):
    first = replace(runs[0].state, history=runs[0].state.history[:1], step=0)
    chart = lab.loss_curves(replace(runs[0], state=first))
    pair = [line for line in chart.axes[0].get_lines() if line.get_color() in (TRAIN, VAL)][:2]
    assert [line.get_marker() for line in pair] == ["o", "o"]
    assert is_a_picture(chart)


def test_a_short_run_has_a_panel_of_its_own(runs, finished):
    """Of 6 steps nothing would be seen beside 60, nor on an axis of the losses of 60."""
    chart = lab.loss_curves(runs[0], recorded=finished, published=lab.PHASES[1], guess=1.0)
    own, full = chart.axes
    assert own.get_xlim() == (0, 6)
    assert full.get_xlim()[1] >= 60
    losses = runs[0].history[["train_loss", "val_loss"]].to_numpy()
    low, high = own.get_ylim()
    assert 0 < low < losses.min() and losses.max() < high
    assert high - low < 1.5 * (losses.max() - losses.min())
    assert full.get_ylim()[0] == 0
    assert (len(lines(own)), across(own)) == (2, [])
    assert runs[0].history["val_loss"].tolist() not in [y for _, y, _ in lines(full)]
    assert [axes.get_title().replace("\n", " ") for axes in chart.axes] == [
        f"Your run: the gap ends at {number(runs[0].gap, '+.2f')}",
        f"Recorded run: the gap ends at {number(finished.gap, '+.2f')}",
    ]
    assert [points(axes)[0][0] for axes in chart.axes] == [
        runs[0].state.best_step,
        finished.state.best_step,
    ]
    assert own.get_legend() is None
    assert f"lowest: step {runs[0].state.best_step} (your run)" in legend(full)[0]
    assert (len(ends(own)), len(ends(full))) == (2, 2)
    assert is_a_picture(chart)
    assert number(runs[0].gap, "+.2f") in chart.description
    assert number(finished.gap, "+.2f") in chart.description


@pytest.mark.parametrize(
    ("status", "seconds", "said"),
    [
        ("finished", None, "The gap ends at {gap:+.2f}"),
        ("finished", 9, "Out of time at step 6, gap {gap:+.2f}"),
        ("running", None, "A gap of {gap:+.2f} so far"),
        ("interrupted", 9, "Stopped at step 6, gap {gap:+.2f}"),
        ("stopped early", None, "Stopped early at step 6, gap {gap:+.2f}"),
        ("diverged", None, "Diverged at step 6, gap {gap:+.2f}"),
    ],
)
def test_a_title_is_in_the_tense_of_its_run(runs, status, seconds, said):
    config = replace(runs[0].config, seconds=seconds, max_steps=None if seconds else 6)
    run = replace(runs[0], config=config, state=replace(runs[0].state, status=status))
    assert lab.loss_curves(run).axes[0].get_title() == said.format(gap=run.gap)


def test_compared(runs):
    """In bits per byte, so that vocabularies and texts can differ."""
    chart = plots.compared(runs)
    [axes] = chart.axes
    assert legend(axes) == ["5-gram (the number to beat)"]
    assert [name for name, _, _ in ends(axes)] == ["1", "2", "3"]
    data = runs[0].dataset
    expected = [
        (run.history[column], lab.bits_per_byte(1.0, data, ids), colour)
        for run, colour in zip(runs, SERIES, strict=False)
        for column, ids in (("test_loss", data.test), ("train_loss", data.train))
    ]
    for (_, y, colour), (losses, unit, own) in zip(lines(axes), expected, strict=True):
        assert (y, colour) == (pytest.approx((losses * unit).tolist()), own)
    assert across(axes) == [(lab.number_to_beat(data).test_bits, BLACK)]
    assert axes.get_ylabel() == BITS
    assert axes.get_title() == "Held-out loss (thick) and training loss (thin)"
    assert is_a_picture(chart)


def test_runs_that_were_not_all_tested_are_compared_on_their_validation_texts(runs, untested):
    [axes] = plots.compared([runs[0], untested]).axes
    assert axes.get_title() == "Validation loss (thick) and training loss (thin)"
    for run, (_, losses, _) in zip((runs[0], untested), lines(axes)[::2], strict=True):
        assert losses[-1] == pytest.approx(lab.bits_per_byte(run.last.val_loss, run.dataset))
    other = lab.PHASES[1].recorded()
    [axes] = plots.compared([untested, other]).axes
    assert across(axes) == [
        (lab.number_to_beat(run.dataset).val_bits, colour)
        for run, colour in zip((untested, other), SERIES, strict=False)
    ]


@pytest.mark.parametrize("number", [0, 7])
def test_more_runs_than_colours_or_none_get_a_sentence(runs, number):
    with pytest.raises(ValueError, match=rf"draws 1 to 6 things in colours .* got {number}\."):
        plots.compared([runs[0]] * number)


def test_two_exams(runs):
    chart = plots.two_exams(runs)
    [axes] = chart.axes
    mean = np.mean([run.history["test_loss"] for run in runs], axis=0)
    assert legend(axes) == [
        f"lowest: step {2 * mean.argmin()}",
        "5-gram (the number to beat)",
    ]
    assert [(name, colour) for name, _, colour in ends(axes)] == NAMED
    number = lab.number_to_beat(runs[0].dataset)
    assert across(axes) == [(number.val_loss, VAL), (number.test_loss, HELD_OUT)]
    expected = [
        (run.history["step"].tolist(), run.history[column].tolist(), colour)
        for column, colour in (("train_loss", TRAIN), ("val_loss", VAL), ("test_loss", HELD_OUT))
        for run in runs
    ]
    assert lines(axes) == expected
    [(step, loss)] = points(axes)
    assert (step, loss) == (2 * mean.argmin(), pytest.approx(mean.min()))
    assert axes.get_title() == "Training, validation and held-out loss (3 runs)"
    assert plots.two_exams(runs[:1]).axes[0].get_title().endswith("(one run)")
    assert plots.two_exams(runs, title="Two").axes[0].get_title() == "Two"
    assert is_a_picture(chart)


def test_exam_curves(runs):
    chart = plots.exam_curves({"small": runs[:2], "_large $x$": runs[2:]})
    [axes] = chart.axes
    (small, _, first), (large, _, second) = ends(axes)
    assert (small, first, second) == ("small", SERIES[0], SERIES[1])
    assert large.endswith(r"_large \$x\$")  # shown, and no formula
    done = [0, 100 / 3, 200 / 3, 100]
    colours = [SERIES[0], SERIES[0], SERIES[1]]
    drawn = lines(axes)
    data = runs[0].dataset
    bits = [run.history["test_loss"] * lab.bits_per_byte(1.0, data, data.test) for run in runs]
    for (x, y, colour), losses, expected in zip(drawn, bits, colours, strict=True):
        assert x == pytest.approx(done)
        assert (y, colour) == (losses.tolist(), expected)
    for dot, ring, losses in zip(points(axes)[::2], points(axes)[1::2], bits, strict=True):
        assert dot == (100, losses.iloc[-1])
        assert ring == (pytest.approx(done[losses.argmin()]), losses.min())
    assert across(axes) == [(lab.number_to_beat(data).test_bits, BLACK)]  # both groups share it
    assert axes.get_ylabel() == f"held-out {BITS}"
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
    assert [len(lines(axes)) for axes in chart.axes] == [9, 3, 3]
    assert legend(losses) == ["5-gram (the number to beat)"]
    assert [(name, colour) for name, _, colour in ends(losses)] == NAMED
    number = lab.number_to_beat(runs[0].dataset)
    assert across(losses) == [(number.val_loss, VAL), (number.test_loss, HELD_OUT)]
    steps = [0, 2, 4, 6]
    assert lines(losses)[3] == (steps, histories[0]["val_loss"].tolist(), VAL)
    assert lines(copied)[1] == (steps, (100 * histories[1]["copied"]).tolist(), SERIES[3])
    assert lines(names)[2] == (steps, histories[2]["domain names"].tolist(), SERIES[4])
    assert copied.get_ylim() == (0, 100)
    assert names.get_xlabel() == "step"
    assert names.get_ylabel() == "domain names per sample"
    assert losses.get_title() == "Losses, copying and domain names (3 runs)"
    assert plots.memory_curves(histories, title="Own").axes[0].get_title() == "Own"
    assert is_a_picture(chart)


def test_memory_without_a_test_text_does_not_name_one():
    chart = plots.memory_curves([lab.scorecard_history(lab.PHASES[1].recorded())])
    assert [name for name, _, _ in ends(chart.axes[0])] == ["training", "validation"]
    assert len(across(chart.axes[0])) == 1


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
        lowest = [run.history[column].min() for run in runs]
        number = getattr(lab.number_to_beat(runs[0].dataset), column)
        assert across(axes) == [(number, BLACK)]
        assert axes.get_ylim() == pytest.approx((min(*lowest, number) - 0.1, max(lowest) + 1))
    assert legend(above) == [*(run.name for run in runs), "5-gram (the number to beat)"]
    assert [axes.get_ylabel() for axes in chart.axes] == [
        f"validation loss {NATS}",
        f"held-out loss {NATS}",
    ]
    assert above.get_title() == "Early stopping with patience 2"
    assert below.get_xlabel() == "step"
    assert is_a_picture(chart)


def test_without_a_test_text_only_the_validation_loss_is_drawn():
    assert len(plots.stopping_points([lab.PHASES[1].recorded()], patience=2).axes) == 1


def test_stopping_points_of_several_texts_are_in_bits_per_byte(untested):
    runs = [untested, lab.PHASES[1].recorded()]
    [axes] = plots.stopping_points(runs, patience=2).axes
    assert axes.get_ylabel() == "validation loss (bits per byte)"
    numbers = [lab.number_to_beat(run.dataset).val_bits for run in runs]
    assert [loss for loss, _ in across(axes)] == pytest.approx(numbers)
    bits = [lab.bits_per_byte(run.last.val_loss, run.dataset) for run in runs]
    drawn = [y[-1] for _, y, _ in lines(axes)]
    assert drawn[0] == pytest.approx(bits[0])
    assert drawn[-2] == pytest.approx(bits[1])


# What no figure may do


def test_no_words_lie_on_the_curves_or_on_each_other(runs, finished):
    """Names are at the right of the axes or below them, titles above."""
    for chart in (
        lab.loss_curves(runs[0], recorded=runs[1], guess=1),
        lab.loss_curves(runs[0], recorded=finished),
        plots.two_exams(runs),
        plots.compared(runs),
        plots.exam_curves({"a": runs, "b": runs}),
        plots.stopping_points(runs, 2),
        plots.memory_curves([lab.scorecard_history(run) for run in runs]),
    ):
        chart.draw_without_rendering()
        frame, panels = chart.bbox, [axes.get_window_extent() for axes in chart.axes]
        names = [end.get_window_extent() for axes in chart.axes for end in axes.texts]
        titles = [axes.title.get_window_extent() for axes in chart.axes if axes.get_title()]
        [legend_box] = [
            axes.get_legend().get_window_extent() for axes in chart.axes if axes.get_legend()
        ]
        assert all(not name.overlaps(panel) for name in names for panel in panels)
        assert not any(one.overlaps(other) for one, other in combinations(names, 2))
        assert legend_box.y1 <= min(panel.y0 for panel in panels)
        assert all(title.y0 >= max(panel.y1 for panel in panels) for title in titles)
        for box in (*names, *titles, legend_box):
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 + 1
            assert frame.y0 <= box.y0 + 1 and box.y1 <= frame.y1


@given(st.lists(st.floats(0, 3), max_size=8))
def test_names_are_moved_apart_and_no_farther_than_they_must(places):
    moved = apart(places, 0.2, 3.0)
    assert all(-1e-9 <= place <= 3 + 1e-9 for place in moved)
    rows = sorted(zip(places, moved, strict=True))
    assert all(b[1] - a[1] >= 0.2 - 1e-9 for a, b in pairwise(rows))
    if all(b - a >= 0.2 for a, b in pairwise(sorted(places))):
        assert moved == pytest.approx(places)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["$\\frac{1$", "$x$", "_hidden", "x" * 10_000, "a\nb", "\x00"])
@pytest.mark.filterwarnings("ignore:Glyph")  # for a sign that no font has, a box is drawn
def test_any_name_of_a_run_can_be_drawn(runs, name):
    named = replace(runs[0])
    named.name = name  # which no run is made with or saved under
    for chart in (
        plots.stopping_points([named], 2),
        plots.exam_curves({name: [named]}),
        plots.seed_spread({name: [1.0]}),
    ):
        assert is_a_picture(chart)
    label, _ = legend(plots.stopping_points([named], 2).axes[0])
    assert label.replace("\u200b", "").replace(r"\$", "$").startswith(printable(name[:60]))


def test_no_title_says_how_many_there_are_before_it_has_looked():
    """Titles such as "all five phases, three seeds" are for the caller, who knows."""
    folder = lab.plots.__path__[0]
    for path in Path(folder).glob("*.py"):
        titles = re.findall(r"set_title\((.*?)\)\n", path.read_text("utf-8"))
        for title in titles:
            assert not re.search(r"\b(three|five|all|75|15)\b", title), (path.name, title)
