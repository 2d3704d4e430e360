"""The record of decoders: what a row says, and what the tables and the figure make of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import slmlab as lab
from slmlab.engine.decoding import Decoding
from slmlab.engine.python_prefix import INCOMPLETE
from slmlab.study.continuations import Task
from slmlab.study.experiments import decoders
from slmlab.study.experiments.decoders import (
    COUNTING,
    DECODERS,
    DECODING,
    GREEDY,
    KINDS,
    MEASURES,
    MODELS,
    PHASES,
    PLAIN,
    TRUTH,
)
from slmlab.study.experiments.loops import LOOPS
from slmlab.study.repairs import decoder_changes, decoder_means, penalty_accuracy

FEW = {
    PLAIN: Decoding(),
    GREEDY: Decoding(temperature=0),
    "2 beams": Decoding(beams=2),
    "contrastive": Decoding(top_k=2, contrast=0.5),
}


@pytest.fixture(scope="module")
def counted():
    """Rows of the counting model, with few decoders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "DECODERS", FEW)
        return pd.DataFrame(DECODING.run_cell(DECODING.cell(COUNTING, 0)))


def test_every_option_of_a_decoding_is_on_trial():
    changed = {
        name
        for decoding in DECODERS.values()
        for name, value in vars(decoding).items()
        if value != getattr(Decoding(), name)
    }
    options = set(vars(Decoding())) - {"seed", "stop", "length_normalisation"}
    assert changed == options
    assert DECODERS["greedy, penalty 1.2"].repetition_penalty == 1.2, "as published"


@pytest.mark.parametrize("name", PHASES)
def test_a_phase_is_trained_to_its_published_end(name):
    phase = lab.PHASES[int(name[-1])]
    rung = decoders._rung(name)
    assert set(rung.steps) == {phase.setup.training.max_steps}
    assert rung.setup.shape == phase.setup.shape


def test_a_row_is_a_file_of_a_decoder(counted):
    assert set(counted["decoder"]) == {TRUTH, PLAIN, GREEDY, "2 beams"}  # without hidden states
    scripts = [document.name for document in lab.load_held_out().documents]
    for _, rows in counted.groupby("decoder"):
        assert list(rows["file"]) == scripts
        assert rows["prompts"].sum() == 26
    truth = counted.query("decoder == @TRUTH")
    assert (truth[["parses", "similarity", "exact"]] == 1).all(axis=None)
    assert (truth["seconds"] == 0).all()


def test_texts_are_compared_with_the_greedy_one(counted):
    greedy = counted.query("decoder == @GREEDY")
    assert (greedy[["likelier", "unlikelier"]] == 0).all(axis=None)
    beams = counted.query("decoder == '2 beams'")
    nats = [(rows["loss"] * rows["tokens"]).sum() for rows in (beams, greedy)]
    assert nats[0] < nats[1] and beams["likelier"].mean() > beams["unlikelier"].mean()
    assert counted.query("decoder == @PLAIN")["unlikelier"].mean() > 0.8


def test_a_record_is_whole_with_every_file_and_decoder(counted, monkeypatch):
    monkeypatch.setattr(decoders, "DECODERS", FEW)
    rows, cell = counted.to_dict("records"), DECODING.cell(COUNTING, 0)
    assert DECODING.is_whole(cell, rows)
    for other in (rows[1:], [*rows, rows[0]], [*rows[1:], rows[1]]):
        assert not DECODING.is_whole(cell, other)
    assert not DECODING.is_whole(DECODING.cell(MODELS[0], 0), rows)


def test_a_model_of_three_kinds_answers_all_of_them(monkeypatch):
    small = LOOPS.base.replace(n_layer=1, n_head=1, n_embd=8, block_size=32, max_steps=2)
    monkeypatch.setattr(decoders, "LOOPS", replace(LOOPS, base=small))
    python = {"greedy, stays Python": DECODERS["greedy, stays Python"]} if INCOMPLETE else {}
    monkeypatch.setattr(decoders, "DECODERS", {GREEDY: FEW[GREEDY]} | python)
    experiment = replace(DECODING, of_kind=5)
    cell = experiment.cell(KINDS, 1)
    table = pd.DataFrame(rows := experiment.run_cell(cell))
    assert experiment.is_whole(cell, rows) == (table["file"].nunique() == 15)
    assert list(table["kind"].unique()) == ["scripts", "dialogues", "puzzles"]
    assert set(table.query("kind == 'puzzles'")["decoder"]) == {TRUTH, GREEDY}
    assert table.query("kind != 'scripts'")[["parses", "domain_names"]].isna().all(axis=None)
    if python:
        assert set(table.query("decoder == 'greedy, stays Python'")["parses"]) == {1}


