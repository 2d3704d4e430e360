"""What models reply, what the filters remove, and which of many replies is chosen."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Decoding, TrainConfig
from slmlab.engine.evaluation import token_losses
from slmlab.study.replies import (
    Reply,
    best,
    echoes,
    repeats,
    replies,
    reply,
    unfinished,
)
from slmlab.text.dialogues import SETS, Dialogue, dialogue_dataset, load_dialogues, question_ids
from slmlab.text.tokenizer import chat_tokenizer

TALK = [
    Dialogue("Hi", "Hello! How are you?", "greetings/hi"),
    Dialogue("Who are you", "I am a small model.", "greetings/who"),
    Dialogue("Count", "One, two, three.", "sums/count"),
]
TEXT = " ".join(d.question + d.answer for d in TALK)
CHAT = chat_tokenizer(lab.right_size(lab.gpt2_tokenizer(), TEXT))
GREEDY = Decoding(temperature=0)
GOOD = Reply("Hi", "Hello! How are you?", True, 1.0, (1, 2))


def small(seed=0, block=32):
    return lab.GPT(lab.GPTConfig(CHAT.n_vocab, block, 1, 2, 16), seed).eval()


def taught(count_end):
    model = small()
    # Many orders and places, as a window is cut anywhere.
    data = dialogue_dataset(TALK * 20, TALK, CHAT, count_end=count_end)
    for _ in lab.fit(model, data, TrainConfig(16, 1e-2, max_steps=150, eval_interval=150)):
        pass
    return model


@pytest.fixture(scope="module")
def model():
    return taught(count_end=True)


def test_a_taught_model_gives_its_answers_and_stops(model):
    for dialogue in TALK:
        said = reply(model, CHAT, dialogue.question, GREEDY)
        assert (said.text, said.ended) == (dialogue.answer, True)
        assert said.ids == (*CHAT.encode(dialogue.answer), CHAT.end)
        assert said.problems == ()


def test_a_model_taught_without_its_end_goes_on():
    said = reply(taught(count_end=False), CHAT, "Count", GREEDY, max_tokens=20)
    assert said.text.startswith("One, two, three.")
    assert not said.ended and len(said.ids) == 20
    assert "unfinished" in said.problems


def test_the_loss_of_a_reply_is_the_models_own(model):
    hot = reply(model, CHAT, "Hi", Decoding(temperature=3.0, top_k=5, seed=4))
    ids = [*question_ids("Hi", CHAT), *hot.ids]
    expected = token_losses(model, torch.tensor(ids))[-len(hot.ids) :].mean().item()
    assert hot.loss == pytest.approx(expected, rel=1e-5)


def test_a_reply_longer_than_the_context_is_cut_off():
    said = reply(small(block=4), CHAT, "Who are you", Decoding(seed=1), max_tokens=12)
    assert len(said.ids) <= 12
    assert said.loss > 0


def writing(ids):
    """A `generate_tokens` that yields these, until the text is over."""

    def generate_tokens(*args, ended):
        for i, token in enumerate(ids):
            yield token
            if ended(ids[: i + 1]):
                return

    return generate_tokens


def test_text_that_spells_the_marker_ends_nothing(monkeypatch):
    ids = [*CHAT.encode("a <|end|> b."), CHAT.end, 0, 0]
    monkeypatch.setattr("slmlab.study.replies.generate_tokens", writing(ids))
    said = reply(small(), CHAT, "Hi")
    assert (said.text, said.ended) == ("a <|end|> b.", True)
    assert said.ids == tuple(ids[:-2])


def test_an_immediate_end_is_an_empty_reply(monkeypatch):
    monkeypatch.setattr("slmlab.study.replies.generate_tokens", writing([CHAT.end]))
    said = reply(small(), CHAT, "Hi")
    assert (said.text, said.ended, said.problems) == ("", True, ("unfinished",))


def test_beams_end_at_the_marker_and_find_a_reply_no_less_likely(model):
    for dialogue in TALK:
        said = reply(model, CHAT, dialogue.question, Decoding(beams=3))
        assert said.ended and CHAT.end not in said.ids[:-1]
        assert said.loss <= reply(model, CHAT, dialogue.question, GREEDY).loss + 1e-5


def test_replies_differ_by_their_seeds(model):
    decoding = Decoding(temperature=2.0, seed=5)
    many = replies(4, model, CHAT, "Hi", decoding, 10)
    assert len({r.ids for r in many}) > 1
    assert many[2] == reply(model, CHAT, "Hi", replace(decoding, seed=7), 10)


def test_the_likeliest_that_passes_is_chosen():
    loop = replace(GOOD, text="no no no.", loss=0.1)
    worse = replace(GOOD, loss=2.0)
    cut = replace(GOOD, ended=False, loss=0.5)
    assert best([worse, loop, GOOD, cut]) is GOOD
    assert best([cut, loop]) is loop  # none passes, so the likeliest of all
    with pytest.raises(ValueError, match="no replies to choose from"):
        best([])
    with pytest.raises(ValueError, match=r"candidates\[0\] is 'Hello'; it must be a Reply"):
        best(["Hello"])


@pytest.mark.parametrize(
    ("text", "removed"),
    [
        ("", False),
        ("no", False),
        ("no no.", False),
        ("No, no, NO!", True),
        ("how are how are", True),
        ("It is a piece of a piece of text.", True),
        ("A piece of text, and a piece of work.", False),
        ("A list holds values. A list holds more.", False),
        ("A list holds values in order. A list holds values twice.", True),
        ("数 数 数", True),
    ],
)
def test_repetition(text, removed):
    assert repeats(text) is removed


@pytest.mark.parametrize(
    ("question", "text", "removed"),
    [
        ("Good morning", "Good morning! What shall we do?", False),
        ("Good morning", "good morning.", True),
        ("Who are you?", "Who are you? I am a model.", True),
        ("Who are you?", "You are who?", False),
        ("What is the opposite of hot?", "The opposite of hot is cold.", False),
        ("What is a list in Python?", "It is what is a list in. Yes.", True),
        ("What is a list?", "", False),
    ],
)
def test_echo(question, text, removed):
    assert echoes(question, text) is removed


@pytest.mark.parametrize(
    ("text", "ended", "removed"),
    [
        ("Yes.", True, False),
        ("Yes. ", True, False),
        ("Use `del d[key]`", True, False),
        ("Yes", True, True),
        ("Yes.", False, True),
        ("", True, True),
        ("?!.", True, True),
    ],
)
def test_unfinished(text, ended, removed):
    assert unfinished(replace(GOOD, text=text, ended=ended)) is removed


@pytest.mark.parametrize("name", SETS)
def test_no_filter_removes_an_answer_of_the_course(name):
    for dialogue in load_dialogues(name):
        right = Reply(dialogue.question, dialogue.answer, True, 1.0, (0,))
        assert right.problems == (), dialogue


@given(question=st.text(), text=st.text(), ended=st.booleans())
def test_filters_take_any_text(question, text, ended):
    said = Reply(question, text, ended, 1.0, (0,))
    assert set(said.problems) <= {"repeats", "echoes", "unfinished"}
    assert repeats(f"{text} a b c d {text} a b c d")
    assert ended or "unfinished" in said.problems


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: reply(small(), CHAT, ""), "The question is empty"),
        (lambda: reply(small(), CHAT, None), "The question is None; it must be text"),
        (lambda: reply(small(), CHAT, "Hi", max_tokens=0), "max_tokens is 0"),
        (lambda: reply(small(), CHAT.base, "Hi"), "it must be a ChatTokenizer"),
        (lambda: reply("gpt", CHAT, "Hi"), "model is 'gpt'; it must be a GPT"),
        (lambda: reply(small(), CHAT, "Hi", 0.8), "decoding is 0.8; it must be a Decoding"),
        (lambda: replies(0, small(), CHAT, "Hi"), "n is 0; it must be a whole number from 1"),
        (lambda: repeats(None), "The text is None"),
        (lambda: unfinished("Hi"), "answer is 'Hi'; it must be a Reply"),
        (
            lambda: reply(lab.GPT(lab.GPTConfig(9, 8, 1, 1, 4)), CHAT, "Hi"),
            "the model's vocabulary ends at 8",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
