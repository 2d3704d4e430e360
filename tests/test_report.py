"""The report of a run: the same measures as text, as HTML and as a picture."""

import math
import threading
from dataclasses import replace

import pytest
from drawn import is_a_picture, legend, lines

import slmlab as lab
from slmlab.show.plots.chart import Chart
from slmlab.show.words import number
from slmlab.study.domain import domain_names

TAG = "<img src=x onerror=alert(1)>"
LOSSES = ("train_loss", "val_loss")
OF_SAMPLES = ("copied", "samples that parse")


@pytest.fixture
def own_run(dataset, tiny):
    """A run on a learner's own text, whose domain names are not known."""
    own = replace(dataset, source=dataset.source | {"kind": "own text"})
    config = lab.TrainConfig(4, 3e-3, max_steps=2)
    return lab.train(tiny(), own, config, prompts=("The old",), progress=False)


def test_the_report_prints_its_measures(finished):
    text = str(lab.report(finished))
    assert text.startswith(f"tiny\nThe run ends at a gap of {number(finished.gap, '+.2f')}; ")
    for part in ("training loss", "validation loss", "gap", "parameters per training token"):
        assert part in text
    for part in ("epochs", "copied", "samples that parse", "bits per byte", "perplexity"):
        assert part in text
    assert number(finished.gap, "+.2f") in text
    assert lab.gap_band(finished.gap).meaning in text
    assert finished.samples[0]["text"] in text
    for warning in lab.advice(finished):
        assert f"! {warning}" in text


def test_the_report_begins_with_the_number_to_beat(finished, text, dataset, tiny):
    number = lab.number_to_beat(finished.dataset).val_bits
    own = lab.bits_per_byte(finished.last.val_loss, finished.dataset)
    assert number < own
    first, second = lab.report(finished).measures.iloc[:2].itertuples()
    assert first == (
        "this run",
        f"{own:.2f}",
        "bits per byte on the validation text, lower is better",
    )
    lead = round(own, 2) - round(number, 2)
    assert second == (
        "5-gram (the number to beat)",
        f"{number:.2f}",
        f"the 5-gram is better by {lead:.2f}",
    )
    config = lab.TrainConfig(4, 3e-3, max_steps=2)
    tested = lab.train(tiny(), dataset.with_test(text[:400]), config, progress=False)
    assert "on the held-out text, lower" in lab.report(tested).measures["reading"].iloc[0]


def test_of_a_phase_the_report_speaks_of_the_held_out_scripts():
    rows = lab.report(lab.PHASES[1].recorded("right-sized")).measures.itertuples()
    assert [tuple(row) for row in rows][:2] == [
        ("this run", "3.08", "bits per byte on the held-out scripts, lower is better"),
        ("5-gram (the number to beat)", "2.66", "the 5-gram is better by 0.42"),
    ]


def test_after_the_score_come_copying_and_the_experiments_word_on_the_gap(finished):
    measures = lab.report(finished).measures
    assert [*measures.index[2:5]] == [*OF_SAMPLES, "gap (validation − training)"]
    band = lab.gap_band(finished.gap)
    assert measures["reading"].iloc[4] in (
        f"the experiment's word: {band.name} ({band.meaning})",
        f"this course's word: {band.name} ({band.meaning})",
    )


@pytest.mark.parametrize(("step", "judged"), [(19, False), (20, True)])
def test_no_band_is_claimed_for_a_run_of_a_few_steps(finished, step, judged):
    last = replace(finished.last, step=step, val_loss=finished.last.train_loss + 4)
    run = replace(finished, state=replace(finished.state, history=[last], step=step))
    assert ("severe" in lab.report(run).measures.loc["gap (validation − training)", "reading"]) == (
        judged
    )


