"""Decoders given models, numbers and limits that they cannot use: a sentence each, and no text."""

from functools import partial

import numpy as np
import pytest
import torch

import slmlab as lab
from slmlab.engine.beams import beam_search
from slmlab.engine.contrastive import contrastive_token
from slmlab.engine.decoding import (
    adjusted,
    filter_stages,
    penalise,
    sample_token,
    subtract,
    without_repeats,
)
from slmlab.engine.ensemble import Ensemble
from slmlab.engine.generation import continuation
from slmlab.study import writing

INF, NAN = float("inf"), float("nan")
TOKENIZER = lab.train_bpe("x = 1\ny = x\n" * 9, 260)
SHAPE = lab.GPTConfig(TOKENIZER.n_vocab, 16, 1, 1, 4)
IDS = TOKENIZER.encode("x = 1\n")
NOTHING_DRAWN = "^No token can be drawn, because the model's logits, or what the penalties make of"


def spoilt(number):
    """A model whose logits are all one number."""
    model = lab.GPT(SHAPE)
    model.next_logits = lambda ids, cache=None: torch.full((len(ids), SHAPE.vocab_size), number)
    return model


def broken():
    model = lab.GPT(SHAPE)
    torch.nn.init.constant_(model.ln_f.weight, NAN)
    return model


DECODINGS = {
    "drawn": lab.Decoding(),
    "greedy": lab.Decoding(temperature=0),
    "beams": lab.Decoding(beams=2),
    "contrast": lab.Decoding(contrast=0.6, top_k=4),
    "python": lab.Decoding(temperature=0, python=True),
    "drawn python": lab.Decoding(python=True),
    "stop": lab.Decoding(temperature=0, stop=("y",)),
}


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
@pytest.mark.parametrize("number", [NAN, INF, -INF, "weights"], ids=str)
def test_a_model_without_finite_logits_writes_nothing(decoding, number):
    model = broken() if number == "weights" else spoilt(number)
    with pytest.raises(ValueError, match=NOTHING_DRAWN):
        lab.generate(model, TOKENIZER, "x = 1\n", 5, decoding)


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("logits", [[NAN] * 3, [0, NAN, 1], [0, INF, 1], [-INF] * 3], ids=str)
def test_logits_that_are_no_numbers_have_no_distribution(logits, temperature):
    decoding = lab.Decoding(temperature=temperature)
    for call in (lab.next_distribution, filter_stages):
        with pytest.raises(ValueError, match=NOTHING_DRAWN):
            call(torch.tensor(logits), [], decoding)


@pytest.mark.parametrize("temperature", [0, 1e-9])
def test_a_token_may_be_impossible(temperature):
    decoding = lab.Decoding(temperature=temperature)
    p = lab.next_distribution(torch.tensor([-INF, 2.0, -INF]), [], decoding)
    assert p.tolist() == [0, 1, 0]


@pytest.mark.parametrize("way", [{}, {"beams": 2}, {"contrast": 0.5, "top_k": 9}], ids=str)
def test_a_penalty_beyond_all_numbers_gets_a_sentence(way):
    everything = range(SHAPE.vocab_size)
    beyond = lab.Decoding(temperature=0, frequency_penalty=1e300, **way)
    with pytest.raises(ValueError, match=NOTHING_DRAWN):
        list(lab.generate_tokens(lab.GPT(SHAPE), everything, 3, beyond))


def test_beams_that_ended_are_kept_where_no_other_can_go_on():
    model = lab.GPT(lab.GPTConfig(2, 8, 1, 1, 4))
    beyond = lab.Decoding(beams=2, presence_penalty=3e38)  # twice that is infinite
    found = beam_search(model, [0, 1], 3, beyond, ended=lambda new: new == [1])
    assert [beam.ids for beam in found.beams] == [(1,)]


@pytest.mark.parametrize("top_k", [2, 19, 20, 100])
@pytest.mark.parametrize("seed", range(3))
def test_contrast_takes_no_token_that_is_forbidden(top_k, seed):
    model = lab.GPT(lab.GPTConfig(20, 8, 1, 1, 4), seed)
    decoding = lab.Decoding(contrast=0.6, top_k=top_k, no_repeat_ngram=1)
    new = list(lab.generate_tokens(model, [1], 19, decoding))
    assert sorted([1, *new]) == list(range(20))


def test_contrast_takes_no_token_of_probability_0(monkeypatch):
    model = lab.GPT(lab.GPTConfig(20, 8, 1, 1, 4))
    certain = torch.full((1, 20), -1e4).index_fill(1, torch.tensor([7]), 0.0)
    monkeypatch.setattr(model, "next_logits", lambda ids: certain)
    decoding = lab.Decoding(contrast=1, top_k=20)
    with torch.inference_mode():
        assert contrastive_token(model, [7, 7, 7], decoding) == 7


@pytest.mark.parametrize("power", [10.5, 300, 1e300, INF])
def test_a_normalisation_beyond_all_numbers_gets_a_sentence(power):
    with pytest.raises(ValueError, match=r"^length_normalisation is .* at least 0 and at most 10"):
        lab.Decoding(beams=2, length_normalisation=power)


@pytest.mark.parametrize("count", [0, 1_000_001, 10**9])
def test_a_beam_search_has_the_limits_of_other_texts(count):
    with pytest.raises(ValueError, match=r"^max_new_tokens is .* from 1 to 1,000,000\.$"):
        lab.beam_search(lab.GPT(SHAPE), [1], count, lab.Decoding(beams=2))


