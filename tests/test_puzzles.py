"""Puzzles: their files, what they have in common with each other, and whether they are right."""

import importlib.util
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

import slmlab as lab
from slmlab.text import puzzles as texts
from slmlab.text.files import data_path
from slmlab.text.puzzles import SETS, Puzzle

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("puzzles", ROOT / "tools" / "puzzles.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

EVERY = [puzzle for name in SETS for puzzle in lab.load_puzzles(name)]
EQUATION = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")


def kind(puzzle):
    return puzzle.topic.split("/")[0]


def of_kind(name):
    return [puzzle for puzzle in EVERY if kind(puzzle) == name]


@pytest.mark.parametrize(("name", "n"), [("train", 40), ("held_out", 12)])
def test_each_set_has_as_many_of_each_kind_as_it_says(name, n):
    assert Counter(map(kind, lab.load_puzzles(name))) == dict.fromkeys(tool.KINDS, n)


def test_no_puzzle_is_there_twice_or_both_learnt_and_held_out():
    for of in ("topic", "question", "text"):
        assert len({getattr(puzzle, of) for puzzle in EVERY}) == len(EVERY)


def equations(puzzles):
    found = (EQUATION.search(puzzle.answer) for puzzle in puzzles)
    return {(sign, *sorted((a, b))) for a, sign, b, _ in (f.groups() for f in found if f)}


def test_no_reckoning_is_both_learnt_and_held_out():
    train, held_out = (equations(lab.load_puzzles(name)) for name in SETS)
    assert len(train) > 100 and len(held_out) > 50
    assert not train & held_out


def test_every_reckoning_is_right_and_its_result_is_the_answer():
    reckoned = [puzzle for puzzle in EVERY if EQUATION.search(puzzle.answer)]
    assert {kind(puzzle) for puzzle in reckoned} == {
        *("addition", "subtraction", "multiplication", "comparison", "sequence")
    }
    results = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    for puzzle in reckoned:
        a, sign, b, result = EQUATION.search(puzzle.answer).groups()
        assert results[sign](int(a), int(b)) == int(result) > 0, puzzle
        asked = set(re.findall(r"\d+", puzzle.question))
        assert {a} <= asked, puzzle
        if kind(puzzle) == "comparison":
            assert puzzle.answer.endswith(f"So {max(int(a), int(b))} is larger."), puzzle
        elif kind(puzzle) != "sequence":
            assert {a, b} <= asked and puzzle.answer.count(result) > 1, puzzle


def test_every_sequence_goes_on_by_its_rule():
    for puzzle in of_kind("sequence"):
        *shown, rule, _, _, _ = map(int, re.findall(r"\d+", puzzle.question + puzzle.answer))
        assert {b - a for a, b in pairwise(shown)} == {rule} and min(shown) > 0
        assert puzzle.answer.endswith(f"{shown[-1]} + {rule} = {shown[-1] + rule}.")


def test_every_conclusion_follows():
    answers = {"all": "yes.", "no": "no.", "converse": "nobody knows."}
    seen = Counter()
    for puzzle in of_kind("conclusion"):
        premise, fact, asked = puzzle.question.split(". ")
        form = "no" if premise.startswith("No ") else "all" if " is a " in fact else "converse"
        if form == "converse":  # the fact is the trait, the question is about the job
            assert " is a " not in fact and re.search(r"\ba \w+\?", asked)
        assert puzzle.answer.endswith(f"So {answers[form]}"), puzzle
        seen[form] += 1
    assert min(seen.values()) > 5 and len(seen) == 3


def test_every_order_and_place_follows():
    for puzzle in of_kind("order"):
        [(first, second), (third, fourth)] = re.findall(
            r"(\w+) is \w+ than (\w+)\.", puzzle.question
        )
        [top] = {first, third} - {second, fourth}
        assert re.search(rf"So {top} is the \w+est\.$", puzzle.answer), puzzle
    for puzzle in of_kind("place"):
        one, other, false, *_ = re.findall(r"in the (\w+)", puzzle.question)
        [true] = {one, other} - {false}
        assert puzzle.answer == f"It is not in the {false}, so it is in the {true}."


def test_the_text_is_one_line_of_plain_letters():
    for puzzle in EVERY:
        assert puzzle.text == f"{puzzle.question} {puzzle.answer}\n"
        assert puzzle.text.isascii() and puzzle.text.count("\n") == 1


def test_a_seed_makes_the_puzzles():
    assert tool.puzzles() == tool.puzzles() != tool.puzzles(seed=9)


def test_the_same_reckoning_is_known_whichever_number_comes_first():
    assert tool.equation("7 + 12 = 19. So 19.") == tool.equation("By a rule. 12 + 7 = 19.")
    assert tool.equation("7 + 12 = 19.") != tool.equation("12 - 7 = 5.")
    assert tool.equation("So yes.") is None


@pytest.mark.parametrize("field", ["question", "answer", "topic"])
def test_what_is_no_puzzle_is_refused(field):
    whole = {"question": "1 or 2?", "answer": "2.", "topic": "comparison/2 1"}
    for wrong, sentence in (("", "is empty"), (None, "must be text"), ("\ud800", "half a char")):
        with pytest.raises(ValueError, match=f"The {field} .*{sentence}"):
            Puzzle(**whole | {field: wrong})


def test_a_set_that_is_unknown_or_altered_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="name is 'plain'; it must be one of train, held_out"):
        lab.load_puzzles("plain")
    monkeypatch.setattr(texts, "data_path", lambda *parts: tmp_path)
    with pytest.raises(lab.DataError, match=r"There is no set of puzzles in .*restore it"):
        lab.load_puzzles("train")
    for name in ("SHA256SUMS", "train.json"):
        (tmp_path / name).write_bytes((data_path("puzzles") / name).read_bytes())
    assert lab.load_puzzles("train")
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(lab.DataError, match="not the file this course was made with"):
        lab.load_puzzles("train")
