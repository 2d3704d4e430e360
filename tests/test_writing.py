"""What a model writes by each method, with the probabilities of its tokens."""

import math
from dataclasses import replace

import pytest
import torch

import slmlab as lab
from slmlab.show.widgets.dials import LADDER
from slmlab.study.samples import repetition_rate
from slmlab.study.writing import draws, marks, write


@pytest.fixture(scope="module")
def prompt(finished):
    return finished.dataset.tokenizer.encode("The old")


@pytest.mark.parametrize("name", LADDER)
def test_the_tokens_are_those_of_generate_and_the_probabilities_those_they_were_drawn_from(
    finished, prompt, name
):
    decoding = LADDER[name]
    if decoding.python:
        prompt = finished.dataset.tokenizer.encode("the")
    text, written = finished.dataset.tokenizer.decode(prompt), write(finished, prompt, 20, decoding)
    generated = lab.generate(finished.model, finished.dataset.tokenizer, text, 20, decoding)
    assert text + written.text == generated
    for place, token in enumerate(written.ids):  # a context of 16 tokens
        before = [*prompt, *written.ids[:place]]
        with torch.no_grad():
            logits = finished.model(torch.tensor([before[-16:]]))[0, -1]
        assert written.own[place] == pytest.approx(logits.softmax(0)[token].item(), abs=1e-5)
        if draws(decoding):
            final = lab.next_distribution(logits, before, decoding)[token].item()
            assert written.final[place] == pytest.approx(final, abs=1e-5)
            assert final > 0
    assert draws(decoding) or written.final is None
    expected = sum(map(math.log, written.own))
    assert written.log_probability == pytest.approx(expected, abs=1e-3)


def test_a_text_goes_on_behind_what_is_given(finished, prompt):
    decoding = lab.Decoding(temperature=0)
    given = finished.dataset.tokenizer.encode(" potter")
    written = write(finished, prompt, 9, decoding, given)
    expected = lab.generate_tokens(finished.model, prompt + given, 9 - len(given), decoding)
    assert written.ids == [*given, *expected]
    assert write(finished, prompt, len(given), decoding, given).ids == given


def test_a_beam_search_comes_with_its_tree_and_heeds_stop_strings(finished, prompt):
    decoding = lab.Decoding(beams=3)
    written = write(finished, prompt, 12, decoding)
    assert written.ids == list(written.search.beams[0].ids)
    assert written.search.beams[0].log_probability == pytest.approx(
        written.log_probability, abs=1e-3
    )
    stop = written.text[5:8]
    stopped = write(finished, prompt, 12, replace(decoding, stop=(stop,)))
    assert stop in stopped.text or len(stopped.ids) == 12
    assert stopped.ids == list(
        lab.beam_search(
            finished.model,
            prompt,
            12,
            decoding,
            ended=lambda new: stop in finished.dataset.tokenizer.decode(new),
        )
        .beams[0]
        .ids
    )


def test_alternatives_are_the_likeliest_before_or_after_the_filters_and_what_is_there(
    finished, prompt
):
    decoding = lab.Decoding(temperature=0.8, repetition_penalty=5.0, top_k=3)
    written = write(finished, prompt, 9, decoding)
    for place, token in enumerate(written.ids):
        found = written.alternatives(place, 4)
        assert token in [a.token for a in found]
        own = written.logits[place].softmax(0)
        assert [a.own for a in found] == sorted((own[a.token].item() for a in found), reverse=True)
        likeliest = written.distribution(place).argmax().item()
        assert likeliest in [a.token for a in found]
        assert sum(a.final > 0 for a in found) <= 3
        assert all(a.allowed for a in found)
    for place in (-1, 9, None, 1.5):
        with pytest.raises(ValueError, match="place is"):
            written.alternatives(place)


def test_alternatives_say_what_ends_python(finished):
    ids = finished.dataset.tokenizer.encode("old = (")
    written = write(finished, ids, 3, lab.Decoding(python=True))
    allowed = {a.token: a.allowed for a in written.alternatives(0, 300)}
    [bracket] = finished.dataset.tokenizer.encode("]")
    assert not allowed[bracket]
    assert allowed[written.ids[0]]
    greedy = write(finished, ids, 3, lab.Decoding(temperature=0))
    assert all(a.allowed for a in greedy.alternatives(0, 300))


def test_the_marks_are_those_of_the_scorecard(finished):
    sample = next(s for s in finished.samples if s["step"] == 60)
    prompt = finished.dataset.tokenizer.encode(sample["prompt"])
    written = write(finished, prompt, len(sample["ids"]), given=sample["ids"])
    found, card = marks(written), lab.scorecard(finished).loc[sample["prompt"]]
    for name in ("parses", "repetition", "copied", "domain names"):
        assert found[name] == card[name], name
    assert found["repetition"] == repetition_rate(sample["ids"])
    assert found["nats per token"] == pytest.approx(-written.log_probability / len(sample["ids"]))


def test_a_learners_own_text_has_no_domain_names(finished):
    dataset = replace(finished.dataset, source={"kind": "own text"})
    written = write(replace(finished, dataset=dataset), [5], 4)
    assert "domain names" not in marks(written)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"prompt": []}, "nothing to continue"),
        ({"prompt": [10**6]}, "vocabulary ends at"),
        ({"given": [10**6]}, "vocabulary ends at"),
        ({"n": 0}, "n is 0; it must be a whole number from 1"),
        ({"given": [1, 2, 3], "n": 2}, "n is 2; it must be a whole number from 3"),
        ({"decoding": None}, "decoding is None"),
        ({"run": None}, "run is None"),
        ({"decoding": lab.Decoding(python=True)}, "no text can continue to Python"),
    ],
)
def test_what_cannot_be_written_is_refused(finished, change, sentence):
    prompt = finished.dataset.tokenizer.encode(") The old")
    options = {"run": finished, "prompt": prompt, "n": 4} | change
    with pytest.raises(ValueError, match=sentence):
        write(**options)


def test_a_damaged_model_and_a_run_without_weights_are_refused(finished, tiny):
    with pytest.raises(ValueError, match="kept without its weights"):
        write(lab.PHASES[1].recorded(), [1], 3)
    model = tiny()
    torch.nn.init.constant_(model.ln_f.weight, torch.nan)
    with pytest.raises(ValueError, match=r"not finite|no finite"):
        write(replace(finished, model=model), [1], 3)
