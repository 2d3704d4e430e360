"""The arsenal: one change an arm, readings of one text, and what the record says."""

import math
from collections import Counter

import pandas as pd
import pytest
import torch
from torch import nn

import slmlab as lab
from slmlab.engine.ensemble import Ensemble
from slmlab.study.experiments.arsenal import ARMS, ARSENAL, BASE, SCRIPTS, Arm, use_batch_norm
from slmlab.study.experiments.chats import KINDS
from slmlab.study.experiments.readings import FIRST_SHARE, PACED_STEPS, SEED_STRIDE, reading_of
from slmlab.study.techniques import (
    HALVES,
    change_table,
    dialogue_scores,
    noise_floor,
    script_scores,
    technique_table,
)

BLOCK = 5


@pytest.fixture(scope="module")
def dataset():
    tokenizer = lab.train_bpe("abc" * 30, 256)
    train = torch.arange(101) % 97
    return lab.Dataset(train, train[:20], tokenizer)


def read(dataset, reading, steps, seed=0, batch_size=4):
    """The first ids of the windows of each step, and the windows."""
    text = reading_of(dataset, reading, seed)
    batches = [text.batch(batch_size, BLOCK, seed * SEED_STRIDE + s) for s in range(1, steps + 1)]
    for inputs, targets in batches:
        assert inputs.shape == targets.shape == (batch_size, BLOCK)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
    return [inputs for inputs, _ in batches]


@pytest.mark.parametrize("seed", [0, 3])
def test_an_epoch_reads_every_window_once(dataset, seed):
    per_epoch = (len(dataset.train) - BLOCK) // BLOCK  # 19
    first, second = torch.cat(read(dataset, "epochs", 10, seed))[: 2 * per_epoch].split(per_epoch)
    for epoch in (first, second):
        assert Counter(epoch.flatten().tolist()).most_common(1)[0][1] <= 2  # 97 ids in 101 places
        assert len({tuple(window.tolist()) for window in epoch}) == per_epoch
    assert not torch.equal(first, second)


def test_readings_of_two_seeds_differ_and_of_one_do_not(dataset):
    for reading in ("epochs", "easy first", "hard first"):
        one, same = (torch.cat(read(dataset, reading, 6)) for _ in range(2))
        assert torch.equal(one, same)
        assert not torch.equal(one, torch.cat(read(dataset, reading, 6, seed=1)))


def test_a_curriculum_begins_with_the_easiest_windows_and_ends_with_all():
    tokenizer = lab.train_bpe("abc", 256)
    common, rare = torch.zeros(100).long(), torch.arange(1, 101)
    train = torch.cat([common, rare])
    dataset = lab.Dataset(train, train[:20], tokenizer)
    easy, hard = (torch.cat(read(dataset, f"{kind} first", 3)) for kind in ("easy", "hard"))
    assert (easy == 0).all()
    assert (hard > 0).all()
    for kind in ("easy first", "hard first"):
        text = reading_of(dataset, kind, 0)
        late, _ = text.batch(400, BLOCK, PACED_STEPS + 1)
        assert (late == 0).any() and (late > 0).any()
    assert 0 < FIRST_SHARE < 0.5


def test_another_reading_is_refused(dataset):
    with pytest.raises(ValueError, match="reading is 'backwards'"):
        reading_of(dataset, "backwards", 0)
    assert reading_of(dataset, "random", 0) is dataset


def test_batch_norm_takes_the_place_of_every_layer_norm():
    model = lab.GPT(lab.GPTConfig(20, 6, 2, 1, 8))
    use_batch_norm(model)
    kinds = Counter(type(part).__name__ for part in model.modules())
    assert kinds["LayerNorm"] == 0 and kinds["BatchNorm1d"] == 5
    ids = torch.arange(12).view(2, 6)
    changed = ids.clone()
    changed[0, -1] = 19
    with torch.no_grad():
        assert not torch.allclose(model(ids)[0, 0], model(changed)[0, 0])  # the batch leaks
        model.eval()
        torch.testing.assert_close(model(ids)[0, 0], model(changed)[0, 0])
    assert all(not isinstance(part, nn.LayerNorm) for part in model.modules())


def test_each_arm_has_a_name_and_a_change_of_its_own():
    names, changes = zip(*((arm.name, str(arm)) for arm in ARMS), strict=True)
    assert len(set(names)) == len(set(changes)) == len(ARMS)
    assert ARMS[0].name == BASE and str(ARMS[0]) == "random, layer"
    assert str(Arm("x", {"dropout": 0.1}, members=4)) == "dropout=0.1, random, layer, 4 members"
    assert min(Counter(cell["arm"] for cell in ARSENAL.cells()).values()) >= 5


def test_members_share_the_text_and_the_first_is_the_base():
    [arm] = [arm for arm in ARMS if arm.members == 4]
    setups = [ARSENAL.setup(arm, 2, member) for member in range(4)]
    assert setups[0] == ARSENAL.setup(ARMS[0], 2)
    assert len({setup.training.seed for setup in setups}) == 4
    assert len({setup.data for setup in setups}) == 1


