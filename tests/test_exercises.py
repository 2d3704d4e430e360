"""Every solution passes its checks; blanks and wrong answers fail with the sentence that helps."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from slmlab.exercises.checking import Mistake
from tests.wrong_answers import WRONG_ANSWERS

ROOT = Path(__file__).parent.parent
SOLUTIONS = sorted((ROOT / "solutions").glob("[0-9]*.ipynb"))
spec = importlib.util.spec_from_file_location("exercises", ROOT / "tools" / "exercises.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)

by_lesson = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def grading(cell):
    return cell.metadata.get("nbgrader", {})


def tasks(notebook):
    """The ids of the tasks: those of the cells that hold a solution."""
    return [grading(c)["grade_id"] for c in notebook.cells if grading(c).get("solution")]


def test_every_lesson_has_its_exercises():
    lessons = {path.name for path in (ROOT / "notebooks").glob("0*.ipynb")}
    assert {path.name for path in SOLUTIONS} == lessons


def test_the_exercises_are_what_the_solutions_give():
    command = [sys.executable, str(ROOT / "tools" / "exercises.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_stale_exercises_are_noticed_and_made_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(maker, "EXERCISES", tmp_path / "exercises")
    monkeypatch.setattr(sys, "argv", ["exercises.py"])
    assert maker.main() == 0
    made = sorted((tmp_path / "exercises").iterdir())
    assert [p.name for p in made] == [p.name for p in SOLUTIONS]
    assert "0 of them changed" in (maker.main(), capsys.readouterr().out)[1]
    made[0].write_text(made[0].read_text().replace("Exercises", "Homework"))
    (tmp_path / "exercises" / "99_gone.ipynb").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["exercises.py", "--check"])
    assert maker.main() == 1
    told = capsys.readouterr().out
    assert made[0].name in told and "99_gone.ipynb" in told


@by_lesson
def test_a_lesson_has_three_to_five_tasks_with_minutes_difficulty_and_a_hint(path):
    notebook = read(path)
    ids = tasks(notebook)
    assert 3 <= len(ids) <= 5
    assert len(set(ids)) == len(ids)
    texts = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    headings = [t for t in texts if re.search(r"^## Task \d+", t, re.MULTILINE)]
    assert len(headings) == len(ids)
    for text in headings:
        assert re.search(r"\*\*\d+ minutes · (easy|medium|hard|open)\*\*", text), text
        assert "<details><summary>Hint</summary>" in text, text


@by_lesson
def test_cells_are_marked_as_nbgrader_wants(path):
    marked = [c for c in read(path).cells if grading(c)]
    assert len({grading(c)["grade_id"] for c in marked}) == len(marked)
    for cell in marked:
        facts = grading(cell)
        assert facts["schema_version"] == 3
        assert facts["grade"] == ("points" in facts)
        assert facts["locked"] == (not facts["solution"])
        has = "### BEGIN SOLUTION" in cell.source and "### END SOLUTION" in cell.source
        assert has == facts["solution"]


@by_lesson
def test_an_exercise_gives_nothing_away(path):
    exercise = maker.exercise(read(path))
    text = json.dumps(exercise)
    assert "SOLUTION" not in text and "HIDDEN" not in text
    assert all(not c.get("outputs") for c in exercise.cells)
    assert exercise.cells[0].source.startswith("# Exercises for ")


def run(source, names):
    exec(compile(source, "cell", "exec"), names)


@by_lesson
def test_solutions_pass_and_blanks_and_wrong_answers_are_told_their_mistake(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    notebook, names, answered = read(path), {}, None
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.id == "bootstrap":  # the latter is a notebook's only
            continue
        facts = grading(cell)
        if facts.get("solution"):
            answered, before = cell, dict(names)
        if facts.get("grade"):
            task = grading(answered)["grade_id"]
            assert facts["grade_id"] == f"{task}_check"
            blank = maker.SOLUTION.sub(maker._blank, answered.source)
            told = mistake(blank, cell.source, before, task)
            assert re.search("blank|nothing yet", told), (task, told)
            wrong = WRONG_ANSWERS[path.stem[:2]][task]
            assert len(wrong) >= 2, f"{task} needs at least two wrong answers"
            for answer, words in wrong.items():
                code = replaced(answered.source, answer)
                told = mistake(code, cell.source, before, task)
                assert words in told, f"{task}: {answer!r} is told {told!r}"
        run(cell.source, names)


def replaced(source, answer):
    """The cell with another answer between its markers, indented as the solution is."""
    indent = maker.SOLUTION.search(source)[1]
    lines = "\n".join(indent + line if line else "" for line in answer.strip("\n").split("\n"))
    return maker.SOLUTION.sub(lambda _: lines, source)


def mistake(code, check, names, task):
    """What the check says of an answer that must not pass."""
    names = dict(names)
    try:
        run(code, names)
        run(check, names)
    except Mistake as error:
        assert 20 < len(str(error)) < 500, f"{task}: {error}"
        assert error._render_traceback_() == [f"Not yet. {error}"]
        return str(error)
    pytest.fail(f"{task}: this passed\n{code}")
