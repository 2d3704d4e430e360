"""Teacher-forced accuracy by domain and frequency, and free-running text beside it."""

import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.engine.evaluation import strided_guesses, strided_logits, strided_losses
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.study import accuracy
from slmlab.study.accuracy import (
    DOMAINS,
    FREQUENCIES,
    Example,
    accuracy_by_domain,
    accuracy_by_frequency,
    domain_examples,
    domain_tokenizer,
    free_running,
    frequency_bins,
    guess_table,
    loop_length,
)

TOKENIZER = domain_tokenizer(400)
EXAMPLES = {held_out: domain_examples(TOKENIZER, held_out) for held_out in (True, False)}


def small(block=16, seed=0, vocab=TOKENIZER.n_vocab):
    return lab.GPT(lab.GPTConfig(vocab, block, 1, 2, 16), seed)


def example(ids, n_prompt=1, counts=None):
    return Example(torch.tensor(ids), n_prompt, None if counts is None else torch.tensor(counts))


class Follows(lab.GPT):
    """Guesses that each token is followed by the next larger one, and 4 by 1."""

    def forward(self, idx, cache=None):
        return F.one_hot(idx % 4 + 1, self.config.vocab_size).float()

    def next_logits(self, idx, cache=None):
        return self(idx)[:, -1]


FOLLOWS = Follows(lab.GPTConfig(6, 4, 1, 1, 2))


@pytest.mark.parametrize("n", [2, 5, 16, 17, 24, 25, 40])
def test_each_token_is_guessed_once_after_at_least_half_a_context(n):
    model, ids = small(), torch.randint(50, (n,), generator=torch.Generator().manual_seed(n))
    guesses, losses = strided_guesses(model, ids), strided_losses(model, ids)
    tokens = torch.cat([came for _, came in strided_logits(model, ids)])
    assert torch.equal(tokens, ids[1:]) and len(guesses) == len(losses) == n - 1
    for place in range(1, n):
        # The windows begin at 0, then at every half a context, and the last one ends with the text.
        end = min(16 if place <= 16 else 16 + 8 * math.ceil((place - 16) / 8), n - 1)
        logits = model(ids[None, max(0, end - 16) : place])[0, -1]
        assert guesses[place - 1] == logits.argmax()
        expected = F.cross_entropy(logits, ids[place])
        assert losses[place - 1].item() == pytest.approx(expected.item(), rel=1e-4)


def test_guesses_leave_the_model_as_it_was():
    model = small().train()
    parts = strided_logits(model, torch.arange(40))
    next(parts)
    assert model.training and torch.is_grad_enabled()
    assert not next(parts)[0].requires_grad
    with pytest.raises(ValueError, match="at least 2 tokens; got 1"):
        strided_guesses(model, torch.arange(1))
    with pytest.raises(ValueError, match="vocabulary ends at"):
        strided_guesses(model, torch.tensor([0, 9_999]))


def test_counting_guesses_too():
    ids = torch.tensor([1, 2, 3, 4] * 10)
    counts = NGram(NGramConfig(6), ids)
    assert torch.equal(strided_guesses(counts, ids)[4:], ids[5:])


@pytest.mark.parametrize("held_out", [True, False])
def test_examples_are_whole_texts_of_each_domain(held_out):
    examples = EXAMPLES[held_out]
    assert tuple(examples) == DOMAINS
    texts = {name: [TOKENIZER.decode(e.ids.tolist()) for e in of] for name, of in examples.items()}
    assert all(text.endswith("<|end|>") for of in texts.values() for text in of)
    bare = {name: [t.removesuffix("<|end|>") for t in of] for name, of in texts.items()}
    corpus = lab.load_held_out() if held_out else lab.load_corpus()
    main = 'if __name__ == "__main__":\n    main()\n'
    entries = "".join(document.entry for document in corpus.documents)
    if held_out:  # the one part that is in the training text, too
        entries = entries.replace(main, "")
    assert "".join(bare["scripts"]).replace("\n\n\n", "") == entries.replace("\n\n\n", "")
    puzzles = lab.load_puzzles("held_out" if held_out else "train")
    assert bare["puzzles"] == [puzzle.text for puzzle in puzzles]
    assert len(bare["dialogues"]) == (48 if held_out else 79)


