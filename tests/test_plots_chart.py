"""How every figure is shown: words for it, contrast on any page, letters that can be read."""

import re
import subprocess
import sys
from html import escape

import matplotlib
import pandas as pd
import pytest
import torch

import slmlab as lab
from slmlab.show import plots
from slmlab.show.plots import chart as style
from slmlab.show.plots.layout import LETTERS
from slmlab.study import repairs, techniques
from slmlab.study.repairs import decoder_changes
from slmlab.study.statistics import rank_correlations

PAGES = ("#FFFFFF", "#111111")
TEXTS = {"#FFFFFF": "#212121", "#111111": "#FFFFFF"}  # JupyterLab's text on its two pages
COLOURS = {*style.SERIES, *style.PARAMETER_COLOURS}
COLOURS |= {style.TRAIN, style.VAL, style.HELD_OUT, style.MUTED, style.GUESS}


@pytest.fixture(scope="module")
def figures():
    """One of each kind, by its name."""
    runs = [lab.PHASES[1].recorded("right-sized", seed=seed) for seed in range(3)]
    rows = pd.DataFrame({"gap": [1, 2, 3, 4], "parses": [1, 3, 2, 4], "seed": range(4)})
    gaps = pd.DataFrame({"phase": range(5), "gap": [6.0, 3.0, 0.1, 1.0, 3.0]})
    segments = pd.DataFrame({"overlap": [0.9, 0.2], "loss": [0.6, 3.0]})
    looks = pd.DataFrame({"arm": "8 experts", "seed": 0, "step": [20, 40], "seconds": [1.0, 2.0]})
    looks = looks.assign(val_bits=[2.0, 1.5], saturation=[0.4, 1.0])
    trials = pd.DataFrame({"trial": "no freezing", "seed": 0, "step": [100, 200]})
    trials = trials.assign(drift=[0.2, 0.1], long_drift=[0.5, 0.4])
    texts = repairs.read_decoders().query("model == 'GPT with dropout'")
    return {
        "loss_curves": plots.loss_curves(runs[0], published=lab.PHASES[1]),
        "compared": plots.compared(runs),
        "two_exams": plots.two_exams(runs),
        "exam_curves": plots.exam_curves({"all": runs}),
        "memory_curves": plots.memory_curves([lab.scorecard_history(run) for run in runs]),
        "stopping_points": plots.stopping_points(runs, 2),
        "ladder": plots.ladder(lab.read_ladder()),
        "loss_against_overlap": plots.loss_against_overlap(segments, 0.7),
        "suspect_perplexities": plots.suspect_perplexities(
            lab.reported_perplexities(lab.read_suspects())
        ),
        "vocabulary_scores": plots.vocabulary_scores(
            lab.read_vocabularies().query("vocabulary == 'bpe-512' and step == 1810"),
            lab.vocabulary_table(lab.load_corpus().text, lab.load_held_out().text, ["bpe-512"]),
        ),
        "changes": plots.changes(
            techniques.technique_table(techniques.dialogue_scores(techniques.read_chats())), 0.026
        ),
        "budgets": plots.budgets(looks, ["8 experts"], 1.3),
        "saturation": plots.saturation(looks, ["8 experts"], 0.25),
        "drifts": plots.drifts(trials, ["no freezing"], {"0.95": 0.053}),
        "decoders": plots.decoders({"parses": decoder_changes(texts, "parses")}),
        "cache_speed": plots.cache_speed(
            pd.DataFrame({"with cache": [1.0, 1.0], "without cache": [1.0, 3.0]}, [8, 16])
        ),
        "bits_by_size": plots.bits_by_size(lab.best_looks(lab.read_grid()), lab.read_counting()),
        "parameter_breakdown": plots.parameter_breakdown(runs[0].model),
        "seed_spread": plots.seed_spread({"a": [1.0, 2.0]}, published=1.5),
        "phase_gaps": plots.phase_gaps(gaps.set_index("phase"), {"ours": gaps}),
        "correlation_intervals": plots.correlation_intervals(
            rank_correlations(rows, ["gap"], ["parses"], ["seed"])
        ),
        "matrices": plots.matrices({"x": torch.eye(3), "y": torch.ones(2, 40)}, title="Two"),
        "beside": plots.beside({"yours": {0: 4.5, 9: 2.0}}, {"5-gram": 1.75}),
    }


