"""The Playground, driven without a browser."""

import json
import re
import threading
import time
from functools import partial
from html import escape, unescape
from types import SimpleNamespace

import pytest

import slmlab as lab
from slmlab.engine.runs import SAMPLING
from slmlab.show.widgets import comparing, looks
from slmlab.show.widgets.controls import ALL
from slmlab.show.widgets.dials import LADDER
from slmlab.show.widgets.playground import WAITING
from slmlab.show.widgets.readout import duration
from slmlab.show.widgets.worker import Worker
from slmlab.study import setups
from slmlab.study.baseline import beside_counting
from slmlab.study.setups import Setup, preset

pytestmark = pytest.mark.slow


@pytest.fixture
def panel(tmp_path):
    panel = lab.Playground("phase-1 max_steps=20", tmp_path / "runs")
    yield panel
    stop(panel)
    assert not [t for t in threading.enumerate() if t.name == "slmlab-training"]


def train(panel, state=None):
    if state:
        panel.state.value = state
    panel.train.click()
    panel.wait(120)


def stop(panel):
    if panel.train.description == "Stop":
        panel.train.click()
    panel.wait(30)


def line(panel, name):
    """The points of a line of the chart; none before the first evaluation."""
    return next((d["points"] for d in panel.curves.data["lines"] if d["name"] == name), [])


def until(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    assert condition()


def test_moving_a_control_changes_the_numbers_and_the_string(panel):
    before = panel.readout.value
    panel.controls["n_embd"].value = 64
    assert panel.readout.value != before
    assert f"{Setup.parse('phase-1 n_embd=64').model().n_params:,}" in panel.readout.value
    assert panel.state.value == "phase-1 n_embd=64 max_steps=20"
    assert panel.setup.shape.n_embd == 64


def test_steps_and_seconds_exclude_each_other(panel):
    panel.controls["seconds"].value = 20
    assert panel.controls["max_steps"].value == "off"
    assert panel.setup.training.max_steps is None
    panel.controls["max_steps"].value = 100
    assert panel.setup.training.seconds is None
    panel.controls["max_steps"].value = "off"
    assert panel.setup.training.seconds is not None


@pytest.mark.parametrize("phase", lab.PHASES, ids=lambda phase: phase.title)
def test_a_preset_is_the_published_set_up(panel, phase):
    panel.preset.value = phase.number
    assert panel.setup == preset(phase.number)
    assert panel.state.value == f"phase-{phase.number}"
    assert f"This is Phase {phase.number}" in panel.readout.value


def test_a_string_moves_the_controls(panel):
    panel.state.value = "phase-2 n_layer=5 dropout=0.15 vocabulary=bpe-321 seed=77 seconds=7"
    for name, value in (
        ("n_layer", 5),
        ("dropout", 0.15),
        ("vocabulary", "bpe-321"),
        ("seed", 77),
        ("seconds", 7.0),
        ("max_steps", "off"),
    ):
        assert panel.controls[name].value == value
    assert lab.Playground(panel.state.value).setup == panel.setup


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("nonsense", "does not begin with a phase"),
        ("phase-1 n_head=3", "multiple of 3"),
        ("phase-1 n_tokens=900000", "the text has 23,174"),
        ("phase-1 n_tokens=200 block_size=256", "use block_size below that"),
    ],
)
def test_what_cannot_be_trained_is_said_and_cannot_be_started(panel, state, words):
    panel.state.value = state
    assert words in panel.readout.value
    assert words in panel.state_problem.value  # beside the string, and read out
    assert words in panel.said.value
    assert panel.train.disabled
    panel.state.value = "phase-1 max_steps=20"
    assert words not in panel.readout.value + panel.state_problem.value + panel.said.value
    assert not panel.train.disabled


def test_what_does_not_fit_into_memory_cannot_be_started(panel, monkeypatch):
    free = SimpleNamespace(available=1e9)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    panel.state.value = "phase-1 max_steps=20 n_embd=4096"
    assert "make the batch, the context or the model smaller" in panel.readout.value
    assert "parameters per token" in panel.readout.value
    assert panel.train.disabled
    assert "error" in panel.readout.value
    assert "make the batch, the context" in panel.state_problem.value
    free.available = 1e12
    panel.controls["n_layer"].value = 1
    assert not panel.train.disabled


