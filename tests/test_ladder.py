"""The ladder: rungs that stop where they were told, a record that grows, words that fit numbers.

Final scores are made by recording only, so the held-out scripts stand in for the final ones here.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import is_a_picture, legend, ticks

import slmlab as lab
from slmlab.__main__ import main
from slmlab.show import plots
from slmlab.study import ladder, records
from slmlab.study.baseline import NUMBER_TO_BEAT
from slmlab.study.experiments import ladder as rungs
from slmlab.study.experiments.counting import read_counting
from slmlab.study.experiments.grid import (
    GRID,
    at_best_rates,
    best_looks,
    decision_table,
    read_grid,
)
from slmlab.study.experiments.ladder import (
    BEST,
    BEST_STEPS,
    LEARNT,
    LEARNT_GPT,
    LEARNT_STEPS,
    PHASE_STEPS,
    RUNGS,
    WHOLE,
    WIDER,
    WIDER_STEPS,
    Counting,
    Ladder,
    Mixed,
    Trained,
)
from slmlab.study.experiments.tables import read_rows, read_table, write_table
from slmlab.study.experiments.vocabularies import VOCABULARIES, read_vocabularies
from slmlab.study.ladder import ladder_table, ladder_words
from slmlab.text.corpus import Corpus

SHORT = lab.Setup.parse("phase-1 n_layer=1 n_embd=8 max_steps=3")
SHUFFLED = SHORT.replace(n_tokens=600, order=0, validation="held-out")
TO_BEAT = Counting(NUMBER_TO_BEAT, "00", SHORT, NUMBER_TO_BEAT)
TINY = (
    TO_BEAT,
    Trained("small", "01", SHORT, NUMBER_TO_BEAT, (2, 1)),
    Mixed("mixed", "05", SHUFFLED, NUMBER_TO_BEAT, (1,)),
)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Two held-out scripts in place of the final ones."""
    two = Corpus(lab.load_held_out().documents[:2])
    for module in (rungs, ladder):
        monkeypatch.setattr(module, "load_final", lambda: two)
    return two


@pytest.fixture
def tiny(monkeypatch):
    """The ladder of the tiny rungs, or of those given, in place of the course's."""

    def use(these=TINY):
        made = Ladder(rungs=these)
        monkeypatch.setattr(records, "EXPERIMENTS", (made,))
        monkeypatch.setattr(records, "PHASE_RECORDS", ())
        return made

    return use


def record(folder):
    return records.record(folder, ["ladder"], backend="sequential")


# The record.


@pytest.mark.slow
def test_a_ladder_is_recorded_checked_and_read(tiny, tmp_path, stand_in):
    made = tiny()
    assert record(tmp_path) == 4
    assert records.problems_of(tmp_path) == []
    assert record(tmp_path) == 0
    scores = read_table(made, tmp_path)
    assert len(scores) == 4 * 2
    assert set(scores["file"]) == {d.name for d in stand_in.documents}
    small = scores[scores["rung"] == "small"]
    assert small["step"].tolist() == [2, 2, 1, 1]
    assert set(small["setup"]) == {str(SHORT)}
    table = ladder_table(scores, TINY)
    assert table.index.tolist() == [NUMBER_TO_BEAT, "small", "mixed"]
    assert table["lesson"].tolist() == ["00", "01", "05"]
    assert table["seeds"].tolist() == [1, 2, 1]
    assert table["step"].tolist() == ["0", "1 to 2", "1"]
    assert table["train_tokens"].tolist() == [900, 900, 600]
    assert (table["score_low"] <= table["score"]).all()
    assert table.loc["small", "to_beat"] == pytest.approx(
        table.loc["small", "score"] - table.loc[NUMBER_TO_BEAT, "score"], abs=1e-5
    )


@pytest.mark.slow
def test_a_stopped_ladder_goes_on_with_what_is_missing(tiny, tmp_path, monkeypatch):
    made = tiny()
    trained, scores = [], Trained.scores

    def stopped(rung, seed, corpus):
        trained.append((rung.name, seed))
        if trained == [("small", 0), ("small", 1)]:
            raise KeyboardInterrupt
        return scores(rung, seed, corpus)

    monkeypatch.setattr(Trained, "scores", stopped)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path)
    assert {row["rung"] for row in read_rows(made, tmp_path)} == {"mixed", "small"}
    [problem] = records.problems_of(tmp_path)
    assert "ladder has 2 of its 4 runs" in problem
    assert record(tmp_path) == 2
    assert trained[2:] == [("small", 1)]
    assert records.problems_of(tmp_path) == []


