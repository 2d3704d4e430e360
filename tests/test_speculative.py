"""Speculative decoding: the same text with any drafter, and proof that a wrong rule would show."""

import math
from collections import Counter
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sharp import sharp

from slmlab import Decoding, NGram, NGramConfig, generate_tokens, speculative
from slmlab.engine import speculative as module
from slmlab.engine.decoding import next_distribution

V, BLOCK = 12, 32
GREEDY = Decoding(temperature=0)


def plain(model, ids, n, decoding):
    return tuple(generate_tokens(model, ids, n, decoding))


def counted(ids, order=5, vocabulary=V):
    return NGram(NGramConfig(vocabulary, order), ids)


class Scripted(NGram):
    """Guesses what a function of the text says, of which it is given the last 99 tokens."""

    def __init__(self, guess, vocabulary=V):
        super().__init__(NGramConfig(vocabulary, 99), range(2))
        self.guess = guess


seeds = st.integers(0, 9)
texts = st.lists(st.integers(0, V - 1), min_size=2, max_size=60)
prompts = st.lists(st.integers(0, V - 1), min_size=1, max_size=BLOCK + 8)
decodings = st.builds(
    Decoding,
    temperature=st.just(0.0) | st.floats(0.3, 3),
    top_k=st.none() | st.integers(2, V),
    top_p=st.none() | st.floats(0.2, 1),
    min_p=st.none() | st.floats(0.01, 0.5),
    typical_p=st.none() | st.floats(0.2, 0.99),
    repetition_penalty=st.just(1.0) | st.floats(0.5, 3),
    presence_penalty=st.just(0.0) | st.floats(-1, 1),
    frequency_penalty=st.just(0.0) | st.floats(-1, 1),
    no_repeat_ngram=st.none() | st.integers(3, 5),
    seed=st.integers(0, 10_000),
)


@settings(max_examples=60)
@given(
    seed=seeds,
    counts=texts,
    order=st.integers(1, 6),
    ids=prompts,
    n=st.integers(1, 24),
    draft=st.integers(1, 9),
    decoding=decodings,
)
def test_the_text_is_that_without_a_drafter(seed, counts, order, ids, n, draft, decoding):
    """Greedy or drawn, with every filter, within the context and beyond.

    In double precision, so that rounding decides between no two tokens.
    """
    model = sharp(seed, V, BLOCK).double()
    found = speculative(model, counted(counts, order), ids, n, decoding, draft=draft)
    assert found.ids == plain(model, ids, n, decoding)
    assert len(found.from_draft) == n and found.calls == n - found.accepted
    assert found.accepted <= found.judged <= found.drafted <= draft * found.calls


def accept_always(draw, guess):
    return guess


def draw_again_from_all(draw, guess):
    """From p, where the rule says: from what p has more than q."""
    return guess if draw() == guess else draw()


def with_rule(rule):
    """`kept`, but a rule says which token stands in the place of a guess."""

    def kept(logits, text, guesses, decoding, generator):
        new = []
        for row, guess in zip(logits, [*guesses, None], strict=True):
            draw = partial(module.sample_token, row, [*text, *new], decoding, generator)
            new.append(draw() if guess is None else rule(draw, guess))
            if new[-1] != guess:
                break
        return new

    return kept


class Told:
    """Draws the tokens that it is told, then the first possible ones, and notes the others."""

    def __init__(self, path):
        self.path, self.place, self.probability, self.others = [*path], 0, 1.0, []

    def __call__(self, logits, text, decoding, generator):
        p = next_distribution(logits.double(), text, decoding)
        if self.place == len(self.path):
            first, *others = p.nonzero().flatten().tolist()
            self.others += [[*self.path, token] for token in others]
            self.path.append(first)
        token = self.path[self.place]
        self.place += 1
        self.probability *= p[token].item()
        return token


def exact_distribution(monkeypatch, model, drafter, ids, n, decoding):
    """The probability of each text of n tokens, by following every outcome of every draw."""
    texts, paths = Counter(), [[]]
    while paths:
        told = Told(paths.pop())
        monkeypatch.setattr(module, "sample_token", told)
        new = module.speculative(model, drafter, ids, n, decoding, draft=2).ids
        texts[new] += told.probability
        paths += told.others
    return texts


def models_distribution(model, ids, n, decoding):
    """The same, as a product of the model's own probabilities."""
    texts = {}
    for new in product(range(model.config.vocab_size), repeat=n):
        weight = 1.0
        for i, token in enumerate(new):
            text = [*ids, *new[:i]]
            with torch.no_grad():
                logits = model(torch.tensor([text]))[0, -1].double()
            weight *= next_distribution(logits, text, decoding)[token].item()
        texts[new] = weight
    return texts


def largest_difference(monkeypatch, decoding, guess):
    model, ids, n = sharp(1, vocabulary=3), [0, 1], 4
    drafter = Scripted(guess, vocabulary=3)
    found = exact_distribution(monkeypatch, model, drafter, ids, n, decoding)
    assert sum(found.values()) == pytest.approx(1)
    expected = models_distribution(model, ids, n, decoding)
    return max(abs(found[text] - p) for text, p in expected.items())


