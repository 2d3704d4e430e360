"""The evaluation panel: the same facts as text, as HTML and as a picture."""

from dataclasses import replace

import pytest

import slmlab as lab
from slmlab.show.plots.chart import Chart


def test_the_panel_prints_its_facts(finished):
    text = str(lab.report(finished))
    assert text.startswith("tiny\n")
    for part in ("training loss", "validation loss", "gap", "parameters per training token"):
        assert part in text
    for part in ("epochs", "copied", "samples that parse", "bits per byte", "perplexity"):
        assert part in text
    assert f"{finished.gap:+.2f}" in text
    assert lab.gap_band(finished.gap).meaning in text
    assert finished.samples[0]["text"] in text
    for warning in lab.advice(finished):
        assert f"! {warning}" in text


def test_a_notebook_shows_the_curves_and_the_facts(finished, shown):
    lab.report(finished)._ipython_display_()
    chart, html = shown
    assert isinstance(chart, Chart)
    assert chart._repr_png_().startswith(b"\x89PNG")
    assert "validation loss" in html.data


def test_what_a_model_writes_is_never_read_as_html(finished, shown):
    samples = [
        s | {"text": s["prompt"] + "<script>alert(1)</script> & <b>"} for s in finished.samples
    ]
    samples[0]["prompt"] = "<i>"
    lab.report(replace(finished, samples=samples, name="<u>run</u>"))._ipython_display_()
    html = shown[-1].data
    for tag in ("<script>", "<i>", "<u>"):
        assert tag not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;b&gt;" in html


def test_the_recorded_run_the_published_curve_and_the_guess_are_drawn(finished):
    panel = lab.report(finished, recorded=finished, published=lab.PHASES[1], guess=2.0)
    labels = panel.chart.axes[0].get_legend_handles_labels()[1]
    for part in ("this run", "recorded", "published", "guess: gap +2.0"):
        assert any(part in label for label in labels)


def test_a_run_without_weights_claims_no_accuracy(finished, tmp_path):
    data = lab.corpus_dataset(1000, "right-sized")
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 16, 1, 2, 8))
    run = lab.train(model, data, lab.TrainConfig(4, 1e-2, max_steps=5), progress=False)
    record = lab.Run.load(run.save(tmp_path / "run", keep="history"))
    assert "of tokens guessed" in str(lab.report(run))
    assert "of tokens guessed" not in str(lab.report(record))


def test_the_loss_curves_draw_the_history(finished):
    [axes] = lab.loss_curves(finished).axes
    curves = {line.get_label(): line for line in axes.get_lines()}
    assert list(curves["training"].get_xdata()) == [0, 20, 40, 60]
    assert list(curves["validation"].get_ydata()) == finished.history["val_loss"].tolist()
    best = finished.state
    assert any(
        list(line.get_xdata()) == [best.best_step]
        and list(line.get_ydata()) == [best.best_val_loss]
        for line in axes.get_lines()
    )
    assert f"{finished.gap:+.2f}" in axes.get_title()


def test_the_parameter_bar_adds_up_to_all(finished):
    [axes] = lab.parameter_breakdown(finished.model).axes
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(100)
    assert f"{finished.model.n_params:,}" in axes.get_title()


def test_drawing_leaves_no_figures_behind(finished):
    import matplotlib.pyplot as plt

    lab.loss_curves(finished)
    assert plt.get_fignums() == []
