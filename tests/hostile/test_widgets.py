"""Panels and reports given what they cannot show: one sentence, and nothing read as HTML."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import slmlab as lab
from slmlab.show.widgets import guesses
from slmlab.show.widgets.looks import Looks
from slmlab.text.files import sha256

TAG = "<img src=x onerror=alert(1)>"
NO_RUNS = [None, "phase-1", 5, math.nan, b"run", [], {}, object(), lab.Run, lab.PHASES]
NO_TEXTS = [None, 5, math.nan, b"text", [], {}, object(), "\ud800", "half \udfff"]
HUGE = "9" * 400


def shown_id(value):
    """A case's name, the same in every process: without the addresses that repr tells."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch):
    monkeypatch.setattr(guesses, "SESSION", {})


def sentence_of(caught):
    """The message of an error, which is one sentence that fits into a few lines."""
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 400, said
    return said


def refused(call):
    with pytest.raises((ValueError, lab.DataError)) as caught:
        call()
    assert type(caught.value) in (ValueError, lab.DataError)
    return sentence_of(caught)


@pytest.mark.parametrize("run", NO_RUNS, ids=shown_id)
@pytest.mark.parametrize(
    "show",
    [
        lab.Scrubber,
        lab.NextTokenExplorer,
        lab.DecodingBench,
        lab.report,
        lab.loss_curves,
        lambda run: lab.PredictionCard("title").reveal(run),
        lambda run: lab.plots.compared([run]),
        lambda run: lab.plots.two_exams([run]),
        lambda run: lab.plots.exam_curves({"name": [run]}),
        lambda run: lab.plots.stopping_points([run], 2),
    ],
)
def test_what_is_no_run(show, run):
    assert "must be a Run, such as what lab.train(…) returns" in refused(lambda: show(run))


@pytest.mark.parametrize("value", NO_TEXTS, ids=shown_id)
def test_what_is_no_text(finished, value):
    if value is not None:  # the scrubber then takes the run's first prompt
        refused(lambda: lab.Scrubber(finished, prompt=value))
    refused(lambda: lab.NextTokenExplorer(finished, value))
    refused(lambda: lab.DecodingBench(finished, value))
    refused(lambda: lab.RouteExplorer(finished.model, finished.dataset.tokenizer, value))
    refused(lambda: lab.PredictionCard(value))
    assert lab.predictions().empty


@pytest.mark.parametrize(
    "lesson", [*NO_TEXTS, 0, True, "", "0", "x" * 10_000, "../quiz/00", "00\0"]
)
def test_what_is_no_lesson(lesson):
    assert "There is no quiz for lesson" in refused(lambda: lab.Quiz(lesson))


@pytest.mark.parametrize("value", [None, "1", True, math.nan, math.inf, 10**400, [1], object()])
@pytest.mark.parametrize("name", ["gap", "steps", "best_step"])
def test_what_is_no_number_on_a_card(name, value):
    if value is None and name != "gap":
        return  # not asked
    options = {"steps": 100} if name == "best_step" else {}
    said = refused(lambda: lab.PredictionCard("title", **options | {name: value}))
    assert said.startswith(f"{name} is ")
    assert lab.predictions().empty


@pytest.mark.parametrize("patience", [None, "2", True, 0, math.nan, 2.5])
def test_what_is_no_patience(finished, patience):
    said = refused(lambda: lab.plots.stopping_points([finished], patience))
    assert said.startswith("patience is ")


