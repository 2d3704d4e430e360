"""A notebook that is opened where nothing is installed, on Colab or Binder, finds the package."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p for f in ("notebooks", "exercises") for p in (ROOT / f).glob("*.ipynb"))
by_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.name}"
)


@pytest.mark.slow
def test_links_and_bootstrap_are_what_the_address_gives():
    command = [sys.executable, str(ROOT / "tools" / "badges.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"run tools/badges.py for\n{result.stdout}{result.stderr}"


@by_notebook
def test_the_first_code_cell_is_the_same_everywhere(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    first = nbformat.read(NOTEBOOKS[0], as_version=4).cells[2].source
    assert cells[0].source == first
    links = nbformat.read(path, as_version=4).cells[1].source
    assert links.count(f"{path.parent.name}/{path.name}") == 2
    assert "%pip install" in first


def test_the_bootstrap_installs_only_where_the_package_is_missing(monkeypatch):
    code = nbformat.read(NOTEBOOKS[0], as_version=4).cells[2].source
    installed = []
    plain = re.sub(r"%pip install (.*)", r"installed.append(r'\1')", code)
    exec(plain, {"installed": installed})
    assert installed == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(plain, {"installed": installed})
    assert len(installed) == 1 and "slmlab @ git+https://github.com/" in installed[0]


def test_installed_torch_and_numpy_of_colab_satisfy_the_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ranges = dict(re.findall(r'^    "(torch|numpy|ipywidgets)>=([\d.]+)",$', text, re.M))
    assert set(ranges) == {"torch", "numpy", "ipywidgets"}
    assert "==" not in re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S)[1]
    assert tuple(map(int, ranges["ipywidgets"].split("."))) <= (7, 7)


def test_the_environment_of_binder_lists_every_dependency():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r"^dependencies = \[(.*?)^\]", project, re.M | re.S)[1]
    names = set(re.findall(r'"([\w-]+)[><=]', needed))
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^      - ([\w-]+)$", environment, re.M))
    assert names <= listed
