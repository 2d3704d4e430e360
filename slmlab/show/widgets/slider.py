"""A slider over a list of values that a keyboard and a screen reader can use."""

from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
from traitlets import Unicode


class Slider(anywidget.AnyWidget, ipywidgets.SelectionSlider):
    """A `SelectionSlider` whose view is the browser's own `<input type="range">`.

    That of ipywidgets has no accessible name, tells a screen reader an index instead of the value,
    and is two Tab stops. This one has its description as its name, the option's label as its value
    and `help`, half a sentence, as its description; `help` is also seen below the slider. All
    traits of `SelectionSlider` work as they do there: `options`, `value`, `index`, `disabled`.
    """

    _esm = Path(__file__).with_name("slider.js")
    _css = Path(__file__).with_name("slider.css")
    help = Unicode().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.add_class("slm-slider")
