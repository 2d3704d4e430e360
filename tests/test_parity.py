"""Decoding token by token as Hugging Face's `generate`, and proof that a difference would show."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sharp import sharp

import slmlab as lab
from slmlab import Decoding
from slmlab.engine import decoding as module
from slmlab.engine.beams import beam_search

V, CONTEXT, LONGEST = 24, 32, 12  # tokens of a vocabulary, of a context, of a prompt


@cache
def models(seed):
    """A random model whose tokens differ clearly in probability, and Hugging Face's of it."""
    model = sharp(seed, V, CONTEXT)
    return model, lab.to_huggingface(model)


def their_output(seed, ids, n, decoding, **options):
    drawn = decoding.temperature > 0 and decoding.beams is None
    if drawn:
        options |= {
            "temperature": decoding.temperature,
            "top_k": decoding.top_k or 0,
            "top_p": decoding.top_p or 1.0,
            "min_p": decoding.min_p,
            "typical_p": decoding.typical_p or 1.0,
        }
    given = torch.tensor([ids])
    with torch.random.fork_rng():
        torch.manual_seed(decoding.seed)
        return models(seed)[1].generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=n,
            do_sample=drawn,
            repetition_penalty=decoding.repetition_penalty,
            no_repeat_ngram_size=decoding.no_repeat_ngram or 0,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )


def theirs(seed, ids, n, decoding, **options):
    return their_output(seed, ids, n, decoding, **options).sequences[0, len(ids) :].tolist()


def ours(seed, ids, n, decoding, **options):
    return list(lab.generate_tokens(models(seed)[0], ids, n, decoding, **options))


seeds = st.integers(0, 2)
prompts = st.lists(st.integers(0, V - 1), min_size=1, max_size=LONGEST)
before_drawing = {
    "repetition_penalty": st.just(1.0) | st.floats(0.5, 3),
    "no_repeat_ngram": st.none() | st.integers(1, 4),
}
decodings = st.builds(
    Decoding,
    temperature=st.just(0.0) | st.floats(0.3, 3),
    top_k=st.none() | st.integers(2, V + 3),
    top_p=st.none() | st.floats(0.2, 1),
    min_p=st.none() | st.floats(0.01, 0.5),
    typical_p=st.none() | st.floats(0.2, 0.99),
    seed=st.integers(0, 10_000),
    **before_drawing,
)


@settings(max_examples=60)
@given(seed=seeds, ids=prompts, n=st.integers(1, 10), decoding=decodings)
def test_every_filter_gives_the_tokens_of_hugging_face(seed, ids, n, decoding):
    assert ours(seed, ids, n, decoding) == theirs(seed, ids, n, decoding)


def cases(**options):
    return [(seed, [1, 2, 3, 1, 2], Decoding(seed=seed, **options)) for seed in range(3)]


def as_theirs(many):
    return all(ours(seed, ids, 10, d) == theirs(seed, ids, 10, d) for seed, ids, d in many)


def penalty_that_rewards_negative_logits(logits, ids, penalty):
    return torch.stack([x / penalty if i in ids else x for i, x in enumerate(logits)])


def temperature_last(logits, ids, decoding, right=module.next_distribution):
    p = right(logits, ids, replace(decoding, temperature=1.0)) ** (1 / decoding.temperature)
    return p / p.sum()


def ban_on_shorter_repeats(logits, ids, n, right=module.without_repeats):
    return right(logits, ids, n - 1)


FAULTS = {
    "penalise": (
        penalty_that_rewards_negative_logits,
        cases(repetition_penalty=5.0, temperature=2.0),
    ),
    "next_distribution": (temperature_last, cases(temperature=2.0, top_p=0.5)),
    "FILTERS": (
        dict(reversed(module.FILTERS.items())),
        cases(temperature=2.0, top_p=0.6, min_p=0.2, typical_p=0.6),
    ),
    "without_repeats": (ban_on_shorter_repeats, cases(temperature=0, no_repeat_ngram=3)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_filter_would_be_found(monkeypatch, name):
    fault, many = FAULTS[name]
    assert as_theirs(many)
    monkeypatch.setattr(module, name, fault)
    assert not as_theirs(many)


@settings(max_examples=20)
@given(seed=seeds, ids=prompts)
def test_what_may_go_on_is_restricted_as_by_hugging_face(seed, ids):
    def allowed(new):
        return sum(new) % 3 != 1

    def allowed_tokens(_, text):
        new = text.tolist()[len(ids) :]
        return [token for token in range(V) if allowed([*new, token])]

    greedy = Decoding(temperature=0)
    kept = ours(seed, ids, 8, greedy, allowed=allowed)
    assert kept == theirs(seed, ids, 8, greedy, prefix_allowed_tokens_fn=allowed_tokens)


def assert_the_same_beams(seed, ids, n, decoding, end=None):
    def ended(new):
        return new[-1] == end

    found = beam_search(models(seed)[0], ids, n, decoding, ended=ended if end else None).beams
    output = their_output(
        seed,
        ids,
        n,
        decoding,
        num_beams=decoding.beams,
        num_return_sequences=decoding.beams,
        length_penalty=decoding.length_normalisation,
        early_stopping="never",
        eos_token_id=end,
    )
    rows = [row[len(ids) :].tolist() for row in output.sequences]
    rows = [row[: row.index(end) + 1] if end in row else row for row in rows]
    assert [list(beam.ids) for beam in found] == [row[:n] for row in rows]
    scores = torch.tensor([beam.score for beam in found])
    torch.testing.assert_close(scores, output.sequences_scores, atol=1e-4, rtol=1e-4)


beam_decodings = st.builds(
    Decoding,
    beams=st.integers(2, 5),
    length_normalisation=st.sampled_from([0, 0.5, 1, 2]),
    **before_drawing,
)


@settings(max_examples=25)
@given(seed=seeds, ids=prompts, n=st.integers(1, 8), decoding=beam_decodings)
def test_beams_are_those_of_hugging_face(seed, ids, n, decoding):
    assert_the_same_beams(seed, ids, n, decoding)


@settings(max_examples=25)
@given(
    seed=seeds, ids=prompts, n=st.integers(1, 8), decoding=beam_decodings, end=st.integers(1, V - 1)
)
def test_beams_that_end_early_are_those_of_hugging_face(seed, ids, n, decoding, end):
    assert_the_same_beams(seed, ids, n, decoding, end)


def test_a_penalty_of_logits_in_a_beam_search_would_be_found(monkeypatch):
    decoding = Decoding(beams=3, repetition_penalty=1.5)
    assert_the_same_beams(0, [1, 2, 3], 8, decoding)
    shifted = lambda logits, *rest: module.adjusted(logits + 9, *rest) - 9  # noqa: E731
    monkeypatch.setattr("slmlab.engine.beams.adjusted", shifted)
    with pytest.raises(AssertionError):
        assert_the_same_beams(0, [1, 2, 3], 8, decoding)
