"""The explorer of tokens, driven without a browser."""

import re
from html import unescape
from itertools import pairwise

import pytest

import slmlab as lab
from slmlab.show.widgets.tokens import COLOURS, LONGEST, VOCABULARIES, TokenExplorer
from slmlab.text.examples import EXAMPLES

SPAN = re.compile(r"<span title='id (\d+): ([0-9a-f ]+)' style='([^']*)'>(.*?)</span>", re.DOTALL)


@pytest.fixture(scope="module")
def vocabularies(gpt2):
    source = EXAMPLES["Python"] + EXAMPLES["English"]
    return {
        "bytes": lab.train_bpe(source, 256),
        "small": lab.right_size(gpt2, source),
        "large": gpt2,
    }


@pytest.fixture
def explorer(vocabularies):
    return TokenExplorer("two  ways\n\tto 数", vocabularies)


def views(explorer):
    """By vocabulary, the spans as (id, bytes, style, text)."""
    parts = re.split(r"<h4[^>]*>(.*?)</h4>", explorer.views.value)[1:]
    return {
        name: [
            (int(i), bytes.fromhex(b), style, shown) for i, b, style, shown in SPAN.findall(html)
        ]
        for name, html in zip(parts[::2], parts[1::2], strict=True)
    }


def costs(explorer):
    rows = re.findall(r"<tr>(.*?)</tr>", explorer.cost.value)[1:]
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in rows]


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES)
def test_the_spans_are_the_tokens_of_the_text(vocabularies, text):
    explorer = TokenExplorer(text, vocabularies)
    assert list(views(explorer)) == list(vocabularies)
    for name, spans in views(explorer).items():
        assert [i for i, *_ in spans] == vocabularies[name].encode(text)
        assert b"".join(token for _, token, *_ in spans) == text.encode()


def test_what_a_text_costs_is_counted(explorer, vocabularies):
    text = explorer.text.value
    for name, rows, tokens, ratio in costs(explorer):
        n = len(vocabularies[name].encode(text))
        assert (rows, tokens) == (f"{vocabularies[name].n_vocab:,}", f"{n:,}")
        assert ratio == f"{len(text.encode()) / n:.2f}"
        assert f"{n:,} ({name})" in explorer.status.value
    assert explorer.status.value.startswith(f"{len(text.encode())} bytes.")
    assert "slm-live" in explorer.status._dom_classes  # which is read out


def test_white_space_and_broken_characters_are_visible(explorer):
    shown = {name: "".join(part for *_, part in spans) for name, spans in views(explorer).items()}
    assert shown["bytes"] == r"two␣␣ways⏎" + "\n" + r"⇥to␣\xe6\x95\xb0"
    assert "⏎\n" in shown["large"] and "␣ways" in shown["large"]


def test_neighbours_differ_by_more_than_a_colour(explorer):
    for spans in views(explorer).values():
        colours = [re.search(r"background:(#\w+)", style)[1] for _, _, style, _ in spans]
        assert all(a != b for a, b in pairwise(colours))
        assert set(colours) <= set(COLOURS)
        assert all("border-right" in style and "color:#000000" in style for _, _, style, _ in spans)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", COLOURS)
def test_black_can_be_read_on_every_colour(colour):
    assert (luminance(colour) + 0.05) / 0.05 > 7  # WCAG 2.1, level AAA


def test_a_button_puts_its_text_into_the_field(explorer):
    for name, button in explorer.examples.items():
        button.click()
        assert explorer.text.value == EXAMPLES[name]
        assert explorer.status.value.startswith(f"{len(EXAMPLES[name].encode())} bytes.")


def test_typing_changes_what_is_shown(explorer):
    before = explorer.views.value
    explorer.text.value = "other words"
    assert explorer.views.value != before
    assert b"".join(token for _, token, *_ in views(explorer)["large"]) == b"other words"


def test_no_text_costs_nothing(explorer):
    explorer.text.value = ""
    assert [line[2:] for line in costs(explorer)] == [["0", "–"]] * 3
    assert not any(views(explorer).values())


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "'><img src=x onerror=alert(1)>", "&lt;b&gt;", "</pre>"]
)
def test_text_is_not_taken_for_html(vocabularies, text):
    explorer = TokenExplorer(text, vocabularies | {"<b>'name'</b>": vocabularies["bytes"]})
    page = explorer.static() + explorer.box.children[0].value
    assert not re.search(r"<script|<img|<b>|</pre>(?!</div>)", page)
    for spans in explorer.views.value.split("<h4")[1:]:
        shown = "".join(part for *_, part in SPAN.findall(spans))
        assert unescape(shown).replace("␣", " ") == text


def test_a_long_text_is_cut_and_says_so(explorer):
    explorer.text.value = "word " * 1_000
    assert f"Only the first {LONGEST:,} characters are shown" in explorer.status.value
    assert b"".join(token for _, token, *_ in views(explorer)["bytes"]) == b"word " * 200
    explorer.text.value = "word"
    assert "Only the first" not in explorer.status.value


def test_half_a_character_gets_a_sentence(explorer):
    explorer.text.value = "a\ud800"  # a browser can send one
    assert "half a character" in explorer.status.value
    assert explorer.views.value == explorer.cost.value == ""
    explorer.static().encode()
    explorer.text.value = "a"
    assert "half a character" not in explorer.status.value
    assert costs(explorer)


def test_the_keyboard_reaches_what_scrolls_and_each_part_has_a_name(explorer):
    regions = re.findall(r"<div tabindex='0' role='region' aria-label='([^']*)'", explorer.static())
    assert regions == [f"Tokens: {name}" for name in explorer.vocabularies]
    assert explorer.text.description == "text"


@pytest.mark.parametrize(
    ("vocabularies", "words"),
    [
        ({}, "no vocabularies"),
        ([], "vocabularies is"),
        ({"a": "gpt2"}, r"vocabularies\['a'\] is"),
        ({5: lab.train_bpe("a", 256)}, "name of a vocabulary is"),
    ],
)
def test_what_is_no_vocabulary_gets_a_sentence(vocabularies, words):
    with pytest.raises(ValueError, match=words):
        TokenExplorer("text", vocabularies)


@pytest.mark.parametrize("text", [None, 5, "\ud800"])
def test_what_is_no_text_gets_a_sentence(text, vocabularies):
    with pytest.raises(ValueError, match="text"):
        TokenExplorer(text, vocabularies)


def test_the_course_has_four_vocabularies():
    explorer = lab.TokenExplorer()
    assert list(explorer.vocabularies) == list(VOCABULARIES)
    assert [line[1] for line in costs(explorer)][::3] == ["256", "50,257"]


def test_without_a_kernel_the_tokens_are_shown(explorer, shown):
    explorer._ipython_display_()
    [bundle] = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert explorer.views.value in bundle["text/html"]
    assert bundle["text/html"].count("<table") == 1
