"""The README's example runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


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
