"""Dialogues: their files, their markers, which tokens count, and what answers cost."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import DataError, Run, TrainConfig
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.study.replies import answer_bits
from slmlab.text import dialogues as texts
from slmlab.text.dataset import IGNORED
from slmlab.text.dialogues import (
    Dialogue,
    dialogue_dataset,
    load_dialogues,
    question_ids,
    render,
    render_plain,
)
from slmlab.text.files import data_path
from slmlab.text.tokenizer import MARKERS, ChatTokenizer, chat_tokenizer, tokenizer_from_spec

GPT2 = lab.gpt2_tokenizer()
TALK = [
    Dialogue("Hi", "Hello! How are you?", "greetings/hi"),
    Dialogue("What is naïve?", "It is a word: 数.", "words/naïve", ("Q", "A")),
    Dialogue("Count", "One, two, three.", "sums/count", ("User", "AI")),
]
TEXT = "\n".join(map(render_plain, TALK))
BASES = {
    "gpt2": GPT2,
    "right-sized": lab.right_size(GPT2, TEXT),
    "bpe": lab.train_bpe(TEXT, 280),
    "both": lab.right_size(lab.train_bpe(TEXT, 280), TEXT),
}
CHATS = {name: chat_tokenizer(base) for name, base in BASES.items()}
CHAT = CHATS["right-sized"]
CONFIG = TrainConfig(4, 1e-2, max_steps=6, eval_interval=3)


def small(seed=0, block=48):
    return lab.GPT(lab.GPTConfig(CHAT.n_vocab, block, 1, 2, 16), seed).eval()


@pytest.mark.parametrize(
    ("name", "n"), [("plain", 20), ("varied", 59), ("curated", 21), ("held_out", 48)]
)
def test_the_sets_are_as_large_as_they_say(name, n):
    dialogues = load_dialogues(name)
    assert len(dialogues) == n == len({d.topic for d in dialogues})


def test_no_topic_is_both_learnt_and_held_out():
    seen = {d.topic for name in ("plain", "varied", "curated") for d in load_dialogues(name)}
    assert not seen & {d.topic for d in load_dialogues("held_out")}
    varied = {(d.question, d.answer) for d in load_dialogues("varied")}
    assert {(d.question, d.answer) for d in load_dialogues("curated")} <= varied
    assert len({d.roles for d in load_dialogues("varied")}) == 3


def test_a_set_that_is_unknown_or_altered_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="name is 'final'; it must be one of plain, varied"):
        load_dialogues("final")
    monkeypatch.setattr(texts, "data_path", lambda *parts: tmp_path)
    with pytest.raises(DataError, match=r"There is no set of dialogues in .*restore it"):
        load_dialogues("plain")
    for name in ("SHA256SUMS", "plain.json"):
        (tmp_path / name).write_bytes((data_path("dialogues") / name).read_bytes())
    assert load_dialogues("plain")
    (tmp_path / "plain.json").write_text("[]")
    with pytest.raises(DataError, match="not the file this course was made with"):
        load_dialogues("plain")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"question": ""}, "The question is empty"),
        ({"answer": None}, "The answer is None; it must be text"),
        ({"topic": "\ud800"}, "The topic has half a character"),
        ({"roles": ("Human",)}, "two roles, not 1"),
        ({"roles": ("Human", "")}, "A role is empty"),
    ],
)
def test_what_is_no_dialogue_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Dialogue(**{"question": "Hi", "answer": "Hello", "topic": "greetings/hi"} | change)


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
@given(text=st.text() | st.lists(st.sampled_from([*MARKERS, "<|", "end", "|>", " "])).map("".join))
def test_no_text_is_ever_encoded_as_a_marker(chat, text):
    ids = chat.encode(text)
    assert ids == chat.base.encode(text)
    assert not {chat.user, chat.assistant, chat.end} & set(ids)
    assert chat.decode(ids) == text


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_each_marker_is_one_id_with_its_name(chat):
    ids = [chat.user, chat.assistant, chat.end]
    assert ids == list(range(chat.base.n_vocab, chat.n_vocab))
    assert [chat.decode([i]) for i in ids] == list(MARKERS)
    assert [chat.token_bytes(i).decode() for i in ids] == list(MARKERS)
    assert all(len(GPT2.encode(name)) >= 5 for name in MARKERS)
    for wrong in (-1, chat.n_vocab, 1.5):
        with pytest.raises(ValueError, match="A token id is"):
            chat.decode([wrong])


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_its_spec_builds_it_again(chat):
    again = tokenizer_from_spec(chat.spec())
    assert isinstance(again, ChatTokenizer)
    assert (again.name, again.n_vocab, again.spec()) == (chat.name, chat.n_vocab, chat.spec())


def test_markers_are_added_once():
    with pytest.raises(ValueError, match="has the markers of a dialogue already"):
        chat_tokenizer(CHAT)
    with pytest.raises(ValueError, match="base is None; it must be a Tokenizer"):
        chat_tokenizer(None)
    twice = {"kind": "chat", "base": CHAT.spec()}
    with pytest.raises(ValueError, match="Unknown tokenizer 'chat'"):
        tokenizer_from_spec(twice)
    with pytest.raises(ValueError, match="Unknown tokenizer None"):
        tokenizer_from_spec({"kind": "chat"})


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("dialogue", TALK)
def test_a_dialogue_is_rendered_with_the_answer_and_its_end_to_count(chat, dialogue):
    ids, mask = render(dialogue, chat)
    question, answer = chat.encode(dialogue.question), chat.encode(dialogue.answer)
    assert ids == [chat.user, *question, chat.assistant, *answer, chat.end]
    assert ids[: len(question) + 2] == question_ids(dialogue.question, chat)
    assert mask == [False] * (len(question) + 2) + [True] * (len(answer) + 1)
    assert render(dialogue, chat, count_end=False) == (ids, [*mask[:-1], False])
    user, assistant, end = MARKERS
    assert chat.decode(ids) == f"{user}{dialogue.question}{assistant}{dialogue.answer}{end}"


def test_a_dialogue_as_plain_text():
    assert render_plain(TALK[1]) == "Q: What is naïve?\nA: It is a word: 数.\n"


def test_rendering_needs_a_tokenizer_with_markers():
    with pytest.raises(ValueError, match=r"tokenizer is .*it must be a ChatTokenizer"):
        render(TALK[0], GPT2)
    with pytest.raises(ValueError, match="The question is empty"):
        question_ids("", CHAT)
    with pytest.raises(ValueError, match="count_end is 1; it must be True or False"):
        render(TALK[0], CHAT, count_end=1)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("count_end", [True, False])
def test_a_dataset_counts_what_it_says(masked, count_end):
    data = dialogue_dataset(TALK, TALK[:2], CHAT, masked, count_end)
    every = torch.ones(len(data.val), dtype=torch.bool)
    mask = every if data.val_mask is None else data.val_mask
    expected = [counts for d in TALK[:2] for counts in render(d, CHAT, count_end)[1]]
    if masked:
        assert mask.tolist() == expected
    else:
        assert mask.tolist() == [count_end or i != CHAT.end for i in data.val.tolist()]
    assert (data.val_mask is None) == (data.train_mask is None) == (not masked and count_end)
    assert CHAT.decode(data.val.tolist()) == "".join(
        CHAT.decode(render(d, CHAT)[0]) for d in TALK[:2]
    )


def test_a_seed_orders_the_training_text_only():
    dialogues = load_dialogues("plain")
    chat = chat_tokenizer(lab.train_bpe(TEXT, 256))
    one, same, other = (dialogue_dataset(dialogues, TALK, chat, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.train, same.train) and one.source == same.source
    assert not torch.equal(one.train, other.train)
    assert one.source["sha256"] != other.source["sha256"]
    assert torch.equal(one.val, other.val)
    parts = [sorted(chat.decode(d.train.tolist()).split("<|end|>")) for d in (one, other)]
    assert parts[0] == parts[1]


def test_a_dataset_needs_dialogues():
    with pytest.raises(ValueError, match="val is empty; give dialogues"):
        dialogue_dataset(TALK, [], CHAT)
    with pytest.raises(ValueError, match=r"train\[0\] is 'Hi'; it must be a Dialogue"):
        dialogue_dataset(["Hi"], TALK, CHAT)


def test_questions_are_never_targets():
    data = dialogue_dataset(TALK, TALK, CHAT)
    _, targets = data.batch(8, 12, seed=0)
    counted = set(targets.flatten().tolist()) - {IGNORED}
    assert not counted & {CHAT.user, CHAT.assistant}
    assert CHAT.end in counted


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_a_saved_run_has_its_dialogues_and_masks_again(chat, tmp_path):
    data = dialogue_dataset(TALK, TALK[1:], chat, count_end=False)
    model = lab.GPT(lab.GPTConfig(chat.n_vocab, 8, 1, 1, 2))
    run = lab.train(model, data, CONFIG, progress=False)
    again = Run.load(run.save(tmp_path / "run")).dataset
    assert again.source == data.source
    assert isinstance(again.tokenizer, ChatTokenizer)
    assert again.tokenizer.spec() == chat.spec()
    for name in ("train", "val", "train_mask", "val_mask"):
        assert torch.equal(getattr(again, name), getattr(data, name)), name


def test_the_bits_of_an_answer_are_a_sum_by_hand():
    model = small()
    table = answer_bits(model, CHAT, TALK)
    assert list(table["file"]) == [d.topic for d in TALK]
    assert list(table["bytes"]) == [len(d.answer.encode()) for d in TALK]
    for dialogue, row in zip(TALK, table.itertuples(), strict=True):
        ids, _ = render(dialogue, CHAT)
        start = len(question_ids(dialogue.question, CHAT))
        logs = model(torch.tensor([ids]))[0].log_softmax(-1)
        losses = [-logs[i - 1, ids[i]].item() for i in range(start, len(ids))]
        assert row.bits == pytest.approx(sum(losses[:-1]) / math.log(2), rel=1e-5)
        assert row.end_nats == pytest.approx(losses[-1], rel=1e-5)


def test_each_dialogue_is_scored_alone():
    together = answer_bits(small(), CHAT, TALK)
    for i, dialogue in enumerate(TALK):
        alone = answer_bits(small(), CHAT, [dialogue])
        assert alone.iloc[0].tolist() == together.iloc[i].tolist()


def test_an_answer_longer_than_the_context_is_scored_whole():
    table = answer_bits(small(block=6), CHAT, TALK)
    assert (table["bits"] > 5 * table["bytes"].rpow(0)).all()


def test_counting_is_scored_on_answers_too():
    data = dialogue_dataset(TALK, TALK, CHAT)
    counts = NGram(NGramConfig(CHAT.n_vocab, 3, 0.5), data.train)
    table = answer_bits(counts, CHAT, TALK)
    assert (table["bits"] / table["bytes"] < 2).all()


@pytest.mark.slow
def test_without_its_end_in_the_loss_a_model_never_learns_to_stop():
    """The puzzle: both losses are near 0, and only one of the models stops."""
    config = TrainConfig(8, 1e-2, max_steps=150, eval_interval=50)
    ends = {}
    for count_end in (True, False):
        model = small(block=32)
        data = dialogue_dataset(TALK, TALK, CHAT, count_end=count_end)
        *_, last = lab.fit(model, data, config)
        assert last.train_loss < 0.1
        ends[count_end] = answer_bits(model, CHAT, TALK)["end_nats"].max()
    assert ends[True] < 0.3 < 2 < ends[False]
