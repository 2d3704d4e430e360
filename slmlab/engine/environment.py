"""What a run's numbers depend on besides its settings."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


def environment() -> dict[str, Any]:
    """Versions, threads and processor: what a run's numbers depend on."""
    packages = ("slmlab", "torch", "tiktoken", "numpy")
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # on the path without being installed
        return "not installed"


def _processor() -> str:
    try:  # Linux: the only place that names the model
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor()
