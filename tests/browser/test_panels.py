"""The panels in a real browser, by keyboard."""

import nbformat
import pytest
from playwright.sync_api import expect

from browser.pages import opened, run_all

pytestmark = pytest.mark.browser

CELLS = (
    "import slmlab as lab",
    'lab.Quiz("00")',
    'lab.PredictionCard("Phase 2", steps=1000)',
)


@pytest.fixture(scope="module")
def notebook(folder):
    """The name of a notebook with a panel in each cell."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, folder / "panels.ipynb")
    return "panels.ipynb"


@pytest.fixture
def page(browser, lab, notebook, tmp_path):
    with opened(browser, lab.format(notebook), tmp_path) as page:
        run_all(page)
        yield page


def test_no_key_typed_into_a_panel_reaches_the_notebook(page):
    expect(page.locator(".slm-panel[role=group]")).to_have_count(2)
    option = page.get_by_role("group", name="quiz").get_by_role("button").first
    lock = page.get_by_role("button", name="Lock my guess")
    for button in (option, lock):
        button.press("Enter")  # which disables the second
        for key in ("x", "b", "a", "d", "d", "m", "0", "0", "ArrowDown", "Enter", "Shift+Enter"):
            page.keyboard.press(key)
            expect(button).to_be_focused()
    expect(lock).to_be_disabled()
    expect(page.locator(".jp-CodeCell")).to_have_count(len(CELLS))
    expect(page.locator(".jp-MarkdownCell")).to_have_count(0)
