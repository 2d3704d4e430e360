"""How good the guesses were so far."""

import math

import pytest

import slmlab as lab
from slmlab.show import progress
from slmlab.show.progress import Prediction
from slmlab.show.widgets import guesses


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch):
    monkeypatch.setattr(guesses, "SESSION", {})


def keep(title, gap, real_gap, best_step=500, real_best_step=500):
    progress.keep_prediction(
        title, Prediction(gap, best_step, 1000, True, True, real_gap, real_best_step)
    )


def test_without_a_result_it_says_what_to_do(shown):
    keep("Phase 2", 1.0, math.nan)
    lab.PredictionCard("Phase 3")
    found = lab.calibration()
    assert found.chart is None
    assert str(found).startswith("No locked guess has met its result yet.")
    found._ipython_display_()
    assert str(found) in shown[0]["text/html"]


def test_one_guess():
    keep("Phase 2", 1.0, -0.1)
    assert str(lab.calibration()) == "Your gap is off by 1.1 nats."


@pytest.mark.parametrize(
    ("real_gaps", "best_steps", "said"),
    [
        ((2.0, 3.4), (500, 500), "off by 1.7 nats on average of 2 guesses, all too low."),
        ((0.0, 0.0), (500, 500), "off by 1.0 nats on average of 2 guesses, all too high."),
        ((0.0, 2.0), (900, 500), "of 2 guesses; you expect overfitting too late."),
        ((0.0, 2.0), (100, 500), "of 2 guesses; you expect overfitting too early."),
        ((0.0, 2.0), (None, 520), "of 2 guesses."),
    ],
)
def test_it_says_how_far_off_and_to_which_side(real_gaps, best_steps, said):
    for title, real_gap, best_step in zip("ab", real_gaps, best_steps, strict=True):
        keep(title, 1.0, real_gap, best_step, None if best_step is None else 500)
    found = lab.calibration()
    assert str(found).endswith(said)
    assert found.chart.description.startswith(str(found))


def test_guesses_of_all_notebooks_are_drawn(shown):
    keep("Phase 1", 2.0, 4.02)
    keep("Phase $2$", 1.0, -0.1)
    lab.calibration()._ipython_display_()
    page = shown[0]["text/html"]
    for words in ("Phase 1", "Phase $2$", "your guess", "the run"):
        assert words in page
