"""The evidence of lesson 05, on tables whose answers are known, and on what the course carries."""

import numpy as np
import pandas as pd
import pytest

import slmlab as lab
from slmlab.study import verdict
from slmlab.study.diagnosis import MAX_USEFUL_RATIO
from slmlab.study.experiments.grid import decision_table, last_and_best, read_grid


@pytest.mark.slow
def test_a_gap_that_follows_epochs_is_put_down_to_epochs():
    rows = [
        {"n_embd": w, "train_tokens": d, "seed": s, "step": e, "params": w * 100, "epochs": e / d}
        for w in (8, 16, 32)
        for d in (100, 200, 400)
        for s in (0, 1)
        for e in (100, 200, 400)
    ]
    made = pd.DataFrame(rows)
    made["gap"] = 0.7 * np.log2(made["epochs"]) + 0.1 * np.log2(made["params"])
    effects = verdict.gap_per_doubling(made)
    assert effects.loc["epochs", "effect"] == pytest.approx(0.7)
    assert effects.loc["params", "effect"] == pytest.approx(0.1)
    assert effects.loc["train_tokens", "effect"] == pytest.approx(0, abs=1e-6)


def test_the_published_ratios_follow_from_the_published_counts():
    table = verdict.published()
    assert table["params_per_token"].round().tolist() == [33328, 1816, 749, 391, 350]
    assert table["epochs"].round().tolist() == [284, 36, 57, 114, 297]
    assert table.loc[2, "gap"] == pytest.approx(-0.17)


@pytest.mark.slow
def test_a_model_is_examined_on_every_stretch_after_its_training_text():
    run = lab.PHASES[1].run("right-sized", seconds=1, progress=False)
    table = verdict.segment_losses(run)
    assert table["start"].iloc[0] == len(run.dataset.train)
    assert table["overlap"].iloc[0] == pytest.approx(run.dataset.overlap())
    last = run.state.history[-1]
    assert table["loss"].iloc[0] == pytest.approx(last.val_loss, abs=1e-4)
    assert len(table) == (23_174 - 900) // 100
    assert table["overlap"].between(0, 1).all()


def test_only_a_run_on_the_start_of_the_corpus_can_be_so_examined(finished):
    with pytest.raises(ValueError, match="first tokens of the corpus"):
        verdict.segment_losses(finished)
    with pytest.raises(ValueError, match="without weights"):
        verdict.segment_losses(lab.PHASES[1].recorded())


def test_the_held_out_files_overlap_less_than_phase_2s_own_exam():
    table = verdict.held_out_overlap()
    assert table.loc[2, "own_validation"] > 0.9
    assert (table["held_out"] < 0.5).all()
    assert table["held_out"].is_monotonic_increasing


def test_no_size_that_did_best_is_warned_of():
    table = decision_table(read_grid())
    ratios = table["best_params"] / table.index
    assert ratios.max() < MAX_USEFUL_RATIO < 1.2 * ratios.max()


def test_the_rule_is_tried_at_equal_text_and_seed():
    rows = [(100, 0, 5, 3.0), (100, 0, 50, 2.5), (100, 0, 60, 2.7), (100, 0, 500, 2.5)]
    rows += [(200, 0, 10, 2.0), (200, 0, 9, 2.0)]
    columns = ["train_tokens", "seed", "params_per_token", "best_val_loss"]
    table = verdict.around_the_rule(pd.DataFrame(rows, columns=columns)).set_index("train_tokens")
    assert table["10 to 100"].tolist() == pytest.approx([2.6, 2.0])
    assert table["below 10"].tolist() == pytest.approx([0.4, 0.0])
    assert table.loc[100, "above 100"] == pytest.approx(-0.1)
    assert np.isnan(table.loc[200, "above 100"])
    assert table["ranges_overlap"].tolist() == [False, True]


def test_in_the_grid_10_is_a_floor_and_100_nothing():
    table = verdict.around_the_rule(last_and_best(read_grid()))
    assert (table["below 10"].dropna() > 0.2).all()
    assert not table["ranges_overlap"].any()
    assert (table["above 100"].dropna().abs() < 0.2).all()


def test_sizes_near_the_best_are_compared_on_the_same_texts():
    guide = decision_table(read_grid())
    assert guide["near"].str.contains("454,368").all()
    assert not guide["near"].str.contains("20,508").any()
    assert (guide["first_look"] <= guide["stop_at_epochs"]).all()
