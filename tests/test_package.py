"""The package as a whole: what the wheel carries, and that text flows one way, up."""

import ast
import copy
import os
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import slmlab

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "slmlab"
# The floors from the ground up: a folder or a module each.
FLOORS = (
    "validation",
    "text",
    "engine",
    "study",
    "show",
    "exercises",
    "readiness",
    "__main__",
)
EVIDENCE = {"slmlab.study.verdict"}  # of a lesson: for figures and checks, not for other science
MOST_LINES = {"engine/model.py": 260, "engine/training.py": 330, "engine/runs.py": 300}
MOST_LINES_ELSEWHERE = 400


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "-w", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    [built] = folder.glob("slmlab-*.whl")
    return built


def test_the_wheel_carries_the_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"slmlab"}
    needed = {"tokenizer/r50k_base.tiktoken", "published/phases.json", "published/corpus.json"}
    for sums in (ROOT / "data").rglob("SHA256SUMS"):
        folder = sums.parent.relative_to(ROOT / "data").as_posix()
        files = [line.split("  ")[1] for line in sums.read_text().splitlines()]
        needed |= {f"{folder}/{file}" for file in ("SHA256SUMS", *files)}
    assert len(needed) >= 3 + 1 + 31
    assert {f"slmlab/data/{file}" for file in needed} <= names
    scripts = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.[cj]s*")}
    assert len(scripts) >= 4 and scripts <= names


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(wheel, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    code = (
        "import slmlab as lab\n"
        "print(lab.__file__)\n"
        "print(len(lab.load_corpus().documents), lab.gpt2_tokenizer().n_vocab, len(lab.PHASES))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    where, counts = result.stdout.splitlines()
    assert Path(where).is_relative_to(installed)
    assert counts == "31 50257 5"


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TREES = {module_name(path): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
PUBLIC = {  # where each name comes from that `import slmlab as lab` gives
    alias.asname or alias.name: f"{node.module}.{alias.name}"
    for node in ast.walk(TREES["slmlab"])
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
PUBLIC |= slmlab._LATER | slmlab._MODULES


def imports(tree):
    """The modules of the package that a module uses, wherever in it, and by whatever way.

    `import slmlab as lab` counts as what is used of it: `lab.train` as the module of `train`.
    """
    used, whole = set(), {"slmlab"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
            whole |= {alias.asname for alias in node.names if alias.name == "slmlab"}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in whole:
                used.add(f"slmlab.{node.attr}")
        elif isinstance(node, ast.Constant) and node.value in TREES.keys() - {"slmlab"}:
            used.add(node.value)  # to import by its name
    return {resolved(name) for name in used if name.split(".")[0] == "slmlab"}


def resolved(name):
    """The module of "slmlab.engine.runs.train", or of a public name such as "slmlab.train"."""
    if name.removeprefix("slmlab.") in PUBLIC:
        name = PUBLIC[name.removeprefix("slmlab.")]
    while name not in TREES:
        name = name.rpartition(".")[0]
    return name


USES = {name: imports(tree) for name, tree in TREES.items() if name != "slmlab"}


def floor(module):
    return FLOORS.index(module.split(".")[1])


def test_every_module_is_on_a_floor():
    assert {module.split(".")[1] for module in USES} == set(FLOORS)


@pytest.mark.parametrize("module", sorted(USES))
def test_a_module_uses_only_its_own_floor_and_those_below(module):
    above = {used for used in USES[module] - {"slmlab"} if floor(used) > floor(module)}
    assert not above
    # The package as a whole is what notebooks use, and the checks, which speak to notebooks.
    assert "slmlab" not in USES[module] or floor(module) == FLOORS.index("exercises")


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import slmlab as lab\nlab.train()", {"slmlab", "slmlab.engine.runs"}),
        ("import slmlab as lab\nlab.plots.Chart", {"slmlab", "slmlab.show.plots"}),
        ("import slmlab\nslmlab.show.board.f()", {"slmlab"}),
        ("from slmlab import class_board", {"slmlab.show.board"}),
        ("from slmlab.study import verdict", {"slmlab.study.verdict"}),
        ("def f():\n    import slmlab.study.phases", {"slmlab.study.phases"}),
        ('import_module("slmlab.show.report")', {"slmlab.show.report"}),
        ("import torch", set()),
    ],
)
def test_no_way_to_import_is_overlooked(code, modules):
    assert imports(ast.parse(code)) >= modules


def test_no_module_uses_itself_by_a_detour():
    """A name that only type checkers import is no use: a run and its storage know each other."""
    uses = {name: imports(running(tree)) - {"slmlab"} for name, tree in TREES.items()}
    del uses["slmlab"]
    TopologicalSorter(uses).prepare()  # raises CycleError, which names the modules


def running(tree):
    """A copy of the code without what stands under `if TYPE_CHECKING:`."""
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


def test_the_evidence_of_a_lesson_is_used_above_the_science_only():
    users = {module for module, used in USES.items() if used & EVIDENCE}
    assert not {module for module in users if floor(module) < FLOORS.index("show")}


@pytest.mark.parametrize("module", [name for name in sorted(USES) if ".engine" in name])
def test_the_engine_knows_nothing_of_the_course(module):
    code = ast.unparse(without_docstrings(TREES[module])).lower()
    for word in ("chromadb", "phase", "ipython", "ipywidgets", "lesson"):
        assert word not in code, f"{module} speaks of {word}"


def without_docstrings(tree):
    """A copy of the code alone: comments are gone from a tree anyway."""
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return tree


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_a_file_can_be_read_in_one_sitting(path):
    name = path.relative_to(PACKAGE).as_posix()
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MOST_LINES.get(name, MOST_LINES_ELSEWHERE)


@pytest.mark.slow
def test_importing_the_package_bounds_how_long_threads_spin():
    code = "import os, slmlab; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout.strip() == "10000", result.stderr


def test_every_public_name_is_explained():
    for name in slmlab.__all__:
        thing = getattr(slmlab, name)
        assert not callable(thing) or thing.__doc__, name
