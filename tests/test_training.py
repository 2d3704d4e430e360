"""The training loop: the same seed gives the same losses, and every promise of `fit` holds."""

import copy
import math
import signal
import threading
import time
import warnings
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Dataset, Run, TrainConfig, TrainState, fit, mean_loss
from slmlab.engine import console
from slmlab.engine.evaluation import loss_windows, train_sample_starts
from slmlab.engine.optimizer import AdamW
from slmlab.engine.pace import Pace
from slmlab.engine.training import VocabularyWarning, vocabulary_advice
from slmlab.show.bars import WidgetLine

CONFIG = TrainConfig(4, 3e-3, max_steps=20, eval_interval=5)
FULL = replace(CONFIG, warmup_steps=4, cosine=True, label_smoothing=0.1, grad_clip=0.5)


def fitted(model, dataset, config, stop_after=None):
    """Train, stopping after some step; what was reported, and the state."""
    state, reports = TrainState(), []
    for report in fit(model, dataset, config, state):
        reports.append(report)
        if report.step == stop_after:
            break
    return reports, state


def losses(reports):
    return [(r.step, r.batch_loss, r.train_loss, r.val_loss) for r in reports]


def watched(dataset, watch):
    """The dataset again, but it calls `watch(inputs, targets)` for each batch it hands out."""

    class Watched(Dataset):
        def batch(self, *arguments):
            inputs, targets = super().batch(*arguments)
            watch(inputs, targets)
            return inputs, targets

    return Watched(dataset.train, dataset.val, dataset.tokenizer, dataset.source)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_same_seed_gives_the_same_losses_to_the_bit(tiny, dataset, dropout):
    first, _ = fitted(tiny(dropout=dropout), dataset, FULL)
    torch.rand(3)  # other random numbers in between change nothing
    second, _ = fitted(tiny(dropout=dropout), dataset, FULL)
    assert losses(first) == losses(second)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_another_seed_gives_other_losses(tiny, dataset, dropout):
    first, _ = fitted(tiny(dropout=dropout), dataset, CONFIG)
    other, _ = fitted(tiny(dropout=dropout), dataset, replace(CONFIG, seed=1))
    assert losses(first)[0] == losses(other)[0]
    assert losses(first)[1:] != losses(other)[1:]


def test_batches_depend_on_the_seed_and_the_step(tiny, dataset):
    def batches(seed):
        seen = []
        data = watched(dataset, lambda inputs, _: seen.append(inputs))
        fitted(tiny(), data, replace(CONFIG, seed=seed))
        return torch.stack(seen)

    first = batches(0)
    assert len(first) == 20
    assert len(first.unique(dim=0)) == 20
    assert torch.equal(first, batches(0))
    assert not torch.equal(first, batches(1))


def test_training_leaves_the_global_generator_alone(tiny, dataset):
    model = tiny(dropout=0.2)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fitted(model, dataset, CONFIG)
    assert torch.equal(torch.rand(4), expected)


def test_training_learns(tiny, dataset):
    reports, _ = fitted(tiny(), dataset, replace(CONFIG, max_steps=60, learning_rate=1e-2))
    assert reports[-1].train_loss < reports[0].train_loss - 2


def test_progress_tells_what_it_says(tiny, dataset):
    reports, state = fitted(tiny(), dataset, CONFIG)
    assert [r.step for r in reports] == list(range(21))
    assert [r.step for r in reports if r.val_loss is not None] == [0, 5, 10, 15, 20]
    assert [r.step for r in state.history] == [0, 5, 10, 15, 20]
    assert reports[0].batch_loss is None
    assert reports[0].tokens == 0
    assert reports[-1].tokens == 20 * 4 * 16
    assert reports[-1].epochs == pytest.approx(20 * 4 * 16 / len(dataset.train))
    assert reports[-1].eta == 0
    assert all(r.eta >= 0 for r in reports[1:])
    assert all(a.seconds <= b.seconds for a, b in pairwise(reports))
    assert state.status == "finished"


