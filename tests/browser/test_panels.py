"""The panels in a real browser, by keyboard."""

import re

import nbformat
import pytest
from playwright.sync_api import expect

from browser.pages import opened, run_all

pytestmark = pytest.mark.browser

CELLS = (
    "import os\nimport slmlab as lab\nfrom slmlab.exercises import lesson_00\nlab.start_over()",
    'lab.Quiz("00")',
    'lab.PredictionCard("Phase 2", steps=1000)',
    "lab.Scrubber(lab.PHASES[1].recorded())",
    'run = lab.Setup.parse("phase-1 vocabulary=right-sized max_steps=20").train(progress=False)',
    "lab.NextTokenExplorer(run)",
    "lab.DecodingBench(run, n_tokens=10)",
    "lab.TokenExplorer()",
    "tokenizer = run.dataset.tokenizer\n"
    "routed = lab.GPT(lab.ExpertConfig(tokenizer.n_vocab, 16, 2, 2, 16))\n"
    "lab.RouteExplorer(routed, tokenizer, lab.load_held_out().text[:300])",
    "chat = lab.chat_tokenizer(run.dataset.tokenizer)\n"
    "model = lab.GPT(lab.GPTConfig(chat.n_vocab, 64, 1, 1, 8))\n"
    'lab.ChatPanel({"untrained": (model, chat)}, max_tokens=10)',
    'lab.RulingCards({1: "More text is better.", 2: "Less is more."})',
    "del os.environ['SLMLAB_CHECKS']  # as learners have it\nlesson_00.rates(..., 288)",
    "'a wrong answer stops nothing'",
)
PANELS = (
    "quiz",
    "prediction",
    "scrubber",
    "explorer",
    "decoding",
    "tokens",
    "routes",
    "chat",
    "rulings",
)


@pytest.fixture(scope="module")
def notebook(folder):
    """The name of a notebook with a panel in each cell."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, folder / "panels.ipynb")
    return "panels.ipynb"


@pytest.fixture
def page(browser, lab, notebook, tmp_path):
    with opened(browser, lab.format(notebook), tmp_path) as page:
        run_all(page)
        yield page


def test_no_key_typed_into_a_panel_reaches_the_notebook(page):
    for name in PANELS:
        expect(page.locator(f".slm-{name}[role=group]")).to_have_count(1)
    option = page.locator(".slm-quiz button").first
    lock = page.locator(".slm-prediction button")  # whose name the second key changes
    slider = page.get_by_role("slider", name="step", exact=True)
    for control in (option, lock, slider):
        control.press("Enter")  # which disables the second
        for key in ("x", "b", "a", "d", "d", "m", "0", "0", "ArrowDown", "Enter", "Shift+Enter"):
            page.keyboard.press(key)
            expect(control).to_be_focused()
    expect(lock).to_be_disabled()
    expect(lock).to_have_css("opacity", "1")  # what is locked is to be read
    expect(page.locator(".jp-CodeCell")).to_have_count(len(CELLS))
    expect(page.locator(".jp-MarkdownCell")).to_have_count(0)


def test_a_keyboard_and_a_screen_reader_find_their_way(page, axe):
    card = page.get_by_role("group", name="Your guess: Phase 2")
    gap = card.get_by_role("slider", name="gap at the end")
    gap.press("ArrowRight")
    expect(gap).to_have_attribute("aria-valuetext", "+1.1")
    expect(card.get_by_role("status").first).to_contain_text("moderate")
    for stop in (
        card.get_by_role("slider", name="best step"),
        card.get_by_role("button", name="Lock my guess"),
    ):
        page.keyboard.press("Tab")
        expect(stop).to_be_focused()
    page.keyboard.press("Enter")
    expect(card.get_by_role("status").last).to_contain_text("Locked: gap +1.1, best step 500.")

    quiz = page.get_by_role("group", name="Questions on lesson 00")
    question = quiz.get_by_role("group").nth(1)
    option = question.get_by_role("button").nth(1)
    option.press("Enter")
    expect(question.get_by_role("status").nth(1)).to_contain_text("Not this one.")
    expect(option).to_be_focused()

    scrubber = page.get_by_role("group", name="Step by step: phase-1-gpt2-seed-0")
    scrubber.get_by_role("slider", name="step").press("ArrowLeft")
    expect(scrubber.get_by_role("status")).to_contain_text("At step 450")

    told = page.locator(".jp-OutputArea-output [role=status]", has_text="Not yet.")
    expect(told).to_contain_text("params_per_token is still blank")
    for name in PANELS:
        expect(page.locator(f".slm-{name}").get_by_role("heading").first).to_be_visible()
        assert axe(page, f".slm-{name}") == []


def test_a_token_is_forced_by_keyboard(page):
    bench = page.locator(".slm-decoding[role=group]")
    bench.get_by_role("combobox", name="method").select_option("top-k")
    expect(bench.get_by_role("status").first).to_contain_text("top-k: 10 tokens.")
    tokens = bench.get_by_role("group", name="The text, by top-k").get_by_role("button")
    expect(tokens).to_have_count(10)
    before = tokens.all_text_contents()

    tokens.first.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(bench).to_contain_text("Token 2 of 10")
    expect(tokens.nth(1)).to_be_focused()
    expect(tokens.nth(1)).to_have_attribute("aria-pressed", "true")

    table = bench.get_by_role("table", name="Tokens for place 2")
    other = table.get_by_role("button", pressed=False).first
    name = other.text_content()
    other.press("Enter")
    expect(bench.get_by_role("status").first).to_contain_text("1 of them forced")
    expect(tokens.nth(1)).to_have_attribute(
        "aria-label", re.compile(f"^“{re.escape(name)}”.*forced")
    )
    expect(tokens).to_have_count(10)
    assert tokens.all_text_contents()[0] == before[0]
    assert tokens.all_text_contents()[1:] != before[1:]
    expect(bench.locator(".slm-left")).to_contain_text("Before token 2 was forced, by top-k:")
    # The focus stays in the table, so that the next alternative is a key away.
    expect(table.locator("[role=button]:focus")).to_have_count(1)

    bench.get_by_role("button", name="Undo").press("Enter")
    expect(bench.locator(".slm-left")).to_have_count(0)
    assert tokens.all_text_contents() == before