def made_up(seeds: int = 3) -> pd.DataFrame:
    """A table in which sampling parses 0.2 less than greedy, and penalty as much as greedy."""
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for i in range(5):
            level = 0.5 + 0.1 * generator.standard_normal()
            for name, change in ((GREEDY, 0.0), (PLAIN, -0.2), ("penalty", 0.0)):
                noise = 0.02 * generator.standard_normal() * (name != GREEDY)
                row = dict.fromkeys((*MEASURES, "likelier", "unlikelier"), level + change + noise)
                row |= {"model": "a", "seed": seed, "decoder": name, "kind": "scripts"}
                rows.append(row | {"file": f"{i}.py", "prompts": 2 + i, "loss": 1.0, "tokens": 9})
    return pd.DataFrame(rows)


def test_changes_are_paired_and_have_intervals():
    table = decoder_changes(made_up(), "parses")
    assert list(table.loc[GREEDY, ["change", "low", "high"]]) == [0, 0, 0]
    assert table.loc[PLAIN, "low"] < -0.2 < table.loc[PLAIN, "high"] < 0
    assert table.loc["penalty", "low"] < 0 < table.loc["penalty", "high"]
    by_hand = made_up().query("decoder == @PLAIN")
    mean = np.average(by_hand["parses"], weights=by_hand["prompts"])
    assert table.loc[PLAIN, "mean"] == pytest.approx(mean)
    assert decoder_means(made_up()).loc[("a", "scripts", PLAIN), "parses"] == pytest.approx(mean)
    other = decoder_changes(made_up(), "parses", base=PLAIN)
    assert other.loc[GREEDY, "change"] == pytest.approx(-table.loc[PLAIN, "change"])


def test_what_cannot_be_measured_counts_for_nobody():
    table = made_up()
    table.loc[0, "copied"] = np.nan  # greedy, seed 0, the first file
    changes = decoder_changes(table, "copied")
    assert changes["mean"].notna().all()
    kept = table[table["file"] != "0.py"]
    pd.testing.assert_frame_equal(changes, decoder_changes(kept, "copied"))
    assert decoder_means(table)["copied"].notna().all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"measure": "speed"}, "measure"),
        ({"base": "beams"}, "base"),
        ({"table": made_up().drop(columns="seed")}, "seed"),
        ({"table": made_up().iloc[:0]}, "no rows"),
        ({"table": pd.concat([made_up(), made_up().assign(model="b")])}, "keep the rows of one"),
    ],
)
def test_other_tables_and_names_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        decoder_changes(**({"table": made_up(), "measure": "parses"} | change))


def test_a_penalty_costs_right_guesses_where_a_text_repeats():
    tokenizer = lab.train_bpe("abc" * 30, 256)
    ids = tokenizer.encode("a( a( a( a(")
    counting = lab.NGram(lab.NGramConfig(256, order=2), ids * 3)
    one = Task("scripts", "a.py", tuple(ids[:4]), (*ids[4:8], ord("z")))
    table = penalty_accuracy(counting, tokenizer, [one], [1.0, 1000.0])
    assert table.loc["share of the text"].sum() == pytest.approx(2)
    assert table.loc[1.0, "all"] == 0.8 and table.loc[1.0, "new"] == 0
    assert (table.loc[1.0, ["words", "signs", "indentation"]] == 1).all()
    assert (table.loc[1000.0].drop("all") == 0).all()
    only_old = penalty_accuracy(counting, tokenizer, [replace(one, truth=tuple(ids[4:8]))])
    assert np.isnan(only_old.loc[1.0, "new"]) and only_old.loc[1.0, "all"] == 1


@pytest.mark.parametrize(("tasks", "penalties"), [([1], [1.0]), ([], ["x"]), (None, [1.0])])
def test_penalties_of_something_else_are_refused(tasks, penalties):
    counting = lab.NGram(lab.NGramConfig(9), [1, 2, 3])
    with pytest.raises(ValueError, match=r"must be|a penalty|A penalty"):
        penalty_accuracy(counting, lab.train_bpe("ab" * 9, 256), tasks, penalties)


def test_the_figure_has_a_panel_for_each_measure():
    table = decoder_changes(made_up(), "parses")
    truth = pd.DataFrame({"mean": [1.0], "change": [0.5], "low": [0.4], "high": [0.6]}, [TRUTH])
    with_truth = pd.concat([table, truth])
    chart = lab.plots.decoders({"parses": with_truth, "copied": with_truth})
    first, second = chart.axes
    assert [first.get_title(), second.get_title()] == ["parses", "copied"]
    assert [label.get_text() for label in first.get_yticklabels()] == [GREEDY, PLAIN, "penalty"]
    assert first.get_ylim() == second.get_ylim()
    filled = {line.get_label(): len(line.get_xdata()) for line in first.lines}
    assert filled["mean, a clear change"] == 1 and filled["mean, not clear"] == 2
    assert "sampling 0.27" in chart.description and "the truth 1.00" in chart.description


@pytest.mark.parametrize(
    ("measures", "sentence"),
    [
        ({}, "0 tables"),
        (dict.fromkeys("abcde", decoder_changes(made_up(), "parses")), "5 tables"),
        ({"a": pd.DataFrame({"mean": [1.0]})}, "change"),
        ([1], "measures"),
    ],
)
def test_other_figures_are_refused(measures, sentence):
    with pytest.raises(ValueError, match=sentence):
        lab.plots.decoders(measures)
