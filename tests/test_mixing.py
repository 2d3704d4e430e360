"""What the records say of experts, on tables whose answers are known, and its figures."""

import math

import numpy as np
import pandas as pd
import pytest
from drawn import across, is_a_picture, legend, lines

from slmlab.show import plots
from slmlab.show.plots.chart import MUTED, SERIES
from slmlab.study import mixing
from slmlab.study.experiments.arsenal import BASE, SCRIPTS
from slmlab.study.experiments.mixtures import ROUTES
from slmlab.study.mixing import (
    alert_table,
    at_best,
    mean_change,
    published,
    trial_table,
    within,
    worth,
)
from slmlab.study.statistics import T_975, t_975

# Mixtures: looks at the steps 0, 10, 20, 40; the best is at 20, and a step takes so many ms.
STEPS, SHAPE = (0, 10, 20, 40), (3.0, 1.5, 1.2, 1.4)
MS = {BASE: 20.0, "better": 40.0, "worse": 10.0, "untimed": math.nan}
CHANGES = {BASE: 0.0, "better": -0.1, "worse": 0.2, "untimed": 0.0}
LUCK = (-0.02, 0.01, 0.03)


@pytest.fixture
def looks():
    rows = []
    for arm, change in CHANGES.items():
        for seed, luck in enumerate(LUCK):
            for step, level in zip(STEPS, SHAPE, strict=True):
                bits = level + (change + luck) * (step > 0)
                row = {"arm": arm, "seed": seed, "step": step, "val_bits": bits}
                row |= {"params": 2_000_000, "active": 1_000_000} | dict.fromkeys(SCRIPTS, bits)
                row |= {"seconds": step * MS[arm] / 1000}
                row |= dict.fromkeys(ROUTES, math.nan if arm == BASE else step / 40)
                rows.append(row)
    return pd.DataFrame(rows)


def test_each_kind_is_beside_the_base_with_its_costs(looks):
    table = worth(looks)
    assert set(table.index) == set(CHANGES) and (table["seeds"] == 3).all()
    for arm, change in CHANGES.items():
        row = table.loc[arm]
        assert row["bits"] == pytest.approx(1.2 + change + np.mean(LUCK))
        assert row["change"] == pytest.approx(math.nan if arm == BASE else change, nan_ok=True)
        assert row["step"] == 20 and (row["params"], row["active"]) == (2, 1)
        assert row["step_ms"] == pytest.approx(MS[arm], nan_ok=True)
        assert row["seconds"] == pytest.approx(20 * MS[arm] / 1000, nan_ok=True)
    assert table.loc["better", "low"] <= -0.1 + 1e-9 and table.loc["better", "high"] < 0


def test_a_budget_reaches_the_steps_that_an_arm_has_time_for(looks):
    kept = within(looks, 0.4)
    last = kept.groupby("arm")["step"].max().to_dict()
    assert last == {BASE: 20, "better": 10, "worse": 40}  # of the untimed, nobody knows
    assert worth(kept).loc["better", "change"] == pytest.approx(1.5 - 1.2 - 0.1)
    slow = looks.copy()
    slow.loc[(slow["arm"] == BASE) & (slow["seed"] == 0), "seconds"] *= 50  # one busy hour
    assert within(slow, 0.4).equals(slow.loc[kept.index])
    for wrong in (0, -1, math.nan, "3"):
        with pytest.raises(ValueError, match="seconds"):
            within(looks, wrong)


def test_the_best_look_of_each_run_in_the_order_of_the_arms(looks):
    best = at_best(looks.iloc[::-1])
    assert (best["step"] == 20).all() and len(best) == 12
    assert list(best["arm"].unique()) == list(CHANGES)[::-1]


