"""The two experiments with experts: their cells and rows, their controls, losses handed over."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import slmlab as lab
from slmlab.engine.experts import expert_layers
from slmlab.study.experiments import freezing, mixtures
from slmlab.study.experiments.arsenal import ARSENAL, BASE
from slmlab.study.experiments.freezing import (
    COLLAPSES,
    FREEZING,
    LOWERED,
    PUBLISHED,
    THRESHOLDS,
    TRIALS,
    HandedOver,
)
from slmlab.study.experiments.mixtures import (
    LABELS,
    MIXING,
    MIXTURES,
    ROUTES,
    HashedGPT,
    active_params,
    config_of,
    model_of,
)
from slmlab.study.freezing import Freezer, stability
from slmlab.study.routing import choices, explained, load

SMALL = {"n_layer": 1, "n_head": 1, "n_embd": 16, "block_size": 96}
MIXED = replace(MIXING, base=MIXING.base.replace(**SMALL, max_steps=2), first_look=1)
BRIEF = replace(
    FREEZING,
    base=FREEZING.base.replace(**SMALL, max_steps=12),
    interval=1,
    long_interval=4,
    look_interval=4,
    probed_tokens=192,
)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Experts as narrow as the small base."""
    narrowed = [
        replace(m, experts=m.experts | {"expert_width": 8}) if m.experts else m for m in MIXTURES
    ]
    monkeypatch.setattr(freezing, "MIXTURES", narrowed)


@pytest.fixture(scope="module")
def dataset():
    return MIXED.base.dataset(tested=False)


def named(name, of=MIXTURES):
    return next(one for one in of if one.name == name)


# Mixtures


def test_each_mixture_has_a_name_and_a_change_of_its_own():
    names, changes = zip(*((m.name, str(m)) for m in MIXTURES), strict=True)
    assert len(set(names)) == len(set(changes)) == len(MIXTURES)
    assert (MIXTURES[0].name, str(MIXTURES[0])) == (BASE, "learned")
    assert MIXING.base == ARSENAL.base
    cells = Counter(cell["arm"] for cell in MIXING.cells())
    assert cells == {m.name: m.n_seeds for m in MIXTURES} and min(cells.values()) >= 2
    assert set(MIXING.keys) <= set(MIXING.columns) and "mixtures" not in MIXING.settings
    json.dumps(MIXING.settings)
    for cell in MIXING.cells():
        assert MIXING.mixture(cell).name == cell["arm"]


def test_a_seed_is_the_same_text_and_batches_for_every_kind():
    setups = [MIXING.setup(m, 2) for m in MIXTURES]
    assert {setup.data for setup in setups} == {setups[0].data} and setups[0].data.order == 2
    assert {setup.training.seed for setup in setups} == {2}


def test_eight_experts_of_two_multiply_a_token_as_often_as_the_base():
    """But for the router, and a second expert's bias."""
    base, eight, wide = (
        config_of(named(name), MIXING.base, 1_000)
        for name in (BASE, "8 experts", "MLP as wide as 8")
    )
    router = 3 * (8 * 96 + 8)
    assert active_params(base) == base.n_params
    assert active_params(eight) == base.n_params + router + 3 * 96
    assert wide.n_params - eight.n_params == pytest.approx(0, abs=0.01 * wide.n_params)
    assert active_params(wide) == wide.n_params


@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda m: m.name)
def test_every_kind_makes_whole_rows(mixture):
    cell = MIXED.cell(mixture.name, str(mixture), 1)
    rows = MIXED.run_cell(cell)
    assert [row["step"] for row in rows] == MIXED.looks == [0, 1, 2]
    assert MIXED.is_whole(cell, rows) and not MIXED.is_whole(cell, rows[:-1])
    assert all(list(row) == list(MIXED.columns) for row in rows)
    assert rows[0]["seconds"] == 0 < rows[1]["seconds"] < rows[-1]["seconds"]
    choosing = mixture.experts.get("n_expert", 1) > 1
    for row in rows:
        assert all(math.isfinite(row[name]) for name in MIXED.losses)
        assert all(math.isnan(row[name]) is not choosing for name in ROUTES), row
    if choosing:
        assert rows[-1]["saturation"] == 1
        assert all(1 <= row["busiest"] <= 8 and 0 <= row["together"] <= 1 for row in rows)
        assert rows[0]["active"] < rows[0]["params"]