def test_the_default_is_ten_evaluations(tiny, dataset):
    _, state = fitted(tiny(), dataset, replace(CONFIG, max_steps=40, eval_interval=None))
    assert [p.step for p in state.history] == list(range(0, 41, 4))


def test_the_last_step_is_always_evaluated(tiny, dataset):
    _, state = fitted(tiny(), dataset, replace(CONFIG, max_steps=7))
    assert [p.step for p in state.history] == [0, 5, 7]


def same_weights(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("config", [CONFIG, FULL], ids=["plain", "warm-up, cosine, smoothing"])
def test_a_resumed_run_equals_one_that_never_stopped(tiny, dataset, tmp_path, dropout, config):
    whole_model, part_model = tiny(dropout=dropout), tiny(dropout=dropout)
    _, whole = fitted(whole_model, dataset, config)
    _, part = fitted(part_model, dataset, config, stop_after=8)
    Run(part_model, dataset, config, part).save(tmp_path / "part")

    resumed = Run.load(tmp_path / "part").resume(progress=False)

    assert losses(resumed.state.history) == losses(whole.history)
    assert same_weights(resumed.model, whole_model)
    assert resumed.state.status == "finished"
    assert resumed.state.best_step == whole.best_step
    assert resumed.state.best_val_loss == whole.best_val_loss
    assert all(torch.equal(w, resumed.state.best_weights[k]) for k, w in whole.best_weights.items())


def test_a_finished_run_can_be_prolonged(tiny, dataset, tmp_path):
    long_model, short_model = tiny(), tiny()
    _, long = fitted(long_model, dataset, replace(CONFIG, max_steps=30))
    _, short = fitted(short_model, dataset, CONFIG)
    Run(short_model, dataset, CONFIG, short).save(tmp_path / "short")

    longer = replace(CONFIG, max_steps=30)
    prolonged = Run.load(tmp_path / "short").resume(longer, progress=False)

    assert losses(prolonged.state.history) == losses(long.history)
    assert same_weights(prolonged.model, long_model)


def test_resuming_a_finished_run_changes_nothing(tiny, dataset):
    model = tiny()
    _, state = fitted(model, dataset, CONFIG)
    before = copy.deepcopy(model)
    run = Run(model, dataset, CONFIG, state).resume(progress=False)
    assert run.state.step == 20
    assert run.state.status == "finished"
    assert same_weights(model, before)


def by_hand(model, ids):
    """Mean loss of every token but the first, window after window."""
    block, total = model.config.block_size, 0.0
    with torch.no_grad():
        for start in range(0, len(ids) - 1, block):
            window = ids[start : start + block + 1]
            logits = model(window[None, :-1])[0]
            total += F.cross_entropy(logits, window[1:], reduction="sum").item()
    return total / (len(ids) - 1)


@pytest.mark.parametrize("length", [2, 3, 15, 16, 17, 18, 33, 200])
def test_evaluation_equals_a_loop_written_by_hand(finished, dataset, length):
    model, ids = finished.model, dataset.val[:length]
    assert mean_loss(model, ids) == pytest.approx(by_hand(model, ids), abs=1e-5)


@given(n=st.integers(2, 90), block=st.integers(1, 20), rows=st.integers(1, 60))
def test_windows_predict_every_token_once(n, block, rows):
    windows = list(loss_windows(torch.arange(n), block, rows))
    predicted = sorted(i for _, targets in windows for i in targets.flatten().tolist())
    assert predicted == list(range(1, n))
    assert all(torch.equal(inputs + 1, targets) for inputs, targets in windows)
    assert all(inputs.shape[1] <= block for inputs, _ in windows)


def test_evaluation_ignores_dropout_and_restores_the_mode(tiny, dataset):
    model, plain = tiny(dropout=0.5).train(), tiny().eval()
    assert mean_loss(model, dataset.val) == mean_loss(plain, dataset.val)
    assert model.training
    mean_loss(plain, dataset.val)
    assert not plain.training


def test_reported_losses_are_those_of_the_model(tiny, dataset):
    model = tiny()
    reports, _ = fitted(model, dataset, CONFIG)
    assert reports[-1].val_loss == mean_loss(model, dataset.val)
    starts = train_sample_starts(len(dataset.train), len(dataset.val), 16)
    assert reports[-1].train_loss == mean_loss(model, dataset.train, starts)


def test_a_validation_set_shorter_than_the_context_works(gpt2, text):
    data = Dataset.from_text(text[:900], lab.right_size(gpt2, text[:900]))
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 64, 1, 2, 8))
    assert len(data.val) < 64
    reports, state = fitted(model, data, replace(CONFIG, max_steps=3))
    assert state.status == "finished"
    assert reports[-1].val_loss == pytest.approx(by_hand(model.eval(), data.val), abs=1e-5)


