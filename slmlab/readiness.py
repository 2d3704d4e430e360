"""Is this computer ready for the course? One line per check, each with what to do."""

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from slmlab.study.phases import PHASES
from slmlab.text.corpus import load_corpus
from slmlab.text.files import DataError
from slmlab.text.tokenizer import gpt2_tokenizer

MIN_PYTHON = (3, 10)
MIN_TORCH = (2, 4)
MIN_FREE_GB = 1.2  # Phase 0, the largest, needs about 1


@dataclass(frozen=True)
class Check:
    """The outcome of one check. `detail` is what was found, or what to do."""

    name: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'OK  ' if self.ok else 'FAIL'} {self.name}: {self.detail}"


def run_checks() -> list[Check]:
    """All checks, in the order in which to put things right."""
    return [
        _python(),
        _torch(),
        _threads(),
        _memory(),
        _data("tokenizer file", lambda: f"{gpt2_tokenizer().n_vocab:,} tokens, hash as expected"),
        _data("corpus", lambda: f"{len(load_corpus().documents)} files, hashes as expected"),
        _data("published results", lambda: f"{len(PHASES)} phases, hash as expected"),
    ]


def _python() -> Check:
    ok = sys.version_info >= MIN_PYTHON
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("Python", ok, detail if ok else f"{detail}; install Python 3.10 or newer")


def _torch() -> Check:
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    ok = found >= MIN_TORCH
    detail = torch.__version__
    return Check("torch", ok, detail if ok else f"{detail}; run `pip install 'torch>=2.4'`")


def _threads() -> Check:
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    detail = f"{threads} for {cores} cores"
    if threads > cores:
        return Check("threads", False, f"{detail}; unset OMP_NUM_THREADS and restart Python")
    return Check("threads", True, detail)


def _memory() -> Check:
    free = psutil.virtual_memory().available / 1e9
    ok = free >= MIN_FREE_GB
    detail = f"{free:.1f} GB free"
    return Check(
        "memory", ok, detail if ok else f"{detail}; close programs until {MIN_FREE_GB} GB are free"
    )


def _data(name: str, load: Callable[[], str]) -> Check:
    try:
        return Check(name, True, load())
    except DataError as error:
        return Check(name, False, str(error))