def test_the_outcome_is_short_and_leaves_a_short_run_unjudged(finished):
    first = finished.state.history[0]
    state = replace(finished.state, history=[first, replace(first, step=5)], step=5, best_step=5)
    short, full = replace(finished, state=state), lab.PHASES[0].recorded("right-sized")
    ended = f"ends at a gap of {full.gap:+.2f}; its validation loss was lowest at step 350."
    assert lab.report(short, recorded=full).outcome == (
        f"After 5 steps it is too early to judge. The recorded run {ended}"
    )
    assert lab.report(full).outcome == f"The run {ended}"
    running = replace(finished, state=replace(finished.state, status="running", best_step=60))
    gap = number(finished.gap, "+.2f")
    assert lab.report(running).outcome == (
        f"The run is at a gap of {gap}; its validation loss was lowest at the end."
    )


def test_a_run_that_used_up_its_time_is_out_of_time(finished):
    timed = replace(finished.config, max_steps=None, seconds=9)
    for config, word in ((finished.config, "finished"), (timed, "out of time")):
        report = lab.report(replace(finished, config=config))
        assert report.measures.loc["steps", "reading"].startswith(word)


def test_copying_and_parsing_are_those_of_the_scorecard(finished):
    card, measures = lab.scorecard(finished), lab.report(finished).measures
    assert measures.loc["copied", "value"] == f"{card['copied'].mean():.0%}"
    longest = f"longest match {card['longest match'].max()} tokens"
    assert longest in measures.loc["copied", "reading"]
    assert measures.loc["samples that parse", "value"] == f"{card['parses'].sum()} of 8"
    names = f"{card['domain names'].mean():.1f} domain names in a sample"
    assert names in measures.loc["samples that parse", "reading"]


def test_domain_names_are_not_counted_where_none_are_known(own_run):
    assert not domain_names(own_run.dataset)
    assert "domain names" not in str(lab.report(own_run))


def test_a_notebook_shows_the_curves_and_the_measures(finished, shown):
    lab.report(finished)._ipython_display_()
    chart, html = shown
    assert isinstance(chart, Chart)
    assert is_a_picture(chart)
    assert "validation loss" in html.data
    assert f"<p>{lab.report(finished).outcome}</p>" in html.data
    assert chart.description not in html.data  # it is the picture's, for who does not see it
    assert html.data.count("scope='row'") == len(lab.report(finished).measures)
    assert html.data.count("scope='col'") == 3
    assert "What it writes" in html.data


def test_a_run_without_samples_has_no_rows_on_them(dataset, tiny, shown):
    run = lab.train(tiny(), dataset, lab.TrainConfig(4, 3e-3, max_steps=2), progress=False)
    assert run.samples == []
    report = lab.report(run)
    assert not set(OF_SAMPLES) & set(report.measures.index)
    assert set(lab.report(run).measures.index) > {"training loss", "epochs"}
    assert (report.prompt, report.sample) == ("", "")
    assert "A sample" not in str(report)
    report._ipython_display_()
    assert "What it writes" not in shown[-1].data


def test_a_run_that_was_stopped_before_its_first_step(dataset, tiny, shown):
    stop = threading.Event()
    stop.set()
    config = lab.TrainConfig(4, 3e-3, max_steps=50)
    run = lab.train(tiny(), dataset, config, prompts=("The",), progress=False, stop=stop)
    assert (run.state.step, len(run.state.history)) == (0, 1)
    report = lab.report(run)
    assert report.measures.loc["steps", "value"] == "0"
    assert report.measures.loc["epochs", "value"] == "0.0"
    report._ipython_display_()
    assert is_a_picture(shown[0])
    assert "nan" not in str(report)


def test_a_run_that_was_not_trained_gets_a_sentence(finished):
    run = lab.Run(finished.model, finished.dataset, finished.config, name="new")
    for show in (lab.report, lab.loss_curves):
        with pytest.raises(ValueError, match="new was not trained yet, so there are no losses"):
            show(run)


def test_losses_that_are_not_finite_get_a_sentence(finished):
    last = replace(finished.state.history[-1], val_loss=math.nan)
    run = replace(finished, state=replace(finished.state, history=[last]))
    with pytest.raises(ValueError, match="the run has no finite losses"):
        lab.report(run)
    chart = lab.loss_curves(run)
    assert chart.axes[0].get_title() == "The loss is no finite number"
    assert legend(chart.axes[0])[:2] == ["training", "validation"]
    assert is_a_picture(chart)