def test_a_loss_needs_two_tokens(finished, dataset):
    with pytest.raises(ValueError, match="at least 2 tokens; got 1"):
        mean_loss(finished.model, dataset.val[:1])


@given(n_train=st.integers(2, 30_000), n_val=st.integers(2, 3000), data=st.data())
def test_the_train_sample_is_disjoint_and_in_range(n_train, n_val, data):
    block = data.draw(st.integers(1, min(n_train - 1, 300)))
    starts = train_sample_starts(n_train, n_val, block)
    assert starts[0] >= 0
    assert starts[-1] + block + 1 <= n_train
    assert all(b - a >= block for a, b in pairwise(starts))
    wanted = min(max(n_val, 1000), n_train - 1)
    assert len(starts) * block <= wanted + block
    assert len(starts) * block > wanted - block


def contrary(dataset):
    """A dataset whose validation half is the training text backwards, so it soon gets worse."""
    return Dataset(dataset.train, dataset.train[:200].flip(0), dataset.tokenizer)


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_early_and_keeps_the_best_weights(tiny, dataset, patience):
    data = contrary(dataset)
    config = replace(CONFIG, max_steps=2000, learning_rate=2e-2, patience=patience)
    model = tiny()
    reports, state = fitted(model, data, config)

    assert state.status == "stopped early"
    assert reports[-1].step == state.step < 2000
    evaluated = [p.val_loss for p in state.history]
    assert state.best_val_loss == min(evaluated)
    assert evaluated.index(min(evaluated)) == len(evaluated) - 1 - patience
    assert reports[-1].val_loss == mean_loss(model, data.val) > state.best_val_loss

    best = Run(model, data, config, state).best_model
    assert mean_loss(best, data.val) == state.best_val_loss


def test_best_weights_reproduce_the_best_loss(finished):
    best = finished.best_model
    assert mean_loss(best, finished.dataset.val) == finished.state.best_val_loss
    assert finished.state.best_val_loss == finished.history["val_loss"].min()


@pytest.mark.slow
def test_a_time_budget_is_planned_and_kept(tiny, dataset):
    config = TrainConfig(4, 3e-3, seconds=1.0, eval_interval=1000)
    reports, state = fitted(tiny(), dataset, config)
    assert state.status == "finished"
    assert reports[-1].val_loss is not None
    assert 1 <= state.step <= state.planned_steps
    assert reports[-1].eta == 0


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"seconds": 60.0}, [1, 2, 4, 8, 16, 20, 40, 60]),
        ({"seconds": 60.0, "eval_interval": 10}, [1, 2, 4, 8, *range(10, 61, 10)]),
        ({"seconds": 60.0, "patience": 3}, [20, 40, 60]),
        ({"max_steps": 200}, [20, 40, 60]),
    ],
)
def test_a_run_with_a_budget_is_looked_at_early(change, steps):
    """At 1, 2, 4, 8 …: what happens first is not missed, whatever number of steps is planned."""
    plan = {"max_steps": None, "eval_interval": None} | change
    state = lab.TrainState(planned_steps=200)
    pace = Pace(replace(CONFIG, **plan), state)
    due = []
    for state.step in range(1, 61):
        if pace.evaluation_is_due():
            due.append(state.step)
    assert due == steps


