"""A notebook that is opened where nothing is installed, on Colab or Binder, finds the package."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
LESSONS = ROOT / "data" / "lessons.json"
NOTEBOOKS = sorted(p for f in ("notebooks", "exercises") for p in (ROOT / f).glob("*.ipynb"))
by_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.name}"
)


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["badges", "minutes", "hero", "puzzles"])
def test_what_a_tool_writes_is_fresh(tool):
    command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"run tools/{tool}.py for\n{result.stdout}{result.stderr}"


@by_notebook
def test_the_first_code_cell_is_the_same_everywhere_and_folded(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    first = nbformat.read(NOTEBOOKS[0], as_version=4).cells[2].source
    assert cells[0].source == first
    assert cells[0].metadata.jupyter.source_hidden
    links = nbformat.read(path, as_version=4).cells[1].source
    assert links.count(f"{path.parent.name}/{path.name}") == 2
    assert "%pip install" in first


@by_notebook
def test_links_between_pages_lead_somewhere(path):
    for page, heading in links(path):
        target = (path.parent / page).resolve() if page else path
        assert target.exists(), page
        if heading:
            assert heading in headings(target), f"{page}#{heading}"


def links(path):
    """The relative links of a notebook's texts: file and heading, each maybe empty."""
    texts = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    for text in texts:
        yield from re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", text)


def headings(path):
    """The names by which the headings of a Markdown page are linked."""
    found = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {heading.replace(" ", "-") for heading in found}


def test_every_lesson_leads_to_the_next():
    lessons = [entry["notebook"] for entry in json.loads(LESSONS.read_text(encoding="utf-8"))]
    for lesson, after in pairwise(lessons):
        cells = nbformat.read(ROOT / "notebooks" / f"{lesson}.ipynb", as_version=4).cells
        assert f"({after}.ipynb)" in cells[1].source and f"({after}.ipynb)" in cells[-1].source


def test_the_map_lists_every_notebook():
    listed = {entry["notebook"] for entry in json.loads(LESSONS.read_text(encoding="utf-8"))}
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert listed == there - {"0_begin_here"}, "put the lesson into data/lessons.json"


def test_the_settings_of_jupyterlab_are_those_that_binder_copies():
    settings = "tools/jupyter/labconfig/default_setting_overrides.json"
    assert json.loads((ROOT / settings).read_text(encoding="utf-8"))
    assert settings in (ROOT / "postBuild").read_text(encoding="utf-8")
    assert "$(CURDIR)/tools/jupyter" in (ROOT / "Makefile").read_text(encoding="utf-8")


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
