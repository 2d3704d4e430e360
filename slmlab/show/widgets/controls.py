"""The controls of the Playground: what each setting is called, and what its control offers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ipywidgets

from slmlab.show.widgets.slider import Slider

LABEL = {"description_width": "8em"}
OFF = "off"  # a slider cannot stand at None
# What takes over when the other of the two is turned off: steps and seconds exclude each other.
INSTEAD = {"max_steps": ("seconds", 20), "seconds": ("max_steps", 200)}
VOCABULARIES = {
    "right-sized": "right-sized",
    "gpt2": "GPT-2's (50,257)",
    **{f"bpe-{n}": f"BPE of {n:,}" for n in (300, 500, 700, 1000)},
}


class Knob(NamedTuple):
    """A setting's label, what its control offers and what it means.

    A set-up given as text may have other values than those on offer.
    """

    label: str
    offered: Sequence[Any]
    help: str
    unit: str = ""  # behind each value


KNOBS: dict[str, dict[str, Knob]] = {
    "The model": {
        "n_layer": Knob(
            "layers", (1, 2, 3, 4, 6, 8), "blocks of attention and MLP, one on another"
        ),
        "n_head": Knob("heads", (1, 2, 3, 4, 6, 8), "attentions that work side by side in a layer"),
        "n_embd": Knob(
            "width", (16, 32, 48, 64, 96, 128, 192, 256, 384), "numbers that stand for each token"
        ),
        "block_size": Knob(
            "context", (8, 16, 32, 64, 128, 256), "how many the model sees at once", " tokens"
        ),
    },
    "Its text": {
        "n_tokens": Knob(
            "text",
            (1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 23_000),
            "how much of the scripts; a tenth of it to validate on",
            " tokens",
        ),
        "vocabulary": Knob("vocabulary", tuple(VOCABULARIES), "which pieces of text are tokens"),
    },
    "Its training": {
        "learning_rate": Knob(
            "learning rate",
            (1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2),
            "how far each step moves the weights",
        ),
        "max_steps": Knob(
            "steps", (None, 50, 100, 200, 500, 1_000, 2_000, 3_000), "how often they are moved"
        ),
    },
}
MORE: dict[str, Knob] = {
    "batch_size": Knob("batch", (1, 2, 4, 8, 12, 16, 32), "sequences that a step learns from"),
    "seconds": Knob(
        "time limit", (None, 5, 10, 20, 40, 60, 120, 300), "seconds to train, instead of steps"
    ),
    "patience": Knob(
        "patience",
        (None, 1, 2, 3, 5, 8),
        "evaluations without a better validation loss until training stops",
    ),
    "dropout": Knob(
        "dropout",
        (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
        "share of the activations that each step sets to zero at random",
    ),
    "weight_decay": Knob(
        "weight decay",
        (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
        "how strongly AdamW, the optimiser, pulls the weights towards zero",
    ),
    "label_smoothing": Knob(
        "label smoothing",
        (0.0, 0.05, 0.1, 0.2),
        "share of the right token's probability that is spread over all tokens",
    ),
    "average": Knob(
        "average",
        (0.0, 0.9, 0.95, 0.98, 0.99, 0.995),
        "how far back the average of the weights, which is what is scored, reaches; 0: no average",
    ),
    "seed": Knob("seed", tuple(range(10)), "the number that all random choices follow from"),
}

ALL = {name: knob for knobs in (*KNOBS.values(), MORE) for name, knob in knobs.items()}

Controls = dict[str, ipywidgets.Widget]


def make_controls() -> Controls:
    """A control for each setting, by its name."""
    return {name: _control(knob) for name, knob in ALL.items()}


def basic(controls: Controls) -> list[ipywidgets.Widget]:
    """The controls to begin with, one below the other, under the headings of their groups."""
    widgets: list[ipywidgets.Widget] = []
    for title, knobs in KNOBS.items():
        widgets += [ipywidgets.HTML(f"<h3>{title}</h3>"), *(controls[name] for name in knobs)]
    return widgets


def advanced(controls: Controls) -> list[ipywidgets.Widget]:
    """The other controls."""
    return [controls[name] for name in MORE]


def settings_after(controls: Controls, moved: str) -> dict[str, Any]:
    """Where all controls stand, after somebody moved one of them."""
    settings = {name: None if c.value == OFF else c.value for name, c in controls.items()}
    if moved in INSTEAD:
        other, value = INSTEAD[moved]
        settings[other] = value if settings[moved] is None else None
    return settings


def show_settings(controls: Controls, settings: dict[str, Any]) -> None:
    """Move every control to its setting, which is added to those on offer if it is not there."""
    for name, control in controls.items():
        value = OFF if settings[name] is None else settings[name]
        offered = [v for _, v in control.options]
        if value not in offered:
            if not isinstance(value, str):  # numbers stand in their order, behind "off"
                numbers = sorted({v for v in offered if v != OFF} | {value})
                offered = [OFF] * (OFF in offered) + numbers
            else:
                offered.append(value)
            control.options = [_option(v, ALL[name].unit) for v in offered]
        control.value = value


def filling(most: str | None = None, flex: str | None = None) -> ipywidgets.Layout:
    """As wide as its place, up to `most`; in a row, `flex` says from where on it goes below."""
    return ipywidgets.Layout(width="auto", min_width="0", max_width=most, flex=flex)


def _control(knob: Knob) -> ipywidgets.Widget:
    options = [_option(value, knob.unit) for value in knob.offered]
    if isinstance(knob.offered[0], str):
        return ipywidgets.Dropdown(
            options=options,
            description=knob.label,
            tooltip=knob.help,
            style=LABEL,
            layout=filling(),
        )
    return Slider(
        options=options, description=knob.label, help=knob.help, style=LABEL, layout=filling()
    )


def _option(value: Any, unit: str) -> tuple[str, Any]:
    """What a value is called, and the value."""
    if value is None or isinstance(value, str):
        value = value or OFF
        return VOCABULARIES.get(value, value), value
    return (f"{value:,}" if isinstance(value, int) else f"{value:g}") + unit, value
