"""A class's predictions, from files as learners hand them in."""

from dataclasses import replace

import pytest

from slmlab.show.board import class_board
from slmlab.show.widgets import guesses
from slmlab.show.widgets.guesses import predictions
from slmlab.show.widgets.prediction import PredictionCard
from slmlab.text.files import DataError

HEADER = "title,guessed_gap,locked,real_gap,distance,guessed_best_step,real_best_step"


@pytest.fixture
def hand_in(tmp_path):
    """Writes a learner's file: rows of (title, guess, locked, real gap or "")."""

    def write(name, *rows, **options):
        lines = [HEADER]
        for title, guess, locked, real in rows:
            distance = "" if real == "" else f"{abs(real - guess):.2f}"
            lines.append(f"{title},{guess},{locked},{real},{distance},,")
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", **{"encoding": "utf-8"} | options)
        return path

    return write


def test_a_class_of_three(hand_in, tmp_path):
    hand_in("anna.csv", ("Phase 1", 2.0, True, 4.0), ("Phase 2", 1.0, True, -0.1))
    hand_in("ben.csv", ("Phase 1", 3.0, True, 4.0), ("Phase 2", 0.4, True, -0.1))
    hand_in("cem.csv", ("Phase 1", 5.0, True, 4.0))
    board = class_board(tmp_path)
    assert list(board.index) == ["Phase 1", "Phase 2"]
    assert board.loc["Phase 1"].to_dict() == {
        "learners": 3,
        "median_guess": 3.0,
        "guess_25": 2.5,
        "guess_75": 4.0,
        "real_gap": 4.0,
        "median_distance": 1.0,
        "within_half": 0,
    }
    assert board.loc["Phase 2", ["learners", "median_distance", "within_half"]].to_list() == [
        2,
        0.8,
        1,
    ]


def test_it_reads_what_predictions_writes(monkeypatch, tmp_path, finished):
    monkeypatch.setattr(guesses, "SESSION", {})
    for title in ("Phase 1", "Phase 2, again"):
        PredictionCard(title, 1.0, steps=60).lock_button.click()
    PredictionCard("Phase 3")  # not locked
    last = replace(finished.state.history[-1], train_loss=1.0, val_loss=2.6)
    run = replace(finished, state=replace(finished.state, history=[last]))
    PredictionCard("Phase 1").reveal(run)
    predictions().to_csv(tmp_path / "anna.csv")
    board = class_board(tmp_path)
    assert list(board.index) == ["Phase 1", "Phase 2, again"]
    assert board.loc["Phase 1", ["real_gap", "median_distance"]].to_list() == [1.6, 0.6]
    assert board.loc["Phase 2, again", ["real_gap", "median_distance"]].isna().all()
    assert board["within_half"].to_list() == [0, 0]


def test_what_was_not_locked_does_not_count(hand_in, tmp_path):
    hand_in("anna.csv", ("Phase 1", 4.0, False, 4.0), ("Phase 2", 1.0, False, ""))
    assert class_board(tmp_path).empty
    hand_in("ben.csv", ("Phase 1", 3.0, True, 4.0))
    board = class_board(str(tmp_path))
    assert board["learners"].to_dict() == {"Phase 1": 1}
    assert board["median_guess"].to_list() == [3.0]


def test_a_learner_counts_once_with_the_first_locked_guess(hand_in, tmp_path):
    hand_in(
        "anna.csv",
        ("Phase 1", 0.0, False, 4.0),
        ("Phase 1", 2.0, True, 4.0),
        ("Phase 1", 4.0, True, 4.0),
    )
    board = class_board(tmp_path)
    assert board.loc["Phase 1", ["learners", "median_guess", "within_half"]].to_list() == [1, 2, 0]


def test_half_a_nat_is_within_half_a_nat(hand_in, tmp_path):
    hand_in("anna.csv", ("Phase 1", 1.1, True, 1.6))
    hand_in("ben.csv", ("Phase 1", 1.0, True, 1.6))
    hand_in("cem.csv", ("Phase 1", 1.6, True, ""))  # has not seen the result
    board = class_board(tmp_path)
    assert board.loc["Phase 1", ["learners", "within_half"]].to_list() == [3, 1]
    assert board.loc["Phase 1", "real_gap"] == 1.6


