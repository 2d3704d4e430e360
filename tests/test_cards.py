"""The card of a run on a learner's text: the held-out score first, and nothing in it but text."""

import math
import re
from dataclasses import replace

import pytest

import slmlab as lab
from slmlab.show.harmless import in_markdown, in_spreadsheet
from slmlab.show.widgets import readout
from slmlab.show.words import counted, number
from slmlab.text.own_text import read_text


@pytest.fixture(scope="module")
def own(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.txt").write_text(text)
    return read_text(folder)


@pytest.fixture(scope="module")
def run(own):
    data = own.dataset()
    shape = lab.GPTConfig(data.tokenizer.n_vocab, 16, 2, 2, 16)
    config = lab.TrainConfig(4, 3e-3, max_steps=60, eval_interval=20)
    return lab.train(
        lab.GPT(shape), data, config, prompts=own.prompts(), name="mine", progress=False
    )


@pytest.fixture(scope="module")
def card(run, own):
    return lab.model_card(run, own, title="My model", purpose="To try.")


def test_a_card_states_what_the_run_found(run, own, card):
    data, last = run.dataset, run.state.history[-1]
    assert card.startswith("# My model\n\nTo try.\n")
    for words in (
        f"{len(data.train):,} tokens to train on, {len(data.val):,} to validate",
        f"{len(data.test):,} held out, divided by blocks of lines",
        data.source["sha256"],
        f"{run.model.n_params:,} parameters",
        f"Training loss {last.train_loss:.2f}, validation loss {last.val_loss:.2f}",
        f"a gap of {run.gap:+.2f}",
        f"of this course calls that {lab.gap_band(run.gap).name}",
        f"{own.overlaps['validation']:.0%} of the validation text's",
        f"{own.overlaps['held-out']:.0%} of the held-out text's",
        "Lines that look like a secret: 0",
        "in 8 samples appear in the training text",
        "The longest match has",
        "60 steps (finished)",
    ):
        assert words in card, words


def test_a_run_that_used_up_its_time_is_not_called_finished(run, own):
    timed = replace(run, config=replace(run.config, max_steps=None, seconds=9))
    assert "60 steps (out of time)" in lab.model_card(timed, own, title="", purpose="")
    assert readout.ended(timed).startswith("Out of time at step 60, after ")
    assert readout.ended(run).startswith("Done: 60 steps in ")


def test_the_card_leads_with_a_score_on_a_text_that_chose_nothing(run, card):
    best = run.best_model
    test = run.dataset.test
    n_bytes = len(run.dataset.tokenizer.decode(test[1:].tolist()).encode())
    score = lab.mean_loss(best, test) * (len(test) - 1) / math.log(2) / n_bytes
    assert card.split("- ")[1].startswith(f"**{score:.2f} bits per byte** on the held-out text")
    number = lab.number_to_beat(run.dataset).test_bits
    better = "this model" if score < number else "counting"
    assert card.split("- ")[2].startswith(f"The number to beat is {number:.2f}: ")
    assert f"Here {better} is better." in card
    assert f"is that of step {run.state.best_step:,}, which had the lowest validation" in card
    order = [card.index(f"## {h}") for h in ("How good it is", "What it copies", "The gap", "Data")]
    assert order == sorted(order)


def test_a_loaded_run_has_the_same_card(run, own, card, tmp_path):
    loaded = lab.Run.load(run.save(tmp_path / "saved", keep="best"))
    assert lab.model_card(loaded, own, title="My model", purpose="To try.") == card


def test_its_copying_is_that_of_the_best_step_if_that_was_sampled(run, own):
    best, last = 20, run.last.step
    early = replace(run, state=replace(run.state, best_step=best))
    assert f"The samples are of step {last}. The weights of step {best} may" in lab.model_card(
        early, own
    )
    sampled = [sample | {"step": best} for sample in run.samples[:2]]
    both = replace(early, samples=[*sampled, *run.samples])
    card = lab.model_card(both, own)
    assert "in 2 samples appear" in card and "The samples are of step 20.\n" in card


def test_samples_are_explained_by_skill_copying_and_what_would_help(run, own):
    assert run.state.best_step == run.last.step == 60
    skill, copied, remedy = lab.explain_samples(run)
    number = lab.number_to_beat(run.dataset).test_bits
    assert skill.endswith("expect familiar pieces in an order without sense.")
    assert "the model of step 60 needs " in skill and f"a table of counts, {number:.2f}." in skill
    assert f"{lab.scorecard(run)['copied'].mean():.0%} of the 8-token sequences" in copied
    assert remedy.endswith("more time should help.")

    early = replace(run, state=replace(run.state, best_step=20))
    assert (
        "was lowest at step 20 of 60: more time is unlikely to help"
        in lab.explain_samples(early)[2]
    )
    skilled = [replace(progress, test_loss=0.1) for progress in run.state.history]
    better = replace(run, state=replace(run.state, history=skilled))
    assert "It beats the table." in lab.explain_samples(better)[0]


def test_what_has_no_samples_or_no_held_out_text_is_not_explained(run):
    with pytest.raises(ValueError, match="mine has no samples"):
        lab.explain_samples(replace(run, samples=[]))
    with pytest.raises(ValueError, match="mine has no held-out text"):
        lab.explain_samples(replace(run, dataset=replace(run.dataset, test=None)))
    with pytest.raises(ValueError, match=r"run is None.*lab\.train"):
        lab.explain_samples(None)


def test_a_secret_forbids_to_share_the_model(text, tmp_path):
    (tmp_path / "a.txt").write_text(text + "\naws = 'AK" + "IAIOSFODNN7EXAMPLE'\n")
    own = read_text(tmp_path)
    data = own.dataset()
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 16, 1, 1, 8))
    config = lab.TrainConfig(4, 3e-3, max_steps=2)
    run = lab.train(model, data, config, prompts=own.prompts(2), progress=False)
    assert "secret: 1. **Do not share this model.**" in lab.model_card(run, own)


