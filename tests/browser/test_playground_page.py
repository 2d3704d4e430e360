"""The Playground in a real browser, in JupyterLab, in Voilà and on a page without a kernel."""

import time

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, Page, expect

from browser.pages import choose, opened, run_all
from slmlab.show.widgets.controls import ALL
from slmlab.study.setups import Setup

pytestmark = pytest.mark.browser

SLIDERS = [knob.label for knob in ALL.values() if not isinstance(knob.offered[0], str)]


class Panel:
    """The Playground of a page."""

    def __init__(self, page: Page) -> None:
        self.frame = page.locator(".slm-playground")
        parts = ("readout", "status", "sample", "curves", "comparison", "scores")
        self.readout, self.status, self.sample, self.curves, self.comparison, self.scores = (
            self.frame.locator(f".slm-{part}") for part in parts
        )
        self.train, self.stop, self.pin = (
            self.frame.get_by_role("button", name=name, exact=True)
            for name in ("Train", "Stop", "Pin")
        )
        self.state = self.frame.get_by_label("as a string")
        self.runs = self.frame.get_by_label("run", exact=True)
        expect(self.readout).to_contain_text("parameters per token")

    def slider(self, label: str) -> Locator:
        return self.frame.get_by_role("slider", name=label, exact=True)

    def paste(self, state: str) -> None:
        self.state.fill(state)
        self.state.press("Enter")

    def stands_at(self, state: str) -> None:
        """The string, and the numbers that belong to it."""
        expect(self.state).to_have_value(state)
        expect(self.readout).to_contain_text(f"{Setup.parse(state).model().n_params:,}")


def top(element: Locator) -> float:
    """Pixels from the upper edge of the page to an element."""
    return element.bounding_box()["y"]


def test_the_playground_in_jupyterlab(browser, lab, axe, tmp_path):
    with opened(browser, lab.format("playground.ipynb"), tmp_path) as page:
        run_all(page)
        panel = Panel(page)
        panel.slider("layers").press("ArrowRight")
        panel.stands_at("phase-2 n_layer=4")
        expect(panel.slider("layers")).to_have_attribute("aria-valuetext", "4")
        expect(panel.curves.locator("svg")).to_contain_text("2.16 to beat")

        panel.paste("phase-2 max_steps=3000")  # long enough to be stopped
        panel.stands_at("phase-2 max_steps=3000")
        panel.train.press("Enter")
        began = time.monotonic()
        expect(panel.curves.locator("polyline.exact")).to_have_count(3)
        print(
            f"First point after {time.monotonic() - began:.2f} s"
        )  # below 1 s if nothing else runs
        expect(panel.stop).to_be_focused()
        expect(panel.status).to_contain_text("of 3,000")
        expect(panel.scores).to_contain_text("estimated")
        expect(panel.sample).to_contain_text("What it wrote at step 0")
        expect(panel.scores).to_contain_text("held-out score at step 300")
        expect(panel.sample).to_contain_text("What it wrote at step 300")
        assert panel.curves.locator("circle.look").count() > 3

        began = time.monotonic()
        page.keyboard.press("Enter")
        stopped = "status => status.textContent.includes('Stopped at step')"
        page.wait_for_function(stopped, arg=panel.status.element_handle())
        seconds = time.monotonic() - began
        print(f"Stop took {seconds:.2f} s")  # below 1 s where nothing else runs
        assert seconds < 20
        expect(panel.train).to_be_focused()
        for key in ("x", "b", "d", "d"):  # JupyterLab's own: cut, new, delete
            page.keyboard.press(key)

        panel.pin.click()
        expect(panel.comparison.locator("tr")).to_have_count(2)
        panel.frame.get_by_role("button", name="More settings").click()
        panel.paste("phase-1 n_layer=3 seed=4")
        panel.stands_at("phase-1 n_layer=3 seed=4")
        for label, value in (("layers", "3"), ("width", "32"), ("seed", "4")):
            expect(panel.slider(label)).to_have_attribute("aria-valuetext", value)
        for label in SLIDERS:
            expect(panel.slider(label)).to_be_visible()
        assert axe(page, ".slm-playground") == []
        assert page.locator(".jp-CodeCell").count() == 4


