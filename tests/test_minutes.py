"""The clock of the course counts what a learner sees, and nothing that is folded."""

import re

import nbformat
from nbformat import v4

from slmlab.show.course_map import lessons
from tools.minutes import NOTEBOOKS, main_line, minutes, row, time_and_memory

TABLE = v4.new_output("display_data", {"text/html": "<table>", "text/plain": "a table"})
BAR = v4.new_output("display_data", {"text/html": "Phase 2: step 9 of 9", "text/plain": "HTML"})


def write(path, *cells):
    nbformat.write(v4.new_notebook(cells=list(cells)), path)
    return path


def code(*outputs):
    return v4.new_code_cell("run", outputs=list(outputs))


def heading(text, folded=False):
    metadata = {"jp-MarkdownHeadingCollapsed": True} if folded else {}
    return v4.new_markdown_cell(text, metadata=metadata)


def test_words_cells_tables_and_panels_are_counted(tmp_path):
    cells = [
        heading("## Two words <!-- which nobody sees -->"),
        code(TABLE, TABLE),
        v4.new_code_cell('lab.Quiz("00")', outputs=[TABLE]),  # a panel is stored as a page
        code(BAR),
    ]
    path = write(tmp_path / "a.ipynb", *cells)
    assert main_line(path) == (2, 3, 2, 1)
    assert minutes(path, computing=1) == 5
    assert minutes(path, computing=21) == 25


def test_an_answer_and_the_source_of_a_hidden_cell_are_not(tmp_path):
    hidden = v4.new_code_cell("plumbing", metadata={"jupyter": {"source_hidden": True}})
    hidden.outputs = [TABLE]  # which is seen all the same
    text = v4.new_markdown_cell("Why?\n\n<details><summary>Answer</summary>So.</details>")
    assert main_line(write(tmp_path / "a.ipynb", hidden, text)) == (1, 0, 1, 0)


def test_what_is_below_a_folded_heading_is_not_up_to_the_next_of_its_level(tmp_path):
    cells = [heading("### Folded", True), code(TABLE), heading("#### Deeper"), code(TABLE)]
    path = write(tmp_path / "a.ipynb", *cells, heading("### Seen"), code(TABLE))
    assert main_line(path) == (2, 1, 1, 0)


def test_two_folded_headings_may_follow_each_other(tmp_path):
    cells = [heading("### One", True), code(), heading("### Two", True), code()]
    assert main_line(write(tmp_path / "a.ipynb", *cells, heading("## On"), code())) == (3, 1, 0, 0)


def test_writing_is_told_beside_reading():
    lesson = {"notebook": "a", "title": "A", "question": "?", "minutes": 30, "computing": 1}
    lesson["memory"] = 0.6
    assert time_and_memory(lesson).startswith("about 30 minutes, of which one minute is computing")
    assert row(lesson) == "| [A](notebooks/a.ipynb) | ? | 30 (1) | 0.6 GB |\n"
    lesson["writing"] = 60
    assert time_and_memory(lesson) == (
        "about 30 minutes to read, and about 60 more to write it yourself; one minute is computing "
        "on 2 CPU cores; about 0.6 GB of memory."
    )
    assert "| 30 (1), and 60 to write it |" in row(lesson)


def test_writing_takes_about_as_long_as_the_tasks_say():
    for lesson in lessons():
        if lesson.writing:
            text = (NOTEBOOKS / f"{lesson.notebook}.ipynb").read_text(encoding="utf-8")
            told = sum(map(int, re.findall(r"\*\*(\d+) minutes · ", text)))
            assert abs(told - lesson.writing) <= 10
