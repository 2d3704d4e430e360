"""The notebooks in a real browser: a JupyterLab and a Voilà of our own, driven through Chromium.

Without Chromium these tests are skipped, unless SLMLAB_BROWSER is "required", as it is in CI.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import nbformat
import psutil
import pytest

from slmlab.study.setups import Setup

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, BROWSERS) if path), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
TOKEN = "slmlab"
PATIENCE = 120  # seconds until something must have happened; it decides nothing but a hang
CELL = 300  # seconds for a cell, as nbval has
# No pop-up; and a notebook that is opened again is as it was, without outputs.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false"},
    "docmanager-extension/plugin": {"autosave": False},
}

try:
    from playwright.sync_api import Error, Locator, Page, expect, sync_playwright
except ImportError:
    if os.environ.get("SLMLAB_BROWSER") == "required":
        raise
    pytest.skip("playwright is not installed", allow_module_level=True)
if CHROMIUM is None:
    missing = f"none of {', '.join(BROWSERS)} is installed"
    if os.environ.get("SLMLAB_BROWSER") == "required":
        raise RuntimeError(missing)
    pytest.skip(missing, allow_module_level=True)

expect.set_options(timeout=1000 * PATIENCE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The notebooks, without outputs, so that whatever the page shows was made just now."""
    folder = tmp_path_factory.mktemp("course")
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / path.name)
    return folder


