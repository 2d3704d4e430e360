"""Set up before PyTorch loads: threads, a progress of our own, how notebooks are compared."""

import importlib
import os
import re
import tempfile
from pathlib import Path

os.environ["ANONYMIZED_TELEMETRY"] = "False"  # chromadb must not call home
# What tests guess, answer and solve is not the learner's own.
PROGRESS = tempfile.TemporaryDirectory()
os.environ["SLMLAB_PROGRESS"] = str(Path(PROGRESS.name) / "progress.json")
os.environ["SLMLAB_CHECKS"] = "raise"  # so that a wrong answer fails the test of its notebook
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers share the cores

# How much of the time budget that a notebook gives its training, its SECONDS, a test lets it have.
SHARE = float(os.environ.get("SLMLAB_TEST_SHARE", "1"))

importlib.import_module("slmlab")  # sets its own defaults, which must come before PyTorch


def pytest_configure(config):
    if hasattr(config.option, "nbval_sanitize_with"):
        sanitize = Path(__file__).parent / "tests" / "nbval_sanitize.cfg"
        config.option.nbval_sanitize_with = str(sanitize.resolve())


def pytest_collection_modifyitems(items):
    """Shorten the trainings of notebooks by SHARE; what is stored of them is not compared."""
    for item in items:
        if cell := getattr(item, "cell", None):  # of a notebook
            cell.source = re.sub(r"(?m)^SECONDS = \d+", rf"\g<0> * {SHARE:g}", cell.source)
