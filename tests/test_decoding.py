"""The filters beyond those of test_generation: what each keeps, subtracts or forbids."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Decoding, generate_tokens, next_distribution
from slmlab.engine.decoding import filter_stages
from slmlab.engine.generation import MOST_TRIED

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_p": 0.5}, [0.625, 0.375, 0, 0]),
        ({"min_p": 0.999}, [1, 0, 0, 0]),
        # The entropy is 1.14 nats; the surprises are 0.69, 1.20, 1.90 and 3.00.
        ({"typical_p": 0.2}, [0, 1, 0, 0]),
        ({"typical_p": 0.5}, [0.625, 0.375, 0, 0]),
        ({"typical_p": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 0.9, "min_p": 0.4}, [0.625, 0.375, 0, 0]),
    ],
)
def test_filters_of_a_hand_made_case(options, expected):
    assert next_distribution(LOGITS, [], Decoding(**options)).tolist() == pytest.approx(expected)


def test_presence_counts_once_and_frequency_each_time():
    for options, less in (
        ({"presence_penalty": 1.0}, [0, 1, 0, 1]),
        ({"frequency_penalty": 0.5}, [0, 1, 0, 0.5]),
        ({"presence_penalty": 1.0, "frequency_penalty": 0.5}, [0, 2, 0, 1.5]),
        ({"presence_penalty": -1.0}, [0, -1, 0, -1]),
    ):
        expected = (LOGITS - torch.tensor(less)).softmax(0)
        p = next_distribution(LOGITS, [1, 3, 1], Decoding(**options))
        torch.testing.assert_close(p, expected)


tenths = st.lists(st.integers(-60, 60), min_size=3, max_size=12, unique=True)


@given(
    tenths=tenths,
    constant=st.floats(-20, 20),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
)
def test_presence_and_frequency_do_not_depend_on_a_constant(tenths, constant, presence, frequency):
    logits = torch.tensor(tenths, dtype=torch.float64) / 10
    decoding = Decoding(presence_penalty=presence, frequency_penalty=frequency)
    p, shifted = (next_distribution(x, [0, 1, 1], decoding) for x in (logits, logits + constant))
    torch.testing.assert_close(p, shifted)


def test_the_repetition_penalty_depends_on_a_constant():
    decoding = Decoding(repetition_penalty=1.3)
    p, shifted = (next_distribution(x, [0], decoding) for x in (LOGITS, LOGITS + 9))
    assert LOGITS.softmax(0)[0] > p[0] > 2 * shifted[0]


@given(ids=st.lists(st.integers(0, 3), max_size=12), n=st.integers(1, 4))
def test_no_sequence_comes_twice_if_it_must_not(ids, n):
    sequences = {tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)}
    again = [tuple([*ids, token][-n:]) in sequences for token in range(4)]
    decoding = Decoding(no_repeat_ngram=n)
    if all(again):
        with pytest.raises(ValueError, match="Every token would repeat a sequence"):
            next_distribution(LOGITS, ids, decoding)
    else:
        assert (next_distribution(LOGITS, ids, decoding) == 0).tolist() == again


@given(
    tenths=tenths,
    options=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.just(0.0) | st.floats(0.2, 5),
            "top_k": st.integers(1, 15),
            "top_p": st.floats(0.01, 0.99),
            "min_p": st.floats(0.01, 0.99),
            "typical_p": st.floats(0.01, 0.99),
            "repetition_penalty": st.floats(0.5, 3),
            "presence_penalty": st.floats(-2, 2),
            "frequency_penalty": st.floats(-2, 2),
            "no_repeat_ngram": st.integers(2, 4),
        },
    ),
)
def test_the_stages_lead_to_the_distribution_whatever_is_on(tenths, options):
    logits, ids, decoding = torch.tensor(tenths) / 10, [0, 1, 0], Decoding(**options)
    stages = filter_stages(logits, ids, decoding)
    on = sum(getattr(decoding, name) != getattr(Decoding(), name) for name in options)
    assert len(stages) == 1 + on
    *_, last = stages.values()
    assert torch.equal(last, next_distribution(logits, ids, decoding))
    assert last.sum().item() == pytest.approx(1, abs=1e-5)


def test_the_stages_are_in_the_order_in_which_they_act():
    decoding = Decoding(0.5, 3, 0.9, 2.0, 0, (), 0.1, 0.9, 0.5, 0.5, 3)
    assert list(filter_stages(LOGITS, [1], decoding)) == [
        *("model", "penalty", "presence", "frequency", "no repeats"),
        *("temperature", "top-k", "top-p", "min-p", "typical"),
    ]


def test_a_filter_that_keeps_all_is_no_stage():
    decoding = Decoding(top_p=1.0, typical_p=1.0, top_k=3)
    assert list(filter_stages(LOGITS, [1], decoding)) == ["model", "top-k"]


def contrastive_by_hand(model, text, k, alpha):
    with torch.no_grad():
        p = model(torch.tensor([text]))[0, -1].softmax(0)
        scores = {}
        for token in p.topk(k).indices.tolist():
            *before, new = model.hidden(model.wte(torch.tensor([[*text, token]])))[0]
            likeness = max(F.cosine_similarity(new, h, dim=0).item() for h in before)
            scores[token] = (1 - alpha) * p[token].item() - alpha * likeness
    return max(scores, key=scores.get)


@pytest.mark.parametrize("alpha", [0, 0.3, 0.6, 1])
def test_contrastive_search_weighs_probability_against_likeness(finished, alpha):
    model, text = finished.model, finished.dataset.val[:5].tolist()
    for token in generate_tokens(model, text, 10, Decoding(top_k=4, contrast=alpha)):
        assert token == contrastive_by_hand(model, text, 4, alpha)
        text.append(token)


def test_contrastive_search_without_contrast_is_greedy_and_goes_beyond_the_context(finished):
    ids = finished.dataset.val[:10].tolist()
    found = list(generate_tokens(finished.model, ids, 20, Decoding(top_k=4, contrast=0)))
    assert found == list(generate_tokens(finished.model, ids, 20, Decoding(temperature=0)))
    tiny = lab.GPT(lab.GPTConfig(9, 1, 1, 1, 4))
    assert len(list(generate_tokens(tiny, [0], 3, Decoding(top_k=4, contrast=0.5)))) == 3


def test_a_text_ends_where_it_is_over(finished):
    full = list(generate_tokens(finished.model, [0], 20, Decoding(seed=3)))
    for n in (1, 7):
        cut = generate_tokens(
            finished.model, [0], 20, Decoding(seed=3), ended=lambda new, n=n: new == full[:n]
        )
        assert list(cut) == full[:n]


def test_a_text_ends_where_nothing_may_follow(finished):
    asked = []

    def allowed(new):
        asked.append(new)
        return len(new) < 4

    found = list(generate_tokens(finished.model, [0], 20, Decoding(seed=3), allowed=allowed))
    assert found == list(generate_tokens(finished.model, [0], 3, Decoding(seed=3)))
    tried = [new[-1] for new in asked if len(new) == 4]
    assert len(set(tried)) == len(tried) == min(MOST_TRIED, finished.model.config.vocab_size)


@pytest.mark.parametrize("option", ["ended", "allowed"])
def test_what_judges_a_text_must_be_a_function(finished, option):
    with pytest.raises(ValueError, match=f"{option} is 5; it must be a Callable"):
        next(generate_tokens(finished.model, [0], 5, **{option: 5}))


@pytest.mark.slow
def test_what_is_allowed_is_drawn_by_its_probability():
    model = lab.GPT(lab.GPTConfig(4, 4, 1, 1, 4))
    model.next_logits = lambda *_: LOGITS[None]
    tokens = list(generate_tokens(model, [0], 4000, allowed=lambda new: new[-1] in (1, 3)))
    assert tokens.count(1) / 4000 == pytest.approx(0.3 / 0.35, abs=0.03)
    assert tokens.count(1) + tokens.count(3) == 4000


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"min_p": 0}, "min_p is 0; it must be a number above 0 and below 1"),
        ({"min_p": 1}, "min_p is 1"),
        ({"typical_p": 0.0}, "typical_p is 0.0; it must be a number above 0 and at most 1"),
        ({"typical_p": "0.5"}, "typical_p is '0.5'"),
        ({"presence_penalty": float("nan")}, "presence_penalty is nan"),
        ({"frequency_penalty": float("inf")}, "frequency_penalty is inf"),
        (
            {"no_repeat_ngram": 0},
            "no_repeat_ngram is 0; it must be a whole number from 1 to 1,000,000",
        ),
        ({"beams": 0}, "beams is 0; it must be a whole number from 1 to 100"),
        ({"beams": True}, "beams is True"),
        ({"length_normalisation": -1}, "length_normalisation is -1"),
        ({"length_normalisation": 0.5}, "compares the texts of beams; set beams too"),
        ({"contrast": 1.5, "top_k": 4}, "contrast is 1.5"),
        ({"contrast": 0.5}, "set top_k too"),
        ({"contrast": 0.5, "top_k": 4, "beams": 2}, "set only one of them"),
        ({"python": True, "beams": 2}, "set only one of them"),
        ({"python": 1}, "python is 1; it must be True or False"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Decoding(**options)
