"""What core ipywidgets cannot say of a panel: its name, its live parts, and whose its keys are."""

from pathlib import Path

import anywidget
import traitlets


class Manners(anywidget.AnyWidget):
    """An invisible part of a panel; its script, `manners.js`, finds the panel around it.

    Where a front end has no anywidget, the panel works without, but for its sliders: then a screen
    reader hears neither its name nor its feedback, and a letter typed into it may reach the
    notebook.

    - The panel becomes a group named `label`, and each part of class `slm-group` one named by its
      part of class `slm-name`.
    - What changes in a part of class `slm-live` is read out.
    - No key typed into the panel reaches the notebook, where "x" would cut the cell.
    - A button that is disabled keeps the focus.
    - A link to a heading of the notebook leads there.
    """

    _esm = Path(__file__).with_name("manners.js")

    label = traitlets.Unicode().tag(sync=True)
