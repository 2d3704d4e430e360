"""What others wrote (titles, prompts, names), made harmless where it is shown."""

import re
from html import escape

from slmlab.validation import printable


def in_markdown(text: str) -> str:
    """Text that a Markdown page shows letter by letter: no links, headings, formulas or HTML."""
    text = escape(_on_one_line(text), quote=False)
    # A second backslash before a bracket would begin a formula.
    text = re.sub(
        r"[\\`*_\[\]#|~$@]|:(?=\S)|(?<=www)\.",
        lambda found: "&#92;" if found[0] == "\\" else f"\\{found[0]}",
        text,
        flags=re.IGNORECASE,
    )
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", text)  # which would begin a list, or a heading


def in_spreadsheet(text: str) -> str:
    """Text that a spreadsheet shows as it is, where it might take it for a formula.

    An apostrophe goes before each sign that begins one, in a cell or after what may part cells.
    """
    return re.sub(r"(^|[;,|\"])(?=\s*[=+@＝＋＠−－-])", r"\1'", _on_one_line(text))


def in_terminal(text: str) -> str:
    """Text with its lines, but without the control characters that a terminal obeys."""
    return printable(text, keep="\n\t")


def _on_one_line(text: str) -> str:
    return printable(" ".join(str(text).split()))