OTHERS = {
    "counting": lambda: lab.NGram(lab.NGramConfig(SHAPE.vocab_size), IDS),
    "several": lambda: Ensemble([lab.GPT(SHAPE, seed) for seed in (0, 1)]),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_contrast_says_which_models_it_can_use(make):
    contrast = DECODINGS["contrast"]
    for call in (
        lambda model: list(lab.generate_tokens(model, IDS, 3, contrast)),
        lambda model: lab.generate(model, TOKENIZER, "x", 3, contrast),
    ):
        with pytest.raises(
            ValueError, match=r"^contrast compares hidden states, which only a GPT has; model is"
        ):
            call(make())


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", sorted({*DECODINGS} - {"contrast"}))
def test_every_other_decoder_can_use_every_model(make, name):
    written = partial(lab.generate, make(), TOKENIZER, "x = 1\n", 6)
    text = written(DECODINGS[name])
    assert text.startswith("x = 1\n") and text == written(DECODINGS[name])


MODEL, LOGITS = lab.GPT(SHAPE), torch.zeros(SHAPE.vocab_size)
TASK = lab.continuations.Task("scripts", "a file", (1, 2), (3, 4))
ATTEMPT = lab.continuations.Attempt((5, 6), 0.1)
ATTEMPTED = lab.continuations.attempt
SCORED = partial(lab.continuations.continuation_score, MODEL, TOKENIZER)
TEXT = torch.tensor([1, 2, 3])
LOOKS = lab.techniques.read_arsenal().head(9)
CHATS = lab.techniques.read_chats().head(9)
DECODED = lab.repairs.read_decoders().head(9)
CALLS = {
    "logits to adjust": lambda x: adjusted(x, [1], lab.Decoding()),
    "a decoding to adjust by": lambda x: adjusted(LOGITS, [1], x),
    "a decoding to draw by": lambda x: sample_token(LOGITS, [1], x, torch.Generator()),
    "stages of a decoding": lambda x: filter_stages(LOGITS, [1], x),
    "logits to penalise": lambda x: penalise(x, [1], 1.2),
    "a penalty": lambda x: penalise(LOGITS, [1], x),
    "logits to subtract from": lambda x: subtract(x, [1], 1.0, 1.0),
    "a presence": lambda x: subtract(LOGITS, [1], x, 0.0),
    "a frequency": lambda x: subtract(LOGITS, [1], 0.0, x),
    "logits without repeats": lambda x: without_repeats(x, [1], 2),
    "a length of repeats": lambda x: without_repeats(LOGITS, [1], "x" if x is None else x),
    "a tokenizer to go on by": lambda x: continuation(MODEL, x, [1], 3),
    "a task's kind": lambda x: lab.continuations.Task(x, "a file", (1,), (2,)),
    "a task's file": lambda x: lab.continuations.Task("scripts", x, (1,), (2,)),
    "a task's prompt": lambda x: lab.continuations.Task("scripts", "a file", x, (2,)),
    "a task's truth": lambda x: lab.continuations.Task("scripts", "a file", (1,), x),
    "a task's end": lambda x: lab.continuations.Task(
        "scripts", "a", (1,), (2,), "x" if x is None else x
    ),
    "an attempt's tokenizer": lambda x: ATTEMPTED(MODEL, x, TASK, lab.Decoding()),
    "an attempt's task": lambda x: ATTEMPTED(MODEL, TOKENIZER, x, lab.Decoding()),
    "an attempt's decoding": lambda x: ATTEMPTED(MODEL, TOKENIZER, TASK, x),
    "a score's task": lambda x: SCORED(x, ATTEMPT, TEXT),
    "a score's text": lambda x: SCORED(TASK, x, TEXT),
    "a score's ids": lambda x: SCORED(TASK, lab.continuations.Attempt(x, 0.1), TEXT),
    "a score's training": lambda x: SCORED(TASK, ATTEMPT, x),
    "a tokenizer of penalties": lambda x: lab.repairs.penalty_accuracy(MODEL, x, [TASK]),
    "a run's logits": lambda x: writing.logits_at_each(x, [1], [2]),
    "marks": lambda x: writing.marks(x),
    "an arm": lambda x: lab.techniques.script_scores(LOOKS.assign(arm=[x] * 9)),
    "a step": lambda x: lab.techniques.script_scores(LOOKS.assign(step=[x] * 9)),
    "an arm of chats": lambda x: lab.techniques.dialogue_scores(CHATS.assign(arm=[x] * 9)),
    "bits of chats": lambda x: lab.techniques.dialogue_scores(CHATS.assign(files=[x] * 9)),
    "a decoder": lambda x: lab.repairs.decoder_means(DECODED.assign(decoder=[x] * 9)),
    "tokens": lambda x: lab.repairs.decoder_means(DECODED.assign(tokens=[x] * 9)),
    "a prompt": lambda x: lab.repairs.decoder_changes(
        DECODED.assign(prompts=[x] * 9), "repetition"
    ),
}


@pytest.mark.parametrize(
    "value", [None, [NAN], ["x"], NAN, np.array([1.5, 2.5]), {"a": 1}, 1j], ids=repr
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_a_decoder_or_a_score_cannot_use_gets_a_sentence(call, value):
    with pytest.raises(
        ValueError, match=r"(must be|leave out the rows without one|lacks|No )"
    ) as e:
        call(value)
    assert str(e.value).endswith(".") and "\n" not in str(e.value) and len(str(e.value)) < 300
