"""Vocabularies compared by counting, and the choice of one."""

import math

import pytest

import slmlab as lab
from slmlab.study.experiments.grid import NEAR
from slmlab.study.vocabulary import MOST_READ, VOCABULARIES, _reasons, _stretches
from slmlab.text.dataset import Dataset, encoded
from slmlab.text.tokenizer import tokenizer_for


@pytest.fixture(scope="module")
def table(corpus):
    return lab.vocabulary_table(corpus.text, lab.load_held_out().text)


def test_a_table_has_a_row_for_each_vocabulary_that_is_another(table):
    assert set(VOCABULARIES) - set(table.index) == {"bpe-4000", "bpe-8000"}
    assert table.loc["bpe-2000", "n_vocab"] < 2000  # there are no more pairs
    assert table.loc["gpt2", "n_vocab"] == 50_257
    assert table.index.name == "vocabulary"


def test_tokens_and_their_bytes_are_those_of_the_exam_text(table):
    n_bytes = len(lab.load_held_out().text.encode())
    assert table.loc["bpe-256", "tokens"] == n_bytes
    assert (table["tokens"] * table["bytes_per_token"]).to_numpy() == pytest.approx(n_bytes)


def test_five_grams_of_a_table_are_the_numbers_to_beat(table, corpus):
    tokenizer = tokenizer_for(corpus.text, "bpe-512")
    exam = lab.load_held_out().text
    data = Dataset(encoded(corpus.text, tokenizer), encoded(exam, tokenizer), tokenizer)
    assert table.loc["bpe-512", "five_gram"] == pytest.approx(lab.number_to_beat(data).val_bits)


def test_the_bits_are_those_of_every_byte_but_the_first():
    table = lab.vocabulary_table("abababab" * 10, "abab", ["bpe-256"])
    tokenizer = tokenizer_for("abababab" * 10, "bpe-256")
    model = lab.NGram(lab.NGramConfig(256), encoded("abababab" * 10, tokenizer))
    ids = tokenizer.encode("abab")
    bits = sum(-math.log2(model.probability(ids[:i], ids[i])) for i in range(1, 4))
    assert table.loc["bpe-256", "five_gram"] == pytest.approx(bits / 3)


def test_a_vocabulary_trained_on_the_text_reads_new_text_better_than_a_right_sized_one(table):
    trained = table.loc[["bpe-400", "bpe-512", "bpe-1000"]]
    for name in ("five_gram", "sixteen_gram"):
        assert trained[name].max() < table.loc["right-sized", name] - 0.4


def test_a_five_gram_flatters_long_tokens_and_a_sixteen_gram_does_not(table):
    assert table.loc["bpe-256", "five_gram"] > table.loc["gpt2", "five_gram"] + 0.1
    assert table.loc["bpe-256", "sixteen_gram"] < table.loc["gpt2", "sixteen_gram"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("", "exam"), "The text is empty"),
        (("text", ""), "The text is empty"),
        (("text", "x", ["bpe-256"]), "at least 2 tokens"),
        (("text", "exam", ["words"]), "vocabulary is 'words'"),
        (("text", "exam", 3), "vocabularies is 3"),
    ],
)
def test_what_is_no_text_or_vocabulary_gets_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        lab.vocabulary_table(*arguments)


def test_a_five_gram_orders_vocabularies_more_as_gpts_do(table):
    """So it decides. With 2.5 times as many as it likes best GPTs do as well, as a choice says."""
    keys = ["vocabulary", "learning_rate", "seed", "n_embd"]
    gpts = lab.best_looks(lab.read_vocabularies(), keys).query("n_embd == 96")
    for rate in (1e-4, 3e-4):
        at_rate = gpts[gpts["learning_rate"] == rate].groupby("vocabulary")["val_bits"].mean()
        learnt = table.join(at_rate, how="inner").drop(["right-sized", "gpt2"], errors="ignore")
        order = learnt[["five_gram", "sixteen_gram", "val_bits"]].corr("spearman")["val_bits"]
        assert order["five_gram"] > 0.4 > order["sixteen_gram"]
        assert table["five_gram"].idxmin() == "bpe-400"
        assert at_rate["bpe-1000"] < at_rate["bpe-512"] + NEAR


def said(choice):
    return " ".join(choice.reasons)


def test_the_largest_trained_vocabulary_near_the_best_is_chosen(corpus, table):
    choice = lab.choose_vocabulary(corpus.text, lab.load_held_out().text)
    assert choice.table.equals(table)
    trained = table.drop(["right-sized", "gpt2"])
    bits = trained["five_gram"]
    near = trained[bits <= bits.min() + NEAR]
    assert choice.vocabulary == near["n_vocab"].idxmax()
    assert bits.idxmin() in said(choice) and "bytes on average" in said(choice)
    assert f"{table.loc['right-sized', 'five_gram']:.2f}" in said(choice)
    for other in ("were counted", "fifth", "smallest there is", "larger one"):
        assert other not in said(choice)


def test_a_short_text_is_cut_in_five_and_gets_bytes(corpus):
    """In the last lines alone, a header that every script has would decide."""
    choice = lab.choose_vocabulary(corpus.text[:900], corpus.text[900:1_000])
    assert choice.vocabulary == "bpe-256"
    assert "smallest there is: its tokens are single bytes" in said(choice)
    assert "only 100 bytes" in said(choice)
    assert choice.table[["n_vocab", "tokens"]].dtypes.eq("int64").all()


def test_of_a_long_text_stretches_are_read(corpus):
    text = corpus.text * 5
    choice = lab.choose_vocabulary(text, lab.load_held_out().text)
    assert "Only 200,000 bytes of the training text were counted" in said(choice)
    read = _stretches(text)
    assert len(read.encode()) == pytest.approx(MOST_READ, rel=0.01)
    assert read[-1_000:] in text and read.startswith(text[:1_000])
    assert _stretches(corpus.text) == corpus.text


@pytest.mark.parametrize(
    ("n_vocab", "sentence"),
    [(512, "a larger one may do as well"), (450, "the text has no more pairs to merge")],
)
def test_a_choice_at_the_end_of_the_ladder_says_so(table, n_vocab, sentence):
    short = table.loc[["bpe-400", "bpe-512", "right-sized", "gpt2"]].copy()
    short.loc["bpe-512", "n_vocab"] = n_vocab
    assert sentence in " ".join(_reasons(short, "bpe-512", 2))
    assert sentence not in " ".join(_reasons(short, "bpe-400", 2))


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [(("", "a text"), "The text is empty"), (("a text", ""), "The text is empty"), ((5, "a"), "5")],
)
def test_no_vocabulary_is_chosen_for_no_text(texts, sentence):
    with pytest.raises(ValueError, match=sentence):
        lab.choose_vocabulary(*texts)
