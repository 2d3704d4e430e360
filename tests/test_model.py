"""The model: its size to the parameter, its agreement with Hugging Face, its causality."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import slmlab as lab
from slmlab import GPT, GPTConfig
from slmlab.engine.huggingface import from_huggingface, to_huggingface
from slmlab.text.dataset import IGNORED

PUBLISHED = {
    "phase 0": (GPTConfig(50257, 128, 6, 6, 384), 29_995_392),
    "phase 1": (GPTConfig(50257, 16, 2, 2, 32), 1_634_208),
    "phase 2": (GPTConfig(50257, 32, 3, 4, 64), 3_368_576),
    "phase 3": (GPTConfig(50257, 64, 4, 4, 96), 5_278_368),
    "phase 4": (GPTConfig(50257, 128, 4, 4, 128), 7_242_624),
    "scaffold": (GPTConfig(32000, 512, 6, 6, 384), 23_132_160),
    "GPT-2 small": (GPTConfig(50257, 1024, 12, 12, 768), 124_439_808),
    "practical model": (GPTConfig(50260, 1024, 12, 12, 768), 124_442_112),
}
BUILT = ("phase 0", "phase 1", "phase 2", "phase 3", "phase 4", "scaffold")

ODD_SHAPES = [
    GPTConfig(11, 7, 1, 1, 5),
    GPTConfig(97, 13, 3, 3, 21),
    GPTConfig(50, 1, 1, 2, 6),
    GPTConfig(257, 33, 2, 5, 40),
]


@torch.no_grad()
def disturb(model):
    """Give every parameter, biases and norms included, a value that matters."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def some_ids(config, rows=3, length=None, seed=2):
    generator = torch.Generator().manual_seed(seed)
    size = (rows, length or config.block_size)
    return torch.randint(config.vocab_size, size, generator=generator)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name):
    config, count = PUBLISHED[name]
    assert config.n_params == count


@pytest.mark.parametrize("name", BUILT)
def test_built_models_have_the_published_number_of_parameters(name):
    config, count = PUBLISHED[name]
    assert GPT(config).n_params == count


@pytest.mark.parametrize("config", ODD_SHAPES, ids=str)
def test_parameter_table_adds_up(config):
    model = GPT(config)
    table = model.parameter_table()
    assert table["parameters"].sum() == model.n_params == config.n_params
    assert table["share"].sum() == pytest.approx(1)
    assert (table["parameters"] > 0).all()
    built = {"wte": 0, "wpe": 0, "attn": 0, "mlp": 0, "ln_": 0}
    for name, parameter in model.named_parameters():
        built[next(kind for kind in built if kind in name)] += parameter.numel()
    assert table["parameters"].tolist() == list(built.values())


def test_parameter_table_of_phase_2_has_the_rows_worked_out_by_hand():
    config, _ = PUBLISHED["phase 2"]
    assert GPT(config).parameter_table()["parameters"].to_dict() == {
        "token embedding (= output head)": 50257 * 64,
        "positions": 32 * 64,
        "attention": 3 * (64 * 192 + 192 + 64 * 64 + 64),
        "MLP": 3 * (64 * 256 + 256 + 256 * 64 + 64),
        "norms": 3 * 4 * 64 + 2 * 64,
    }


@pytest.mark.slow
@pytest.mark.parametrize("config", ODD_SHAPES, ids=str)
def test_logits_equal_hugging_face_after_export(config):
    ours = disturb(GPT(config))
    ids = some_ids(config)
    with torch.no_grad():
        difference = (ours(ids) - to_huggingface(ours)(ids).logits).abs().max()
    assert difference < 1e-4


@pytest.mark.parametrize("config", ODD_SHAPES, ids=str)
def test_logits_equal_hugging_face_after_import(config):
    theirs = disturb(huggingface(config))
    ids = some_ids(config)
    with torch.no_grad():
        difference = (from_huggingface(theirs)(ids) - theirs(ids).logits).abs().max()
    assert difference < 1e-4


def test_export_and_import_return_the_same_weights():
    ours = disturb(GPT(ODD_SHAPES[1]))
    back = from_huggingface(to_huggingface(ours))
    assert back.config == ours.config
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, back.state_dict()[name])


