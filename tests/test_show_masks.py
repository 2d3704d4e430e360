"""The picture of a loss mask, as HTML and as text."""

import re
from html import unescape

import pytest

import slmlab as lab
from slmlab.show.masks import GREEN, GREY, UNDERLINED, show_mask
from slmlab.text.dialogues import Dialogue, render
from slmlab.text.tokenizer import chat_tokenizer

SPAN = re.compile(r"<span title='id (\d+): ([0-9a-f ]+)' style='([^']*)'>(.*?)</span>", re.DOTALL)
TALK = Dialogue("Hi <b>you</b>\n", "Hello  数!</pre>'", "greetings/hi")
CHAT = chat_tokenizer(lab.train_bpe("Hello you, hello", 260))


@pytest.mark.parametrize("count_end", [True, False])
def test_every_token_is_shown_once_with_its_mask(count_end):
    ids, mask = render(TALK, CHAT, count_end)
    spans = SPAN.findall(show_mask(TALK, CHAT, count_end)._repr_html_())
    assert [int(i) for i, *_ in spans] == ids
    assert [bytes.fromhex(b) for _, b, *_ in spans] == [CHAT.token_bytes(i) for i in ids]
    assert [GREEN in style for _, _, style, _ in spans] == mask
    assert [GREY not in style for _, _, style, _ in spans] == mask


def test_what_counts_differs_by_more_than_a_colour():
    html = show_mask(TALK, CHAT)._repr_html_()
    styles = [style for _, _, style, _ in SPAN.findall(html)]
    assert [UNDERLINED in style for style in styles] == render(TALK, CHAT)[1]
    assert "(green and underlined)" in html
    assert "role='region' aria-label='Tokens of the dialogue'" in html


def test_text_is_harmless_and_white_space_visible():
    html = show_mask(TALK, CHAT)._repr_html_()
    assert "<b>" not in html and html.count("</pre>") == 1
    shown = unescape("".join(part for *_, part in SPAN.findall(html)))
    assert shown.startswith("<|user|>Hi␣<b>you</b>⏎\n<|assistant|>")
    assert shown.endswith("</pre>'<|end|>")
    assert r"\xe6" in shown


def test_as_text_what_counts_is_in_brackets():
    chat = chat_tokenizer(lab.gpt2_tokenizer())
    talk = Dialogue("Good morning", "Hello you", "greetings/morning")
    assert repr(show_mask(talk, chat)) == (
        "3 of 7 tokens count in the loss (in brackets):\n"
        "<|user|> Good ␣morning <|assistant|> [Hello] [␣you] [<|end|>]"
    )
    assert repr(show_mask(talk, chat, count_end=False)).endswith("[␣you] <|end|>")
