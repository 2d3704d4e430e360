"""The README's example runs as it stands."""

import re
from pathlib import Path

import pytest

import slmlab as lab

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_the_first_example_runs(capsys, monkeypatch, tmp_path):
    text = README.read_text(encoding="utf-8")
    [example, *_] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert "import slmlab as lab" in example
    assert "lab.PHASES[" in example
    assert "lab.report(" in example
    monkeypatch.chdir(tmp_path)
    shorter = re.sub(r"seconds=\d+", "seconds=3", example)
    exec(compile(shorter, README.name, "exec"), {})
    assert "gap (validation − training)" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("phase", lab.PHASES, ids=lambda phase: phase.title)
def test_counting_beats_each_recorded_run_of_the_table(phase):
    run = phase.recorded()
    data = run.dataset
    counts = lab.NGram(lab.NGramConfig(data.tokenizer.n_vocab), data.train)
    assert lab.mean_loss(counts, data.val) < run.last.val_loss


def test_the_tree_names_every_file_of_the_package():
    tree = re.search(r"## What is where\n\n```\n(.*?)```", README.read_text("utf-8"), re.DOTALL)[1]
    named = set(re.findall(r"\w+\.py", tree))
    package = README.parent / "slmlab"
    there = {path.relative_to(package) for path in package.rglob("*.py")}
    topics = {"experiments", "plots", "widgets", "exercises"}  # named as a whole: a file a topic
    alone = {path.name for path in there if not topics & set(path.parts)} - {"__init__.py"}
    assert alone <= named
    assert named <= {path.name for path in there}
    assert all(f"{topic}/" in tree for topic in topics)