def huggingface(config, **changes):
    shape = {
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"activation_function": "relu"},
        {"tie_word_embeddings": False},
        {"n_inner": 50},
        {"layer_norm_epsilon": 1e-2},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"attn_pdrop": 0.2},
        {"embd_pdrop": 0.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_variants_of_another_architecture_are_refused(change):
    theirs = huggingface(ODD_SHAPES[1], **change)
    with pytest.raises(ValueError, match="cannot be converted"):
        from_huggingface(theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("chunk", [1, 4, 10_000])
def test_loss_and_gradients_equal_plain_cross_entropy(monkeypatch, chunk, smoothing):
    monkeypatch.setattr("slmlab.engine.fused_loss.HEAD_CHUNK", chunk)
    config = GPTConfig(37, 9, 2, 2, 8)
    ids, targets = some_ids(config), some_ids(config, seed=3)
    ours, plain = disturb(GPT(config)), disturb(GPT(config))

    loss = ours.loss(ids, targets, smoothing)
    (3 * loss).backward()
    expected = F.cross_entropy(
        plain(ids).flatten(0, 1), targets.flatten(), label_smoothing=smoothing
    )
    (3 * expected).backward()

    torch.testing.assert_close(loss, expected)
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_without_gradients_is_the_same(monkeypatch, smoothing):
    monkeypatch.setattr("slmlab.engine.fused_loss.HEAD_CHUNK", 4)
    config = GPTConfig(37, 9, 2, 2, 8)
    model, ids, targets = disturb(GPT(config)), some_ids(config), some_ids(config, seed=3)
    with torch.no_grad():
        loss = model.loss(ids, targets, smoothing)
        expected = F.cross_entropy(
            model(ids).flatten(0, 1), targets.flatten(), label_smoothing=smoothing
        )
    torch.testing.assert_close(loss, expected)
    assert not loss.requires_grad


def test_loss_without_gradients_does_no_work_for_gradients():
    config = GPTConfig(37, 9, 2, 2, 8)
    model, ids = GPT(config), some_ids(config)
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        model(ids)
    with torch.no_grad(), FlopCounterMode(display=False) as loss:
        model.loss(ids, ids)
    assert loss.get_total_flops() == forward.get_total_flops()


def test_gradients_of_several_losses_add_up():
    config = GPTConfig(37, 9, 2, 2, 8)
    batches = [(some_ids(config, seed=n), some_ids(config, seed=n + 10)) for n in (1, 2)]
    ours, apart, plain = (disturb(GPT(config)) for _ in range(3))
    sum(ours.loss(*batch) for batch in batches).backward()
    for ids, targets in batches:
        apart.loss(ids, targets).backward()
        F.cross_entropy(plain(ids).flatten(0, 1), targets.flatten()).backward()
    for one, two, expected in zip(*(m.parameters() for m in (ours, apart, plain)), strict=True):
        torch.testing.assert_close(one.grad, expected.grad, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(two.grad, expected.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frozen", ["wte", "wpe", "blocks", "ln_f"])
def test_gradients_are_right_with_a_part_frozen(frozen):
    config = GPTConfig(37, 9, 2, 2, 8)
    ids, targets = some_ids(config), some_ids(config, seed=3)
    ours, plain = disturb(GPT(config)), disturb(GPT(config))
    for model in (ours, plain):
        getattr(model, frozen).requires_grad_(False)
    ours.loss(ids, targets).backward()
    F.cross_entropy(plain(ids).flatten(0, 1), targets.flatten()).backward()
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        if name.startswith(frozen):
            assert mine.grad is None
        else:
            torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_loss_of_enormous_logits_does_not_overflow():
    config = GPTConfig(37, 9, 1, 1, 8)
    model, ids = disturb(GPT(config)), some_ids(config)
    with torch.no_grad():
        model.ln_f.weight *= 1e4
        expected = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
    assert expected > 1000
    torch.testing.assert_close(model.loss(ids, ids).detach(), expected)


causal = disturb(GPT(GPTConfig(23, 12, 2, 3, 12)))
texts = st.lists(st.integers(0, 22), min_size=2, max_size=12)


@given(ids=texts, data=st.data())
def test_changing_a_token_never_changes_logits_before_it(ids, data):
    place = data.draw(st.integers(0, len(ids) - 1))
    other = list(ids)
    other[place] = data.draw(st.integers(0, 22).filter(lambda i: i != ids[place]))
    with torch.no_grad():
        before, after = causal(torch.tensor([ids])), causal(torch.tensor([other]))
    torch.testing.assert_close(before[:, :place], after[:, :place], atol=1e-6, rtol=0)
    assert not torch.equal(before[:, place], after[:, place])


@pytest.mark.slow
@given(ids=texts, data=st.data())
def test_cache_gives_the_same_logits_for_any_split(ids, data):
    cuts = data.draw(st.sets(st.integers(1, len(ids) - 1)))
    bounds = [0, *sorted(cuts), len(ids)]
    cache = causal.new_cache()
    with torch.no_grad():
        parts = [causal(torch.tensor([ids[a:b]]), cache) for a, b in pairwise(bounds)]
        whole = causal(torch.tensor([ids]))
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


def test_cache_serves_a_batch():
    ids = some_ids(causal.config, rows=4)
    cache = causal.new_cache(batch=4)
    with torch.no_grad():
        causal(ids[:, :5], cache)
        last = causal.next_logits(ids[:, 5:], cache)
        torch.testing.assert_close(last, causal(ids)[:, -1], atol=1e-5, rtol=1e-5)


def test_embedding_is_the_output_head():
    model = disturb(GPT(GPTConfig(23, 12, 1, 3, 12)))
    assert [name for name, p in model.named_parameters() if 23 in p.shape] == ["wte.weight"]
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        before = model(ids)
        model.wte.weight[9] += 1.0
        changed = (model(ids) - before).abs().amax((0, 1)) > 1e-6
    assert changed.nonzero().flatten().tolist() == [9]


def test_seed_decides_the_initial_weights():
    config = GPTConfig(23, 12, 1, 3, 12)
    first, same, other = GPT(config, seed=5), GPT(config, seed=5), GPT(config, seed=6)
    assert torch.equal(first.wte.weight, same.wte.weight)
    assert not torch.equal(first.wte.weight, other.wte.weight)


def test_a_new_model_knows_nothing():
    model = GPT(GPTConfig(1000, 16, 2, 2, 32))
    ids = some_ids(model.config, rows=8)
    assert model.loss(ids, ids.roll(1, 0)).item() == pytest.approx(6.908, abs=0.05)  # ln 1000


@pytest.mark.parametrize("name", ["vocab_size", "block_size", "n_layer", "n_head", "n_embd"])
@pytest.mark.parametrize("value", [0, -4, 2.5, "8", True, None])
def test_sizes_must_be_positive_whole_numbers(name, value):
    sizes = {"vocab_size": 10, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8}
    with pytest.raises(ValueError, match=f"{name} is .* a whole number (of at least|from) 1"):
        GPTConfig(**sizes | {name: value})


def test_width_must_be_divisible_by_heads():
    with pytest.raises(ValueError, match=r"n_embd = 30 .* n_head = 4 .* multiple of 4"):
        GPTConfig(10, 8, 1, 4, 30)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_must_be_a_share(dropout):
    with pytest.raises(ValueError, match="dropout is"):
        GPTConfig(10, 8, 1, 2, 8, dropout)


def test_more_tokens_than_the_context_are_refused():
    model = GPT(GPTConfig(10, 8, 1, 2, 8))
    with pytest.raises(ValueError, match="9 tokens do not fit the model's context of 8"):
        model(torch.zeros(1, 9, dtype=torch.long))
    cache = model.new_cache()
    model(torch.zeros(1, 8, dtype=torch.long), cache)
    with pytest.raises(ValueError, match="9 tokens do not fit"):
        model(torch.zeros(1, 1, dtype=torch.long), cache)


def test_dropout_acts_in_training_only():
    model = lab.GPT(lab.GPTConfig(23, 12, 1, 3, 12, dropout=0.5))
    ids = some_ids(model.config)
    assert not torch.equal(model.train()(ids), model(ids))
    assert torch.equal(model.eval()(ids), model(ids))


def test_targets_of_minus_100_do_not_count():
    config = GPTConfig(37, 9, 2, 2, 8)
    ids, targets = some_ids(config), some_ids(config, seed=3)
    targets[:, ::3] = -100
    ours, plain = disturb(GPT(config)), disturb(GPT(config))
    loss, expected = (
        ours.loss(ids, targets, 0.1),
        F.cross_entropy(plain(ids).flatten(0, 1), targets.flatten(), label_smoothing=0.1),
    )
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wrong", [37, 99, -1, -99])
def test_a_target_without_a_row_is_refused(wrong):
    config = GPTConfig(37, 9, 2, 2, 8)
    ids = some_ids(config)
    targets = ids.clone()
    targets[0, 3] = wrong
    with pytest.raises(ValueError, match=f"A target is {wrong}; targets run from 0 to 36"):
        GPT(config).loss(ids, targets)


def test_a_second_backward_of_a_loss_gets_a_sentence():
    config = GPTConfig(37, 9, 2, 2, 8)
    model, ids = GPT(config), some_ids(config)
    loss = model.loss(ids, ids)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="was taken already"):
        loss.backward()


class WiderMLP(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = torch.nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x):
        return self.layer(x)


def test_parts_are_exchanged_at_construction(tmp_path, dataset):
    config = GPTConfig(dataset.tokenizer.n_vocab, 9, 2, 2, 8)
    model = GPT(config, mlp=WiderMLP)
    assert model.exchanged_parts == ("WiderMLP",)
    assert GPT(config).exchanged_parts == ()
    run = lab.train(model, dataset, lab.TrainConfig(2, 1e-3, max_steps=2), progress=False)
    assert run.state.step == 2
    assert run.best_model.exchanged_parts == ("WiderMLP",)
    with pytest.raises(ValueError, match="A model with WiderMLP cannot be saved"):
        run.save(tmp_path / "run")
    with pytest.raises(ValueError, match="A model with WiderMLP is no GPT-2"):
        to_huggingface(model)


def test_a_size_far_beyond_any_machine_is_refused():
    with pytest.raises(ValueError, match="n_layer is 1000000; it must be a whole number from 1"):
        GPTConfig(10, 8, 1_000_000, 1, 1)
    with pytest.raises(ValueError, match="at most 4,000,000,000 are allowed"):
        GPTConfig(10**9, 8, 1, 1, 64)
    for size in ("vocab_size", "block_size", "n_head", "n_embd"):
        sizes = {"vocab_size": 10, "block_size": 8, "n_layer": 1, "n_head": 1, "n_embd": 4}
        with pytest.raises(ValueError, match=f"{size} is a number that is far too large"):
            GPTConfig(**sizes | {size: 10**400})


@given(
    counted=st.lists(st.booleans(), min_size=27, max_size=27),
    chunk=st.integers(1, 40),
    smoothing=st.sampled_from([0.0, 0.3]),
)
def test_a_masked_loss_is_one_mean_over_the_targets_that_count(counted, chunk, smoothing):
    config = GPTConfig(37, 9, 1, 2, 8)
    ids, targets = some_ids(config), some_ids(config, seed=3)
    targets[~torch.tensor(counted).view(3, 9)] = IGNORED
    ours, plain = disturb(GPT(config)), disturb(GPT(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slmlab.engine.fused_loss.HEAD_CHUNK", chunk)
        loss = ours.loss(ids, targets, smoothing)
    loss.backward()
    expected = F.cross_entropy(
        plain(ids).flatten(0, 1), targets.flatten(), label_smoothing=smoothing, reduction="sum"
    ) / max(1, sum(counted))
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_no_target_that_counts_is_a_loss_of_0_without_gradients():
    config = GPTConfig(37, 9, 2, 2, 8)
    model, ids = disturb(GPT(config)), some_ids(config)
    loss = model.loss(ids, torch.full_like(ids, IGNORED), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in model.parameters())
