"""The statistics of many runs, on tables whose answers are known."""

import math

import numpy as np
import pandas as pd
import pytest

from slmlab.study.experiments.grid import best_looks, read_grid, size_table
from slmlab.study.statistics import (
    bootstrap,
    mean_and_range,
    rank_correlation,
    rank_correlations,
)


@pytest.fixture
def table():
    """30 runs of two evaluations, where y = 8 x^-0.5 up to 1% of noise."""
    noise = np.random.default_rng(0)
    rows = []
    for run in range(30):
        x = float(2 ** (run % 5))
        for step in (1, 2):
            y = 8 * x**-0.5 * np.exp(noise.normal(0, 0.01))
            rows.append({"run": run, "step": step, "x": x, "y": y, "flat": 1.0})
    return pd.DataFrame(rows)


def test_an_interval_is_always_the_same_and_holds_the_value(table):
    intervals = [bootstrap(table, lambda t: t["y"].mean(), ["run"]) for _ in range(2)]
    assert np.array_equal(*intervals)
    assert intervals[0][0] < table["y"].mean() < intervals[0][1]


def test_evaluations_of_one_run_stay_together(table):
    sizes = set()
    bootstrap(table, lambda t: sizes.add(len(t)) or 0.0, ["run"])
    assert sizes == {len(table)}


@pytest.mark.slow
def test_rank_correlation(table):
    assert rank_correlation(table, "x", "x") == pytest.approx(1)
    assert rank_correlation(table, "x", "y") < -0.9
    assert np.isnan(rank_correlation(table, "x", "flat"))
    rows = rank_correlations(table, ["x"], ["y"], ["run"])
    assert rows["low"][0] < rows["high"][0]
    assert rows["correlation"][0] == pytest.approx(rows["low"][0], abs=0.05)


def test_a_partial_rank_correlation_leaves_out_what_a_third_column_explains():
    generator = np.random.default_rng(1)
    third, noise = generator.normal(size=(2, 400))
    table = pd.DataFrame({"z": third, "x": third + noise, "y": third - noise})
    assert abs(rank_correlation(table, "x", "y")) < 0.2
    assert rank_correlation(table, "x", "y", "z") < -0.8
    table["y"] = third
    assert math.isnan(rank_correlation(table, "x", "y", "z"))
    assert math.isnan(rank_correlation(table.assign(z=1), "x", "y", "z"))


def test_mean_and_range_as_text():
    rows = {"phase": [2, 2, 1, 1], "loss": [1.0, 2.0, 3.0, 3.0], "gap": [-0.5, 0.5, None, None]}
    shown = mean_and_range(pd.DataFrame(rows), "phase", {"loss": ".1f", "gap": "+.1f"})
    assert shown.index.tolist() == [2, 1]
    assert shown["loss"].tolist() == ["1.5 (1.0 to 2.0)", "3.0"]
    assert shown["gap"].tolist() == ["+0.0 (−0.5 to +0.5)", "–"]


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (lambda t: bootstrap(t, None, ["run"]), "statistic is None; it must be a Callable"),
        (lambda t: bootstrap(t, len, []), "by names no column"),
        (lambda t: mean_and_range(t, [], {"x": ".2f"}), "by names no column"),
        (lambda t: rank_correlations(t, ["x"], ["x"], []), "by names no column"),
        (lambda t: rank_correlation(t, "x", "z"), "lacks z; it needs x, z"),
        (lambda t: rank_correlation(t, "x", ["y"]), r"lacks \['y'\]"),
        (lambda t: rank_correlation(t, "x", "y", 5), "lacks 5"),
        (lambda t: rank_correlation(t[:0], "x", "y"), "has no rows"),
        (lambda t: rank_correlation(t[:1], "x", "y"), "has one row only"),
        (
            lambda t: rank_correlation(t.assign(y="a"), "x", "y"),
            "'y' of the table has other values",
        ),
        (lambda t: rank_correlation(t.assign(y=1j), "x", "y"), "'y' of the table has other values"),
        (lambda t: rank_correlation(t.assign(y=math.nan), "x", "y"), "'y' of the table has other"),
        (lambda t: rank_correlation(t.assign(z=None), "x", "y", "z"), "'z' of the table has other"),
        (lambda t: bootstrap(None, len, ["run"]), "The table is None; it must be a DataFrame"),
        (lambda t: bootstrap(t[:0], len, ["run"]), "has no rows"),
        (lambda t: bootstrap(t[:2], len, ["run"]), "has one run only"),
        (lambda t: bootstrap(t.assign(run=math.nan), len, ["run"]), "tell runs apart, so each row"),
        (lambda t: bootstrap(t.assign(run=[[1]] * 60), len, ["run"]), "tell runs apart, so each"),
        (lambda t: bootstrap(t, lambda t: "many", ["run"]), "statistic gives 'many'; it must"),
        (lambda t: bootstrap(t, lambda t: None, ["run"]), "statistic gives None; it must"),
        (lambda t: bootstrap(t, lambda t: t["y"].unique(), ["run"]), "or always as many"),
    ],
)
def test_odd_arguments_get_a_sentence(table, work, told):
    with pytest.raises(ValueError, match=told):
        work(table)


def test_groups_may_be_named_in_a_tuple(table):
    assert len(mean_and_range(table, ("run",), {"x": ".2f"})) == table["run"].nunique()


def test_a_run_of_one_look_has_its_best_there_and_maybe_a_better_one_beyond():
    grid = read_grid()
    for step in (0, grid["step"].max()):
        [best] = best_looks(grid[grid["step"] == step].head(1)).to_dict("records")
        assert best["step"] == step and best["censored"]


def test_a_table_without_the_columns_that_a_table_of_sizes_needs_gets_a_sentence():
    with pytest.raises(ValueError, match="runs lacks params, gap"):
        size_table(best_looks(read_grid()).drop(columns=["params", "gap"]))
