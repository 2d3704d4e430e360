"""The experiments vary what they say they vary, nothing else, and still give what was recorded."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import slmlab as lab
from slmlab.engine.evaluation import strided_losses
from slmlab.engine.training import fit
from slmlab.study import records
from slmlab.study.experiments import EXPERIMENTS, evaluations
from slmlab.study.experiments.counting import COUNTING
from slmlab.study.experiments.crossing import CROSSING
from slmlab.study.experiments.evaluations import losses
from slmlab.study.experiments.grid import GRID, Grid, has_turned
from slmlab.study.experiments.ladder import LADDER
from slmlab.study.experiments.protocol import Experiment, evaluation_steps, log_spaced
from slmlab.study.experiments.recipes import CHANGES, RECIPES, read_recipes
from slmlab.study.experiments.suspects import (
    LABELS,
    MASK,
    NONE,
    PADDED,
    PUBLISHED,
    SUSPECTS,
    WINDOWS,
    _reported_accuracy,
    reported,
    reported_perplexities,
)
from slmlab.study.experiments.tables import read_rows, read_table
from slmlab.study.experiments.vocabularies import VOCABULARIES, bytes_per_token
from slmlab.study.phases import PHASES

pytestmark = pytest.mark.slow


def shortened(experiment, steps):
    """The experiment with few steps, looked at near the start and at the end at most."""
    return replace(experiment, base=experiment.base.replace(max_steps=steps, eval_interval=steps))


# The ladder's cells have rows for files, and are scored on the final scripts: see test_ladder.py.
SWEEPS = [experiment for experiment in EXPERIMENTS if experiment is not LADDER]


@pytest.mark.parametrize("experiment", SWEEPS, ids=lambda e: e.name)
def test_an_experiment_keeps_its_own_promises(experiment):
    cells = experiment.cells()
    assert len({experiment.key(cell) for cell in cells}) == len(cells)
    assert set(experiment.keys) | {"step", *experiment.losses} <= experiment.columns.keys()
    assert set(experiment.columns.values()) <= {int, float, str}
    rows = shortened(experiment, 5).run_cell(cells[-1])
    assert rows[0]["step"] == 0
    assert shortened(experiment, 5).is_whole(cells[-1], rows)
    assert not experiment.is_whole(cells[-1], rows[1:])
    assert all(list(row) == list(experiment.columns) for row in rows)
    assert all(row.items() >= cells[-1].items() for row in rows)


def assert_begins_as_recorded(experiment, cell, made, columns):
    """The first looks of the full run; later ones differ more between processors."""
    stored = [row for row in read_rows(experiment) if row.items() >= cell.items()][: len(made)]
    assert [row["step"] for row in stored] == [row["step"] for row in made]
    assert len(made) > 1
    for old, new in zip(stored, made, strict=True):
        for loss in columns:
            assert new[loss] == pytest.approx(old[loss], abs=1e-3, nan_ok=True), new["step"]


def test_a_cell_of_the_grid_still_begins_as_it_was_recorded():
    cell = GRID.cell(12, 1e-3, 1000, 0)
    made = shortened(GRID, 40).run_cell(cell)
    assert_begins_as_recorded(GRID, cell, made, ("train_loss", "val_loss"))


@pytest.mark.parametrize("suspect", [NONE, MASK, LABELS, WINDOWS])
def test_a_suspect_still_begins_as_it_was_recorded(suspect):
    cell, made = SUSPECTS.cell(suspect, 0), []
    model, dataset = SUSPECTS.model(**cell), SUSPECTS.dataset(**cell)
    for now in fit(model, dataset, SUSPECTS.training(cell)):
        if now.step in SUSPECTS.looks:
            made.append({"step": now.step} | reported(model, dataset))
        if now.step == 7:
            break
    columns = ("train_loss", "held_out_loss", "leaked_loss", "windows_loss")
    assert_begins_as_recorded(SUSPECTS, cell, made, columns)


def test_each_width_has_rates_of_its_own_with_every_seed_and_others_around_them():
    sizes = [(width, rate) for width, rates in GRID.rates for rate in rates]
    around = [(width, rate) for width, rates in GRID.edges for rate in rates]
    n_texts = len(GRID.train_tokens)
    assert len(GRID.cells()) == n_texts * (len(sizes) * len(GRID.seeds) + len(around))
    for width, rates in GRID.rates:
        beyond = dict(GRID.edges)[width]
        assert min(beyond) < min(rates) and max(beyond) > max(rates)
    assert max(dict(GRID.edges)) > max(dict(GRID.rates))


@pytest.mark.parametrize(
    ("first", "last", "steps"),
    [(5, 20, [0, 5, 7, 10, 14, 20]), (5, 12, [0, 5, 7, 10, 12]), (3, 3, [0, 3])],
)
def test_looks_are_spaced_in_the_logarithm(first, last, steps):
    assert log_spaced(first, last) == steps


@pytest.mark.parametrize(
    ("losses", "turned"),
    [
        ([3.0], False),
        ([3.0, 2.0, 2.2], False),  # one look above the lowest may be chance
        ([3.0, 2.0, 2.2, 2.2], True),
        ([3.0, 2.0, 2.05, 2.2], False),
        ([3.0, 3.2, 3.3], True),  # a rate so high that it never fell
        ([3.0, 2.9, 2.8, 2.7], False),
    ],
)
def test_a_run_ends_once_its_loss_has_turned(losses, turned):
    steps = [0, 5, 7, 10]
    rows = [{"step": s, "val_loss": v} for s, v in zip(steps, losses, strict=False)]
    assert has_turned(rows) is turned


def test_a_turn_is_believed_after_twice_the_steps_only():
    rows = [{"step": s, "val_loss": v} for s, v in ((0, 3.0), (100, 2.0), (113, 2.3), (141, 2.3))]
    assert not has_turned(rows)
    assert has_turned([*rows, {"step": 200, "val_loss": 2.3}])


def grid_text(train_tokens, seed):
    return GRID.setup(48, 1e-3, train_tokens, seed).dataset(tested=False)


def test_more_data_of_a_seed_holds_all_of_the_less():
    small, large = grid_text(1000, 1), grid_text(4800, 1)
    assert torch.equal(large.train[:1000], small.train)
    assert torch.equal(large.val, small.val)


def test_the_seed_decides_the_order_of_the_files():
    assert not torch.equal(grid_text(1000, 0).train, grid_text(1000, 1).train)


def test_the_largest_dataset_exists_and_the_held_out_scripts_validate():
    largest = grid_text(max(GRID.train_tokens), 2)
    assert len(largest.train) == max(GRID.train_tokens)
    held_out = lab.load_held_out().text
    assert largest.tokenizer.decode(largest.val.tolist()) == held_out
    corpus = {document.text for document in lab.load_corpus().documents}
    assert not corpus & {document.text for document in lab.load_held_out().documents}


def test_a_cell_has_a_row_for_each_look_and_every_second_is_sampled():
    tiny = replace(GRID, base=GRID.base.replace(max_steps=4), first_look=3)
    rows = tiny.run_cell(GRID.cell(8, 1e-3, 300, 0))
    assert [row["step"] for row in rows] == [0, 3, 4]
    assert rows[-1]["epochs"] == pytest.approx(4 * 8 * 64 / 300)
    assert rows[0]["params"] == tiny.setup(8, 1e-3, 300, 0).model(1172).n_params
    assert all(0 <= row["copied"] <= 1 and 0 <= row["parses"] <= 1 for row in rows[::2])
    assert math.isnan(rows[1]["copied"])


def test_losses_are_strided_and_in_the_bytes_of_their_own_text():
    setup = GRID.setup(8, 1e-3, 6_000, 0)
    dataset = setup.dataset(tested=False)
    model = setup.model(dataset.tokenizer.n_vocab)
    found = losses(model, dataset)
    score = lab.text_score(model, dataset.tokenizer, lab.load_held_out().text)
    assert found["val_bits"] == pytest.approx(score)
    assert found["val_loss"] == pytest.approx(float(strided_losses(model, dataset.val).mean()))
    assert found["val_bits"] == pytest.approx(lab.bits_per_byte(found["val_loss"], dataset))
    assert found["train_loss"] == pytest.approx(
        float(strided_losses(model, dataset.train).mean()), abs=0.05
    )


def test_counting_is_fitted_to_the_texts_of_the_grid():
    rows = COUNTING.run_cell(COUNTING.cell(1_000, 1))
    dataset = GRID.setup(8, 1e-3, 1_000, 1).dataset(tested=False)
    model = lab.NGram(lab.NGramConfig(dataset.tokenizer.n_vocab, 5, 0.9), dataset.train)
    score = lab.text_score(model, dataset.tokenizer, lab.load_held_out().text)
    assert rows[0]["val_bits"] == pytest.approx(score)


def test_the_crossing_changes_the_settings_or_the_text_and_nothing_else():
    settings = {cell["phase"]: CROSSING.setup(**cell) for cell in CROSSING.cells()}
    for phase, setup in settings.items():
        assert setup.shape == PHASES[phase].setup.shape
        assert setup.training.max_steps == PHASES[phase].setup.training.max_steps
    texts = {cell["train_tokens"]: CROSSING.setup(**cell).data for cell in CROSSING.cells()}
    assert {n: data.n_tokens for n, data in texts.items()} == {900: 900, 4_500: 4_500}


def test_a_recipe_changes_one_thing_of_the_grids_own_runs():
    for cell in RECIPES.cells():
        ours = RECIPES.setup(**cell).values()
        plain = GRID.setup(96, 3e-4, cell["train_tokens"], cell["seed"]).values()
        changed = {name for name, value in ours.items() if value != plain[name]}
        assert changed - {"max_steps"} == CHANGES[cell["recipe"]].keys()
        assert ("max_steps" in changed) == (cell["recipe"] == "cosine")


def test_recipes_are_read_beside_the_grids_own_runs():
    table = read_recipes()
    runs = table.groupby(["recipe", "train_tokens"])["seed"].nunique()
    assert runs["plain"].tolist() == [3, 3]
    assert all(runs[recipe].tolist() == [3, 1] for recipe in CHANGES)


def test_ctrl_c_ends_a_cell(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluations, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        GRID.run_cell(GRID.cells()[-1])


@pytest.mark.parametrize(
    ("max_steps", "interval", "steps"),
    [(4, 2, [0, 2, 4]), (5, 2, [0, 2, 4, 5]), (20, None, list(range(0, 21, 2))), (3, 7, [0, 3])],
)
def test_the_steps_that_are_expected_are_those_of_a_run(tiny, dataset, max_steps, interval, steps):
    config = lab.TrainConfig(2, 1e-3, max_steps=max_steps, eval_interval=interval)
    run = lab.train(tiny(), dataset, config, progress=False)
    assert evaluation_steps(config) == steps == run.history["step"].tolist()


def test_settings_are_all_fields_so_that_none_is_forgotten():
    @dataclass(frozen=True)
    class Wider(Grid):
        more: int = 3

    assert Wider().settings == GRID.settings | {"more": 3}
    assert Wider(more=4).settings != Wider().settings
    other = replace(GRID, base=GRID.base.replace(learning_rate=0.5))
    assert other.settings != GRID.settings


ONE_STEP = GRID.base.replace(max_steps=1, eval_interval=1)


@dataclass(frozen=True)
class Coins(Experiment):
    """An experiment that is no grid: what adding one to the course takes."""

    name: ClassVar[str] = "coins"
    keys: ClassVar[tuple[str, ...]] = ("coin", "weight")
    columns: ClassVar[dict[str, type]] = {
        "coin": str,
        "weight": float,
        "step": int,
        "train_loss": float,
        "val_loss": float,
        "note": str,
    }
    base: lab.Setup = ONE_STEP

    def cells(self):
        return [{"coin": coin, "weight": 1 / 3} for coin in ("007", "NA", "")]

    def run_cell(self, cell):
        losses = {"train_loss": 0.1 + 0.2, "val_loss": float("nan")}
        notes = ('a "quoted",\r\nfolded line', "nan")
        return [cell | {"step": i} | losses | {"note": note} for i, note in enumerate(notes)]


def test_a_new_experiment_is_recorded_resumed_checked_and_read_like_the_others(
    tmp_path, monkeypatch
):
    coins = Coins()
    monkeypatch.setattr(records, "EXPERIMENTS", (coins,))
    monkeypatch.setattr(records, "PHASE_RECORDS", ())
    assert records.record(tmp_path, ["coins"], backend="sequential") == 3
    assert records.record(tmp_path, backend="sequential") == 0
    table = read_table(coins, tmp_path)
    assert table["coin"].tolist() == ["007", "007", "NA", "NA", "", ""]
    assert table["note"].tolist() == ['a "quoted",\r\nfolded line', "nan"] * 3
    assert table["train_loss"].tolist() == [0.3] * 6
    assert table["val_loss"].isna().all()
    assert len(records.problems_of(tmp_path)) == 6  # a loss that is not a number, each


def test_each_suspect_has_one_fault_and_three_seeds_but_the_published_one():
    seeds = Counter(cell["suspect"] for cell in SUSPECTS.cells())
    assert seeds.pop(PUBLISHED) == 1
    assert set(seeds) == {NONE, PADDED, MASK, LABELS, WINDOWS} and set(seeds.values()) == {3}


def test_the_suspects_vocabulary_has_423_tokens_and_the_published_model_its_size():
    assert SUSPECTS.tokenizer.n_vocab == SUSPECTS.config(NONE).vocab_size == 423
    assert SUSPECTS.config(PADDED).vocab_size == 32_000
    assert SUSPECTS.config(PUBLISHED).n_params == 23_132_160


def test_the_held_out_scripts_are_not_in_the_training_text_of_the_suspects():
    assert SUSPECTS.dataset(NONE, 0).overlap() < 0.7


def test_windows_dealt_at_random_are_none_of_those_trained_on_but_overlap_them():
    dealt = SUSPECTS.dataset(WINDOWS, 1)
    kept, aside = dealt.starts
    assert not set(kept.tolist()) & set(aside.tolist())
    assert len(kept) + len(aside) == len(dealt.train) - dealt.block
    inputs, targets = dealt.batch(4, dealt.block, seed=5)
    assert inputs.shape == (4, 256) and torch.equal(inputs[:, 1:], targets[:, :-1])
    starts = {tuple(dealt.train[i : i + dealt.block].tolist()) for i in kept.tolist()}
    assert {tuple(row) for row in inputs.tolist()} <= starts
    assert all((kept - start).abs().min() < dealt.block / 2 for start in aside.tolist()[:20])


@pytest.mark.parametrize(("suspect", "sees"), [(NONE, False), (MASK, True)])
def test_only_without_a_mask_does_a_later_token_change_an_earlier_logit(suspect, sees):
    model = SUSPECTS.model(suspect, 0)
    ids = torch.arange(20)[None]
    changed = ids.clone()
    changed[0, 10] = 99
    with torch.no_grad():
        difference = (model(ids) - model(changed)).abs().amax(-1)[0]
    assert (difference[:10] > 0).any().item() is sees


def test_unshifted_labels_ask_for_the_token_itself():
    model = SUSPECTS.model(LABELS, 0)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        loss, logits = model.loss(ids[:, :-1], ids[:, 1:]), model(ids[:, :-1])
    assert loss.item() == pytest.approx(F.cross_entropy(logits[0], ids[0, :-1]).item(), abs=1e-5)


def test_unshifted_labels_report_a_high_accuracy_after_a_few_steps():
    tiny = shortened(SUSPECTS, 60)
    rows, honest = (tiny.run_cell(tiny.cell(suspect, 0)) for suspect in (LABELS, NONE))
    assert rows[-1]["accuracy"] > 0.8 > 0.5 > honest[-1]["accuracy"]


def test_perplexities_are_compared_at_the_end_or_at_like_training_losses():
    looks = [
        {"suspect": NONE, "seed": 0, "step": step, "train_loss": train, "held_out_loss": 2.0}
        | {"leaked_loss": train, "windows_loss": windows}
        for step, train, windows in [(0, 3.0, math.nan), (5, 0.04, math.nan), (9, 0.01, math.nan)]
    ]
    looks += [{**looks[0], "suspect": MASK, "windows_loss": 1.0}]
    table = pd.DataFrame(looks)
    end = reported_perplexities(table).set_index(["suspect", "text"])
    assert end.loc[(NONE, "end of the training text"), "step"] == 9
    assert end.loc[(NONE, "held-out scripts"), "perplexity"] == pytest.approx(math.exp(2))
    assert end.loc[(MASK, "windows set aside"), "perplexity"] == pytest.approx(math.e)
    assert (NONE, "windows set aside") not in end.index
    alike = reported_perplexities(table, train_loss=0.05)
    assert set(alike["suspect"]) == {NONE} and set(alike["step"]) == {5}


def test_a_context_and_a_step_have_as_many_bytes_in_each_vocabulary():
    contexts = {}
    for cell in VOCABULARIES.cells():
        name = cell["vocabulary"]
        contexts[name] = VOCABULARIES.setup(**cell).shape.block_size * bytes_per_token(name)
    assert len(contexts) == 7
    assert max(contexts.values()) < 1.02 * min(contexts.values())
    whole = [VOCABULARIES.setup(name, 96, 3e-4, 0).dataset(False) for name in ("gpt2", "bpe-256")]
    read = [sum(map(len, map(d.tokenizer.token_bytes, d.train.tolist()))) for d in whole]
    assert min(read) > 0.99 * max(read)


def test_all_the_pairs_that_the_corpus_has_are_in_the_largest_vocabulary():
    assert VOCABULARIES.setup("bpe-2000", 96, 3e-4, 0).dataset(False).tokenizer.n_vocab < 2000


def test_the_reported_accuracy_of_an_honest_model_is_token_accuracy(finished):
    ids = finished.dataset.val
    assert _reported_accuracy(finished.model, ids) == lab.token_accuracy(finished.model, ids)