@pytest.mark.slow
def test_a_lesson_adds_a_rung_and_only_that_is_made(tiny, tmp_path):
    tiny(TINY[:1])
    assert record(tmp_path) == 1
    before = (tmp_path / "ladder.csv").read_text().splitlines()
    tiny(TINY[:2])
    assert record(tmp_path) == 2
    assert (tmp_path / "ladder.csv").read_text().splitlines()[-2:] == before[-2:]


@pytest.mark.slow
def test_other_steps_are_trained_again_and_another_set_up_is_refused(tiny, tmp_path):
    tiny(TINY[:2])
    assert record(tmp_path) == 3
    made = tiny((TO_BEAT, replace(TINY[1], steps=(3, 1))))
    assert record(tmp_path) == 1
    assert {row["step"] for row in read_rows(made, tmp_path)} == {0, 1, 3}
    tiny((TO_BEAT, replace(TINY[1], setup=SHORT.replace(n_embd=4))))
    with pytest.raises(lab.DataError, match="other settings"):
        record(tmp_path)


@pytest.mark.slow
def test_what_is_altered_or_of_other_final_scripts_is_refused(tiny, tmp_path, monkeypatch):
    made = tiny(TINY[:1])
    record(tmp_path)
    monkeypatch.setattr(rungs, "load_final", lab.load_held_out)
    with pytest.raises(lab.DataError, match="other texts"):
        record(tmp_path)
    path = tmp_path / "ladder.csv"
    path.write_text(path.read_text().replace("order 5", "order 6"))
    with pytest.raises(lab.DataError, match="has changed since it was recorded"):
        read_table(made, tmp_path)


@pytest.mark.slow
def test_bits_that_are_no_number_are_found(tiny, tmp_path):
    made = tiny(TINY[:1])
    record(tmp_path)
    rows = read_rows(made, tmp_path)
    rows[0]["bits"] = math.nan
    environments = json.loads((tmp_path / "ladder.json").read_text())["environments"]
    write_table(made, tmp_path, rows, environments)
    [problem] = records.problems_of(tmp_path)
    assert "not a number" in problem


def test_words_that_the_corpus_has_are_not_new(monkeypatch):
    assert 0 < ladder.new_words()["final"] < 1
    monkeypatch.setattr(ladder, "load_final", lab.load_corpus)
    assert ladder.new_words()["final"] == 0


def test_a_ladder_that_is_not_complete_is_not_read(monkeypatch):
    monkeypatch.setattr(ladder, "read_table", lambda _: None)
    monkeypatch.setattr(ladder, "missing_cells", lambda made, _: made.cells()[:2])
    with pytest.raises(lab.DataError, match=r"2 runs .* `python -m slmlab record ladder`"):
        lab.read_ladder()


# The rungs.


def test_every_rung_has_a_rival_that_counts_the_same_text():
    named = {rung.name: rung for rung in RUNGS}
    assert len(named) == len(RUNGS)
    assert named[NUMBER_TO_BEAT].order == 5
    for rung in RUNGS:
        rival = named[rung.rival]
        assert isinstance(rival, Counting) and rival.order == 5
        ours, theirs = (r.dataset(0).train.sort().values for r in (rung, rival))
        if rung.setup.data.order is None:
            assert torch.equal(ours, theirs)
        else:  # the same files in another order, so another end of the text is cut off
            assert len(ours) == pytest.approx(len(theirs), rel=0.005)
            assert rung.setup.data.n_tokens == rival.setup.data.n_tokens == 23_000


def test_keys_tell_cells_apart_and_the_steps_are_within_the_full_runs():
    made = Ladder()
    keys = [made.key(cell) for cell in made.cells()]
    assert len(set(keys)) == len(keys) == 12 + 3 * 16
    for rung in RUNGS:
        assert max(rung.steps) <= rung.setup.training.max_steps
        assert all(step > 0 for step in rung.steps) == isinstance(rung, Trained)