def test_a_device_that_is_not_here_cannot_be_started(panel):
    panel.state.value = "phase-1 max_steps=20 device=toaster"
    assert "There is no device &#x27;toaster&#x27; here" in panel.readout.value
    assert panel.train.disabled


def test_heads_that_do_not_fit_leave_the_last_good_set_up(panel):
    panel.controls["n_head"].value = 3
    assert "multiple of 3" in panel.readout.value
    assert panel.setup.shape.n_head == 2
    panel.controls["n_embd"].value = 48  # what the sentence advised
    assert not panel.train.disabled
    assert (panel.setup.shape.n_head, panel.setup.shape.n_embd) == (3, 48)


def test_a_wrong_first_string_is_refused():
    with pytest.raises(ValueError, match="does not begin with a phase"):
        lab.Playground("hello")


def test_the_code_is_shown_on_demand_and_follows_the_controls(panel):
    assert panel.code.value == ""
    panel.show_code.value = True
    panel.controls["n_layer"].value = 4
    assert "n_layer=4" in panel.code.value
    panel.show_code.value = False
    assert panel.code.value == ""


def test_before_the_first_training_there_is_a_number_to_beat(panel):
    to_beat = lab.number_to_beat(panel.setup.dataset()).test_bits
    assert panel.curves.data["level"]["y"] == to_beat
    assert panel.curves.data["lines"] == []
    assert panel.curves.data["steps"] == 20
    assert f"<b>{to_beat:.2f}</b><span>5-gram (the number to beat)" in panel.scores.value
    assert "appears here at every evaluation" in panel.sample.value
    assert re.fullmatch(r"Press Train: about \d+ s\.", panel.status.value)
    panel.controls["n_tokens"].value = 5_000
    assert panel.curves.data["level"]["y"] < to_beat


def test_training_shows_curves_a_sample_and_the_result(panel):
    train(panel)
    standing = beside_counting(panel.run)
    assert standing.text == "held-out scripts"
    assert f"<b>{standing.score:.2f}</b><span>held-out score at step 20" in panel.scores.value
    assert f"<b>{standing.number:.2f}</b>" in panel.scores.value
    to_go = standing.score - standing.number
    assert f"<b>{to_go:.2f}</b><span>bits per byte to go" in panel.scores.value
    assert "step 20" in panel.sample.value
    assert "Done: 20 steps in" in panel.status.value
    assert panel.said.value == panel.status.value
    assert panel.run.state.step == 20
    assert not panel.train.disabled and panel.train.description == "Train"


def test_the_sample_is_written_by_the_decoder_that_is_chosen(panel, monkeypatch):
    panel.decoder.value = LADDER["greedy"]  # before there is a model
    assert panel.sample.value == WAITING
    train(panel)
    prompt = panel.prompt.value
    shown = partial(re.fullmatch, r"What it wrote at step 20:<pre[^>]*>(.*)</pre>", flags=re.DOTALL)
    greedy = panel.run.sample(prompt, **vars(LADDER["greedy"]))
    assert unescape(shown(panel.sample.value)[1]) == greedy
    for name in LADDER:
        panel.decoder.value = LADDER[name]
        assert shown(panel.sample.value)[1].startswith(escape(prompt)), name
    panel.decoder.value = SAMPLING
    [stored] = [s for s in panel.run.samples if s["prompt"] == prompt and s["step"] == 20]
    assert unescape(shown(panel.sample.value)[1]) == stored["text"]

    def take_sample(*_, **__):
        raise ValueError("No such Python.")

    monkeypatch.setattr(panel.run, "take_sample", take_sample)
    panel.decoder.value = LADDER["stays Python"]
    assert "No such Python." in panel.sample.value


def test_the_chart_draws_each_loss_in_bits_per_byte_and_the_number_to_beat(panel):
    train(panel)
    data, run = panel.curves.data, panel.run
    assert data["level"] == {"name": "to beat", "y": lab.number_to_beat(run.dataset).test_bits}
    assert data["steps"] == 20
    for name, column, ids in (
        ("held-out", "test_loss", run.dataset.test),
        ("validation", "val_loss", run.dataset.val),
        ("training", "train_loss", run.dataset.train),
    ):
        bits = [lab.bits_per_byte(loss, run.dataset, ids) for loss in run.history[column]]
        assert [y for _, y in line(panel, name)] == pytest.approx(bits)
        assert [step for step, _ in line(panel, name)] == run.history["step"].tolist()


