"""The card for a guess and the session's memory, driven without a browser."""

import math
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import slmlab as lab
from slmlab.show.plots.chart import HELD_OUT
from slmlab.show.widgets import guesses
from slmlab.show.widgets.guesses import predictions
from slmlab.show.widgets.prediction import PredictionCard
from slmlab.show.widgets.sketch import sketched_losses

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch):
    monkeypatch.setattr(guesses, "SESSION", {})


@pytest.fixture
def ended(finished):
    """Makes a run that ended at step 60 with a given gap, evaluated every 20 steps."""

    def make(gap, best_step=40, best_val_loss=2.0, **changes):
        last = replace(finished.state.history[-1], train_loss=1.0, val_loss=1.0 + gap)
        state = replace(
            finished.state,
            history=[*finished.state.history[:-1], last],
            best_step=best_step,
            best_val_loss=best_val_loss,
            **changes,
        )
        return replace(finished, state=state)

    return make


def controls(card):
    return [c for c in (card.gap_slider, card.step_slider, card.lock_button) if c is not None]


def test_untouched_it_holds_the_start_values():
    card = PredictionCard("Phase 4", 2.5, 1400, steps=3000)
    assert (card.gap, card.best_step, card.locked) == (2.5, 1400, False)
    assert not any(control.disabled for control in controls(card))
    assert "Not locked" in card.status.value
    assert card.lock_button.description == "Lock my guess"


def test_the_best_step_starts_in_the_middle():
    assert PredictionCard("Phase 4", steps=3001).best_step == 1500


def test_without_steps_only_the_gap_is_asked():
    card = PredictionCard("Phase 2")
    assert card.step_slider is None
    assert card.best_step is None
    assert "circle" not in card.sketch.value


def test_moving_the_sliders_changes_guess_words_and_sketch():
    card = PredictionCard("Phase 4", 1.0, steps=3000)
    words, sketch = card.meaning.value, card.sketch.value
    card.gap_slider.value = 5.5
    assert "catastrophic" in card.meaning.value
    assert "catastrophic" not in words
    assert "gap +5.5" in card.sketch.value
    card.step_slider.value = 600
    assert ">600<" in card.sketch.value
    assert "circle" in sketch
    assert card.sketch.value != sketch
    assert (card.gap, card.best_step) == (5.5, 600)


@pytest.mark.parametrize(("gap", "times"), [(-1.0, "0.4"), (1.0, "2.7"), (9.0, "8,103")])
def test_a_gap_is_a_ratio_of_perplexities(gap, times):
    meaning = PredictionCard("Phase 2", gap).meaning.value
    assert f"</b>: validation perplexity is {times} × training's" in meaning


def test_a_gap_has_one_decimal_and_no_negative_zero():
    card = PredictionCard("Phase 2", -0.04)
    assert "gap +0.0" in card.sketch.value
    assert "good" in card.meaning.value


@pytest.mark.parametrize("best", [0.0, 0.03, 0.4, 1.0])
@pytest.mark.parametrize("gap", [-1.0, 0.0, 1.0, 9.0])
def test_the_sketch_shows_the_guess(gap, best):
    x, train, val = sketched_losses(gap, best)
    assert val[-1] - train[-1] == pytest.approx(gap)
    assert abs(x[val.argmin()] - best) <= 1 / 120
    assert train[0] == pytest.approx(val[0])
    for losses in (train, val):
        assert losses.min() > 0
        assert losses.max() < 13.2  # what fits into the picture


@pytest.mark.parametrize(
    ("steps", "best", "stride"), [(3000, 1437, 50), (500, 250, 5), (1, 0, 1), (10**9, 7, 10**7)]
)
def test_an_arrow_key_moves_about_a_hundredth_and_can_reach_both_ends(steps, best, stride):
    offered = [step for _, step in PredictionCard("a", 1.0, best, steps).step_slider.options]
    assert offered[0] == 0 and offered[-1] == steps and best in offered
    assert len(offered) <= 122
    assert {b - a for a, b in pairwise(offered) if best not in (a, b)} <= {stride}


def test_locking_keeps_the_guess_and_says_so():
    card = PredictionCard("Phase 4", steps=3000)
    card.gap_slider.value = 3.2
    card.step_slider.value = 1400
    card.lock_button.click()
    assert card.locked
    assert all(control.disabled for control in controls(card))
    assert "Locked: gap +3.2, best step 1,400." in card.status.value
    assert card.lock_button.description == "Locked"
    card.gap_slider.value = 0.0
    assert card.gap == 3.2


