"""The options of `Decoding` as sliders, and a ladder of methods to start from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from slmlab.engine.decoding import Decoding
from slmlab.show.widgets.slider import Slider
from slmlab.study.writing import draws

OFF = "off"
PLAIN = Decoding()
SAMPLED = 0.8  # temperature of the methods that draw, so that they differ in their filters only
# From the simplest method on. The two that only keep a text from repeating itself do so to greedy.
LADDER: dict[str, Decoding] = {
    "greedy": Decoding(temperature=0),
    "beam search": Decoding(beams=4),
    "temperature": Decoding(temperature=SAMPLED),
    "top-k": Decoding(temperature=SAMPLED, top_k=40),
    "top-p": Decoding(temperature=SAMPLED, top_p=0.9),
    "min-p": Decoding(temperature=SAMPLED, min_p=0.1),
    "typical": Decoding(temperature=SAMPLED, typical_p=0.9),
    "repetition penalty": Decoding(temperature=0, repetition_penalty=1.2),
    "no-repeat n-gram": Decoding(temperature=0, no_repeat_ngram=4),
    "contrastive search": Decoding(contrast=0.6, top_k=4),
    "stays Python": Decoding(temperature=SAMPLED, python=True),
}


class Dial(NamedTuple):
    """What a slider over an option is called, the values it offers, and those that are words."""

    label: str
    offered: Sequence[float]
    words: dict[float, str]


TWENTIETHS = [n / 20 for n in range(41)]
DIALS: dict[str, Dial] = {
    "repetition_penalty": Dial("repetition penalty", TWENTIETHS[20:], {1.0: OFF}),
    "presence_penalty": Dial("presence penalty", TWENTIETHS[::2], {0.0: OFF}),
    "frequency_penalty": Dial("frequency penalty", TWENTIETHS[::2], {0.0: OFF}),
    "no_repeat_ngram": Dial("no-repeat n-gram", range(9), {0: OFF}),
    "temperature": Dial("temperature", TWENTIETHS, {0.0: "greedy"}),
    "top_k": Dial("top-k", range(51), {0: OFF}),
    "top_p": Dial("top-p", TWENTIETHS[1:21], {1.0: OFF}),
    "min_p": Dial("min-p", [n / 100 for n in (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50)], {0.0: OFF}),
    "typical_p": Dial("typical", TWENTIETHS[1:21], {1.0: OFF}),
    "beams": Dial("beams", range(1, 9), {}),
    "length_normalisation": Dial("length normalisation", TWENTIETHS[::2], {}),
    "contrast": Dial("contrast", TWENTIETHS[:21:2], {}),
}


def make_dial(option: str) -> Slider:
    """A slider over an option of `Decoding`, at its default."""
    layout = {"width": "380px", "max_width": "100%"}
    slider = Slider(options=[("", 0)], description=DIALS[option].label, layout=layout)
    set_dial(option, slider, getattr(PLAIN, option))
    return slider


def set_dial(option: str, slider: Slider, value: float | None) -> None:
    """Move a slider to a value of its option, which is added to those on offer if need be."""
    _, offered, words = DIALS[option]
    if value is None:
        value = next((v for v in offered if words.get(v) == OFF), offered[0])
    slider.options = [(words.get(v, f"{v:g}"), v) for v in sorted({*offered, value})]
    slider.value = value


def setting(option: str, slider: Slider) -> Any:
    """The value of an option where its slider stands."""
    off = DIALS[option].words.get(slider.value) == OFF
    return None if off and getattr(PLAIN, option) is None else slider.value


def dials_of(decoding: Decoding) -> list[str]:
    """The options that matter to a method: those it sets, and the temperature if it draws."""
    changed = {option for option in DIALS if getattr(decoding, option) != getattr(PLAIN, option)}
    if draws(decoding):
        changed.add("temperature")
    return [option for option in DIALS if option in changed]
