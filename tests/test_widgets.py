"""The scrubber, driven without a browser."""

import re
from dataclasses import replace

import pytest

import slmlab as lab


@pytest.fixture
def scrubber():
    return lab.Scrubber(lab.PHASES[1].recorded())


def test_it_starts_at_the_last_step_and_shows_what_was_written_then(scrubber):
    assert scrubber.step.value == 500
    last = [s for s in scrubber.run.samples if s["prompt"] == lab.PROMPTS[0]][-1]
    assert last["text"].splitlines()[0] in scrubber.text.value


def test_moving_the_slider_changes_text_and_marker_but_draws_nothing(scrubber):
    text, marker, picture = scrubber.text.value, scrubber.marker.value, scrubber.curves.value
    assert "<svg" in picture
    scrubber.step.value = 50
    assert scrubber.text.value != text
    assert scrubber.curves.value is picture
    assert "At step 50: training loss 7.96, validation loss 8.93" in scrubber.losses.value

    def left(value):
        return float(re.search(r"left:([\d.]+)%", value)[1])

    assert 0 < left(scrubber.marker.value) < left(marker) < 100


def test_another_prompt_changes_the_text(scrubber):
    text = scrubber.text.value
    scrubber.prompt.value = "def main():"
    assert scrubber.text.value != text
    assert "def main():" in scrubber.text.value


def test_text_of_a_model_is_not_taken_for_html(scrubber):
    scrubber._texts[50, lab.PROMPTS[0]] = "<script>alert(1)</script>"
    scrubber.step.value = 50
    assert "<script>" not in scrubber.text.value


def test_without_a_kernel_a_table_of_steps_is_shown(scrubber, shown):
    scrubber._ipython_display_()
    [bundle] = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<tr>") == 4


def test_a_run_without_samples_gets_a_sentence(finished):
    with pytest.raises(ValueError, match="no samples to look through"):
        lab.Scrubber(replace(finished, samples=[]))


def test_it_can_begin_with_another_prompt():
    scrubber = lab.Scrubber(lab.PHASES[1].recorded(), prompt="# File:")
    assert scrubber.prompt.value == "# File:"
    assert "After <code># File:</code>, at four steps of phase-1" in scrubber.static()
    with pytest.raises(ValueError, match=r"no samples of 'hello'; it has 'import chromadb', "):
        lab.Scrubber(scrubber.run, prompt="hello")


def test_the_prompts_are_those_of_the_run(finished):
    """Those of a learner's own text are no prompts of the experiment."""
    samples = [
        {"step": step, "prompt": prompt, "text": f"{prompt}, {step}", "ids": []}
        for step in (10, 20)
        for prompt in ("Once", "Twice")
    ]
    scrubber = lab.Scrubber(replace(finished, samples=samples))
    assert scrubber.prompt.options == ("Once", "Twice")
    assert "Once, 20" in scrubber.text.value
    assert "at two steps of tiny" in scrubber.static()


@pytest.mark.slow
def test_a_sample_that_was_not_taken_leaves_a_note(finished):
    """A prompt that cannot be continued costs its sample at one step."""
    samples = [
        {"step": 10, "prompt": "Once", "text": "Once upon", "ids": []},
        {"step": 20, "prompt": "Once", "text": "Once more", "ids": []},
        {"step": 20, "prompt": "Twice", "text": "Twice", "ids": []},
    ]
    scrubber = lab.Scrubber(replace(finished, samples=samples), prompt="Twice")
    scrubber.step.value = 10
    assert "no sample was taken" in scrubber.text.value
    assert "no sample was taken" in scrubber.static()
    scrubber.prompt.value = "Once"
    assert "Once upon" in scrubber.text.value


def test_one_step_is_called_one(finished):
    scrubber = lab.Scrubber(finished)  # sampled at its end only
    assert "at one step of tiny" in scrubber.static()
    assert scrubber.static().count("<tr>") == 1
