"""Every solution passes its checks; blanks and wrong answers fail with the sentence that helps."""

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from slmlab.exercises.checking import Mistake
from tests.wrong_answers import wrong_answers

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("exercises", ROOT / "tools" / "exercises.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)

SOLUTIONS = maker.sources()
OWN = {"build_a_gpt.ipynb"}  # lessons that are written by their learners: part by part
by_lesson = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def grading(cell):
    return cell.metadata.get("nbgrader", {})


def tasks(notebook):
    """The ids of the tasks: those of the cells that hold a solution."""
    return [grading(c)["grade_id"] for c in notebook.cells if grading(c).get("solution")]


def test_every_lesson_has_its_exercises():
    lessons = {path.name for path in (ROOT / "notebooks").glob("0[0-9]_*.ipynb")}
    assert {path.name for path in SOLUTIONS} == lessons | OWN
    assert {path.name for path in SOLUTIONS if path.parent.name == "notebooks"} == OWN


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
    assert path.name in OWN or 3 <= len(ids) <= 5
    assert len(set(ids)) == len(ids)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    told = [section for section in sections if re.match(r"(Task|Part) \d+", section)]
    assert len(told) == len(ids)
    for section in told:
        assert re.search(r"\*\*\d+ minutes · (easy|medium|hard|open)\*\*", section), section
        assert "<details><summary>Hint</summary>" in section, section


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
    exercise = maker.exercise(path)
    text = json.dumps(exercise)
    assert "SOLUTION" not in text and "HIDDEN" not in text
    assert all(not c.get("outputs") for c in exercise.cells)
    assert exercise.cells[0].source.startswith("# Exercises for ")


def run(source, names):
    exec(compile(source, "cell", "exec"), names)


class Task(NamedTuple):
    """A task: its cell, that of its check, and the lesson that they are from."""

    lesson: str  # the name of its module of checks
    path: Path
    cell: nbformat.NotebookNode
    check: nbformat.NotebookNode

    @property
    def name(self):
        return grading(self.cell)["grade_id"]

    @property
    def wrong(self):
        check = re.search(r"check\.(\w+)\(", self.check.source)[1]
        return wrong_answers(self.lesson, self.name, check, self.solution)

    @property
    def solution(self):
        """What is between the markers."""
        lines = maker.SOLUTION.search(self.cell.source)[0].split("\n")[1:-1]
        return textwrap.dedent("\n".join(lines))

    def answered(self, answer):
        """The cell with another answer between its markers, indented as the solution is."""
        indent = maker.SOLUTION.search(self.cell.source)[1]
        body = textwrap.indent(textwrap.dedent(answer).strip("\n"), indent)
        return maker.SOLUTION.sub(lambda _: body, self.cell.source)

    def told(self, code):
        """What the check says of a cell that must not pass."""
        names = dict(names_before(self.path)[self.name])
        try:
            run(code, names)
            run(self.check.source, names)
        except Mistake as error:
            assert 20 < len(str(error)) < 500, error
            assert error._render_traceback_() == [f"Not yet. {error}"]
            return str(error)
        pytest.fail(f"this passed\n{code}")


def all_tasks():
    for path in SOLUTIONS:
        cells = {grading(c).get("grade_id"): c for c in read(path).cells}
        for task in tasks(read(path)):
            lesson = path.stem if path.name in OWN else f"lesson_{path.stem[:2]}"
            yield Task(lesson, path, cells[task], cells[f"{task}_check"])


TASKS = list(all_tasks())
WRONG = {f"{task.lesson}-{task.name}": task.wrong for task in TASKS}

by_task = pytest.mark.parametrize("task", TASKS, ids=WRONG.keys())
by_answer = pytest.mark.parametrize(
    ("task", "wrong"),
    [
        pytest.param(task, wrong, id=f"{name}-{wrong.name}")
        for task, (name, answers) in zip(TASKS, WRONG.items(), strict=True)
        for wrong in answers
    ],
)


@cache
def names_before(path):
    """What a notebook has defined before each task: it is run once, and every solution passes."""
    names, before = {}, {}
    for cell in read(path).cells:
        if cell.cell_type != "code" or cell.id == "bootstrap":  # the latter is a notebook's only
            continue
        if grading(cell).get("solution"):
            before[grading(cell)["grade_id"]] = dict(names)
        run(cell.source, names)
    return before


@by_lesson
def test_solutions_pass(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert list(names_before(path)) == tasks(read(path))


@by_task
def test_a_blank_is_told(task, monkeypatch):
    monkeypatch.chdir(task.path.parent)
    told = task.told(maker.SOLUTION.sub(maker._blank, task.cell.source))
    assert re.search("blank|nothing yet", told), told


@by_task
def test_a_task_has_at_least_two_wrong_answers(task):
    assert len(WRONG[f"{task.lesson}-{task.name}"]) >= 2


@by_answer
def test_a_wrong_answer_is_told_its_mistake(task, wrong, monkeypatch):
    monkeypatch.chdir(task.path.parent)
    told = task.told(task.answered(wrong.code))
    words = wrong.words() if callable(wrong.words) else wrong.words
    assert words in told, f"{wrong.code}\nis told {told!r}"
