"""The number to beat: what it is, that it is found once, and mixtures of two models."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.engine.evaluation import strided_losses
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.study import baseline
from slmlab.study.baseline import Standing, beside_counting, choose_weight, mix, mixture_losses

losses = st.lists(st.floats(1e-6, 30), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def ngram(dataset):
    return NGram(NGramConfig(dataset.tokenizer.n_vocab), dataset.train)


def test_it_is_a_5_gram_of_the_training_text(dataset, ngram, text):
    assert (ngram.config.order, ngram.config.discount) == (5, 0.9)
    tested = dataset.with_test(text[:400])
    found = lab.number_to_beat(tested)
    for loss, bits, ids in (
        (found.val_loss, found.val_bits, tested.val),
        (found.test_loss, found.test_bits, tested.test),
    ):
        assert loss == pytest.approx(strided_losses(ngram, ids).mean().item(), abs=1e-4)
        assert bits == pytest.approx(lab.bits_per_byte(loss, tested, ids))
    score = lab.text_score(ngram, dataset.tokenizer, text[:400])
    assert found.test_bits == pytest.approx(score, abs=1e-4)
    assert str(found).startswith("5-gram (the number to beat): ")
    assert f"{found.val_bits:.2f} bits per byte on the validation text" in str(found)
    assert f"{found.test_bits:.2f} on the held-out text" in str(found)


def test_without_a_test_text_there_is_no_score_on_one(dataset):
    found = lab.number_to_beat(dataset)
    assert (found.test_loss, found.test_bits) == (None, None)
    assert "held-out" not in str(found)


def test_equal_texts_are_counted_once(dataset, monkeypatch):
    first = lab.number_to_beat(dataset)
    monkeypatch.setattr(baseline, "NGram", None)
    assert lab.number_to_beat(dataset) == first
    assert lab.number_to_beat(replace(dataset, train=dataset.train.clone())) == first


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda d: None, "must be a Dataset"),
        (lambda d: replace(d, val=d.val[:1]), "dataset.val has fewer than 2 tokens"),
        (lambda d: replace(d, test=d.val[:1]), "dataset.test has fewer than 2 tokens"),
        (lambda d: replace(d, train=d.train[:1]), "Counting needs at least 2 tokens"),
    ],
)
def test_what_cannot_be_scored_gets_a_sentence(dataset, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        lab.number_to_beat(make(dataset))


@pytest.mark.parametrize(
    ("score", "end"),
    [
        (2.454, "this run has 2.45: the 5-gram is better by 0.29"),  # 2.45 − 2.16, as it is read
        (2.0, "this run has 2.00: this run is better by 0.16"),
        (2.161, "this run has 2.16: neither is better"),
        (math.nan, "this run has no finite loss there"),
    ],
)
def test_a_standing_says_which_of_the_two_is_better(score, end):
    said = str(Standing("held-out scripts", score, 2.164))
    assert said == f"bits per byte on the held-out scripts, lower is better; {end}"


def test_a_run_is_scored_on_the_held_out_text_if_there_is_one(finished):
    assert beside_counting(finished).text == "validation text"
    run = lab.PHASES[4].recorded("right-sized")
    standing = beside_counting(run)
    assert standing.text == "held-out scripts"
    assert (standing.score, standing.number) == pytest.approx((1.923, 1.733), abs=0.001)
    with pytest.raises(ValueError, match="run is None; it must be a Run"):
        beside_counting(None)


# Measured once, with right-sized vocabularies.
@pytest.mark.parametrize(
    ("number", "val_bits", "test_bits"),
    [(0, 1.84, 2.66), (1, 1.84, 2.66), (2, 0.35, 2.16), (3, 0.97, 1.95), (4, 1.80, 1.73)],
)
def test_the_number_to_beat_of_the_phases(number, val_bits, test_bits):
    found = lab.number_to_beat(lab.Setup.parse(f"phase-{number}").dataset())
    assert found.val_bits == pytest.approx(val_bits, abs=0.006)
    assert found.test_bits == pytest.approx(test_bits, abs=0.006)


# Mixtures


@given(losses=losses)
def test_weights_0_and_1_give_the_two_models_back(losses):
    a = torch.tensor(losses, dtype=torch.float64)
    b = a.flip(0) + 1
    assert mix(a, b, 0).tolist() == pytest.approx(a.tolist())
    assert mix(a, b, 1).tolist() == pytest.approx(b.tolist())


@given(losses=losses, weight=st.floats(0, 1))
def test_a_mixture_takes_the_weighted_mean_of_probabilities(losses, weight):
    a = torch.tensor(losses, dtype=torch.float64)
    b = a.flip(0) + 1
    expected = (1 - weight) * (-a).exp() + weight * (-b).exp()
    assert (-mix(a, b, weight)).exp().tolist() == pytest.approx(expected.tolist())


def test_what_is_certainly_wrong_in_one_model_is_saved_by_the_other():
    sure, unsure = torch.tensor([math.inf, 0.0]), torch.tensor([1.0, 1.0])
    assert mix(sure, unsure, 0.5).tolist() == pytest.approx([1 + math.log(2), 0.3799], abs=1e-4)


@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_probabilities_of_a_mixture_sum_to_one(finished, ngram, dataset, weight):
    """Over all tokens that might follow, each taken as the one that did."""
    context = dataset.val[:10]
    of_model = finished.model(context[None])[0, -1].detach().double().log_softmax(-1)
    of_counts = ngram.distribution(context.tolist()).log()
    assert mix(-of_model, -of_counts, weight).neg().exp().sum().item() == pytest.approx(1)


def test_the_chosen_weight_is_no_worse_than_either_model(finished, ngram, dataset):
    model = finished.model
    a, b = strided_losses(model, dataset.val), strided_losses(ngram, dataset.val)
    weight = choose_weight(a, b)
    mixed = mixture_losses(model, ngram, dataset.val, weight)
    assert mixed.tolist() == mix(a, b, weight).tolist()
    assert mixed.mean() <= min(a.mean(), b.mean()) + 1e-6
    assert choose_weight(a, a + 1) == 0
    assert choose_weight(a + 1, a) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"losses_a": [1.0]}, "losses_a is"),
        ({"losses_b": torch.ones(3)}, "give those of the same tokens"),
        ({"losses_a": torch.ones(0), "losses_b": torch.ones(0)}, "give those of the same tokens"),
        ({"weight": 1.5}, "weight is 1.5"),
        ({"weight": "1"}, "weight is '1'"),
    ],
)
def test_what_cannot_be_mixed_gets_a_sentence(change, sentence):
    values = {"losses_a": torch.ones(2), "losses_b": torch.ones(2), "weight": 0.5} | change
    with pytest.raises(ValueError, match=sentence):
        mix(**values)