def test_early_looks_cost_a_small_part_of_the_budget(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # each look takes a second
    state = lab.TrainState()
    pace = Pace(replace(CONFIG, max_steps=None, eval_interval=None, seconds=60.0), state)
    with pace.evaluation():
        pass
    looks = []
    for state.step in range(1, 65):
        if pace.evaluation_is_due():
            looks.append(state.step)
            with pace.evaluation():
                pass
    assert looks == [1, 2]


def test_a_hopeless_time_budget_still_makes_one_step(tiny, dataset):
    reports, state = fitted(tiny(), dataset, TrainConfig(4, 3e-3, seconds=1e-6))
    assert state.status == "finished"
    assert [r.step for r in reports] == [0, 1]


def test_label_smoothing_changes_training_but_not_evaluation(tiny, dataset):
    plain, _ = fitted(tiny(), dataset, CONFIG)
    smooth, _ = fitted(tiny(), dataset, replace(CONFIG, label_smoothing=0.3))
    assert plain[0].val_loss == smooth[0].val_loss
    assert plain[20].val_loss != smooth[20].val_loss

    model, (inputs, targets) = tiny(), dataset.batch(4, 16, seed=9)
    expected = F.cross_entropy(
        model(inputs).flatten(0, 1), targets.flatten(), label_smoothing=0.3
    ).item()
    assert model.loss(inputs, targets, 0.3).item() == pytest.approx(expected, abs=1e-5)


def test_weight_decay_shrinks_matrices_only(tiny):
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    AdamW(model, weight_decay=0.5).step(learning_rate=0.1)
    for name, weight in model.state_dict().items():
        factor = 0.95 if weight.dim() == 2 else 1.0
        torch.testing.assert_close(weight, factor * before[name])


def test_adamw_leaves_what_has_no_gradient(tiny):
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    still = {name for name, _ in model.named_parameters() if ".mlp." in name or "ln_f" in name}
    optimizer = AdamW(model, weight_decay=0.5)
    for _ in range(2):
        for name, parameter in model.named_parameters():
            parameter.grad = None if name in still else torch.ones_like(parameter)
        optimizer.step(learning_rate=0.1)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]) == (name in still), name
        moments = optimizer.moments[name].values()
        assert all(bool(moment.any()) != (name in still) for moment in moments), name