SETUPS = {
    "begins with a phase": [None, 5, [], b"phase-2", True, "", " ", "\0", "phase-9", "x" * 10_000],
    "is no setting": ["phase-2 " + "x" * 10_000, "phase-2 =", "phase-2 <b>", "phase-2 \ud800"],
    "n_embd": [
        "phase-2 n_embd=99999999999999",
        "phase-2 n_embd=99999999999996",
        f"phase-2 n_embd={HUGE}",
        "phase-2 n_embd=1e3",
        "phase-2 n_embd=",
        "phase-2 n_embd=-4",
    ],
    "parameters": ["phase-2 n_embd=400000"],
    "n_layer": ["phase-2 n_layer=1000000", f"phase-2 n_layer={HUGE}"],
    "block_size": ["phase-2 block_size=99999999", f"phase-2 block_size={HUGE}"],
    "n_head": [f"phase-2 n_head={HUGE}", "phase-2 n_head=0"],
    "n_tokens": ["phase-2 n_tokens=900000"],
    "max_steps": [
        "phase-2 max_steps=1e999",
        f"phase-2 max_steps={HUGE}",
        "phase-2 max_steps=" + "9" * 5000,
        "phase-2 max_steps=0",
        "phase-2 max_steps=None",
        "phase-2 max_steps=5 seconds=5",
    ],
    "seconds": ["phase-2 seconds=1e999", "phase-2 seconds=1e308", "phase-2 seconds=nan"],
    "learning_rate": ["phase-2 learning_rate=1e999", "phase-2 learning_rate=nan"],
    "batch_size": [f"phase-2 batch_size={HUGE}", "phase-2 batch_size=0"],
    "eval_interval": [f"phase-2 eval_interval={HUGE}"],
    "patience": [f"phase-2 patience={HUGE}"],
    "warmup_steps": [f"phase-2 warmup_steps={HUGE}"],
    "seed": ["phase-2 seed=-1", f"phase-2 seed={HUGE}"],
    "vocabulary": ["phase-2 vocabulary=<b>", f"phase-2 vocabulary=bpe-{HUGE}"],
    "dropout": ["phase-2 dropout=1", "phase-2 dropout=nan"],
    "validation": ["phase-2 validation=none"],
    "cosine": ["phase-2 cosine=perhaps"],
}
WRONG_SETUPS = [(word, state) for word, states in SETUPS.items() for state in states]
TOO_LARGE = [
    "phase-2 batch_size=1000000",
    "phase-2 block_size=256 n_tokens=200",
    "phase-2 n_embd=8192 batch_size=1024",
    "phase-2 device=" + "x" * 10_000,
    "phase-2 device=meta",
    "phase-2 device=../../run",
]


@pytest.mark.parametrize(("word", "state"), WRONG_SETUPS)
def test_a_string_that_is_no_set_up(word, state, tmp_path):
    said = refused(lambda: lab.Playground(state, tmp_path))
    assert word.split()[-1] in said


def test_a_pasted_string_that_is_no_set_up_leaves_the_panel_as_it_is(tmp_path):
    panel = lab.Playground("phase-1 seed=3", tmp_path)
    for _, state in WRONG_SETUPS:
        if isinstance(state, str):
            panel.state.value = state
            assert "This is no set-up: " in panel.readout.value
            assert panel.train.disabled
            assert str(panel.setup) == "phase-1 seed=3"
    panel.state.value = "phase-1 seed=4"
    assert not panel.train.disabled


@pytest.mark.parametrize("state", TOO_LARGE)
def test_a_set_up_that_cannot_be_trained_here_is_not_begun(state, tmp_path, monkeypatch):
    built, free = [], SimpleNamespace(available=8e9)
    lab.Playground("phase-1", tmp_path)  # measures the machine, once
    monkeypatch.setattr("slmlab.study.setups.Setup.model", lambda *_: built.append(1))
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    panel = lab.Playground(state, tmp_path)
    assert panel.train.disabled
    assert "<b>!</b>" in panel.readout.value
    assert len(re.sub("<[^>]+>", "", panel.readout.value)) < 1500
    assert not built


@pytest.mark.parametrize(
    "folder",
    [None, 5, "", "  ", "a\0b", [], object(), "\ud800", "x" * 10_000, "a\nb"],
    ids=shown_id,
)
def test_what_is_no_folder(folder):
    assert "path" in refused(lambda: lab.Playground("phase-1", folder))


def a_file(path):
    path.write_text("not a folder")


def below_a_file(path):
    path.parent.rmdir()
    path.parent.write_text("not a folder")