def test_one_screen_and_below_each_other_where_it_is_narrow(browser, lab, tmp_path):
    with opened(browser, lab.format("playground.ipynb"), tmp_path) as page:
        run_all(page)
        panel = Panel(page)
        page.set_viewport_size({"width": 1400, "height": 900})
        panel.frame.evaluate("frame => frame.scrollIntoView()")
        sample = panel.sample.bounding_box()
        assert sample["y"] + sample["height"] < 870
        assert top(panel.train) < top(panel.curves) < top(panel.sample)
        assert abs(top(panel.train) - top(panel.frame.get_by_label("start from"))) < 20
        assert panel.slider("layers").bounding_box()["x"] < panel.curves.bounding_box()["x"]
        page.set_viewport_size({"width": 800, "height": 1000})
        expect.soft(panel.curves.locator("svg")).to_be_visible()
        assert top(panel.train) < top(panel.curves) < top(panel.slider("layers"))


def test_training_outlives_the_page_and_its_record_the_kernel(browser, lab, tmp_path):
    with opened(browser, lab.format("playground.ipynb"), tmp_path) as page:
        run_all(page)
        panel = Panel(page)
        panel.paste("phase-2 max_steps=30000 seed=5")
        panel.train.click()
        expect(panel.status).to_contain_text("of 30,000")
        panel.slider("width").press("End")  # while it trains
        panel.stands_at("phase-2 n_embd=384 max_steps=30000 seed=5")

    with opened(browser, lab.format("playground.ipynb"), tmp_path) as page:
        run_all(page)
        panel = Panel(page)
        expect(panel.stop).to_be_enabled()
        expect(panel.status).to_contain_text("of 30,000")
        panel.stop.click()
        expect(panel.status).to_contain_text("Stopped at step")

        panel.paste("phase-2 max_steps=30000 seed=6")
        panel.train.click()
        expect(panel.scores).to_contain_text("held-out score")
        expect(panel.status).to_contain_text("of 30,000")
        choose(page, "Kernel", "Restart Kernel and Clear Outputs")
        page.locator(".jp-Dialog .jp-mod-accept").click()
        expect(panel.frame).to_have_count(0)
        run_all(page)
        panel = Panel(page)
        expect(panel.train).to_be_enabled()
        expect(panel.runs).to_contain_text("phase-2 max_steps=30000 seed=6")


def test_the_playground_in_voila(browser, voila, tmp_path):
    with opened(browser, voila, tmp_path) as page:
        panel = Panel(page)
        panel.slider("layers").press("ArrowRight")
        panel.stands_at("phase-2 n_layer=4")
        page.set_viewport_size({"width": 1920, "height": 1080})
        place = panel.frame.bounding_box()
        assert abs(place["x"] - (1920 - place["x"] - place["width"])) < 40  # centred
        size = panel.status.evaluate("status => parseFloat(getComputedStyle(status).fontSize)")
        assert size >= 18
        expect(page.get_by_text("Colab").first).not_to_be_visible()
        expect(page.get_by_text("Shift + Enter")).to_have_count(0)


def test_a_page_without_a_kernel_plays_a_recorded_run(browser, axe, tmp_path):
    from browser.conftest import NOTEBOOKS

    notebook = nbformat.read(NOTEBOOKS / "playground.ipynb", as_version=4)
    page_path = tmp_path / "playground.html"
    page_path.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    with opened(browser, page_path.as_uri(), tmp_path) as page:
        played = page.locator(".slm-playback")
        expect(played.locator("polyline.exact")).to_have_count(3)
        expect(played.locator("output")).to_have_text("step 1,000")
        expect(played.locator("svg")).to_contain_text("lowest: 2.39 at step 600")
        played.get_by_role("button", name="Play").click()
        expect(played.locator("output")).to_have_text("step 200")
        played.get_by_role("button", name="Pause").click()
        played.get_by_role("slider").press("Home")
        expect(played.locator("output")).to_have_text("step 0")
        expect(played.locator("svg")).to_contain_text("to beat")
        assert axe(page, ".slm-playback") == []
