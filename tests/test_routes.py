"""The panel of routes, driven without a browser."""

import re
from collections import Counter
from html import unescape
from itertools import combinations

import numpy as np
import pytest
import torch

import slmlab as lab
from slmlab.show.widgets.parts import visible
from slmlab.show.widgets.routes import COLOURS, MOST_TOKENS, TOP
from slmlab.text.python_classes import token_classes

PYTHON = "import os\n\n\ndef total(prices):\n    return sum(prices)  # of <b>'all'</b>\n"


@pytest.fixture(scope="module")
def python(gpt2):
    return lab.right_size(gpt2, PYTHON)


def routed(tokenizer, **changes):
    """An untrained model with experts."""
    shape = {"block_size": 16, "n_layer": 3, "n_head": 2, "n_embd": 16} | changes
    return lab.GPT(lab.ExpertConfig(vocab_size=tokenizer.n_vocab, **shape), seed=1)


@pytest.fixture
def model(python):
    return routed(python)


@pytest.fixture
def panel(model, python):
    return lab.RouteExplorer(model, python, PYTHON)


@pytest.fixture
def experts(model, python):
    """(L, N, k)"""
    return lab.routing.choices(model, torch.tensor(python.encode(PYTHON)))


def click(choices, index):
    """What a browser sends when somebody chooses an item."""
    choices._handle_custom_msg({"chosen": index}, [])


def marked(panel):
    return [item["marked"] for item in panel.tokens.items]


def plain(html):
    return " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())


