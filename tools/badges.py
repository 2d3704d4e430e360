"""Write into every notebook what all of them have: the way on, the package, and closed answers.

    python tools/badges.py            # rewrite what is stale
    python tools/badges.py --check    # only say what is stale, and fail if anything is

- The title, from data/lessons.json.
- Cell "launch": the lessons before and after, map, exercises and glossary; Colab and Binder.
- Cell "bootstrap", folded: on Colab it installs the package.
- Cell "onward", the last of a lesson: the lesson after it.
- Stored outputs that answer what the reader is asked to predict stay hidden until they are run.

The lessons' order is that of data/lessons.json, the repository's address is in pyproject.toml.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from urllib.parse import quote

import nbformat

ROOT = Path(__file__).parent.parent
LESSONS = json.loads((ROOT / "data" / "lessons.json").read_text(encoding="utf-8"))
ORDER = [lesson["notebook"] for lesson in LESSONS]
MAP, GLOSSARY = "0_begin_here.ipynb", "glossary.md"
WRITTEN = ("launch", "bootstrap", "onward")
GUESS = re.compile(r"(card) = lab\.PredictionCard\(.*\)|(my_\w+) = .*")  # a cell of its own
BOLD = re.compile(r"\*\*([^*]+)\*\*")


def repository() -> str:
    """The address, such as https://github.com/owner/name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^Repository = "(https://github\.com/[\w.-]+/[\w.-]+)"$', text, re.M)[1]


def launch_line(address: str, path: Path) -> str:
    """Links that open a notebook where nothing is installed."""
    owner_and_name = address.removeprefix("https://github.com/")
    file = quote(path.relative_to(ROOT).as_posix())
    colab = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{file}"
    binder = f"https://mybinder.org/v2/gh/{owner_and_name}/main?urlpath=lab/tree/{file}"
    return f"without installing anything: [Colab]({colab}), [Binder]({binder})"


def neighbour(stem: str, distance: int) -> dict | None:
    """The lesson so many places after this one, if there is one."""
    place = ORDER.index(stem) + distance if stem in ORDER else -1
    return LESSONS[place] if 0 <= place < len(LESSONS) else None


def way(path: Path) -> str:
    """The line of links to where a reader may want to go from here."""
    stem, home = path.stem, "" if path.parent.name == "notebooks" else "../notebooks/"
    links = {} if path.name == MAP else {"Map": f"{home}{MAP}"}
    links["Glossary"] = f"{home}{GLOSSARY}"
    if home:
        links = {"The lesson": f"{home}{stem}.ipynb"} | links
    elif (ROOT / "exercises" / path.name).exists():
        links["Exercises"] = f"../exercises/{path.name}"
    before, after = (None, None) if home else (neighbour(stem, -1), neighbour(stem, +1))
    if before:
        links = {f"← {_short(before)}": f"{before['notebook']}.ipynb"} | links
    if after:
        links[f"{_short(after)} →"] = f"{after['notebook']}.ipynb"
    return " · ".join(f"[{name}]({link})" for name, link in links.items())


def heading(path: Path) -> str:
    """The title of a lesson or of its solutions."""
    title = LESSONS[ORDER.index(path.stem)]["title"]
    if path.parent.name == "notebooks":
        return f"# {title}"
    return f"# Solutions to {path.stem[:2]}: {title.partition(': ')[2]}"


def bootstrap(address: str) -> str:
    """The first code cell: on Colab it installs the package, elsewhere it does nothing."""
    return (
        "# @title Install the course (on Colab only)\n"
        "from importlib.util import find_spec\n\n"
        'if find_spec("slmlab") is None:  # on Colab; torch and numpy stay as they are there\n'
        f'    %pip install --quiet "slmlab @ git+{address}"'
    )


def written(notebook: nbformat.NotebookNode, path: Path) -> nbformat.NotebookNode:
    """The notebook with these cells in place, and with its answers closed."""
    address = repository()
    old = {c.id: c for c in notebook.cells}
    title, *rest = [c for c in notebook.cells if c.id not in WRITTEN]
    launch = nbformat.v4.new_markdown_cell(id="launch")
    launch.source = f"{way(path)} — {launch_line(address, path)}"
    code = old.get("bootstrap", nbformat.v4.new_code_cell(id="bootstrap"))
    code.source = bootstrap(address)
    code.metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    notebook.cells = [title, launch, code, *rest]
    if path.stem in ORDER:
        title.source = re.sub(r"^# .*", heading(path), title.source)
    after = neighbour(path.stem, 1) if path.parent.name == "notebooks" else None
    if after:
        onward = nbformat.v4.new_markdown_cell(id="onward")
        onward.source = f"[{after['title']} →]({after['notebook']}.ipynb) · [Map]({MAP})"
        notebook.cells.append(onward)
    told = answers(notebook)
    for cell in notebook.cells:
        if cell.id in told:
            cell.metadata.setdefault("jupyter", {})["outputs_hidden"] = True
    return notebook


def answers(notebook: nbformat.NotebookNode) -> set[str]:
    """The ids of the cells whose stored outputs answer what the reader is asked to predict.

    A guess is a prediction card or a number of the reader's, `my_name`. Whatever is printed or
    drawn from there to the last cell that uses the guess answers it. A text that asks in bold to
    predict is answered by the next output.
    """
    code = [c for c in notebook.cells if c.cell_type == "code"]
    found = set()
    for place, cell in enumerate(code):
        if guess := GUESS.fullmatch(cell.source):
            used = re.compile(r"\bcard\.(gap|reveal)\b" if guess[1] else rf"\b{guess[2]}\b")
            last = max((i for i, c in enumerate(code) if used.search(c.source)), default=place)
            found |= {c.id for c in code[place + 1 : last + 1] if c.source != "card"}
    asked = False
    for cell in notebook.cells[1:]:  # the first one promises, and asks nothing
        if cell.cell_type == "markdown":
            asked = asked or any(
                re.search(r"(?i)\bpredict\b", b) for b in BOLD.findall(cell.source)
            )
        elif asked and cell.outputs and cell.source != "card":
            found.add(cell.id)
            asked = False
    return {c.id for c in code if c.id in found and c.outputs}


def _short(lesson: dict) -> str:
    return lesson["title"].partition(":")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args()
    stale = 0
    for path in sorted(p for f in ("notebooks", "solutions") for p in (ROOT / f).glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = nbformat.writes(written(nbformat.reads(before, as_version=4), path)) + "\n"
        if after != before:
            stale += 1
            print(path.relative_to(ROOT).as_posix())
            if not options.check:
                path.write_text(after, encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
