"""The package as a whole: what the wheel carries, and that text flows one way, up."""

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import slmlab

ROOT = Path(__file__).parent.parent
FLOORS = [
    "files",
    "tokenizer",
    "corpus",
    "own_text",
    "model",
    "training",
    "generation",
    "runs",
    "diagnosis",
    "cards",
    "phases",
    "setups",
    "experiments",
    "records",
    "audit",
    "forecast",
    "plots",
    "panel",
    "widgets.parts",
    "widgets.worker",
    "widgets.scrubber",
    "widgets.prediction",
    "widgets.quiz",
    "widgets.explorer",
    "widgets.playground",
    "widgets",
    "board",
    "exercises.checking",
    "exercises.lesson_05_runs",
    *(f"exercises.lesson_{number:02}" for number in range(6)),
    "exercises",
    "check",
    "__main__",
]


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


def imports(module):
    """The modules of the package that a module imports, wherever in it the import stands."""
    path = ROOT / "slmlab" / f"{module.replace('.', '/')}.py"
    tree = ast.parse(
        (path if path.exists() else path.with_suffix("") / "__init__.py").read_text("utf-8")
    )
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}.py has a relative import"
            names = [node.module] if node.module != "slmlab" else [a.name for a in node.names]
            prefix = "" if node.module != "slmlab" else "slmlab."
            found |= {prefix + name for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("slmlab.") for name in found if name.startswith("slmlab.")}


@pytest.mark.parametrize("module", FLOORS)
def test_a_module_imports_only_from_below(module):
    assert imports(module) <= set(FLOORS[: FLOORS.index(module)])


def test_every_module_has_its_floor():
    folder = ROOT / "slmlab"
    paths = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py")]
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    assert names == {*FLOORS, "__init__"}


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
