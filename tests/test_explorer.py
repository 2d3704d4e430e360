"""The explorer of the next token, driven without a browser."""

import re
from dataclasses import replace
from html import unescape

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slmlab as lab
from slmlab.show.widgets.explorer import GREY, NextTokenExplorer, repeated
from slmlab.show.widgets.parts import visible
from slmlab.study.samples import repetition_rate


@pytest.fixture
def explorer(finished):
    return NextTokenExplorer(finished, "The old")


@pytest.fixture
def writes(finished, tiny, monkeypatch):
    """An explorer of a model that writes the given texts' tokens in turn, over and over."""

    def make(text):
        ids = finished.dataset.tokenizer.encode(text)
        model, calls = tiny(), []

        def next_logits(*_):
            calls.append(None)
            logits = torch.zeros(1, model.config.vocab_size)
            logits[0, ids[(len(calls) - 1) % len(ids)]] = 9.0
            return logits

        monkeypatch.setattr(model, "next_logits", next_logits)
        return NextTokenExplorer(replace(finished, model=model), "The old")

    return make


def set_options(explorer, temperature=1.0, top_k=None, top_p=1.0, repetition_penalty=1.0):
    explorer.temperature.value = temperature
    explorer.top_k.value = top_k or 0
    explorer.top_p.value = top_p
    explorer.penalty.value = repetition_penalty


def cells(html):
    """The rows of a table, header included, as lists of texts."""
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    parts = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[unescape(re.sub("<[^>]+>", " ", part)).strip() for part in row] for row in parts]


def columns(explorer):
    """The numbers of the table of probabilities, in %, column by column."""
    rows = cells(explorer.distribution.value)[1:-1]
    numbers = [[0.05 if cell == "<0.1" else float(cell) for cell in row[1:]] for row in rows]
    return torch.tensor(numbers).T


OPTIONS = (
    {},
    {"temperature": 0.0},
    {"temperature": 0.0, "repetition_penalty": 1.5},
    {"temperature": 0.6, "top_k": 7, "top_p": 0.8, "repetition_penalty": 1.3},
    {"temperature": 2.0, "top_p": 0.05},
)


@pytest.mark.parametrize("options", OPTIONS)
def test_each_column_sums_to_100_and_the_last_is_what_is_drawn_from(explorer, options):
    set_options(explorer, **options)
    shown = columns(explorer)
    assert shown.shape == (1 + len(options), 13)
    assert shown.sum(1).tolist() == pytest.approx([100] * len(shown), abs=0.8)  # rounded numbers
    tokenizer = explorer.run.dataset.tokenizer
    ids = tokenizer.encode("The old")
    with torch.no_grad():
        logits = explorer.run.model(torch.tensor([ids]))[0, -1]
    final = 100 * lab.next_distribution(logits, ids, lab.Decoding(**options))
    id_of = {visible(tokenizer.token_bytes(i)): i for i in range(tokenizer.n_vocab)}
    names = [row[0] for row in cells(explorer.distribution.value)[1:13]]
    expected = final[[id_of[name] for name in names]]
    assert shown[-1, :12].tolist() == pytest.approx(expected.tolist(), abs=0.06)
    assert expected.max() == final.max()


def test_a_filter_that_is_off_has_no_column(explorer):
    assert cells(explorer.distribution.value)[0] == ["token", "model  –"]
    set_options(explorer, temperature=0.6, top_p=0.8)
    assert cells(explorer.distribution.value)[0] == [
        "token",
        "model  –",
        "temp.  0.6",
        "top-p  0.8",
    ]


def test_the_bar_of_the_likeliest_token_fills_its_field(explorer):
    rows = re.findall(r"<tr>(.*?)</tr>", explorer.distribution.value)[1:-1]
    widths = [float(re.search(r"max\(1px,([\d.]+)%", row)[1]) for row in rows]
    *tokens, others = columns(explorer)[0].tolist()
    assert widths[-1] == pytest.approx(others, abs=0.1)
    assert widths[:-1] == pytest.approx([100 * p / tokens[0] for p in tokens], abs=3)