def test_what_cannot_have_a_card_gets_a_sentence(run, own, finished):
    with pytest.raises(ValueError, match=r"mine has no samples.*prompts=own\.prompts\(\)"):
        lab.model_card(replace(run, samples=[]), own)
    with pytest.raises(ValueError, match="tiny was trained on another text"):
        lab.model_card(finished, own)
    untested = replace(run, dataset=replace(run.dataset, test=None))
    with pytest.raises(ValueError, match=r"mine has no held-out text.*own\.dataset\(\)"):
        lab.model_card(untested, own)
    never_scored = [replace(progress, test_loss=None) for progress in run.state.history]
    with pytest.raises(ValueError, match="mine has no held-out loss at its best step"):
        lab.model_card(replace(run, state=replace(run.state, history=never_scored)), own)
    for wrong in ((run, None), (None, own), (run, "text"), (own, run)):
        with pytest.raises(ValueError, match="A card is made of a run and the text"):
            lab.model_card(*wrong)
    for wrong in (None, 5, b"My model", "\ud800"):
        with pytest.raises(ValueError, match=r"^title"):
            lab.model_card(run, own, title=wrong)
        with pytest.raises(ValueError, match=r"^purpose"):
            lab.model_card(run, own, purpose=wrong)


EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![](http://evil.example/pixel.png)",
    "https://evil.example",
    "http://evil.example/a?b=c",
    "www.evil.example",
    "WWW.evil.example",
    "ann@evil.example",
    "mailto:ann@evil.example",
    "<https://evil.example>",
    "[a]: http://evil.example",
    "a\n# Another heading",
    "a\n\n## Results\n\n- perfect",
    "a\r\n- a point",
    "- a point",
    "+ a point",
    "* a point",
    "1. a point",
    "1) a point",
    "===",
    "---",
    "# heading",
    "> a quote",
    "**bold** _italic_ ~~gone~~",
    "`code` ```fence```",
    "a | b\n--|--\n1 | 2",
    "$x^2$ and $$y$$",
    "&lt;b&gt; &#60;",
    "\\",
    "\\[a](b)",
    "a\x1b[31m\x00b\u202ec",
]


def rendered(markdown_it, text):
    return markdown_it.render(
        f"# {in_markdown(text)}\n\n{in_markdown(text)}\n\n- “{in_markdown(text)}”.\n"
    )


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_in_a_name_or_prompt_becomes_markup(evil):
    markdown_it = pytest.importorskip("markdown_it").MarkdownIt("commonmark")
    markdown_it.enable(["table", "strikethrough"])
    html = rendered(markdown_it, evil)
    plain = rendered(markdown_it, "plain")
    tags = [part.split(">")[0] for part in html.split("<")[1:]]
    assert tags == [part.split(">")[0] for part in plain.split("<")[1:]]
    assert "\n" not in in_markdown(evil)


@pytest.mark.parametrize("evil", EVIL)
def test_a_card_shows_titles_and_prompts_as_they_are(evil, run, own):
    samples = [{**run.samples[-1], "prompt": evil}]
    edited = replace(run, samples=samples, environment={"processor": evil})
    edited.name = evil  # which no run is made with or saved under
    card = lab.model_card(edited, own, purpose=evil)
    assert "<" not in card
    headings = [line for line in card.split("\n") if line.startswith("#")]
    usual = lab.model_card(run, own, purpose="To try.").split("\n")
    assert len(headings) == sum(line.startswith("#") for line in usual)
    assert len(card.split("\n")) == len(usual)
    active = re.compile(r"(?<!\\)(?:\\\\)*([\[\]@]|:(?=//)|www\.)", re.IGNORECASE)
    assert not active.search(card)


@pytest.mark.parametrize(
    ("title", "harmless"),
    [
        ("Phase 1", "Phase 1"),
        ("Phase 2, again", "Phase 2, again"),
        ("your own text - twice", "your own text - twice"),
        ("=cmd()", "'=cmd()"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\t=cmd()", "'=cmd()"),
        ("\r\n=cmd()", "'=cmd()"),
        ("  =cmd()", "'=cmd()"),
        ("＝cmd()", "'＝cmd()"),
        ("a;=cmd()", "a;'=cmd()"),
        ('a",=cmd()', "a\",'=cmd()"),
        ("a\n=cmd()", "a =cmd()"),
        ("'=cmd()", "'=cmd()"),
    ],
)
def test_a_title_is_no_formula(title, harmless):
    assert in_spreadsheet(title) == harmless
    assert in_spreadsheet(harmless) == harmless


@pytest.mark.parametrize("formula", [r"\(x\)", r"\[x\]", r"\\(x\\)"])
def test_a_backslash_begins_no_formula(formula):
    assert in_markdown(formula).count("&#92;") == formula.count("\\")


@pytest.mark.parametrize(
    ("value", "form", "said"),
    [(-0.001, "+.2f", "+0.00"), (-0.001, ".2f", "0.00"), (-0.01, "+.2f", "-0.01")],
)
def test_a_number_that_rounds_to_0_has_no_minus(value, form, said):
    assert number(value, form) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 tokens"), (1, "1 token"), (2_000, "2,000 tokens")]
)
def test_one_thing_is_no_several(count, said):
    assert counted(count, "token") == said
