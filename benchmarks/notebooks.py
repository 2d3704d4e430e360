"""Run notebooks from a clean kernel, top to bottom: how long, and how much memory?

    python benchmarks/notebooks.py                          # all of them, a table
    python benchmarks/notebooks.py --save notebooks/00*     # store the new outputs as well

What is stored is for readers without a kernel: a panel becomes the page that it is there, and an
answer that stays folded begins with a line that JupyterLab may show of it.

Memory is the largest resident size of the notebook's kernel, in GB of 1,000,000,000 bytes.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
FOLDED = "Our last run:\n"  # JupyterLab shows the first line of what is folded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="which (all)")
    parser.add_argument("--save", action="store_true", help="store the outputs in the notebooks")
    options = parser.parse_args()
    notebooks = options.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if len(notebooks) == 1:
        print(run(notebooks[0], options.save))
        return
    print("| notebook | seconds | peak memory (GB) |\n|---|---:|---:|", flush=True)
    for path in notebooks:  # each in a process of its own, which knows the peak of its children
        save = ["--save"] if options.save else []
        subprocess.run([sys.executable, __file__, str(path), *save], check=True)


def run(path: Path, save: bool) -> str:
    """Run one notebook and return its row of the table."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
        coalesce_streams=True,  # a progress bar overwrites itself, as on a screen
    )
    with TemporaryDirectory() as nothing_done:  # whoever runs it has a progress of their own
        os.environ["SLMLAB_PROGRESS"] = str(Path(nothing_done) / "progress.json")
        os.environ["SLMLAB_CHECKS"] = "raise"  # as in the tests, which compare what is stored
        began = time.perf_counter()
        client.execute()
        seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9
    if save:
        tidy(notebook)
        temporary = path.with_suffix(".tmp")
        nbformat.write(notebook, temporary)
        temporary.replace(path)
    return f"| {path.name} | {seconds:.0f} | {peak:.1f} |"


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Make a notebook that was run ready to be stored; one that was stored stays as it is."""
    notebook.metadata.pop("widgets", None)  # the state of widgets: large, and stale at once
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the time of day
        if "nbval-ignore-output" not in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)  # JupyterLab would look for it, in vain
        if cell.metadata.get("jupyter", {}).get("outputs_hidden") and cell.outputs:
            first = cell.outputs[0]
            texts, key = (first, "text") if "text" in first else (first.data, "text/html")
            if not texts.get(key, FOLDED).startswith(FOLDED):
                texts[key] = FOLDED + texts[key]


if __name__ == "__main__":
    main()
