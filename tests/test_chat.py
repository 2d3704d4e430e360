"""The chat panel, driven without a browser."""

import re
from dataclasses import replace
from html import unescape

import pytest
import torch

import slmlab as lab
from slmlab.show.widgets.chat import LONGEST, QUESTIONS, ChatPanel
from slmlab.show.widgets.parts import WIDGET_VIEW
from slmlab.study.replies import best, replies

TAG = "<img src=x onerror=alert(1)>"
CHAT = lab.chat_tokenizer(lab.train_bpe("Hello you. What is it?", 262))


def model(seed=0):
    return lab.GPT(lab.GPTConfig(CHAT.n_vocab, 48, 1, 1, 8), seed).eval()


@pytest.fixture
def panel():
    return ChatPanel({"first": (model(0), CHAT), "second": (model(1), CHAT)}, n=3, max_tokens=6)


def samples(panel):
    """The raw reply and the best of n of each model."""
    found = map(unescape, re.findall(r"<pre[^>]*>(.*?)</pre>", panel.answers.value, re.DOTALL))
    return list(zip(found, found, strict=True))


def test_each_column_shows_the_raw_reply_and_the_best(panel):
    assert samples(panel) == [(r[0].text, best(r).text) for r in panel.replies.values()]
    assert re.findall("<h4>(.*?)</h4>", panel.answers.value) == ["first", "second"]
    for name, seed in (("first", 0), ("second", 1)):
        decoding = lab.Decoding(temperature=0.8)
        assert panel.replies[name] == replies(3, model(seed), CHAT, "Hello", decoding, 6)


def test_a_decoding_says_all_but_temperature_and_seed():
    decoding = lab.Decoding(temperature=0, no_repeat_ngram=1, seed=9)
    panel = ChatPanel({"first": (model(0), CHAT)}, n=2, max_tokens=6, decoding=decoding)
    expected = replies(2, model(0), CHAT, "Hello", replace(decoding, temperature=0.8, seed=0), 6)
    assert panel.replies["first"] == expected
    assert len(set(panel.replies["first"][0].ids)) == len(panel.replies["first"][0].ids)


def test_it_says_which_filter_removed_what(panel):
    many = [reply for replies in panel.replies.values() for reply in dict.fromkeys(replies)]
    lines = re.findall("<li><b>(.*?)</b>", panel.answers.value)
    assert lines == [f"removed: {', '.join(r.problems)}" if r.problems else "passes" for r in many]
    counts = [sum(not r.problems for r in replies) for replies in panel.replies.values()]
    assert f"{counts[0]} (first), {counts[1]} (second)" in panel.status.value
    assert "slm-live" in panel.status._dom_classes


def test_what_passes_is_chosen_before_what_is_likelier(panel, monkeypatch):
    good, bad = (
        replace(panel.replies["first"][0], text=text, ended=ended, loss=loss)
        for text, ended, loss in (("A good reply.", True, 2.0), ("no no no", False, 1.0))
    )
    for many, why in (
        ([bad, good, bad], "the likeliest that passes"),
        ([bad, bad, bad], "none passes, so the likeliest of all"),
    ):
        monkeypatch.setattr("slmlab.show.widgets.chat.replies", lambda *args, r=many: r)
        panel.again.click()
        assert samples(panel)[0] == ("no no no", best(many).text)
        assert f"<b>Best of 3</b>, {why}" in panel.answers.value
    assert "Removed by filter: repeats 3, unfinished 3." in panel.answers.value
    assert "cut off after" in panel.answers.value


def test_asking_again_draws_other_replies(panel):
    before = panel.replies
    panel.again.click()
    assert panel.replies != before
    assert panel.replies["first"][0].question == "Hello"


def test_a_question_is_asked_once_it_is_sent(panel):
    panel.question.value = "Who?"
    assert panel.replies["first"][0].question == "Who?"
    assert "<b>Who?</b>" in panel.static()
    for question, button in panel.examples.items():
        before = panel.replies
        button.click()
        assert panel.question.value == question == panel.replies["first"][0].question
        assert panel.replies != before
        button.click()  # again
        assert panel.replies["first"][0].question == question
    assert list(panel.examples) == list(QUESTIONS)


def test_greedy_replies_are_all_alike(panel):
    panel.temperature.value = 0.0
    panel.again.click()
    assert len({r.ids for r in panel.replies["first"]}) == 1
    assert panel.answers.value.count("<li>") == 2
    assert panel.answers.value.count("</b>, 3 times, ") == 2


def test_nothing_is_read_as_html(monkeypatch):
    named = ChatPanel({TAG: (model(), CHAT)}, question=TAG, n=2, max_tokens=4)
    said = replace(named.replies[TAG][0], text=TAG)
    monkeypatch.setattr("slmlab.show.widgets.chat.replies", lambda *args: [said, said])
    named.again.click()
    page = named.static()
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 7


@pytest.mark.parametrize(
    ("question", "sentence"), [("", "The question is empty"), ("\ud800", "half a character")]
)
def test_what_cannot_be_asked_gets_a_sentence(panel, question, sentence):
    panel.question.value = question
    assert sentence in panel.status.value
    assert panel.answers.value == "" and not panel.replies
    panel.static()
    panel.question.value = "Hello again"
    assert sentence not in panel.status.value and panel.replies
    with pytest.raises(ValueError, match=sentence):
        ChatPanel(panel.models, question)


def test_a_long_question_is_cut_and_says_so(panel):
    panel.question.value = "word " * 100
    assert f"Only the first {LONGEST:,} characters were asked" in panel.status.value
    assert len(panel.replies["first"][0].question) == LONGEST


def test_a_damaged_model_gets_a_sentence(panel):
    with torch.no_grad():
        panel.models["first"][0].wte.weight.fill_(float("nan"))
    panel.again.click()
    assert "No token can be drawn" in panel.status.value


def test_without_a_kernel_the_replies_are_shown(panel, shown):
    panel._ipython_display_()
    [bundle] = shown
    assert WIDGET_VIEW in bundle
    assert bundle["text/html"] == panel.static()
    assert all(r[0].text for r in panel.replies.values())
    assert "Best of 3" in bundle["text/html"]


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ({}, "There are no models"),
        (None, "models is None; it must be a Mapping"),
        ({"a": model()}, "must be a model and its tokenizer"),
        ({"a": (model(), CHAT.base)}, "The tokenizer is .* must be a ChatTokenizer"),
        ({"a": ("gpt", CHAT)}, "model is 'gpt'"),
        ({5: (model(), CHAT)}, "The name of a model is 5"),
    ],
)
def test_what_is_no_model_is_refused(models, sentence):
    with pytest.raises(ValueError, match=sentence):
        ChatPanel(models)
