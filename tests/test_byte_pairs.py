"""Byte-pair encoding step by step: the same tokens as the fast tokenizers, on any text."""

import random
import sys
import unicodedata
from collections import Counter
from functools import cache

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext.openai_public import r50k_pat_str

import slmlab as lab
from slmlab.text import byte_pairs
from slmlab.text.tokenizer import SHORT_WORDS, WORDS

FEW_LETTERS = st.text("ab c\né", min_size=1)  # many ties, many pairs that overlap
SPACES = [" ", "  ", "\n", "\n\n", "\t", "    ", "\r\n", "\xa0", "\u2003", " \n ", "        "]
EMOJI = ["🙂", "👩‍💻", "🇪🇺", "👍🏽", "❤️", "🧑‍🤝‍🧑", "🔥🔥"]


@cache
def characters():
    """Every character that this Python knows, one half of a pair excepted."""
    known = map(chr, range(sys.maxunicode + 1))
    return [c for c in known if unicodedata.category(c) not in ("Cs", "Cn", "Co")]


def random_texts(n, source):
    """Texts of code, of any script, of white space and emoji, and mixtures of these."""
    draw = random.Random(6)
    letters = characters()

    def code():
        start = draw.randrange(len(source))
        return source[start : start + draw.randint(1, 60)]

    def script():
        start = draw.randrange(len(letters))  # neighbours are mostly of one script
        return "".join(draw.choices(letters[start : start + 60], k=draw.randint(1, 15)))

    def plain():
        return "".join(draw.choices("etaoin shrdlu'.,ET0123456789-_", k=draw.randint(1, 40)))

    kinds = (
        code,
        script,
        plain,
        lambda: "".join(draw.choices(letters, k=draw.randint(1, 12))),
        lambda: draw.choice(SPACES) * draw.randint(1, 9),
        lambda: draw.choice(EMOJI),
    )
    for _ in range(n):
        yield "".join(draw.choice(kinds)() for _ in range(draw.randint(1, 5)))


def test_a_pair_is_merged_from_left_to_right():
    assert byte_pairs.merge((b"a", b"b", b"a", b"b"), (b"a", b"b")) == (b"ab", b"ab")
    assert byte_pairs.merge((b"a", b"a", b"a"), (b"a", b"a")) == (b"aa", b"a")
    assert byte_pairs.merge((b"b", b"a"), (b"a", b"b")) == (b"b", b"a")
    assert byte_pairs.merge((), (b"a", b"b")) == ()


def test_pairs_are_counted_in_every_word_as_often_as_it_occurs():
    counts = Counter({(b"a", b"b", b"a"): 3, (b"a", b"b"): 2, (b"c",): 9})
    assert byte_pairs.count_pairs(counts) == {(b"a", b"b"): 5, (b"b", b"a"): 3}


def test_ties_go_to_the_lower_ids():
    learnt = list(byte_pairs.train("ba ba ab ab cd cd", 258))[256:]
    assert learnt == [b"ab", b"ba"]  # the space has a higher id than letters


@given(st.text())
def test_words_joined_are_the_text(text):
    assert "".join(byte_pairs.words(text)) == text
    assert "".join(byte_pairs.words(text, WORDS)) == text


@pytest.mark.parametrize("size", [256, 300, 512])
def test_the_corpus_gives_the_vocabulary_of_train_bpe(corpus, size):
    fast = lab.train_bpe(corpus.text, size)
    ids = byte_pairs.train(corpus.text, size)
    assert ids == byte_pairs.ids_of(fast)
    for text in (corpus.text, lab.load_held_out().text):
        assert byte_pairs.encode(text, ids) == fast.encode(text)


@settings(max_examples=30)
@given(learnt=st.one_of(FEW_LETTERS, st.text(min_size=1)), read=st.one_of(FEW_LETTERS, st.text()))
def test_any_text_gives_the_vocabulary_of_train_bpe(learnt, read):
    fast = lab.train_bpe(learnt, 280)
    ids = byte_pairs.train(learnt, 280)
    assert ids == byte_pairs.ids_of(fast)
    assert byte_pairs.encode(learnt + read, ids) == fast.encode(learnt + read)


@pytest.mark.slow
def test_ten_thousand_texts_are_encoded_as_by_tiktoken(corpus, gpt2):
    ids = byte_pairs.ids_of(gpt2)
    special = {"<|endoftext|>": ids.pop(b"<|endoftext|>")}
    theirs = tiktoken.Encoding(
        "theirs", pat_str=r50k_pat_str, mergeable_ranks=ids, special_tokens=special
    )
    texts = list(random_texts(10_000, corpus.text))
    assert len(set(texts)) > 9_000
    for text in texts:
        expected = theirs.encode_ordinary(text)
        assert byte_pairs.encode(text, ids, WORDS) == gpt2.encode(text) == expected, text
        assert gpt2.decode(expected) == text
        assert sum(len(gpt2.token_bytes(i)) for i in expected) == len(text.encode())


@pytest.mark.slow
def test_the_other_tokenizers_agree_with_it_too(corpus, gpt2):
    trained = lab.train_bpe(corpus.text, 1_000)
    small = lab.right_size(gpt2, corpus.text)
    ids = byte_pairs.ids_of(trained)
    kept = {small.token_bytes(i) for i in range(small.n_vocab)}
    for text in random_texts(1_000, corpus.text):
        assert byte_pairs.encode(text, ids, SHORT_WORDS) == trained.encode(text)
        spelled = [small.token_bytes(i) for i in small.encode(text)]
        whole = [gpt2.token_bytes(i) for i in gpt2.encode(text)]
        pieces = [[t] if t in kept else [bytes([b]) for b in t] for t in whole]
        assert spelled == [piece for token in pieces for piece in token]


def test_a_vocabulary_without_all_bytes_is_refused():
    with pytest.raises(ValueError, match="must be a whole number from 256"):
        byte_pairs.train("some text", 255)


def test_half_a_character_is_refused():
    with pytest.raises(ValueError, match="half a character"):
        byte_pairs.encode("\ud800", {})