@pytest.mark.parametrize("number", range(5))
def test_phases_stop_where_their_recorded_held_out_loss_is_lowest(number):
    for seed, step in enumerate(PHASE_STEPS[number]):
        history = lab.PHASES[number].recorded("right-sized", seed).history
        assert step == history.loc[history["test_loss"].idxmin(), "step"]


@pytest.mark.slow
def test_the_grids_best_is_what_its_held_out_scripts_chose():
    runs = best_looks(read_grid())
    row = decision_table(runs, read_counting()).loc[BEST.data.n_tokens]
    assert GRID.setup(int(row["n_embd"]), row["learning_rate"], BEST.data.n_tokens, 0) == BEST
    best = at_best_rates(runs).query("train_tokens == @BEST.data.n_tokens")
    steps = best.query("n_embd == @BEST.shape.n_embd").set_index("seed")["step"]
    assert tuple(steps.sort_index()) == BEST_STEPS
    [wider] = runs.query("n_embd == 384 and train_tokens == 23_000").itertuples()
    assert GRID.setup(384, wider.learning_rate, 23_000, 0) == WIDER
    assert (wider.step,) * 3 == WIDER_STEPS


@pytest.mark.slow
def test_the_vocabulary_learnt_from_the_text_is_what_the_held_out_scripts_chose():
    runs = best_looks(read_vocabularies(), VOCABULARIES.keys)
    three = runs[
        runs.groupby(["vocabulary", "n_embd", "learning_rate"])["seed"].transform("size") == 3
    ]
    means = three.groupby(["vocabulary", "n_embd", "learning_rate"])["val_bits"].mean()
    chosen = LEARNT_GPT.data.vocabulary, LEARNT_GPT.shape.n_embd, LEARNT_GPT.training.learning_rate
    assert means.idxmin() == chosen
    assert chosen[0] == LEARNT
    steps = three.set_index(["vocabulary", "n_embd", "learning_rate", "seed"])["step"]
    assert tuple(steps.loc[chosen].sort_index()) == LEARNT_STEPS


def test_what_is_not_chosen_by_validation_text_is_chosen_by_the_held_out_scripts():
    for setup in (BEST, WHOLE):
        assert setup.data.validation == "held-out"
        assert len(setup.dataset(tested=False).train) == 23_000


@pytest.mark.slow
def test_a_phase_is_trained_again_as_it_was_recorded():
    [rung] = [rung for rung in RUNGS if rung.name == "Phase 1"]
    dataset = rung.dataset(0).with_test(lab.load_held_out().text)
    model, facts = rung.train(0, dataset)
    history = lab.PHASES[1].recorded("right-sized", 0).history.set_index("step")
    assert facts["step"] == PHASE_STEPS[1][0]
    assert facts["params"] == model.n_params
    recorded = history.loc[facts["step"], "test_loss"]
    assert lab.mean_loss(model, dataset.test) == pytest.approx(recorded, abs=0.02)


def test_seeds_shuffle_the_files_only_where_they_are_shuffled():
    plain, shuffled = TINY[1:]
    assert torch.equal(plain.dataset(0).train, plain.dataset(1).train)
    assert not torch.equal(shuffled.dataset(0).train, shuffled.dataset(1).train)


@pytest.mark.slow
def test_order_and_discount_can_be_chosen(monkeypatch, stand_in):
    monkeypatch.setattr(
        rungs,
        "choose_ngram",
        lambda train, val, size: lab.choose_ngram(train, val, size, (2,), (0.5, 0.9)),
    )
    table, facts = Counting("n", "05", SHUFFLED, NUMBER_TO_BEAT, order=None).scores(0, stand_in)
    assert facts["chosen"].startswith("order 2, discount 0.")
    assert len(table) == 2


@pytest.mark.slow
def test_the_mixture_is_between_its_parts_or_better(stand_in):
    rung = replace(TINY[2], steps=(1,))
    dataset = rung.dataset(0)
    mixed, facts = rung.scores(0, stand_in)
    gpt = lab.per_file_scores(rung.train(0, dataset)[0], dataset.tokenizer, stand_in)
    counting = lab.NGram(lab.NGramConfig(dataset.tokenizer.n_vocab, 5, 0.9), dataset.train)
    ngram = lab.per_file_scores(counting, dataset.tokenizer, stand_in)
    assert mixed["bytes"].tolist() == gpt["bytes"].tolist() == ngram["bytes"].tolist()
    assert (mixed["bits"] < np.maximum(gpt["bits"], ngram["bits"])).all()
    assert "of counting" in facts["chosen"]


