"""Things to choose from by mouse or keyboard: tokens in a text, or the rows of a table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Dict, Int, List, Unicode


class Choices(anywidget.AnyWidget):
    """Tokens that flow as a text does, or the rows of a table, each of which can be chosen.

    All are one Tab stop: arrows lead from one to the next, Enter, Space or a click chooses. Text
    comes from a model and is never read as HTML.

    Attributes:
        label: what a screen reader calls them.
        header: of a table's columns; empty for tokens in a text.
        items: each a dict: `cells` (its text, or a row's), `says` (it in words, for whoever points
            at it or hears it), `colour` (its background), `bars` (of a row's cells, from 0 to 1;
            None for no bar) and `marked`, whether it stands out.
        chosen: the index of the one that is chosen, or -1.
    """

    _esm = Path(__file__).with_name("choices.js")
    label = Unicode().tag(sync=True)
    header = List(Unicode()).tag(sync=True)
    items = List(Dict()).tag(sync=True)
    chosen = Int(-1).tag(sync=True)

    def on_choice(self, act: Callable[[int], None]) -> None:
        """Call `act` with the index of each item that somebody chooses."""

        def hear(_: object, content: Any, __: object) -> None:
            # A page may have been drawn from items that are gone.
            index = content.get("chosen") if isinstance(content, dict) else None
            if isinstance(index, int) and 0 <= index < len(self.items):
                act(index)

        self.on_msg(hear)