def test_the_record_has_the_arsenals_dropout_beside_the_mixtures(monkeypatch, looks):
    arsenal = mixing.read_table(mixing.ARSENAL)
    tables = {mixing.MIXING.name: looks.query("arm != 'untimed'"), mixing.ARSENAL.name: arsenal}
    monkeypatch.setattr(mixing, "read_table", lambda experiment: tables[experiment.name])
    found = mixing.read_mixtures()
    assert list(found["arm"].unique()) == [BASE, "better", "worse", "dropout 0.1"]
    dropout = found[found["arm"] == "dropout 0.1"]
    assert (dropout["active"] == dropout["params"]).all() and dropout["seconds"].isna().all()
    assert dropout[list(ROUTES)].isna().all(axis=None) and "train_tokens" not in found
    assert len(dropout) == (arsenal["arm"] == "dropout 0.1").sum() > 0


@pytest.mark.parametrize("column", ["arm", "seed", "step"])
def test_other_looks_are_refused(looks, column):
    for use in (worth, at_best, lambda t: within(t, 3)):
        with pytest.raises(ValueError, match=rf"lacks {column}"):
            use(looks.drop(columns=column))
        with pytest.raises(ValueError, match="read_mixtures"):
            use(None)
        with pytest.raises(ValueError, match="no rows"):
            use(looks.iloc[:0])
    for use, name in ((at_best, "val_bits"), (lambda t: within(t, 3), "seconds")):
        with pytest.raises(ValueError, match=f"'{name}' of looks has other values"):
            use(looks.astype({name: str}))


def test_what_was_published_is_as_it_was_told():
    table = published()["reported"].to_dict()
    assert table["experts, of which are active"] == "8, 2"
    assert table["first threshold, phase B"] == "stability 0.95, drift below 0.053"
    assert table["lowered threshold, phase C"] == "stability 0.75, drift below 0.333"
    assert table["frozen by the first thresholds"] == "0 of 8"
    assert table["memory, teacher"] == "350 MB"
    assert table["its coefficient of variation"] == "22.76%"
    assert table["divergence from the teacher"] == "0.28, 0 alerts"


# Trials


@pytest.fixture
def trials():
    """Four looks of three trials, of which the last has fewer seeds."""
    rows = []
    for trial, seeds, change, frozen in (
        ("none", 3, 0.0, (0, 0, 0, 0)),
        ("some", 3, 0.05, (0, 0, 2, 4)),
        ("few seeds", 2, -0.1, (0, 8, 8, 8)),
    ):
        for seed in range(seeds):
            for i, step in enumerate((0, 100, 200, 300)):
                bits = 2.0 - i / 10 + change + LUCK[seed] * (trial == "some") + seed
                row = {"trial": trial, "seed": seed, "step": step, "experts": 8, "val_bits": bits}
                row |= {"frozen": frozen[i], "drift": 0.4 / i if i else math.nan}
                row |= {"long_drift": 0.8 / i if i else math.nan, "learning_rate": 3e-4}
                row |= {"divergence": (i - 1) / 8 + seed / 64 if i else math.nan}
                rows.append(row)
    return pd.DataFrame(rows)


def test_how_each_trial_ended(trials):
    table = trial_table(trials)
    assert list(table.index) == ["none", "some", "few seeds"]
    assert table["frozen"].tolist() == [0, 0.5, 1]
    assert table["from_step"].tolist() == pytest.approx([math.nan, 200, 100], nan_ok=True)
    assert table.loc["none", "bits"] == pytest.approx(1.7 + 1)
    assert table.loc["none", "spread"] == pytest.approx(1)
    assert table.loc["none", ["change", "low", "high"]].isna().all()
    luck = pd.Series(LUCK)
    reach = 4.30 * luck.std() / math.sqrt(3)
    row = table.loc["some"]
    assert row["change"] == pytest.approx(0.05 + luck.mean())
    assert (row["high"] - row["change"], row["change"] - row["low"]) == pytest.approx(
        (reach, reach)
    )
    few = table.loc["few seeds", ["change", "low", "high"]].tolist()
    assert few == pytest.approx([-0.1] * 3)  # of the two seeds that both have
    assert table["drift"].tolist() == pytest.approx([0.4 / 3] * 3)
    assert (table["rate"] == 3e-4).all()


