"""The map of the course: what was done, and what comes next."""

from pathlib import Path

import nbformat
import pytest

import slmlab as lab
from slmlab.show.course_map import CourseMap
from slmlab.show.progress import Prediction, Progress

PAGE = Path(__file__).parent.parent / "notebooks" / "0_begin_here.ipynb"


def finished(*keys):
    """Progress with the quizzes of these lessons answered, all right."""
    lessons = {lesson.key: lesson for lesson in CourseMap(Progress()).done}
    right = {key: {str(n): True for n in range(lessons[key].questions)} for key in keys}
    return Progress(quizzes=right)


def test_who_has_done_nothing_begins_with_the_first_lesson():
    course = CourseMap(Progress())
    assert course.next.notebook == "00_phase_0_disaster"
    assert repr(course).startswith("Next: begin with Phase 0")
    assert [str(done) for done in course.done.values()] == [""] * len(course.done)


def test_a_lesson_is_finished_with_its_quiz():
    assert CourseMap(finished("00")).next != CourseMap(Progress()).next
    begun = Progress(quizzes={"00": {"first": False}})
    course = CourseMap(begun)
    assert course.next.key == "00" and course.step == "finish"
    assert "quiz: begun" in course._repr_html_()


def test_at_the_end_there_is_the_playground():
    course = CourseMap(Progress())
    keys = [lesson.key for lesson in course.done if lesson.questions]
    assert {"00", "05"} <= set(keys)
    done = CourseMap(finished(*keys))
    assert done.next.notebook == "playground"
    assert "about" not in done._repr_html_().partition("</p>")[0]


@pytest.mark.parametrize(
    ("guess", "said", "step"),
    [
        (Prediction(2.0, locked=True), "guess locked", "run"),
        (Prediction(2.0, locked=True, revealed=True, real_gap=7.5), "result seen", "finish"),
    ],
)
def test_a_guess_is_on_the_map(guess, said, step):
    course = CourseMap(Progress(predictions={"Phase 0": guess}))
    assert said in course._repr_html_()
    assert course.step == step


def test_results_and_exercises_are_counted():
    kept = finished("00")
    kept.quizzes["00"][next(iter(kept.quizzes["00"]))] = False
    kept.exercises |= {"00": ["signed_gap"], "01": ["never_read", "design"]}
    course = CourseMap(kept)
    done = {lesson.key: str(words) for lesson, words in course.done.items()}
    assert done["00"] == f"quiz: {len(kept.quizzes['00']) - 1} right, 1 exercise solved"
    assert done["01"] == "2 exercises solved"


def test_a_row_says_how_long_a_lesson_takes_and_what_was_done():
    page = CourseMap(finished("00"))._repr_html_()
    first = next(iter(CourseMap(Progress()).done))
    assert f">{first.minutes} min · quiz: {first.questions} right</span>" in page
    assert "<span" not in page[page.rindex("playground.ipynb") :]  # it has neither
    [build] = [lesson for lesson in CourseMap(Progress()).done if lesson.writing]
    assert f">{build.minutes} min, and {build.writing} to write it yourself</span>" in page


def test_each_card_of_a_lesson_has_a_place_on_the_map():
    cards = {lesson.card for lesson in CourseMap(Progress()).done}
    assert {f"Phase {phase.number}" for phase in lab.PHASES} <= cards


def test_every_lesson_is_a_link():
    page = CourseMap(Progress())._repr_html_()
    for lesson in CourseMap(Progress()).done:
        assert f"<a href='{lesson.notebook}.ipynb'>" in page


def test_the_page_is_stored_with_the_map_of_a_beginner():
    cells = nbformat.read(PAGE, as_version=4).cells
    [cell] = [c for c in cells if "lab.CourseMap()" in c.source]
    assert cell.outputs[0].data["text/html"] == CourseMap(Progress())._repr_html_()
    assert not cell.metadata.jupyter.get("outputs_hidden")