def test_adamw_steps_as_pytorchs_class_does(tiny, dataset):
    ours, theirs = tiny(), tiny()
    groups = [
        {"params": [p for p in theirs.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    reference, optimizer = torch.optim.AdamW(groups, lr=1e-2), AdamW(ours, weight_decay=0.1)
    for step in range(5):
        for model in (ours, theirs):
            model.loss(*dataset.batch(4, 16, seed=step)).backward()
        optimizer.step(1e-2)
        reference.step()
        reference.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        # A key's bias has no gradient but rounding, which Adam blows up to full steps.
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def rates(**options):
    config = TrainConfig(4, 1.0, max_steps=100, **options)
    return [config.learning_rate_at(step, 100) for step in range(1, 101)]


def test_the_learning_rate_is_constant_by_default():
    assert set(rates()) == {1.0}


def test_the_learning_rate_warms_up_from_zero():
    assert rates(warmup_steps=10)[:11] == pytest.approx([i / 10 for i in range(1, 11)] + [1.0])


def test_the_cosine_falls_to_a_tenth():
    shape = rates(warmup_steps=20, cosine=True)
    assert max(shape) == shape[19] == 1.0
    assert all(a > b for a, b in pairwise(shape[19:]))
    assert shape[59] == pytest.approx(0.55)
    assert shape[-1] == pytest.approx(0.1)


def test_the_reported_learning_rate_is_the_one_used(tiny, dataset, monkeypatch):
    used, step = [], AdamW.step
    monkeypatch.setattr(AdamW, "step", lambda self, lr: (used.append(lr), step(self, lr)))
    config = replace(CONFIG, warmup_steps=4, cosine=True)
    reported = [p.learning_rate for p in fit(tiny(), dataset, config) if p.step]
    assert used == reported


def test_a_loss_that_explodes_ends_the_run_with_the_best_weights(tiny, dataset):
    model = tiny()
    config = replace(CONFIG, learning_rate=1e30, grad_clip=0.0, eval_interval=1)
    with pytest.warns(UserWarning, match="finite number .* Lower the learning rate"):
        reports, state = fitted(model, dataset, config)
    assert state.status == "diverged"
    assert all(math.isfinite(r.val_loss) for r in reports)
    assert all(torch.equal(w, state.best_weights[k]) for k, w in model.state_dict().items())
    assert mean_loss(model, dataset.val) == state.best_val_loss


def test_a_run_that_diverged_comes_back_whole(tiny, dataset, tmp_path):
    config = replace(CONFIG, learning_rate=1e30, grad_clip=0.0)
    with pytest.warns(UserWarning, match="Lower the learning rate"):
        run = lab.train(tiny(), dataset, config, prompts=["The", "A"], progress=False)
    assert run.state.status == "diverged"
    assert len(run.samples) == 2
    again = Run.load(run.save(tmp_path / "run"))
    assert again.state.status == "diverged"
    assert same_weights(again.model, run.model)


def test_resuming_a_run_that_diverged_says_why_not(tiny, dataset):
    config = replace(CONFIG, learning_rate=1e30, grad_clip=0.0)
    with pytest.warns(UserWarning, match="Lower the learning rate"):
        run = lab.train(tiny(), dataset, config, progress=False)
    with pytest.raises(ValueError, match="diverged"):
        run.resume(progress=False)


def test_a_model_that_starts_broken_is_told_in_a_sentence(tiny, dataset):
    model = tiny()
    with torch.no_grad():
        model.ln_f.weight[0] = torch.nan
    with pytest.warns(UserWarning, match="stopped being a finite number after step 0"):
        _, state = fitted(model, dataset, CONFIG)
    assert state.status == "diverged"
    assert state.step == 0


def interrupting(dataset, at):
    """A dataset that presses Ctrl-C while batch number `at` is made."""
    count = iter(range(1, 10**6))

    def press(*_):
        if next(count) == at:
            signal.raise_signal(signal.SIGINT)

    return watched(dataset, press)


def test_an_interrupt_gives_back_the_run_so_far(tiny, dataset):
    handler = signal.getsignal(signal.SIGINT)
    data = interrupting(dataset, at=7)
    run = lab.train(tiny(), data, CONFIG, prompts=["The"], progress=False)
    assert run.state.status == "interrupted"
    assert run.state.step == 7
    assert [p.step for p in run.state.history] == [0, 5]
    assert {sample["step"] for sample in run.samples} == {7}
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupted_run_resumes_exactly(tiny, dataset, tmp_path):
    whole_model = tiny(dropout=0.1)
    _, whole = fitted(whole_model, dataset, FULL)
    part = lab.train(tiny(dropout=0.1), interrupting(dataset, at=7), FULL, progress=False)

    loaded = Run.load(part.save(tmp_path / "part"))
    assert loaded.state.status == "interrupted"
    resumed = loaded.resume(progress=False)

    assert losses(resumed.state.history) == losses(whole.history)
    assert same_weights(resumed.model, whole_model)


def test_an_interrupted_run_resumes_in_memory_too(tiny, dataset):
    whole_model = tiny()
    _, whole = fitted(whole_model, dataset, CONFIG)
    run = lab.train(tiny(), interrupting(dataset, at=3), CONFIG, progress=False)
    run.resume(progress=False)
    assert losses(run.state.history) == losses(whole.history)
    assert same_weights(run.model, whole_model)


def test_an_interrupt_in_the_last_step_comes_too_late(tiny, dataset):
    run = lab.train(tiny(), interrupting(dataset, at=20), CONFIG, progress=False)
    assert run.state.step == 20
    assert run.state.status == "finished"


def test_a_second_interrupt_does_not_wait(tiny, dataset):
    def press_twice(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        lab.train(tiny(), watched(dataset, press_twice), CONFIG, progress=False)
    assert signal.getsignal(signal.SIGINT) is handler


def test_training_works_in_a_thread(tiny, dataset):
    runs = []
    thread = threading.Thread(
        target=lambda: runs.append(lab.train(tiny(), dataset, CONFIG, progress=False))
    )
    thread.start()
    thread.join()
    assert runs[0].state.status == "finished"


def test_the_progress_bar_reaches_the_end(tiny, dataset, capsys):
    lab.train(tiny(), dataset, CONFIG, name="a short run")
    shown = capsys.readouterr().err
    assert shown.strip().startswith("measuring your machine …")
    assert "a short run 20/20 |" in shown.splitlines()[-1]
    assert "· train " in shown and "· val " in shown


def test_a_title_with_braces_is_shown_as_it_is(tiny, dataset, capsys):
    lab.train(tiny(), dataset, CONFIG, name="{n} {}")
    assert "{n} {} 20/20 |" in capsys.readouterr().err


def test_a_notebook_has_a_widget_then_its_last_words(tiny, dataset, monkeypatch):
    """The text is what a stored notebook shows."""
    shown, last = [], []
    handle = SimpleNamespace(update=last.append)
    monkeypatch.setattr(console, "make_line", WidgetLine)
    monkeypatch.setattr("IPython.display.display", lambda box, **_: shown.append(box) or handle)
    said = []

    def on_step(run, now):
        [box] = shown
        said.append((box.children[0].value, box.children[1].value))

    lab.train(tiny(), dataset, CONFIG, name="<b>", on_step=on_step)
    assert said[0][0] == 0 and "&lt;b&gt;: measuring your machine …" in said[0][1]
    assert last[0].data.startswith("&lt;b&gt;: step 20 of 20 · ")
    assert " · train " in last[0].data


def test_a_bar_that_cannot_be_shown_costs_the_bar_only(tiny, dataset, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no front end")

    monkeypatch.setattr(console, "make_line", WidgetLine)
    monkeypatch.setattr("IPython.display.display", broken)
    assert lab.train(tiny(), dataset, CONFIG).state.status == "finished"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_steps": None}, "Give either max_steps or a budget in seconds"),
        ({"seconds": 3.0}, "Give either max_steps or a budget in seconds"),
        ({"max_steps": 0}, "max_steps is 0; it must be a whole number from 1 to"),
        ({"max_steps": 10**400}, "max_steps is a number that is far too large"),
        ({"max_steps": -1}, "max_steps is -1"),
        ({"max_steps": 2.5}, "max_steps is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": -3}, "batch_size is -3"),
        ({"eval_interval": 0}, "eval_interval is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"learning_rate": 0}, "learning_rate is 0; it must be a number above 0"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"max_steps": None, "seconds": 0}, "seconds is 0; it must be a number above 0"),
        ({"max_steps": None, "seconds": -1.0}, "seconds is -1.0"),
        ({"max_steps": None, "seconds": math.nan}, "seconds is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be a number at least 0"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"grad_clip": -1.0}, "grad_clip is -1.0"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
    ],
)
def test_values_out_of_range_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(**{"batch_size": 4, "learning_rate": 1e-3, "max_steps": 10} | change)


@pytest.mark.parametrize("device", ["banana", "cuda:77"])
def test_a_device_that_is_not_there_is_refused(tiny, dataset, device):
    with pytest.raises(ValueError, match=device):
        fitted(tiny(), dataset, replace(CONFIG, device=device))


def test_ids_beyond_the_vocabulary_are_refused(dataset):
    vocab = int(torch.cat([dataset.train, dataset.val]).max())
    model = lab.GPT(lab.GPTConfig(vocab, 16, 1, 1, 8))
    needed = dataset.tokenizer.n_vocab
    with pytest.raises(ValueError, match=f"ends at {vocab - 1}; .* vocab_size={needed}"):
        fitted(model, dataset, CONFIG)


@pytest.mark.slow
def test_a_vocabulary_far_too_wide_is_warned_about(dataset):
    model = lab.GPT(lab.GPTConfig(50257, 16, 1, 1, 8))
    with pytest.warns(VocabularyWarning, match="50,257 vocabulary rows"):
        fitted(model, dataset, replace(CONFIG, max_steps=1))


def test_rows_that_no_token_needs_are_counted(corpus):
    """The published scaffold: 32,000 rows for a tokenizer of 423 tokens, at width 384."""
    data = Dataset.from_text(corpus.text[:4_000], lab.train_bpe(corpus.text, 423))
    said = vocabulary_advice(lab.GPTConfig(32_000, 512, 6, 6, 384), data)
    assert said == (
        "The model has 32,000 vocabulary rows for a tokenizer of 423 tokens. 31,577 rows "
        "(12,125,568 parameters, 194 MB while training) belong to no token: make the model with "
        "vocab_size=423."
    )
    with pytest.warns(VocabularyWarning, match="belong to no token"):
        fitted(lab.GPT(lab.GPTConfig(1_000, 16, 1, 1, 8)), data, replace(CONFIG, max_steps=1))


@pytest.mark.parametrize(("rows", "warned"), [(0, False), (127, False), (128, True)])
def test_a_vocabulary_may_be_rounded_up(dataset, rows, warned):
    config = lab.GPTConfig(dataset.tokenizer.n_vocab + rows, 16, 1, 1, 8)
    assert bool(vocabulary_advice(config, dataset)) == warned


def test_rows_that_never_occur_are_counted(gpt2):
    data = Dataset.from_text("one two three " * 40, gpt2)
    distinct = len(torch.cat([data.train, data.val]).unique())
    said = vocabulary_advice(lab.GPTConfig(50_257, 16, 1, 1, 8), data)
    never = 50_257 - distinct
    assert f"only {distinct} tokens occur" in said
    assert f"{never:,} rows ({never * 8:,} parameters, 6 MB while training)" in said
    assert said.count(". ") == 2 and said.endswith("suits new text better.")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_token_without_a_row_is_an_error(dataset, tiny, part):
    n_vocab = tiny().config.vocab_size
    ids = torch.tensor([1, 2, n_vocab])
    with pytest.raises(ValueError, match=rf"token id {n_vocab}, .*vocab_size={n_vocab}"):
        fitted(tiny(), replace(dataset, **{part: ids}), CONFIG)


def test_a_fitting_vocabulary_gives_no_warning(tiny, dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(tiny(), dataset, replace(CONFIG, max_steps=1))


def test_a_right_sized_vocabulary_is_never_called_too_wide(gpt2):
    data = Dataset.from_text("one two three " * 40, lab.right_size(gpt2, "one two three " * 40))
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(model, data, replace(CONFIG, max_steps=1))


@pytest.mark.parametrize("block", [16, 17, 100])
def test_a_context_longer_than_the_training_text_is_refused(dataset, block):
    short = Dataset(dataset.train[:16], dataset.val[:16], dataset.tokenizer)
    model = lab.GPT(lab.GPTConfig(dataset.tokenizer.n_vocab, block, 1, 1, 8))
    with pytest.raises(ValueError, match=rf"context of {block} tokens .*\(16 tokens\); use"):
        fitted(model, short, CONFIG)


def test_the_longest_context_that_fits_works(dataset):
    short = Dataset(dataset.train[:17], dataset.val, dataset.tokenizer)
    model = lab.GPT(lab.GPTConfig(dataset.tokenizer.n_vocab, 16, 1, 1, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VocabularyWarning)
        _, state = fitted(model, short, replace(CONFIG, max_steps=2))
    assert state.status == "finished"


def plain_loop(model, batches, config):
    """Training as a textbook writes it: all logits at once, PyTorch's own loss and optimiser."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    found = []
    for inputs, targets in batches:
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.slow
def test_fifty_steps_equal_a_plain_loop(tiny, dataset):
    batches = []
    data = watched(dataset, lambda *batch: batches.append(batch))
    config = replace(CONFIG, max_steps=50)
    reports, _ = fitted(tiny(), data, config)
    expected = plain_loop(tiny(), batches, config)
    assert [r.batch_loss for r in reports[1:]] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_fifty_steps_of_phase_1_as_published_equal_a_plain_loop():
    phase = lab.PHASES[1]
    batches = []
    data = watched(phase.dataset(), lambda *batch: batches.append(batch))
    config = replace(phase.setup.training, max_steps=50)
    with pytest.warns(VocabularyWarning):
        reports, _ = fitted(phase.model(), data, config)
    expected = plain_loop(phase.model(), batches, config)
    assert [r.batch_loss for r in reports[1:]] == pytest.approx(expected, abs=1e-3)


def test_a_text_that_cannot_be_evaluated_leaves_the_mode_as_it_was(tiny, dataset):
    model = tiny(dropout=0.5).train()
    with pytest.raises(ValueError, match="at least 2 tokens"):
        mean_loss(model, dataset.val[:1])
    with pytest.raises(ValueError, match="token id 1000000"):
        lab.token_losses(model, torch.tensor([10**6, 1]))
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_precision_trains_and_writes(tiny, dataset, dtype):
    model = tiny().to(dtype)
    run = lab.train(model, dataset, CONFIG, prompts=["The"], progress=False)
    assert run.state.status == "finished"
    assert run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0]
    assert run.model.wte.weight.dtype is dtype
    assert len(run.samples) == 1


def test_numpys_numbers_become_pythons():
    config = TrainConfig(np.int64(4), np.float32(1e-3), max_steps=np.int32(9), seed=np.uint8(3))
    assert [type(v) for v in (config.batch_size, config.learning_rate, config.max_steps)] == [
        int,
        float,
        int,
    ]


def test_what_ended_a_run_still_ends_it_when_it_is_resumed(tiny, dataset):
    timed = lab.train(tiny(), dataset, TrainConfig(4, 3e-3, seconds=0.2), progress=False)
    step = timed.state.step
    assert timed.resume(progress=False).state.step == step
    assert timed.state.status == "finished"

    config = replace(CONFIG, max_steps=2000, learning_rate=2e-2, patience=1)
    early = lab.train(tiny(), contrary(dataset), config, progress=False)
    step = early.state.step
    assert early.resume(progress=False).state.step == step
    assert early.state.status == "stopped early"
    patient = replace(config, max_steps=step + 5, patience=99)
    assert early.resume(patient, progress=False).state.step == step + 5


@pytest.mark.slow
def test_a_state_seen_by_another_thread_is_of_one_step(tiny, dataset):
    """The lock is held from before a step's weights change until its number is known."""
    model, state = tiny(), TrainState()
    steps = fit(model, dataset, replace(CONFIG, max_steps=200), state)
    next(steps)
    seen, done = [], threading.Event()

    def look():
        while not done.is_set():
            with state.lock:
                seen.append((state.step, state.optimizer.moments["ln_f.bias"]["step"].item()))

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in steps:
        time.sleep(0.001)  # a lock is not fair: without a pause the watcher might never have it
    done.set()
    watcher.join()
    assert len({step for step, _ in seen}) > 3
    assert all(step == updates for step, updates in seen)
