"""One name for each thing: those that lost appear nowhere, the glossary has those that won."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "notebooks" / "glossary.md"
# The name that lost, and the one to use.
LOST = {
    r"own exam": "validation text",
    r"recital share": "copied",
    r"domain hits?": "domain names",
    r"names of the domain": "domain names",
    r"baseline model": "5-gram, the number to beat",
    r"contamination": "overlap",
}
# A column or a line of a legend is read without the sentence around it.
LABELS = LOST | {
    r"exams?": "validation text, held-out scripts or final scripts",
    r"test_loss": "held-out loss",
    r"val_loss": "validation loss",
    r"names": "domain names",
}
# What keeps a name that lost, and why.
KEPT = {
    "notebooks/glossary.md": {"contamination": "the field's term, said once"},
    "notebooks/02_phase_2_breakthrough.ipynb": {"contamination": "the field's term, said once"},
    "notebooks/05_the_verdict.ipynb": {"val_loss": "the published curve, as it was published"},
    # Learners' answers carry these names, in files that they have already.
    "solutions/02_phase_2_breakthrough.ipynb": {"contamination": "the function that they write"},
    "solutions/03_phase_3_domain_expert.ipynb": {"contamination": "that function again"},
    "slmlab/exercises/lesson_02.py": {"contamination": "the check of that function"},
    "slmlab/exercises/lesson_05.py": {"own exam": "of a mistake, where it is the point"},
}
PAGES = [
    *(path for folder in ("notebooks", "solutions") for path in (ROOT / folder).glob("*.ipynb")),
    *(ROOT / f"{name}.md" for name in ("README", "CLASSROOM", "CONTRIBUTING", "ARCHITECTURE")),
    *(ROOT / "data").glob("*/README.md"),
    *(ROOT / "data" / "quiz").glob("*.json"),
    *(ROOT / "slmlab").rglob("*.py"),
    GLOSSARY,
]


def name(path):
    return path.relative_to(ROOT).as_posix()


def cells(path):
    return nbformat.read(path, as_version=4).cells


def text(path):
    if path.suffix == ".ipynb":
        return "\n\n".join(cell.source for cell in cells(path))
    return path.read_text(encoding="utf-8")


def shown(path):
    """What a notebook's stored outputs say, without their pictures."""
    if path.suffix != ".ipynb":
        return ""
    outputs = [output for cell in cells(path) for output in cell.get("outputs", [])]
    said = [o.get("text", "") + o.get("data", {}).get("text/html", "") for o in outputs]
    return re.sub(r"base64,[\w+/=]*", "", "\n".join(said))


def used(words):
    """The names that lost and are used, with the name to use."""
    return {loser: use for loser, use in LOST.items() if re.search(rf"(?i)\b{loser}\b", words)}


@pytest.mark.parametrize("path", sorted(set(PAGES)), ids=name)
def test_no_name_that_lost_is_used(path):
    kept = KEPT.get(name(path), {})
    assert {loser: use for loser, use in used(text(path)).items() if loser not in kept} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=name)
def test_no_column_has_a_name_that_lost(path):
    kept = KEPT.get(name(path), {})
    tables = [
        output.data["text/html"]
        for cell in cells(path)
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    heads = {head for table in tables for head in re.findall(r"<th[^>]*>([^<]*)</th>", table)}
    wrong = {
        head: use
        for head in heads
        for loser, use in LABELS.items()
        if re.fullmatch(loser, head) and loser not in kept
    }
    assert wrong == {}


@pytest.mark.parametrize("path", sorted(set(PAGES)), ids=name)
def test_percentages_have_one_style(path):
    """97%, without a space, in what is written and in what a notebook shows."""
    words = text(path) + shown(path)
    assert re.findall(r".{,20}[\d}]\s%", words) == []


def test_the_glossary_has_the_names_that_won():
    terms = set(re.findall(r"^### (.*)$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE))
    assert {
        *("token", "context", "position", "learning rate", "seed", "dropout", "weight decay"),
        *("AdamW", "label smoothing", "softmax", "top-k", "top-p", "causal mask", "labels"),
        *("interval", "overlap", "copied", "domain names", "bits per byte", "nats", "gap", "band"),
        *("validation text", "held-out scripts", "final scripts", "5-gram", "the number to beat"),
        *("epoch", "step", "right-sized vocabulary", "recorded run", "out of time", "GPT-2"),
        *("overfitting", "generalise", "weights", "leak", "look", "corpus", "optimiser"),
    } <= terms


def test_every_term_is_explained_in_a_sentence_or_two():
    entries = re.split(r"^##+ ", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for entry in entries:
        term, _, words = entry.partition("\n")
        assert len(words.split()) < 60, term
