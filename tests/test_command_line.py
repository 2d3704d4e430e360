"""The command line: each command does its work, and bad input gets one sentence."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import slmlab as lab
from slmlab.__main__ import DECODING, main
from slmlab.text.files import data_path

pytestmark = pytest.mark.slow


def slmlab(*arguments, folder=None, **variables):
    """Run `python -m slmlab …` as a reader would."""
    package = folder or Path(lab.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(package), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-m", "slmlab", *map(str, arguments)],
        cwd=package,
        env=environment | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


@pytest.fixture
def saved(finished, tmp_path):
    return finished.save(tmp_path / "run")


def test_check_prints_a_line_for_each_check():
    result = slmlab("check")
    lines = result.stdout.splitlines()
    assert len(lines) == 7
    assert all(line.startswith(("OK   ", "FAIL ")) for line in lines)
    assert result.returncode == any(line.startswith("FAIL") for line in lines)
    assert result.stderr == ""


def test_phases_prints_the_table(capsys):
    assert main(["phases"]) == 0
    table = capsys.readouterr().out
    for line, phase in zip(table.splitlines()[1:], lab.PHASES, strict=False):
        assert phase.name in line
        assert str(phase.setup.data.n_tokens) in line.split()
    assert "-0.17" in table  # signed, unlike the published 0.17


def test_run_trains_prints_the_panel_and_saves(tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--vocabulary", "right-sized", "--seconds", "1", "--seed", "5", "--out", str(out)]
    assert main(["run", "1", *options]) == 0
    printed = capsys.readouterr().out
    assert "phase-1-right-sized-seed-5" in printed
    assert "gap (validation − training)" in printed
    assert f"Saved to {out}" in printed
    run = lab.Run.load(out)
    assert run.state.status == "finished"
    assert run.config.seed == 5
    assert run.state.optimizer is not None


def test_run_keeps_a_record_with_samples_of_every_evaluation(tmp_path):
    out = tmp_path / "run"
    options = ["--vocabulary", "right-sized", "--seconds", "0.5", "--out", str(out)]
    assert main(["run", "1", *options, "--keep", "history", "--sample-each-evaluation"]) == 0
    assert not (out / "best.safetensors").exists()
    run = lab.Run.load(out)
    steps = {sample["step"] for sample in run.samples}
    assert steps == set(run.history["step"])


def test_recommend_prints_a_command_that_trains(tmp_path, capsys, corpus):
    text = tmp_path / "my text.py"
    text.write_text(corpus.text[:3_000])
    assert main(["recommend", str(text)]) == 0
    printed = capsys.readouterr().out
    for part in ("bpe-300", "Choice:", "Reasons:", "Forecast:", "number to beat", "Set-up:"):
        assert part in printed
    command = shlex.split(printed.splitlines()[-1])
    assert command[:4] == ["python", "-m", "slmlab", "run"]
    assert command[-2:] == ["--text", str(text)]
    assert main([*command[3:], "--seconds", "0.5", "--out", str(tmp_path / "run")]) == 0
    run = lab.Run.load(tmp_path / "run")
    assert run.dataset.source["kind"] == "own text"
    assert run.dataset.tokenizer.n_vocab == run.model.config.vocab_size
    assert set(run.prompts) != set(lab.PROMPTS)


def test_sample_continues_a_prompt(saved, capsys):
    assert main(["sample", str(saved), "The old", "--tokens", "8"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("The old")
    assert len(text.strip()) > len("The old")
    assert main(["sample", str(saved), "The old", "--tokens", "8"]) == 0
    assert capsys.readouterr().out == text


def test_sample_with_temperature_zero_is_greedy(saved, finished, capsys):
    assert main(["sample", str(saved), "The old", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == finished.sample("The old", 30, temperature=0) + "\n"


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--top-k", "3", "--seed", "5"], {"top_k": 3, "seed": 5}),
        (["--top-p", "0.5"], {"top_p": 0.5}),
        (["--min-p", "0.2", "--typical-p", "0.9"], {"min_p": 0.2, "typical_p": 0.9}),
        (["--repetition-penalty", "1.5"], {"repetition_penalty": 1.5}),
        (
            ["--presence-penalty", "1", "--frequency-penalty", "-0.5"],
            {"presence_penalty": 1, "frequency_penalty": -0.5},
        ),
        (["--no-repeat-ngram", "2"], {"no_repeat_ngram": 2}),
        (
            ["--beams", "3", "--length-normalisation", "0", "--stop", ".", "--stop", "e"],
            {"beams": 3, "length_normalisation": 0, "stop": [".", "e"]},
        ),
        (["--contrast", "0.6", "--top-k", "4"], {"contrast": 0.6, "top_k": 4}),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
def test_sample_takes_every_decoder(saved, finished, capsys, arguments, changes):
    assert main(["sample", str(saved), "The old", *arguments]) == 0
    assert capsys.readouterr().out == finished.sample("The old", 30, **changes) + "\n"


def test_the_options_of_sample_are_those_of_a_decoding():
    assert {*DECODING, "python"} == {field.name for field in fields(lab.Decoding)}


def one_sentence(text):
    return text.count("\n") == 1 and "Traceback" not in text and text.rstrip().endswith(".")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (
            ["run", "1", "--seconds", "-1"],
            "seconds is -1.0; it must be a number above 0 and at most 1,000,000,000.",
        ),
        (["run", "1", "--seconds", "0"], "seconds is 0.0"),
        (["run", "1", "--seconds", "nan"], "seconds is nan"),
        (["recommend", "nowhere"], "There is no file or folder nowhere"),
        (["recommend", "RUN/best.safetensors"], "There is no text in"),
        (["run", "phase-2", "--text", "nowhere"], "There is no file or folder nowhere"),
        (["run", "7"], "'7' does not begin with a phase"),
        (["run", "one"], "'one' does not begin with a phase"),
        (["run", "1", "--vocabulary", "words"], "vocabulary is 'words'"),
        (["run", "1", "--seed", "-1"], "seed is -1"),
        (["sample", "nowhere", "hello"], "There is no run in nowhere"),
        (["sample", "RUN", ""], "at least one character to continue"),
        (["sample", "RUN", "hello", "--tokens", "0"], "--tokens is 0; it must be"),
        (["sample", "RUN", "hello", "--tokens", "-5"], "--tokens is -5; it must be"),
        (["sample", "RUN", "hello", "--temperature", "-1"], "temperature is -1.0"),
        (["sample", "RUN", "hello", "--beams", "0"], "beams is 0"),
        (["sample", "RUN", "hello", "--beams", "2", "--contrast", "1"], "set only one of them"),
        (["sample", "RUN", "hello", "--length-normalisation", "0"], "set beams too"),
        (["sample", "RUN", "hello", "--presence-penalty=-1e309"], "presence_penalty is -inf"),
        (["sample", "RUN", "two words", "--python"], "Python"),
        (["sample", "RUN/run.json", "hello"], "a saved run is a folder"),
    ],
)
def test_bad_input_gets_one_sentence(saved, capsys, arguments, part):
    assert main([argument.replace("RUN", str(saved)) for argument in arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert part in output.err
    assert one_sentence(output.err)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["run"],
        ["run", "1", "--keep", "nothing"],
        ["sample"],
    ],
    ids=" ".join,
)
def test_unknown_arguments_show_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m slmlab" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value", [["--presence-penalty", "-1e308"], ["--frequency-penalty", "-inf"], ["--stop", "-x"]]
)
def test_a_value_that_looks_like_an_option_is_told_how_to_be_given(capsys, value):
    with pytest.raises(SystemExit) as stop:
        main(["sample", "RUN", "hello", *value])
    assert stop.value.code == 2
    assert 'write it as --option=value, as you must if the value begins with "-"' in (
        capsys.readouterr().err
    )


def test_a_damaged_run_gets_one_sentence_and_no_traceback(saved):
    (saved / "best.safetensors").write_bytes(b"")
    result = slmlab("sample", saved, "hello")
    assert result.returncode == 1
    assert "best.safetensors has changed since the run was saved" in result.stderr
    assert one_sentence(result.stderr)


def test_a_place_where_nothing_can_be_saved_is_told_in_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "run")
    options = ["--vocabulary", "right-sized", "--seconds", "0.2", "--out", out]
    assert main(["run", "1", *options]) == 1
    assert "No run can be saved" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_without_weights_writes_nothing(tmp_path, capsys):
    data = lab.corpus_dataset(1000, "right-sized")
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 16, 1, 2, 8))
    run = lab.train(model, data, lab.TrainConfig(4, 1e-2, max_steps=2), progress=False)
    folder = run.save(tmp_path / "run", keep="history")
    assert main(["sample", str(folder), "import"]) == 1
    assert "weights" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["tokenizer/r50k_base.tiktoken", "published/phases.json"])
@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_a_damaged_data_file_gets_one_sentence(tmp_path, file, harm):
    shutil.copytree(Path(lab.__file__).parent, tmp_path / "slmlab", dirs_exist_ok=True)
    shutil.copytree(data_path(), tmp_path / "slmlab" / "data", dirs_exist_ok=True)
    damaged = tmp_path / "slmlab" / "data" / file
    content = damaged.read_bytes()
    damaged.unlink()
    if harm == "truncated":
        damaged.write_bytes(content[: len(content) // 2])
    result = slmlab("run", "1", "--seconds", "1", "--vocabulary", "right-sized", folder=tmp_path)
    assert result.returncode == 1
    assert damaged.name in result.stderr
    assert one_sentence(result.stderr), result.stderr


def test_run_takes_any_set_up(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", "phase-1 n_layer=1 max_steps=3", "--seed", "2", "--out", str(out)]) == 0
    run = lab.Run.load(out)
    assert str(run.name) == "phase-1 n_layer=1 max_steps=3 seed=2"
    assert (run.model.config.n_layer, run.state.step, run.config.seed) == (1, 3, 2)
    assert run.history["test_loss"].notna().all()
    assert main(["run", "phase-1 layers=1"]) == 1
    assert "layers" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["file", "file/run", "essay"])
def test_a_place_that_cannot_be_written_is_told_before_training(tmp_path, where, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "essay").mkdir()
    (tmp_path / "essay" / "text.txt").write_text("mine")
    monkeypatch.setattr(lab.Setup, "train", lambda *_, **__: pytest.fail("it trained"))
    assert main(["run", "1", "--out", str(tmp_path / where)]) == 1


def test_a_run_that_cannot_be_saved_as_asked_is_saved_elsewhere(tmp_path, monkeypatch, capsys):
    asked, save = tmp_path / "asked", lab.Run.save

    def full(run, folder, keep, **_):
        if Path(folder) == asked:
            raise lab.DataError("No space left.")
        return save(run, folder, keep)

    monkeypatch.setattr(lab.Run, "save", full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert main(["run", "phase-1 max_steps=2", "--out", str(asked)]) == 1  # it is not there
    told = capsys.readouterr()
    [rescued] = tmp_path.glob("slmlab-*/run")
    assert str(rescued) in told.err and f"Saved to {rescued}" in told.out
    assert lab.Run.load(rescued).state.step == 2


POOR = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.skipif(os.name != "posix", reason="the locale of a POSIX system")
def test_a_prompt_in_a_terminal_that_is_said_to_know_ascii_only(saved):
    result = subprocess.run(
        [sys.executable, "-m", "slmlab", "sample", str(saved), "é"],
        env=os.environ | POOR,
        capture_output=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_terminal_without_the_minus_sign_gets_the_report_and_the_run(tmp_path, encoding):
    out = tmp_path / "run"
    result = subprocess.run(
        [sys.executable, "-m", "slmlab", "run", "phase-1 max_steps=2", "--out", str(out)],
        env=os.environ | POOR | {"PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert b"gap (validation" in result.stdout
    assert lab.Run.load(out).state.step == 2


@pytest.mark.skipif(os.name != "posix", reason="redirections of a POSIX shell")
@pytest.mark.parametrize("redirection", ["| true", ">&-", "2>&-", ">&- 2>&-", "2>&1 | true"])
def test_output_that_nobody_reads_costs_no_run(tmp_path, redirection):
    out = tmp_path / "run"
    command = f"{sys.executable} -m slmlab run 'phase-1 max_steps=2' --out {out} {redirection}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=300)
    assert b"Traceback" not in result.stderr
    assert lab.Run.load(out).state.step == 2