@pytest.mark.parametrize(
    "make", [a_file, os.mkfifo, below_a_file, lambda path: path.symlink_to(path)]
)
def test_a_folder_that_is_none_costs_no_training(make, tmp_path):
    folder = tmp_path / "folder" / "runs"
    folder.parent.mkdir()
    make(folder)
    panel = lab.Playground("phase-1 max_steps=1", folder)
    panel.train.click()
    panel.wait(120)
    assert "Done: 1 step in" in panel.status.value
    assert "could not be saved" in panel.status.value
    panel.comparison.pin.click()  # still in memory
    assert panel.comparison.table.value.count("<tr>") == 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The files of a run of the corpus, kept without weights."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    run = lab.Setup.parse("phase-1 max_steps=2").train(progress=False)
    run.save(folder, keep="history")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def signed(contents):
    """The files with hashes that fit: whoever forges a run signs it as well."""
    contents = {name: content for name, content in contents.items() if name != "SHA256SUMS"}
    sums = "".join(f"{sha256(content)}  {name}\n" for name, content in contents.items())
    return contents | {"SHA256SUMS": sums.encode()}


def changed(**changes):
    """A forgery: other values in run.json."""

    def forge(saved):
        summary = json.loads(saved["run.json"])
        return signed(saved | {"run.json": json.dumps(summary | changes).encode()})

    return forge


def without_rows(saved):
    [header, *_] = saved["history.csv"].splitlines(keepends=True)
    return signed(saved | {"history.csv": header})


def without_losses(saved):
    lines = saved["history.csv"].decode().splitlines()
    empty = ",".join("" for _ in lines[0].split(","))
    return signed(saved | {"history.csv": f"{lines[0]}\n{empty}\n".encode()})


FOREIGN = {
    "nothing but a summary": lambda saved: {"run.json": b"{}"},
    "empty": lambda saved: {"run.json": b"", "SHA256SUMS": b""},
    "half": lambda saved: {name: saved[name] for name in ("run.json", "SHA256SUMS")},
    "altered": lambda saved: saved | {"history.csv": b"step\n1\n"},
    "another JSON": lambda saved: signed({"run.json": b"[1, 2]"}),
    "deep JSON": lambda saved: signed(saved | {"run.json": b"[" * 100_000}),
    "no history": without_rows,
    "no losses": without_losses,
    "name is a number": changed(name=5),
    "name is a list": changed(name=[TAG]),
    "no model": changed(model={}),
    "too large": changed(model={"n_layer": 10**9}),
    "no format": changed(format="new"),
    "unknown end": changed(status=TAG),
    "best loss is text": changed(best_val_loss="low"),
    "best step is text": changed(best_step="first"),
}


@pytest.mark.parametrize("forge", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_run_in_the_folder_is_listed_and_told_about(forge, saved, tmp_path):
    (tmp_path / "run").mkdir()
    for name, content in forge(saved).items():
        (tmp_path / "run" / name).write_bytes(content)
    panel = lab.Playground("phase-1", tmp_path)
    assert panel.comparison.choice.options == ("kept: run",)
    panel.comparison.pin.click()
    told = "This run cannot be compared: " in panel.comparison.table.value
    shown = panel.comparison.table.value.count("<tr>") == 2
    assert told or shown
    assert "<img" not in panel.comparison.table.value
    panel.comparison.unpin.click()
    assert panel.comparison.table.value == "Nothing is pinned yet."


def test_strange_things_in_the_folder_are_passed_over(saved, tmp_path):
    (tmp_path / "file").write_text("run.json")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a folder as run.json" / "run.json").mkdir(parents=True)
    (tmp_path / "a pipe").mkdir()
    os.mkfifo(tmp_path / "a pipe" / "run.json")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for odd in (b"a\nb", b"\xff"):  # on two lines, and no UTF-8
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + odd))
        folder.mkdir()
        for name, content in saved.items():
            (folder / name).write_bytes(content)
    panel = lab.Playground("phase-1", tmp_path)
    assert panel.comparison.choice.options == ("kept: \ufffd", "kept: a\ufffdb")
    panel.comparison.pin.click()
    assert panel.comparison.table.value.count("<tr>") == 2
    panel.comparison.choice.value = "kept: a\ufffdb"
    panel.comparison.pin.click()
    assert "is no path" in panel.comparison.table.value


