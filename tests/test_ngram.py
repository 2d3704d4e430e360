"""Counting: probabilities that sum to one, known values, and the interface of a model."""

import math
from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.engine.evaluation import strided_losses
from slmlab.engine.ngram import DISCOUNTS, ORDERS, NGram, NGramConfig, choose_ngram
from slmlab.text.tokenizer import Tokenizer

texts = st.lists(st.integers(0, 6), min_size=2, max_size=60)


def by_hand(ids, order, discount, vocab_size, context, token):
    """Interpolated Kneser–Ney from its textbook formula, each count taken anew."""
    order = min(order, len(ids))

    def grams(n):
        return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]

    def count(gram):
        """How often, for the longest; after how many different tokens, for all others."""
        if len(gram) == order:
            return grams(order).count(gram)
        longer = {g for g in grams(len(gram) + 1) if g[1:] == gram}
        return len(longer) + (tuple(ids[: len(gram)]) == gram)

    def probability(context):
        n = len(context) + 1
        lower = probability(context[1:]) if context else 1 / vocab_size
        followers = {g[-1] for g in grams(n) if g[:-1] == context}
        total = sum(count((*context, f)) for f in followers)
        if not total:
            return lower
        seen = max(count((*context, token)) - discount, 0) if token in followers else 0
        return (seen + discount * len(followers) * lower) / total

    return probability(tuple(context[max(0, len(context) - order + 1) :]))


@given(ids=texts, order=st.integers(1, 5), discount=st.floats(0.05, 0.95), data=st.data())
def test_probabilities_sum_to_one_and_equal_the_textbook(ids, order, discount, data):
    model = NGram(NGramConfig(8, order, discount), ids)
    context = data.draw(st.lists(st.integers(0, 7), max_size=7))
    p = model.distribution(context)
    assert p.sum().item() == pytest.approx(1)
    assert (p > 0).all()
    for token in range(8):
        expected = by_hand(ids, order, discount, 8, context, token)
        assert p[token].item() == pytest.approx(expected)
        assert model.probability(context, token) == pytest.approx(expected)


@given(ids=texts, order=st.integers(1, 5), context=st.lists(st.integers(0, 7), max_size=7))
def test_a_guess_is_the_commonest_after_the_longest_end_that_is_known(ids, order, context):
    model = NGram(NGramConfig(8, order), ids)
    sharp = NGram(NGramConfig(8, order, 1e-9), ids)  # shorter ends count for nothing
    p = sharp.distribution(context)
    assert p[model.guess(context)].item() == pytest.approx(p.max().item(), abs=1e-7)


def test_a_guess_is_almost_always_the_likeliest(counted, dataset):
    text = dataset.val.tolist()
    ends = [text[:n] for n in range(1, len(text))]
    guesses = [counted.guess(end) for end in ends]
    likeliest = [int(counted.distribution(end).argmax()) for end in ends]
    same = sum(map(int.__eq__, guesses, likeliest))
    assert same / len(ends) > 0.8


def test_more_context_tells_more():
    ids = [0, 1, 2, 0, 3, 4] * 9
    losses = [
        lab.mean_loss(NGram(NGramConfig(5, n, 0.5), ids), torch.tensor(ids)) for n in (1, 2, 3)
    ]
    assert losses[0] > losses[1] > losses[2]


def test_a_token_that_follows_only_one_other_is_not_thought_common():
    """Kneser and Ney's example: "Francisco" is frequent, but only after "San"."""
    san, francisco, glasses = 0, 1, 2
    ids = [san, francisco] * 20 + [3, glasses, 4, glasses, 5, glasses]
    p = NGram(NGramConfig(8, 2, 0.75), ids).distribution([7])
    assert p[glasses] > p[francisco]


@pytest.fixture(scope="module")
def counted(dataset):
    return NGram(NGramConfig(dataset.tokenizer.n_vocab), dataset.train)


def test_it_is_taken_where_a_model_is_taken(counted, dataset):
    loss = lab.mean_loss(counted, dataset.val)
    assert loss == pytest.approx(lab.token_losses(counted, dataset.val).mean().item(), abs=1e-4)
    assert loss < math.log(dataset.tokenizer.n_vocab) / 2
    assert 0.3 < lab.token_accuracy(counted, dataset.val) < 1
    first = lab.generate(counted, dataset.tokenizer, "The old", 12)
    assert first == lab.generate(counted, dataset.tokenizer, "The old", 12)
    assert first.startswith("The old") and len(first) > len("The old")


def test_greedy_text_takes_the_likeliest_token(counted, dataset):
    ids = dataset.val[:9].tolist()
    token = next(lab.generate_tokens(counted, ids, 1, lab.Decoding(temperature=0)))
    assert token == int(counted.distribution(ids).argmax())