def test_a_run_that_has_turned_is_whole():
    cell, steps = MIXING.cells()[0], MIXING.looks
    assert steps[:3] == [0, 20, 28] and steps[-1] == 10_240
    rows = [{"step": step, "val_bits": 1.0 + abs(i - 4)} for i, step in enumerate(steps)]
    assert MIXING.is_whole(cell, rows[:8]) and not MIXING.is_whole(cell, rows[:6])
    assert not MIXING.is_whole(cell, rows[1:8])


def test_a_frozen_router_never_moves_and_a_learned_one_does(dataset):
    for name, moves in (("8 experts, frozen router", False), ("8 experts", True)):
        setup = MIXED.setup(named(name), 0).replace(max_steps=3, weight_decay=0.5)
        model = model_of(named(name), setup, dataset.tokenizer.n_vocab)
        before = [layer.router.weight.clone() for layer in expert_layers(model)]
        for _ in lab.fit(model, dataset, setup.training):
            pass
        for layer, then in zip(expert_layers(model), before, strict=True):
            assert torch.equal(layer.router.weight, then) is not moves


def hashed(n_vocab, n_layer=2):
    config = lab.ExpertConfig(n_vocab, 16, n_layer, 1, 8, expert_width=4)
    return HashedGPT(config, 0)


def test_a_hashed_token_has_the_same_experts_everywhere():
    model, ids = hashed(20), torch.arange(60) % 20
    found = choices(model, ids)
    assert torch.equal(found[:, :20], found[:, 20:40])
    assert torch.equal(found[:, :20], found[:, 40:])
    assert torch.equal(found[:, :20], choices(model.eval(), ids[:20].flip(0)).flip(1))
    assert not torch.equal(found[0], found[1])  # each layer has a table of its own
    assert (found[..., 0] != found[..., 1]).all()  # two experts
    for layer in expert_layers(model):
        assert load(layer.table[None], 8).max() < 0.3


def test_the_token_explains_all_of_a_hash_and_its_place_nothing():
    model, generator = hashed(40), torch.Generator().manual_seed(1)
    ids = torch.randint(40, (1_600,), generator=generator)
    found = choices(model, ids)
    assert explained(found, ids.tolist()) == pytest.approx(1)
    assert abs(explained(found, [i % 16 for i in range(1_600)])) < 0.03


def test_a_hash_reads_the_ids_of_the_loss_too():
    """The loss looks its embedding up in another way than the logits do."""
    model = hashed(20)
    ids, targets = torch.arange(32).view(2, 16) % 20, torch.ones(2, 16).long()
    model(torch.zeros(2, 16).long())  # other ids before
    loss = model.loss(ids, targets)
    torch.testing.assert_close(loss, F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()))
    loss.backward()
    for layer in expert_layers(model):
        assert layer.router.weight.grad is None and layer.fc.weight.grad.any()


def test_routes_are_measured_on_the_held_out_scripts(dataset):
    setup = MIXED.setup(named("8 experts, hashed tokens"), 0)
    model = model_of(named("8 experts, hashed tokens"), setup, dataset.tokenizer.n_vocab)
    found = mixtures.measures(choices(model, dataset.val), model, dataset)
    assert list(found) == list(ROUTES)
    assert found["token"] == pytest.approx(1) and set(LABELS) <= set(found)
    assert found["token"] > found["class"] > 0.05 > abs(found["position"])
    assert math.isnan(found["saturation"])


# Freezing


def run(trial, seed=0, experiment=BRIEF):
    return experiment.run_cell(experiment.cell(trial.name, str(trial), seed))


