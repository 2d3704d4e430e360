"""Texts that models write on, scored beside the truth."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slmlab as lab
from slmlab.engine.ensemble import Ensemble
from slmlab.engine.generation import generate_tokens
from slmlab.study.accuracy import held_out_functions, spread
from slmlab.study.continuations import (
    GROUPS,
    MAX_TOKENS,
    SCRIPTS,
    Attempt,
    Task,
    attempt,
    continuation_score,
    domain_tasks,
    edit_similarity,
    generated_losses,
    script_tasks,
)
from slmlab.text.tokenizer import chat_tokenizer

CORPUS = lab.load_corpus().text
TOKENIZER = lab.train_bpe(CORPUS[:20_000], 300)
CHAT = chat_tokenizer(TOKENIZER)
TRAINING = torch.tensor(TOKENIZER.encode(CORPUS[:20_000]))


def model(n_vocab: int, block_size: int = 16, seed: int = 0) -> lab.GPT:
    return lab.GPT(lab.GPTConfig(n_vocab, block_size, 1, 2, 8), seed=seed)


def task(prompt: str, truth: str, kind: str = SCRIPTS, end: int | None = None) -> Task:
    return Task(kind, "a.py", tuple(TOKENIZER.encode(prompt)), tuple(TOKENIZER.encode(truth)), end)


def score(one: Task, text: str) -> dict[str, float]:
    written = Attempt(tuple(TOKENIZER.encode(text)), 0.0)
    return continuation_score(model(300), TOKENIZER, one, written, TRAINING)


def test_a_task_is_a_function_of_a_held_out_script_in_two_halves():
    tasks = script_tasks(TOKENIZER)
    for one, (script, part) in zip(tasks, held_out_functions(), strict=True):
        assert one.file == script
        assert part.startswith(TOKENIZER.decode(one.prompt + one.truth))
        assert 1 <= len(one.truth) <= MAX_TOKENS
        assert one.end is None and one.whole_truth == one.truth
    assert len({one.file for one in tasks}) == len(lab.load_held_out().documents)


def test_domain_tasks_have_end_markers_and_no_training_text():
    tasks = domain_tasks(CHAT, 10)
    kinds = [one.kind for one in tasks]
    assert [kinds.count(kind) for kind in dict.fromkeys(kinds)] == [10, 10, 10]
    assert len({one.file for one in tasks if one.kind == "puzzles"}) == GROUPS
    puzzles = {puzzle.text for puzzle in lab.load_puzzles("held_out")}
    for one in tasks:
        assert CHAT.end not in one.truth
        cut = len(one.truth) == MAX_TOKENS
        assert one.whole_truth == one.truth + (() if cut else (CHAT.end,))
        if one.kind == "puzzles" and not cut:
            assert CHAT.decode(one.prompt + one.truth) in puzzles


def test_a_model_writes_as_many_tokens_as_the_truth_or_to_its_end():
    gpt = model(CHAT.n_vocab)
    one = task("def f(", "a, b):\n    return a")
    assert len(attempt(gpt, TOKENIZER, one, lab.Decoding()).ids) == len(one.truth)
    with_end = task("def f(", "a)", end=CHAT.end)
    with torch.no_grad():  # a model that ends at once
        gpt.wte.weight[CHAT.end] = 50 * gpt.ln_f.bias.add_(1)
    text = attempt(gpt, CHAT, with_end, lab.Decoding(temperature=0))
    assert text.ids == (CHAT.end,)
    found = continuation_score(gpt, CHAT, with_end, text, TRAINING)
    assert found["tokens"] == 1 and found["similarity"] == 0
    assert math.isnan(found["repetition"]) and math.isnan(found["copied"])


def test_python_stays_python():
    one = task("def f(", "a, b):\n    return a + b\n\nf(1, 2)")
    text = attempt(model(300), TOKENIZER, one, lab.Decoding(python=True))
    assert score(one, TOKENIZER.decode(text.ids))["parses"] == 1
    free = attempt(model(300), TOKENIZER, one, lab.Decoding())
    assert score(one, TOKENIZER.decode(free.ids))["parses"] == 0


def test_the_truth_has_the_best_score():
    one = task("def f(a):\n", "    return collection.count()\n")
    found = score(one, "    return collection.count()\n")
    assert found["parses"] == found["exact"] == found["similarity"] == 1
    assert found["domain_names"] >= 1
    worse = score(one, "    return )\n")
    assert worse["parses"] == worse["exact"] == 0 < worse["similarity"] < 1


def test_copies_and_loops_are_told():
    one = task("x = ", "1")
    copied = continuation_score(
        model(300), TOKENIZER, one, Attempt(tuple(TRAINING[50:70].tolist()), 0.0), TRAINING
    )
    assert copied["copied"] == 1 and copied["loop"] == 0
    loop = score(one, "and and and and and and and and ")
    assert loop["loop"] == 1 and loop["repetition"] > 0.5


def test_of_other_kinds_of_text_nobody_asks_whether_they_parse():
    found = score(task("Who is it?", " Ada.", kind="dialogues"), " Ada.")
    assert math.isnan(found["parses"]) and math.isnan(found["domain_names"])
    assert found["exact"] == 1


@given(st.text(max_size=30), st.text(max_size=30))
def test_edit_similarity_is_symmetric_and_1_for_equals(a, b):
    assert edit_similarity(a, a) == 1
    assert 0 <= edit_similarity(a, b) == edit_similarity(b, a) <= 1
    # By hand: all but the longest common subsequence is deleted or inserted.
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else longest
    common, total = table[-1][-1], len(a) + len(b)
    assert edit_similarity(a, b) == pytest.approx(2 * common / total if total else 1)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 19), min_size=1, max_size=14), st.integers(1, 12), st.integers(0, 9))
def test_generated_losses_are_those_of_the_generation(prompt, n, seed):
    gpt = model(20, block_size=8, seed=seed)
    new = list(generate_tokens(gpt, prompt, n, lab.Decoding(seed=seed)))
    text, by_hand = list(prompt), []
    for token in new:
        logits = gpt.next_logits(torch.tensor([text[-8:]]))[0].detach()
        by_hand.append(-logits.log_softmax(-1)[token])
        text.append(token)
    found = generated_losses(gpt, prompt + new, len(prompt))
    torch.testing.assert_close(found, torch.stack(by_hand), atol=1e-5, rtol=1e-4)


def test_counting_and_ensembles_write_too():
    counting = lab.NGram(lab.NGramConfig(300), TRAINING)
    together = Ensemble([model(300), model(300, seed=1)])
    one = task("import ", "chromadb\n")
    for each in (counting, together):
        for decoding in (lab.Decoding(temperature=0), lab.Decoding(beams=3), lab.Decoding()):
            text = attempt(each, TOKENIZER, one, decoding)
            assert len(text.ids) == len(one.truth)
    greedy = attempt(together, TOKENIZER, one, lab.Decoding(temperature=0)).ids
    by_hand = together(torch.tensor([one.prompt]))[0, -1].argmax()
    assert greedy[0] == by_hand
    with pytest.raises(ValueError, match="which only a GPT has"):
        attempt(counting, TOKENIZER, one, lab.Decoding(contrast=0.5, top_k=4))


def test_some_things_are_spread_evenly():
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread("abc", 5) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("ids", "n_prompt", "sentence"),
    [
        ([1], 1, "n_prompt"),
        ([1, 2], 0, "n_prompt"),
        ([1, "2"], 1, "token ids"),
        ([1, 2], 2, "n_pr"),
    ],
)
def test_what_has_no_losses_is_refused(ids, n_prompt, sentence):
    with pytest.raises(ValueError, match=sentence):
        generated_losses(model(20), ids, n_prompt)
