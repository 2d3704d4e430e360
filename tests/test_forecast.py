"""What is said of a set-up before it is trained."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.study.experiments.counting import read_counting
from slmlab.study.experiments.grid import GRID, best_looks, read_grid, size_table
from slmlab.study.forecast import (
    _travel,
    forecast,
    machine_factor,
    measured_steps,
    nearest,
    reference_ms,
    step_costs,
    step_demands,
)
from slmlab.study.phases import PHASES
from slmlab.study.recommendation import _beside_counting
from slmlab.study.setups import Setup, preset
from slmlab.text.files import DataError

STEPS = pytest.mark.parametrize(
    "step", measured_steps(), ids=lambda step: f"{step.phase}-{step.vocabulary}"
)


@STEPS
def test_steps_are_forecast_within_a_quarter_over_three_orders_of_magnitude(step):
    assert 0.75 < reference_ms(step.config, step.batch_size) / step.milliseconds < 1.25


@STEPS
def test_memory_is_forecast_within_a_tenth(step):
    ahead = forecast(phase(step.phase, step.vocabulary), factor=1.0)
    assert ahead.config == step.config
    assert 0.9 < ahead.megabytes / step.megabytes < 1.1


def phase(number, vocabulary="right-sized", **changes):
    return preset(number).replace(vocabulary=vocabulary, **changes)


def test_each_cost_of_a_step_is_positive():
    assert len(step_costs()) == len(step_demands(measured_steps()[0].config, 4))
    assert min(step_costs()) > 0


def test_the_numbers_of_a_set_up():
    ahead = forecast(Setup.parse("phase-2 vocabulary=gpt2"), factor=2.0)
    assert ahead.config.n_params == 3_368_576
    assert ahead.train_tokens == 4_500
    assert ahead.params_per_token == pytest.approx(749, abs=1)
    assert ahead.epochs == pytest.approx(57, abs=1)
    [step] = [s for s in measured_steps() if s.config == ahead.config]
    assert ahead.seconds == pytest.approx(2 * 1000 * step.milliseconds / 1000, rel=0.25)


def test_a_time_budget_is_turned_into_steps():
    slow = forecast(Setup.parse("phase-2 seconds=20"), factor=4.0)
    fast = forecast(Setup.parse("phase-2 seconds=20"), factor=1.0)
    assert slow.seconds == fast.seconds == 20
    assert fast.steps == pytest.approx(4 * slow.steps, abs=4)


@pytest.mark.slow
def test_this_machine_is_measured_once():
    assert machine_factor() == machine_factor() > 0


def test_the_nearest_cell_has_a_row_for_each_seed():
    table = read_grid()
    row = table.query("n_embd == 48 and learning_rate == 0.001 and train_tokens == 4800").iloc[9]
    setup = GRID.setup(48, 1e-3, 4_800, 0).replace(max_steps=int(row["step"]))
    rows, distance = nearest(setup, setup.dataset())
    assert distance == pytest.approx(0, abs=1e-4)
    assert sorted(rows["seed"]) == [0, 1, 2]
    assert set(rows["step"]) == {row["step"]}


def test_what_is_foreseen_is_what_the_nearest_runs_had_beside_counting():
    setup = Setup.parse("phase-2 n_embd=48 block_size=64 n_tokens=5333")
    rows, _ = nearest(setup, setup.dataset())
    ahead = forecast(setup, factor=1.0)
    assert f"had {rows['val_bits'].mean():.2f} ± " in ahead.like
    counted = read_counting().query("train_tokens == 4800")["val_bits"].mean()
    assert f"a 5-gram on those texts has {counted:.2f}" in ahead.like


def test_far_from_everything_recorded_it_says_so():
    ahead = forecast(Setup.parse("phase-0 max_steps=3000"), factor=1.0)
    assert "No run of the recorded grid" in ahead.like


def test_a_phase_is_told_its_own_recorded_runs():
    assert "This is Phase 2" in forecast(Setup.parse("phase-2 seed=5"), factor=1.0).like
    for other in ("n_layer=2", "vocabulary=gpt2"):
        assert "This is Phase" not in forecast(Setup.parse(f"phase-2 {other}"), factor=1.0).like


def test_warnings_are_in_words():
    ahead = forecast(
        Setup.parse("phase-4 n_embd=384 n_layer=8 vocabulary=gpt2 n_tokens=1000"), factor=1.0
    )
    text = " ".join(ahead.warnings)
    for words in (
        "A right-sized vocabulary gives the same tokens",
        "parameters for each training token",
        "This trains for 3,000 steps",
    ):
        assert words in text
    assert forecast(Setup.parse("phase-1 n_embd=2 n_layer=1 n_tokens=23000")).warnings == ()


def test_a_context_longer_than_the_text_gets_a_sentence():
    with pytest.raises(ValueError, match="use block_size below that"):
        forecast(Setup.parse("phase-2 n_tokens=100 block_size=128"), factor=1.0)


def test_more_memory_than_is_free_is_said():
    ahead = forecast(Setup.parse("phase-0 n_embd=3072 n_layer=30 batch_size=512"), factor=1.0)
    assert "MB are free" in ahead.too_large


@pytest.mark.parametrize("n_tokens", GRID.train_tokens)
def test_within_the_grid_the_recommended_size_is_near_the_best(n_tokens):
    advice = lab.recommend(n_tokens, 1172)
    sizes = size_table(best_looks(read_grid())).loc[n_tokens]
    own = sizes.loc[advice.config.n_embd]
    assert own["near"] and not sizes.loc[: advice.config.n_embd - 1, "near"].any()
    assert advice.epochs == pytest.approx(own["epochs"])
    assert advice.learning_rate == own["learning_rate"]
    assert any("5-gram" in reason for reason in advice.reasons)


@pytest.mark.parametrize(
    ("ahead", "least", "words"),
    [
        (0.2, 0.1, "was 0.20 bits per byte better than a 5-gram"),
        (0.1, -0.1, "no better than a 5-gram with every text"),
        (-0.3, -0.4, "was 0.30 bits per byte worse than a 5-gram"),
    ],
)
def test_a_recommendation_says_where_counting_would_do(ahead, least, words):
    decision = pd.Series({"ahead": ahead, "ahead_least": least})
    assert words in _beside_counting(decision, 1_000)


def test_phases_2_to_4_were_best_within_a_factor_of_two_of_the_grids_rule():
    """Steps × learning rate × width, which forecasts use, on runs that it was not made from."""
    travel = _travel()
    for number in (2, 3, 4):
        setup = preset(number)
        found = np.interp(np.log(setup.data.n_tokens * 0.9), np.log(travel.index), travel)
        for seed in range(3):
            history = PHASES[number].recorded("right-sized", seed).history
            best = history.loc[history["test_loss"].idxmin(), "step"]
            own = best * setup.training.learning_rate * setup.shape.n_embd
            assert 0.5 < own / found < 2


def test_beyond_the_grid_a_recommendation_says_that_it_guesses():
    assert not any("guess" in reason for reason in lab.recommend(30_000).reasons)
    for n_tokens in (100, 100_000, 10**9):
        assert any("guess" in reason for reason in lab.recommend(n_tokens).reasons)


@given(n_tokens=st.integers(100, 10**10), vocab_size=st.integers(2, 60_000))
def test_recommendations_fit_the_vocabulary(n_tokens, vocab_size):
    advice = lab.recommend(n_tokens, vocab_size)
    assert advice.config.vocab_size == vocab_size
    assert any(f"{advice.config.n_params:,} parameters" in reason for reason in advice.reasons)


def test_a_wide_vocabulary_is_named_as_the_main_cost():
    assert any(
        "belong to the vocabulary" in reason for reason in lab.recommend(23_000, 50257).reasons
    )
    assert not any(
        "belong to the vocabulary" in reason for reason in lab.recommend(10**10, 500).reasons
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((99,), "n_tokens is 99; it must be a whole number from 100 to 1,000,000,000,000."),
        ((0,), "n_tokens is 0; it must be a whole number from 100"),
        ((-1,), "n_tokens is -1; it must be a whole number from 100"),
        ((10**13,), "n_tokens is 10000000000000; it must be a whole number from 100"),
        ((10**400,), "n_tokens is a number that is far too large; it must be"),
        (("500",), "n_tokens is '500'; it must be a whole number"),
        ((None,), "n_tokens is None; it must be a whole number"),
        ((True,), "n_tokens is True; it must be a whole number"),
        ((1000.5,), "n_tokens is 1000.5; it must be a whole number"),
        ((math.nan,), "n_tokens is nan; it must be a whole number"),
        ((1000, 1), "vocab_size is 1; it must be a whole number from 2 to 1,000,000."),
        ((1000, 10**13), "vocab_size is 10000000000000; it must be a whole number from 2"),
        ((1000, math.inf), "vocab_size is inf; it must be a whole number from 2"),
        ((1000, "gpt2"), "vocab_size is 'gpt2'; it must be a whole number from 2"),
    ],
)
def test_no_recommendation_for_what_is_no_size(arguments, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        lab.recommend(*arguments)


@pytest.mark.parametrize(
    ("setup", "factor", "sentence"),
    [
        ("phase-2", 1.0, "setup is 'phase-2'; it must be a Setup, such as lab.Setup.parse("),
        (None, 1.0, "setup is None; it must be a Setup"),
        (2, 1.0, "setup is 2; it must be a Setup"),
        (preset(2), math.nan, "factor is nan; it must be a number above 0."),
        (preset(2), 0, "factor is 0; it must be a number above 0."),
        (preset(2), -1, "factor is -1; it must be"),
        (preset(2), "2", "factor is '2'; it must be"),
        (preset(2), 10**400, "factor is a number that is far too large; it must be"),
    ],
)
def test_no_forecast_for_what_is_no_set_up(setup, factor, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        forecast(setup, factor)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000])
def test_damaged_step_times_are_told_in_a_sentence(monkeypatch, tmp_path, content):
    (tmp_path / "steps.json").write_text(content)
    monkeypatch.setattr("slmlab.text.files.data_path", lambda *parts: tmp_path / parts[-1])
    with pytest.raises(DataError, match=r"steps\.json is missing or damaged; restore it"):
        measured_steps()
