"""Several models that predict as one, and one that learns from them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import slmlab as lab
from slmlab.engine.ensemble import Ensemble
from slmlab.engine.evaluation import mean_loss, strided_losses
from slmlab.study.distillation import SHARE, TEMPERATURE, Student
from slmlab.text.dataset import IGNORED

SHAPE = lab.GPTConfig(20, 6, 1, 1, 8)
MEMBERS = [lab.GPT(SHAPE, seed=seed).eval() for seed in (4, 6, 9)]
with torch.no_grad():
    for one in MEMBERS:
        one.wte.weight *= 40  # so that they disagree

texts = st.lists(st.integers(0, 19), min_size=2, max_size=40).map(torch.tensor)


@given(ids=texts)
def test_an_ensemble_is_the_mean_probability_of_its_members(ids):
    alone = torch.stack([strided_losses(model, ids) for model in MEMBERS])
    together = strided_losses(Ensemble(MEMBERS), ids)
    wanted = alone.neg().exp().mean(0)
    torch.testing.assert_close(together.neg().exp(), wanted, rtol=1e-4, atol=1e-6)
    assert (together <= alone.mean(0) + 1e-4).all()


@given(ids=texts)
def test_an_ensemble_of_one_is_that_one(ids):
    alone, together = (mean_loss(model, ids) for model in (MEMBERS[0], Ensemble(MEMBERS[:1])))
    assert together == pytest.approx(alone, abs=1e-4)


def test_an_ensemble_gives_probabilities_and_counts_all_parameters():
    ensemble = Ensemble(MEMBERS)
    ids = torch.arange(6)[None]
    torch.testing.assert_close(ensemble(ids).exp().sum(-1), torch.ones(1, 6))
    assert ensemble.n_params == 3 * MEMBERS[0].n_params
    targets = torch.full_like(ids, IGNORED)
    assert ensemble.loss(ids, targets).item() == 0
    targets[0, 2] = 7
    assert ensemble.loss(ids, targets).item() == pytest.approx(-ensemble(ids)[0, 2, 7].item())


@pytest.mark.parametrize("other", [lab.GPTConfig(21, 6, 1, 1, 8), lab.GPTConfig(20, 5, 1, 1, 8)])
def test_members_that_read_other_tokens_or_contexts_are_refused(other):
    with pytest.raises(ValueError, match="2 different pairs of vocabulary and context"):
        Ensemble([MEMBERS[0], lab.GPT(other)])
    with pytest.raises(ValueError, match="at least one model"):
        Ensemble([])
    with pytest.raises(ValueError, match=r"members\[0\] is 3; it must be a GPT"):
        Ensemble([3])


batches = st.lists(st.integers(0, 19), min_size=14, max_size=14).map(
    lambda ids: torch.tensor(ids).view(2, 7)
)


@settings(max_examples=25)
@given(windows=batches, hidden=st.sets(st.integers(0, 11), max_size=12))
def test_a_student_learns_from_the_text_and_the_teacher(windows, hidden):
    teacher = Ensemble(MEMBERS)
    student = Student(SHAPE, teacher, seed=1)
    ids, targets = windows[:, :-1], windows[:, 1:].clone()
    for place in hidden:
        targets.view(-1)[place] = IGNORED
    loss = student.loss(ids, targets)
    counted = targets.flatten() != IGNORED
    if not counted.any():
        assert loss.item() == 0
        return
    with torch.no_grad():
        logits, wanted = student(ids).flatten(0, 1)[counted], teacher(ids).flatten(0, 1)[counted]
    hard = F.cross_entropy(logits, targets.flatten()[counted])
    p = torch.softmax(wanted / TEMPERATURE, -1)
    log_q = torch.log_softmax(logits / TEMPERATURE, -1)
    soft = F.kl_div(log_q, p, reduction="batchmean") - (p * p.log()).sum(-1).mean()
    both = (1 - SHARE) * hard + SHARE * TEMPERATURE**2 * soft
    torch.testing.assert_close(loss.detach(), both, rtol=1e-4, atol=1e-5)


def test_a_students_evaluation_and_weights_are_a_gpts():
    teacher = lab.GPT(SHAPE, seed=3)
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    student, plain = Student(SHAPE, teacher, seed=1), lab.GPT(SHAPE, seed=1)
    assert student.state_dict().keys() == plain.state_dict().keys()
    ids = torch.arange(20)
    assert mean_loss(student, ids) == mean_loss(plain, ids)
    student.loss(ids[None, :6], ids[None, 1:7]).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert teacher.training
    for name, weight in teacher.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_student_that_only_hears_its_teacher_comes_to_predict_as_it_does():
    torch.manual_seed(0)
    teacher = MEMBERS[1]
    student = Student(SHAPE, teacher, seed=1)
    optimizer = torch.optim.Adam(student.parameters(), 0.01)
    ids = torch.randint(20, (64, 6))
    with torch.no_grad():
        targets = torch.distributions.Categorical(logits=teacher(ids)).sample()
    apart = []
    for _ in range(150):
        optimizer.zero_grad()
        student.loss(ids, targets).backward()
        optimizer.step()
        with torch.no_grad():
            p, log_q = teacher(ids).softmax(-1), student(ids).log_softmax(-1)
            apart.append(float((p * (p.log() - log_q)).sum(-1).mean()))
    assert apart[-1] < apart[0] / 4


def test_a_teacher_of_other_tokens_is_refused():
    with pytest.raises(ValueError, match="21 vocabulary rows and the student 20"):
        Student(SHAPE, lab.GPT(lab.GPTConfig(21, 6, 1, 1, 8)))
    with pytest.raises(ValueError, match="teacher is None; give a GPT"):
        Student(SHAPE, None)


WRONG_LOSSES = {
    "fewer targets": (lambda m, ids: m.loss(ids, ids[:, 1:]), "tokens have .* targets; give each"),
    "a target beyond": (lambda m, ids: m.loss(ids, ids + 99), "targets run from 0 to"),
    "much smoothing": (lambda m, ids: m.loss(ids, ids, 2.0), "label_smoothing is 2.0; it must be"),
}


@pytest.mark.parametrize(("call", "part"), WRONG_LOSSES.values(), ids=WRONG_LOSSES)
@pytest.mark.parametrize("kind", ["ensemble", "student"])
def test_a_loss_of_what_does_not_fit_gets_a_sentence(kind, call, part):
    teacher = lab.GPT(SHAPE)
    model = Ensemble([teacher]) if kind == "ensemble" else Student(SHAPE, teacher)
    with pytest.raises(ValueError, match=part):
        call(model.train(), torch.tensor([[1, 2, 3]]))


def test_a_trained_student_is_saved_as_the_gpt_that_it_is(dataset, tmp_path):
    shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 16, 1, 2, 8)
    student = Student(shape, lab.GPT(shape))
    run = lab.train(student, dataset, lab.TrainConfig(2, 1e-3, max_steps=2), progress=False)
    with pytest.raises(ValueError, match=r'A Student learns from more .* with keep="best"'):
        run.save(tmp_path / "run")
    run.save(tmp_path / "run", keep="best")
    loaded = lab.Run.load(tmp_path / "run").model
    ids = torch.tensor([[1, 2, 3]])
    assert type(loaded) is lab.GPT and torch.equal(loaded(ids), run.best_model(ids))
    assert Student(shape, lab.GPT(shape)).exchanged_parts == ()