def test_a_mean_change_is_of_pairs(trials):
    found = mean_change(trials, "some", "few seeds")
    assert found["change"] == pytest.approx(0.15 + np.mean(LUCK[:2]))
    back = mean_change(trials, "few seeds", "some")
    assert [back["change"], back["low"]] == pytest.approx([-found["change"], -found["high"]])
    with pytest.raises(ValueError, match="The trial"):
        mean_change(trials, "other", "none")
    with pytest.raises(ValueError, match="share 1 seeds"):
        mean_change(trials.query("seed == 0"), "some", "none")


def test_an_alert_is_a_rise_beyond_those_of_the_other_seeds(trials):
    table = alert_table(trials)
    assert list(table.index) == ["none", "some", "few seeds"]
    assert table["seeds"].tolist() == [3, 3, 2] and (table["alerts"] == 0).all()
    assert table["first"].isna().all()
    assert table["highest"].tolist() == [0.28125, 0.28125, 0.265625]
    assert table["rise"].tolist() == [0.125] * 3
    high = trials.copy()
    place = (high["trial"] == "some") & (high["seed"] == 1) & (high["step"] == 300)
    high.loc[place, "divergence"] += 0.5
    row = alert_table(high).loc["some"]
    assert (row["alerts"], row["first"]) == (1, 300) and row["rise"] == 0.625


def test_the_trial_that_sets_the_limit_can_have_an_alert_too(trials):
    high = trials.copy()
    place = (high["trial"] == "none") & (high["seed"] == 1) & (high["step"] == 200)
    high.loc[place, "divergence"] += 0.5
    table = alert_table(high)
    assert table["alerts"].tolist() == [1, 0, 0]  # its own rise is no limit for the same seed


@pytest.mark.parametrize(
    "use", [trial_table, alert_table, lambda t: mean_change(t, "some", "none")]
)
def test_other_trials_are_refused(trials, use):
    with pytest.raises(ValueError, match="lacks trial"):
        use(trials.drop(columns="trial"))
    with pytest.raises(ValueError, match="read_freezing"):
        use(None)
    with pytest.raises(ValueError, match="'step' of table has other values"):
        use(trials.astype({"step": str}))


def test_an_interval_of_few_values_is_wide():
    assert [t_975(n) for n in (2, 3, 11, 500)] == [T_975[0], T_975[1], T_975[-1], T_975[-1]]
    assert list(T_975) == sorted(T_975, reverse=True)
    for wrong in (1, 0, 2.5, "3"):
        with pytest.raises(ValueError, match="n is"):
            t_975(wrong)


# Figures


def test_budgets(looks):
    looks = looks.query("not (arm == 'worse' and seed == 2 and step == 40)")
    chart = plots.budgets(looks, [BASE, "worse"], 1.3)
    [axes] = chart.axes
    [found] = lines(axes)
    assert found == (pytest.approx([0.2, 0.4, 0.8]), pytest.approx(drawn(0)), SERIES[0])
    short = axes.lines[1]  # ends where the first of its seeds does
    assert list(short.get_xdata()) == pytest.approx([0.1, 0.2])
    assert list(short.get_ydata()) == pytest.approx(drawn(0.2)[:2])
    assert across(axes) == [(1.3, MUTED)]
    assert "5-gram" in legend(axes) and axes.get_xscale() == "log"
    assert axes.get_xlabel() == "seconds of one processor"
    assert axes.get_ylabel() == "lowest held-out loss (bits per byte) so far"
    low, high = axes.get_ylim()
    assert low == pytest.approx(0.95 * (1.2 + np.mean(LUCK))) and high == pytest.approx(1.95)
    assert axes.get_title() == "What the same seconds buy"
    assert plots.budgets(looks, [BASE], 1.3, title="Own").axes[0].get_title() == "Own"
    assert "base: 1.21 after 1 s" in chart.description and "5-gram has 1.30" in chart.description
    assert is_a_picture(chart)


def drawn(change):
    """The lowest so far at the steps 10, 20 and 40, the mean of the seeds."""
    return [level + change + np.mean(LUCK) for level in (1.5, 1.2, 1.2)]


