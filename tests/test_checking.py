"""The two forms of a check: what they accept, and what they say of a mistake."""

import math

import pandas as pd
import pytest
import torch

import slmlab as lab
from slmlab.exercises import lesson_04
from slmlab.exercises.checking import Case, Mistake, Probe, close, expect, expect_function


def told(*arguments, check=expect, **options):
    with pytest.raises(Mistake) as raised:
        check(*arguments, **options)
    return str(raised.value)


def test_a_right_value_comes_back_and_may_be_rounded():
    assert expect("share", 0.333, 1 / 3) == 0.333
    assert expect("count", "12", 12) == 12
    assert expect("rate", 1.02, 1.0, abs_tol=0.05) == 1.02
    assert expect("choice", " (B). ", "b", {"a": "No."}) == "b"
    assert expect("yes", 1, True) is True


def test_whole_numbers_have_to_be_exact():
    assert "is not 12,841" in told("count", 12_841, 12_840)
    assert expect("count", 12_840.0, 12_840)


def test_a_wrong_value_is_told_its_own_sentence_or_the_hint():
    mistakes = {2.0: "You counted twice.", 2.01: lambda: "You counted twice and a bit."}
    assert told("x", 2.0, 1.0, mistakes) == "`x`: You counted twice."
    assert told("x", 2.01, 1.0, mistakes) == "`x`: You counted twice and a bit."
    assert told("x", 3.5, 1.0, mistakes, otherwise="Count once.") == "`x` is not 3.5. Count once."


@pytest.mark.parametrize(
    ("answer", "truth", "words"),
    [
        (..., 1.0, "still blank"),
        (None, "a", "still blank"),
        ("twelve", 12, "should be one number"),
        ((12, 840), 12_840, "reads a comma"),
        (math.nan, 1.0, "finite"),
        ("c", "a", 'one of "a", "b"'),
        ("yes", True, "True or False"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_what_is_wanted(answer, truth, words):
    assert words in told("x", answer, truth, {"b": "No."} if truth == "a" else {})


def test_answers_agree_in_their_parts():
    assert close((1.0, 2.001), (1.0, 2.0)) and not close((1.0,), (1.0, 2.0))
    assert close(torch.eye(2), torch.eye(2)) and not close(torch.eye(2), torch.ones(2, 2))
    assert not close(None, 1.0) and not close("a", 1.0)


MISREADINGS = {
    "return b - a": "You subtracted the other way round.",
    "return [][0]": "No function that stops is the same as one that does not.",
    "return abs(a - b)": "You lost the sign.",
}


def difference(function, cases=((3.0, 1.0), (1.0, 3.0)), **options):
    expect_function("minus(a, b)", function, cases, "return a - b", MISREADINGS, **options)


def test_a_right_function_passes_whatever_its_body():
    difference(lambda a, b: -(b - a))


def test_a_misreading_is_recognised_by_what_it_returns():
    assert told(lambda a, b: -a + b, check=difference) == "You subtracted the other way round."
    assert told(lambda a, b: max(a, b) - min(a, b), check=difference) == "You lost the sign."


def test_where_no_misreading_matches_the_first_wrong_case_is_told():
    by = told(lambda a, b: max(0.0, a - b), check=difference)
    assert by == "For a=1 and b=3 it gives 0; it should be -2."
    cases = [Case((3.0, 1.0)), Case((1.0, 3.0), "Below 0, too.")]
    by = told(lambda a, b: max(0.0, a - b), cases, check=difference, otherwise="{b} from {a}.")
    assert by == "3.0 from 1.0. Below 0, too."
    by = told(lambda a, b: 7.0, cases, check=difference, otherwise=lambda v, t, a, b: f"{v} {t}")
    assert by == "7.0 2.0"


def test_a_function_that_returns_nothing_stops_or_is_none_is_told():
    assert "returns nothing yet" in told(lambda a, b: None, check=difference)
    assert "a=1 and b=3 you return nothing" in told(
        lambda a, b: a - b if a > b else None, check=difference
    )
    by = told(lambda a, b: a[0], check=difference, advice={"TypeError": "Numbers have no parts."})
    assert "stopped with TypeError" in by and by.endswith("Numbers have no parts.")
    assert "no longer a function" in told(3, check=difference)
    assert "one number" in told(lambda a, b: "many", check=difference)


def test_a_function_cannot_change_the_cases():
    cases = [([3, 1, 2],), ([2, 1],)]
    expect_function("top(x)", lambda x: x.sort() or x[-1], cases, "return max(x)")
    assert cases[0] == ([3, 1, 2],)
    table = pd.DataFrame({"x": [3, 1]})
    expect_function("n(t)", lambda t: len(t.pop("x")), [(table,)], "return len(t)")
    assert list(table.columns) == ["x"]


def test_a_probe_notes_what_a_check_knows():
    value, function = Probe(), Probe()
    assert expect("x", value, 1.0, {2.0: "Twice."}) == 1.0
    assert (value.name, value.truth, value.wrong) == ("x", 1.0, [(2.0, "Twice.")])
    difference(function)
    assert function.wrong == list(MISREADINGS.items())


def test_stopping_as_the_check_wants_it_is_that_of_the_course():
    names = {}
    exec("def stops_at(val_losses, patience):" + lesson_04.STOPS.replace("\n", "\n    "), names)
    for phase in lab.PHASES:
        run = phase.recorded("right-sized")
        steps = [report.step for report in run.state.history]
        losses = [report.val_loss for report in run.state.history]
        for patience in (1, 2, 3, 5):
            facts = lab.early_stop(run, patience)
            wanted = steps.index(facts["stops"]), steps.index(facts["best step"])
            assert names["stops_at"](losses, patience) == wanted
