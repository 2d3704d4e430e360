"""The three tokenizers: known ids, round trips, and what happens to a damaged merge table."""

import base64
import json
import shutil
import socket
from itertools import pairwise

import pytest
import regex
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import DataError
from slmlab.text.files import data_path
from slmlab.text.tokenizer import tokenizer_from_spec

SAMPLE = "def add(a, b):\n    return a + b  # naïve, 7 °C — 数 🙂\n"
TABLE = ("tokenizer", "r50k_base.tiktoken")

GPT2 = lab.gpt2_tokenizer()
SMALL = lab.right_size(GPT2, SAMPLE)
TRAINED = lab.train_bpe(SAMPLE * 3, 300)
ALL = {"gpt2": GPT2, "right-sized": SMALL, "trained": TRAINED}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("hello world", [31373, 995]),
        ("Hello, world!", [15496, 11, 995, 0]),
        (" ", [220]),
        ("\n", [198]),
        ("", []),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
    ],
)
def test_gpt2_gives_the_known_ids(text, ids):
    assert GPT2.encode(text) == ids


@pytest.fixture(scope="module")
def ranks():
    lines = data_path(*TABLE).read_bytes().splitlines()
    pairs = (line.split() for line in lines)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def merge(word, ranks):
    """Byte-pair encoding as the paper states it: merge the best-ranked pair until none is left."""
    parts = [bytes([b]) for b in word.encode()]
    while True:
        pairs = [a + b for a, b in pairwise(parts)]
        best = min(pairs, key=lambda pair: ranks.get(pair, 10**9), default=None)
        if best not in ranks:
            return [ranks[part] for part in parts]
        place = pairs.index(best)
        parts[place : place + 2] = [best]


WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


@given(st.one_of(st.text(), st.text("abcdefghij ERT'.,\n\t(")))
def test_gpt2_agrees_with_a_naive_encoder(ranks, text):
    expected = [i for word in WORDS.findall(text) for i in merge(word, ranks)]
    assert GPT2.encode(text) == expected


def test_gpt2_agrees_with_a_naive_encoder_on_code(ranks, corpus):
    source = corpus.documents[0].text
    expected = [i for word in WORDS.findall(source) for i in merge(word, ranks)]
    assert GPT2.encode(source) == expected


@pytest.mark.parametrize("tokenizer", ALL.values(), ids=ALL)
@given(text=st.text())
def test_any_text_comes_back_unchanged(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < tokenizer.n_vocab for i in ids)


def test_gpt2_has_its_50257_tokens():
    assert GPT2.n_vocab == 50257
    assert GPT2.name == "gpt2"


def test_right_sized_numbers_the_same_tokens_anew(corpus):
    small = lab.right_size(GPT2, corpus.text)
    old, new = GPT2.encode(corpus.text), small.encode(corpus.text)
    assert [small.token_bytes(i) for i in new] == [GPT2.token_bytes(i) for i in old]
    pairs = sorted(set(zip(old, new, strict=True)))
    assert len(pairs) == len(set(old)) == len(set(new))
    assert [new_id for _, new_id in pairs] == sorted(set(new))  # in the order of the old ids


def test_right_sized_holds_what_occurs_and_the_bytes(corpus):
    small = lab.right_size(GPT2, corpus.text)
    bytes_alone = {GPT2.id_of_byte(b) for b in range(256)}
    assert small.n_vocab == len(set(GPT2.encode(corpus.text)) | bytes_alone)
    assert len({small.token_bytes(i) for i in range(small.n_vocab)}) == small.n_vocab


def test_right_sized_spells_out_what_it_dropped():
    small = lab.right_size(GPT2, "only these words")
    assert [small.token_bytes(i) for i in small.encode("zebra")] == [b"z", b"e", b"b", b"r", b"a"]


def test_a_trained_vocabulary_can_be_right_sized():
    small = lab.right_size(TRAINED, "def add")
    assert small.decode(small.encode(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("tokenizer", ALL.values(), ids=ALL)
def test_spec_builds_the_same_tokenizer(tokenizer):
    again = tokenizer_from_spec(json.loads(json.dumps(tokenizer.spec())))
    assert (again.name, again.n_vocab) == (tokenizer.name, tokenizer.n_vocab)
    assert again.encode(SAMPLE + "something else") == tokenizer.encode(SAMPLE + "something else")


def test_unknown_spec_is_refused():
    with pytest.raises(ValueError, match="Unknown tokenizer"):
        tokenizer_from_spec({"kind": "wordpiece"})


@pytest.mark.parametrize("size", [256, 400, 1000])
def test_training_agrees_with_hugging_face(corpus, size):
    theirs = tokenizers.ByteLevelBPETokenizer()
    theirs.train_from_iterator([corpus.text], size, min_frequency=0, show_progress=False)
    ours = lab.train_bpe(corpus.text, size)
    assert ours.n_vocab == theirs.get_vocab_size() == size
    for document in corpus.documents:
        assert ours.encode(document.text) == theirs.encode(document.text).ids


def test_training_stops_when_nothing_is_left_to_merge():
    assert lab.train_bpe("aaaa", 5000).n_vocab < 300


def test_damaged_merge_tables_are_refused(monkeypatch, tmp_path):
    table = tmp_path / "table"
    monkeypatch.setattr("slmlab.text.tokenizer.data_path", lambda *_: table)
    with pytest.raises(DataError, match=r"Cannot read .*; restore it"):
        lab.gpt2_tokenizer()
    shutil.copy(data_path(*TABLE), table)
    assert lab.gpt2_tokenizer().n_vocab == 50257
    content = table.read_bytes()
    table.write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"is not the file .*; restore it"):
        lab.gpt2_tokenizer()
    table.write_bytes(content.replace(b"IQ== 0", b"IQ== 1", 1))
    with pytest.raises(DataError, match=r"is not the file .*; restore it"):
        lab.gpt2_tokenizer()


def test_no_tokenizer_uses_the_network(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a tokenizer opened a connection")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    gpt2 = lab.gpt2_tokenizer()
    for tokenizer in (gpt2, lab.right_size(gpt2, SAMPLE), lab.train_bpe(SAMPLE, 280)):
        assert tokenizer.decode(tokenizer.encode(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("tokenizer", ALL.values(), ids=ALL)
def test_ids_that_do_not_exist_are_refused(tokenizer):
    for wrong in (-1, tokenizer.n_vocab):
        with pytest.raises(ValueError, match=f"A token id is {wrong}; it must be"):
            tokenizer.decode([0, wrong])


def test_empty_text_is_refused():
    with pytest.raises(ValueError, match="text is empty"):
        lab.right_size(GPT2, "")
    with pytest.raises(ValueError, match="text is empty"):
        lab.train_bpe("", 300)


@pytest.mark.parametrize("size", [-1, 0, 255])
def test_a_vocabulary_without_all_bytes_is_refused(size):
    with pytest.raises(
        ValueError, match=f"vocab_size is {size}; it must be a whole number from 256"
    ):
        lab.train_bpe("some text", size)