def test_what_is_held_out_is_not_trained_on():
    texts = {
        held_out: {tuple(e.ids.tolist()) for of in examples.values() for e in of}
        for held_out, examples in EXAMPLES.items()
    }
    assert not texts[True] & texts[False]


def test_only_the_questions_of_dialogues_do_not_count():
    for name, of in EXAMPLES[True].items():
        for one in of:
            start = one.n_prompt if name == "dialogues" else 0
            assert not one.counts[:start].any() and one.counts[start:].all()


def test_prompts_are_questions_and_first_halves():
    for one, puzzle in zip(EXAMPLES[True]["puzzles"], lab.load_puzzles("held_out"), strict=True):
        assert TOKENIZER.decode(one.ids[: one.n_prompt].tolist()) == puzzle.question
    for one in EXAMPLES[True]["dialogues"]:
        assert one.ids[one.n_prompt - 1] == TOKENIZER.assistant
    for one in EXAMPLES[True]["scripts"]:
        assert one.n_prompt == len(one.ids) // 2


def test_one_vocabulary_is_learnt_from_all_domains():
    assert TOKENIZER.n_vocab == 403
    words = {TOKENIZER.token_bytes(i) for i in range(400)}
    assert {b" the", b"collection", b" than"} <= words


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ids": [1, 2]}, "ids is .*1-D int64 tensor"),
        ({"counts": torch.ones(3)}, "counts is .*bool tensor of 3 values"),
        ({"counts": torch.zeros(3, dtype=torch.bool)}, "counts no target"),
        ({"n_prompt": 0}, "n_prompt is 0; it must be a whole number from 1 to 2"),
        ({"n_prompt": 3}, "n_prompt is 3"),
    ],
)
def test_what_is_no_example_is_refused(change, sentence):
    whole = {"ids": torch.arange(3), "counts": torch.ones(3, dtype=torch.bool), "n_prompt": 1}
    with pytest.raises(ValueError, match=sentence):
        Example(**whole | change)


def test_guesses_are_of_the_tokens_that_count_only():
    examples = {
        "a": [example([1, 2, 3, 4, 1]), example([1, 2, 2], counts=[False, False, True])],
        "b": [example([3, 1, 2, 3, 4, 4, 4])],
    }
    table = guess_table({"follows": FOLLOWS}, examples)
    assert table["domain"].tolist() == ["a"] * 5 + ["b"] * 6
    assert table["token"].tolist() == [2, 3, 4, 1, 2, 1, 2, 3, 4, 4, 4]
    assert table["follows"].tolist() == [2, 3, 4, 1, 3, 4, 2, 3, 4, 1, 1]
    found = accuracy_by_domain(table)
    assert found.loc["a", "follows"] == pytest.approx(4 / 5)
    assert found.loc["b", "follows"] == pytest.approx(3 / 6)
    assert found.loc["average", "follows"] == pytest.approx((4 / 5 + 3 / 6) / 2)
    assert found["tokens"].tolist() == [5, 6, 11]


