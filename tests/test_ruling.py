"""The cards for rulings, driven without a browser."""

import pytest

import slmlab as lab
from slmlab.show import progress

CLAIMS = {1: "More is better", 3: "<b>Less</b> is more"}
OURS = {1: ("no", "fails"), 3: ("no", "open")}


def rule(cards, n, follows="", runs=""):
    cards.follows[n].value, cards.runs[n].value = follows, runs


def test_untouched_nothing_is_ruled():
    cards = lab.RulingCards(CLAIMS)
    assert cards.locked == {}
    assert all(menu.value == "" for menu in (*cards.follows.values(), *cards.runs.values()))
    ruled = cards.reveal(OURS)
    assert ruled.sentence == "You locked no ruling, so these are the course's alone."
    assert ruled.rows[0] == ["1. More is better", "not locked", "no, fails", ""]


def test_a_claim_is_locked_once_both_rulings_are_chosen():
    cards = lab.RulingCards(CLAIMS)
    rule(cards, 1, "yes", "fails")
    rule(cards, 3, "no")
    cards.lock_button.click()
    assert cards.locked == {1: ("yes", "fails")}
    assert cards.runs[1].disabled and not cards.runs[3].disabled
    assert "1 of 2 claims are locked." in cards.status.value
    rule(cards, 1, "no", "fails")
    rule(cards, 3, "no", "open")
    cards.lock_button.click()
    assert cards.locked == {1: ("yes", "fails"), 3: ("no", "open")}
    assert cards.lock_button.disabled


def test_locked_rulings_are_laid_beside_the_courses(shown):
    cards = lab.RulingCards(CLAIMS)
    rule(cards, 1, "yes", "fails")
    cards.lock_button.click()
    ruled = cards.reveal(OURS)
    assert ruled.sentence == "1 of 2 rulings are as the course's. 1 claim is not locked."
    assert [row[1:] for row in ruled.rows] == [
        ["yes, fails", "no, fails", "1 of 2"],
        ["not locked", "no, open", ""],
    ]
    ruled._ipython_display_()
    assert shown[0]["text/plain"] == str(ruled)
    assert "&lt;b&gt;Less&lt;/b&gt;" in shown[0]["text/html"]


def test_locked_rulings_are_kept():
    cards = lab.RulingCards(CLAIMS)
    rule(cards, 3, "no", "open")
    cards.lock_button.click()
    assert lab.RulingCards(CLAIMS).locked == {3: ("no", "open")}
    assert "no, open" in lab.RulingCards(CLAIMS).static()
    progress.keep_rulings({"3": ("perhaps", "open")})  # of another version of the course
    assert lab.RulingCards(CLAIMS).locked == {}


@pytest.mark.parametrize("claims", [None, {}, ["a"], {1: 2}])
def test_what_is_no_claim_is_refused(claims):
    with pytest.raises(ValueError, match=r"[Cc]laim"):
        lab.RulingCards(claims)
