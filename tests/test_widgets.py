"""The panels, driven without a browser."""

import pytest

import slmlab as lab


@pytest.fixture
def scrubber():
    return lab.Scrubber(lab.PHASES[1].recorded())


def test_it_starts_at_the_last_step_and_shows_what_was_written_then(scrubber):
    assert scrubber.step.value == 500
    last = [s for s in scrubber.run.samples if s["prompt"] == lab.PROMPTS[0]][-1]
    assert last["text"].splitlines()[0] in scrubber.text.value


def test_moving_the_slider_changes_text_and_picture(scrubber):
    text, picture = scrubber.text.value, scrubber.curves.value
    scrubber.step.value = 50
    assert scrubber.text.value != text
    assert scrubber.curves.value != picture
    assert bytes(scrubber.curves.value).startswith(b"\x89PNG")


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
    from dataclasses import replace

    with pytest.raises(ValueError, match="no samples"):
        lab.Scrubber(replace(finished, samples=[]))


def test_it_can_begin_with_another_prompt():
    scrubber = lab.Scrubber(lab.PHASES[1].recorded(), prompt="# File:")
    assert scrubber.prompt.value == "# File:"
    assert "After <code># File:</code>" in scrubber.static()
    with pytest.raises(ValueError, match="no samples of 'hello'"):
        lab.Scrubber(scrubber.run, prompt="hello")
