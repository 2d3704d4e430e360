"""The 31 scripts of the corpus really run, each alone, and all of them one after the other.

So do the held-out and the final scripts, beside the corpus's modules.
"""

import os
import shutil
import subprocess
import sys

import pytest

from slmlab.text.files import data_path

pytestmark = pytest.mark.slow

pytest.importorskip("chromadb", reason="the scripts need the `rag` extra: pip install -e .[rag]")
pytest.importorskip("pypdf", reason="the scripts need the `rag` extra: pip install -e .[rag]")

SCRIPTS = sorted(path.name for path in data_path("corpus").glob("*.py"))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(data_path("corpus"), tmp_path / "corpus")


# Runs the scripts named on the command line in one process, where chromadb loads only once.
ONE_BY_ONE = """
import runpy, sys
from pathlib import Path
own = {path.stem for path in Path().glob("*.py")}
for script in sys.argv[1:]:
    print("#", script, file=sys.stderr, flush=True)
    runpy.run_path(script, run_name="__main__")
    for name in own & set(sys.modules):
        del sys.modules[name]
"""


def run(folder, *arguments):
    environment = os.environ | {"ANONYMIZED_TELEMETRY": "False", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_there_are_31_scripts():
    assert len(SCRIPTS) == 31


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_runs_alone_in_a_fresh_copy(script, folder, tmp_path):
    result = run(folder, script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip(), f"{script} printed nothing\n{result.stderr}"
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_all_scripts_run_in_name_order_in_one_copy(folder):
    result = run(folder, "-c", ONE_BY_ONE, *SCRIPTS)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("exam", ["held_out", "final"])
def test_the_scripts_of_an_exam_run_beside_the_modules_of_the_corpus(exam, folder):
    scripts = sorted(path.name for path in data_path(exam).glob("*.py"))
    for script in scripts:
        shutil.copy(data_path(exam, script), folder)
    result = run(folder, "-c", ONE_BY_ONE, *scripts)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") > 20
