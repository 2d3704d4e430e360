"""The decoding bench, driven without a browser."""

import re
from dataclasses import replace
from html import unescape

import pytest
import torch

import slmlab as lab
from slmlab.show.widgets.dials import LADDER, dials_of
from slmlab.show.widgets.parts import visible
from slmlab.show.widgets.shading import shade
from slmlab.study.writing import marks, write

TAG = "<img src=x onerror=alert(1)>"
N = 12
METHODS = {name: decoding for name, decoding in LADDER.items() if not decoding.python}


@pytest.fixture
def bench(finished):
    return lab.DecodingBench(finished, "The old", methods=METHODS, n_tokens=N)


def by(bench, name):
    bench.method.value = name
    return bench


def encoded(bench, text="The old"):
    return bench.run.dataset.tokenizer.encode(text)


def click(choices, index):
    """What a browser sends when somebody chooses an item."""
    choices._handle_custom_msg({"chosen": index}, [])


def card(bench):
    """The scorecard: a list of cells for each row, header included."""
    rows = re.findall("<tr>(.*?)</tr>", bench.card.value)
    return [[unescape(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def flowing(written):
    """The text with its ends of lines marked, and the bytes of broken characters spelled out."""
    tokenizer = written.run.dataset.tokenizer
    names = "".join(visible(tokenizer.token_bytes(token)) for token in written.ids)
    return names.replace("␣", " ").replace("⏎", "⏎\n")


def plain(html):
    return unescape(re.sub("<[^>]+>", "", html))


@pytest.mark.parametrize("name", METHODS)
def test_each_method_writes_what_generate_writes(bench, name):
    by(bench, name)
    expected = lab.generate(
        bench.run.model, bench.run.dataset.tokenizer, "The old", N, LADDER[name]
    )
    assert "The old" + bench.written.text == expected
    assert f"<b>{name}</b>: {N} tokens." in bench.status.value
    assert "".join(item["cells"][0] for item in bench.tokens.items) == flowing(bench.written)
    for item, own in zip(bench.tokens.items, bench.written.own, strict=True):
        assert item["colour"] == shade(own)
        assert not item["marked"]


def test_the_ladder_is_there_if_no_methods_are_given(finished):
    bench = lab.DecodingBench(finished, "old")
    assert bench.method.options == tuple(LADDER)
    assert len(bench.written.ids) == 40
    bench.method.value = "stays Python"
    assert "struck out after the filters" in bench.status.value


def test_hovering_says_both_probabilities(bench):
    by(bench, "top-k")
    for item, own, final in zip(
        bench.tokens.items, bench.written.own, bench.written.final, strict=True
    ):
        own, final = f"{100 * own:.1f}% to the model itself", f"{100 * final:.1f}% final"
        assert item["says"].endswith(f": {own}, {final}")
    for name in ("beam search", "contrastive search"):
        by(bench, name)
        assert not any("final" in item["says"] for item in bench.tokens.items)
        assert "It draws no token" in bench.status.value


def test_only_the_dials_of_the_method_are_shown_and_each_is_turned(bench):
    for name, method in METHODS.items():
        by(bench, name)
        options = dials_of(method)
        assert list(bench._shown_dials.children) == [bench.dials[option] for option in options]
        assert bench.decoding == method
        for option in options:
            dial = bench.dials[option]
            for value in {dial.options[1][1], dial.options[-1][1]}:
                dial.value = value
                assert getattr(bench.decoding, option) == value or dial.label == "off"
                prompt = encoded(bench)
                assert bench.written.ids == write(bench.run, prompt, N, bench.decoding).ids
        random = "temperature" in options and bench.dials["temperature"].value
        assert (bench.seed.layout.display == "") == bool(random)
    by(bench, "greedy")
    assert bench.decoding == METHODS["greedy"]  # not where its dials were left


def test_a_seed_writes_another_text(bench):
    first = by(bench, "temperature").written.ids
    bench.seed.value = 5
    assert bench.written.ids != first
    assert bench.written.decoding.seed == 5
    bench.seed.value = 0
    assert bench.written.ids == first


def test_choosing_a_token_shows_what_else_could_stand_there(bench):
    by(bench, "top-k")
    assert bench.alternatives.items == []
    click(bench.tokens, 4)
    assert bench.place == bench.tokens.chosen == 4
    assert "Token 5 of 12" in bench._what.value
    offered = bench.written.alternatives(4)
    there = offered[bench.alternatives.chosen]
    assert there.token == bench.written.ids[4]
    assert [item["bars"] for item in bench.alternatives.items] == [
        [a.own, a.final] for a in offered
    ]
    assert bench.alternatives.header == ["token", "model", "after filters"]
    by(bench, "beam search")
    assert [item["cells"][2] for item in bench.alternatives.items] == ["–"] * len(
        bench.alternatives.items
    )
    for index in (99, -1, None, "4", 2.5):
        click(bench.tokens, index)
    bench.tokens._handle_custom_msg("no message", [])
    assert bench.place == 4


@pytest.mark.parametrize("name", METHODS)
def test_a_forced_token_branches_the_text(bench, name):
    by(bench, name).choose(3)
    before = bench.written
    index = next(i for i, a in enumerate(before.alternatives(3)) if a.token != before.ids[3])
    token = before.alternatives(3)[index].token
    click(bench.alternatives, index)
    after, given = bench.written, [*before.ids[:3], token]
    assert after.ids == write(bench.run, encoded(bench), N, METHODS[name], given).ids
    assert after.ids[:4] == given
    assert [item["marked"] for item in bench.tokens.items] == [i == 3 for i in range(N)]
    assert bench.tokens.items[3]["says"].endswith(", forced")
    assert f"{N} tokens, 1 of them forced." in bench.status.value
    assert f"Before token 4 was forced, by {name}:" in bench.left.value
    left = plain(re.search("<pre.*</pre>", bench.left.value, re.DOTALL)[0])
    assert left == flowing(before)
    # The same place stays chosen, so that the next alternative is a key away.
    assert bench.place == 3
    assert bench.alternatives.chosen == index


def test_undo_and_start_over(bench):
    first = bench.written.ids
    assert bench.undo.disabled and bench.again.disabled
    texts = []
    for place in (2, 7, 4):  # the last branches off before the second
        texts.append(bench.written.ids)
        bench.choose(place)
        bench.force(next(a.token for a in bench.written.alternatives(place) if a.own < 0.2))
    assert [i for i, item in enumerate(bench.tokens.items) if item["marked"]] == [2, 4]
    while texts:
        bench.undo.click()
        assert bench.written.ids == texts.pop()
    assert bench.undo.disabled and bench.again.disabled
    assert bench.left.value == ""
    bench.undo.click()
    assert bench.written.ids == first
    bench.choose(0)
    bench.force(bench.written.alternatives(0)[3].token)
    assert bench.written.ids != first
    bench.again.click()
    assert (bench.written.ids, bench.place, bench.left.value) == (first, None, "")


def test_another_method_and_a_dial_keep_what_was_forced_another_prompt_does_not(bench):
    bench.choose(1)
    token = bench.written.alternatives(1)[4].token
    bench.force(token)
    for name in METHODS:
        assert by(bench, name).written.ids[1] == token
    bench.dials["top_k"].value = 1
    assert bench.written.ids[1] == token
    bench.prompt.value = "A young"
    assert bench.written.ids == write(bench.run, encoded(bench, "A young"), N, bench.decoding).ids
    assert bench.undo.disabled


def test_the_last_place_can_be_forced_too(bench):
    for name in ("greedy", "beam search"):
        by(bench, name).choose(N - 1)
        token = bench.written.alternatives(N - 1)[2].token
        bench.force(token)
        assert bench.written.ids[-1] == token and len(bench.written.ids) == N
        assert bench.tree.value == ""
        bench.again.click()


def test_what_cannot_be_forced_or_chosen_is_refused(bench):
    with pytest.raises(ValueError, match="choose a token of the text first"):
        bench.force(5)
    for place in (-1, N, None, "2", 1.5, True):
        with pytest.raises(ValueError, match="place is"):
            bench.choose(place)
    bench.choose(2)
    before = bench.written.ids
    for token in (-1, 10**9, None, "the", True):
        with pytest.raises(ValueError, match="token is"):
            bench.force(token)
    assert bench.written.ids == before
    assert bench.undo.disabled


def test_a_token_that_ends_python_is_named_and_refused_with_a_sentence(finished):
    methods = {"Python": lab.Decoding(python=True, top_k=5)}
    bench = lab.DecodingBench(finished, "old = 5", methods=methods, n_tokens=6)
    bench.choose(0)
    finals = [item["cells"][2] for item in bench.alternatives.items]
    before = bench.written.ids
    assert "not Python" in finals
    click(bench.alternatives, finals.index("not Python"))
    assert "no text can continue to Python" in bench.status.value
    assert bench.written.ids == before
    bench.prompt.value = ") old"
    assert "no text can continue to Python" in bench.status.value
    assert bench.tokens.items == bench.alternatives.items == []
    bench.prompt.value = "old"
    assert "tokens." in bench.status.value


def test_beam_search_draws_its_tree_and_says_whether_it_beat_greedy(bench):
    assert bench.tree.value == ""
    by(bench, "beam search")
    search, prompt = bench.written.search, encoded(bench)
    greedy = write(bench.run, prompt, N, lab.Decoding(temperature=0))
    tree = bench.tree.value
    assert tree.count("<rect") >= len(search.tree)
    assert f"A tree of {N} steps." in tree
    best = f"−{-search.beams[0].log_probability:.2f}"
    if search.beams[0].ids == tuple(greedy.ids):
        assert "The best beam is the greedy text." in tree
    else:
        assert f"{best} nats, the greedy text −{-greedy.log_probability:.2f}" in tree
        likelier = search.beams[0].log_probability > greedy.log_probability
        assert ("Beam search found" if likelier else "Greedy found") + " a likelier text" in tree
    rows = re.findall("<tr><td.*?</tr>", tree)
    assert len(rows) == len(search.beams) + 1
    assert f">{best}<" in rows[0]
    bench.choose(3)
    bench.force(bench.written.alternatives(3)[3].token)
    assert f"A tree of {N - 4} steps." in bench.tree.value
    assert ">5</text>" in bench.tree.value and ">4</text>" not in bench.tree.value


def test_the_scorecard_has_the_marks_of_the_text_and_of_the_true_continuation(finished):
    truth = " gardener hides the broken oar by the river.\nThe postman sells two maps."
    bench = lab.DecodingBench(finished, "The old", truth, METHODS, N)
    assert card(bench)[0] == ["", "this text", "held-out text"]
    ids = encoded(bench, truth)[:N]
    for column, written in (
        (1, bench.written),
        (2, write(finished, encoded(bench), N, given=ids)),
    ):
        found = marks(written)
        assert [row[0] for row in card(bench)[1:]] == list(found)
        assert [row[column] for row in card(bench)[1:]] == [
            "yes" if found["parses"] else "no",
            f"{found['repetition']:.0%}",
            f"{found['copied']:.0%}",
            str(found["domain names"]),
            f"{found['nats per token']:.2f}",
        ]
    bench.prompt.value = "A young"  # which the true text does not continue
    assert card(bench)[0] == ["", "this text"]
    short = lab.DecodingBench(finished, "The old", methods=METHODS, n_tokens=3)
    assert [row[1] for row in card(short)[2:4]] == ["–", "–"]  # no sequences so long


@pytest.mark.parametrize("prompt", ["", "\ud800", "old \udfff"])
def test_a_prompt_that_is_none_gets_a_sentence(bench, prompt):
    bench.choose(2)
    bench.prompt.value = prompt
    assert "var(--jp-error-color1" in bench.status.value
    assert (bench.written, bench.place) == (None, None)
    assert (bench.tokens.items, bench.card.value, bench.tree.value) == ([], "", "")
    for button in (bench.undo, bench.again):
        button.click()
    by(bench, "beam search")
    bench.seed.value = 3
    bench.static().encode()
    with pytest.raises(ValueError, match="place is 0"):
        bench.choose(0)
    bench.prompt.value = "The old"
    assert len(bench.written.ids) == N


def test_options_that_exclude_others_get_a_sentence(bench):
    by(bench, "contrastive search")
    bench.dials["top_k"].value = 0
    assert "set top_k too" in bench.status.value
    bench.dials["top_k"].value = 3
    assert "contrastive search" in bench.status.value


def test_a_text_that_ends_early_says_so(bench, finished):
    text = lab.generate(finished.model, finished.dataset.tokenizer, "The old", 5, METHODS["greedy"])
    methods = {"stopped": lab.Decoding(temperature=0, stop=(text[-2:],))}
    stopped = lab.DecodingBench(finished, "The old", methods=methods, n_tokens=N)
    assert len(stopped.written.ids) < N
    assert "The method ended the text." in stopped.status.value


def test_odd_tokens_and_names_are_never_html(finished, dataset):
    wide = lab.GPT(lab.GPTConfig(dataset.tokenizer.n_vocab + 300, 16, 1, 1, 8))
    methods = {TAG: lab.Decoding(temperature=2.0), "beams": lab.Decoding(beams=2)}
    run = replace(finished, model=wide, name=TAG)
    bench = lab.DecodingBench(run, TAG, TAG, methods, n_tokens=60)
    bench.choose(5)
    bench.force(encoded(bench, "<")[0])
    bench.choose(6)
    bench.force(dataset.tokenizer.n_vocab + 7)
    names = [item["cells"][0] for item in bench.tokens.items]
    assert names[5:7] == ["<", f"<id {dataset.tokenizer.n_vocab + 7}>"]
    assert any(name.startswith("\\x") for name in names)  # a part of a character
    pages = [bench.static(), bench.left.value, bench.status.value, bench._what.value]
    by(bench, "beams")
    for page in [*pages, bench.static(), bench.tree.value]:
        assert "<img" not in page and "<id" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in bench.static()


def test_a_text_longer_than_the_context_says_so(bench):
    total = len(encoded(bench)) + N
    sees = f"The model sees the last 16 of the {total} tokens."
    assert (sees in bench.status.value) == (total > 16)


def test_a_damaged_model_gets_a_sentence(finished, tiny):
    model = tiny()
    torch.nn.init.constant_(model.ln_f.weight, torch.nan)
    bench = lab.DecodingBench(replace(finished, model=model), "The old", methods=METHODS)
    assert "not finite" in bench.status.value or "no finite" in bench.status.value
    assert bench.tokens.items == []


def test_without_a_kernel_the_text_and_its_scorecard_are_shown(bench, shown):
    by(bench, "beam search")._ipython_display_()
    [bundle] = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    html = bundle["text/html"]
    assert "beam search" in html and "The old" in html and "<svg" in html and "Scorecard" in html
    assert bench.written.text.split()[0] in plain(html)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"run": None}, "run is None; it must be a Run"),
        ({"run": lab.PHASES[1].recorded()}, "kept without its weights"),
        ({"prompt": None}, "prompt is None"),
        ({"prompt": "\ud800"}, "half a character"),
        ({"truth": 5}, "truth is 5"),
        ({"truth": "\ud800"}, "half a character"),
        ({"methods": {}}, "There are no methods; give some, such as"),
        ({"methods": ["greedy"]}, "methods is"),
        ({"methods": {"greedy": None}}, "must be a Decoding"),
        ({"methods": {3: lab.Decoding()}}, "The name of a method is 3"),
        ({"n_tokens": 0}, "n_tokens is 0"),
        ({"n_tokens": 201}, "n_tokens is 201"),
        ({"n_tokens": True}, "n_tokens is True"),
    ],
)
def test_what_is_no_bench_is_refused(finished, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        lab.DecodingBench(**{"run": finished, "prompt": "The old"} | options)
