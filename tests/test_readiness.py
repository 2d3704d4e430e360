"""`python -m slmlab check`: OK where all is well, else FAIL and what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import slmlab as lab
from slmlab import readiness
from slmlab.__main__ import main
from slmlab.text.files import DataError, data_path, read_published

NAMES = ["Python", "torch", "threads", "memory", "tokenizer file", "corpus", "published results"]


@pytest.fixture(autouse=True)
def a_good_computer(monkeypatch):
    have(monkeypatch, gigabytes=8, threads=2, cores=4)


def have(monkeypatch, gigabytes=8.0, threads=2, cores=4):
    memory = SimpleNamespace(available=gigabytes * 1e9)
    monkeypatch.setattr("slmlab.readiness.psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr("slmlab.readiness.torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("slmlab.readiness.os.cpu_count", lambda: cores)


def failures():
    return [str(result) for result in readiness.run_checks() if not result.ok]


def test_all_is_well_here(capsys):
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"OK   {name}" for name in NAMES]
    assert "50,257 tokens, hash as expected" in lines[4]
    assert "31 files, hashes as expected" in lines[5]


def test_an_old_python_fails(monkeypatch):
    monkeypatch.setattr("slmlab.readiness.sys.version_info", (3, 9, 1))
    [line] = failures()
    assert line.startswith("FAIL Python: ")
    assert "install Python 3.10 or newer" in line


@pytest.mark.parametrize("version", ["2.3.1", "1.13.1+cu117", "2.3.0a0+git1"])
def test_an_old_torch_fails(monkeypatch, version):
    monkeypatch.setattr("slmlab.readiness.torch.__version__", version)
    [line] = failures()
    assert line.startswith(f"FAIL torch: {version}; run `pip install")


@pytest.mark.parametrize("version", ["2.4.0", "2.13.0+cpu", "3.0.0", "2.14.0a0+git1", "2.4"])
def test_a_new_torch_is_well(monkeypatch, version):
    monkeypatch.setattr("slmlab.readiness.torch.__version__", version)
    assert failures() == []


def test_too_many_threads_fail(monkeypatch):
    have(monkeypatch, threads=16, cores=2)
    [line] = failures()
    assert line.startswith("FAIL threads: 16 for 2 cores; unset OMP_NUM_THREADS")


def test_too_little_memory_fails(monkeypatch):
    have(monkeypatch, gigabytes=0.4)
    [line] = failures()
    assert line.startswith("FAIL memory: 0.4 GB free; close programs")


def test_a_missing_tokenizer_file_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("slmlab.text.tokenizer.data_path", lambda *_: tmp_path / "table")
    [line] = failures()
    assert line.startswith("FAIL tokenizer file: Cannot read")
    assert "restore it with `git checkout" in line
    assert main(["check"]) == 1
    assert "FAIL tokenizer file" in capsys.readouterr().out


def test_an_altered_tokenizer_file_fails(monkeypatch, tmp_path):
    (tmp_path / "table").write_bytes(b"IQ== 0\n")
    monkeypatch.setattr("slmlab.text.tokenizer.data_path", lambda *_: tmp_path / "table")
    [line] = failures()
    assert line.startswith("FAIL tokenizer file: ")
    assert "is not the file this course was made with" in line
    assert "restore it" in line


def test_a_missing_corpus_fails(monkeypatch, tmp_path):
    monkeypatch.setattr("slmlab.text.corpus.data_path", lambda *_: tmp_path / "corpus")
    [line] = failures()
    assert line.startswith("FAIL corpus: There is no corpus in")
    assert "restore it" in line


def test_an_altered_corpus_fails(monkeypatch, tmp_path):
    folder = shutil.copytree(data_path("corpus"), tmp_path / "corpus")
    (folder / "pdf_utils.py").write_text("print('changed')\n")
    monkeypatch.setattr("slmlab.text.corpus.data_path", lambda *_: folder)
    [line] = failures()
    assert line.startswith("FAIL corpus: ")
    assert "pdf_utils.py is not the file" in line


def test_every_failure_is_listed(monkeypatch, tmp_path):
    have(monkeypatch, gigabytes=0.1, threads=9, cores=1)
    monkeypatch.setattr("slmlab.text.corpus.data_path", lambda *_: tmp_path)
    monkeypatch.setattr("slmlab.text.tokenizer.data_path", lambda *_: tmp_path / "table")
    assert [line.split(":")[0] for line in failures()] == [
        "FAIL threads",
        "FAIL memory",
        "FAIL tokenizer file",
        "FAIL corpus",
    ]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"[{}]", b"7", b"[" * 100_000, b"\xff"])
def test_altered_published_results_are_refused(monkeypatch, tmp_path, content):
    (tmp_path / "phases.json").write_bytes(content)
    monkeypatch.setattr("slmlab.text.files.data_path", lambda *parts: tmp_path / parts[-1])
    with pytest.raises(DataError, match=r"phases\.json is not the file .* restore it with"):
        read_published("phases.json")


@pytest.mark.slow
def test_it_runs_where_all_data_is_damaged(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(Path(lab.__file__).parent, tmp_path / "slmlab", ignore=ignored)
    for file in ("tokenizer/r50k_base.tiktoken", "corpus/SHA256SUMS", "published/phases.json"):
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\0" * 1000)
    result = subprocess.run(
        [sys.executable, "-m", "slmlab", "check"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    failed = [line.split(":")[0] for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert failed[-3:] == ["FAIL tokenizer file", "FAIL corpus", "FAIL published results"]
    assert result.returncode == 1
    assert result.stderr == ""