def table_of(scores):
    """Looks of runs: {(arm, seed): [(step, five scores)]}."""
    rows = [
        {"arm": arm, "seed": seed, "step": step} | dict(zip(SCRIPTS, bits, strict=True))
        for (arm, seed), looks in scores.items()
        for step, bits in looks
    ]
    return pd.DataFrame(rows)


def test_a_script_has_no_say_in_its_own_score():
    looks = [(0, [9.0] * 5), (10, [1.0, 2, 2, 2, 2]), (20, [2.0, 1, 1, 1, 1])]
    found = script_scores(table_of({(BASE, 0): looks}))
    documents = lab.load_held_out().documents
    assert found["file"].tolist() == [document.name for document in documents]
    assert (found["step"] == 20).all()  # the others are best there, so it is no best of two
    assert found["bits"].iloc[0] == 2 * len(documents[0].entry.encode())


def test_a_technique_is_worth_as_much_text_as_would_do_the_same():
    made = {}
    for seed, luck in enumerate((-0.02, 0.01, 0.03)):
        for arm, change in ((BASE, 0.0), (HALVES[0], 0.2), ("helps", -0.2), ("hurts", 0.1)):
            made[arm, seed] = [(5, [3.0] * 5), (10, [1.5 + luck + change] * 5)]
    looks = table_of(made)
    scores = script_scores(looks)
    table = technique_table(scores)
    assert table.loc["helps", "change"] == pytest.approx(-0.2)
    assert table.loc["helps", "low"] == pytest.approx(table.loc["helps", "high"])
    assert table["worth"].to_dict() == pytest.approx(
        {BASE: math.nan, HALVES[0]: 0.5, "helps": 2, "hurts": 2**-0.5}, nan_ok=True
    )
    alone = scores[~scores["model"].isin(HALVES)]
    pd.testing.assert_frame_equal(change_table(alone), table.drop(HALVES[0]).drop(columns="worth"))
    with pytest.raises(ValueError, match="half the text"):
        technique_table(alone)
    spread = pd.Series([-0.02, 0.01, 0.03]).std()
    with pytest.raises(ValueError, match="one run only"):
        noise_floor(scores.query("seed == 0"))
    assert noise_floor(scores, 3) == pytest.approx(4.30 * spread * math.sqrt(2 / 3))


def test_another_set_chooses_the_step_of_a_chat():
    bits = dict.fromkeys(KINDS, 2.0) | {"git": 5.0}
    looks = pd.DataFrame(
        [
            {"arm": BASE, "seed": 0, "step": step, "choose_bits": choose, **bits, "python": python}
            for step, choose, python in ((10, 3.0, 4.0), (20, 2.0, 6.0), (40, 2.5, 1.0))
        ]
    )
    scores = dialogue_scores(looks).set_index("file")
    assert (scores["step"] == 20).all()
    assert scores.loc["python", "bits"] == 6 * scores.loc["python", "bytes"]
    answers = [d.answer for d in lab.load_dialogues("held_out")]
    assert scores["bytes"].sum() == sum(map(len, answers))


def shortened(steps, **changes):
    arm = Arm("short", {"max_steps": steps, "n_embd": 16, "n_tokens": 500}, n_seeds=1, **changes)
    return type(ARSENAL)(arms=(arm,), first_look=steps // 2)


@pytest.mark.parametrize("kind", [{}, {"members": 2}, {"teachers": 2}, {"norm": "batch"}])
def test_every_kind_of_arm_makes_whole_rows(kind, monkeypatch):
    if "teachers" in kind:
        monkeypatch.setattr(type(ARSENAL), "taught", lambda *_: (Ensemble([teacher]), 1.5))
        n_vocab = ARSENAL.setup(ARMS[0], 0).dataset(tested=False).tokenizer.n_vocab
        teacher = lab.GPT(ARSENAL.base.shape.config(n_vocab))
    short = shortened(8, **kind)
    [cell] = short.cells()
    rows = short.run_cell(cell)
    assert [row["step"] for row in rows] == short.looks(cell)
    assert short.is_whole(cell, rows) and not short.is_whole(cell, rows[:-1])
    assert all(list(row) == list(short.columns) for row in rows)
    assert rows[-1]["train_bits"] < rows[0]["train_bits"]


def test_teachers_teach_at_the_minimum_of_their_loss(monkeypatch):
    short = shortened(8, teachers=2)
    dataset = short.setup(short.arms[0], 0).dataset(tested=False)
    seen, told = [], iter([5.0, 2.0, 3.0])  # at the steps 0, 4 and 8

    def losses(model, _):
        seen.append({name: weight.clone() for name, weight in model.state_dict().items()})
        return {"val_bits": next(told)}

    monkeypatch.setattr("slmlab.study.experiments.arsenal.losses", losses)
    monkeypatch.setattr("slmlab.study.experiments.arsenal.log_spaced", lambda *_: [0, 4, 8])
    teacher, seconds = short.taught(short.arms[0], 0, dataset)
    assert len(seen) == 3 and seconds > 0
    for name, weight in teacher.state_dict().items():
        assert torch.equal(weight, seen[1][name])
    assert any(not torch.equal(seen[1][name], seen[2][name]) for name in seen[1])