# The table, its words and its figure.


def made_up(*shifts):
    """Scores of the tiny rungs: counting needs 2 bits per byte, the others as much more."""
    noise = np.random.default_rng(3).normal(0, 0.01, 8)
    seeds = {NUMBER_TO_BEAT: 1, "small": 2, "mixed": 1}
    rows = [
        {"rung": name, "seed": seed, "file": f"f{f}", "bytes": 100, "params": 7, "step": seed}
        | {"train_tokens": 900, "seconds": 1.5, "bits": 100 * (2 + shift + noise[f] * bool(shift))}
        for (name, n), shift in zip(seeds.items(), (0, *shifts), strict=True)
        for seed in range(n)
        for f in range(8)
    ]
    return ladder_table(pd.DataFrame(rows), TINY)


def test_a_counting_score_is_paired_with_every_seed():
    table = made_up(0.5, -0.5)
    assert table["to_beat"].tolist()[1:] == pytest.approx([0.5, -0.5], abs=0.02)
    assert table["same_text_low"]["small"] < table["same_text"]["small"]
    assert table.loc[NUMBER_TO_BEAT, ["to_beat", "same_text_low"]].isna().all()
    assert table.loc["small", "score"] == pytest.approx(2.5, abs=0.02)


@pytest.mark.parametrize(
    ("shifts", "better", "worse", "unclear"),
    [
        ((0.5, -0.5), "mixed", "small", "none"),
        ((-0.5, 0.5), "small", "mixed", "none"),
        ((0.001, 0.001), "none", "none", "small; mixed"),
        ((0.5, 0.5), "none", "small; mixed", "none"),
    ],
)
def test_the_words_fit_the_numbers(shifts, better, worse, unclear):
    words = ladder_words(made_up(*shifts))
    assert words.startswith("The number to beat is 2.000 bits per byte")
    for rival in ("the number to beat", "the 5-gram over its text"):
        assert f"Clearly better than {rival}: {better}.\n" in words
        assert f"Clearly worse than {rival}: {worse}.\n" in words
        assert f"No clear difference from {rival}: {unclear}." in words


def test_the_command_prints_table_and_words(monkeypatch, capsys):
    table = made_up(0.5, -0.5)
    monkeypatch.setattr(ladder, "read_ladder", lambda: table)
    assert main(["ladder"]) == 0
    printed = capsys.readouterr().out
    head, counting, small, *_ = printed.splitlines()
    assert "bits per byte" in head
    assert counting.startswith(NUMBER_TO_BEAT) and counting.endswith("–")
    assert small.split()[:6] == ["small", "01", "900", "7", "0", "to"]
    assert f"+{table.loc['small', 'to_beat']:.3f} (+" in small
    assert "−0.5" in printed
    assert printed.endswith(ladder_words(table) + "\n")


def test_the_figure_shows_scores_intervals_and_the_line_to_beat():
    table = made_up(0.5, -0.5)
    chart = plots.ladder(table)
    [axes] = chart.axes
    *dots, line = axes.lines
    assert [list(dot.get_xdata()) for dot in dots] == [[score] for score in table["score"]]
    assert [list(dot.get_ydata()) for dot in dots] == [[0], [1], [2]]
    assert list(line.get_xdata()) == [2, 2]
    bars = [bar.get_segments() for bar in axes.collections]
    assert [len(segments) for segments in bars[1:]] == [1, 1]
    (left, _), (right, _) = bars[1][0]
    assert left == pytest.approx(2 + table["to_beat_low"]["small"])
    assert right == pytest.approx(2 + table["to_beat_high"]["small"])
    assert legend(axes) == ["counting", "GPT", "GPT + counting", "to beat: 2.00"]
    assert ticks(axes.yaxis) == table.index.tolist()
    assert axes.get_ylim() == (2.5, -0.5)
    assert "bits per byte" in axes.get_xlabel()
    assert axes.get_title() == "3 rungs of the ladder, with 95% intervals"
    assert is_a_picture(chart)
