"""What all panels share: their frame, and what appears where no kernel is attached."""

import re
from html import escape
from pathlib import Path

import ipywidgets

from slmlab.show.widgets.manners import Manners

STYLE = Path(__file__).with_name("panels.css")  # which widgets have no settings for
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
FULL = ipywidgets.Layout(width="auto", max_width="760px")
SYMBOLS = {" ": "␣", "\n": "⏎", "\t": "⇥"}
LABEL = {"description_width": "130px"}  # as wide as the longest, so that controls align


class Panel:
    """A panel: `box` holds its widgets, `static()` is its HTML where no kernel is attached."""

    box: ipywidgets.Widget

    def static(self) -> str:
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        from IPython.display import display

        # Built by hand, as ipywidgets 7 (Colab) and 8 differ in what they offer.
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        display({WIDGET_VIEW: view, "text/plain": "", "text/html": self.static()}, raw=True)


def framed(name: str, *children: ipywidgets.Widget, label: str = "") -> ipywidgets.VBox:
    """The frame of a panel, whose keys are its own; `slm-NAME` is its CSS class.

    A screen reader calls the panel `label`, or by its name.
    """
    hidden = {"display": "none"}
    style = ipywidgets.HTML(f"<style>{STYLE.read_text('utf-8')}</style>", layout=hidden)
    manners = Manners(label=label or name, layout=hidden)
    box = ipywidgets.VBox([*children, style, manners])
    box.add_class("slm-panel").add_class(f"slm-{name}")
    return box


def row(*children: ipywidgets.Widget) -> ipywidgets.Box:
    """Side by side, or one below the other where the page is narrow."""
    layout = {"flex_flow": "row wrap", "align_items": "flex-start", "grid_gap": "0 8px"}
    return ipywidgets.Box(children, layout=layout)


def title_html(text: str) -> str:
    """The heading of a panel."""
    return f"<h3 class='slm-title'>{escape(text)}</h3>"


def live(text: str = "") -> ipywidgets.HTML:
    """Text that is read out whenever it changes."""
    return ipywidgets.HTML(text).add_class("slm-live")


def paragraph(html: str) -> str:
    """A paragraph of a panel."""
    return f"<div style='line-height:1.45'>{html}</div>"


def inline_html(text: str) -> str:
    """HTML of a text in which backquotes mark code and asterisks emphasis."""
    text = re.sub("`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", text)


def problem_html(sentence: str) -> str:
    """What is wrong, in the colour of errors; nothing for an empty sentence."""
    if not sentence:
        return ""
    mark = "<span style='color:var(--jp-error-color1, #b30000)'><b>!</b>"
    return f"{mark} {escape(sentence)}</span>"


def sample_html(text: str) -> str:
    """Text that a model wrote."""
    return (
        "<pre style='border-left:4px solid #0072B2;padding:6px 12px;margin:4px 0;"
        f"font-family:monospace;white-space:pre-wrap;"
        f"word-break:normal;overflow-wrap:anywhere;line-height:1.3'>{escape(text)}</pre>"
    )


def visible(token: bytes) -> str:
    """A token's text with its white space, control characters and incomplete bytes spelled out."""
    text = token.decode("utf-8", "backslashreplace")
    return "".join(
        SYMBOLS.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode())
        for c in text
    )


def table_html(header: list[str], rows: list[list[str]]) -> str:
    """A small table of text: the first column to the left, the others to the right.

    An empty `header` is left out.
    """

    def line(tag: str, cells: list[str]) -> str:
        aligned = ["left"] + ["right"] * (len(cells) - 1)
        return "".join(
            f"<{tag} style='text-align:{a};padding:1px 10px 1px 0'>{escape(cell)}</{tag}>"
            for a, cell in zip(aligned, cells, strict=True)
        )

    head = f"<tr>{line('th', header)}</tr>" if header else ""
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<table style='line-height:1.4'>{head}{body}</table>"
