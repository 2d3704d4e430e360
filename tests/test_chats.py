"""Dialogues as an experiment: who chooses, what is read, and the published size."""

from collections import Counter

import pytest
import torch

import slmlab as lab
from slmlab.study import techniques
from slmlab.study.experiments import chats as chats_module
from slmlab.study.experiments.chats import (
    ARMS,
    BASE,
    CHATS,
    KINDS,
    SETS,
    ChatArm,
    chooser,
    dialogues,
    of_kinds,
)
from slmlab.study.experiments.regimes import (
    PUBLISHED,
    REGIMES,
    SMALL,
    WAYS,
    whole_dialogues,
)
from slmlab.text.dataset import IGNORED


def test_every_held_out_dialogue_is_scored_once_and_chooses_nothing():
    kinds = of_kinds()
    scored = [dialogue for of in kinds.values() for dialogue in of]
    assert tuple(kinds) == KINDS and all(kinds.values())
    assert Counter(scored) == Counter(lab.load_dialogues("held_out"))
    topics = {dialogue.topic for dialogue in scored}
    for name in SETS:
        assert not topics & {d.topic for d in (*dialogues(name), *chooser(name))}
        assert not set(dialogues(name)) & set(chooser(name))


def test_half_of_the_dialogues_is_half_of_them():
    assert len(dialogues("half of varied")) == 30
    assert set(dialogues("half of varied")) < set(dialogues("varied"))


def test_each_arm_has_a_name_of_its_own_and_five_seeds():
    assert len({arm.name for arm in ARMS}) == len({str(arm) for arm in ARMS}) == len(ARMS)
    assert min(Counter(cell["arm"] for cell in CHATS.cells()).values()) >= 5
    assert str(ARMS[0]) == "varied, answers" and ARMS[0].name == BASE


@pytest.mark.parametrize("changes", [{}, {"masked": False}, {"train": "plain"}])
def test_a_chat_makes_whole_rows(changes, monkeypatch):
    monkeypatch.setattr(chats_module, "of_kinds", lambda: {k: d[:1] for k, d in of_kinds().items()})
    arm = ChatArm("short", {"max_steps": 12, "n_embd": 16}, n_seeds=1, **changes)
    short = type(CHATS)(arms=(arm,))
    [cell] = short.cells()
    rows = short.run_cell(cell)
    assert short.is_whole(cell, rows) and not short.is_whole(cell, rows[1:])
    assert all(list(row) == list(short.columns) for row in rows)
    assert rows[-1]["train_bits"] < rows[0]["train_bits"]


@pytest.fixture(scope="module")
def tokenizer():
    return CHATS.tokenizer


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("count_end", [True, False])
def test_a_batch_holds_whole_dialogues(tokenizer, masked, count_end):
    train, val = lab.load_dialogues("plain"), lab.load_dialogues("curated")
    text = whole_dialogues(train, val, tokenizer, 64, masked, count_end)
    rendered = {tuple(lab.dialogues.render(d, tokenizer)[0]) for d in train}
    inputs, targets = text.batch(16, 64, seed=3)
    assert inputs.shape == targets.shape
    for row, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        [ids] = [ids for ids in rendered if tuple(row[: len(ids) - 1]) == ids[:-1]]
        assert row[0] == tokenizer.user and ids[-1] == tokenizer.end
        answer = ids.index(tokenizer.assistant)  # its target is the answer's first token
        for place, target in enumerate(wanted):
            counts = place < len(ids) - 1 and (place >= answer or not masked)
            counts &= count_end or place != len(ids) - 2
            assert target == (ids[place + 1] if counts else IGNORED)


def test_a_context_longer_than_all_dialogues_still_trains(tokenizer):
    train = lab.load_dialogues("plain")
    text = whole_dialogues(train, train, tokenizer, 1024)
    assert len(text.train) > 1025
    again, _ = text.batch(4, 1024, seed=3)
    assert torch.equal(again, text.batch(4, 1024, seed=3)[0])
    assert not torch.equal(again[:, :5], text.batch(4, 1024, seed=4)[0][:, :5])


def test_the_published_model_has_the_published_parameters():
    config = REGIMES.published.config(REGIMES.tokenizer.n_vocab)
    assert config.n_params == 124_442_112
    published = techniques.published_regimes()
    for name, way in WAYS.items():
        assert len(lab.load_dialogues(way.dialogues)) == published.loc[name, "dialogues"]
        for setting, value in published.loc[name].items():
            if setting in way.changes:
                assert value is None or way.changes[setting] == value, (name, setting)


def test_a_regime_ends_after_its_epochs():
    cells = Counter((cell["size"], cell["regime"]) for cell in REGIMES.cells())
    assert cells == {(SMALL, way): 3 for way in WAYS} | {(PUBLISHED, way): 1 for way in WAYS}
    for name, way in WAYS.items():
        n_dialogues = way.epochs * len(lab.load_dialogues(way.dialogues))
        assert REGIMES.looks(REGIMES.cell(SMALL, name, 0))[-1] == n_dialogues // 2


def test_the_records_tell_the_same_text_of_every_seed():
    looks = techniques.read_chats()
    assert (looks.groupby("arm")["train_tokens"].nunique() == 1).all()
    scores = techniques.dialogue_scores(looks)
    table = techniques.technique_table(scores)
    assert table.loc["half of the dialogues", "worth"] == pytest.approx(0.5)
    assert 0 < techniques.noise_floor(scores) < table["change"].max()
