"""Beam search: what it keeps, the tree it leaves, and that it can be worse than greedy."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sharp import sharp

import slmlab as lab
from slmlab import Decoding
from slmlab.engine.beams import PROMPT, beam_search

GREEDY = Decoding(temperature=0)


def log_probability(model, prompt, new):
    """Of the new tokens after the prompt, in nats, by a single pass."""
    text = [*prompt, *new]
    with torch.no_grad():
        each = model(torch.tensor([text]))[0].log_softmax(-1)
    return sum(each[i, text[i + 1]].item() for i in range(len(prompt) - 1, len(text) - 1))


@settings(max_examples=15)
@given(seed=st.integers(0, 99), prompt=st.lists(st.integers(0, 11), min_size=1, max_size=20))
def test_one_beam_is_greedy(seed, prompt):
    model = sharp(seed)
    [beam] = beam_search(model, prompt, 8, Decoding(beams=1)).beams
    assert list(beam.ids) == list(lab.generate_tokens(model, prompt, 8, GREEDY))


@pytest.mark.parametrize("seed", range(3))
def test_with_room_for_every_text_it_finds_the_likeliest(seed):
    model, n = sharp(seed, vocabulary=4), 3
    texts = sorted(product(range(4), repeat=n), key=lambda t: -log_probability(model, [1], t))
    found = beam_search(model, [1], n, Decoding(beams=64)).beams
    assert [beam.ids for beam in found[:20]] == texts[:20]
    assert len(found) == 64


def test_beams_are_best_first_and_each_a_branch_of_the_tree():
    model, prompt = sharp(4), [3, 1]
    beams, tree = beam_search(model, prompt, 6, Decoding(beams=3, length_normalisation=0))
    assert sorted(beams, key=lambda beam: -beam.score) == list(beams)
    assert len(tree) == 3 * 6
    for beam in beams:
        expected = log_probability(model, prompt, beam.ids)
        assert beam.score == beam.log_probability == pytest.approx(expected, abs=1e-4)
        node, branch = beam.node, []
        while node != PROMPT:
            assert tree[node].parent < node
            branch.append(tree[node].token)
            node = tree[node].parent
        assert branch[::-1] == list(beam.ids)
        assert tree[beam.node].log_probability == beam.log_probability


def test_penalties_change_the_score_and_not_the_models_own_probability():
    model, prompt = sharp(4), [3, 1]
    decoding = Decoding(beams=3, frequency_penalty=0.5, length_normalisation=0)
    for beam in beam_search(model, prompt, 12, decoding).beams:
        expected = log_probability(model, prompt, beam.ids)
        assert beam.log_probability == pytest.approx(expected, abs=1e-4)
        text = [*prompt, *beam.ids]
        repeats = sum(text[:i].count(text[i]) for i in range(len(prompt), len(text)))
        assert repeats > 0
        assert beam.score == pytest.approx(expected - 0.5 * repeats, abs=1e-4)


def test_beams_go_on_beyond_the_context():
    model = sharp(0, block=16)
    found = beam_search(model, [1] * 14, 8, Decoding(beams=2)).beams[0]
    again = beam_search(model, [1] * 14 + list(found.ids[:7]), 1, Decoding(beams=2)).beams[0]
    assert len(found.ids) == 8 and again.ids == found.ids[7:]


def test_two_beams_can_find_a_less_likely_text_than_one():
    model, n = sharp(4), 20
    greedy = list(lab.generate_tokens(model, [1], n, GREEDY))
    best = beam_search(model, [1], n, Decoding(beams=2)).beams[0]
    assert best.log_probability < log_probability(model, [1], greedy) - 0.1


def test_length_normalisation_decides_between_short_and_long_texts():
    model = sharp(0)
    lengths = [
        len(
            beam_search(
                model,
                [1],
                8,
                Decoding(beams=4, length_normalisation=power),
                ended=lambda new: new[-1] % 3 == 0,
            )
            .beams[0]
            .ids
        )
        for power in (0, 1, 4)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_generation_yields_the_best_beam_and_leaves_the_mode(tiny):
    model = tiny(dropout=0.5).train()
    decoding = Decoding(beams=3, seed=1)
    best = beam_search(model, [0], 6, decoding).beams[0]
    assert list(lab.generate_tokens(model, [0], 6, decoding)) == list(best.ids)
    assert model.training


def test_a_stop_string_ends_a_beam(finished):
    text = finished.sample("The old", 40, beams=3, stop=["."])
    assert text.startswith("The old") and "." not in text


def test_a_search_without_beams_is_refused(tiny):
    with pytest.raises(ValueError, match="beams is None; it must be a whole number"):
        beam_search(tiny(), [0], 3, Decoding())
    with pytest.raises(ValueError, match="nothing to continue"):
        beam_search(tiny(), [], 3, Decoding(beams=2))
    with pytest.raises(ValueError, match="Every token would repeat a sequence of 1"):
        beam_search(sharp(0, vocabulary=3), [0, 1], 3, Decoding(beams=2, no_repeat_ngram=1))
