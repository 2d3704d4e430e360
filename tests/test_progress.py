"""The learner's progress: what is kept, and that nothing is lost where the file cannot be used."""

import json
import math

import pytest

import slmlab as lab
from slmlab.engine.config import ENDLESS
from slmlab.show import progress
from slmlab.show.progress import Prediction, Progress
from slmlab.show.widgets import guesses


def test_there_is_none_at_first(progress_file):
    assert progress.read() == Progress()
    assert not progress_file.exists()


def test_what_was_done_comes_back(progress_file):
    guess = Prediction(2.4, 20, 60, locked=True, revealed=True, real_gap=3.1, real_best_step=40)
    progress.keep_prediction("Phase 4", guess)
    progress.keep_answer("00", "00-batch", False)
    progress.keep_answer("00", "00-batch", True)
    for task in ("rates", "signed_gap", "rates"):
        progress.keep_exercise("00", task)
    progress.keep_rulings({"3": ("no", "fails")})
    assert progress.read() == Progress(
        {"Phase 4": guess},
        {"00": {"00-batch": True}},
        {"00": ["rates", "signed_gap"]},
        {"3": ("no", "fails")},
    )


def test_a_guess_without_a_result_is_valid_json(progress_file):
    progress.keep_prediction("Phase 2", Prediction(1.0, locked=True))
    assert "NaN" not in progress_file.read_text()
    assert math.isnan(progress.read().predictions["Phase 2"].real_gap)


def test_one_guess_or_everything_can_be_forgotten():
    for title in ("a", "b"):
        card = lab.PredictionCard(title)
        card.lock_button.click()
    progress.keep_exercise("00", "rates")
    lab.start_over("a")
    assert list(progress.read().predictions) == ["b"]
    assert not lab.PredictionCard("a").locked
    lab.start_over()
    assert progress.read() == Progress()
    assert guesses.SESSION == {}


GUESS = (
    '{"predictions": {"a": {"gap": 1, "steps": null, "best_step": null, "locked": true, '
    '"revealed": true, "real_gap": 1, "real_best_step": BEST}}, '
    '"quizzes": {}, "exercises": {}, "rulings": {}}'
)


def test_a_table_of_guesses_holds_the_largest_step_of_a_run(progress_file):
    progress_file.write_text(GUESS.replace("BEST", f"{ENDLESS}"))
    assert str(ENDLESS) in lab.predictions().to_csv()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "\u2603",
        '{"predictions": {"a": {}}, "quizzes": {}, "exercises": {}, "rulings": {}}',
        '{"predictions": {}, "quizzes": {"00": {"q": 1}}, "exercises": {}, "rulings": {}}',
        '{"predictions": {}, "quizzes": {}, "exercises": {"00": [1]}, "rulings": {}}',
        '{"predictions": {}, "quizzes": {}, "exercises": {}, "rulings": {"1": ["no"]}}',
        '{"predictions": {}, "quizzes": {}, "exercises": {}, "rulings": {"1": "no"}}',
        '{"predictions": {}, "quizzes": {}, "exercises": {"00": "abc"}, "rulings": {}}',
        '{"predictions": {}, "quizzes": {}, "exercises": {"00": {"abc": 1}}, "rulings": {}}',
        "[" * 100_000,
        GUESS.replace("BEST", f"{10**22}"),
        GUESS.replace("BEST", "-1"),
    ],
)
def test_a_damaged_file_is_set_aside(progress_file, content):
    progress_file.write_text(content, "utf-8")
    with pytest.warns(UserWarning, match=r"was damaged; it is now in progress-damaged-1\.json"):
        progress.keep_exercise("00", "rates")
    assert progress.read().exercises == {"00": ["rates"]}
    assert progress_file.with_name("progress-damaged-1.json").read_text("utf-8") == content


def test_what_a_later_version_keeps_besides_stays(progress_file):
    known = {name: {} for name in ("predictions", "quizzes", "exercises", "rulings")}
    unknown = {"notes": "of a later version", "others": {"a": [1, None]}}
    progress_file.write_text(json.dumps(known | unknown))
    progress.keep_exercise("00", "rates")
    kept = json.loads(progress_file.read_text())
    assert kept == known | unknown | {"exercises": {"00": ["rates"]}}


def test_every_damaged_file_has_a_name_of_its_own(progress_file):
    for number in (1, 2):
        progress_file.write_text(str(number))
        with pytest.warns(UserWarning, match="damaged"):
            progress.read()
        assert progress_file.with_name(f"progress-damaged-{number}.json").read_text() == f"{number}"


def test_where_nothing_can_be_written_a_card_still_works(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLMLAB_PROGRESS", str(tmp_path / "file" / "progress.json"))
    with pytest.warns(UserWarning, match="cannot be read"):
        card = lab.PredictionCard("Phase 2")
    with pytest.warns(UserWarning, match="is not kept"):
        card.lock_button.click()
    assert card.locked


def test_it_is_in_the_home_folder_unless_said_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("SLMLAB_PROGRESS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    progress.keep_answer("00", "q", True)
    kept = json.loads((tmp_path / ".slmlab" / "progress.json").read_bytes())
    assert kept["quizzes"] == {"00": {"q": True}}


@pytest.mark.parametrize("problem", ["a read-only disk", "a name that is too long"])
def test_a_damaged_file_that_cannot_be_set_aside_is_left_as_it_is(
    progress_file, monkeypatch, problem
):
    def protected(*_):
        raise OSError(30, "Read-only file system")

    if problem == "a read-only disk":
        monkeypatch.setattr("pathlib.Path.rename", protected)
    else:
        progress_file = progress_file.with_name("p" * 250)
        monkeypatch.setenv("SLMLAB_PROGRESS", str(progress_file))
    progress_file.write_text("damaged")
    with pytest.warns(UserWarning, match="is damaged, and could not be set aside"):
        card = lab.PredictionCard(problem)
    with pytest.warns(UserWarning, match="is damaged, and could not be set aside"):
        assert problem in lab.predictions().index and lab.CourseMap() and lab.Quiz("00")
    with pytest.warns(UserWarning, match="progress is not kept: .* could not be set aside"):
        card.lock_button.click()
    assert card.locked and progress_file.read_text() == "damaged"


def test_a_damaged_file_that_another_notebook_has_set_aside_is_none(progress_file, monkeypatch):
    def gone(*_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("pathlib.Path.rename", gone)
    progress_file.write_text("damaged")
    assert progress.read() == Progress()
