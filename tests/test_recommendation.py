"""What is recommended for a learner's own text."""

import pytest

import slmlab as lab
from slmlab.study.recommendation import EXAMPLES, MORE_STEPS, TRAINED_ON
from slmlab.study.setups import Setup
from slmlab.study.vocabulary import NEAR


@pytest.fixture
def own(tmp_path, corpus):
    """Makes an own text of the first bytes of the corpus."""

    def read(n_bytes):
        path = tmp_path / "text.py"
        path.write_bytes(corpus.text.encode()[:n_bytes])
        return lab.read_text(path)

    return read


def test_a_text_gets_a_set_up_that_trains_on_it(own):
    text = own(4_000)
    found = lab.recommend_for_text(text)
    assert Setup.parse(str(found.setup)) == found.setup
    data = text.dataset(found.setup.data.vocabulary)
    assert found.setup.data.vocabulary == found.choice.vocabulary
    assert found.ahead.config.vocab_size == data.tokenizer.n_vocab
    assert found.ahead.train_tokens == len(data.train)
    assert found.number == lab.number_to_beat(data)
    run = found.setup.replace(max_steps=2, n_embd=8).train(data, progress=False)
    assert run.state.step == 2


def test_the_size_rate_and_epochs_are_those_of_the_grid(own):
    text = own(12_000)
    found = lab.recommend_for_text(text)
    n_tokens = len(text.dataset("gpt2").train)
    advice = lab.recommend(n_tokens, found.ahead.config.vocab_size)
    assert found.setup.shape.n_embd == advice.config.n_embd
    assert found.setup.training.learning_rate == advice.learning_rate
    assert found.ahead.epochs == pytest.approx(MORE_STEPS * advice.epochs, rel=0.02)
    assert set(found.choice.reasons) < set(found.reasons)
    for part in (*found.reasons, found.ahead.like, str(found.number), str(found.setup)):
        assert part in str(found)
    assert f"{found.ahead.config.n_params:,} parameters" in " ".join(found.reasons)


def test_a_context_covers_as_many_bytes_in_every_vocabulary(own):
    shape = lab.recommend_for_text(own(1_000)).setup.shape  # its tokens are bytes
    assert 64 * 2.2 < shape.block_size < 64 * 2.8  # bytes of a GPT-2 token


def test_beyond_the_grid_epochs_fall_with_the_text():
    epochs = [lab.recommend(n).epochs for n in (23_000, 92_000, 368_000, 10**7)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[1] / epochs[0] == pytest.approx(epochs[2] / epochs[1])
    assert any("fewer epochs" in reason for reason in lab.recommend(92_000).reasons)
    assert not any("fewer epochs" in reason for reason in lab.recommend(23_000).reasons)


def test_a_line_and_what_is_no_text_get_a_sentence(own):
    with pytest.raises(ValueError, match="give at least 100, better 10,000"):
        lab.recommend_for_text(own(20))
    with pytest.raises(ValueError, match="own is 'text'; it must be"):
        lab.recommend_for_text("text")


def test_examples_are_set_ups_of_what_is_recommended():
    table = lab.example_setups()
    assert list(table.index) == ["1 kB", "10 kB", "100 kB", "1 MB", "10 MB"]
    for (_, n_bytes, vocabulary), row in zip(EXAMPLES, table.itertuples(), strict=True):
        setup = Setup.parse(row.setup)
        advice = lab.recommend(round(TRAINED_ON * n_bytes / 2.4), 1000)
        assert setup.data.vocabulary == row.vocabulary == vocabulary
        assert setup.shape.n_embd == advice.config.n_embd
        assert setup.training.learning_rate == advice.learning_rate
        assert row.basis.startswith("a guess") == any("guess" in r for r in advice.reasons)
    assert table["minutes"].is_monotonic_increasing


@pytest.mark.parametrize("size", ["1 kB", "10 kB", "100 kB"])
def test_counting_finds_nothing_much_better_than_an_examples_vocabulary(size, own):
    """For as much of the corpus as it has; there is no larger text of the course."""
    [(_, n_bytes, vocabulary)] = [example for example in EXAMPLES if example[0] == size]
    text = own(n_bytes) if n_bytes < 50_000 else lab.read_text(lab.data_path("corpus"))
    table = lab.choose_vocabulary(text.parts.train.text, text.parts.val.text).table
    bits = table.drop(["right-sized", "gpt2"])["five_gram"]
    assert bits[vocabulary] <= bits.min() + NEAR
