"""The options of `Decoding` as sliders, and the ladder of methods."""

import pytest

import slmlab as lab
from slmlab.engine.decoding import STAGES
from slmlab.show.widgets.dials import DIALS, LADDER, dials_of, make_dial, set_dial, setting


@pytest.mark.parametrize("option", [o for o in DIALS if o not in ("beams", "contrast")])
def test_a_dial_stands_at_the_default_and_offers_what_decoding_allows(option):
    dial = make_dial(option)
    assert setting(option, dial) == getattr(lab.Decoding(), option)
    others = {"beams": 2} if option == "length_normalisation" else {}  # it compares their texts
    for label, value in dial.options:
        dial.value = value
        assert getattr(lab.Decoding(**others | {option: setting(option, dial)}), option) == (
            getattr(lab.Decoding(), option) if label == "off" else value
        )


def test_there_is_a_dial_for_each_filter_in_their_order():
    assert list(DIALS)[: len(STAGES)] == list(STAGES.values())


def test_a_value_that_is_not_on_offer_is_added():
    dial = make_dial("top_k")
    set_dial("top_k", dial, 500)
    assert (dial.value, dial.options[-1]) == (500, ("500", 500))
    set_dial("top_k", dial, 7)
    assert (dial.value, dial.options[-1]) == (7, ("50", 50))


def test_the_dials_of_a_method_are_those_that_it_uses():
    assert {name: dials_of(method) for name, method in LADDER.items()} == {
        "greedy": ["temperature"],
        "beam search": ["beams"],
        "temperature": ["temperature"],
        "top-k": ["temperature", "top_k"],
        "top-p": ["temperature", "top_p"],
        "min-p": ["temperature", "min_p"],
        "typical": ["temperature", "typical_p"],
        "repetition penalty": ["repetition_penalty", "temperature"],
        "no-repeat n-gram": ["no_repeat_ngram", "temperature"],
        "contrastive search": ["top_k", "contrast"],
        "stays Python": ["temperature"],
    }