def test_removed_tokens_are_grey_zeros(explorer):
    set_options(explorer, top_k=3)
    rows = cells(explorer.distribution.value)
    assert [row[2] for row in rows[1:14]].count("0") == 10
    assert rows[-1][1:] == [f"{explorer.run.model.config.vocab_size:,}", "3"]
    assert explorer.distribution.value.count(f"color:{GREY}'>0<") == 10


def test_temperature_zero_shows_one_certain_token(explorer):
    set_options(explorer, temperature=0.0)
    assert columns(explorer)[1].max() == 100
    assert columns(explorer)[1, 0] == 100  # the model's likeliest comes first
    assert "greedy" in explorer.distribution.value


def test_a_token_that_the_penalty_brings_up_is_shown(finished, monkeypatch, tiny):
    model = tiny()
    logits = torch.full((1, model.config.vocab_size), -5.0)
    ids = finished.dataset.tokenizer.encode("abcdefghijklmnop")
    logits[0, ids] = 3.0
    logits[0, 5] = 2.5  # behind all 16 letters, before the penalty
    monkeypatch.setattr(model, "next_logits", lambda *_: logits)
    explorer = NextTokenExplorer(replace(finished, model=model), "abcdefghijklmnop")
    name = explorer.run.dataset.tokenizer.token_bytes(5).decode()
    assert name not in [row[0] for row in cells(explorer.distribution.value)]
    explorer.penalty.value = 2.0
    assert name in [row[0] for row in cells(explorer.distribution.value)]


fractions = st.integers(1, 20).map(lambda n: n / 20)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    prompt=st.sampled_from(["The old", "A young potter — ünïcode 数", "x", "a kettle " * 9]),
    temperature=st.integers(0, 40).map(lambda n: n / 20),
    top_k=st.none() | st.integers(1, 50),
    top_p=fractions,
    repetition_penalty=fractions.map(lambda x: 1 + x),
    seed=st.integers(0, 99),
)
def test_the_tokens_are_those_of_generate_tokens(finished, prompt, seed, **options):
    # A context of 16 tokens: 23 new ones are longer than that.
    explorer = NextTokenExplorer(finished, prompt)
    explorer.seed.value = seed
    set_options(explorer, **options)
    for button in (explorer.ten, explorer.one, explorer.one, explorer.one, explorer.ten):
        button.click()
    ids = finished.dataset.tokenizer.encode(prompt)
    decoding = lab.Decoding(seed=seed, **options)
    expected = list(lab.generate_tokens(finished.model, ids, 23, decoding))
    assert explorer.generated == expected
    for _ in range(9):
        explorer.undo.click()
    assert explorer.generated == expected[:-9]
    explorer.ten.click()
    assert explorer.generated[:-1] == expected
    explorer.again.click()
    explorer.one.click()
    assert explorer.generated == expected[:1]


def test_undo_goes_back_to_the_prompt_and_no_further(explorer):
    before = explorer.static()
    explorer.one.click()
    explorer.one.click()
    assert explorer.static() != before
    for _ in range(3):
        explorer.undo.click()
    assert explorer.generated == []
    assert explorer.static() == before


def test_a_control_changes_only_the_next_choice(explorer):
    explorer.ten.click()
    generated, text, table = explorer.generated, explorer.text.value, explorer.distribution.value
    set_options(explorer, temperature=0.0)
    assert explorer.distribution.value != table
    assert explorer.generated == generated
    assert explorer.text.value == text
    explorer.one.click()
    ids = explorer.run.dataset.tokenizer.encode("The old") + generated
    expected = lab.generate_tokens(explorer.run.model, ids, 1, lab.Decoding(temperature=0))
    assert explorer.generated == [*generated, *expected]


def test_a_new_seed_begins_at_the_next_token_also_after_undo(explorer):
    explorer.ten.click()
    first = explorer.generated
    explorer.seed.value = 5
    assert explorer.generated == first
    for _ in range(4):
        explorer.undo.click()
    explorer.ten.click()
    ids = explorer.run.dataset.tokenizer.encode("The old") + first[:6]
    expected = list(lab.generate_tokens(explorer.run.model, ids, 10, lab.Decoding(seed=5)))
    assert explorer.generated == first[:6] + expected


