"""Experts that stop changing: how far each drifts, and what is frozen stays as it is."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import slmlab as lab
from slmlab.engine.experts import Experts, expert_layers
from slmlab.engine.optimizer import AdamW
from slmlab.study.freezing import (
    Freezer,
    Probe,
    drift_at,
    frozen_speed,
    stability,
)

E = 4


@pytest.fixture
def sparse(dataset):
    """A fresh tiny model of two layers of four experts."""
    config = lab.ExpertConfig(dataset.tokenizer.n_vocab, 16, 2, 2, 16, n_expert=E)
    return lab.GPT(config, 1)


@pytest.fixture
def ids(dataset):
    return dataset.train[:50]


def rows(parameter, expert, n_expert=E):
    return parameter.view(n_expert, -1)[expert]


def parts(layer):
    return [layer.fc.weight, layer.fc.bias, layer.proj.weight, layer.proj.bias]


# Drift


def test_what_does_not_move_does_not_drift(sparse, ids):
    assert Probe(sparse, ids).drift().tolist() == [[0] * E] * 2


@torch.no_grad()
def test_a_known_change_is_the_drift_of_the_expert_that_moved(sparse, ids):
    """Answers are linear in the last weights and biases, so 1 + d times them is a drift of d."""
    probe = Probe(sparse, ids)
    for parameter in (sparse.blocks[1].mlp.proj.weight, sparse.blocks[1].mlp.proj.bias):
        rows(parameter, 2).mul_(1.25)
    found = probe.drift()
    assert found[1, 2] == pytest.approx(0.25, rel=1e-5)
    found[1, 2] = 0
    assert not found.any()


@torch.no_grad()
def test_drift_is_of_the_same_inputs_as_before(sparse, ids):
    """What other layers now hand on is no drift of the experts after them."""
    probe = Probe(sparse, ids)
    sparse.wte.weight.add_(1)
    sparse.blocks[0].attn.proj.weight.mul_(3)
    sparse.blocks[0].mlp.router.weight.mul_(-2)
    assert not probe.drift().any()


def test_shared_experts_drift_too(dataset, ids):
    config = lab.ExpertConfig(
        dataset.tokenizer.n_vocab, 16, 1, 2, 16, n_expert=3, n_active=1, n_shared=1
    )
    model = lab.GPT(config, 0)
    probe = Probe(model, ids)
    with torch.no_grad():
        rows(model.blocks[0].mlp.proj.weight, 3).mul_(2)  # biases are 0 at first
    assert probe.drift().tolist() == [[0, 0, 0, pytest.approx(1)]]
    assert Freezer(model).frozen.shape == (1, 4)


def test_a_probe_reads_whole_windows_and_leaves_the_model_as_it_was(sparse, ids):
    sparse.train()
    probe = Probe(sparse, ids)
    assert [x.shape for x in probe.inputs] == [(48, 16)] * 2
    assert sparse.training and all(p.grad is None for p in sparse.parameters())
    sparse(ids[None, :16])
    assert len(probe.inputs) == 2  # it reads no longer


@pytest.mark.parametrize("n", [0, 15])
def test_less_than_a_window_is_refused(sparse, ids, n):
    with pytest.raises(ValueError, match="at least a context, 16"):
        Probe(sparse, ids[:n])


def test_a_model_without_experts_is_refused(tiny, dataset, ids):
    for use in (
        expert_layers,
        Freezer,
        lambda m: Probe(m, ids),
        lambda m: frozen_speed(m, dataset),
    ):
        with pytest.raises(ValueError, match="has no experts"):
            use(tiny())
        with pytest.raises(ValueError, match="model is None"):
            use(None)


def test_stability_is_what_the_report_says():
    assert stability(torch.tensor([0.0, 1.0])).tolist() == [1, 0.5]
    for published, drift in ((0.95, 0.0526), (0.90, 0.1111), (0.80, 0.25), (1, 0)):
        assert drift_at(published) == pytest.approx(drift, abs=1e-4)
        assert stability(torch.tensor(drift_at(published))).item() == pytest.approx(published)
    for wrong in (0, 1.01, -1, "0.9", None, float("nan")):
        with pytest.raises(ValueError, match="stability"):
            drift_at(wrong)


# Freezing


FROZEN = torch.tensor([[True, False, False, True], [False, True, False, False]])


def trained(model, dataset, freezer):
    """Ten steps with momentum, weight decay and a clipping that is always reached."""
    settings = {"max_steps": 10, "weight_decay": 0.5, "grad_clip": 0.01, "eval_interval": 10}
    for now in lab.fit(model, dataset, lab.TrainConfig(4, 1e-2, **settings)):
        freezer.restore()
        if now.step == 4:
            freezer.freeze(FROZEN)
            kept = deepcopy(model.state_dict())
    return kept


def test_the_frozen_stay_bit_for_bit_and_the_others_move(sparse, dataset):
    freezer = Freezer(sparse)
    kept = trained(sparse, dataset, freezer)
    for i, layer in enumerate(expert_layers(sparse)):
        for name in ("fc.weight", "fc.bias", "proj.weight", "proj.bias"):
            now, then = layer.get_parameter(name), kept[f"blocks.{i}.mlp.{name}"]
            for expert, frozen in enumerate(FROZEN[i]):
                same = torch.equal(rows(now, expert), rows(then, expert))
                assert same == frozen, (i, name, expert)
    assert not torch.equal(sparse.wte.weight, kept["wte.weight"])
    assert not torch.equal(sparse.blocks[0].mlp.router.weight, kept["blocks.0.mlp.router.weight"])
    assert freezer.frozen.equal(FROZEN)


def test_without_any_frozen_a_training_is_as_without_a_freezer(sparse, dataset):
    other = deepcopy(sparse)
    freezer = Freezer(sparse)
    config = lab.TrainConfig(4, 1e-2, max_steps=4, weight_decay=0.5, eval_interval=4)
    for _ in lab.fit(sparse, dataset, config):
        freezer.restore()
    for _ in lab.fit(other, dataset, config):
        pass
    for name, weight in sparse.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_what_is_frozen_later_joins_what_is_frozen(sparse):
    freezer = Freezer(sparse)
    freezer.freeze(FROZEN)
    with torch.no_grad():
        sparse.blocks[0].mlp.fc.weight.add_(1)  # a step that is not put back yet
    freezer.freeze(~FROZEN)
    assert freezer.frozen.all()
    then = [p.clone() for layer in expert_layers(sparse) for p in parts(layer)]
    with torch.no_grad():
        for layer in expert_layers(sparse):
            for p in parts(layer):
                p.mul_(2)
    freezer.restore()
    for p, kept in zip(
        [p for layer in expert_layers(sparse) for p in parts(layer)], then, strict=True
    ):
        assert torch.equal(p, kept)


def test_steps_with_frozen_experts_are_those_of_a_loop_by_hand(sparse, dataset):
    """The loop knows nothing of hooks: it clears the gradients before they are clipped, so that
    they are in no norm, and puts the weights back after the step."""
    by_hand = deepcopy(sparse).train()
    config = lab.TrainConfig(
        4, 1e-2, max_steps=3, weight_decay=0.5, grad_clip=0.01, eval_interval=3
    )
    freezer = Freezer(sparse)
    freezer.freeze(FROZEN)
    for _ in lab.fit(sparse, dataset, config):
        freezer.restore()
    optimizer = AdamW(by_hand, 0.5)
    for step in range(1, 4):
        inputs, targets = dataset.batch(4, 16, config.seed * 1_000_003 + step)
        by_hand.loss(inputs, targets).backward()
        frozen = [
            rows(of, expert)
            for i, layer in enumerate(expert_layers(by_hand))
            for p in parts(layer)
            for expert in FROZEN[i].nonzero().flatten()
            for of in (p.grad, p.detach())
        ]
        for gradient in frozen[::2]:
            gradient.zero_()
        then = [weights.clone() for weights in frozen[1::2]]
        nn.utils.clip_grad_norm_(by_hand.parameters(), 0.01)
        optimizer.step(config.learning_rate_at(step, 3))
        for weights, kept in zip(frozen[1::2], then, strict=True):
            weights.copy_(kept)
    for name, weight in sparse.state_dict().items():
        torch.testing.assert_close(weight, by_hand.state_dict()[name], rtol=0, atol=1e-6)


def test_gradients_pass_through_the_frozen(sparse, dataset):
    other = deepcopy(sparse)
    freezer = Freezer(sparse)
    freezer.freeze(torch.ones_like(FROZEN))
    inputs, targets = dataset.batch(2, 16, 0)
    for model in (sparse, other):
        model.loss(inputs, targets).backward()
    for name, parameter in sparse.named_parameters():
        theirs = other.get_parameter(name).grad
        if ".mlp.fc" in name or ".mlp.proj" in name:
            assert not parameter.grad.any() and theirs.any(), name
        elif parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, theirs)


@pytest.mark.parametrize("chosen", [None, FROZEN[:1], FROZEN.float(), [[True]]])
def test_other_choices_of_experts_are_refused(sparse, chosen):
    with pytest.raises(ValueError, match="chosen"):
        Freezer(sparse).freeze(chosen)


def test_frozen_speed_measures_a_copy(sparse, dataset):
    before = deepcopy(sparse.state_dict())
    times = frozen_speed(sparse, dataset, batch_size=2, rounds=2)
    assert list(times.index) == ["no expert frozen", "all experts frozen"] and (times > 0).all()
    for name, weight in sparse.state_dict().items():
        assert torch.equal(weight, before[name])
    assert all(p.requires_grad for layer in expert_layers(sparse) for p in parts(layer))
    assert all(isinstance(layer, Experts) for layer in expert_layers(sparse))


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"rounds": 10**6}, {"batch_size": 0}, {"dataset": None}]
)
def test_no_speed_is_measured_of_something_else(sparse, dataset, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        frozen_speed(**({"model": sparse, "dataset": dataset} | wrong))
