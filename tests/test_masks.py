"""Loss masks: which tokens count as targets in training, in evaluation and in saved runs."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Dataset, Run, TrainConfig, mean_loss
from slmlab.engine.evaluation import bits_per_byte, token_losses
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.text.dataset import IGNORED

CONFIG = TrainConfig(4, 3e-3, max_steps=12, eval_interval=4)
MODEL = lab.GPT(lab.GPTConfig(40, 8, 1, 2, 8), seed=3).eval()


def every(ids, n, start=0):
    """A mask that is true for every n-th token."""
    mask = torch.zeros(len(ids), dtype=torch.bool)
    mask[start::n] = True
    return mask


@pytest.fixture(scope="module")
def masked(dataset):
    return replace(
        dataset, train_mask=every(dataset.train, 5, 2), val_mask=every(dataset.val, 3, 1)
    )


@given(seed=st.integers(0, 10_000), block=st.integers(1, 30))
def test_a_batch_leaves_out_what_the_mask_does(dataset, seed, block):
    first_ids = replace(dataset, train=torch.arange(len(dataset.train)))
    mask = torch.rand(len(dataset.train), generator=torch.Generator().manual_seed(seed)) < 0.4
    inputs, targets = replace(first_ids, train_mask=mask).batch(4, block, seed)
    same_inputs, places = first_ids.batch(4, block, seed)
    assert torch.equal(inputs, same_inputs)
    assert torch.equal(targets, places.where(mask[places], IGNORED))


@given(data=st.data(), n=st.integers(2, 60), batch_tokens=st.integers(1, 40))
def test_a_masked_loss_is_one_mean_over_all_tokens_that_count(data, n, batch_tokens):
    ids = torch.tensor(data.draw(st.lists(st.integers(0, 39), min_size=n, max_size=n)))
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    mask[data.draw(st.integers(1, n - 1))] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slmlab.engine.evaluation.BATCH_TOKENS", batch_tokens)
        loss = mean_loss(MODEL, ids, mask=mask)
    assert loss == pytest.approx(token_losses(MODEL, ids)[mask[1:]].mean().item(), abs=1e-5)


def test_counting_takes_the_same_mask(masked):
    counts = NGram(NGramConfig(masked.tokenizer.n_vocab, 3, 0.5), masked.train)
    expected = token_losses(counts, masked.val)[masked.val_mask[1:]].mean().item()
    assert mean_loss(counts, masked.val, mask=masked.val_mask) == pytest.approx(expected, abs=1e-5)
    ids = masked.val[None, :5]
    assert counts.loss(ids, torch.full_like(ids, IGNORED)).item() == 0


def test_a_mask_that_is_true_everywhere_changes_nothing(tiny, dataset):
    all_of_it = replace(dataset, train_mask=every(dataset.train, 1), val_mask=every(dataset.val, 1))
    plain, same = (list(lab.fit(tiny(), data, CONFIG)) for data in (dataset, all_of_it))
    for one, other in zip(plain, same, strict=True):
        assert (one.batch_loss, one.val_loss) == (other.batch_loss, other.val_loss)


def test_training_reports_the_masked_losses(tiny, masked):
    model = tiny()
    *_, last = lab.fit(model, masked, CONFIG)
    assert last.train_loss == mean_loss(model, masked.train, mask=masked.train_mask)
    assert last.val_loss == mean_loss(model, masked.val, mask=masked.val_mask)
    assert last.val_loss != mean_loss(model, masked.val)


def test_training_never_learns_what_does_not_count(tiny, dataset):
    """Only one token ever counts, so a model learns to say it, whatever else the text holds."""
    only = dataset.train == dataset.train[1]
    data = replace(dataset, train_mask=only)
    model = tiny()
    *_, last = lab.fit(model, data, replace(CONFIG, max_steps=60, learning_rate=1e-2))
    assert last.train_loss < 0.05
    assert model(dataset.train[None, :16])[0].argmax(-1).eq(dataset.train[1]).all()


def test_batches_without_a_target_that_counts_do_no_harm(tiny, dataset):
    lonely = torch.zeros(len(dataset.train), dtype=torch.bool)
    lonely[len(dataset.train) // 2] = True
    reports = list(lab.fit(tiny(), replace(dataset, train_mask=lonely), CONFIG))
    assert [r.batch_loss for r in reports].count(0.0) > 1
    assert all(r.train_loss > 0 for r in reports if r.train_loss is not None)
    assert reports[-1].step == CONFIG.max_steps


def test_bits_per_byte_are_of_the_tokens_that_count(masked):
    counted = masked.val[1:][masked.val_mask[1:]]
    letters = sum(len(masked.tokenizer.token_bytes(i)) for i in counted.tolist())
    nats = 2.0 * len(counted)
    assert bits_per_byte(2.0, masked) == pytest.approx(nats / 0.693147 / letters, rel=1e-5)
    assert bits_per_byte(2.0, masked, masked.val) == bits_per_byte(
        2.0, replace(masked, val_mask=None)
    )


@pytest.mark.parametrize("name", ["train", "val"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda ids: torch.ones(len(ids) - 1, dtype=torch.bool),
        lambda ids: torch.ones(len(ids)),
        lambda ids: torch.ones(len(ids), 1, dtype=torch.bool),
        lambda ids: [True] * len(ids),
        lambda ids: torch.ones(len(ids), dtype=torch.bool, device="meta"),
    ],
)
def test_a_mask_of_another_kind_is_refused(dataset, name, wrong):
    ids = getattr(dataset, name)
    with pytest.raises(ValueError, match=rf"{name}_mask is .* 1-D bool tensor of {len(ids):,} val"):
        replace(dataset, **{f"{name}_mask": wrong(ids)})


@pytest.mark.parametrize("true_at", [[], [0]])
def test_a_mask_without_a_target_is_refused(dataset, true_at):
    mask = torch.zeros(len(dataset.val), dtype=torch.bool)
    mask[true_at] = True
    with pytest.raises(ValueError, match="val_mask counts no target; let it be true"):
        replace(dataset, val_mask=mask)
    with pytest.raises(ValueError, match="mask counts no target"):
        mean_loss(MODEL, torch.arange(len(mask)) % 40, mask=mask)


def test_windows_without_a_target_that_counts_are_refused():
    ids, mask = torch.arange(40), torch.zeros(40, dtype=torch.bool)
    mask[30] = True
    with pytest.raises(ValueError, match="No token in these windows counts"):
        mean_loss(MODEL, ids, [0, 8], mask)


def test_a_saved_run_has_its_masks_again_and_goes_on_exactly(tiny, masked, tmp_path):
    whole = lab.train(tiny(), masked, CONFIG, progress=False)
    part = lab.train(tiny(), masked, replace(CONFIG, max_steps=6, eval_interval=2), progress=False)
    again = Run.load(part.save(tmp_path / "run"))
    assert torch.equal(again.dataset.train_mask, masked.train_mask)
    assert torch.equal(again.dataset.val_mask, masked.val_mask)
    again.resume(CONFIG, progress=False)
    assert again.last.val_loss == whole.last.val_loss
    assert again.last.train_loss == whole.last.train_loss


def test_a_history_alone_would_lose_the_masks(tmp_path):
    data = lab.corpus_dataset(1_000, "right-sized")
    data = replace(data, val_mask=every(data.val, 2))
    shape = lab.GPTConfig(data.tokenizer.n_vocab, 8, 1, 1, 8)
    run = lab.train(lab.GPT(shape), data, replace(CONFIG, max_steps=1), progress=False)
    with pytest.raises(ValueError, match='Only a run on the corpus can be kept as "history"'):
        run.save(tmp_path / "run", keep="history")


def test_a_forged_mask_is_refused(dataset):
    with pytest.raises(ValueError, match="1-D bool tensor"):
        Dataset(dataset.train, dataset.val, dataset.tokenizer, val_mask=dataset.val)