EXACT = [
    Decoding(),
    Decoding(temperature=2.0, repetition_penalty=1.4, frequency_penalty=0.3),
    Decoding(temperature=1.5, top_k=2),
    Decoding(temperature=3.0, top_p=0.8, presence_penalty=0.5),
]


@pytest.mark.parametrize("decoding", EXACT)
@pytest.mark.parametrize("guess", [lambda text: 2, lambda text: (text[-1] + 1) % 3])
def test_every_text_has_exactly_its_probability(monkeypatch, decoding, guess):
    assert largest_difference(monkeypatch, decoding, guess) < 1e-6


@pytest.mark.parametrize("rule", [accept_always, draw_again_from_all])
@pytest.mark.parametrize("decoding", EXACT[:2])
def test_a_wrong_rule_would_be_found(monkeypatch, rule, decoding):
    monkeypatch.setattr(module, "kept", with_rule(rule))
    assert largest_difference(monkeypatch, decoding, lambda text: 2) > 1e-3


@given(p=st.lists(st.floats(0.01, 1), min_size=2, max_size=6), guess=st.integers(0, 5))
def test_drawing_and_comparing_is_the_published_rule(p, guess):
    """Keep x with min(1, p(x) / q(x)), else draw from what p has more than q, for a q of one x."""
    p = torch.tensor(p, dtype=torch.float64) / sum(p)
    guess = guess % len(p)
    q = torch.zeros_like(p)
    q[guess] = 1
    accepted = min(1, p[guess] / q[guess])
    residual = (p - q).clamp(min=0)
    published = (1 - accepted) * residual / residual.sum()
    published[guess] += accepted
    torch.testing.assert_close(published, p)
    assert accepted == p[guess]  # the probability that a draw from p is the guess
    torch.testing.assert_close((1 - accepted) * residual / residual.sum(), p * (1 - q))


def test_a_drafter_that_is_the_model_is_always_right():
    model, n = sharp(2, V, BLOCK), 25

    def guess(text):
        return plain(model, text, 1, GREEDY)[0]

    found = speculative(model, Scripted(guess), [1, 2], n, GREEDY, draft=5)
    assert found.ids == plain(model, [1, 2], n, GREEDY)
    assert found.acceptance == 1 and found.accepted == found.drafted == found.judged
    assert found.calls == 1 + 24 / 6  # the prompt's, then five guesses and one more a call
    assert found.from_draft == (False, *[*[True] * 5, False] * 4)


@pytest.mark.parametrize("decoding", [GREEDY, Decoding(seed=3)])
def test_a_drafter_that_is_always_wrong_costs_calls_and_no_exactness(decoding):
    model, n = sharp(2, V, BLOCK), 20
    expected = plain(model, [1, 2], n, decoding)

    def guess(text):
        place = len(text) - 2  # of the token that is guessed
        return (expected[place] + 1) % V

    found = speculative(model, Scripted(guess), [1, 2], n, decoding)
    assert found.ids == expected
    assert (found.acceptance, found.calls, found.accepted) == (0, n, 0)
    assert found.drafted > found.judged == n - 2  # nothing is drafted for the first and the last


def test_where_positions_shift_the_drafter_rests():
    model = sharp(0, V, 16)
    found = speculative(model, counted([1, 2] * 9), [1, 2] * 8, 30, GREEDY)
    assert (found.calls, found.drafted, found.from_draft) == (30, 0, (False,) * 30)
    assert math.isnan(found.acceptance)
    assert found.ids == plain(model, [1, 2] * 8, 30, GREEDY)


def test_the_mode_of_the_model_is_restored(tiny, dataset):
    model = tiny(dropout=0.5).train()
    drafter = counted(dataset.train, vocabulary=dataset.tokenizer.n_vocab)
    greedy = speculative(model, drafter, [0], 9, GREEDY)
    assert model.training and greedy.ids == plain(model, [0], 9, GREEDY)


def test_what_a_drafter_cannot_help_is_refused(tiny, dataset):
    model, drafter = tiny(), counted([0, 1])
    for decoding, sentence in (
        (Decoding(beams=2), "drawn one by one; set beams to None"),
        (Decoding(contrast=0.5, top_k=4), "set contrast to None"),
        (Decoding(python=True), "set python to False"),
    ):
        with pytest.raises(ValueError, match=sentence):
            speculative(model, drafter, [0], 5, decoding)
    with pytest.raises(ValueError, match="drafter is None; it must be an NGram"):
        speculative(model, None, [0], 5)
    with pytest.raises(ValueError, match="it must be a GPT"):
        speculative(drafter, drafter, [0], 5)
    with pytest.raises(ValueError, match=r"knows 50,257 tokens, but the model has only [\d,]+;"):
        speculative(model, counted([0, 1], vocabulary=50257), [0], 5)
    with pytest.raises(ValueError, match="nothing to continue"):
        speculative(model, drafter, [], 5)
    with pytest.raises(ValueError, match="draft is 0; it must be a whole number from 1 to 100"):
        speculative(model, drafter, [0], 5, draft=0)
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        speculative(model, drafter, [0], 0)