@pytest.mark.parametrize("run", [None, "run", 5, lab.PHASES])
def test_what_is_no_run_gets_a_sentence(run):
    for show in (lab.report, lab.loss_curves):
        with pytest.raises(ValueError, match=r"must be a Run, such as what lab\.train"):
            show(run)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"guess": "1"}, "guess is '1'; it must be a number"),
        ({"guess": math.nan}, "guess is nan; it must be a number"),
        ({"published": 1}, "published is 1; it must be a Phase"),
        ({"recorded": "phase-1"}, "'phase-1'; it must be a Run"),
    ],
)
def test_what_cannot_be_drawn_gets_a_sentence(finished, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        lab.report(finished, **options)


def test_nothing_in_a_run_is_read_as_html(finished, shown):
    samples = [s | {"text": s["prompt"] + f"{TAG} & <b>"} for s in finished.samples]
    first = next(s for s in samples if s["step"] == 60)
    first["prompt"] = TAG
    lab.report(replace(finished, samples=samples, name=TAG))._ipython_display_()
    html = shown[-1].data
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 3  # name, prompt, sample
    assert "&amp; &lt;b&gt;" in html


def test_the_recorded_run_the_published_curve_and_the_guess_are_drawn(finished):
    report = lab.report(finished, recorded=finished, published=lab.PHASES[1], guess=2.0)
    labels = legend(report.chart.axes[0])
    for part in ("your run", "recorded run", "published", "guess: gap +2.0"):
        assert any(part in label for label in labels)


def test_a_run_without_weights_claims_no_accuracy(tmp_path):
    data = lab.corpus_dataset(1000, "right-sized")
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 16, 1, 2, 8))
    run = lab.train(model, data, lab.TrainConfig(4, 1e-2, max_steps=5), progress=False)
    history = lab.Run.load(run.save(tmp_path / "run", keep="history"))
    assert "of tokens guessed" in str(lab.report(run))
    assert "of tokens guessed" not in str(lab.report(history))


def test_a_run_of_which_the_best_weights_are_left_says_whose_they_are(tmp_path):
    data = lab.corpus_dataset(300, "right-sized")
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 16, 1, 2, 8))
    config = lab.TrainConfig(4, 0.1, max_steps=40, eval_interval=4)
    run = lab.train(model, data, config, progress=False, prompts=["import"])
    best = run.state.best_step
    assert 0 < best < 40, "the case that is to be tested"
    loaded = lab.Run.load(run.save(tmp_path / "run", keep="best"))
    assert [r.take_sample("a")["step"] for r in (run, loaded)] == [40, best]
    assert "by the model of step" not in str(lab.report(run))
    guessed = lab.token_accuracy(run.best_model, data.val)
    assert f"{guessed:.0%} of tokens guessed by the model of step {best}" in str(lab.report(loaded))


@pytest.mark.slow
def test_a_report_made_while_a_thread_trains_waits_for_the_step(finished):
    """It evaluates the model, with dropout off; a step at that moment would be another one."""
    lock, made = finished.state.lock, threading.Event()

    def make():
        lab.report(finished)
        made.set()

    thread = threading.Thread(target=make)
    with lock:
        thread.start()
        assert not made.wait(1)
    assert made.wait(60)
    thread.join()


def test_the_loss_curves_draw_the_history(finished):
    [axes] = lab.loss_curves(finished).axes
    (steps, training, _), (_, validation, _) = lines(axes)
    assert steps == [0, 20, 40, 60]
    assert (training, validation) == tuple(finished.history[name].tolist() for name in LOSSES)
    best = finished.state
    assert any(
        list(line.get_xdata()) == [best.best_step]
        and list(line.get_ydata()) == [best.best_val_loss]
        for line in axes.get_lines()
    )
    assert axes.get_title() == f"The gap ends at {number(finished.gap, '+.2f')}"


def test_drawing_leaves_no_figures_behind(finished):
    import matplotlib.pyplot as plt

    lab.loss_curves(finished)
    assert plt.get_fignums() == []