def table(panel):
    rows = re.findall("<tr>(.*?)</tr>", panel.details.value)
    return [[unescape(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_tokens_have_the_colour_of_their_expert(panel, python, experts):
    names = [visible(python.token_bytes(i)) for i in python.encode(PYTHON)]
    for layer, choice in ((1, 1), (2, 1), (3, 2)):
        panel.layer.value, panel.choice.value = layer, choice
        own = experts[layer - 1]
        for item, name, of in zip(panel.tokens.items, names, own.tolist(), strict=True):
            assert item["colour"] == COLOURS[of[choice - 1]]
            told = re.fullmatch(
                r"“(.*)”: expert (\d), gate (.*); expert (\d), gate (.*)", item["says"]
            )
            assert told[1] == name
            assert [int(told[2]), int(told[4])] == of
            assert float(told[3]) + float(told[5]) == pytest.approx(1, abs=0.011)
        assert f"Layer {layer} of 3" in panel.status.value
        assert f"choice {choice} of 2" in panel.status.value
        assert not any(marked(panel))
    shown = "".join(item["cells"][0] for item in panel.tokens.items)
    assert shown == PYTHON.replace("\n", "⏎\n")


def test_a_long_text_is_read_a_context_at_a_time(panel, model, python):
    ids = torch.tensor(python.encode(PYTHON))
    assert len(ids) > 16
    parts = [lab.routings(model, window)[1].gates[0] for window in ids.split(16)]
    assert torch.equal(panel._gates[1], torch.cat(parts))
    assert "reads 16 tokens at a time" in panel.status.value
    short = lab.RouteExplorer(model, python, "import os")
    assert "at a time" not in short.status.value


def test_the_table_has_the_share_of_each_expert(panel, experts):
    panel.layer.value, panel.choice.value = 2, 2
    assert panel.experts.header == ["expert", "choice 2", "all choices"]
    for expert, item in enumerate(panel.experts.items):
        first = (experts[1, :, 1] == expert).float().mean().item()
        whole = (experts[1] == expert).any(1).float().mean().item()
        assert item["cells"] == [str(expert), f"{first:.0%}", f"{whole:.0%}"]
        assert item["bars"] == pytest.approx([first, whole])
        assert item["colour"] == COLOURS[expert]
        assert item["says"].startswith(f"Expert {expert}: ")


def test_choosing_a_token_tells_its_experts_in_every_layer(panel, python, experts):
    place, n = 6, experts.shape[1]
    click(panel.tokens, place)
    assert panel.place == panel.tokens.chosen == place
    name = visible(python.token_bytes(python.encode(PYTHON)[place]))
    assert f"Token {place + 1} of {n} is “ {name} ”" in plain(panel.said.value)
    said = plain(panel.details.value)
    for layer in (1, 2, 3):
        first, second = experts[layer - 1, place].tolist()
        assert re.search(rf"layer {layer}: {first} 0\.\d\d {second} 0\.\d\d", said)
    # The expert whose colour it has is chosen with it.
    expert = experts[0, place, 0].item()
    assert panel.expert == panel.experts.chosen == expert
    took = (experts[0] == expert).any(1)
    assert marked(panel) == took.tolist()
    first = int((experts[0, :, 0] == expert).sum())
    assert (
        f"Expert {expert} of layer 1 takes {int(took.sum())} of the {n} tokens, {first} of them as "
        "choice 1." in panel.said.value
    )
    panel.layer.value = 3  # where another expert takes it
    assert panel.place == place
    assert panel.expert == experts[2, place, 0]
    panel.choice.value = 2
    assert panel.expert == experts[2, place, 1]


def test_the_tokens_that_an_expert_takes_most_often_are_counted(panel, python, experts):
    click(panel.experts, 3)
    names = [visible(python.token_bytes(i)) for i in python.encode(PYTHON)]
    took = (experts[0] == 3).any(1).tolist()
    own = Counter(name for name, taken in zip(names, took, strict=True) if taken)
    header, *rows = table(panel)
    assert header == ["token", "takes", "in the text"]
    assert len(rows) == min(TOP, len(own))
    assert [int(row[1]) for row in rows] == [count for _, count in own.most_common(TOP)]
    for name, count, whole in rows:
        assert (int(count), int(whole)) == (own[name], names.count(name))


def test_an_expert_is_marked_and_unmarked(panel, experts):
    click(panel.experts, 2)
    assert marked(panel) == (experts[0] == 2).any(1).tolist()
    assert panel.experts.chosen == 2
    assert panel.place is None
    click(panel.experts, 2)
    assert not any(marked(panel))
    assert panel.experts.chosen == -1
    assert "Choose a token" in panel.said.value
    click(panel.experts, 5)
    panel.layer.value = 2  # whose expert 5 is another one
    assert panel.expert is None
    for index in (99, -1, None, "4", 2.5):
        click(panel.experts, index)
        click(panel.tokens, index)
    assert panel.expert is panel.place is None


def test_what_a_token_is_in_python_is_told_of_python_only(panel, model, python):
    ids = torch.tensor(python.encode(PYTHON))
    words = {"keyword": "a keyword", "name": "a name", "comment": "part of a comment"}
    for place, kind in enumerate(token_classes(ids, python)):
        panel.choose(place)
        assert "in Python" in panel.said.value
        if kind in words:
            assert f"{words[kind]} in Python" in panel.said.value
    prose = lab.RouteExplorer(model, python, "The old gardener sells some ripe figs.")
    prose.choose(2)
    assert "in Python" not in prose.said.value


def test_one_expert_a_token_needs_no_choices(python):
    panel = lab.RouteExplorer(routed(python, n_layer=1, n_active=1), python, PYTHON)
    assert panel.layer.layout.display == panel.choice.layout.display == "none"
    assert panel.experts.header == ["expert", "choice 1"]
    assert "the colour of its expert" in panel.status.value
    panel.choose(0)
    assert "as choice" not in panel.said.value


def test_many_and_shared_experts_are_told(python):
    panel = lab.RouteExplorer(routed(python, n_expert=20, n_shared=1), python, PYTHON)
    assert "The colours repeat after 8 experts." in panel.status.value
    assert "Every token goes through 1 shared expert too." in panel.status.value
    assert panel.experts.items[8]["colour"] == panel.experts.items[0]["colour"]
    wide = lab.RouteExplorer(routed(python, n_expert=20, n_active=20), python, PYTHON)
    assert wide.tokens.items[0]["says"].count("gate") == TOP


def linear(colour):
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lightness_and_hue(rgb):
    """CIELAB of linear RGB, in which a distance of 10 is easily seen."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ rgb.clip(0.01, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


SIGHTS = {  # what is seen of linear RGB (Machado et al. 2009, severity 1)
    "common": np.eye(3),
    "no red": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "no green": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "no blue": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_are_told_apart_and_black_is_read_on_them(sight):
    seen = [lightness_and_hue(np.array(SIGHTS[sight]) @ linear(colour)) for colour in COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15
    for colour in COLOURS:
        luminance = linear(colour) @ [0.2126, 0.7152, 0.0722]
        assert (luminance + 0.05) / 0.05 > 7  # WCAG 2.1, level AAA


def test_text_is_not_taken_for_html(model, python):
    text = "'><img src=x onerror=alert(1)></pre><script>"
    panel = lab.RouteExplorer(model, python, text)
    for place in range(len(panel.tokens.items)):
        panel.choose(place)
        page = panel.static()
        assert not re.search(r"<script|<img|</pre>(?!</div>)", page)
    spans = re.findall(r"<span title='[^']*' style='[^']*'>(.*?)</span>", page)
    assert unescape("".join(spans)) == text


def test_without_a_kernel_the_text_and_the_shares_are_shown(panel, shown):
    panel._ipython_display_()
    [bundle] = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    page = bundle["text/html"]
    assert page.count("<span title=") == len(panel.tokens.items)
    assert "role='region' aria-label='The text, layer 1'" in page
    shares = " ".join(f"{e} {item['cells'][1]}" for e, item in enumerate(panel.experts.items))
    assert shares in plain(page)
    assert "Choose a token" not in page  # which nobody can
    panel.choose(4)
    assert "Its experts" in panel.static()


def test_each_part_has_a_name(panel):
    panel.layer.value = 2
    assert panel.tokens.label == "The text, layer 2"
    assert panel.experts.label == "The experts of layer 2"
    assert (panel.layer.description, panel.choice.description) == ("layer", "choice")
    assert "slm-live" in panel.said._dom_classes  # which is read out


@pytest.mark.parametrize("text", [None, 5, b"text", "", "\ud800"])
def test_what_is_no_text_gets_a_sentence(model, python, text):
    with pytest.raises(ValueError, match="The text"):
        lab.RouteExplorer(model, python, text)


def test_what_does_not_fit_gets_a_sentence(model, python, gpt2):
    dense = lab.GPT(lab.GPTConfig(python.n_vocab, 16, 1, 1, 8))
    with pytest.raises(ValueError, match="has no experts"):
        lab.RouteExplorer(dense, python, "The old")
    with pytest.raises(ValueError, match="must be a GPT"):
        lab.RouteExplorer("model", python, "The old")
    with pytest.raises(ValueError, match="must be a Tokenizer"):
        lab.RouteExplorer(model, "gpt2", "The old")
    with pytest.raises(ValueError, match="50,257 tokens, but the model"):
        lab.RouteExplorer(model, gpt2, "The old")
    with pytest.raises(ValueError, match=r"at most 2,000"):
        lab.RouteExplorer(model, python, "os " * (MOST_TOKENS + 1))
    for place in (-1, 10_000, 1.5, None):
        with pytest.raises(ValueError, match="place is"):
            lab.RouteExplorer(model, python, PYTHON).choose(place)
    with pytest.raises(ValueError, match="expert is"):
        lab.RouteExplorer(model, python, PYTHON).mark(8)


def test_a_damaged_model_gets_a_sentence(model, python):
    torch.nn.init.constant_(model.wte.weight, torch.nan)
    with pytest.raises(ValueError, match="gives no finite numbers"):
        lab.RouteExplorer(model, python, PYTHON)