def test_each_trial_has_a_name_and_a_change_of_its_own():
    names, changes = zip(*((t.name, str(t)) for t in TRIALS), strict=True)
    assert len(set(names)) == len(set(changes)) == len(TRIALS)
    assert FREEZING.mixture.name == "8 experts"
    cells = Counter(cell["trial"] for cell in FREEZING.cells())
    assert cells == {t.name: t.n_seeds for t in TRIALS}
    assert set(FREEZING.keys) <= set(FREEZING.columns) and "trials" not in FREEZING.settings
    json.dumps(FREEZING.settings)
    assert (PUBLISHED, LOWERED) == ((0.95, 0.90), (0.80, 0.75))


def test_phases_are_of_equal_length():
    steps = Counter(FREEZING.phase(step) for step in range(1, 1_201))
    assert steps == {"A": 400, "B": 400, "C": 400}
    assert [FREEZING.phase(step) for step in (0, 400, 401, 800, 801)] == [*"AABBC"]
    assert FREEZING.looks[:2] == [0, 100] and FREEZING.looks[-1] == 1_200
    shares = [FREEZING.task_share(step) for step in (1, 400, 600, 800, 801, 1_200)]
    assert shares == [0, 0, 0.5, 1, 1, 1]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda t: t.name)
def test_every_trial_makes_whole_rows(trial):
    cell, rows = BRIEF.cell(trial.name, str(trial), 0), run(trial)
    assert BRIEF.is_whole(cell, rows) and not BRIEF.is_whole(cell, rows[1:])
    assert all(list(row) == list(BRIEF.columns) for row in rows)
    assert "".join(row["phase"] for row in rows) == "AABC"
    assert {row["experts"] for row in rows} == {8}
    for row in rows:
        assert math.isnan(row["divergence"]) is (row["step"] < 4)
        assert row["drift_low"] <= row["drift"] <= row["drift_high"] or row["step"] == 0
        stable = [row[f"stable_{100 * t:.0f}"] for t in THRESHOLDS]
        assert stable == sorted(stable) and stable[-1] <= 8
    assert rows[1]["divergence"] == 0 < rows[2]["divergence"]  # the teacher is of that step
    frozen = [row["frozen"] for row in rows]
    assert frozen == sorted(frozen) and frozen[0] == 0
    if trial.chosen == "all":
        assert frozen == [0, 0, 8, 8] and rows[-1]["drift_high"] == 0
    if not trial.thresholds and trial.chosen == "stable":
        assert not any(frozen)
    rates = {row["learning_rate"] for row in rows}
    assert (len(rates) > 1) is ("cosine" in trial.changes)


def test_stable_experts_are_frozen_from_phase_b_on_and_for_good(monkeypatch):
    """At a rate this low every expert is stable, and at one this high none is."""
    monkeypatch.setattr(freezing.Probe, "drift", lambda probe: torch.full((1, 8), 0.06))
    assert stability(torch.tensor(0.06)).item() == pytest.approx(0.943, abs=1e-3)
    frozen = [row["frozen"] for row in run(named("0.95 and 0.90", TRIALS))]
    assert frozen == [0, 0, 8, 8]  # 0.943 is enough in C only, which begins after step 8
    frozen = [row["frozen"] for row in run(named("0.80 and 0.75", TRIALS))]
    assert frozen == [0, 8, 8, 8]


def test_as_many_at_random_are_frozen_as_are_stable():
    trial = named("as many at random", TRIALS)
    model = lab.GPT(lab.ExpertConfig(20, 8, 2, 1, 8), 0)
    freezer, luck = Freezer(model), torch.Generator().manual_seed(0)
    drift = torch.full((2, 8), 9.0)
    drift[0, :3] = 0.01
    picked = []
    for _ in range(4):
        chosen = FREEZING._chosen(trial, "B", drift, freezer, luck)
        like = FREEZING._chosen(named("0.95 and 0.90", TRIALS), "B", drift, freezer, luck)
        assert chosen.sum() == like.sum() > 0 or freezer.frozen[0, :3].all()
        assert not (chosen & freezer.frozen).any()
        picked.append(chosen)
        freezer.freeze(chosen)
    assert picked[0].sum() == 3 and not torch.equal(picked[0], drift < 1)


