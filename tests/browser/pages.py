"""Driving pages: a JupyterLab or Voilà of our own, opened in Chromium.

Without Chromium the tests that import this are skipped, unless SLMLAB_BROWSER is "required", as it
is in CI.
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
from urllib.request import urlopen

import psutil
import pytest

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
# A notebook that is opened again is as it was, without outputs.
SETTINGS = {"docmanager-extension/plugin": {"autosave": False}}
COURSE = Path(__file__).parent.parent.parent / "tools" / "jupyter"  # the settings of `make lab`

try:
    from playwright.sync_api import Error, Page, expect
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
            env=os.environ
            | {name: str(settings / path) for name, path in own.items()}
            | {"JUPYTER_CONFIG_PATH": str(COURSE)},
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
    prompts = ".jp-CodeCell .jp-InputPrompt:not(.jp-Placeholder-prompt)"  # of cells not folded
    for prompt in page.locator(prompts).all():
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=1000 * CELL)
    for kind in ("error", "stderr"):
        wrong = page.locator(f'[data-mime-type="application/vnd.jupyter.{kind}"]')
        assert wrong.all_inner_texts() == []