def test_runs_may_differ(hand_in, tmp_path):
    for name, real in (("anna", 3.9), ("ben", 4.0), ("cem", 4.4)):
        hand_in(f"{name}.csv", ("Phase 1", 4.0, True, real))
    assert class_board(tmp_path).loc["Phase 1", ["real_gap", "median_distance"]].to_list() == [
        4.0,
        0.1,
    ]


def test_what_a_spreadsheet_adds_does_no_harm(hand_in, tmp_path):
    path = hand_in("anna.csv", ("NA", 4.0, "TRUE", 4.2), encoding="utf-8-sig")
    path.write_bytes(path.read_bytes().replace(b"\n", b",,\r\n"))
    board = class_board(tmp_path)
    assert board.loc["NA", ["median_guess", "real_gap"]].to_list() == [4.0, 4.2]


def test_hidden_files_and_folders_are_passed_over(hand_in, tmp_path):
    hand_in("anna.csv", ("Phase 1", 4.0, True, 4.0))
    (tmp_path / ".DS_Store").write_bytes(b"\x00\x01")
    (tmp_path / "last year").mkdir()
    assert class_board(tmp_path)["learners"].to_list() == [1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"Anna: 4.0\n"),
        ("table.xlsx", b"PK\x03\x04\xff\xfe\x00"),
        ("nothing.csv", b""),
        ("other.csv", b"step,loss\n1,2.0\n"),
        ("semicolons.csv", HEADER.replace(",", ";").encode()),
        ("word.csv", f"{HEADER}\nPhase 1,four,True,,,,\n".encode()),
        ("no_guess.csv", f"{HEADER}\nPhase 1,,True,,,,\n".encode()),
        ("impossible.csv", f"{HEADER}\nPhase 1,40.0,True,,,,\n".encode()),
        ("perhaps.csv", f"{HEADER}\nPhase 1,4.0,perhaps,,,,\n".encode()),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\x00"),
        ("wide.csv", f"{HEADER}{',a' * 400_000}\nPhase 1,4.0,True,,,,\n".encode()),
        ("over_lines.csv", HEADER.encode() + b',a","\n"' + b',"\n"' * 200_000),
        ("below.csv", f"\ufeff \n\n{HEADER}{',a' * 100}\nPhase 1,4.0,True,,,,\n".encode()),
    ],
)
def test_a_file_that_is_no_such_table_is_named(hand_in, tmp_path, name, content):
    hand_in("anna.csv", ("Phase 1", 4.0, True, 4.0))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        class_board(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / name} is not a table of predictions")
    assert "\n" not in said
    assert "anna" not in said


def test_a_missing_or_empty_folder_gets_a_sentence(hand_in, tmp_path):
    with pytest.raises(DataError, match=r"is empty; put the learners' files there"):
        class_board(tmp_path)
    with pytest.raises(DataError, match="is no folder that can be read"):
        class_board(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is no folder that can be read"):
        class_board(hand_in("anna.csv"))


def test_only_what_is_needed_is_read(tmp_path):
    rows = "Phase 1,4.0,True,4.0,0.0,not a step,,\u2019s diary\n"
    (tmp_path / "anna.csv").write_text(f"{HEADER},comment\n{rows}", encoding="utf-8")
    board = class_board(tmp_path)
    assert "diary" not in board.to_csv()
    assert "anna" not in board.to_csv()


def test_a_table_as_a_spreadsheet_quotes_it_is_read(hand_in, tmp_path):
    path = hand_in("anna.csv", ("Phase 1", 4.0, True, 4.2))
    names, rows = path.read_text().split("\n", 1)
    names = ",".join(f'"{name}"' for name in names.split(","))
    path.write_text(f"\n{names}\n{rows}")
    assert class_board(tmp_path)["learners"].to_list() == [1]
