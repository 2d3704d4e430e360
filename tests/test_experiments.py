"""The experiments vary what they say they vary, and nothing else."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import slmlab as lab
from slmlab.study.experiments.grid import GRID
from slmlab.study.experiments.suspects import SUSPECTS, _reported_accuracy


def test_the_grid_is_five_by_five_by_three():
    cells = GRID.cells()
    assert len(cells) == len({tuple(cell.values()) for cell in cells}) == 75


def test_more_data_of_a_seed_holds_all_of_the_less():
    small, large = GRID.dataset(1000, 1), GRID.dataset(4800, 1)
    assert torch.equal(large.train[:1000], small.train)
    assert torch.equal(large.val, small.val)


def test_the_seed_decides_the_order_of_the_files():
    assert not torch.equal(GRID.dataset(1000, 0).train, GRID.dataset(1000, 1).train)


def test_the_largest_dataset_exists_and_the_exam_is_the_held_out_files():
    dataset = GRID.dataset(max(GRID.train_tokens), 2)
    assert len(dataset.train) == max(GRID.train_tokens)
    held_out = lab.load_held_out().text
    assert dataset.tokenizer.decode(dataset.val.tolist()) == held_out
    corpus = {document.text for document in lab.load_corpus().documents}
    assert not corpus & {document.text for document in lab.load_held_out().documents}


def test_a_cell_has_a_row_for_each_evaluation():
    tiny = replace(GRID, steps=4, eval_interval=2)
    rows = tiny.step_demands(8, 300, 0)
    assert [row["step"] for row in rows] == [0, 2, 4]
    assert rows[-1]["tokens_seen"] == 4 * 8 * 64
    assert rows[0]["params"] == tiny.model_config(8, 1172).n_params
    assert all(0 <= row["copied"] <= 1 and 0 <= row["parses"] <= 1 for row in rows)


def test_the_suspects_are_every_combination_of_three_faults_and_a_fourth():
    cells = SUSPECTS.cells()
    assert len(cells) == (2 * 2 * 2 + 1) * 3
    assert len({tuple(cell.values()) for cell in cells}) == len(cells)


def test_the_suspects_vocabulary_has_423_tokens():
    assert SUSPECTS.dataset("leaked").tokenizer.n_vocab == 423
    assert SUSPECTS.model("423", "causal", "next token", 0).config.vocab_size == 423
    assert SUSPECTS.model("32,000", "causal", "next token", 0).config.vocab_size == 32_000


def test_leaked_validation_is_part_of_the_training_text_and_held_out_is_not():
    leaked, clean = SUSPECTS.dataset("leaked"), SUSPECTS.dataset("held out")
    assert torch.equal(leaked.train, clean.train)
    assert leaked.overlap() == 1
    assert clean.overlap() < 0.7


@pytest.mark.parametrize(("mask", "sees"), [("causal", False), ("missing", True)])
def test_only_without_a_mask_does_a_later_token_change_an_earlier_logit(mask, sees):
    model = SUSPECTS.model("423", mask, "next token", 0)
    ids = torch.arange(20)[None]
    changed = ids.clone()
    changed[0, 10] = 99
    with torch.no_grad():
        difference = (model(ids) - model(changed)).abs().amax(-1)[0]
    assert (difference[:10] > 0).any().item() is sees


def test_unshifted_labels_ask_for_the_token_itself():
    model = SUSPECTS.model("423", "causal", "unshifted", 0)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        loss, logits = model.loss(ids[:, :-1], ids[:, 1:]), model(ids[:, :-1])
    assert loss.item() == pytest.approx(F.cross_entropy(logits[0], ids[0, :-1]).item(), abs=1e-5)


def test_unshifted_labels_report_a_high_accuracy_after_a_few_steps():
    tiny = replace(SUSPECTS, steps=60, eval_interval=60, seeds=(0,))
    rows = tiny.step_demands("423", "held out", "causal", "unshifted", 0)
    honest = tiny.step_demands("423", "held out", "causal", "next token", 0)
    assert rows[-1]["accuracy"] > 0.8 > 0.5 > honest[-1]["accuracy"]


def test_the_reported_accuracy_of_an_honest_model_is_token_accuracy(finished, tiny):
    ids = finished.dataset.val
    assert _reported_accuracy(finished.model, ids) == lab.token_accuracy(finished.model, ids)