def test_between_exact_evaluations_there_are_cheap_looks(panel):
    began = time.monotonic()
    panel.state.value = "phase-2 max_steps=400 eval_interval=400"
    panel.train.click()
    until(lambda: panel.run is not None)
    assert time.monotonic() - began < 10  # a second where nothing else runs
    until(lambda: len(line(panel, "held-out, estimated")) > 1)
    assert "≈" in panel.scores.value and "estimated" in panel.scores.value
    panel.wait(120)
    steps = [step for step, _ in line(panel, "training batches")]
    assert steps == sorted(set(steps)) and len(steps) > 2 and steps[-1] == 400
    (_, first), *_, (_, last) = line(panel, "held-out")
    for step, bits in line(panel, "held-out, estimated"):
        assert 0 < step < 400 and last - 0.6 < bits < first + 0.6


def test_looks_are_few_and_change_no_training(panel, monkeypatch):
    monkeypatch.setattr(looks, "EVERY", 0.0)
    monkeypatch.setattr(looks, "MOST", 20)
    train(panel, "phase-1 max_steps=60 eval_interval=30 dropout=0.2")
    assert 5 < len(line(panel, "training batches")) <= 21
    setup = panel.setup
    run = lab.train(setup.model(), setup.dataset(), setup.training, progress=False)
    assert run.history["test_loss"].tolist() == panel.run.history["test_loss"].tolist()


def test_batches_with_smoothed_labels_are_not_drawn(panel):
    train(panel, "phase-1 max_steps=20 label_smoothing=0.1")
    assert line(panel, "training batches") == []
    assert len(line(panel, "training")) > 1


def test_the_last_run_stays_as_a_ghost(panel):
    train(panel, "phase-1 max_steps=20 eval_interval=20")
    left = line(panel, "held-out")
    assert "last run" not in {drawn["name"] for drawn in panel.curves.data["lines"]}
    train(panel, "phase-1 max_steps=20 eval_interval=20 seed=1")
    assert set(left) <= set(line(panel, "last run"))
    assert left != line(panel, "held-out")


def test_each_knob_says_what_it_is_for(panel):
    for name, knob in ALL.items():
        control = panel.controls[name]
        assert control.description == knob.label
        assert knob.help in (getattr(control, "help", ""), control.tooltip)


def test_tokens_are_counted_as_tokens(panel):
    panel.state.value = "phase-1 n_tokens=4321 block_size=32"
    for name, label in (("n_tokens", "4,321 tokens"), ("block_size", "32 tokens")):
        assert panel.controls[name].label == label


def test_the_bar_of_parameters_has_a_part_for_the_rest(panel):
    widths = re.findall(r"<div style='width:([\d.]+)%", panel.readout.value)
    assert sum(map(float, widths)) == pytest.approx(100, abs=0.3)
    assert "the rest" in panel.readout.value


def test_other_knobs_are_folded(panel):
    assert panel._folded.layout.display == "none"
    panel.more.value = True
    assert panel._folded.layout.display == ""
    assert panel.more.description == "Fewer settings"


def test_advice_is_not_in_the_colour_of_errors(panel):
    panel.state.value = "phase-0"
    assert "parameters for each training token" in panel.readout.value
    assert "error" not in panel.readout.value


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7, "7 s"), (89, "89 s"), (90, "2 min"), (6000, "2 hours"), (9 * 86_400, "9 days")],
)
def test_times_are_read_in_their_unit(seconds, words):
    assert duration(seconds) == words


def test_a_set_up_on_another_order_is_scored_on_the_held_out_scripts_too(panel):
    train(panel, "phase-1 max_steps=20 order=1 validation=held-out")
    assert "held-out score at step 20" in panel.scores.value


def test_the_panel_trains_what_it_says(panel):
    train(panel)
    setup = panel.setup
    run = lab.train(setup.model(), setup.dataset(), setup.training, progress=False)
    assert run.history["val_loss"].tolist() == panel.run.history["val_loss"].tolist()


def test_stop_keeps_the_partial_run(panel):
    panel.state.value = "phase-2 max_steps=3000"
    panel.train.click()
    until(lambda: panel.run is not None and panel.run.state.step >= 3)
    stop(panel)
    assert panel.run.state.status == "interrupted"
    assert 3 <= panel.run.state.step < 3000
    assert "Stopped at step" in panel.status.value
    panel.run.resume(lab.TrainConfig(8, 5e-4, max_steps=panel.run.state.step + 2), progress=False)
    assert panel.run.state.status == "finished"


