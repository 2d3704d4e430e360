"""The recorded runs have the shape that the notebooks describe, for every seed."""

import pytest

import slmlab as lab
from slmlab.study.experiments.grid import best_looks, read_grid, size_table
from slmlab.study.experiments.suspects import read_suspects, reported_perplexities
from slmlab.study.experiments.vocabularies import read_vocabularies

BANDS = {  # of the gap, in nats per token: published settings, then right-sized
    "gpt2": {0: (5, 9), 1: (3, 5), 2: (-0.5, 0), 3: (1, 2), 4: (2.5, 4)},
    "right-sized": {0: (5, 9), 1: (2.5, 4), 2: (-0.5, 0), 3: (1, 2), 4: (2.5, 4)},
}


@pytest.fixture(scope="module")
def phases():
    return {vocabulary: lab.phase_runs(vocabulary) for vocabulary in BANDS}


@pytest.fixture(scope="module")
def grid():
    return size_table(best_looks(read_grid()))


@pytest.mark.parametrize("vocabulary", BANDS)
def test_every_gap_is_in_its_band(phases, vocabulary):
    for row in phases[vocabulary].itertuples():
        low, high = BANDS[vocabulary][row.phase]
        assert low < row.gap < high, row


@pytest.mark.parametrize("vocabulary", BANDS)
def test_phases_0_and_4_are_best_well_before_the_end(phases, vocabulary):
    rows = phases[vocabulary].query("phase in [0, 4]")
    assert (rows["best_step"] <= 0.75 * rows["steps"]).all()


@pytest.mark.parametrize("vocabulary", BANDS)
def test_phase_2_is_still_falling_at_its_end(phases, vocabulary):
    rows = phases[vocabulary].query("phase == 2")
    assert (rows["best_step"] == rows["steps"]).all()


def test_phases_differ_in_their_gap_by_more_than_the_seeds_do(phases):
    groups = phases["right-sized"].groupby("phase")["gap"]
    for smaller, larger in ((2, 3), (3, 4), (4, 0)):
        assert groups.max()[smaller] < groups.min()[larger]


def test_on_the_fair_exam_more_text_wins(phases):
    groups = phases["right-sized"].groupby("phase")["test_loss"]
    for better, worse in ((4, 3), (3, 2), (2, 1), (1, 0)):
        assert groups.max()[better] < groups.min()[worse]


def test_no_phase_beats_counting_on_the_held_out_scripts(phases):
    """Not even at its lowest held-out loss, which is picked on that very text."""
    table = phases["right-sized"]
    assert (table["lowest_held_out_bits"] > table["five_gram_bits"] + 0.05).all()


def test_bits_per_byte_are_those_of_the_losses(phases):
    table = phases["right-sized"]
    data = lab.Setup.parse("phase-4").dataset()
    for row in table.itertuples():
        assert row.held_out_bits == pytest.approx(lab.bits_per_byte(row.test_loss, data, data.test))
        assert row.lowest_held_out_bits <= row.held_out_bits
    means = table.groupby("phase")[["held_out_bits", "five_gram_bits"]].mean().round(2)
    assert means["five_gram_bits"].tolist() == [2.66, 2.66, 2.16, 1.95, 1.73]
    assert means["held_out_bits"].tolist() == pytest.approx(
        [4.58, 3.04, 2.48, 2.35, 1.93], abs=0.02
    )


def test_with_the_vocabulary_of_gpt2_the_phases_were_not_tested_but_counting_can_be(phases):
    table = phases["gpt2"]
    assert table[["held_out_bits", "lowest_held_out_bits"]].isna().all(axis=None)
    assert (table["five_gram_bits"] < 2.5).all()


def test_more_text_lowers_the_held_out_loss_at_every_size(grid):
    means = grid["bits"].unstack("train_tokens")
    assert (means.diff(axis=1).iloc[:, 1:] < 0).all(axis=None)


def test_steps_times_rate_times_width_depends_on_the_text_alone(grid):
    """At the best looks, within a factor of two either way; the widths differ by 16."""
    table = grid.reset_index()
    table["travel"] = table["steps"] * table["learning_rate"] * table["n_embd"]
    for _, group in table.groupby("train_tokens"):
        assert group["travel"].max() < 2 * group["travel"].median() < 4 * group["travel"].min()


def test_unused_rows_change_no_perplexity_and_a_leak_does():
    ends = reported_perplexities(read_suspects()).groupby(["suspect", "text"])["perplexity"]
    least, most = ends.min(), ends.max()
    scripts, leak = "held-out scripts", "end of the training text"
    for suspect in ("no fault", "32,000 rows"):
        assert 80 < least[suspect, scripts] <= most[suspect, scripts] < 100
        assert 1.02 < least[suspect, leak] <= most[suspect, leak] < 1.05
    assert most["windows dealt at random", "windows set aside"] < 1.06
    assert most["unshifted labels", leak] < 1.01 < most["unshifted labels", scripts] < 1.1
    assert least["no mask", scripts] > 80, "In so few steps it did not learn to look ahead."


def test_vocabularies_learnt_from_the_text_beat_bytes_and_right_sized_ones():
    runs = best_looks(read_vocabularies(), ["vocabulary", "n_embd", "learning_rate", "seed"])
    runs = runs.query("n_embd == 96 and learning_rate == 0.0003").groupby("vocabulary")["val_bits"]
    least, most = runs.min(), runs.max()
    assert least["right-sized"] > most.drop("right-sized").max() + 0.3
    assert least["bpe-256"] > most[["bpe-512", "bpe-1000", "gpt2"]].max() + 0.1
    assert (runs.count() == 3).all()