def test_a_locked_card_made_again_shows_the_locked_guess():
    card = PredictionCard("Phase 4", steps=3000)
    card.gap_slider.value = 3.2
    card.step_slider.value = 1450
    card.lock_button.click()
    again = PredictionCard("Phase 4", 1.0, steps=2000)
    assert (again.gap, again.best_step, again.locked) == (3.2, 1450, True)
    assert (again.gap_slider.value, again.step_slider.value) == (3.2, 1450)
    assert all(control.disabled for control in controls(again))
    assert "gap +3.2" in again.status.value
    again.lock_button.click()
    assert (again.gap, again.best_step) == (3.2, 1450)


def test_a_locked_guess_outlives_the_kernel(ended, monkeypatch):
    card = PredictionCard("Phase 4", 3.2, 20, steps=60)
    card.lock_button.click()
    for real_gap in (math.nan, 1.6):
        monkeypatch.setattr(guesses, "SESSION", {})  # as a new kernel has it
        again = PredictionCard("Phase 4", 1.0, steps=60)
        assert (again.gap, again.best_step, again.locked) == (3.2, 20, True)
        assert predictions().loc["Phase 4", "real_gap"] == pytest.approx(real_gap, nan_ok=True)
        again.reveal(ended(1.6))
    lab.start_over("Phase 4")
    assert not PredictionCard("Phase 4").locked


def test_a_card_that_was_not_locked_is_not_kept(ended, monkeypatch):
    PredictionCard("Phase 4").reveal(ended(1.6))
    monkeypatch.setattr(guesses, "SESSION", {})
    assert predictions().empty


def test_a_locked_guess_is_drawn_over_the_run(ended):
    card = PredictionCard("Phase 4", 1.0, 20, steps=60)
    assert card.reveal(ended(1.6)).chart is None
    card = PredictionCard("Phase 4", 1.0, 20, steps=60)
    card.lock_button.click()
    reveal = card.reveal(ended(1.6))
    dashed = [line for line in reveal.chart.axes[0].lines if line.get_linestyle() == "--"]
    train, val = (line.get_ydata() for line in dashed if len(line.get_xdata()) > 1)
    assert val[-1] - train[-1] == pytest.approx(1.0)
    assert "The guess: a gap of +1.0, the lowest validation loss at step 20." in (
        reveal.chart.description
    )
    assert card.reveal(ended(math.nan)).chart is None


def test_a_card_made_again_without_a_lock_starts_afresh():
    PredictionCard("Phase 2").gap_slider.value = 4.0
    assert PredictionCard("Phase 2").gap == 1.0


def test_of_two_cards_with_one_title_the_first_lock_counts():
    one, other = PredictionCard("Phase 4", steps=3000), PredictionCard("Phase 4")
    one.gap_slider.value = 2.0
    one.lock_button.click()
    other.gap_slider.value = 5.0
    other.lock_button.click()
    assert (one.gap, other.gap, other.best_step) == (2.0, 2.0, 1500)
    assert all(control.disabled for control in controls(other))


def test_cards_of_other_titles_are_apart():
    PredictionCard("Phase 2").lock_button.click()
    assert not PredictionCard("Phase 3").locked


def test_a_locked_guess_is_laid_beside_the_result(ended):
    card = PredictionCard("Phase 4", 1.0, 20, steps=60)
    card.lock_button.click()
    reveal = card.reveal(ended(1.6))
    assert reveal.rows == [
        ["gap (nats per token)", "+1.0", "+1.60", "0.60"],
        ["band", "moderate", "moderate", ""],
        ["best step", "20", "40", "20"],
    ]
    assert reveal.judgement == (
        "0.6 nats off (too low), and in the right band (moderate); "
        "the best step came 20 steps later than guessed."
    )
    assert "your guess" in str(reveal)
    assert str(reveal).endswith(reveal.judgement)


def test_a_guess_in_another_band_is_told_so(ended):
    card = PredictionCard("Phase 1", 4.0)
    card.lock_button.click()
    assert card.reveal(ended(0.7)).judgement == (
        "3.3 nats off (too high), and in another band (the run's is acceptable, not severe)."
    )


@pytest.mark.parametrize(
    ("real", "said"),
    [
        (1.02, "Right to a tenth of a nat, and in the right band (moderate)"),
        (0.98, "Right to a tenth of a nat, and in another band"),
    ],
)
def test_a_guess_can_be_right(ended, real, said):
    assert PredictionCard("Phase 1", 1.0).reveal(ended(real)).judgement.startswith(said)