def test_saturation(looks):
    chart = plots.saturation(looks, ["better", "worse"], 0.25)
    [axes] = chart.axes
    drawn = [line for line in axes.lines if line.get_linestyle() == "-"]
    for line, colour in zip(drawn, SERIES, strict=False):  # a last look is its own final one
        assert (list(line.get_xdata()), list(line.get_ydata())) == ([10, 20], [0.25, 0.5])
        assert line.get_color() == colour
    assert across(axes) == [(0.25, MUTED)] and legend(axes) == ["random choices"]
    assert axes.get_xlabel() == "step" and axes.get_ylabel().startswith("share of the experts")
    assert axes.get_title() == "Since when does a token have its experts?"
    assert plots.saturation(looks, ["better"], 0.25, "Own").axes[0].get_title() == "Own"
    assert "better: 0.25 at step 10, 0.50 last" in chart.description
    assert is_a_picture(chart)


def test_drifts(trials):
    chart = plots.drifts(trials, ["none", "few seeds"], {"0.95": 0.053, "$0.80$": 0.25})
    [axes] = chart.axes
    found = lines(axes)
    assert [colour for *_, colour in found] == [SERIES[0]] * 2 + [SERIES[1]] * 2
    assert all(x == [100, 200, 300] for x, *_ in found)
    assert [y for _, y, _ in found] == [
        pytest.approx([0.4, 0.2, 0.4 / 3]),
        pytest.approx([0.8, 0.4, 0.8 / 3]),
    ] * 2
    limits = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert limits == [0.053, 0.25] and axes.get_yscale() == "log"
    assert legend(axes)[:2] == ["since the last check", "over five times as many steps"]
    assert axes.get_xlabel() == "step" and axes.get_ylabel().startswith("drift: relative change")
    assert axes.get_title() == "How far the median expert drifts"
    assert plots.drifts(trials, ["none"], {"a": 0.1}, "Own").axes[0].get_title() == "Own"
    assert "none, since the last check: 0.133 at the end" in chart.description
    assert "0.95 at 0.053" in chart.description
    assert is_a_picture(chart)


def test_a_trial_whose_experts_are_frozen_ends_where_they_are(trials):
    """A drift of 0 has no place on the scale; all styles and names stay in the legend."""
    trials.loc[(trials["trial"] == "few seeds") & (trials["step"] > 100), "drift"] = 0.0
    chart = plots.drifts(trials, ["none", "few seeds"], {"0.95": 0.053})
    [axes] = chart.axes
    assert legend(axes) == [
        "since the last check",
        "over five times as many steps",
        "none",
        "few seeds",
    ]
    assert "few seeds, since the last check: 0.000 at the end" in chart.description
    assert is_a_picture(chart)


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [(["other"], "'other'"), ([], "got 0"), ("base", "a list"), (["untimed"], "No seconds")],
)
def test_a_budget_of_other_arms_is_refused(looks, arms, sentence):
    with pytest.raises(ValueError, match=sentence):
        plots.budgets(looks, arms, 1.3)


def test_other_figures_are_refused(looks, trials):
    for draw, sentence in (
        (lambda: plots.budgets(None, [BASE], 1.3), "read_mixtures"),
        (lambda: plots.budgets(looks.drop(columns="seconds"), [BASE], 1.3), "lacks seconds"),
        (lambda: plots.budgets(looks, [BASE], -1), "counting"),
        (lambda: plots.saturation(looks, [BASE], 0.25), "'base' has no routes"),
        (lambda: plots.saturation(looks, ["other"], 0.25), "'other' has no routes"),
        (lambda: plots.saturation(looks, ["better"], 2), "chance"),
        (lambda: plots.saturation(looks.query("step == 40"), ["better"], 0.2), "one look each"),
        (lambda: plots.saturation(trials, ["none"], 0.5), "lacks arm"),
        (lambda: plots.drifts(trials, ["other"], {}), "no trial 'other'"),
        (lambda: plots.drifts(trials, ["none"], [0.05]), "limits"),
        (lambda: plots.drifts(trials, ["none"], {"a": "b"}), "The limit a"),
        (lambda: plots.drifts(trials.query("step == 0"), ["none"], {}), "Nothing is known"),
        (lambda: plots.drifts(looks, ["none"], {}), "lacks trial"),
    ):
        with pytest.raises(ValueError, match=sentence):
            draw()
