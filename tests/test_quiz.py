"""The questions of the lessons, and the panel that asks them, driven without a browser."""

import json
import os
import re
from collections import Counter

import nbformat
import pytest

from slmlab.show import progress
from slmlab.show.widgets import quiz as module
from slmlab.show.widgets.parts import inline_html
from slmlab.show.widgets.quiz import LETTERS, Quiz, read_questions
from slmlab.text import files
from slmlab.text.files import DataError, data_path

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LESSONS = ["00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "build_a_gpt"]


@pytest.fixture
def quiz():
    return Quiz("00")


@pytest.fixture
def everything():
    return [question for lesson in LESSONS for question in read_questions(lesson)]


def index_of(question, right):
    return [option.right for option in question.options].index(right)


def answer(quiz, number, right=True):
    index = index_of(quiz.questions[number], right)
    quiz.buttons[number][index].click()
    return quiz.questions[number].options[index]


def said(quiz, number):
    """What can be read under the options of a question."""
    return "".join(feedback.value for feedback in quiz.feedback[number])


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_file_of_questions_is_complete(lesson):
    data = json.loads(data_path("quiz", f"{lesson}.json").read_text(encoding="utf-8"))
    assert set(data) == {"lesson", "questions"}
    assert data["lesson"] == lesson
    assert len(data["questions"]) in (4, 5)
    for question in data["questions"]:
        assert set(question) == {"id", "question", "section", "options"}
        assert re.fullmatch(f"{lesson}-[a-z-]+", question["id"])
        assert question["question"].strip() == question["question"] != ""
        assert 3 <= len(question["options"]) <= len(LETTERS)
        assert [option["right"] for option in question["options"]].count(True) == 1
        for option in question["options"]:
            assert set(option) == {"text", "right", "feedback"}
            assert type(option["right"]) is bool
            assert re.fullmatch(r"[^`*]+\.", option["text"])  # plain, as it stands on a button
            assert option["feedback"].endswith(".")
            assert len(option["feedback"]) <= 160  # two lines of an ordinary page


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_section_is_one_of_the_notebook(lesson):
    [path] = (data_path().parent / "notebooks").glob(f"{lesson}*.ipynb")
    texts = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
    headings = re.findall(r"^#{2,3} (.+)$", "\n".join(texts), re.MULTILINE)
    assert {question.section for question in read_questions(lesson)} <= set(headings)


def test_there_is_a_quiz_for_each_lesson_and_nothing_else():
    names = {path.name for path in data_path("quiz").iterdir()}
    assert names == {"README.md", *(f"{lesson}.json" for lesson in LESSONS)}


def test_every_question_option_and_feedback_stands_once(everything):
    for texts in (
        [question.id for question in everything],
        [question.text for question in everything],
        [option.feedback for question in everything for option in question.options],
    ):
        assert len(set(texts)) == len(texts)
    for question in everything:
        assert len({option.text for option in question.options}) == len(question.options)


def test_the_right_option_cannot_be_told_by_its_place_or_length(everything):
    places = Counter(index_of(question, True) for question in everything)
    longest = [max(question.options, key=lambda o: len(o.text)).right for question in everything]
    assert max(places.values()) < len(everything) / 2
    assert len(everything) / 5 < sum(longest) < len(everything) / 2


def test_the_questions_are_others_than_those_in_the_notebooks(everything):
    folder = data_path().parent / "notebooks"
    notebooks = [nbformat.read(path, as_version=4) for path in folder.glob("*.ipynb")]
    texts = " ".join(cell.source for notebook in notebooks for cell in notebook.cells)
    assert texts
    for question in everything:
        assert question.text not in texts


def test_it_asks_all_questions_with_all_options(quiz):
    assert quiz.lesson == "00"
    for question, buttons in zip(quiz.questions, quiz.buttons, strict=True):
        assert len(buttons) == len(question.options)
        for letter, option, button in zip(LETTERS, question.options, buttons, strict=False):
            assert button.description.split(maxsplit=1) == [letter, option.text]
    assert f"0 of {len(quiz.questions)} answered." in quiz.score.value
    assert not any(said(quiz, number) for number in range(5))


def test_a_choice_is_answered_at_once_below_the_option(quiz):
    wrong, right = (answer(quiz, 1, right=right) for right in (False, True))
    for option, feedback in zip(quiz.questions[1].options, quiz.feedback[1], strict=True):
        assert (inline_html(option.feedback) in feedback.value) == (option in (wrong, right))
        assert "slm-live" in feedback._dom_classes  # which is read out
    assert not said(quiz, 0)
    assert "1 of 5 answered." in quiz.score.value


def test_chosen_options_are_marked_by_a_sign_and_a_colour(quiz):
    answer(quiz, 0, right=False)
    answer(quiz, 0)
    classes = {b.description.split()[1]: b._dom_classes for b in quiz.buttons[0]}
    assert "slm-right" in classes.pop("✓")
    assert "slm-wrong" in classes.pop("✗")
    assert not any({"slm-right", "slm-wrong"} & set(others) for others in classes.values())
    assert not any(mark in said(quiz, 0) for mark in "✓✗")  # once is enough


def test_choosing_the_same_again_changes_nothing(quiz):
    def state():
        buttons = [(b.description, tuple(b._dom_classes)) for b in quiz.buttons[0]]
        return buttons, said(quiz, 0), quiz.score.value

    answer(quiz, 0, right=False)
    before = state()
    answer(quiz, 0, right=False)
    assert state() == before


def test_the_first_try_counts(quiz):
    answer(quiz, 0, right=False)
    for number in range(5):
        answer(quiz, number)
    answer(quiz, 4, right=False)  # to read what is said about it
    assert quiz.right_at_first_try == 4
    assert "4 of 5 right at first try." in quiz.score.value
    assert "not yet found" not in quiz.score.value


def test_at_the_end_it_says_what_is_still_to_be_found(quiz):
    for number in range(5):
        answer(quiz, number, right=number not in (1, 3))
    assert "3 of 5 right at first try." in quiz.score.value
    assert "Right answer not yet found: 2, 4." in quiz.score.value
    answer(quiz, 1)
    assert "3 of 5 right at first try." in quiz.score.value
    assert "Right answer not yet found: 4." in quiz.score.value


def test_at_the_end_it_leads_to_what_was_weak(quiz):
    for number in range(4):
        answer(quiz, number, right=number != 0)
        assert "Look again" not in quiz.score.value
    answer(quiz, 4, right=False)
    for section in (quiz.questions[0].section, quiz.questions[4].section):
        assert f"<a href='#{section.replace(' ', '-')}'>{section}</a>" in quiz.score.value
    assert quiz.score.value.count("<a ") == 2


def test_the_first_tries_are_kept(quiz):
    assert "Last time" not in quiz.box.children[0].value
    answer(quiz, 0, right=False)
    answer(quiz, 0)
    answer(quiz, 1)
    ids = [question.id for question in quiz.questions]
    assert progress.read().quizzes == {"00": {ids[0]: False, ids[1]: True}}
    assert "Last time 1 of 2 were right at first try." in Quiz("00").box.children[0].value


def test_made_again_it_begins_anew_and_in_the_same_order(quiz):
    answer(quiz, 0)
    again = Quiz("00")
    assert again.questions == quiz.questions
    assert again.choices == [[]] * 5
    assert "0 of 5" in again.score.value


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_can_be_solved(lesson):
    quiz = Quiz(lesson)
    for number in range(len(quiz.questions)):
        answer(quiz, number)
    assert quiz.right_at_first_try == len(quiz.questions)


def test_without_a_kernel_the_questions_stand_there_with_folded_answers(quiz, shown):
    quiz._ipython_display_()
    [bundle] = shown
    assert WIDGET_VIEW in bundle
    page = bundle["text/html"]
    assert page.count("<details>") == page.count("</details>") == len(quiz.questions)
    for question in quiz.questions:
        assert inline_html(question.text) in page
        for option in question.options:
            assert f": {module.escape(option.text)}" in page
            assert inline_html(option.feedback) in page
    unfolded = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert "✓" not in unfolded


def test_marks_become_html_and_nothing_else_does():
    assert inline_html("`a < b` is *not* <b>") == (
        "<code>a &lt; b</code> is <em>not</em> &lt;b&gt;"
    )


@pytest.mark.parametrize("lesson", ["99", "0", 0, None, "../published/phases", ""])
def test_an_unknown_lesson_gets_a_sentence(lesson):
    with pytest.raises(ValueError, match="There is no quiz for lesson") as caught:
        Quiz(lesson)
    assert str(caught.value).endswith(
        'there are "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "build_a_gpt".'
    )


def damaged(**changes):
    """A file of one question, of which something is changed."""
    options = [{"text": "A.", "right": True, "feedback": "Yes."}]
    question = {"id": "00-a", "question": "What?", "section": "See", "options": options}
    return json.dumps({"questions": [question | changes]})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        '{"questions": [{"id": "00-a"}]}',
        '{"questions": [5]}',
        damaged(question=5),
        damaged(section=None),
        damaged(options=[]),
        damaged(options=[{"text": None, "right": True, "feedback": "Yes."}]),
        damaged(options=2 * [{"text": "A.", "right": True, "feedback": "Yes."}]),
        damaged(options=[{"text": "A.", "right": "yes", "feedback": "Yes."}]),
        damaged(more=1),
    ],
)
def test_a_damaged_file_gets_a_sentence(content, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "_PACKAGE", tmp_path)
    (tmp_path / "data" / "quiz").mkdir(parents=True)
    (tmp_path / "data" / "quiz" / "00.json").write_text(content)
    with pytest.raises(DataError, match=r"00\.json is damaged; restore it"):
        Quiz("00")


def test_a_pipe_in_the_place_of_a_file_gets_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "_PACKAGE", tmp_path)
    (tmp_path / "data" / "quiz").mkdir(parents=True)
    os.mkfifo(tmp_path / "data" / "quiz" / "00.json")
    with pytest.raises(DataError, match=r"00\.json is damaged; restore it"):
        Quiz("00")