def test_order_and_discount_are_chosen_on_the_validation_text(dataset):
    vocab_size = dataset.tokenizer.n_vocab
    best = choose_ngram(dataset.train, dataset.val, vocab_size, (1, 2, 4), (0.5, 0.9))
    losses = defaultdict(Counter)
    for order in (1, 2, 4):
        for discount in (0.5, 0.9):
            model = NGram(NGramConfig(vocab_size, order, discount), dataset.train)
            losses[order][discount] = lab.token_losses(model, dataset.val).sum().item()
    assert best.config.order in (2, 4)
    chosen = losses[best.config.order][best.config.discount]
    assert chosen <= min(min(row.values()) for row in losses.values()) + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 3, 4])
def test_what_is_chosen_for_a_phase_lies_between_the_ends_of_what_is_looked_at(number):
    data = lab.PHASES[number].dataset("right-sized")
    best = choose_ngram(data.train, data.val, data.tokenizer.n_vocab).config
    assert min(ORDERS) < best.order < max(ORDERS)
    assert min(DISCOUNTS) < best.discount < max(DISCOUNTS)


def test_an_order_beyond_use_gets_a_sentence():
    with pytest.raises(ValueError, match=r"order is 1000000; .* from 1 to 100 \(longer contexts"):
        NGramConfig(8, 10**6)


def test_strided_losses_cut_off_nothing_that_the_longest_order_looks_at(dataset):
    model = NGram(NGramConfig(dataset.tokenizer.n_vocab, 100), dataset.train[:300])
    ids = torch.cat([dataset.train[:300], dataset.val, dataset.train])[:1200]
    exact = [-math.log(model.probability(ids[:i].tolist(), int(ids[i]))) for i in range(1, 1200)]
    assert strided_losses(model, ids).tolist() == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([], "at least 2 tokens; got 0"),
        ([1], "got 1"),
        ([1, 9], "has 0 to 7"),
        ([-1, 2], "a list of token ids"),
    ],
)
def test_a_text_that_cannot_be_counted_gets_a_sentence(ids, sentence):
    with pytest.raises(ValueError, match=sentence):
        NGram(NGramConfig(8), ids)


@pytest.mark.parametrize(
    "change", [{"order": 0}, {"order": 2.5}, {"discount": 0}, {"discount": 1}, {"vocab_size": True}]
)
def test_a_shape_out_of_range_gets_a_sentence(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        NGramConfig(**{"vocab_size": 8} | change)


def test_the_5_gram_of_the_corpus_scores_as_an_independent_count_did():
    """0.9, all 23,000 tokens, held-out scripts: 2.57 nats per token, whatever the files' order."""
    setup = lab.Setup.parse("phase-4 n_tokens=23000 order=0 validation=held-out")
    data = setup.dataset(tested=False)
    model = NGram(NGramConfig(data.tokenizer.n_vocab, 5, 0.9), data.train)
    ids = data.val.tolist()
    losses = [
        -math.log(model.probability(ids[max(0, i - 4) : i], ids[i])) for i in range(1, len(ids))
    ]
    assert sum(losses) / len(losses) == pytest.approx(2.57, abs=0.01)


def test_strided_losses_give_every_token_half_a_context(finished, dataset):
    model, ids = finished.model, dataset.val[:100]
    block = model.config.block_size
    losses = strided_losses(model, ids)
    assert len(losses) == 99
    with torch.no_grad():
        for i in (0, 5, block - 1, block, block + 3, 50, 98):  # the loss of token i + 1
            end = (
                i
                if i < block
                else block + math.ceil((i + 1 - block) / (block // 2)) * (block // 2) - 1
            )
            end = min(end, len(ids) - 2)
            start = max(0, end + 1 - block)
            logits = model(ids[None, start : end + 1])[0, i - start]
            expected = torch.nn.functional.cross_entropy(logits, ids[i + 1])
            assert losses[i].item() == pytest.approx(expected.item(), abs=1e-4)
            assert i < block // 2 or i - start >= block // 2 - 1


@pytest.mark.parametrize("length", [2, 3, 16, 17, 18, 24, 25, 26])
def test_strided_losses_of_short_texts(finished, dataset, length):
    assert len(strided_losses(finished.model, dataset.val[:length])) == length - 1


def test_a_score_in_bits_per_byte_is_the_same_in_every_vocabulary(text, gpt2):
    """A model that knows nothing spends log2 V on a token, whatever the token's bytes."""
    small = lab.right_size(gpt2, text)
    model = lab.GPT(lab.GPTConfig(small.n_vocab, 8, 1, 1, 4))
    torch.nn.init.zeros_(model.wte.weight)
    ids = small.encode(text)
    n_bytes = len(text.encode()) - len(small.token_bytes(ids[0]))
    expected = (len(ids) - 1) * math.log2(small.n_vocab) / n_bytes
    assert lab.text_score(model, small, text) == pytest.approx(expected)


def test_a_tokenizer_that_loses_text_gives_no_score(finished):
    class Lossy(Tokenizer):
        name, n_vocab = "lossy", 256

        def encode(self, text):
            return list(text.replace("  ", " ").encode())

        def decode(self, ids):
            return bytes(ids).decode()

        def token_bytes(self, i):
            return bytes([i])

        def spec(self):
            return {}

    with pytest.raises(ValueError, match="'lossy' does not give this text back"):
        lab.text_score(finished.model, Lossy(), "two  spaces")
