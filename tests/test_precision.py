"""Mixed precision: steps with bf16 products learn what fp32 steps do; evaluations stay fp32."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Run, TrainConfig, mean_loss
from slmlab.engine import fused_loss
from slmlab.engine.fused_loss import TiedEmbedding, tied_cross_entropy
from slmlab.engine.precision import check_precision, products
from slmlab.text.dataset import IGNORED

CONFIG = TrainConfig(4, 3e-3, max_steps=12, eval_interval=4, precision="bf16")
TOLERANCE = 0.02  # of a gradient's norm: five roundings to 8 bits


@pytest.fixture
def processor(monkeypatch):
    """Sets what this computer's processor can do; at first it has fast bf16 products."""

    def set_to(**found):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)

    set_to(amx_bf16=True)
    return set_to


def bf16(wanted=True):
    return products("bf16" if wanted else "fp32", torch.device("cpu"))


def head(low, weight, hidden, targets, smoothing=0.0):
    """Loss of the fused head, and its gradients by the matrix and by the hidden states."""
    weight, hidden = weight.clone().requires_grad_(), hidden.clone().requires_grad_()
    shared = []
    idx = torch.zeros(1, 1, dtype=torch.long)
    with bf16(low):
        tied = TiedEmbedding.apply(weight, idx, shared)  # takes part with a gradient of nothing
        loss = tied_cross_entropy(weight, hidden + 0 * tied[0], targets, smoothing, shared)
    loss.backward()
    return loss.detach(), weight.grad, hidden.grad


def relative(found, expected):
    return ((found - expected).norm() / expected.norm().clamp_min(1e-12)).item()


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
    ignored=st.booleans(),
)
def test_the_loss_and_its_gradients_are_close_to_fp32(seed, n, scale, smoothing, ignored):
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(60, 16, generator=random)
    hidden = scale * torch.randn(n, 16, generator=random)
    targets = torch.randint(60, (n,), generator=random)
    if ignored:
        targets[:: 1 + n // 3] = IGNORED
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_loss, "HEAD_CHUNK", 3)  # several chunks, the last one shorter
        found, *gradients = head(True, weight, hidden, targets, smoothing)
    expected, *exact = head(False, weight, hidden, targets, smoothing)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=0.01, abs=0.02 * scale)
    for one, other in zip(gradients, exact, strict=True):
        assert one.dtype == torch.float32
        assert relative(one, other) < TOLERANCE


@pytest.mark.parametrize("margin", [4.0, 8.0, 12.0, 16.0])
def test_a_memorised_token_still_has_its_gradient(margin):
    """Probabilities of 0.999 are 1 in bfloat16, and yet there is something to learn."""
    weight = torch.eye(8)
    hidden, targets = margin * torch.eye(8)[:1], torch.tensor([0])
    found, *gradients = head(True, weight, hidden, targets)
    expected, *exact = head(False, weight.double(), hidden.double(), targets)
    assert 0 < found.item() == pytest.approx(expected.item(), rel=0.01)
    assert all(relative(*pair) < TOLERANCE for pair in zip(gradients, exact, strict=True))


def test_an_unlikely_target_has_a_finite_loss():
    hidden, targets = torch.tensor([[200.0, 0.0]]), torch.tensor([1])
    loss, *gradients = head(True, torch.eye(2), hidden, targets)
    assert 80 < loss < 90
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_told(wrong):
    hidden = torch.tensor([[wrong, 1.0]])
    assert not head(True, torch.eye(2), hidden, torch.tensor([1]))[0].isfinite()