def test_what_killed_saves_have_left_is_no_run_of_its_own(saved, tmp_path):
    for name in ("a", ".a.old", ".a.new", ".b.old", ".c.new", "...old"):
        (tmp_path / name).mkdir()
        for file, content in saved.items():
            (tmp_path / name / file).write_bytes(content)
    panel = lab.Playground("phase-1", tmp_path)
    assert panel.comparison.choice.options == ("kept: b", "kept: a", "kept: ...old")
    panel.comparison.choice.value = "kept: b"  # its old files are its run, until the next save
    panel.comparison.pin.click()
    assert panel.comparison.table.value.count("<tr>") == 2


# Nothing in a run is read as HTML


@pytest.fixture
def tagged(finished):
    """A run whose name, prompts and texts are HTML."""
    samples = [
        {"step": step, "prompt": TAG, "text": f"{TAG} wrote {TAG}", "ids": [1, 2, 3]}
        for step in (0, 20, 60)
    ]
    return replace(finished, name=TAG, prompts=(TAG,), samples=samples)


def pages(panel):
    """All HTML of a panel: the page without a kernel, and every HTML widget."""
    found = [panel.static()]
    boxes = [panel.box]
    for widget in boxes:
        boxes += getattr(widget, "children", ())
        if type(widget).__name__ == "HTML":
            found.append(widget.value)
    return found


def escaped(page):
    assert "<img" not in page
    return "&lt;img src=x onerror=alert(1)&gt;" in page


def test_a_scrubber_escapes(tagged):
    found = [escaped(page) for page in pages(lab.Scrubber(tagged))]
    assert found[0] and any(found[1:])


def test_an_explorer_escapes(tagged):
    explorer = lab.NextTokenExplorer(tagged, TAG)
    explorer.ten.click()
    found = [escaped(page) for page in pages(explorer)]
    assert found[0] and any(found[1:])
    explorer.prompt.value = ""
    explorer.prompt.value = f"{TAG}\ud800"
    for page in pages(explorer):
        escaped(page)


def test_a_card_escapes(tagged, shown):
    card = lab.PredictionCard(TAG, steps=60)
    found = [escaped(page) for page in pages(card)]
    card.lock_button.click()
    card.reveal(tagged)._ipython_display_()
    assert found[0] and any(found[1:])
    assert escaped(shown[-1]["text/html"])
    for page in pages(card):
        escaped(page)


def test_a_report_escapes(tagged, shown):
    lab.report(tagged)._ipython_display_()
    assert escaped(shown[-1].data)


def test_a_playground_escapes(tagged, tmp_path):
    tmp_path = tmp_path / TAG.replace(" ", "_")
    tmp_path.mkdir()
    asked = {"prompt": lab.PROMPTS[0], "text": f"{lab.PROMPTS[0]} {TAG}"}
    samples = [sample | asked for sample in tagged.samples]
    tested = tagged.dataset.with_test("import chromadb")
    tagged = replace(tagged, samples=samples, prompts=lab.PROMPTS[:1], dataset=tested)
    tagged.save(tmp_path / "run", keep="best")
    panel = lab.Playground("phase-1", tmp_path)
    panel.comparison.pin.click()
    assert escaped(panel.comparison.table.value)
    looks = [replace(look, test_loss=look.val_loss) for look in tagged.state.history]
    panel.run = replace(tagged, state=replace(tagged.state, history=looks))
    panel._draw(panel.run, Looks())
    assert escaped(panel.sample.value)
    panel.on_end(None, TAG, None)
    assert escaped(panel.status.value)
    panel.state.value = f"phase-1 {TAG}"
    assert "<img" not in panel.readout.value and "&lt;img" in panel.readout.value
    for page in pages(panel):
        escaped(page)
