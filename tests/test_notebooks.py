"""Every notebook is stored run, clean and small, so that comparing its outputs means something."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tools.minutes import main_line

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p for f in ("notebooks", "solutions") for p in (ROOT / f).glob("*.ipynb"))
LESSONS = json.loads((ROOT / "data" / "lessons.json").read_text(encoding="utf-8"))
# In lessons without a number (the Playground, building a GPT) the learner writes more than reads.
PACED = {f"{x['notebook']}.ipynb" for x in LESSONS if x["notebook"][0].isdigit()}
# Words, cells of code, tables and pictures that a learner goes through who unfolds nothing.
BUDGETS = dict.fromkeys(("00", "01", "02", "03", "04"), (1_600, 20, 9)) | {"05": (2_400, 28, 14)}
LATER = (2_200, 26, 12)  # lessons from 06 on
MACHINE_PATH = re.compile(r"(?<![\w/.])/(?:home|root|tmp|Users|work)/|[A-Z]:\\\\?Users")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.name}")


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def test_it_is_a_valid_notebook(path):
    nbformat.validate(read(path))


def test_it_opens_with_a_title(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


def test_every_code_cell_was_run_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_stored_output_is_an_error_or_a_warning(path):
    assert [o for o in outputs(path) if o.output_type == "error"] == []
    assert [o for o in outputs(path) if o.get("name") == "stderr"] == []


def test_it_shows_something(path):
    assert outputs(path)


def test_pictures_are_png_and_not_svg(path):
    kinds = {kind for output in outputs(path) for kind in output.get("data", {})}
    assert "image/svg+xml" not in kinds


def test_a_panel_is_stored_as_a_page(path):
    """JupyterLab would look for the widget of a trusted notebook, in vain, and show an error."""
    kinds = {kind for output in outputs(path) for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" not in kinds


def test_cells_are_short(path):
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 15, cell.source


def test_answers_stay_folded_until_their_cells_are_run(path):
    """From the prediction card to the reveal no stored output is seen."""
    cells = code_cells(path)
    sources = [cell.source for cell in cells]
    reveals = [place for place, source in enumerate(sources) if "card.reveal(" in source]
    if not reveals:
        pytest.skip("nothing is revealed here")
    between = cells[sources.index("card") + 1 : reveals[0] + 1]
    told = [cell for cell in between if cell.outputs]
    assert len(told) >= 3  # a run, its panel, the reveal
    for cell in told:
        assert cell.metadata.get("jupyter", {}).get("outputs_hidden"), cell.source
        # JupyterLab shows the first line of the first output, as it is stored.
        output = cell.outputs[0]
        data = output.get("data", {})
        line = data.get("text/html", data.get("text/plain", output.get("text"))).split("\n")[0]
        assert not re.search(r"\d\.\d", line), line


def test_its_main_line_is_within_its_budget(path):
    if path.parent.name != "notebooks" or path.name not in PACED:
        pytest.skip("no lesson with a main line")
    line = main_line(path)
    counted = {
        "words": line.words,
        "cells": line.cells,
        "tables and pictures": line.shown,
    }
    budget = dict(zip(counted, BUDGETS.get(path.name[:2], LATER), strict=True))
    assert {k: n for k, n in counted.items() if n > budget[k]} == {}, budget


def test_it_is_small(path):
    assert path.stat().st_size < 1_000_000


def test_it_names_no_path_of_a_machine(path):
    for cell in read(path).cells:
        assert not MACHINE_PATH.search(cell.source), cell.source
    for output in outputs(path):
        texts = [output.get("text", "")]
        texts += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
        for text in texts:
            assert not MACHINE_PATH.search(text), text
