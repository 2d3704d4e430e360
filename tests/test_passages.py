"""Passages are found as by looking at each, and in little memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.text import passages
from slmlab.text.passages import known_passages, longest_passage

ids = st.lists(st.integers(0, 3), max_size=40).map(lambda values: np.array(values, np.int64))


def windows(text, n):
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


@given(texts=st.lists(ids, max_size=4), source=ids, n=st.integers(1, 50))
def test_passages_are_found_as_by_looking_at_each(texts, source, n):
    seen = set(windows(source, n))
    expected = [[passage in seen for passage in windows(text, n)] for text in texts]
    assert [known.tolist() for known in known_passages(texts, source, n)] == expected


@given(text=ids, source=ids)
def test_the_longest_passage_is_the_longest(text, source):
    lengths = (n for n in range(len(text), 0, -1) if {*windows(text, n)} & {*windows(source, n)})
    assert longest_passage(text, source) == next(lengths, 0)


@pytest.mark.parametrize("part", [1, 7, 1 << 18])
def test_passages_are_found_across_the_parts_of_a_text(part, monkeypatch):
    monkeypatch.setattr(passages, "PART", part)
    source = np.random.default_rng(0).integers(0, 50_000, 500)
    text = np.concatenate([source[100:300], [7], source[350:500]])
    assert longest_passage(text, source) == 200
    [known] = known_passages([text], source, 8)
    assert known.sum() == 193 + 143 and known[:193].all()


def test_numbers_that_are_equal_by_chance_change_no_result(monkeypatch):
    longer, drawn = passages._Numbers.longer, []

    class Unlucky(passages._Numbers):
        def __init__(self):
            super().__init__()
            drawn.append(self)

        def longer(self, numbers, more):
            made = longer(self, numbers, more)
            return made * np.uint64(0) if len(drawn) == 1 else made

    monkeypatch.setattr(passages, "_Numbers", Unlucky)
    text, source = np.array([1, 2, 3, 4]), np.array([5, 1, 2, 6, 3, 4])
    assert longest_passage(text, source) == 2 and len(drawn) == 2
    drawn.clear()
    [known] = known_passages([text], source, 2)
    assert known.tolist() == [True, False, True] and len(drawn) == 2


def test_copying_among_a_million_tokens_takes_little_memory(gpt2):
    train = torch.randint(0, 50_000, (1_000_000,), generator=torch.Generator().manual_seed(0))
    data = lab.Dataset(train, train[:5_000], gpt2)
    model = lab.GPT(lab.GPTConfig(50_257, 8, 1, 1, 4))
    texts = [train[:2_000].tolist(), train[:2_000].flip(0).tolist()]
    run = lab.Run(model, data, lab.TrainConfig(2, 1e-3, max_steps=1))
    run.samples = [
        {"step": 0, "prompt": prompt, "text": prompt, "ids": ids}
        for prompt, ids in zip(("a", "b"), texts, strict=True)
    ]
    tracemalloc.start()
    card = lab.scorecard(run)
    assert data.overlap() == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert card["copied"].tolist() == [1, 0] and card["longest match"].max() == 2_000
    assert peak < 100_000_000  # a set of all passages took 250 MB
