"""The picture of a beam search: every token of its tree, and the greedy text's way through it."""

import re

import pytest
import torch
from sharp import sharp

import slmlab as lab
from slmlab.show.widgets.beam_tree import BEST, KEPT, beam_tree_html, found_in_words

N = 8


@pytest.fixture(scope="module")
def searches():
    """Searches with two beams by random models, and the greedy text of each with its score."""
    found = []
    for seed in range(12):
        model = sharp(seed)
        search = lab.beam_search(model, [1], N, lab.Decoding(beams=2))
        greedy = list(lab.generate_tokens(model, [1], N, lab.Decoding(temperature=0)))
        with torch.no_grad():
            each = model(torch.tensor([[1, *greedy]]))[0].log_softmax(-1)
        found.append((search, greedy, sum(each[i, token].item() for i, token in enumerate(greedy))))
    return found


def rects(html, part):
    return sum(part in rect for rect in re.findall("<rect[^>]*>", html))


def test_every_token_of_the_tree_and_of_the_greedy_text_is_drawn_once(searches):
    dropped = 0
    for search, greedy, nats in searches:
        html = beam_tree_html(search, greedy, nats, str)
        assert rects(html, "stroke-dasharray") == N  # in the tree, or below it
        assert rects(html, BEST) == N
        branches = {beam.ids[:n] for beam in search.beams for n in range(1, N + 1)}
        assert rects(html, KEPT) == len(branches) - N
        outside = html.count("greedy, no longer in the tree")
        assert rects(html, "") == len(search.tree) + outside
        dropped += outside > 0
    assert dropped


def test_it_says_which_text_is_likelier_and_where_greedy_was_dropped(searches):
    said = [found_in_words(*each) for each in searches]
    for (search, greedy, nats), sentence in zip(searches, said, strict=True):
        if search.beams[0].ids == tuple(greedy):
            assert sentence == "The best beam is the greedy text."
        else:
            better = search.beams[0].log_probability > nats
            assert ("Beam search found a likelier text." in sentence) == better
            assert ("Greedy found a likelier text." in sentence) == (not better)
    places = [
        int(n) for s in said for n in re.findall(r"dropped the greedy text at token (\d+)", s)
    ]
    assert places and all(1 < place <= N for place in places)
    later = [found_in_words(*each, first=5) for each in searches]
    moved = [int(n) for s in later for n in re.findall(r"greedy text at token (\d+)", s)]
    assert moved == [place + 4 for place in places]


def test_names_are_cut_and_never_html(searches):
    html = beam_tree_html(*searches[0], lambda token: "<img src=x>")
    assert "<img" not in html
    assert "&lt;img sr…" in html
    assert "&lt;img src=x&gt;: " in html