def test_a_gpt_stands_beside_counting():
    train = torch.cat([one.ids for of in EXAMPLES[False].values() for one in of])
    models = {"GPT": small(), "5-gram": NGram(NGramConfig(TOKENIZER.n_vocab), train)}
    few = {name: of[:4] for name, of in EXAMPLES[True].items()}
    table = guess_table(models, few)
    found = accuracy_by_domain(table)
    assert [*found.columns] == ["tokens", *models] and [*found.index] == [*DOMAINS, "average"]
    assert (found["5-gram"] > found["GPT"]).all()  # which was not trained
    [first] = (of[0] for name, of in few.items() if name == "scripts")
    own = guess_table({"GPT": models["GPT"]}, {"scripts": [first]})
    assert own["GPT"].tolist() == table["GPT"][: len(first.ids) - 1].tolist()
    by_frequency = accuracy_by_frequency(table, train)
    shares = by_frequency[["text", "GPT guessed", "5-gram guessed"]]
    assert shares.sum().tolist() == pytest.approx([1, 1, 1])
    everything = (by_frequency["5-gram right"] * by_frequency["text"]).sum()
    right = (table["5-gram"] == table["token"]).mean()
    assert everything == pytest.approx(right)


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="nothing to compare"):
        guess_table({}, {"a": [example([1, 2])]})
    with pytest.raises(ValueError, match="nothing to compare"):
        guess_table({"follows": FOLLOWS}, {"a": []})
    with pytest.raises(ValueError, match=r"examples\[0\] is .*must be an Example"):
        guess_table({"follows": FOLLOWS}, {"a": [torch.arange(3)]})
    for wrong in (None, [small()]):
        with pytest.raises(ValueError, match="models is"):
            guess_table(wrong, {})
    with pytest.raises(ValueError, match="guesses lacks domain"):
        accuracy_by_domain(pd.DataFrame({"token": [1]}))


def test_a_bin_begins_at_its_number_of_occurrences():
    train = torch.tensor([0] * 9 + [1] * 10 + [2] * 99 + [3] * 100 + [4])
    bins = frequency_bins(torch.tensor([0, 1, 2, 3, 4, 5, 77]), train)
    assert bins.tolist() == [1, 2, 2, 3, 1, 0, 0]
    assert FREQUENCIES == (1, 10, 100, 1_000)


def test_bins_of_large_ids_and_of_nothing_take_no_memory():
    huge, none = torch.tensor([2**62, 7]), torch.tensor([], dtype=torch.int64)
    assert frequency_bins(huge, huge.repeat(10)).tolist() == [2, 2]
    assert frequency_bins(huge, none).tolist() == [0, 0]
    assert frequency_bins(none, huge).tolist() == frequency_bins(none, none).tolist() == []


@pytest.mark.parametrize("value", [None, "abc", [1], torch.tensor([]), torch.tensor([-1])])
def test_bins_need_tensors_of_token_ids(value):
    ids = torch.arange(3)
    for arguments in ((value, ids), (ids, value)):
        with pytest.raises(ValueError, match="it must be a 1-D int64 tensor of token ids"):
            frequency_bins(*arguments)


GUESSES = pd.DataFrame({"domain": ["a", "b"], "token": [1, 2], "it": [1, 1]})
NO_GUESSES = {
    "NaN": (GUESSES.assign(it=[1, math.nan]), "'it' of guesses has other values than token ids"),
    "text": (GUESSES.assign(it=["1", "2"]), "'it' of guesses has other values than token ids"),
    "a fraction": (GUESSES.assign(loss=0.5), "'loss' of guesses has other values"),
    "a truth value": (GUESSES.assign(right=True), "'right' of guesses has other values"),
    "below 0": (GUESSES.assign(it=-1), "'it' of guesses has other values"),
    "a token of text": (GUESSES.assign(token="x"), "'token' of guesses has other values"),
    "no domain": (GUESSES.assign(domain=[None, "a"]), "A domain of guesses is (None|nan)"),
    "no model": (GUESSES[["domain", "token"]], "guesses has no model's column"),
    "a column twice": (pd.concat([GUESSES, GUESSES[["it"]]], axis=1), "has the column 'it' twice"),
    "no rows": (GUESSES[:0], "guesses has no rows"),
    "no table": ([1], r"guesses is \[1\]; it must be a DataFrame"),
}


