"""Experts: one is an MLP, no token sees a later one, and no reported loss holds the balance."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

import slmlab as lab
from slmlab import Decoding, ExpertConfig, GPTConfig, Run, TrainConfig, TrainState
from slmlab.engine.experts import Experts, balance_loss
from slmlab.engine.huggingface import to_huggingface
from slmlab.engine.precision import products

V, T, C = 23, 12, 12
TRAINING = TrainConfig(4, 3e-3, max_steps=10, eval_interval=5)


def shape(**changes):
    return ExpertConfig(V, T, 2, 3, C, **({"n_expert": 5} | changes))


@torch.no_grad()
def disturbed(module, by=0.3):
    """The same with a value that matters in every parameter, biases and norms included."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter += by * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return module


def some_ids(*size, seed=2):
    return torch.randint(V, size, generator=torch.Generator().manual_seed(seed))


def some_layer(**changes):
    """A layer in training, in float64, and what goes into it: (3, T, C)."""
    layer = disturbed(Experts(shape(**changes)).double())
    x = torch.randn(3, T, C, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return layer, x.requires_grad_()


@pytest.fixture(scope="module")
def sparse(dataset):
    """Makes a tiny model with experts for `dataset`."""

    def make(seed=0, **changes):
        rows = dataset.tokenizer.n_vocab
        return lab.GPT(ExpertConfig(rows, 16, 2, 2, 16, **({"n_expert": 4} | changes)), seed)

    return make


# One expert


def twins(dense):
    """The same weights in a model of one expert; its router has nothing to choose."""
    c = dense.config
    one = lab.GPT(ExpertConfig(**vars(c), n_expert=1, n_active=1))
    missing, unknown = one.load_state_dict(dense.state_dict(), strict=False)
    assert all("router" in name for name in missing) and not unknown
    return one


def test_one_expert_is_an_mlp_bit_for_bit():
    dense = disturbed(lab.GPT(GPTConfig(V, T, 2, 3, C)))
    one, ids, targets = twins(dense), some_ids(3, T), some_ids(3, T, seed=3)
    assert torch.equal(one(ids), dense(ids))
    losses = [model.loss(ids, targets) for model in (one, dense)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    for name, parameter in dense.named_parameters():
        assert torch.equal(one.get_parameter(name).grad, parameter.grad), name


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_one_expert_trains_as_an_mlp_bit_for_bit(tiny, dataset, dropout):
    dense = tiny(dropout=dropout)
    one = twins(dense)
    config = replace(TRAINING, grad_clip=0)  # the norm of more gradients adds up in another order
    pairs = zip(*(lab.fit(model, dataset, config) for model in (one, dense)), strict=True)
    for mine, theirs in pairs:
        assert (mine.batch_loss, mine.val_loss) == (theirs.batch_loss, theirs.val_loss)
    for name, parameter in dense.named_parameters():
        assert torch.equal(one.get_parameter(name), parameter), name


# No token sees a later one


class Leaky(Experts):
    """Capacity as it is often written: of a whole batch, whose first choices all come first."""

    def _taken(self, chosen):
        most = math.ceil(self.config.capacity * chosen.numel() / self.config.n_expert)
        in_order = chosen.permute(2, 0, 1)
        asked = F.one_hot(in_order.flatten(), self.config.n_expert)
        before = (asked.cumsum(0) - asked).gather(-1, in_order.reshape(-1, 1))
        return (before < most).view_as(in_order).permute(1, 2, 0)


def moved(layer, seed, training=True, **changes):
    """Whether a logit moves when the tokens after it do, and those of the other rows."""
    model = disturbed(lab.GPT(shape(aux_loss=0, **changes), mlp=layer)).train(training)
    ids, others = some_ids(4, T, seed=seed), some_ids(4, T, seed=seed + 100)
    row, place = seed % 4, 1 + seed % (T - 1)
    others[row, :place] = ids[row, :place]
    with torch.no_grad():
        before, after = (model(text)[row, :place] for text in (ids, others))
    return not torch.equal(before, after)


@pytest.mark.parametrize("training", [True, False], ids=["training", "not training"])
@pytest.mark.parametrize("capacity", [0, 1, 1.25])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_logit_depends_on_a_later_token(training, capacity, k):
    for seed in range(24):
        assert not moved(
            Experts, seed, training, n_active=k, capacity=capacity, n_shared=seed // 12
        )


@pytest.mark.parametrize("capacity", [1, 1.25])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_capacity_that_leaks_would_be_found(capacity, k):
    found = [moved(Leaky, seed, n_active=k, capacity=capacity) for seed in range(24)]
    assert sum(found) >= 4


def test_capacity_passes_by_those_who_come_later():
    layer, _ = some_layer(n_expert=2, n_active=1, capacity=0.5)
    chosen = torch.tensor([[0, 0, 0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 0]])[..., None]
    expected = [[1, 1, 0, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1]]  # 2 = 0.5 · 8 / 2 of each
    assert layer._taken(chosen)[..., 0].int().tolist() == expected
    assert layer.eval()._taken(chosen).all()


# The loss that balances the load


def with_aux(aux_loss):
    return disturbed(lab.GPT(shape(aux_loss=aux_loss)).double())


def test_no_reported_loss_holds_the_balance(sparse, dataset):
    ids, targets = some_ids(3, T), some_ids(3, T, seed=3)
    assert torch.equal(with_aux(0).loss(ids, targets), with_aux(1).loss(ids, targets))
    runs = [lab.fit(sparse(aux_loss=aux), dataset, TRAINING) for aux in (0, 1)]
    steps = [[next(run), next(run)] for run in runs]
    assert [now.val_loss for now, _ in steps] == [steps[0][0].val_loss] * 2
    assert [now.batch_loss for _, now in steps] == [steps[0][1].batch_loss] * 2
    assert next(runs[0]).batch_loss != next(runs[1]).batch_loss  # but it has its effect


def test_gradients_are_those_of_both_losses():
    ids, targets = some_ids(3, T), some_ids(3, T, seed=3)
    ours, by_hand, plain = with_aux(0.7), with_aux(0), with_aux(0)
    found = []
    for block in by_hand.blocks:
        block.mlp.register_forward_pre_hook(lambda layer, x: found.append(layer.route(*x)))
    loss = by_hand.loss(ids, targets)
    (loss + 0.7 * sum(map(balance_loss, found))).backward()
    ours.loss(ids, targets).backward()
    plain.loss(ids, targets).backward()
    for name, parameter in ours.named_parameters():
        if not name.endswith("router.bias"):
            torch.testing.assert_close(parameter.grad, by_hand.get_parameter(name).grad, msg=name)
    routers = [model.blocks[0].mlp.router.weight.grad for model in (ours, plain)]
    assert not torch.allclose(*routers)


def test_a_load_is_as_unequal_as_it_is():
    layer, x = some_layer()
    routing = layer.route(x)
    equal = routing._replace(
        probabilities=torch.full_like(routing.probabilities, 1 / 5),
        chosen=torch.arange(30).view(1, 15, 2) % 5,
    )
    assert balance_loss(equal).item() == pytest.approx(1)
    one = F.one_hot(torch.zeros(3, T, dtype=torch.long), 5).double()
    assert balance_loss(routing._replace(probabilities=one, chosen=one.long()[..., :1] * 0)) == 5


# Values and gradients


def naive(layer, x):
    """What the layer answers, token by token and expert by expert."""
    c = layer.config
    n_all = c.n_expert + c.n_shared
    fc = zip(layer.fc.weight.chunk(n_all), layer.fc.bias.chunk(n_all), strict=True)
    proj = zip(layer.proj.weight.chunk(n_all), layer.proj.bias.chunk(n_all), strict=True)
    experts = list(zip(fc, proj, strict=True))

    def answer(expert, token):
        inside = F.gelu(F.linear(token, *experts[expert][0]), approximate="tanh")
        return F.linear(inside, *experts[expert][1])

    most = math.ceil(c.capacity * c.n_active * x.shape[1] / c.n_expert) if c.capacity else x.numel()
    rows = []
    for tokens in x:
        load = [0] * c.n_expert
        for token in tokens:
            shares = F.linear(token, layer.router.weight).softmax(-1)
            best = (shares + layer.router.bias).argsort(descending=True)[: c.n_active].tolist()
            total = sum(shares[e] for e in best) if c.n_active > 1 else 1
            row = sum(answer(e, token) for e in range(c.n_expert, n_all)) + 0 * token
            for e in best:
                if load[e] < most:
                    row = row + shares[e] / total * answer(e, token)
                load[e] += 1
            rows.append(row)
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("n_shared", [0, 2])
def test_answers_and_gradients_are_those_of_a_loop(capacity, k, n_shared):
    layer, x = some_layer(n_active=k, n_shared=n_shared, capacity=capacity, aux_loss=0)
    weights = [p for name, p in layer.named_parameters() if name != "router.bias"]
    answers = [layer(x), naive(layer, x)]
    torch.testing.assert_close(*answers)
    towards = torch.randn_like(x)
    ours, theirs = (torch.autograd.grad(y, [x, *weights], towards) for y in answers)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("options", [{}, {"n_active": 1}, {"capacity": 1, "n_shared": 1}])
def test_gradients_are_those_of_small_changes(options):
    layer, x = some_layer(n_expert=3, expert_width=2, aux_loss=0, **options)
    x = x.detach()[:1, :4].requires_grad_()
    best = layer.route(x).probabilities.add(layer.router.bias).sort(-1).values
    assert best.diff().min() > 1e-4  # so that small changes change no choice
    names, weights = zip(*layer.named_parameters(), strict=True)

    def answers(x, *weights):
        return functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(answers, (x, *weights))


@pytest.mark.parametrize("options", [{"n_active": 5}, {"n_shared": 1}])
def test_gradients_are_the_same_every_time(options):
    """Where threads add up what several experts send to a token, the order must not be chance."""
    layer = Experts(ExpertConfig(V, 64, 1, 1, 64, **options))
    x = torch.randn(16, 64, 64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    threads = torch.get_num_threads()
    torch.set_num_threads(max(2, threads))
    try:
        first, *others = (torch.autograd.grad(layer(x).square().sum(), x)[0] for _ in range(6))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)


def test_gates_are_numbers_even_of_experts_without_any_chance():
    layer, x = some_layer()
    with torch.no_grad():
        layer.router.weight *= 1e5
        layer.router.bias.copy_(torch.tensor([-3, -3, -3, 0, 0]))
    routing = layer.route(x)
    assert routing.probabilities.gather(-1, routing.chosen).sum(-1).min() == 0
    assert torch.allclose(routing.gates.sum(-1), torch.ones(3, T, dtype=torch.float64))


def test_products_of_half_the_bits_are_nearly_the_same():
    losses = []
    for precision in ("fp32", "bf16"):
        model = lab.GPT(shape(n_shared=1, capacity=1.25))
        with products(precision, torch.device("cpu")):
            loss = model.loss(some_ids(3, T), some_ids(3, T, seed=3))
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


# The bias that balances the load without a loss


def test_the_bias_moves_towards_those_with_less_to_do():
    layer, x = some_layer(bias_rate=0.25)
    before, chosen = layer.router.bias.clone(), layer.route(x).chosen
    load = chosen.flatten().bincount(minlength=5).double()
    answer = layer(x)
    towards = (load.mean() - load).sign()
    assert set(towards.tolist()) >= {-1, 1}
    torch.testing.assert_close(layer.router.bias, before + 0.25 * towards)
    assert not layer.router.bias.requires_grad
    answer.sum().backward()
    assert layer.router.bias.grad is None
    after = layer.router.bias.clone()
    layer.eval()(x)
    assert torch.equal(layer.router.bias, after)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_bias_is_no_part_of_a_gate(k):
    layer, x = some_layer(n_active=k)
    before = layer.route(x)
    with torch.no_grad():
        layer.router.bias += 0.5  # the same for all, so the choice stays
    after = layer.route(x)
    assert torch.equal(before.chosen, after.chosen) and torch.equal(before.gates, after.gates)
    with torch.no_grad():
        layer.router.bias[0] += 2  # now the first expert takes every token
    routing = layer.route(x)
    assert (routing.chosen[..., 0] == 0).all()
    gates = routing.probabilities.gather(-1, routing.chosen)
    torch.testing.assert_close(routing.gates, gates if k == 1 else gates / gates.sum(-1, True))


# Runs


SAVED = {
    "with a loss": {"n_shared": 1, "capacity": 1.25, "dropout": 0.1},
    "with a bias": {"aux_loss": 0, "bias_rate": 0.01},
}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("average", [0.0, 0.8])
@pytest.mark.parametrize("kind", SAVED)
def test_a_run_with_experts_is_saved_loaded_and_resumed(sparse, dataset, tmp_path, kind, average):
    config = replace(TRAINING, average=average)
    whole = lab.train(sparse(**SAVED[kind]), dataset, config, progress=False)
    steps = lab.fit(part := sparse(**SAVED[kind]), dataset, config, state := TrainState())
    while next(steps).step < 6:
        pass
    run = Run(part, dataset, config, state)
    loaded = Run.load(run.save(tmp_path / "all"))
    assert loaded.model.config == part.config
    assert same(loaded.model.state_dict(), part.state_dict())
    best = Run.load(run.save(tmp_path / "best", keep="best"))
    assert same(best.best_model.state_dict(), run.best_model.state_dict())
    loaded.resume(progress=False)
    assert same(loaded.model.state_dict(), whole.model.state_dict())
    assert same(loaded.state.best_weights, whole.state.best_weights)
    assert loaded.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    biases = torch.stack([block.mlp.router.bias for block in loaded.model.blocks])
    assert bool(biases.any()) == (kind == "with a bias")


def test_only_runs_with_experts_have_the_new_format(sparse, tiny, dataset, tmp_path):
    for model, number in ((sparse(), 3), (tiny(), 2)):
        run = Run(model, dataset, TRAINING)
        text = (run.save(tmp_path / str(number)) / "run.json").read_text()
        assert f'"format": {number},' in text


# Text


DECODINGS = {
    "greedy": Decoding(temperature=0),
    "sampled": Decoding(temperature=1.2, top_k=9, seed=3),
    "filtered": Decoding(top_p=0.8, repetition_penalty=1.3, no_repeat_ngram=3),
    "beams": Decoding(beams=3),
    "contrast": Decoding(top_k=4, contrast=0.4),
}


@pytest.fixture(scope="module")
def writer():
    return disturbed(lab.GPT(shape(n_shared=1, capacity=1))).eval()


@pytest.mark.parametrize("name", DECODINGS)
def test_a_cache_changes_no_text(writer, name):
    for seed in range(3):
        prompt = some_ids(3, seed=seed).tolist()
        write = partial(lab.generate_tokens, writer, prompt, 14, DECODINGS[name])
        assert list(write(use_cache=True)) == list(write(use_cache=False))


def test_a_drafter_changes_no_text(writer):
    drafter = lab.NGram(lab.NGramConfig(V, 3), some_ids(200))
    for seed in range(3):
        prompt, decoding = some_ids(3, seed=seed).tolist(), DECODINGS["sampled"]
        drafted = lab.speculative(writer, drafter, prompt, 9, decoding)
        assert list(drafted.ids) == list(lab.generate_tokens(writer, prompt, 9, decoding))


# Shapes


@settings(max_examples=40)
@given(data=st.data(), n_expert=st.integers(1, 9), n_shared=st.integers(0, 2))
def test_experts_of_any_number_add_up(data, n_expert, n_shared):
    k, width = data.draw(st.integers(1, n_expert)), data.draw(st.integers(0, 7))
    config = shape(
        n_expert=n_expert, n_active=k, n_shared=n_shared, expert_width=width,
        capacity=data.draw(st.sampled_from([0, 0.1, 1, 9])), bias_rate=0.01,
    )  # fmt: skip
    model = disturbed(lab.GPT(config))
    assert config.expert_width == (width or max(1, 4 * C // (k + n_shared)))
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert config.n_params == model.n_params == sum(sizes.values())
    assert model.parameter_table()["parameters"].sum() == config.n_params
    in_experts = sum(n for name, n in sizes.items() if ".mlp.fc" in name or ".mlp.proj" in name)
    active = in_experts // (n_expert + n_shared) * (k + n_shared)
    assert config.active_params == config.n_params - in_experts + active
    loss = model.loss(some_ids(2, T), some_ids(2, T, seed=3))
    loss.backward()
    assert loss.isfinite()
    order = torch.tensor(data.draw(st.permutations(range(n_expert))))
    permuted = lab.GPT(config).eval()
    permuted.load_state_dict(reordered(model, order))
    with torch.no_grad():
        torch.testing.assert_close(
            permuted(some_ids(2, T)), model.eval()(some_ids(2, T)), atol=1e-5, rtol=1e-5
        )


def reordered(model, order):
    """Its weights with the experts that are chosen from in another order."""
    n_all = len(order) + model.config.n_shared
    everyone = torch.cat([order, torch.arange(len(order), n_all)])

    def moved(name, weight):
        if ".mlp." not in name:
            return weight
        by = order if "router" in name else everyone
        return weight.view(len(by), -1, *weight.shape[1:])[by].view_as(weight)

    return {name: moved(name, weight) for name, weight in model.state_dict().items()}


def test_routes_are_those_of_each_layer(writer):
    ids = some_ids(7)
    routes = lab.routings(writer, ids)
    assert len(routes) == 2 and not writer.training
    for routing in routes:
        assert routing.probabilities.shape == (1, 7, 5)
        assert routing.chosen.shape == routing.gates.shape == (1, 7, 2)
        torch.testing.assert_close(routing.probabilities.sum(-1), torch.ones(1, 7))
    shorter = lab.routings(writer, ids[:4])
    assert torch.equal(shorter[1].chosen, routes[1].chosen[:, :4])
    assert not any(block.mlp._forward_pre_hooks for block in writer.blocks)


# What is refused

NAN = float("nan")
WRONG = [
    *(({"n_expert": value}, "n_expert is") for value in (0, -1, 2.5, "8", None, True, 1_025)),
    *(({"n_active": value}, "n_active is") for value in (0, -1, 1.5, "2", NAN, 6, 1_025)),
    *(({"n_shared": value}, "n_shared is") for value in (-1, "1", 0.5)),
    *(({"expert_width": value}, "expert_width is") for value in (-1, "x", 1e3)),
    *(({"aux_loss": value}, "aux_loss is") for value in (-0.1, "0.1", NAN, math.inf, True)),
    *(({"bias_rate": value}, "bias_rate is") for value in (-0.1, "0.1", NAN, 1.5)),
    *(({"capacity": value}, "capacity is") for value in (-1, "1", NAN, math.inf, 1e308)),
    ({"n_expert": 1_000, "expert_width": 10**6}, "Such a model has"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=str)
def test_a_shape_that_is_none_is_refused_in_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words) as told:
        shape(**changes)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


@pytest.mark.parametrize("width", ["12", None, 0, -3])
def test_a_width_that_is_none_is_refused_too(width):
    with pytest.raises(ValueError, match="n_embd is"):
        ExpertConfig(V, T, 2, 3, width)


def test_what_needs_experts_says_so(writer):
    dense = lab.GPT(GPTConfig(V, T, 2, 3, C))
    with pytest.raises(ValueError, match="has no experts; give a"):
        lab.routings(dense, some_ids(3))
    with pytest.raises(ValueError, match="model is 'gpt'; it must be a GPT"):
        lab.routings("gpt", some_ids(3))
    with pytest.raises(ValueError, match="it must be an ExpertConfig, such as"):
        lab.GPT(dense.config, mlp=Experts)
    with pytest.raises(ValueError, match="with experts is no GPT-2"):
        to_huggingface(writer)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1, 2], "1-D int64 tensor"),
        (torch.zeros(2), "1-D int64 tensor"),
        (torch.zeros(1, 2, dtype=torch.long), "1-D int64 tensor"),
        (torch.tensor([-1]), "1-D int64 tensor"),
        (torch.tensor([], dtype=torch.long), "at least one token"),
        (torch.tensor([3, V]), "vocabulary ends at 22"),
        (torch.zeros(T + 1, dtype=torch.long), "do not fit the model's context"),
    ],
    ids=str,
)
def test_ids_without_routes_are_refused(writer, ids, words):
    with pytest.raises(ValueError, match=words):
        lab.routings(writer, ids)
    assert not any(block.mlp._forward_pre_hooks for block in writer.blocks)