def test_another_prompt_starts_again(explorer):
    explorer.ten.click()
    explorer.prompt.value = "数 — ünïcode"
    assert explorer.generated == []
    assert "<b>数 — ünïcode</b>" in explorer.text.value
    assert "No token was generated yet" in explorer.status.value
    assert columns(explorer).sum(1).tolist() == pytest.approx([100], abs=0.8)


def test_an_empty_prompt_gets_a_sentence(explorer):
    explorer.prompt.value = ""
    for button in (explorer.one, explorer.ten, explorer.undo, explorer.again):
        button.click()
    explorer.temperature.value = 0.5
    explorer.seed.value = 3
    assert "give at least one character to continue from" in explorer.status.value
    assert explorer.generated == []
    explorer.prompt.value = "The"
    explorer.one.click()
    assert len(explorer.generated) == 1


@pytest.mark.parametrize("prompt", ["\ud800", "The old \udfff"])
def test_half_a_character_gets_a_sentence(explorer, prompt):
    explorer.ten.click()
    explorer.prompt.value = prompt  # a browser can send one
    for button in (explorer.one, explorer.ten, explorer.undo):
        button.click()
    assert "half a character" in explorer.status.value
    assert explorer.generated == []
    assert explorer.distribution.value == ""
    explorer.static().encode()
    explorer.prompt.value = "The"
    explorer.one.click()
    assert len(explorer.generated) == 1


def test_a_model_without_finite_numbers_gets_a_sentence(finished, tiny):
    model = tiny()
    torch.nn.init.constant_(model.ln_f.weight, torch.nan)
    explorer = NextTokenExplorer(replace(finished, model=model), "The old")
    for button in (explorer.ten, explorer.undo, explorer.again):
        button.click()
    assert "it gives no finite numbers" in explorer.status.value
    assert explorer.generated == []
    assert "nan" not in explorer.static()


def test_every_place_of_the_sliders_is_a_decoding(explorer):
    off = lab.Decoding()
    for option, slider in explorer.dials.items():
        for label, value in list(slider.options):
            slider.value = value
            assert getattr(explorer.decoding, option) == (
                getattr(off, option) if label == "off" else value
            )
            assert columns(explorer).sum(1).tolist() == pytest.approx(
                [100] * len(columns(explorer)), abs=0.8
            )
    explorer.seed.value = 10**12  # the field allows no more than it can hold
    assert explorer.decoding.seed == 2**31 - 1
    explorer.ten.click()
    assert len(explorer.generated) == 10


def test_a_model_that_was_trained_on_meanwhile_is_read_anew(finished, dataset, tiny):
    run = lab.train(tiny(), dataset, lab.TrainConfig(4, 3e-3, max_steps=2), progress=False)
    explorer = NextTokenExplorer(run, "The old")
    explorer.one.click()
    run.resume(lab.TrainConfig(4, 3e-3, max_steps=9), progress=False)
    explorer.one.click()
    ids = dataset.tokenizer.encode("The old") + explorer.generated
    with torch.no_grad():
        logits = run.model(torch.tensor([ids]))[0, -1]
    assert torch.allclose(explorer._logits, logits, atol=1e-5)


def test_a_prompt_that_the_model_has_no_rows_for_gets_a_sentence(finished, tiny, gpt2):
    dataset = replace(finished.dataset, tokenizer=gpt2)
    explorer = NextTokenExplorer(replace(finished, dataset=dataset), "The Copenhagen school")
    assert "vocabulary ends at" in explorer.status.value


def test_rows_without_a_token_are_shown_by_their_id(finished, dataset):
    wide = lab.GPT(lab.GPTConfig(dataset.tokenizer.n_vocab + 500, 16, 1, 1, 8))
    explorer = NextTokenExplorer(replace(finished, model=wide), "The old")
    for _ in range(6):
        explorer.ten.click()
    assert max(explorer.generated) >= dataset.tokenizer.n_vocab
    assert f"&lt;id {max(explorer.generated)}&gt;" in explorer.text.value


