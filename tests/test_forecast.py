"""What is said of a set-up before it is trained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.study.experiments.grid import NEAR, last_and_best, read_grid
from slmlab.study.forecast import forecast, machine_factor, nearest, reference_ms
from slmlab.study.setups import Setup

# Milliseconds of a step, from benchmarks/results.md, which the forecast's constants come from.
MEASURED = {
    ("gpt2", 0): 767.5,
    ("gpt2", 1): 14.0,
    ("gpt2", 2): 75.5,
    ("gpt2", 3): 280.1,
    ("gpt2", 4): 722.8,
    ("right-sized", 0): 264.4,
    ("right-sized", 1): 2.0,
    ("right-sized", 2): 6.9,
    ("right-sized", 3): 33.5,
    ("right-sized", 4): 135.5,
}
MEASURED_MB = {
    ("gpt2", 0): 1045,
    ("gpt2", 2): 407,
    ("gpt2", 4): 582,
    ("right-sized", 0): 589,
    ("right-sized", 2): 291,
    ("right-sized", 4): 404,
}


@pytest.mark.parametrize(("key", "ms"), MEASURED.items(), ids=str)
def test_steps_are_forecast_within_a_quarter_over_three_orders_of_magnitude(key, ms):
    setup = Setup.parse(f"phase-{key[1]} vocabulary={key[0]}")
    config = setup.model_config(setup.dataset().tokenizer.n_vocab)
    assert 0.75 < reference_ms(config, setup.batch_size) / ms < 1.25


@pytest.mark.parametrize(("key", "mb"), MEASURED_MB.items(), ids=str)
def test_memory_is_forecast_within_a_quarter(key, mb):
    ahead = forecast(Setup.parse(f"phase-{key[1]} vocabulary={key[0]}"), factor=1.0)
    assert 0.75 < ahead.megabytes / mb < 1.25


def test_the_numbers_of_a_set_up():
    ahead = forecast(Setup.parse("phase-2 vocabulary=gpt2"), factor=2.0)
    assert ahead.config.n_params == 3_368_576
    assert ahead.train_tokens == 4_500
    assert ahead.params_per_token == pytest.approx(749, abs=1)
    assert ahead.epochs == pytest.approx(57, abs=1)
    assert ahead.seconds == pytest.approx(2 * 75.5, rel=0.25)


def test_a_time_budget_is_turned_into_steps():
    slow = forecast(Setup.parse("phase-2 seconds=20"), factor=4.0)
    fast = forecast(Setup.parse("phase-2 seconds=20"), factor=1.0)
    assert slow.seconds == fast.seconds == 20
    assert fast.steps == pytest.approx(4 * slow.steps, abs=4)


def test_this_machine_is_measured_once():
    assert machine_factor() == machine_factor() > 0


def test_the_nearest_cell_has_a_row_for_each_seed():
    table = read_grid()
    cell = table[(table["n_embd"] == 48) & (table["train_tokens"] == 4_800) & (table["step"] > 0)]
    row = cell.iloc[5]
    config = Setup.parse("phase-2 n_layer=3 n_embd=48 block_size=64").model_config(1172)
    assert config.n_params == row["params"]
    rows, distance = nearest(config, int(row["train_tokens"]), row["epochs"])
    assert distance == pytest.approx(0)
    assert sorted(rows["seed"]) == [0, 1, 2]
    assert set(rows["step"]) == {row["step"]}


def test_the_band_is_that_of_the_recorded_runs():
    setup = Setup.parse("phase-2 n_embd=48 block_size=64 n_tokens=5333")
    ahead = forecast(setup, factor=1.0)
    rows, _ = nearest(ahead.config, ahead.train_tokens, ahead.epochs)
    assert f"gap {rows['gap'].mean():+.1f} ± " in ahead.like
    assert "held-out scripts" in ahead.like


def test_far_from_everything_recorded_it_says_so():
    ahead = forecast(Setup.parse("phase-0 max_steps=3000"), factor=1.0)
    assert "None of the recorded grid" in ahead.like


def test_a_phase_is_told_its_own_recorded_runs():
    assert "This is Phase 2" in forecast(Setup.parse("phase-2 seed=5"), factor=1.0).like
    assert "This is Phase" not in forecast(Setup.parse("phase-2 n_layer=2"), factor=1.0).like


def test_warnings_are_in_words():
    ahead = forecast(Setup.parse("phase-4 vocabulary=gpt2 n_tokens=10000"), factor=1.0)
    text = " ".join(ahead.warnings)
    for words in ("right-size it", "parameters for each training token", "will be read 683 times"):
        assert words in text
    assert forecast(Setup.parse("phase-1 n_embd=2 n_layer=1 n_tokens=23000")).warnings == ()


def test_a_context_longer_than_the_text_gets_a_sentence():
    with pytest.raises(ValueError, match="use block_size below that"):
        forecast(Setup.parse("phase-2 n_tokens=100 block_size=128"), factor=1.0)


def test_more_memory_than_is_free_is_said():
    ahead = forecast(Setup.parse("phase-0 n_embd=3072 n_layer=60 batch_size=512"), factor=1.0)
    assert any("MB are free" in warning for warning in ahead.warnings)


@pytest.mark.parametrize("n_tokens", [1_000, 2_200, 4_800, 10_500, 23_000])
def test_within_the_grid_the_recommended_size_is_near_the_best(n_tokens):
    advice = lab.recommend(n_tokens, 1172)
    runs = last_and_best(read_grid()).query("train_tokens == @n_tokens")
    means = runs.groupby("params")["best_val_loss"].mean()
    assert means[advice.config.n_params] <= means.min() + NEAR
    best = runs[runs["params"] == means.idxmin()]
    assert advice.epochs == pytest.approx(best["best_epochs"].mean())


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
    assert any("vocabulary's" in reason for reason in lab.recommend(23_000, 50257).reasons)
    assert not any("vocabulary's" in reason for reason in lab.recommend(10**10, 500).reasons)


@pytest.mark.parametrize("n_tokens", [-1, 0, 99])
def test_too_little_text_is_refused(n_tokens):
    with pytest.raises(ValueError, match=f"{n_tokens} tokens are too few"):
        lab.recommend(n_tokens)


def test_a_vocabulary_of_one_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 1; it must be at least 2"):
        lab.recommend(1000, 1)
