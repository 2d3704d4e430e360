"""Make exercises/ from solutions/: the same notebooks, without answers and outputs.

A lesson that is written by its learners, such as notebooks/build_a_gpt.ipynb, is its own solution.

    python tools/exercises.py            # write exercises/
    python tools/exercises.py --check    # fail if exercises/ is not what would be written

The part of a cell between `### BEGIN SOLUTION` and `### END SOLUTION` becomes a blank, as does what
stands between the markers of hidden tests, both as in nbgrader. Cells tagged "solution-only" are
left out.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
EXERCISES = ROOT / "exercises"
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r"^ *### BEGIN HIDDEN TESTS\n.*?^ *### END HIDDEN TESTS\n?", re.DOTALL | re.M)
BESIDE = re.compile(r"\]\((?=[^/:)#]+\.(?:ipynb|md)\b)")  # a link to a notebook in the same folder


def sources() -> list[Path]:
    """The notebooks that hold answers: all solutions, and the lessons that are their own."""
    lessons = (ROOT / "notebooks").glob("*.ipynb")
    own = [path for path in lessons if "### BEGIN SOLUTION" in path.read_text("utf-8")]
    return sorted([*(ROOT / "solutions").glob("*.ipynb"), *own], key=lambda path: path.name)


def exercise(path: Path) -> nbformat.NotebookNode:
    """The exercise notebook of a solution notebook."""
    made = nbformat.read(path, as_version=4)
    made.cells = [c for c in made.cells if "solution-only" not in c.metadata.get("tags", [])]
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.source = HIDDEN.sub("", SOLUTION.sub(_blank, cell.source)).rstrip()
            cell.outputs, cell.execution_count = [], None
            continue
        if cell.id == "launch":  # links that open this very notebook, or lead to its exercises
            own = f"{path.parent.name}/{path.name}"
            cell.source = cell.source.replace(f"[Exercises](../exercises/{path.name}) · ", "")
            cell.source = cell.source.replace(own, f"exercises/{path.name}")
        if path.parent.name == "notebooks":
            cell.source = BESIDE.sub("](../notebooks/", cell.source)
    title = made.cells[0]
    title.source = re.sub("^# (?:Solutions to )?", "# Exercises for ", title.source)
    return made


def _blank(found: re.Match) -> str:
    """A function's body becomes three dots; so does the value of `name = …`."""
    indent = found[1]
    body = found[0].split("\n")[1:-1]
    names = re.findall(r"^(\w+) *=(?!=)", "\n".join(body), re.MULTILINE) if not indent else []
    lines = [f"{name} = ..." for name in dict.fromkeys(names)] or ["..."]
    return "\n".join(indent + line for line in ["# Your answer:", *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args()
    wanted = {EXERCISES / path.name: nbformat.writes(exercise(path)) + "\n" for path in sources()}
    there = set(EXERCISES.glob("*.ipynb"))
    stale = [p for p, text in wanted.items() if p not in there or p.read_text("utf-8") != text]
    stale += sorted(there - wanted.keys())
    if options.check:
        for path in stale:
            print(f"{path.name} is stale; run `make exercises`.")
        return 1 if stale else 0
    EXERCISES.mkdir(exist_ok=True)
    for path in stale:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    print(f"{len(wanted)} exercise notebooks, {len(stale)} of them changed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
