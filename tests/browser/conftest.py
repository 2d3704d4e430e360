"""A JupyterLab and a Voilà over a copy of the notebooks, and a browser to open their pages in."""

import hashlib
import json
import tarfile
from pathlib import Path
from urllib.request import Request, urlopen

import nbformat
import pytest

AXE = "axe-core-4.14.1"  # finds faults in what a page tells a screen reader
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


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


@pytest.fixture(scope="module")
def server(folder):
    from browser.pages import TOKEN, serving

    options = ("--allow-root", f"--ServerApp.token={TOKEN}", f"--ServerApp.root_dir={folder}")
    with serving(folder, "jupyterlab", *options) as address:
        yield address


@pytest.fixture
def lab(server):
    """JupyterLab; no kernel is left for the next test."""
    from browser.pages import PATIENCE, TOKEN

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
    from browser.pages import serving

    with serving(folder, "voila", "playground.ipynb") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    from browser.pages import ARGUMENTS, CHROMIUM

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(request):
    """`axe(page, selector)` lists the serious faults of one element of a page, in words.

    axe-core comes from the npm registry once, and is kept in pytest's cache. Where the registry
    cannot be reached, a test that asks for it is skipped, and says so.
    """
    packed = request.config.cache.mkdir("axe") / f"{AXE}.tgz"
    if not packed.exists():
        try:
            with urlopen(f"https://registry.npmjs.org/axe-core/-/{AXE}.tgz", timeout=120) as answer:
                content = answer.read()
        except OSError as error:
            pytest.skip(f"axe-core cannot be had: {error}")
        assert hashlib.sha256(content).hexdigest() == AXE_SHA256
        packed.write_bytes(content)
    with tarfile.open(packed) as archive:
        script = archive.extractfile("package/axe.min.js").read().decode()

    def faults(page, selector: str) -> list[str]:
        if not page.evaluate("'axe' in window"):
            # Not as a script element: in JupyterLab it would register as a module and be lost.
            page.evaluate(f"(() => {{ const define = undefined; {script} }})()")
        found = page.evaluate("selector => axe.run(selector)", selector)["violations"]
        return [
            f"{fault['id']}: {fault['help']}: {node['html']}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]

    return faults