def test_a_best_step_is_right_if_no_evaluation_was_nearer(ended):
    card = PredictionCard("Phase 4", 1.0, 47, steps=60)
    assert "the best step is right, as far as" in card.reveal(ended(1.0, 40)).judgement
    assert "27 steps earlier than guessed" in card.reveal(ended(1.0, 20)).judgement


def test_a_best_step_of_zero_is_a_step(ended):
    reveal = PredictionCard("Phase 0", 1.0, 0, steps=60).reveal(ended(1.0, best_step=0))
    assert reveal.rows[-1] == ["best step", "0", "0", "0"]
    assert "the best step is right" in reveal.judgement
    assert predictions().loc["Phase 0", "real_best_step"] == 0


def test_what_was_not_locked_is_not_called_a_guess(ended):
    card = PredictionCard("Phase 2")
    reveal = card.reveal(ended(1.6))
    assert "You had not locked a guess, so this is where the sliders were." in reveal.judgement
    assert "not locked" in str(reveal).splitlines()[1]
    assert "your guess" not in str(reveal)


def test_after_the_result_it_is_too_late_to_lock(ended):
    card = PredictionCard("Phase 2")
    card.reveal(ended(1.6))
    assert all(control.disabled for control in controls(card))
    assert "The result came before the lock" in card.status.value
    card.gap_slider.value = 1.6
    card.lock_button.click()
    assert (card.gap, card.locked) == (1.0, False)
    PredictionCard("Phase 2").lock_button.click()
    assert predictions().loc["Phase 2", "locked"]


def test_a_run_of_another_length_is_told_so(ended):
    card = PredictionCard("Phase 4", steps=3000)
    assert "ended at step 60; the guess was for 3,000 steps" in card.reveal(ended(1.0)).judgement


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
def test_a_run_without_finite_losses_gets_words(ended, gap):
    card = PredictionCard("Phase 4", steps=60)
    run = ended(gap, best_step=0, best_val_loss=math.inf, status="diverged")
    reveal = card.reveal(run)
    assert "not finite numbers, so there is nothing to compare with" in reveal.judgement
    assert "nan" not in str(reveal)
    assert "inf" not in str(reveal).replace("finite", "")
    assert [row[2] for row in reveal.rows] == ["not finite", "none", "none"]
    row = predictions().loc["Phase 4"]
    assert row[["real_gap", "distance", "real_best_step"]].isna().all()


def test_a_run_that_diverged_later_is_compared_at_its_last_finite_losses(ended):
    reveal = PredictionCard("Phase 4").reveal(ended(1.6, status="diverged"))
    assert reveal.rows[0][2] == "+1.60"
    assert "diverged later; these are its last finite losses" in reveal.judgement


def test_the_latest_run_counts(ended):
    card = PredictionCard("Phase 4")
    card.reveal(ended(1.6))
    card.reveal(ended(math.nan, best_val_loss=math.inf))
    assert predictions().loc["Phase 4", ["real_gap", "real_best_step"]].isna().all()


def test_a_result_is_shown_as_a_table_with_its_judgement(ended, shown):
    reveal = PredictionCard("Phase 2").reveal(ended(1.6))
    reveal._ipython_display_()
    [bundle] = shown
    assert bundle["text/plain"] == str(reveal)
    assert "+1.60" in bundle["text/html"]
    assert "in the right band" in bundle["text/html"]


@pytest.mark.parametrize(("real", "right"), [(1.6, True), (0.98, False), (math.nan, False)])
def test_only_a_right_band_is_marked_as_right(ended, shown, real, right):
    reveal = PredictionCard("Phase 2", 1.0).reveal(ended(real))
    reveal._ipython_display_()
    assert reveal.right is right
    assert (f"4px solid {HELD_OUT}" in shown[0]["text/html"]) is right


def test_titles_and_names_are_not_taken_for_html(ended, shown):
    card = PredictionCard("<script>alert(1)</script>")
    card._ipython_display_()
    card.reveal(replace(ended(1.0), name="<script>"))._ipython_display_()
    heading = card.box.children[0].value
    for page in (heading, card.static(), *(bundle["text/html"] for bundle in shown)):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page


def test_without_a_kernel_a_table_stands_in_its_place(shown):
    card = PredictionCard("Phase 4", 3.2, steps=3000)
    card._ipython_display_()
    [bundle] = shown
    assert WIDGET_VIEW in bundle
    assert bundle["text/html"] == card.static()
    for part in ("Your guess: Phase 4", "+3.2 nats per token (severe)", "1,500 of 3,000", ">no<"):
        assert part in card.static()
    card.lock_button.click()
    assert ">yes<" in card.static()
    assert "best step" not in PredictionCard("Phase 2").static()


