"""A training's bar as a widget, in a notebook."""

from html import escape
from importlib.util import find_spec

from slmlab.engine import console


def use_widgets() -> None:
    """From now on, show the bars of trainings as widgets where a notebook has some."""
    console.make_line = _line


def _line(title: str) -> console.Line:
    widgets = console.in_notebook() and find_spec("ipywidgets")
    return WidgetLine(title) if widgets else console.TextLine(title)


class WidgetLine:
    """A bar, and words beside it, which at the end take its place: a stored notebook has them."""

    def __init__(self, title: str) -> None:
        import ipywidgets
        from IPython.display import display

        layout = ipywidgets.Layout
        self._title = self._said = title
        self._text = ipywidgets.HTML(layout=layout(flex="0 1 auto"))
        self._bar = ipywidgets.FloatProgress(
            min=0, max=1, layout=layout(flex="1 1 40px", width="auto", min_width="40px")
        )
        self._bar.style.bar_color = "#0072B2"
        self._box = ipywidgets.HBox([self._bar, self._text], layout=layout(width="100%"))
        self._handle = display(self._box, display_id=True)

    def show(self, step: int, planned: int | None, said: str) -> None:
        self._bar.value = step / planned if planned else 0
        steps = f"step {step:,} of {planned:,} · " if planned else ""
        self._said = f"{escape(self._title)}: {steps}{said}"
        self._text.value = f"<span style='white-space:nowrap'>{self._said}</span>"

    def end(self) -> None:
        from IPython.display import HTML

        self._handle.update(HTML(self._said))
        self._box.close()
