"""Write into every notebook how to open it on Colab and Binder, and how it finds the package there.

    python tools/badges.py            # rewrite the cells "launch" and "bootstrap"
    python tools/badges.py --check    # fail if one of them is not what would be written

The repository's address stands in pyproject.toml, and nowhere else.
"""

import argparse
import re
import sys
from pathlib import Path
from urllib.parse import quote

import nbformat

ROOT = Path(__file__).parent.parent
FOLDERS = ("notebooks", "solutions")


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
    return f"Open it [on Colab]({colab}) or [on Binder]({binder}), without installing anything."


def bootstrap(address: str) -> str:
    """The first code cell: on Colab it installs the package, elsewhere it does nothing."""
    return (
        "from importlib.util import find_spec\n\n"
        'if find_spec("slmlab") is None:  # on Colab; torch and numpy stay as they are there\n'
        f'    %pip install --quiet "slmlab @ git+{address}"'
    )


def with_cells(notebook: nbformat.NotebookNode, path: Path) -> nbformat.NotebookNode:
    """The notebook with both cells in place, right after its first cell."""
    address = repository()
    title, *rest = [c for c in notebook.cells if c.id not in ("launch", "bootstrap")]
    launch = nbformat.v4.new_markdown_cell(launch_line(address, path), id="launch")
    old = {c.id: c for c in notebook.cells}
    code = old.get("bootstrap", nbformat.v4.new_code_cell(id="bootstrap"))
    code.source = bootstrap(address)
    notebook.cells = [title, launch, code, *rest]
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args()
    stale = 0
    for path in sorted(p for folder in FOLDERS for p in (ROOT / folder).glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = nbformat.writes(with_cells(nbformat.reads(before, as_version=4), path)) + "\n"
        if after != before:
            stale += 1
            print(path.relative_to(ROOT).as_posix())
            if not options.check:
                path.write_text(after, encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
