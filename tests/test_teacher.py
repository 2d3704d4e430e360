"""A copy of a model to compare with later, and what a training holds in memory."""

import gc
import math
import weakref
from copy import deepcopy
from pathlib import Path

import pytest
import torch

import slmlab as lab
from slmlab.engine.model import Attention
from slmlab.engine.optimizer import AdamW
from slmlab.study.footprint import MB, expert_memory, teacher_trace, training_bytes
from slmlab.study.teacher import Teacher

TRAINING = lab.TrainConfig(4, 1e-2, max_steps=6, eval_interval=6)


def train(model, dataset):
    for _ in lab.fit(model, dataset, TRAINING):
        pass


# A teacher


@pytest.mark.parametrize("off_loaded", [False, True])
def test_a_model_is_no_way_from_itself_and_some_way_after_training(tiny, dataset, off_loaded):
    model, ids = tiny(dropout=0.1), dataset.val[:40]
    teacher = Teacher(model, off_loaded)
    assert teacher.divergence(model, ids) == 0
    then = deepcopy(model)
    train(model, dataset)
    found = teacher.divergence(model, ids)
    assert found > 0.01
    by_hand = 0.0
    with torch.no_grad():
        for window in ids.split(16):
            theirs, ours = (m.eval()(window[None]).log_softmax(-1) for m in (then, model))
            by_hand += (theirs.exp() * (theirs - ours)).sum().item()
    assert found == pytest.approx(by_hand / 40, rel=1e-4)


def test_a_comparison_is_the_same_off_loaded_and_resident(tiny, dataset):
    model = tiny()
    resident, off_loaded = Teacher(model), Teacher(model, off_loaded=True)
    train(model, dataset)
    ids = dataset.val[:20]
    assert resident.divergence(model, ids) == off_loaded.divergence(model, ids) > 0
    assert model.training and all(p.grad is None for p in model.parameters())


def test_only_a_resident_teacher_stays_in_memory(tiny, dataset):
    model = tiny()
    size = 4 * model.n_params
    resident, off_loaded = Teacher(model), Teacher(model, off_loaded=True)
    for teacher, held in ((resident, size), (off_loaded, 0)):
        assert (teacher.held, teacher.most) == (held, size)  # to write a copy takes a copy
        teacher.divergence(model, dataset.val[:5])
        assert (teacher.held, teacher.most) == (held, size)


@pytest.mark.filterwarnings("error")
def test_the_file_of_a_teacher_goes_with_it(tiny):
    teacher = Teacher(tiny(), off_loaded=True)
    file = Path(teacher._file)
    assert file.exists()
    del teacher
    gc.collect()
    assert not file.parent.exists()


def test_a_comparison_that_fails_leaves_nothing_in_memory(tiny):
    model = tiny()
    teacher = Teacher(model, off_loaded=True)
    with pytest.raises(ValueError, match="token ids"):
        teacher.divergence(model, torch.tensor([10**6]))
    assert teacher.held == 0


def test_other_teachers_and_texts_are_refused(tiny):
    with pytest.raises(ValueError, match="model is None"):
        Teacher(None)
    with pytest.raises(ValueError, match="off_loaded"):
        Teacher(tiny(), "yes")
    teacher = Teacher(tiny())
    with pytest.raises(ValueError, match="model is 1"):
        teacher.divergence(1, torch.tensor([1]))
    with pytest.raises(ValueError, match="1-D int64"):
        teacher.divergence(tiny(), [1, 2])
    with pytest.raises(ValueError, match="ids are empty"):
        teacher.divergence(tiny(), torch.tensor([]).long())


# Memory


def sparse(n_vocab=50, **changes):
    settings = {"n_expert": 4, "n_active": 2, "expert_width": 12} | changes
    return lab.GPT(lab.ExpertConfig(n_vocab, 8, 2, 2, 16, **settings))


@pytest.mark.parametrize("make", [sparse, lambda: lab.GPT(lab.GPTConfig(50, 8, 2, 2, 16))])
def test_what_a_step_holds_is_what_can_be_counted(make):
    model = make()
    found = training_bytes(model, 3)
    inputs, targets = torch.randint(50, (2, 3, 8), generator=torch.Generator().manual_seed(0))
    model.loss(inputs, targets).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    moments = [m for of in AdamW(model, 0.0).moments.values() for m in of.values() if m.dim()]
    assert found["parameters"] == 4 * model.n_params
    assert found["gradients"] == sum(g.numel() * 4 for g in gradients)
    assert found["moments"] == sum(m.numel() * 4 for m in moments)


def test_activations_grow_with_the_batch():
    two, four, eight = (training_bytes(sparse(), n)["activations"] for n in (2, 4, 8))
    growth = (eight - four) / (four - two)
    assert growth == pytest.approx(2, rel=0.2)  # the busiest expert decides how many rows there are
    dense = lab.GPT(lab.GPTConfig(50, 8, 2, 2, 16))
    two, four, eight = (training_bytes(dense, n)["activations"] for n in (2, 4, 8))
    assert eight - four == 2 * (four - two)
    at_least = 2 * 8 * 4 * (2 * (16 + 3 * 16 + 16 + 64))  # inputs, q, k, v, and inside the MLPs
    assert at_least < two < 6 * at_least


