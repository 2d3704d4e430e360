"""The evidence of lesson 05, on tables whose answers are known, and on what the course carries."""

import numpy as np
import pandas as pd
import pytest

import slmlab as lab
from slmlab.study import verdict
from slmlab.study.diagnosis import MAX_USEFUL_RATIO
from slmlab.study.experiments.counting import read_counting
from slmlab.study.experiments.grid import (
    GRID,
    NEAR,
    at_best_rates,
    best_looks,
    decision_table,
    read_grid,
    size_table,
)


@pytest.mark.slow
def test_a_gap_that_follows_epochs_is_put_down_to_epochs_for_each_amount_of_text():
    rows = [
        {"n_embd": w, "learning_rate": r, "train_tokens": d, "seed": s, "step": e}
        | {"params": w * 100, "epochs": e / d}
        for w in (8, 16, 32)
        for r in (1e-3, 3e-3)
        for d in (100, 200)
        for s in (0, 1)
        for e in (100, 200, 400)
    ]
    made = pd.DataFrame(rows)
    by_epochs = np.where(made["train_tokens"] == 100, 0.9, 0.4)
    made["gap"] = by_epochs * np.log2(made["epochs"]) + 0.1 * np.log2(made["params"])
    effects = verdict.gap_per_doubling(made)["effect"]
    assert effects.loc[100, "epochs"] == pytest.approx(0.9)
    assert effects.loc[200, "epochs"] == pytest.approx(0.4)
    for tokens in (100, 200):
        assert effects.loc[tokens, "params"] == pytest.approx(0.1)
        assert effects.loc[tokens, "learning_rate"] == pytest.approx(0, abs=1e-6)


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


@pytest.fixture(scope="module")
def runs():
    return best_looks(read_grid())


def grid_rows(cells):
    """Looks of made-up runs: {(width, rate, tokens, seed): bits at steps 0, 5, 10 …}."""
    columns = {"params": 1, "epochs": 1.0, "gap": 0.5}
    return pd.DataFrame(
        dict(zip(GRID.keys, key, strict=True)) | columns | {"step": 5 * i, "val_bits": bits}
        for key, looks in cells.items()
        for i, bits in enumerate(looks)
    )


def test_the_best_look_and_whether_it_may_not_be_the_best():
    table = grid_rows(
        {
            (8, 1e-3, 100, 0): [8, 3, 2, 4],
            (8, 1e-3, 100, 1): [8, 3, 4, 5],
            (8, 1e-3, 100, 2): [8, 4, 3, 2],
        }
    )
    runs = best_looks(table)
    assert runs["step"].tolist() == [10, 5, 15]
    assert runs["val_bits"].tolist() == [2, 3, 2]
    assert runs["censored"].tolist() == [False, True, True]


def test_each_width_has_its_own_best_rate_and_one_seed_alone_does_not_choose_it():
    table = grid_rows(
        {(8, 1e-3, 100, s): [8, 3 + s, 9] for s in (0, 1)}
        | {(8, 3e-3, 100, s): [8, 2 + 3 * s, 9] for s in (0, 1)}
        | {(16, 3e-4, 100, s): [8, 2.97 + s, 9] for s in (0, 1)}
        | {(16, 1e-4, 100, 0): [8, 1, 9]}
    )
    sizes = size_table(best_looks(table)).loc[100]
    assert sizes["learning_rate"].tolist() == [1e-3, 3e-4]
    assert sizes["bits"].tolist() == pytest.approx([3.5, 3.47])
    assert sizes["behind"].tolist() == pytest.approx([0.03, 0])
    assert sizes["near"].all()
    counting = pd.DataFrame({"train_tokens": 100, "seed": [0, 1], "val_bits": [3.0, 3.9]})
    decision = decision_table(best_looks(table), counting).loc[100]
    assert decision["n_embd"] == 16 and decision["near"] == "8, 16"
    assert decision["ahead"] == pytest.approx(-0.02)
    assert decision["ahead_least"] == pytest.approx(-0.07)


def test_few_runs_of_the_grid_are_best_at_their_first_or_last_look(runs):
    assert runs["censored"].mean() < 1 / 20
    assert not at_best_rates(runs)["censored"].any()


def test_no_rate_around_those_of_a_width_is_clearly_better(runs):
    """With the seed that tried them all."""
    first = runs[runs["seed"] == GRID.seeds[0]]
    inner = dict(GRID.rates)
    for (_, width), group in first.groupby(["train_tokens", "n_embd"]):
        own = group["learning_rate"].isin(inner.get(width, group["learning_rate"]))
        assert group["val_bits"].min() > group.loc[own, "val_bits"].min() - NEAR


def test_no_size_that_did_best_is_warned_of(runs):
    """Runs with one seed alone included."""
    best = runs.loc[runs.groupby("train_tokens")["val_bits"].idxmin()]
    assert best["params_per_token"].max() < MAX_USEFUL_RATIO < 1.2 * best["params_per_token"].max()


def test_sizes_near_the_best_are_compared_at_their_own_best_rates(runs):
    guide, sizes = decision_table(runs, read_counting()), size_table(runs)
    assert guide.index.tolist() == list(GRID.train_tokens)
    for tokens, row in guide.iterrows():
        near = sizes.loc[tokens].index[sizes.loc[tokens, "behind"] <= NEAR]
        assert row["near"] == ", ".join(map(str, near))
        assert row["bits"] == sizes.loc[tokens, "bits"].min()