@pytest.mark.parametrize(("table", "sentence"), NO_GUESSES.values(), ids=NO_GUESSES)
def test_what_is_no_guess_is_not_counted_as_a_wrong_one(table, sentence):
    for call in (
        lambda: accuracy_by_domain(table),
        lambda: accuracy_by_frequency(table, torch.arange(3)),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_columns_of_guesses_may_come_in_any_order():
    found = accuracy_by_frequency(GUESSES[["it", "token", "domain"]], torch.arange(3))
    assert found.loc["1 to 9", "it right"] == 0.5


@pytest.mark.parametrize("name", [None, math.nan, 3, ("a",)])
def test_a_model_and_a_domain_have_a_name(name):
    for models, of in (({name: FOLLOWS}, {"a": []}), ({"a": FOLLOWS}, {name: []})):
        with pytest.raises(ValueError, match=r"The name of a model or domain is .* must be text"):
            guess_table(models, of)


@pytest.mark.parametrize("n", [-1, 1.5, None, "2", True])
def test_some_things_are_a_number_of_them(n):
    assert accuracy.spread([7, 8, 9], 2) == [7, 9] and not accuracy.spread([], 3)
    with pytest.raises(ValueError, match=r"n is .*; it must be a whole number"):
        accuracy.spread([1, 2], n)
    with pytest.raises(ValueError, match="things is None; it must be a Sequence"):
        accuracy.spread(None, 1)


@pytest.mark.parametrize("n", [[], None, "x", -1, 10, {}])
def test_a_vocabulary_of_domains_has_a_size(n):
    with pytest.raises(ValueError, match=r"(n_tokens|vocab_size) is .*; it must be a whole number"):
        domain_tokenizer(n)


def test_a_bias_to_common_tokens_shows_in_what_is_guessed():
    """Each model is right about half: one of them by always guessing the common token."""
    train = torch.tensor([1] * 200 + [2] * 5)
    tokens = [1, 1, 2, 2]
    table = pd.DataFrame(
        {"domain": "a", "token": tokens, "biased": [1, 1, 1, 1], "fair": [1, 2, 2, 1]}
    )
    found = accuracy_by_frequency(table, train)
    common, rare = found.loc["100 to 999"], found.loc["1 to 9"]
    assert (common["text"], rare["text"]) == (0.5, 0.5)
    assert (common["biased right"], rare["biased right"], common["biased guessed"]) == (1, 0, 1)
    assert (common["fair right"], rare["fair right"], common["fair guessed"]) == (0.5, 0.5, 0.5)
    assert found["biased right"].isna().sum() == 3  # bins without a token


@pytest.mark.parametrize(
    ("ids", "length"),
    [
        ([], 0),
        ([7, 7], 0),
        ([7, 7, 7], 1),
        ([1, 2, 3, 7, 7, 7], 1),
        ([7, 7, 7, 1], 0),  # it found its way out
        ([9, 1, 2, 1, 2, 1, 2], 2),
        ([2, 1, 2, 1, 2], 0),
        ([1, 2, 3] * 3, 3),
        ([1, 1, 2] * 3, 3),
    ],
)
def test_a_loop_is_a_stretch_that_comes_three_times_at_the_end(ids, length):
    assert loop_length(ids) == length


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), min_size=1))
def test_a_text_that_ends_in_a_loop_is_found_whatever_came_before(before, stretch):
    found = loop_length(before + stretch * 3)
    assert 0 < found <= len(stretch)
    assert loop_length([*before, *stretch * 3, 9]) == 0


@given(st.lists(st.integers(0, 2), max_size=40))
def test_a_loop_is_the_shortest_stretch_that_comes_three_times(ids):
    tried = (n for n in range(1, len(ids) + 1) if ids[-3 * n :] == ids[-n:] * 3)
    assert loop_length(ids) == next(tried, 0)


