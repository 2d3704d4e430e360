"""Paired differences on tables whose answers are known, and scores file by file."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.study.paired import paired_difference
from slmlab.text.corpus import Corpus, Document
from slmlab.text.tokenizer import tokenizer_for


def scores(difference, n_bytes=None):
    """Models "a" and "b": b needs 2 bits per byte, a differs by difference[file, seed]."""
    n_files, n_seeds = difference.shape
    n_bytes = np.full(n_files, 100) if n_bytes is None else n_bytes
    return pd.DataFrame(
        {"model": model, "file": f"f{f}", "seed": s, "bytes": n_bytes[f]}
        | {"bits": n_bytes[f] * (2.0 + (difference[f, s] if model == "a" else 0))}
        for model in "ab"
        for f in range(n_files)
        for s in range(n_seeds)
    )


def noise(n_files=12, n_seeds=3, spread=0.1):
    return np.random.default_rng(5).normal(0, spread, (n_files, n_seeds))


def test_no_difference_is_exactly_zero():
    d = paired_difference(scores(np.zeros((5, 3))), "a", "b")
    assert (d.mean, d.low, d.high) == (0, 0, 0)


@pytest.mark.slow
@given(st.floats(-3, 3), st.lists(st.integers(1, 10**6), min_size=2, max_size=8))
def test_a_constant_shift_is_found_exactly(shift, n_bytes):
    table = scores(np.full((len(n_bytes), 2), shift), n_bytes)
    d = paired_difference(table, "a", "b")
    assert [d.mean, d.low, d.high] == pytest.approx([shift] * 3, abs=1e-9)


def test_the_other_way_round_has_the_other_sign():
    there, back = (paired_difference(scores(noise()), *pair) for pair in ("ab", "ba"))
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))


def test_it_is_pooled_over_bytes():
    table = scores(np.array([[1.0], [0.0]]), [300, 100])
    assert paired_difference(table, "a", "b").mean == pytest.approx(0.75)


def test_it_is_always_the_same_whatever_the_order_of_the_rows():
    table = scores(noise())
    shuffled = table.sample(frac=1, random_state=1)
    assert paired_difference(table, "a", "b") == paired_difference(shuffled, "a", "b")


def test_files_of_one_family_count_as_one():
    copies = np.repeat(noise(4), 3, axis=0)  # each file three times
    table = scores(copies)
    families = [[f"f{3 * n + m}" for m in range(3)] for n in range(4)]
    alone, joined = paired_difference(table, "a", "b"), paired_difference(table, "a", "b", families)
    assert (alone.n_families, joined.n_families) == (12, 4)
    assert joined.mean == pytest.approx(alone.mean)
    assert joined.high - joined.low > 1.3 * (alone.high - alone.low)
    once = paired_difference(scores(noise(4)), "a", "b")
    assert (joined.low, joined.high) == pytest.approx((once.low, once.high))


def test_seeds_are_drawn_as_well():
    by_seed = np.tile([-0.1, 0.0, 0.1], (12, 1))  # every file agrees; the seeds do not
    d = paired_difference(scores(by_seed), "a", "b")
    assert d.low == pytest.approx(-0.1)
    assert d.high == pytest.approx(0.1)


def test_it_reads_as_text():
    assert str(paired_difference(scores(np.full((3, 1), -0.25)), "a", "b")) == (
        "−0.250 (−0.250 to −0.250)"
    )


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda t: t[t["model"] == "a"], "'b' needs one score"),
        (lambda t: t.drop(index=0), "'a' needs one score"),
        (lambda t: pd.concat([t, t[:1]]), "'a' needs one score"),
        (lambda t: t[(t["model"] == "a") | (t["file"] != "f0")], "same bytes of the same files"),
        (lambda t: t[(t["model"] == "a") | (t["seed"] != 0)], "same bytes of the same files"),
        (lambda t: t.assign(bytes=np.arange(len(t)) + 1), "same bytes of the same files"),
        (lambda t: t.assign(bytes=0), "without bytes"),
        (lambda t: t.assign(bits=math.nan), "'a' needs one score"),
        (lambda t: t.drop(columns=["seed", "bits"]), "lacks seed, bits; it needs model"),
        (lambda t: t[t["file"] == "f0"], "one family"),
    ],
)
def test_what_cannot_be_paired_is_refused(spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        paired_difference(spoil(scores(noise())), "a", "b")


def test_a_file_in_two_families_is_refused():
    with pytest.raises(ValueError, match="two families"):
        paired_difference(scores(noise()), "a", "b", [["f0", "f1"], ["f1", "f2"]])


@pytest.mark.parametrize("vocabulary", ["right-sized", "bpe-500"])
def test_models_of_different_vocabularies_are_scored_on_the_same_bytes(corpus, gpt2, vocabulary):
    tokenizer = tokenizer_for(corpus.text, vocabulary)
    for document in lab.load_held_out().documents:  # only the first token is not scored
        first, other = (t.encode(document.entry)[0] for t in (gpt2, tokenizer))
        assert gpt2.token_bytes(first) == tokenizer.token_bytes(other) == b"#"


def test_scores_of_files_are_the_score_of_each_text(finished):
    tokenizer = finished.dataset.tokenizer
    corpus = Corpus((Document("a", "The ferryman paints.\n"), Document("b", "Two maps é\n")))
    table = lab.per_file_scores(finished.model, tokenizer, corpus)
    assert table["file"].tolist() == ["a", "b"]
    for row, document in zip(table.itertuples(), corpus.documents, strict=True):
        assert row.bytes == len(document.entry.encode()) - 1  # less the first token, "#"
        expected = lab.text_score(finished.model, tokenizer, document.entry)
        assert row.bits / row.bytes == pytest.approx(expected)
