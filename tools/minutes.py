"""How long a lesson takes, counted from the notebook itself, and written wherever it is said.

    python tools/minutes.py            # write data/lessons.json, README, each lesson's own line
    python tools/minutes.py --check    # only say what is stale, and fail if anything is

A lesson takes the time to read its words, cells, tables and pictures, to use its panels, and to
wait for what it computes ("computing" in data/lessons.json, from benchmarks/notebooks.py). What is
folded is not counted: answers, the source of a hidden cell, and all below a folded heading. The sum
is rounded to five minutes. "writing" is an estimate of what a lesson's tasks add for those who
write its code themselves, about the sum of the tasks' own minutes. A lesson without "computing"
keeps the minutes that the list gives it.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat

ROOT = Path(__file__).parent.parent
NOTEBOOKS, README = ROOT / "notebooks", ROOT / "README.md"
LESSONS = ROOT / "data" / "lessons.json"
WORDS = 180  # a minute: slower than a novel, as one stops to think
CELL, SHOWN, PANEL = 0.25, 0.8, 2.0  # minutes for a cell of code, a table or picture, a panel
SHELL = ("launch", "bootstrap", "onward")  # cells of tools/badges.py, which nobody reads through
PANELS = re.compile(
    r"^card$|^rulings$|^lab\.(Quiz|ChatPanel|Scrubber|(NextToken|Token)Explorer)\(", re.MULTILINE
)
FOLDED = re.compile(r"<details>.*?</details>|<!--.*?-->", re.DOTALL)
WORD = re.compile(r"\S*\w\S*")  # a heading's or a list's mark alone is none
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
TIME = re.compile(r"(?<=\*\*Time and memory:\*\* ).*$", re.MULTILINE)
TABLE = re.compile(r"(?<=\|---\|---\|---\|---\|\n)(?:\|.*\n)+")


class MainLine(NamedTuple):
    """What a learner goes through who unfolds nothing."""

    words: int
    cells: int  # of code
    shown: int  # tables and pictures
    panels: int


def minutes(path: Path, computing: int) -> int:
    """How long a newcomer takes for a notebook."""
    line = main_line(path)
    reading = line.words / WORDS + CELL * line.cells
    return 5 * round((reading + SHOWN * line.shown + PANEL * line.panels + computing) / 5)


def main_line(path: Path) -> MainLine:
    """Count what JupyterLab shows of a notebook, but for the cells of tools/badges.py."""
    cells = [c for c in _unfolded(nbformat.read(path, as_version=4).cells) if c.id not in SHELL]
    texts = [FOLDED.sub("", c.source) for c in cells if c.cell_type == "markdown"]
    code = [c for c in cells if c.cell_type == "code"]
    panels = sum(bool(PANELS.search(c.source)) for c in code)
    seen = [_seen(o.get("data", {})) for c in code for o in c.outputs]
    return MainLine(
        words=sum(len(WORD.findall(text)) for text in texts),
        cells=sum(not c.metadata.get("jupyter", {}).get("source_hidden") for c in code),
        shown=sum(seen) - panels,
        panels=panels,
    )


def _seen(data: dict[str, str]) -> bool:
    """Whether an output is a table or picture: a training's bar leaves words without markup."""
    return "image/png" in data or "<" in data.get("text/html", "")


def _unfolded(cells: list[nbformat.NotebookNode]) -> Iterator[nbformat.NotebookNode]:
    """The cells without those below a folded heading, up to the next of its level or above."""
    folded = None
    for cell in cells:
        marks = HEADING.findall(cell.source) if cell.cell_type == "markdown" else []
        level = min(map(len, marks), default=None)  # JupyterLab goes by a cell's highest heading
        if folded and (level is None or level > folded):
            continue
        yield cell
        folded = level if cell.metadata.get("jp-MarkdownHeadingCollapsed") else None


def time_and_memory(lesson: dict) -> str:
    """The line at the top of a lesson."""
    computing = (
        "one minute is" if lesson["computing"] == 1 else f"{lesson['computing']} minutes are"
    )
    time = f"{lesson['minutes']} minutes, of which {computing}"
    if "writing" in lesson:
        written = f"about {lesson['writing']} more to write it yourself"
        time = f"{lesson['minutes']} minutes to read, and {written}; {computing}"
    return f"about {time} computing on 2 CPU cores; about {lesson['memory']} GB of memory."


def row(lesson: dict) -> str:
    """A lesson's row in the README's table."""
    stem, long = lesson["notebook"], "as long as you like"
    computing = f" ({lesson['computing']})" if lesson["computing"] else ""
    time = f"{lesson['minutes']}{computing}" if lesson["minutes"] else long
    time += f", and {lesson['writing']} to write it" if "writing" in lesson else ""
    link = f"[{stem[:2] + ' ' if stem[0] == '0' else ''}{lesson['title']}](notebooks/{stem}.ipynb)"
    return f"| {link} | {lesson['question']} | {time} | {lesson['memory']} GB |\n"


def wanted() -> dict[Path, str]:
    """The files that say it, as they should be."""
    lessons = json.loads(LESSONS.read_text(encoding="utf-8"))
    files = {}
    for lesson in lessons:
        path = NOTEBOOKS / f"{lesson['notebook']}.ipynb"
        if lesson["computing"]:
            lesson["minutes"] = minutes(path, lesson["computing"])
            notebook = nbformat.read(path, as_version=4)
            first = notebook.cells[0]
            first.source = TIME.sub(time_and_memory(lesson), first.source)
            files[path] = nbformat.writes(notebook) + "\n"
    files[LESSONS] = json.dumps(lessons, indent=1, ensure_ascii=False) + "\n"
    files[README] = TABLE.sub("".join(map(row, lessons)), README.read_text(encoding="utf-8"), 1)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args()
    stale = {p: text for p, text in wanted().items() if p.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(path.relative_to(ROOT).as_posix())
        if not options.check:
            path.write_text(text, encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