def test_a_second_start_is_refused_in_words(panel, tmp_path):
    panel.state.value = "phase-2 max_steps=3000"
    panel.train.click()
    other = Worker.latest
    panel._start()
    assert "is still training; stop it first" in panel.status.value
    assert Worker.latest is other


def test_controls_move_while_it_trains_and_the_run_does_not_notice(panel):
    panel.state.value = "phase-2 max_steps=3000"
    panel.train.click()
    until(lambda: panel.run is not None)
    panel.controls["n_layer"].value = 1
    assert panel.setup.shape.n_layer == 1
    assert panel.train.description == "Stop"
    stop(panel)
    assert panel.run.model.config.n_layer == 3
    assert not panel.train.disabled


def test_a_panel_opened_anew_takes_over_the_training(panel, tmp_path):
    panel.state.value = "phase-2 max_steps=3000"
    panel.train.click()
    until(lambda: panel.run is not None)
    again = lab.Playground("phase-1", tmp_path / "runs")
    assert again.train.description == "Stop"
    until(lambda: again.run is not None)
    stop(again)
    assert "Stopped at step" in again.status.value


def test_two_panels_of_one_kernel_see_the_same_training(panel, tmp_path):
    other = lab.Playground("phase-1", tmp_path / "other")
    panel.state.value = "phase-2 max_steps=3000"
    panel.train.click()
    assert other.train.description == "Train"  # it does not know yet
    other.train.click()
    assert other.train.description == "Stop"
    until(lambda: other.run is not None)
    stop(other)
    for one in (panel, other):
        assert "Stopped at step" in one.status.value
        assert one.train.description == "Train"
    assert panel.run is other.run


def test_two_runs_of_one_second_are_two(panel, tmp_path):
    train(panel, "phase-1 max_steps=1")
    train(panel)
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert len(lab.Playground(folder=tmp_path / "runs").comparison.choice.options) == 2


def test_a_set_up_on_another_text_is_kept_as_well(panel, tmp_path):
    train(panel, "phase-1 max_steps=20 eval_interval=20 order=1")
    assert "Done: 20 steps in" in panel.status.value
    assert "!" not in panel.status.value
    later = lab.Playground(folder=tmp_path / "runs")
    later.comparison.pin.click()
    assert later.comparison.table.value.count("<tr>") == 2


def test_a_set_up_with_a_long_name_is_kept_as_well(panel, tmp_path):
    changes = "n_head=1 n_embd=48 block_size=8 dropout=0.05 vocabulary=bpe-300 seed=9 batch_size=2"
    rest = "eval_interval=10 grad_clip=0.123456789 warmup_steps=7 label_smoothing=0.05 cosine=True"
    train(panel, f"phase-1 max_steps=20 {changes} {rest} weight_decay=0.123456789")
    assert len(panel.run.name) > 200
    assert "!" not in panel.status.value
    [folder] = (tmp_path / "runs").iterdir()
    assert len(folder.name) <= 120
    panel.comparison.pin.click()
    assert "phase-1" in panel.comparison.table.value


def test_to_ask_the_run_while_it_trains_changes_nothing(panel):
    """Samples, the explorer and a report turn dropout off, which the training must not notice."""
    state = "phase-1 max_steps=150 eval_interval=75 dropout=0.3"
    train(panel, state)
    alone = panel.run.history
    panel.train.click()
    until(lambda: panel.run.state.step < 150)
    asked = 0
    while Worker.under_way():
        panel.run.sample("def ", 5)
        lab.NextTokenExplorer(panel.run, "def ").one.click()
        if asked % 3 == 0:
            lab.report(panel.run)
        asked += 1
    panel.wait(120)
    assert asked >= 3
    losses = ["train_loss", "val_loss", "test_loss"]
    assert panel.run.history[losses].equals(alone[losses])


