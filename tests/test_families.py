"""Near-duplicates: pairs, families, and the gap in which the threshold lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.text.corpus import Corpus, Document

pytestmark = pytest.mark.slow


def made_of(**texts):
    return Corpus(tuple(Document(name, text) for name, text in texts.items()))


def test_the_jaccard_of_known_texts_is_exact():
    pairs = lab.similar_pairs(made_of(a=" one two three", b=" one two four", c=" five six"), n=1)
    assert list(pairs.itertuples(index=False, name=None)) == [
        ("a", "b", 2 / 4),
        ("a", "c", 0.0),
        ("b", "c", 0.0),
    ]


def test_a_copy_is_one_and_the_header_does_not_count():
    text = " one two three four five six seven eight nine"
    assert lab.similar_pairs(made_of(a=text, b=text))["jaccard"].tolist() == [1]


def test_families_join_through_a_third():
    corpus = made_of(a=" one two", b=" two three", c=" three four", d=" five six")
    assert lab.families(corpus, threshold=0.3, n=1) == (("a", "b", "c"), ("d",))
    assert lab.families(corpus, threshold=0.5, n=1) == (("a",), ("b",), ("c",), ("d",))


@given(st.lists(st.text("abc ", min_size=1, max_size=9), min_size=2, max_size=6), st.floats(0, 0.9))
def test_every_script_is_in_one_family(texts, threshold):
    corpus = made_of(**{f"f{n}": text for n, text in enumerate(texts)})
    found = lab.families(corpus, threshold=threshold, n=1)
    assert sorted(sum(found, ())) == sorted(d.name for d in corpus.documents)


def test_the_threshold_lies_in_an_empty_gap(corpus):
    pairs = lab.similar_pairs(corpus, lab.load_held_out())
    assert not pairs["jaccard"].between(0.29, 0.80).any()
    found = lab.families(corpus, lab.load_held_out())
    assert sorted(len(family) for family in found if len(family) > 1) == [2, 3, 4, 4]


def test_no_final_script_is_of_a_family(corpus):
    final = {d.name for d in lab.load_final().documents}
    pairs = lab.similar_pairs(corpus, lab.load_held_out(), lab.load_final())
    with_final = pairs[pairs["name"].isin(final) | pairs["other"].isin(final)]
    assert with_final["jaccard"].max() < 0.15
    for family in lab.families(corpus, lab.load_held_out(), lab.load_final()):
        assert len(family) == 1 or not final & set(family)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="Two scripts are named a"):
        lab.similar_pairs(made_of(a="x y"), made_of(a="x y"), n=1)
    with pytest.raises(ValueError, match="a has fewer than 8 tokens"):
        lab.similar_pairs(made_of(a="short"))
    with pytest.raises(ValueError, match="threshold"):
        lab.families(made_of(a="x"), threshold=1, n=1)