@pytest.mark.parametrize("period", [1, 1_000, 33_333])
def test_a_loop_in_a_long_text_is_found(period):
    stretch = [0] * (period - 1) + [1]
    assert loop_length([2] * 7 + stretch * 3) == period
    assert loop_length([0] * 50_000 + [1] + [0] * 49_999 + [1, 0]) == 0


def test_a_loop_needs_token_ids():
    with pytest.raises(ValueError, match="ids is 'abc'; it must be a list of token ids"):
        loop_length("abc")


def test_one_wrong_token_spoils_what_is_free_and_not_what_is_forced():
    """What the lesson is about: after its first mistake the model never finds back."""
    text = example([1, 2, 2, 3, 4, 1, 2, 3, 4, 5], n_prompt=2)
    [row] = free_running(FOLLOWS, [text], end=5).to_dict("records")
    assert row["forced"] == pytest.approx(6 / 8)  # all but the second 2 and the end
    assert row["free"] == 0
    assert row["loop"] == 4 and row["own_loop"] == 0
    assert row["repetition"] == pytest.approx(1 - 4 / 57) and row["own_repetition"] == 0
    [sound] = free_running(FOLLOWS, [example([1, 2, 3, 4, 1, 2])], max_tokens=5).to_dict("records")
    assert sound["forced"] == sound["free"] == 1


class Ends(Follows):
    """As that, but 3 is followed by the end, 5."""

    def forward(self, idx, cache=None):
        return F.one_hot((idx % 4 + 1).masked_fill(idx == 3, 5), 6).float()


def test_a_text_is_over_at_its_end_marker():
    model = Ends(lab.GPTConfig(6, 4, 1, 1, 2))
    [row] = free_running(model, [example([1, 2, 3, 5])], end=5).to_dict("records")
    assert row["forced"] == row["free"] == 1
    assert math.isnan(row["repetition"]) and row["loop"] == 0
    [on] = free_running(model, [example([1, 2, 3, 5])], max_tokens=20).to_dict("records")
    assert on["loop"] == 0 or on["repetition"] > 0  # without an end it writes on


def test_free_running_looks_at_no_more_than_it_is_told():
    text = example([1, 2, 3, 4, 4, 4], n_prompt=2)
    [row] = free_running(FOLLOWS, [text], max_tokens=2).to_dict("records")
    assert row["forced"] == row["free"] == 1
    assert free_running(FOLLOWS, []).empty


@pytest.mark.parametrize("name", sorted(accuracy.RESERVED))
def test_no_model_or_domain_takes_the_name_of_a_column(name):
    counting = lab.NGram(lab.NGramConfig(9), [1, 2, 3])
    examples = [accuracy.Example(torch.tensor([1, 2, 3]))]
    for models, of in (({name: counting}, {"d": examples}), ({"a": counting}, {name: examples})):
        with pytest.raises(ValueError, match=f"'{name}' is a column or row of a table"):
            accuracy.guess_table(models, of)


@pytest.mark.parametrize("tokenizer", [None, lab.train_bpe("ab" * 9, 256)])
def test_the_domains_need_a_tokenizer_of_dialogues(tokenizer):
    with pytest.raises(ValueError, match="it must be a ChatTokenizer"):
        accuracy.domain_examples(tokenizer, True)


def test_held_out_or_not_is_a_truth_value():
    with pytest.raises(ValueError, match="held_out is 'no'"):
        accuracy.domain_examples(accuracy.domain_tokenizer(300), "no")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"end": e}, "end is") for e in (-1, 9, True, 1.5)]
    + [({"max_tokens": n}, "max_tokens is") for n in (0, math.inf)],
)
def test_free_running_text_ends_at_a_token_of_the_model(options, sentence):
    gpt = lab.GPT(lab.GPTConfig(9, 4, 1, 1, 4))
    with pytest.raises(ValueError, match=sentence):
        accuracy.free_running(gpt, [accuracy.Example(torch.tensor([1, 2, 3]))], **options)