def test_each_token_is_listed_with_its_own_probability_and_rank(explorer):
    set_options(explorer, temperature=1.5, repetition_penalty=1.4)
    explorer.ten.click()
    explorer.ten.click()
    rows = cells(explorer.last.value)[1:]
    assert [row[1] for row in rows] == [str(n) for n in range(20, 8, -1)]
    tokenizer = explorer.run.dataset.tokenizer
    ids = tokenizer.encode("The old") + explorer.generated
    with torch.no_grad():
        logits = explorer.run.model(torch.tensor([ids[-17:-1]]))[0, -1]
    number, rank = rows[0][2:4]
    p = logits.softmax(0)
    assert number == "<0.1" or float(number) == pytest.approx(100 * p[ids[-1]].item(), abs=0.06)
    assert int(rank) == 1 + int((p > p[ids[-1]]).sum())


def test_white_space_and_bytes_are_visible_in_the_tables(writes):
    explorer = writes(" a\n\t數\x07")
    set_options(explorer, temperature=0.0)
    explorer.ten.click()
    names = [row[0] for row in cells(explorer.last.value)[1:]]
    assert {"⏎", "⇥", r"\xe6", r"\x07"} <= set(names)
    assert any(name.startswith("␣") for name in names)
    assert "數" in explorer.text.value  # three tokens, one letter
    assert "⏎\n" in explorer.text.value


def test_text_is_not_taken_for_html(writes):
    explorer = writes("<script>")
    set_options(explorer, temperature=0.0)
    assert "&lt;" in explorer.distribution.value
    explorer.ten.click()
    assert "&lt;" in explorer.last.value
    assert "script" in re.sub("<[^>]+>", "", explorer.text.value)
    assert "<script" not in explorer.static() + explorer.last.value
    explorer.prompt.value = "<img src=x>"
    assert "&lt;img src=x&gt;" in explorer.text.value
    assert "<img" not in explorer.static()


def test_loops_are_found(writes):
    explorer = writes("two maps by the river.")
    loop = len(explorer.run.dataset.tokenizer.encode("two maps by the river."))
    set_options(explorer, temperature=0.0)
    for n in range(1, 3 * loop):
        explorer.one.click()
        marked = n - loop if n >= loop + 4 else 0
        assert (
            f"{marked} of {n} tokens repeat an earlier 4-token sequence." in explorer.status.value
        )
        underlined = explorer.text.value.count("border-bottom") - 1  # one in the legend
        assert underlined == marked
    assert [row[4] for row in cells(explorer.last.value)[1:]] == ["yes"] * 12


@given(st.lists(st.integers(0, 3), max_size=40))
def test_repeats_are_those_of_the_repetition_rate(ids):
    places = repeated(ids)
    assert bool(places) == (len(ids) >= 4 and repetition_rate(ids) > 0)
    assert places <= set(range(len(ids)))


def test_repeats_of_a_hand_made_case():
    assert repeated([1, 2, 3, 4, 9, 1, 2, 3, 4, 5]) == {5, 6, 7, 8}
    assert repeated([1, 1, 1, 1]) == set()
    assert repeated([1, 1, 1, 1, 1]) == {1, 2, 3, 4}
    assert repeated([]) == set()


def test_a_text_longer_than_the_context_says_so(explorer):
    assert "The model sees" not in explorer.status.value
    explorer.ten.click()
    explorer.ten.click()
    total = len(explorer.run.dataset.tokenizer.encode("The old")) + 20
    assert f"The model sees the last 16 of the {total} tokens." in explorer.status.value


def test_the_mode_of_the_model_is_restored(finished, tiny):
    model = tiny(dropout=0.5).train()
    explorer = NextTokenExplorer(replace(finished, model=model), "The old")
    explorer.ten.click()
    assert model.training
    ids = finished.dataset.tokenizer.encode("The old")
    assert explorer.generated == list(lab.generate_tokens(model, ids, 10))


def test_a_run_without_weights_gets_a_sentence():
    with pytest.raises(ValueError, match="kept without its weights"):
        NextTokenExplorer(lab.PHASES[1].recorded())


def test_without_a_kernel_the_tables_are_shown(explorer, shown):
    explorer.ten.click()
    explorer._ipython_display_()
    [bundle] = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<table") == 1
    assert "tokens repeat" in bundle["text/html"]
    assert "The old" in bundle["text/html"]