def test_pinned_runs_lie_side_by_side(panel):
    train(panel, "phase-1 max_steps=20 eval_interval=20")
    train(panel, "phase-1 max_steps=20 eval_interval=20 seed=1")
    for name in list(panel.comparison.choice.options):
        panel.comparison.choice.value = name
        panel.comparison.pin.click()
        panel.comparison.pin.click()  # twice is once
    assert panel.comparison.table.value.count("<tr>") == 3
    assert "seed=1" in panel.comparison.table.value
    assert panel.comparison.table.value.count("2.66") == 2  # the 5-gram's score, beside each run's
    assert panel.comparison.unpin.layout.display == ""
    assert panel.comparison.chart.value.startswith('<figure class="slm-chart"')
    assert panel.comparison.table.value.count("<i style='background:") == 2
    panel.comparison.unpin.click()
    assert "Nothing is pinned" in panel.comparison.table.value
    assert panel.comparison.unpin.layout.display == "none"
    assert panel.comparison.chart.value == ""


def test_more_than_six_pins_are_refused_in_words(panel, finished):
    panel.comparison.pinned = [finished] * comparing.MAX_PINS
    panel.comparison.pin.click()
    assert "unpin first" in panel.comparison.table.value


def test_runs_outlive_the_kernel(panel, tmp_path):
    train(panel)
    later = lab.Playground(folder=tmp_path / "runs")
    [name] = later.comparison.choice.options
    assert name.endswith("phase-1 max_steps=20")
    later.comparison.pin.click()
    assert later.comparison.table.value.count("<tr>") == 2
    assert later.comparison.pinned[0].history.equals(panel.run.history)


def test_a_damaged_kept_run_gets_a_sentence(panel, tmp_path):
    train(panel)
    [folder] = (tmp_path / "runs").iterdir()
    (folder / "history.csv").write_text("step\n")
    later = lab.Playground(folder=tmp_path / "runs")
    later.comparison.pin.click()
    assert "has changed since" in later.comparison.table.value


def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path):
    (tmp_path / "runs").write_text("a file, not a folder")
    panel = lab.Playground("phase-1 max_steps=20", tmp_path / "runs")
    assert "No runs can be kept in" in panel.status.value  # told before the training
    train(panel)
    assert "Done: 20 steps in" in panel.status.value
    assert "could not be saved" in panel.status.value
    assert panel.run.state.step == 20


def test_a_loss_that_is_not_finite_is_said(panel):
    train(panel, "phase-1 max_steps=400 learning_rate=1e18 weight_decay=0.0")
    assert "lower the learning rate" in panel.status.value


def test_what_breaks_while_training_is_said_and_the_run_kept(panel, monkeypatch):
    def broken(*arguments, on_step, **options):
        run = lab.train(*arguments, **options)
        on_step(run, run.state.history[-1])
        raise RuntimeError("out of <memory>")

    monkeypatch.setattr(setups, "train", broken)
    train(panel)
    assert "out of &lt;memory&gt;" in panel.status.value
    assert panel.run is not None
    assert not panel.train.disabled


def test_without_a_kernel_a_recorded_run_can_be_played_back(panel, shown):
    panel._ipython_display_()
    [bundle] = shown
    html = bundle["text/html"]
    assert "phase-1 max_steps=20" in html
    assert len(html) < 100_000
    assert html.count("<script") == html.count("</script>") == 1
    recorded = lab.PHASES[2].recorded("right-sized")
    assert f"The number to beat is {lab.number_to_beat(recorded.dataset).test_bits:.2f}." in html
    [data] = re.findall(r"^playback\(.*?, (.*)\);</script>$", html, re.M)
    [*_, held_out] = json.loads(data)["lines"]
    assert [step for step, _ in held_out["points"]] == recorded.history["step"].tolist()
    assert "this run has 2.45, after 2.39 at step 600, its lowest." in html
    assert json.loads(data)["samples"]["1000"] in [s["text"] for s in recorded.samples]


def test_the_forecast_learns_from_a_run(panel):
    panel._factor = 1000.0
    train(panel, "phase-2 max_steps=30 n_embd=128")
    assert panel._factor < 500


def test_a_panel_opened_in_the_last_moment_is_told_of_the_end(panel, tmp_path, monkeypatch):
    opened = []
    draw = panel._draw

    def open_another(run, looks):
        if run.state.status == "finished" and not opened:
            opened.append(lab.Playground("phase-1", tmp_path / "runs"))
        draw(run, looks)

    monkeypatch.setattr(panel, "_draw", open_another)
    train(panel)
    [other] = opened
    assert "Done: 20 steps in" in other.status.value
    assert other.train.description == "Train"
