"""The map, the lessons and the ways between them in a real browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.pages import choose, opened, run_all

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def course(folder):
    """A copy of the course with its stored outputs, trusted as `make lab` does."""
    course = folder / "course"
    for part in ("notebooks", "exercises", "data/corpus"):
        shutil.copytree(ROOT / part, course / part, ignore=shutil.ignore_patterns(".*"))
    data = folder.parent / f"{folder.name}-settings" / "data"
    subprocess.run(
        [sys.executable, "-m", "jupyter", "trust", *map(str, course.glob("*/*.ipynb"))],
        env=os.environ | {"JUPYTER_DATA_DIR": str(data)},
        check=True,
        capture_output=True,
    )
    return course


def test_the_map_leads_to_a_lesson_and_the_lesson_on(browser, course, lab, tmp_path):
    with opened(browser, lab.format("course/notebooks/0_begin_here.ipynb"), tmp_path) as page:
        expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
        course_map = page.locator(".slm-course-map")
        expect(course_map).to_contain_text("Next: begin with Phase 0")
        choose(page, "Edit", "Clear Outputs of All Cells")
        expect(course_map).to_have_count(0)
        choose(page, "Run", "Run All Cells")
        expect(course_map).to_contain_text("Next: begin with Phase 0")

        course_map.get_by_role("link", name="Phase 0").first.click()
        lesson = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        expect(lesson.get_by_role("heading", name="Phase 0:")).to_be_visible()
        read = lesson.locator(".jp-RenderedMarkdown")
        expect(read.get_by_text("A sibling of this model wrote", exact=True)).to_be_visible()
        expect(lesson.locator(".jp-CodeCell").first).to_contain_text("on Colab only")
        expect(lesson.get_by_text("find_spec")).to_have_count(0)  # folded

        for link, heading in (
            ("Exercises", "Exercises for 00"),
            ("The lesson", "Phase 0:"),
            ("Glossary", "Glossary"),
        ):
            shown = page.locator(".jp-MainAreaWidget:not(.lm-mod-hidden)")
            shown.get_by_role("link", name=link, exact=True).first.click()
            expect(shown.get_by_role("heading", name=heading)).to_be_visible()
        expect(page.locator(".Toastify__toast")).to_have_count(0)  # no question about news


def test_answers_are_folded_until_they_are_run(browser, course, lab, tmp_path):
    with opened(browser, lab.format("course/notebooks/01_phase_1_micro.ipynb"), tmp_path) as page:
        expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
        page.get_by_role("heading", name="See", exact=True).scroll_into_view_if_needed()
        expect(page.locator(".jp-OutputPlaceholder").first).to_be_visible()
        expect(page.get_by_text("final validation loss")).to_have_count(0)


def test_a_phase_runs_from_its_first_cell_to_its_last(browser, lab, tmp_path):
    with opened(browser, lab.format("01_phase_1_micro.ipynb"), tmp_path) as page:
        run_all(page)
        page.get_by_role("heading", name="See", exact=True).scroll_into_view_if_needed()
        expect(page.get_by_text("final validation loss").first).to_be_visible()
        expect(page.locator(".jp-OutputPlaceholder")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("lesson", ["00_phase_0_disaster", "02_phase_2_breakthrough"])
def test_what_a_lesson_shows_has_no_serious_fault(lesson, theme, browser, axe, tmp_path):
    """Figures, tables and panels of a page without a kernel."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--theme", theme]
    path = ROOT / "notebooks" / f"{lesson}.ipynb"
    subprocess.run([*command, "--output-dir", tmp_path, path], check=True, capture_output=True)
    with opened(browser, (tmp_path / f"{lesson}.html").as_uri(), tmp_path) as page:
        figures = page.locator(".jp-OutputArea-output figure svg")
        assert figures.count() > 1
        for figure in figures.all():
            assert figure.get_attribute("role") == "img"
            assert len(figure.get_attribute("aria-label")) > 40
        assert axe(page, ".jp-OutputArea-output .slm-chart") == []
        assert axe(page, ".jp-OutputArea-output") == []
