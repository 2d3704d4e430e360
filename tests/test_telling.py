"""How a check tells its result: in a notebook, and elsewhere."""

import re
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import IPython
import nbformat
import pytest

import slmlab as lab
from slmlab.exercises import lesson_00
from slmlab.exercises.checking import Mistake
from slmlab.exercises.telling import TASKS
from slmlab.show import progress

SOLUTIONS = sorted((Path(__file__).parent.parent / "solutions").glob("[0-9]*.ipynb"))


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook in exercises/ shows."""
    pages = []
    monkeypatch.delenv("SLMLAB_CHECKS")
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr("IPython.display.display", lambda data, raw: pages.append(data))
    monkeypatch.chdir(SOLUTIONS[0].parent)
    return pages


def signed(train_loss, val_loss):
    return val_loss - train_loss, lab.gap_band(val_loss - train_loss).name


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_tasks_are_counted_in_the_order_of_the_exercises(path):
    cells = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    import_module(f"slmlab.exercises.lesson_{path.stem[:2]}")
    checks = re.findall(r"^check\.(\w+)\(", "\n".join(cells), re.MULTILINE)
    shown = ("look_at", "show_counters", "scores")  # these show something, and check nothing
    assert list(dict.fromkeys(c for c in checks if c not in shown)) == TASKS[path.stem[:2]]


def test_outside_of_a_notebook_a_wrong_answer_is_an_error(capsys, monkeypatch):
    for kernel in (None, SimpleNamespace(kernel=True)):  # in that of a tested notebook as well
        monkeypatch.setattr(IPython, "get_ipython", lambda kernel=kernel: kernel)
        with pytest.raises(Mistake, match="still blank"):
            lesson_00.rates(..., ...)
    lesson_00.signed_gap(signed)
    assert capsys.readouterr().out.startswith("Right. The sign is kept")
    assert progress.read().exercises == {}


def test_in_a_notebook_a_wrong_answer_is_a_box_and_stops_nothing(notebook):
    lesson_00.rates(..., 288)
    [data] = notebook
    assert data["text/plain"].startswith("✗ Not yet. `params_per_token` is still blank")
    assert "role='status'" in data["text/html"]
    assert "<code>params_per_token</code>" in data["text/html"] and "`" not in data["text/html"]
    assert progress.read().exercises == {}


def test_in_a_notebook_right_answers_count_and_lead_on(notebook):
    lesson_00.signed_gap(signed)
    page = notebook[-1]["text/html"]
    assert "✓ Right." in page and "1 of 5 right; tasks 1, 3, 4 and 5 to go." in page
    assert "<a href='../notebooks/00_phase_0_disaster.ipynb'>Back to the lesson</a>" in page
    assert "next lesson" not in page
    for name in TASKS["00"][:1] + TASKS["00"][3:]:
        progress.keep_exercise("00", name)
    lesson_00.rates(5, 8)
    page = notebook[-1]["text/html"]
    assert "5 of 5 right." in page
    assert "<a href='../notebooks/build_a_gpt.ipynb'>On to the next lesson</a>" in page


def test_what_a_learner_wrote_is_not_taken_for_html(notebook):
    lesson_00.rates("<script>", 288)
    assert "<script>" not in notebook[0]["text/html"]