def test_no_target_that_counts_is_a_loss_of_zero():
    loss, *gradients = head(True, torch.eye(2), torch.ones(3, 2), torch.full((3,), IGNORED), 0.1)
    assert loss == 0 and not any(g.any() for g in gradients)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_gradients_of_a_model_are_close_to_fp32(tiny, dataset, smoothing):
    model = tiny()
    inputs, targets = dataset.batch(4, 16, seed=1)
    with bf16():
        model.loss(inputs, targets, smoothing).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    logits = model(inputs).flatten(0, 1)
    F.cross_entropy(logits, targets.flatten(), label_smoothing=smoothing).backward()
    for name, p in model.named_parameters():
        assert found[name].dtype == p.dtype == torch.float32
        if not name.endswith("qkv.bias"):  # the keys' part is 0 but for rounding
            assert relative(found[name], p.grad) < 2 * TOLERANCE, name


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("masked", [False, True])
def test_training_learns_the_same(tiny, dataset, processor, smoothing, masked):
    if masked:
        mask = torch.arange(len(dataset.train)) % 3 == 0
        dataset = replace(dataset, train_mask=mask)
    config = replace(CONFIG, label_smoothing=smoothing, max_steps=40, average=0.5)
    low = lab.train(tiny(), dataset, config, progress=False)
    full = lab.train(tiny(), dataset, replace(config, precision="fp32"), progress=False)
    for one, other in zip(low.state.history, full.state.history, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, abs=0.02)
    assert low.last.val_loss != full.last.val_loss
    assert low.last.val_loss < low.state.history[0].val_loss - 1
    assert {p.dtype for p in low.model.parameters()} == {torch.float32}
    moments = low.state.optimizer.moments.values()
    assert {tensor.dtype for moment in moments for tensor in moment.values()} == {torch.float32}


def test_evaluations_stay_fp32(tiny, dataset, processor):
    run = lab.train(tiny(), dataset, CONFIG, progress=False)
    assert run.last.val_loss == mean_loss(run.model, dataset.val)
    assert run.state.history[0].val_loss == mean_loss(tiny(), dataset.val)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_resumed_run_equals_one_that_never_stopped(tiny, dataset, tmp_path, processor, dropout):
    whole = lab.train(tiny(dropout=dropout), dataset, CONFIG, progress=False)
    part = lab.train(tiny(dropout=dropout), dataset, replace(CONFIG, max_steps=8), progress=False)
    again = Run.load(part.save(tmp_path / "part")).resume(CONFIG, progress=False)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.history["val_loss"].tolist() == whole.history["val_loss"].tolist()
    assert again.last.batch_loss == whole.last.batch_loss


@pytest.mark.parametrize("found", [{}, {"avx2": True}, {"amx_bf16": False, "avx512_bf16": False}])
def test_a_processor_that_is_slow_with_it_is_refused(tiny, dataset, tmp_path, processor, found):
    run = lab.train(tiny(), dataset, CONFIG, progress=False)
    folder = run.save(tmp_path / "run")
    processor(**found)
    with pytest.raises(ValueError, match=r'no fast products of bf16 numbers, .* precision="fp32"'):
        lab.train(tiny(), dataset, CONFIG, progress=False)
    loaded = Run.load(folder)
    assert loaded.config == CONFIG
    longer = replace(CONFIG, max_steps=20)
    with pytest.raises(ValueError, match="no fast products"):
        loaded.resume(longer, progress=False)
    assert loaded.config == CONFIG and loaded.state.status == "finished"
    loaded.resume(replace(longer, precision="fp32"), progress=False)
    assert loaded.state.step == 20


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16"])
def test_either_kind_of_product_will_do(tiny, dataset, processor, name):
    processor(**{name: True})
    assert lab.train(tiny(), dataset, CONFIG, progress=False).state.status == "finished"


def test_a_gpu_is_asked_itself(monkeypatch):
    for fast in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: fast)  # noqa: B023
        if fast:
            check_precision("bf16", torch.device("cuda"))
        else:
            with pytest.raises(ValueError, match="no fast products"):
                check_precision("bf16", torch.device("cuda"))


@pytest.mark.parametrize("wrong", ["fp16", "", None, 16, "BF16"])
def test_another_precision_is_refused(wrong):
    with pytest.raises(ValueError, match=r"precision is .*; it must be one of fp32, bf16\."):
        TrainConfig(4, 1e-3, max_steps=10, precision=wrong)
