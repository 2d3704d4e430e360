"""The five phases are the published ones, and run."""

import json

import pytest

import slmlab as lab
from slmlab.study.phases import settings_table
from slmlab.text.files import data_path

PUBLISHED = json.loads(data_path("published", "phases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("phase", lab.PHASES, ids=lambda phase: phase.title)
def test_settings_are_the_published_ones(phase):
    record = PUBLISHED[phase.number]
    config = record["config"]
    assert (phase.number, phase.name) == (record["phase"], record["name"])
    assert phase.setup.data.n_tokens == config["dataset_tokens"]
    for name in ("n_layer", "n_head", "n_embd", "block_size"):
        assert getattr(phase.setup.shape, name) == config[name]
    for name in ("max_steps", "batch_size", "learning_rate", "eval_interval"):
        assert getattr(phase.setup.training, name) == config[name]
    assert phase.published == record["result"]
    assert phase.curve.to_dict("records") == record["curve"]
    assert [(s["prompt"], s["text"]) for s in phase.samples] == [
        (s["prompt"], s["output"]) for s in record["samples"]
    ]


@pytest.mark.parametrize("phase", lab.PHASES, ids=lambda phase: phase.title)
def test_models_have_the_published_number_of_parameters(phase):
    assert phase.setup.shape.config(50257).n_params == phase.published["parameters"]
    data = phase.dataset()
    assert len(data.train) == phase.published["train_tokens"]
    assert len(data.val) == phase.published["val_tokens"]


def test_there_are_five_phases():
    assert [phase.number for phase in lab.PHASES] == [0, 1, 2, 3, 4]
    assert all(phase.samples for phase in lab.PHASES)


def test_what_was_not_published_has_common_values():
    for phase in lab.PHASES:
        training = phase.setup.training
        assert training.weight_decay == 0.01
        assert training.grad_clip == 1.0
        assert training.warmup_steps == 0
        assert not training.cosine
        assert phase.model(300).config.dropout == 0


@pytest.mark.slow
def test_a_phase_runs_within_a_time_budget():
    run = lab.PHASES[1].run("right-sized", seconds=1, seed=3, progress=False)
    assert run.state.status == "finished"
    assert run.state.step >= 1
    assert run.name == "phase-1-right-sized-seed-3"
    assert run.config.seed == 3
    assert run.model.config.n_embd == 32
    assert run.dataset.source["vocabulary"] == "right-sized"
    assert run.history["val_loss"].iloc[-1] < run.history["val_loss"].iloc[0]


@pytest.mark.slow
def test_a_phase_with_the_published_vocabulary_runs_without_a_warning(recwarn):
    run = lab.PHASES[1].run(seconds=1, progress=False)
    assert run.model.n_params == 1_634_208
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]


def test_the_seed_decides_the_weights():
    phase = lab.PHASES[1]
    first, other = phase.model(300, seed=0), phase.model(300, seed=1)
    assert (first.wte.weight != other.wte.weight).any()


@pytest.mark.parametrize("vocabulary", ["words", "GPT2", ""])
def test_an_unknown_vocabulary_is_refused(vocabulary):
    with pytest.raises(ValueError, match='must be "gpt2", "right-sized"'):
        lab.PHASES[1].run(vocabulary)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_budget_of_nothing_is_refused(seconds):
    with pytest.raises(ValueError, match=r"seconds is .* above 0"):
        lab.PHASES[1].run("right-sized", seconds=seconds)


def test_a_phase_that_was_not_recorded_says_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr("slmlab.study.phases.data_path", tmp_path.joinpath)
    with pytest.raises(lab.DataError, match="no recorded run 'phase-1-gpt2-seed-77'"):
        lab.PHASES[1].recorded(seed=77)


def test_the_table_of_settings_has_a_column_for_each_phase():
    table = settings_table(lab.PHASES[2:4])
    assert list(table.columns) == ["Phase 2", "Phase 3"]
    assert table.loc["times the text is read"].tolist() == ["57", "114"]
    assert table.loc["parameters", "Phase 3"] == "5,278,368"


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_a_best_step_that_is_not_the_curves_lowest_is_shown_beside_it(number):
    phase = lab.PHASES[number]
    table = phase.compare(phase.recorded("right-sized"))
    lowest = phase.curve.loc[phase.curve["val_loss"].idxmin()]
    reported = phase.published["best_val_loss"], phase.published["best_val_step"]
    shown = table["published"]
    assert shown["best validation loss, as reported"] == f"{reported[0]:.2f}"
    assert shown["best step, as reported"] == f"{reported[1]:,}"
    assert shown["lowest on the curve"] == f"{lowest['val_loss']:.2f}"
    assert shown["step of the lowest"] == f"{lowest['step']:,.0f}"
    ours = table["ours"]
    assert ours["best validation loss, as reported"] == ours["lowest on the curve"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 4])
def test_a_best_step_that_is_the_curves_lowest_is_shown_once(number):
    table = lab.PHASES[number].compare(lab.PHASES[number].recorded("right-sized"))
    assert "lowest on the curve" not in table.index
    assert (
        table.loc["best step", "published"] == f"{lab.PHASES[number].published['best_val_step']:,}"
    )
