"""Bits per byte, counted honestly and in the three ways that flatter."""

import pytest
import torch

import slmlab as lab
from slmlab.study.byte_counts import COUNTERS, bytes_add_up, fake_wins, gives_text_back
from slmlab.text.examples import EXAMPLES

HONEST = next(iter(COUNTERS))
LANGUAGES = "\n".join(EXAMPLES.values())


@pytest.fixture(scope="module")
def small(corpus, gpt2):
    return lab.right_size(gpt2, corpus.text)


@pytest.fixture(scope="module")
def tables(corpus, small):
    held_out = lab.load_held_out().text
    return {
        "scripts": fake_wins(small, corpus.text, held_out),
        "languages": fake_wins(small, corpus.text, LANGUAGES),
    }


@pytest.mark.parametrize("text", ["", "a b", "  if x:\n    y", LANGUAGES])
def test_the_honest_counter_passes_both_assertions(small, gpt2, text):
    for tokenizer in (small, gpt2):
        ids, n_bytes = COUNTERS[HONEST](tokenizer, text)
        assert gives_text_back(tokenizer, text, ids) and bytes_add_up(text, n_bytes)


@pytest.mark.parametrize(
    ("name", "round_trip", "adds_up"),
    [("from words", True, False), ("from file", False, True), ("from pieces", True, False)],
)
def test_each_mistake_is_caught_by_one_assertion(tables, name, round_trip, adds_up):
    found = tables["languages"].loc[name]
    assert found["round_trip"] == round_trip and found["bytes_add_up"] == adds_up


def test_what_decodes_alone_is_counted_rightly_in_plain_ascii(tables):
    pieces, honest = (tables["scripts"].loc[name] for name in ("from pieces", HONEST))
    assert lab.load_held_out().text.isascii()
    assert pieces.equals(honest)


def test_every_mistake_is_a_win_somewhere(tables):
    assert (tables["scripts"].loc[["from words", "from file"], "win"] > 0).all()
    assert tables["languages"].loc["from pieces", "win"] > 0


def test_the_honest_score_is_that_of_the_course(corpus, small, tables):
    model = lab.NGram(lab.NGramConfig(small.n_vocab), torch.tensor(small.encode(corpus.text)))
    score = lab.text_score(model, small, lab.load_held_out().text)
    assert tables["scripts"]["bits_per_byte"].iloc[0] == pytest.approx(score)
    assert tables["scripts"]["win"].iloc[0] == 0