def test_every_figure_says_its_numbers_in_words(figures):
    assert {*figures, "Chart"} == {*plots.__all__}
    for name, chart in figures.items():
        assert re.search(r"\d", chart.description), name
        assert chart.description.endswith("."), name
        assert "nan" not in chart.description, name
        assert 'role="img" ' in chart.html()
        assert f'aria-label="{escape(chart.description)}"' in chart.html()


def test_every_figure_is_as_wide_and_its_letters_as_large_as_the_others(figures):
    """700 pixels; in a page of 800 an output is 560 wide, so letters shrink to 0.8 of theirs."""
    for name, chart in figures.items():
        assert chart.get_figwidth() == 7, name
        sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", chart.html())}
        assert min(sizes) >= LETTERS, name
        assert min(sizes) * (560 / 504) >= 9, name  # 504 points are 7 inches


def test_no_figure_brings_colours_of_a_page(figures):
    """Words, axes and grids have the page's; all other colours are known and tested."""
    for name, chart in figures.items():
        html = chart.html()
        used = {colour.upper() for colour in re.findall(r"#[0-9a-f]{6}\b(?!-)", html)}
        assert used <= COLOURS | {style.ON_PALE}, name
        assert "currentColor" in html


def test_lines_have_contrast_on_a_light_and_a_dark_page():
    for colour in COLOURS:
        for page in PAGES:
            assert contrast(rgb(colour), rgb(page)) >= 3, (colour, page)


def test_a_guess_looks_like_no_loss():
    assert style.GUESS not in (style.TRAIN, style.VAL, style.HELD_OUT, style.MUTED)


def test_words_in_colour_have_more():
    """They are mixed with the colour of the page's text."""
    for colour in COLOURS:
        for page in PAGES:
            pairs = zip(rgb(colour), rgb(TEXTS[page]), strict=True)
            mixed = [0.65 * own + 0.35 * text for own, text in pairs]
            assert contrast(mixed, rgb(page)) >= 4.5, (colour, page)
    named = plots.two_exams([lab.PHASES[1].recorded("right-sized")]).html()
    for colour in (style.TRAIN, style.VAL, style.HELD_OUT):
        assert f"fill: color-mix(in srgb, {colour.lower()} 65%, currentColor)" in named


def rgb(colour):
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def contrast(one, other):
    """As the Web Content Accessibility Guidelines define it, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    shares = [part / 255 for part in colour]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_two_figures_on_a_page_share_no_id(figures):
    ids = [{*re.findall(r' id="([^"]+)"', chart.html())} for chart in figures.values()]
    assert sum(map(len, ids)) == len(set.union(*ids))
    for chart, own in zip(figures.values(), ids, strict=True):
        assert {*re.findall(r'(?:url\(|href=")#([^")]+)', chart.html())} == own


def test_a_figure_is_the_same_markup_in_another_process(tmp_path):
    code = "import slmlab as lab\nprint(lab.plots.seed_spread({'a': [1.0, 2.0]}).html())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout == plots.seed_spread({"a": [1.0, 2.0]}).html() + "\n"


def test_a_figure_shrinks_with_the_page_and_brings_nothing_else():
    html = plots.seed_spread({"a": [1.0]}).html()
    assert 'width="700"' in html and 'viewBox="0 0 504 ' in html
    assert "max-width:100%;min-width:504px;height:auto" in html  # where 9 points are 9 pixels
    for clutter in ("<?xml", "<!", "<metadata", "<style", "DejaVu", "Matplotlib"):
        assert clutter not in html


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    chart = plots.seed_spread({"a": [1.0]})
    assert chart.html() == chart.html()
    assert dict(matplotlib.rcParams) == before
    assert chart.dpi == 100


def test_a_description_is_read_as_text():
    chart = plots.seed_spread({'"><img src=x onerror=alert(1)>': [1.0]})
    assert "<img" not in chart.html()


def test_a_notebook_shows_the_markup():
    chart = plots.seed_spread({"a": [1.0]})
    assert chart._repr_html_() == chart.html()
    assert not hasattr(chart, "_repr_png_")  # it would be stored as well, many times as large