def test_the_table_of_predictions(ended):
    PredictionCard("Phase 2", 0.5)
    card = PredictionCard("Phase 4", 1.0, 20, steps=60)
    card.lock_button.click()
    card.reveal(ended(1.604))
    table = predictions()
    assert list(table.index) == ["Phase 2", "Phase 4"]
    assert table.loc["Phase 4"].to_dict() == {
        "guessed_gap": 1.0,
        "locked": True,
        "real_gap": 1.6,
        "distance": 0.6,
        "guessed_best_step": 20,
        "real_best_step": 40,
    }
    assert table.loc["Phase 2", ["real_gap", "distance", "guessed_best_step"]].isna().all()
    assert not table.loc["Phase 2", "locked"]
    assert table.to_csv().splitlines()[1:] == [
        "Phase 2,0.5,False,,,,",
        "Phase 4,1.0,True,1.6,0.6,20,40",
    ]


def test_before_any_card_the_table_is_empty_but_has_its_columns():
    PredictionCard("Phase 2")
    full = predictions()
    guesses.SESSION.clear()
    empty = predictions()
    assert len(empty) == 0
    assert empty.index.name == "title"
    pd.testing.assert_series_equal(empty.dtypes, full.dtypes)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"gap": math.nan}, r"gap is nan; it must be a number at least -1 and at most 9\."),
        ({"gap": math.inf}, r"gap is inf; it must be a finite number"),
        ({"gap": 9.5}, r"gap is 9\.5; it must be"),
        ({"gap": "1"}, r"gap is '1'; it must be"),
        ({"gap": True}, r"gap is True; it must be"),
        ({"gap": None}, r"gap is None; it must be"),
        ({"steps": 0}, r"steps is 0; it must be a whole number from 1 to 1,000,000,000\."),
        ({"steps": 2.5}, r"steps is 2\.5; it must be"),
        ({"steps": True}, r"steps is True; it must be"),
        ({"steps": 10**30}, r"steps is 10+; it must be"),
        ({"steps": 100, "best_step": -1}, r"best_step is -1; it must be .* from 0 to 100 \("),
        ({"steps": 100, "best_step": 101}, r"best_step is 101; it must be"),
        ({"steps": 100, "best_step": False}, r"best_step is False; it must be"),
        ({"best_step": 50}, r"best_step is 50, so give the run's planned steps as well"),
        ({"best_step": "last"}, r"best_step is 'last'; it must be"),
        ({"title": None}, r"title is None; it must be text"),
        ({"title": ["a"]}, r"title is \['a'\]; it must be text"),
        ({"title": ""}, r"title is ''; it must be text of 1 to 200 letters"),
        ({"title": "x" * 10_000}, r"title is 'x{79}…; it must be text of 1 to 200 letters"),
        ({"title": "\ud800"}, r"title has half a character"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        PredictionCard(**{"title": "Phase 2"} | arguments)
    assert predictions().empty


def test_numbers_of_numpy_are_numbers():
    card = PredictionCard("Phase 2", np.float32(1.25), np.int64(20), np.int32(60))
    assert (card.gap, card.best_step) == (1.2, 20)
    assert type(guesses.SESSION["Phase 2"].steps) is int


@pytest.mark.parametrize("run", [None, "run", 5])
def test_what_is_no_run_cannot_be_revealed(run):
    card = PredictionCard("Phase 2")
    with pytest.raises(ValueError, match="must be a Run, such as what"):
        card.reveal(run)
    assert guesses.SESSION["Phase 2"].open


def test_a_run_that_was_not_trained_cannot_be_revealed(finished):
    card = PredictionCard("Phase 2")
    with pytest.raises(ValueError, match="was not trained yet"):
        card.reveal(lab.Run(finished.model, finished.dataset, finished.config))
    assert guesses.SESSION["Phase 2"].open


@pytest.mark.parametrize("blank", ["", "\t", "\r", "\n "])
@pytest.mark.parametrize("sign", "=+-@＝＋－＠")
def test_no_title_is_a_formula_in_a_spreadsheet(sign, blank):
    title = f"{blank}{sign}cmd|' /C calc'!A0"
    PredictionCard(title).lock_button.click()
    PredictionCard("1 − 1 = 0, a-b@c +1").lock_button.click()
    table = predictions()
    assert list(table.index) == [f"'{sign}cmd|' /C calc'!A0", "1 − 1 = 0, a-b@c +1"]
    assert pd.read_csv(StringIO(table.to_csv()))["title"].str[0].tolist() == ["'", "1"]
    assert PredictionCard(title).locked  # the card goes by its own title
