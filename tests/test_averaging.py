"""Weight averaging: what is evaluated, sampled and kept is the average of the weights so far."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch
import torch.nn as nn
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Run, TrainConfig, TrainState, mean_loss
from slmlab.engine import averaging, training
from slmlab.engine.memory import training_megabytes

CONFIG = TrainConfig(4, 3e-3, max_steps=12, eval_interval=4, average=0.8)
PLAIN = replace(CONFIG, average=0.0)
decays = st.floats(0.01, 0.999)


class Weights(nn.Module):
    """A model of three weights."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))


def walked(path, decay):
    """The average after a training in which the weights took these values, one a step."""
    model, state = Weights(), TrainState()
    for values in path:
        with averaging.raw_weights(model, state, decay):
            model.w.data.copy_(torch.tensor(values))
        state.step += 1
        averaging.update_average(model, state, decay)
    return model.w.detach()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@given(path=st.lists(st.tuples(*[st.floats(-9, 9)] * 3), min_size=1, max_size=40), decay=decays)
def test_the_average_is_the_weighted_mean_of_all_weights_so_far(path, decay):
    shares = decay ** torch.arange(len(path) - 1, -1, -1, dtype=torch.float64)
    expected = (shares[:, None] * torch.tensor(path)).sum(0) / shares.sum()
    torch.testing.assert_close(walked(path, decay), expected, rtol=1e-9, atol=1e-9)


@given(value=st.floats(-9, 9), n=st.integers(1, 60), decay=decays)
def test_weights_that_stay_are_their_own_average(value, n, decay):
    assert torch.equal(walked([(value,) * 3] * n, decay), torch.full((3,), value).double())


@given(seed=st.integers(0, 1000), decay=st.floats(0.1, 0.99))
def test_training_goes_on_with_the_weights_themselves(tiny, dataset, seed, decay):
    config = replace(PLAIN, max_steps=3, seed=seed)
    plain, averaged = (
        lab.train(tiny(), dataset, replace(config, average=d), progress=False) for d in (0, decay)
    )
    assert same(dict(plain.model.named_parameters()), averaged.state.raw_weights)
    assert not same(plain.model.state_dict(), averaged.model.state_dict())


def test_no_average_takes_no_memory(tiny, dataset):
    model = tiny()
    before = [p.data_ptr() for p in model.parameters()]
    run = lab.train(model, dataset, PLAIN, progress=False)
    assert not run.state.raw_weights
    assert [p.data_ptr() for p in model.parameters()] == before
    extra = training_megabytes(model.config, 4, averaged=True) - training_megabytes(model.config, 4)
    assert extra == pytest.approx(4 * model.n_params / 1e6)


def test_the_average_is_what_is_evaluated_sampled_and_kept(tiny, dataset):
    path = []

    def watch(run, now):
        if now.step:
            path.append({name: w.clone() for name, w in run.state.raw_weights.items()})

    run = lab.train(
        tiny(), dataset, CONFIG, prompts=["The old"], progress=False, on_step=watch,
        sample_each_evaluation=True,
    )  # fmt: skip
    shares = CONFIG.average ** torch.arange(len(path) - 1, -1, -1)
    mean = tiny()
    for name, p in mean.named_parameters():
        stacked = torch.stack([weights[name] for weights in path], -1)
        p.data = (stacked * shares).sum(-1) / shares.sum()
        torch.testing.assert_close(run.model.get_parameter(name), p, rtol=1e-4, atol=1e-6)
    assert run.last.val_loss == pytest.approx(mean_loss(mean, dataset.val), abs=1e-5)
    assert run.last.val_loss == mean_loss(run.model, dataset.val)
    assert run.state.best_step == CONFIG.max_steps
    assert same(run.state.best_weights, run.model.state_dict())
    assert run.samples[-1] == run.take_sample("The old")
    assert run.samples[-1]["text"] == lab.generate(
        run.model, dataset.tokenizer, "The old", 30, lab.Decoding(temperature=0.8, top_k=40)
    )


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_resumed_run_equals_one_that_never_stopped(tiny, dataset, tmp_path, dropout):
    whole = lab.train(tiny(dropout=dropout), dataset, CONFIG, progress=False)
    steps = training.fit(part := tiny(dropout=dropout), dataset, CONFIG, state := TrainState())
    while next(steps).step < 6:
        pass
    Run(part, dataset, CONFIG, state).save(tmp_path / "part")
    resumed = Run.load(tmp_path / "part")
    assert same(resumed.state.raw_weights, state.raw_weights)
    resumed.resume(progress=False)
    assert same(resumed.model.state_dict(), whole.model.state_dict())
    assert same(resumed.state.raw_weights, whole.state.raw_weights)
    assert same(resumed.state.best_weights, whole.state.best_weights)
    for one, other in zip(resumed.state.history, whole.state.history, strict=True):
        assert replace(one, seconds=0, eta=0) == replace(other, seconds=0, eta=0)


def test_averaging_can_begin_and_end_when_a_run_is_resumed(tiny, dataset):
    longer = replace(PLAIN, max_steps=24)
    whole = lab.train(tiny(), dataset, longer, progress=False)
    part = lab.train(tiny(), dataset, CONFIG, progress=False).resume(longer, progress=False)
    assert same(part.model.state_dict(), whole.model.state_dict())
    assert not part.state.raw_weights
    part = lab.train(tiny(), dataset, PLAIN, progress=False)
    part.resume(replace(longer, average=0.8), progress=False)
    assert same(part.state.raw_weights, dict(whole.model.named_parameters()))


@pytest.mark.parametrize("ending", [ValueError, KeyboardInterrupt])
def test_a_step_that_fails_leaves_the_average_in_the_model(tiny, dataset, monkeypatch, ending):
    steps = training.fit(model := tiny(), dataset, CONFIG, state := TrainState())
    while next(steps).step < 5:
        pass
    average = {name: w.clone() for name, w in model.state_dict().items()}
    raw = {name: w.clone() for name, w in state.raw_weights.items()}

    def fail(*_):
        raise ending

    monkeypatch.setattr(model, "loss", fail)
    with pytest.raises(ending):
        next(steps)
    assert same(model.state_dict(), average) and same(state.raw_weights, raw)


def test_a_run_that_diverges_has_its_best_average(tiny, dataset):
    with pytest.warns(UserWarning, match="has its best weights again"):
        run = lab.train(
            tiny(), dataset, replace(CONFIG, learning_rate=1e18, grad_clip=0), progress=False
        )
    assert run.state.status == "diverged" and not run.state.raw_weights
    assert same(run.model.state_dict(), run.state.best_weights)


def test_a_saved_run_without_an_average_has_no_more_tensors(tiny, dataset, tmp_path):
    run = lab.train(tiny(n_layer=1), dataset, PLAIN, progress=False)
    names = safetensors.torch.load_file(run.save(tmp_path / "run") / "resume.safetensors").keys()
    assert not [name for name in names if name.startswith("raw.")]


@pytest.mark.parametrize("wrong", [1.0, -0.1, float("nan"), "0.9", True])
def test_a_decay_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="average is"):
        TrainConfig(4, 1e-3, max_steps=10, average=wrong)