@contextmanager
def serving(folder: Path, module: str, *options: str) -> Iterator[str]:
    """The address of a server that runs meanwhile; it and its kernels are gone afterwards."""
    settings = folder.parent / f"{folder.name}-settings"
    for name, setting in SETTINGS.items():
        path = settings / "lab" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting))
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "lab",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = settings / f"{module}.log"
    with log.open("w") as file:
        server = psutil.Popen(
            [sys.executable, "-m", module, "--no-browser", f"--port={port}", *options],
            cwd=folder,
            env=os.environ | {name: str(settings / path) for name, path in own.items()},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        ends = time.monotonic() + PATIENCE
        while not _answers(address):
            if server.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"{module} did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield address
    finally:
        family = [server, *server.children(recursive=True)]
        server.terminate()
        for process in psutil.wait_procs(family, timeout=15)[1]:
            process.kill()
        psutil.wait_procs(family, timeout=15)


def _answers(address: str) -> bool:
    try:
        urlopen(f"{address}/api", timeout=30).close()
    except HTTPError:  # an answer, if not a welcome
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def server(folder):
    options = ("--allow-root", f"--ServerApp.token={TOKEN}", f"--ServerApp.root_dir={folder}")
    with serving(folder, "jupyterlab", *options) as address:
        yield address


@pytest.fixture
def lab(server):
    """JupyterLab; no kernel is left for the next test."""
    yield f"{server}/lab/tree/{{}}?reset&token={TOKEN}"

    def api(method: str, path: str) -> bytes:
        headers = {"Authorization": f"token {TOKEN}"}
        request = Request(f"{server}/api/{path}", method=method, headers=headers)
        with urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()

    for session in json.loads(api("GET", "sessions")):
        api("DELETE", f"sessions/{session['id']}")


@pytest.fixture(scope="module")
def voila(folder):
    with serving(folder, "voila", "playground.ipynb") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opened(browser, address: str, tmp_path: Path) -> Iterator[Page]:
    """A page; if the test fails, a picture of it is kept."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(1000 * PATIENCE)
    try:
        page.goto(address)
        yield page
    except (Error, AssertionError) as error:
        picture = tmp_path / "page.png"
        page.screenshot(path=picture)
        raise AssertionError(f"{error}\n\nThe page: {picture}") from error
    finally:
        page.close()


def choose(page: Page, menu: str, entry: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=re.compile(f"^{entry}")).click()


def run_all(page: Page) -> None:
    """Run all cells to the end, without an error or a warning."""
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    choose(page, "Run", "Run All Cells")
    for prompt in page.locator(".jp-CodeCell .jp-InputPrompt").all():
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=1000 * CELL)
    for kind in ("error", "stderr"):
        wrong = page.locator(f'[data-mime-type="application/vnd.jupyter.{kind}"]')
        assert wrong.all_inner_texts() == []


class Panel:
    """The Playground of a page."""

    def __init__(self, page: Page) -> None:
        self.frame = page.locator(".jp-OutputArea-output .slm-playground")
        parts = ("readout", "status", "sample", "curves", "comparison")
        self.readout, self.status, self.sample, self.curves, self.comparison = (
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
        return self.frame.locator(".widget-slider").filter(has_text=label)

    def paste(self, state: str) -> None:
        self.state.fill(state)
        self.state.press("Enter")

    def stands_at(self, state: str) -> None:
        """The string, and the numbers that belong to it."""
        expect(self.state).to_have_value(state)
        expect(self.readout).to_contain_text(f"{Setup.parse(state).model().n_params:,}")


def test_the_playground_in_jupyterlab(browser, lab, tmp_path):
    with opened(browser, lab.format("playground.ipynb"), tmp_path) as page:
        run_all(page)
        panel = Panel(page)
        panel.slider("layers").locator(".noUi-handle").press("ArrowRight")
        panel.stands_at("phase-2 n_layer=4")

        panel.paste("phase-2 max_steps=3000")  # long enough to be stopped
        panel.stands_at("phase-2 max_steps=3000")
        picture = panel.curves.get_attribute("src")
        panel.train.click()
        expect(panel.status).to_contain_text("of 3,000")
        expect(panel.curves).not_to_have_attribute("src", picture)
        expect(panel.sample).to_contain_text("What it wrote at step 0")
        picture = panel.curves.get_attribute("src")
        expect(panel.status).to_contain_text("At step 300")
        expect(panel.curves).not_to_have_attribute("src", picture)
        expect(panel.sample).to_contain_text("What it wrote at step 300")

        began = time.monotonic()
        panel.stop.click()
        stopped = "status => status.textContent.includes('Stopped at step')"
        page.wait_for_function(stopped, arg=panel.status.element_handle())
        seconds = time.monotonic() - began
        print(f"Stop took {seconds:.2f} s")  # below 1 s where nothing else runs
        assert seconds < 20

        panel.pin.click()
        expect(panel.comparison.locator("tr")).to_have_count(2)
        panel.paste("phase-1 n_layer=3 seed=4")
        panel.stands_at("phase-1 n_layer=3 seed=4")
        for label, value in (("layers", "3"), ("width", "32"), ("seed", "4")):
            expect(panel.slider(label).locator(".widget-readout")).to_have_text(value)


def test_training_outlives_the_page_and_its_record_the_kernel(browser, lab, tmp_path):
    with opened(browser, lab.format("playground.ipynb"), tmp_path) as page:
        run_all(page)
        panel = Panel(page)
        panel.paste("phase-2 max_steps=30000 seed=5")
        panel.train.click()
        expect(panel.status).to_contain_text("of 30,000")
        # Dragged to the right end, while it trains.
        handle = panel.slider("width").locator(".noUi-handle")
        handle.drag_to(panel.slider("width").locator(".widget-readout"))
        panel.stands_at("phase-2 n_embd=384 max_steps=30000 seed=5")

    with opened(browser, lab.format("playground.ipynb"), tmp_path) as page:
        run_all(page)
        panel = Panel(page)
        expect(panel.train).to_be_disabled()
        expect(panel.status).to_contain_text("of 30,000")
        panel.stop.click()
        expect(panel.status).to_contain_text("Stopped at step")

        panel.paste("phase-2 max_steps=30000 seed=6")
        panel.train.click()
        expect(panel.status).to_contain_text("At step 0")
        choose(page, "Kernel", "Restart Kernel and Clear Outputs")
        page.locator(".jp-Dialog .jp-mod-accept").click()
        expect(panel.frame).to_have_count(0)
        run_all(page)
        panel = Panel(page)
        expect(panel.train).to_be_enabled()
        expect(panel.runs).to_contain_text("phase-2 max_steps=30000 seed=6")


def test_a_phase_runs_from_its_first_cell_to_its_last(browser, lab, tmp_path):
    with opened(browser, lab.format("01_phase_1_micro.ipynb"), tmp_path) as page:
        run_all(page)


def test_the_playground_in_voila(browser, voila, tmp_path):
    with opened(browser, voila, tmp_path) as page:
        panel = Panel(page)
        panel.slider("layers").locator(".noUi-handle").press("ArrowRight")
        panel.stands_at("phase-2 n_layer=4")