def test_a_frozen_expert_is_as_the_last_check_found_it(monkeypatch):
    """In a whole trial, whose loop calls the freezer between the steps."""
    kept = []
    scores = type(BRIEF).scores

    def watched(self, model, dataset):
        [layer] = expert_layers(model)
        kept.append([layer.fc.weight.clone(), layer.router.weight.clone()])
        return scores(self, model, dataset)

    monkeypatch.setattr(type(BRIEF), "scores", watched)
    run(named("all when C begins", TRIALS))
    assert not torch.equal(kept[0][0], kept[1][0])
    assert not torch.equal(kept[1][0], kept[2][0]) and torch.equal(kept[2][0], kept[3][0])
    assert not torch.equal(kept[2][1], kept[3][1])  # the router goes on


def test_after_a_planted_collapse_one_expert_takes_all_tokens(monkeypatch):
    taken = {}
    losses = freezing.losses

    def watched(model, dataset):
        loads = load(choices(model, dataset.val[:160]), 8)
        taken[len(taken)] = loads.amax().item()
        return losses(model, dataset)

    monkeypatch.setattr(freezing, "losses", watched)
    run(named("planted collapse", TRIALS))
    assert round(COLLAPSES * 12) == 9
    assert taken[2] < 0.5 == taken[3]  # one of a token's two experts is always the same


def test_a_collapse_is_planted_after_three_quarters():
    plain, planted = (run(named(name, TRIALS)) for name in ("no freezing", "planted collapse"))
    for one, other in zip(plain[:3], planted[:3], strict=True):
        assert one["val_bits"] == other["val_bits"]
    assert plain[3]["val_bits"] != planted[3]["val_bits"]


# Losses that are handed over


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_handed_over_loss_is_the_weighted_sum_of_two(share):
    config = lab.ExpertConfig(20, 8, 1, 1, 8, aux_loss=0)
    ids, targets = (
        torch.randint(20, (2, 8), generator=torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    found, task, own = HandedOver(config, 0), lab.GPT(config, 0), lab.GPT(config, 0)
    found.task_share = share
    loss = found.loss(ids, targets)
    loss.backward()
    parts = [task.loss(ids, targets), own.loss(ids, ids)]
    expected = share * parts[0] + (1 - share) * parts[1]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    for name, parameter in found.named_parameters():
        if parameter.requires_grad:
            a, b = (of.get_parameter(name).grad for of in (task, own))
            torch.testing.assert_close(parameter.grad, a + b, rtol=1e-3, atol=1e-6)


def test_the_loss_that_balances_the_load_is_handed_over_by_nobody():
    """It has its whole weight, once, whatever the shares are."""
    ids, targets = torch.arange(16).view(2, 8), torch.arange(1, 17).view(2, 8)
    added = []
    for kind in (HandedOver, lab.GPT):
        gradients = []
        for aux_loss in (1.0, 0.0):
            model = kind(lab.ExpertConfig(20, 8, 1, 1, 8, aux_loss=aux_loss), 0)
            model.task_share = 0.25
            model.loss(ids, targets).backward()
            gradients.append(model.blocks[0].mlp.router.weight.grad)
        added.append(gradients[0] - gradients[1])
    torch.testing.assert_close(*added, rtol=1e-3, atol=1e-6)
    assert added[0].any()


def test_it_is_evaluated_by_the_task_alone():
    config = lab.ExpertConfig(20, 8, 1, 1, 8)
    ids, targets = torch.zeros(1, 8).long(), torch.ones(1, 8).long()
    found, task = HandedOver(config, 0), lab.GPT(config, 0)
    assert found.eval().loss(ids, targets) == task.eval().loss(ids, targets)
    assert found.task_share == 0


def test_at_first_it_learns_to_name_what_it_reads():
    brief = replace(BRIEF, base=BRIEF.base.replace(learning_rate=1e-2))
    rows = run(named("losses handed over", TRIALS), experiment=brief)
    plain = run(named("no freezing", TRIALS), experiment=brief)
    assert rows[0]["val_bits"] == plain[0]["val_bits"]
    assert rows[1]["val_bits"] > plain[1]["val_bits"]
