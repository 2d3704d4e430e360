"""Rows that were never trained: the truth, the indicators, and how far such rows move."""

import pytest
import torch

import slmlab as lab
from slmlab.study import glitches

pytestmark = pytest.mark.filterwarnings("ignore::slmlab.engine.training.VocabularyWarning")


@pytest.fixture(scope="module")
def run(text, gpt2):
    """A tiny model with 1,000 rows, of a text that needs a tenth of them."""
    tokenizer = lab.train_bpe(lab.load_corpus().text, 1_000)
    dataset = lab.Dataset.from_text(text[:6_000], tokenizer)
    model = lab.GPT(lab.GPTConfig(tokenizer.n_vocab, 16, 1, 2, 16))
    config = lab.TrainConfig(8, 1e-2, max_steps=60, eval_interval=60)
    return lab.train(model, dataset, config, progress=False)


def test_the_truth_is_what_the_training_text_holds(run):
    unseen = glitches.unseen_rows(run.dataset, 1_000)
    seen = set(run.dataset.train.tolist())
    assert {i for i, never in enumerate(unseen.tolist()) if not never} == seen


def test_rows_that_no_text_can_train_are_known(gpt2):
    unused = glitches.unused_rows(gpt2, 50_300)
    assert unused.sum() == 13 + 43  # the impossible bytes, and the rows without a token
    assert unused[50_257:].all() and not unused[gpt2.encode("any text – 数 🙂")].any()


def test_a_ranking_without_a_fault_has_an_area_of_one():
    unseen = torch.tensor([True, False, True, False])
    right = glitches._scored(torch.tensor([3.0, 1.0, 2.0, 0.0]), 1.5, unseen)
    assert list(right.values()) == [1, 1, 2, 1, 1, 0]
    wrong = glitches._scored(torch.tensor([0.0, 3.0, 1.0, 2.0]), 1.5, unseen)
    assert wrong["auc"] == 0 and wrong["recall"] == 0 and wrong["seen_flagged"] == 2
    half = glitches._scored(torch.tensor([3.0, 2.0, 1.0, 0.0]), 2.5, unseen)
    assert (half["auc"], half["precision"], half["recall"]) == (0.75, 1, 0.5)
    assert half["average_precision"] == pytest.approx((1 + 2 / 3) / 2)


def test_the_table_has_a_row_for_each_indicator_and_one_for_chance(run):
    table = glitches.glitch_table(run)
    assert list(table.columns) == list(glitches.SCORES)
    unused = glitches.unused_rows(run.dataset.tokenizer, 1_000)
    unseen = glitches.unseen_rows(run.dataset, 1_000)[~unused]
    chance = table.iloc[0]
    assert chance["flagged"] == len(unseen)
    assert chance["precision"] == pytest.approx(unseen.double().mean())
    assert (chance["auc"], chance["recall"]) == (0.5, 1)
    assert len(table) == 5
    assert (table["auc"].drop("flag every row") > 0.5).any()
    assert table["flagged"].between(0, len(unseen)).all()


def test_rows_never_seen_move_together_and_those_seen_apart(run):
    table = glitches.movement(run)
    seen, never = table.loc["seen"], table.loc["never seen"]
    assert seen["rows"] + never["rows"] == 1_000
    assert never["moved"] > 3 * never["decay_alone"] > 0
    assert never["common"] > seen["common"]
    assert seen["probability"] + never["probability"] == pytest.approx(1, abs=1e-4)
    assert never["probability"] < 0.2


def test_weight_decay_alone_is_as_the_optimiser_has_it(run):
    shrunk = 1 - (1 - 1e-2 * 0.01) ** 60
    table = glitches.movement(run)
    assert table["decay_alone"].tolist() == pytest.approx(
        (shrunk * table["norm_before"]).tolist(), rel=1e-3
    )


def test_runs_that_tell_nothing_are_refused():
    with pytest.raises(ValueError, match="kept without its weights"):
        glitches.glitch_table(lab.PHASES[1].recorded())
    with pytest.raises(ValueError, match="run is"):
        glitches.glitch_table("phase-1")
