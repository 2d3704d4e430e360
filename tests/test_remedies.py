"""The published remedies beside what the records say."""

import pytest

import slmlab as lab


@pytest.fixture(scope="module")
def table():
    return lab.remedies_table()


def test_dropout_of_0_3_made_every_recorded_run_worse(table):
    rows = table.xs("dropout 0.3", level="remedy")
    assert (rows["least"] > 0).all()
    assert rows["seeds"].to_dict() == {1_000: 3, 23_000: 1}


def test_weight_decay_changed_less_than_seeds_differ(table):
    for remedy in ("weight decay 0.4", "weight decay 1.6"):
        rows = table.xs(remedy, level="remedy")
        assert (rows["change"].abs() < rows["spread"] / 5).all()
        assert (rows["change"] < 0).all()


def test_the_widest_model_is_not_worse_however_short_the_text(table):
    rows = table.xs("width 384, not 192", level="remedy")
    assert list(rows.index) == [1_000, 4_800, 23_000]
    assert (rows["change"] < 0).all() and (rows["seeds"] == 1).all()
    assert set(rows["params"]) == {5_798_784}


def test_a_change_is_that_of_the_same_seed(table):
    runs = lab.best_looks(lab.read_grid()).query("train_tokens == 23000 and seed == 0")
    scores = runs[runs["learning_rate"] == 1e-4].set_index("n_embd")["val_bits"]
    row = table.loc[(23_000, "width 384, not 192")]
    assert row["change"] == pytest.approx(scores[384] - scores[192])
