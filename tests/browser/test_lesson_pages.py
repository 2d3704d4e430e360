"""The lessons in a real browser."""

import pytest

from browser.pages import opened, run_all

pytestmark = pytest.mark.browser


def test_a_phase_runs_from_its_first_cell_to_its_last(browser, lab, tmp_path):
    with opened(browser, lab.format("01_phase_1_micro.ipynb"), tmp_path) as page:
        run_all(page)