def test_counting_leaves_the_model_as_it_was():
    model = sparse(bias_rate=0.1).eval()
    before = deepcopy(model.state_dict())
    training_bytes(model, 2)
    assert not model.training and all(p.grad is None for p in model.parameters())
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_counting_frees_what_it_counted(monkeypatch):
    """A saved result that the hook gives back as it is keeps itself alive for ever."""
    seen, attend = [], Attention.attend

    def watched(*arguments, **mask):
        result = attend(*arguments, **mask)
        seen.append(weakref.ref(result))
        return result

    monkeypatch.setattr(Attention, "attend", watched)
    training_bytes(sparse(), 2)
    gc.collect()
    assert len(seen) == 2 and all(of() is None for of in seen)


@pytest.mark.parametrize(
    ("wrong", "sentence"), [((None, 1), "model"), ((sparse(), 0), "batch_size")]
)
def test_nothing_else_is_counted(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        training_bytes(*wrong)


def test_more_experts_hold_more_and_work_as_much():
    shape = lab.GPTConfig(50, 8, 2, 2, 16)
    table = expert_memory(shape, 12, 2, (2, 4, 8))
    assert list(table.index) == [2, 4, 8]
    routers = table["active"] * 1e6 - [2 * n * 17 for n in (2, 4, 8)]  # a row and a bias each
    assert routers.round().nunique() == 1
    one = 2 * 16 * 12 + 12 + 16
    grown = (table["parameters"] * 1e6).diff().dropna().round().tolist()
    assert grown == [2 * n * (one + 17) for n in (2, 4)]
    parts = [f"{name} (MB)" for name in ("parameters", "gradients", "moments", "activations")]
    assert table[parts].sum(axis=1).tolist() == pytest.approx(table["all (MB)"].tolist())
    assert table["all (MB)"].is_monotonic_increasing
    assert table.equals(expert_memory(sparse().config, 12, 2, (2, 4, 8)))  # its experts don't count
    for wrong, sentence in (
        ((None, 12, 2), "shape"),
        ((shape, -1, 2), "expert_width"),
        ((shape, 12, 0), "batch_size"),
        ((shape, 12, 2, [1]), "n_active is 2"),
        ((shape, 12, 2, 4), "numbers"),
    ):
        with pytest.raises(ValueError, match=sentence):
            expert_memory(*wrong)


@pytest.mark.parametrize("off_loaded", [False, True])
def test_a_trace_has_a_row_a_step_and_a_teacher_from_phase_b_on(dataset, off_loaded):
    model = sparse(dataset.tokenizer.n_vocab)
    size, own = 4 * model.n_params / MB, sum(training_bytes(model, 4).values()) / MB
    trace = teacher_trace(model, dataset, TRAINING, off_loaded, every=2)
    assert list(trace.columns) == ["step", "phase", "divergence", "MB"]
    assert trace["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert "".join(trace["phase"]) == "AABBCC"
    compared = [False, False, False, True, False, True]
    assert trace["divergence"].notna().tolist() == compared
    assert (trace["divergence"].dropna() > 0).all()
    held = [0, 0, *(size if one or not off_loaded else 0 for one in compared[2:])]
    assert trace["MB"].tolist() == pytest.approx([own + more for more in held])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"config": lab.TrainConfig(4, 1e-2, max_steps=7)}, "divided by 3"),
        ({"config": lab.TrainConfig(4, 1e-2, seconds=3)}, "divided by 3"),
        ({"config": None}, "config"),
        ({"model": None}, "model"),
        ({"dataset": None}, "dataset"),
        ({"off_loaded": 1}, "off_loaded"),
        ({"every": 0}, "every"),
    ],
)
def test_no_other_training_is_traced(tiny, dataset, wrong, sentence):
    right = {"model": tiny(), "dataset": dataset, "config": TRAINING, "off_loaded": False}
    with pytest.raises(ValueError, match=sentence):
        teacher_trace(**(right | wrong))


def test_the_divergence_of_two_known_distributions():
    """Of a teacher sure of one token among 50, and a model that knows nothing: ln 50."""
    config = lab.GPTConfig(50, 8, 1, 1, 4)
    sure, blank = lab.GPT(config), lab.GPT(config)
    with torch.no_grad():
        for p in blank.parameters():
            p.zero_()
        sure.ln_f.weight.zero_()
        sure.ln_f.bias.fill_(1)
        sure.wte.weight.zero_()
        sure.wte.weight[7] = 50
    found = Teacher(sure).divergence(blank, torch.arange(20))
    assert found == pytest.approx(math.log(50), rel=1e-5)
