"""The notebooks in a real browser: a JupyterLab and a Voilà of our own, driven through Chromium.

Without Chromium these tests are skipped, unless SLMLAB_BROWSER is "required", as it is in CI.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import psutil
import pytest

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
LONG = "phase-2 max_steps=3000"  # long enough to be stopped

try:
    from playwright.sync_api import Error, Page, expect, sync_playwright
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
    news = settings / "lab" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True, exist_ok=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
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
        urlopen(address, timeout=30).close()
    except URLError as error:
        return hasattr(error, "code")  # an answer, if not a welcome
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def lab(folder):
    options = ("--allow-root", f"--ServerApp.token={TOKEN}", f"--ServerApp.root_dir={folder}")
    with serving(folder, "jupyterlab", *options) as address:
        yield address


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
def opened(browser, address: str, tmp_path: Path, **size: int) -> Iterator[Page]:
    """A page; if the test fails, a picture of it is kept."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000} | size)
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
