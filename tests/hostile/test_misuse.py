"""Public functions given what they cannot use: each answers with one sentence."""

import inspect
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import slmlab as lab
from slmlab.__main__ import main
from slmlab.engine.huggingface import from_huggingface, to_huggingface
from slmlab.engine.rescue import save_or_rescue
from slmlab.exercises import checking, lesson_02, lesson_04
from slmlab.show import progress
from slmlab.show.progress import Prediction
from slmlab.study.experiments.grid import GRID
from slmlab.study.records import problems_of, record
from slmlab.text.corpus import Corpus, Document

pytestmark = pytest.mark.slow

NOTHINGS = (None, 5, "x", 1.5, [1], b"x")


@pytest.fixture(scope="module")
def run(dataset):
    model = lab.GPT(lab.GPTConfig(dataset.tokenizer.n_vocab, 16, 1, 2, 8))
    return lab.train(model, dataset, lab.TrainConfig(2, 1e-3, max_steps=2), progress=False)


@pytest.fixture(scope="module")
def untrained(run):
    return lab.Run(run.model, run.dataset, run.config)


IDS = torch.tensor([1, 2, 3])
TALK = lab.load_dialogues("plain")[:2]
CHAT = lab.chat_tokenizer(lab.train_bpe("a text", 256))
NGRAM = lab.NGram(lab.NGramConfig(9), IDS)
SETUP = lab.Setup.parse("phase-1 vocabulary=bpe-300 n_tokens=300 max_steps=2 n_layer=1")
WRONG_TYPES = {
    "train a model": lambda r, x: lab.train(x, r.dataset, r.config, progress=False),
    "train on": lambda r, x: lab.train(r.model, x, r.config, progress=False),
    "train with": lambda r, x: lab.train(r.model, r.dataset, x, progress=False),
    "fit": lambda r, x: next(lab.fit(r.model, r.dataset, x)),
    "generate by": lambda r, x: lab.generate(x, r.dataset.tokenizer, "a"),
    "generate in": lambda r, x: lab.generate(r.model, x, "a"),
    "generate so": lambda r, x: lab.generate(r.model, r.dataset.tokenizer, "a", 3, x),
    "mean_loss by": lambda r, x: lab.mean_loss(x, IDS),
    "mean_loss on": lambda r, x: lab.mean_loss(r.model, x),
    "token_accuracy": lambda r, x: lab.token_accuracy(r.model, x),
    "text_score by": lambda r, x: lab.text_score(x, r.dataset.tokenizer, "a text"),
    "text_score in": lambda r, x: lab.text_score(r.model, x, "a text"),
    "bits_per_byte": lambda r, x: lab.bits_per_byte(1.0, x),
    "scorecard": lambda r, x: lab.scorecard(x),
    "scorecard of names": lambda r, x: lab.scorecard(r, names=x or 5),
    "scorecard_history": lambda r, x: lab.scorecard_history(x),
    "advice": lambda r, x: lab.advice(x),
    "early_stop": lambda r, x: lab.early_stop(x, 1),
    "size_advice for": lambda r, x: lab.size_advice(x, r.dataset),
    "size_advice on": lambda r, x: lab.size_advice(r.model.config, x),
    "compare": lambda r, x: lab.PHASES[1].compare(x),
    "a model of": lambda r, x: lab.GPT(x),
    "a model's logits": lambda r, x: r.model(x),
    "a model's loss": lambda r, x: r.model.loss(x, IDS[None]),
    "a dataset's tokenizer": lambda r, x: lab.Dataset(IDS, IDS, x),
    "a dataset's source": lambda r, x: lab.Dataset(IDS, IDS, r.dataset.tokenizer, x),
    "to_huggingface": lambda r, x: to_huggingface(x),
    "from_huggingface": lambda r, x: from_huggingface(x),
    "train until": lambda r, x: lab.train(
        r.model, r.dataset, r.config, progress=False, stop=x or 1
    ),
    "data_path": lambda r, x: lab.data_path(text_apart(x)),
    "settings_table": lambda r, x: lab.settings_table(x),
    "perplexity": lambda r, x: lab.perplexity(number_apart(x)),
    "bits_per_byte of": lambda r, x: lab.bits_per_byte(number_apart(x), r.dataset),
    "bits_per_byte on": lambda r, x: lab.bits_per_byte(1.0, r.dataset, x or 5),
    "mean_loss at": lambda r, x: lab.mean_loss(r.model, IDS, [None] if x in (None, [1]) else x),
    "copy_rate": lambda r, x: lab.copy_rate(ids_apart(x), [1, 2]),
    "copy_rate of": lambda r, x: lab.copy_rate([1, 2], ids_apart(x)),
    "longest_match": lambda r, x: lab.longest_match(ids_apart(x), [1, 2]),
    "line_completions by": lambda r, x: lab.line_completions(x, r.dataset, "a"),
    "line_completions in": lambda r, x: lab.line_completions(r.model, x, "a"),
    "overlap_losses by": lambda r, x: lab.overlap_losses(x, r.dataset),
    "overlap_losses on": lambda r, x: lab.overlap_losses(r.model, x),
    "similar_pairs": lambda r, x: lab.similar_pairs(x),
    "families": lambda r, x: lab.families(x),
    "per_file_scores": lambda r, x: lab.per_file_scores(r.model, r.dataset.tokenizer, x),
    "paired_difference": lambda r, x: lab.paired_difference(x, "a", "b"),
    "chat_tokenizer": lambda r, x: lab.chat_tokenizer(x),
    "answer_bits by": lambda r, x: lab.answer_bits(x, CHAT, TALK),
    "answer_bits in": lambda r, x: lab.answer_bits(r.model, x, TALK),
    "answer_bits of": lambda r, x: lab.answer_bits(r.model, CHAT, x),
    "dialogue_dataset of": lambda r, x: lab.dialogue_dataset(x, TALK, CHAT),
    "dialogue_dataset in": lambda r, x: lab.dialogue_dataset(TALK, TALK, x),
    "load_dialogues": lambda r, x: lab.load_dialogues(x),
    "load_puzzles": lambda r, x: lab.load_puzzles(x),
    "show_mask of": lambda r, x: lab.show_mask(x, CHAT),
    "show_mask in": lambda r, x: lab.show_mask(TALK[0], x),
    "a chat": lambda r, x: lab.ChatPanel(x),
    "a reply": lambda r, x: lab.replies.reply(x, CHAT, "Hello"),
    "next_distribution of": lambda r, x: lab.next_distribution(x, []),
    "next_distribution by": lambda r, x: lab.next_distribution(torch.zeros(3), [], x),
    "beam_search by": lambda r, x: lab.beam_search(x, [1], 1, lab.Decoding(beams=2)),
    "beam_search as": lambda r, x: lab.beam_search(r.model, [1], 1, x),
    "a chat by": lambda r, x: lab.ChatPanel({}, decoding=x),
    "NGram": lambda r, x: lab.NGram(x, [1, 2]),
    "NGram of": lambda r, x: lab.NGram(lab.NGramConfig(9), ids_apart(x)),
    "choose_ngram": lambda r, x: lab.choose_ngram(IDS, IDS, 9, x if x != [1] else None),
    "best_looks": lambda r, x: lab.best_looks(x),
    "decision_table": lambda r, x: lab.decision_table(x, x),
    "number_to_beat": lambda r, x: lab.number_to_beat(x),
    "losses_per_byte": lambda r, x: lab.losses_per_byte(x),
    "statistics": lambda r, x: lab.statistics.rank_correlation(x, "a", "b"),
    "a verdict": lambda r, x: lab.verdict.gap_per_doubling(x),
    "segment_losses": lambda r, x: lab.verdict.segment_losses(x),
    "plots of runs": lambda r, x: lab.plots.compared(x),
    "plots of groups": lambda r, x: lab.plots.exam_curves(x),
    "plots of histories": lambda r, x: lab.plots.memory_curves(x),
    "plots of gaps": lambda r, x: lab.plots.seed_spread(x),
    "plots of tables": lambda r, x: lab.plots.phase_gaps(x, {}),
    "plots of sizes": lambda r, x: lab.plots.bits_by_size(x, x),
    "plots of segments": lambda r, x: lab.plots.loss_against_overlap(x, 1.0),
    "token_losses by": lambda r, x: lab.token_losses(x, IDS),
    "generate_tokens by": lambda r, x: next(lab.generate_tokens(x, [1], 1)),
    "generate_tokens after": lambda r, x: next(lab.generate_tokens(r.model, ids_apart(x), 1)),
    "a learning rate": lambda r, x: r.config.learning_rate_at(-1 if x == 5 else x, None),
    "a learning rate of": lambda r, x: r.config.learning_rate_at(1, -1 if x in (None, 5) else x),
    "speculative by": lambda r, x: lab.speculative(x, NGRAM, [1], 1),
    "speculative after": lambda r, x: lab.speculative(r.model, NGRAM, ids_apart(x), 1),
    "speculative with": lambda r, x: lab.speculative(r.model, x, [1], 1),
    "a distribution": lambda r, x: NGRAM.distribution(ids_apart(x)),
    "a guess": lambda r, x: NGRAM.guess(ids_apart(x)),
    "a probability after": lambda r, x: NGRAM.probability(ids_apart(x), 1),
    "a probability of": lambda r, x: NGRAM.probability([1], 9 if x == 5 else x),
    "a set-up on": lambda r, x: SETUP.train(x or 5, progress=False),
    "a set-up of": lambda r, x: SETUP.model("x" if x in (None, 5) else x),
    "a set-up's text": lambda r, x: SETUP.dataset(tested=x),
    "a set-up's name": lambda r, x: SETUP.train(r.dataset, text_apart(x), progress=False),
    "a phase on": lambda r, x: lab.PHASES[1].run("right-sized", dataset=x or 5, progress=False),
    "a phase's model": lambda r, x: lab.PHASES[1].model("x" if x in (None, 5) else x),
    "a source": lambda r, x: lab.Dataset.from_text("a " * 99, r.dataset.tokenizer, source=x or 5),
    "a corpus": lambda r, x: lab.Corpus(x),
    "a corpus beside": lambda r, x: lab.load_held_out().overlap(x),
    "a record": lambda r, x: lab.plots.loss_curves(r, recorded=x or 5),
}


def text_apart(value):
    return 5 if value == "x" else value


def number_apart(value):
    return "1" if value in (5, 1.5) else value


def ids_apart(value):
    return [-1] if value == [1] else value


@pytest.mark.parametrize("value", NOTHINGS, ids=repr)
@pytest.mark.parametrize("call", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_what_is_no_model_run_or_text_gets_a_sentence(run, call, value):
    with pytest.raises(ValueError, match=r"it must be"):
        call(run, value)


@pytest.mark.parametrize("name", sorted({*lab.__all__} - {"DataError"}))
def test_no_public_function_ends_in_an_error_of_pythons(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = getattr(lab, name)
    parameters = inspect.signature(public).parameters.values() if callable(public) else ()
    asked = [p for p in parameters if p.default is p.empty and p.kind != p.KEYWORD_ONLY]
    for value in (None, 5, "x", [], {}) if parameters else ():
        with suppress(ValueError, lab.DataError):
            public(*[value] * max(1, len(asked)))


MODELS = {
    "generate": lambda r, m: lab.generate(m, r.dataset.tokenizer, "a"),
    "generate_tokens": lambda r, m: next(lab.generate_tokens(m, [1], 1)),
    "mean_loss": lambda r, m: lab.mean_loss(m, IDS),
    "token_losses": lambda r, m: lab.token_losses(m, IDS),
    "token_accuracy": lambda r, m: lab.token_accuracy(m, IDS),
    "text_score": lambda r, m: lab.text_score(m, r.dataset.tokenizer, "a text"),
    "per_file_scores": lambda r, m: lab.per_file_scores(
        m, r.dataset.tokenizer, lab.load_held_out()
    ),
    "overlap_losses": lambda r, m: lab.overlap_losses(m, r.dataset),
    "line_completions": lambda r, m: lab.line_completions(m, r.dataset, "a b c d e f g h i j k"),
}


@pytest.mark.parametrize("call", MODELS.values(), ids=MODELS)
def test_a_module_that_is_no_language_model_gets_a_sentence(run, call):
    with pytest.raises(ValueError, match=r"model is Linear\(.*\); it must be a GPT, such as"):
        call(run, torch.nn.Linear(2, 2))


def test_counting_finishes_lines_as_well(run):
    counts = lab.NGram(lab.NGramConfig(run.dataset.tokenizer.n_vocab), run.dataset.train)
    assert len(lab.line_completions(counts, run.dataset, "one two three four five six\n"))


NO_TEXTS = {
    "a number": torch.tensor(1),
    "a number with a point": torch.tensor(1.5),
    "below 0": torch.tensor([-1, 2]),
    "without end": torch.full((3,), float("inf")),
    "complex": torch.tensor([1j]),
    "short": torch.tensor([1, 2], dtype=torch.uint16),
    "in eight bits": torch.ones(3).to(torch.float8_e4m3fn),
    "sparse": torch.tensor([0, 1, 2]).to_sparse(),
    "without data": torch.empty(4, dtype=torch.long, device="meta"),
    "without fractions or data": torch.empty(4, device="meta"),
    "a huge range": range(10**9),
    "a range without measure": range(10**30),
}
OF_IDS = {
    "mean_loss": lambda r, x: lab.mean_loss(r.model, x),
    "token_losses": lambda r, x: lab.token_losses(r.model, x),
    "token_accuracy": lambda r, x: lab.token_accuracy(r.model, x),
    "bits_per_byte": lambda r, x: lab.bits_per_byte(1.0, r.dataset, x),
    "a dataset": lambda r, x: lab.Dataset(x, IDS, r.dataset.tokenizer),
}
OF_LISTS = {
    "copy_rate": lambda r, x: lab.copy_rate([1, 2], x),
    "NGram": lambda r, x: lab.NGram(lab.NGramConfig(9), x),
    "a distribution": lambda r, x: NGRAM.distribution(x),
    "a guess": lambda r, x: NGRAM.guess(x),
    "generate_tokens": lambda r, x: next(lab.generate_tokens(r.model, x, 1)),
    "decode": lambda r, x: r.dataset.tokenizer.decode(x),
}
SPARSE = torch.ones(3).to_sparse()
PENALTY = lab.Decoding(repetition_penalty=1.5)
OF_LISTS["next_distribution"] = lambda r, x: lab.next_distribution(torch.ones(9), x, PENALTY)
GOOD_LISTS = ("short", "sparse")  # by which some of them can walk


@pytest.mark.parametrize("ids", NO_TEXTS.values(), ids=NO_TEXTS)
@pytest.mark.parametrize("call", OF_IDS.values(), ids=OF_IDS)
def test_what_is_no_text_gets_a_sentence(run, call, ids):
    with pytest.raises(ValueError, match=r"it must be a 1-D int64 tensor of token ids\.$"):
        call(run, ids)


@pytest.mark.parametrize("ids", [v for k, v in NO_TEXTS.items() if k not in GOOD_LISTS], ids=str)
@pytest.mark.parametrize("call", OF_LISTS.values(), ids=OF_LISTS)
def test_what_is_no_list_of_ids_gets_a_sentence(run, call, ids):
    with pytest.raises(ValueError, match=r"it must be a (list|whole number)"):
        call(run, ids)


@pytest.mark.parametrize("step", [0, -1, -(10**400), 1.5, None, torch.ones(2)], ids=str)
def test_no_step_has_no_learning_rate(step):
    config = lab.TrainConfig(2, 1e-3, max_steps=5, warmup_steps=0)
    with pytest.raises(ValueError, match=r"step is .*; it must be a whole number from 1"):
        config.learning_rate_at(step, 5)


TABLES = (pd.DataFrame(), pd.DataFrame({"a": [1]}), pd.Series([1, 2]), pd.Index(["a"]), pd.NA)
NAMED = {
    "corpus_dataset": lambda x: lab.corpus_dataset(1_000, x),
    "a phase's text": lambda x: lab.PHASES[2].dataset(x),
    "a phase": lambda x: lab.PHASES[2].run(x),
    "a set-up's vocabulary": lambda x: SETUP.replace(vocabulary=x),
    "a set-up's validation": lambda x: SETUP.replace(validation=x),
    "a set-up's model": lambda x: SETUP.model(x),
    "a set-up's name": lambda x: SETUP.train(None, x),
    "a set-up's data": lambda x: SETUP.train(x),
    "phase_runs": lambda x: lab.phase_runs(x),
    "recorded": lambda x: lab.recorded(x),
    "a source": lambda x: lab.Dataset.from_text("a " * 99, lab.gpt2_tokenizer(), source=x),
}


@pytest.mark.parametrize("value", TABLES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("call", NAMED.values(), ids=NAMED)
def test_a_table_in_the_place_of_a_name_gets_a_sentence(call, value):
    with pytest.raises((ValueError, lab.DataError), match=r"must be|There is no|No phase") as told:
        call(value)
    assert "\n" not in str(told.value) and "ambiguous" not in str(told.value)


class Painted:
    def __repr__(self):
        return "a\x1b[31m\nb" + "x" * 5_000


@pytest.mark.parametrize("value", [Painted(), torch.ones(3, 3), "x" * 9_999, "\x1b[2J\n"], ids=type)
@pytest.mark.parametrize(
    "call",
    [
        *(lambda r, x: lab.recorded(x), lambda r, x: SETUP.replace(validation=x)),
        *(lambda r, x: lab.generate(r.model, x, "a"), lambda r, x: lab.load_corpus(x)),
        lambda r, x: r.sample(x if not isinstance(x, str) else Painted()),
        lambda r, x: lab.text.files.write_atomically(x, b""),
    ],
)
def test_a_value_in_a_sentence_is_short_and_plain(run, call, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, lab.DataError)) as told:
        call(run, value)
    assert str(told.value).isprintable() and len(str(told.value)) < 900


@pytest.mark.parametrize("sample", [None, "the", [1], {}, {"step": 1, "prompt": "a"}], ids=str)
def test_a_run_has_samples_only(run, sample):
    with pytest.raises(ValueError, match=r"A sample of the run is .* of ids, prompt, step, text,"):
        replace(run, samples=[sample])


def test_a_phase_is_trained_with_a_name_and_prompts_of_ones_own(run):
    options = {"dataset": run.dataset, "progress": False, "name": "mine", "prompts": ["Two"]}
    mine = SETUP.train(**options)
    assert mine.name == "mine" and [s["prompt"] for s in mine.samples] == ["Two"]
    assert SETUP.train(run.dataset, progress=False).name == str(SETUP)


@pytest.mark.parametrize("ids", [None, 2.5, "", [[1]], [None], [9], [-1], range(10**12)], ids=str)
def test_a_penalty_for_what_is_no_list_of_ids_gets_a_sentence(ids):
    with pytest.raises(ValueError, match=r"it must be a (list|whole number) .*\.$"):
        lab.next_distribution(torch.ones(9), ids, PENALTY)


def test_logits_without_numbers_get_a_sentence():
    with pytest.raises(ValueError, match=r"logits is .*; it must be a 1-D tensor with a number"):
        lab.next_distribution(torch.ones(9, device="meta"), [1], PENALTY)
    assert lab.next_distribution(torch.ones(9), [], PENALTY).sum() == pytest.approx(1)


SCORES = pd.DataFrame(
    [(m, f, 0, 9.0, 5) for m in "ab" for f in ("x.py", "y.py")],
    columns=["model", "file", "seed", "bits", "bytes"],
)
COMPARED = {
    "a model": lambda: lab.paired_difference(SCORES, [], "b"),
    "another model": lambda: lab.paired_difference(SCORES, "a", None),
    "families": lambda: lab.paired_difference(SCORES, "a", "b", None),
    "a family": lambda: lab.paired_difference(SCORES, "a", "b", [5]),
    "a family that is a name": lambda: lab.paired_difference(SCORES, "a", "b", ["x.py"]),
    "a name in a family": lambda: lab.paired_difference(SCORES, "a", "b", [[[]]]),
    "files": lambda: lab.paired_difference(SCORES.assign(file=[[1]] * 4), "a", "b"),
    "bits": lambda: lab.paired_difference(SCORES.assign(bits="many"), "a", "b"),
    "a name": lambda: Document([], "text"),
    "a text": lambda: Document("a", None),
    "contexts": lambda: NGRAM.loss(None, IDS[None]),
    "targets": lambda: NGRAM.loss(IDS[None], None),
    "a row of targets": lambda: NGRAM.loss(IDS[None], IDS),
    "fewer targets": lambda: NGRAM.loss(IDS[None], IDS[None, 1:]),
    "no rows": lambda: NGRAM.loss(IDS[None][:0], IDS[None][:0]),
    "floats": lambda: NGRAM(IDS[None].float()),
    "a row of ids": lambda: NGRAM.next_logits(IDS),
    "a model of another kind": lambda: from_huggingface(
        SimpleNamespace(config=SimpleNamespace(activation_function="gelu_new"))
    ),
    "digits": lambda: lab.Setup.parse(f"phase-2 n_layer={'9' * 5_000}"),
    "a setting twice": lambda: lab.Setup.parse("phase-1 seed=1 seed=2"),
    "a seed of a run's name": lambda: lab.PHASES[1].run_name(seed=10**5_000),
    "a seed of a record": lambda: lab.PHASES[1].recorded(seed=10**5_000),
    "a way to write": lambda: lab.statistics.mean_and_range(SCORES, "model", {"bits": ".2q"}),
    "a way that is no text": lambda: lab.statistics.mean_and_range(SCORES, "model", {"bits": 2}),
    "a mean of text": lambda: lab.statistics.mean_and_range(SCORES, "model", {"file": ".2f"}),
    "bits of another kind": lambda: lab.paired_difference(SCORES.assign(bits=1j), "a", "b"),
    "a reply to nothing": lambda: lab.replies.Reply(None, "Hello.", True, 1.0, (1,)),
    "a reply of nothing": lambda: lab.replies.Reply("Hi", None, True, 1.0, (1,)),
    "a reply that ended thrice": lambda: lab.replies.Reply("Hi", "Hello.", 3, 1.0, (1,)),
    "a reply without loss": lambda: lab.replies.Reply("Hi", "Hello.", True, None, (1,)),
    "a reply without ids": lambda: lab.replies.Reply("Hi", "Hello.", True, 1.0, None),
}


@pytest.mark.parametrize("call", COMPARED.values(), ids=COMPARED)
def test_what_cannot_be_used_gets_a_sentence(call):
    with pytest.raises(ValueError) as told:
        call()
    sentence = str(told.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 300
    assert "pandas" not in sentence and "zip" not in sentence


def tallied(**changes):
    """Scores of two seeds of the base, and of an arm with half the text."""
    rows = [
        (arm, seed, file, 10, 9.0 + seed + len(arm), 5)
        for arm in ("base", "half the text")
        for seed in (0, 1)
        for file in ("x.py", "y.py")
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "file", "step", "bits", "bytes"]).assign(
        **changes
    )


NO_SCORES = {
    "none": lambda: None,
    "a text": lambda: "x",
    "a dictionary": dict,
    "looks": lambda: tallied().rename(columns={"model": "arm"}),
    "no rows": lambda: tallied().iloc[:0],
    "no base": lambda: tallied().query("model != 'base'"),
    "no number": lambda: tallied(bits=float("nan")),
    "no end": lambda: tallied(bits=float("inf")),
    "a text for bits": lambda: tallied(bits="many"),
    "complex bits": lambda: tallied(bits=1j),
    "no bytes": lambda: tallied(bytes=0),
    "other files": lambda: tallied().drop(index=1),
    "a file twice": lambda: tallied(file="x.py"),
    "a list for a file": lambda: tallied(file=[[1]] * 8),
    "a number for a model": lambda: tallied(model=5),
    "a list for a model": lambda: tallied(model=[[1]] * 8),
}


@pytest.mark.parametrize("scores", NO_SCORES.values(), ids=NO_SCORES)
@pytest.mark.parametrize("call", [lab.techniques.noise_floor, lab.techniques.technique_table])
def test_what_is_no_table_of_scores_gets_a_sentence(call, scores):
    with pytest.raises(ValueError, match=r"must be|lacks|needs one|has no rows|without bytes") as e:
        call(scores())
    assert str(e.value).endswith(".") and len(str(e.value)) < 300


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"step": "ten"}, "A step is 'ten'; it must be"),
        ({"model": "base"}, "one arm with half the text"),
    ],
)
def test_a_table_of_techniques_needs_steps_and_half_the_text(changes, part):
    table = tallied()
    if "model" in changes:
        table = table.query("model == 'base'")
    with pytest.raises(ValueError, match=part):
        lab.techniques.technique_table(table.assign(**changes))


GPT2_KINDS = ("GPT2Model", "GPT2ForSequenceClassification", "GPTNeoForCausalLM")


@pytest.mark.parametrize("kind", GPT2_KINDS)
def test_a_model_of_hugging_face_without_gpt2s_head_gets_a_sentence(kind):
    transformers = pytest.importorskip("transformers")
    if kind == "GPTNeoForCausalLM":
        shape = {"hidden_size": 8, "num_layers": 1, "attention_types": [[["global"], 1]]}
        config = transformers.GPTNeoConfig(vocab_size=9, num_heads=2, **shape)
    else:
        config = transformers.GPT2Config(vocab_size=9, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(ValueError, match=r"a GPT2LMHeadModel; load it with transformers"):
        from_huggingface(getattr(transformers, kind)(config))


def test_without_transformers_a_sentence_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="install it with `pip install transformers`"):
        to_huggingface(run.model)
    with pytest.raises(ValueError, match="model is None; it must be a GPT"):
        to_huggingface(None)


def test_a_document_does_not_rule_the_terminal():
    named = Corpus((Document("\x1b[31mx", "a"),))
    for call in (lambda: lab.families(named), Corpus((Document("\x1b[31mx", "("),)).inspect):
        with pytest.raises(ValueError, match="\\[31mx") as told:
            call()
        assert str(told.value).isprintable()
    with pytest.raises(ValueError, match="Two scripts are named \ufffd"):
        lab.similar_pairs(named, named, n=1)


def test_a_device_that_there_is_not_is_told_as_such(capsys):
    assert main(["run", "phase-2 vocabulary=bpe-300 device=banana"]) == 1
    assert "There is no device 'banana' here" in capsys.readouterr().err


TABLE = pd.DataFrame({"gap": [1.0], "step": [0]})
OTHER_COLUMNS = {
    "bits_by_size": lambda t: lab.plots.bits_by_size(t, t),
    "memory_curves": lambda t: lab.plots.memory_curves([t]),
    "suspect_perplexities": lambda t: lab.plots.suspect_perplexities(t),
    "loss_against_overlap": lambda t: lab.plots.loss_against_overlap(t, 1.0),
    "phase_gaps": lambda t: lab.plots.phase_gaps(t, {"ours": t}),
    "correlation_intervals": lambda t: lab.plots.correlation_intervals(t),
    "paired_difference": lambda t: lab.paired_difference(t, "a", "b"),
    "best_looks": lambda t: lab.best_looks(t),
    "at_best_rates": lambda t: lab.at_best_rates(t),
    "size_table": lambda t: lab.size_table(t),
    "decision_table": lambda t: lab.decision_table(t, t),
    "mean_and_range": lambda t: lab.statistics.mean_and_range(t, "speed", {"gap": ".2f"}),
    "bootstrap": lambda t: lab.statistics.bootstrap(t, len, ["speed"]),
    "rank_correlations": lambda t: lab.statistics.rank_correlations(t, ["gap"], [5], ["step"]),
    "gap_per_doubling": lambda t: lab.verdict.gap_per_doubling(t),
}


@pytest.mark.parametrize("call", OTHER_COLUMNS.values(), ids=OTHER_COLUMNS)
def test_a_table_of_something_else_gets_a_sentence(call):
    with pytest.raises(ValueError, match=r"lacks .*; it needs .*\.$"):
        call(TABLE)


def test_a_table_without_rows_gets_a_sentence():
    with pytest.raises(ValueError, match="has no rows; give one with rows, such as"):
        lab.verdict.gap_per_doubling(pd.DataFrame(columns=[*GRID.columns, "gap"]))


@pytest.mark.parametrize(("index", "kind"), [(9, IndexError), (-6, IndexError), ("x", ValueError)])
def test_a_phase_that_there_is_not_gets_a_sentence(index, kind):
    with pytest.raises(kind, match=r"There is no phase .*; the phases are 0 to 4, such as"):
        lab.PHASES[index]
    assert [phase.number for phase in lab.PHASES] == [0, 1, 2, 3, 4] and len(lab.PHASES[1:3]) == 2


def test_problems_of_no_folder_get_a_sentence():
    with pytest.raises(lab.DataError, match="give the path of a file or folder"):
        problems_of(None)


TWO = torch.tensor([1, 2])
WRONG_VALUES = {
    "an id too large": (lambda r: lab.mean_loss(r.model, torch.tensor([1, 99_999])), "token id"),
    "ids with a point": (lambda r: lab.mean_loss(r.model, torch.tensor([1.0, 2.0])), "int64"),
    "rows of ids": (lambda r: lab.mean_loss(r.model, torch.ones(2, 2).long()), "1-D"),
    "no windows": (lambda r: lab.mean_loss(r.model, IDS, []), "windows"),
    "one id": (lambda r: lab.bits_per_byte(1.0, r.dataset, IDS[:1]), "at least 2"),
    "no text": (
        lambda r: lab.train(r.model, replace(r.dataset, train=IDS[:0]), r.config, progress=False),
        "at least 2",
    ),
    "passages of one": (
        lambda r: lab.overlap_losses(r.model, r.dataset, 1),
        "from 2 to 100,000,000",
    ),
    "a penalty near 0": (lambda r: r.sample("a", repetition_penalty=1e-45), "not finite"),
    "stop": (lambda r: lab.Decoding(stop=5), "list of strings"),
    "a context": (lambda r: lab.GPTConfig(10, 10**5, 1, 1, 1), "block_size"),
    "a long name": (lambda r: lab.recorded("x" * 3000), "no recorded run"),
    "a vocabulary": (lambda r: lab.phase_runs("bpe-500"), "No phase was recorded"),
    "a batch": (
        lambda r: lab.train(r.model, r.dataset, replace(r.config, batch_size=10**6)),
        r"1,000,000 windows of 16 tokens needs about [\d,]+ MB of memory, and 10 MB are free; make",
    ),
    "a bar": (lambda r: lab.train(r.model, r.dataset, r.config, progress=TWO), "True or False"),
    "samples": (
        lambda r: lab.train(r.model, r.dataset, r.config, sample_each_evaluation=TWO),
        "sample_each_evaluation is .* it must be True or False",
    ),
    "a bar to resume": (lambda r: r.resume(progress=TWO), "True or False"),
    "a cosine": (lambda r: replace(r.config, cosine=TWO), "True or False"),
    "a cache": (lambda r: list(lab.generate_tokens(r.model, [1], 2, use_cache=TWO)), "use_cache"),
    "too many tokens": (lambda r: r.sample("a", 2**63), "from 1 to 1,000,000"),
    "no step": (lambda r: lab.scorecard(r, step=torch.zeros(0)), "step is .* whole number"),
    "sparse logits": (lambda r: lab.next_distribution(SPARSE, [1], PENALTY), "logits is"),
    "sparse logits of one": (lambda r: lab.next_distribution(SPARSE, [1]), "logits is"),
    "a text of 5000 digits": (
        lambda r: lab.Setup.parse("phase-1").replace(n_tokens=10**5000),
        "n_tokens is a number that is far too large, but the text has",
    ),
    "a guess of 5000 digits": (lambda r: Prediction(1, best_step=10**5000), "best_step is a"),
    "no logits": (lambda r: lab.next_distribution(torch.zeros(0), [1]), "logits is"),
    "no records": (lambda r: record("nowhere", 5), "what is 5; it must be a list of names"),
    "a record of a number": (lambda r: record("nowhere", [5]), "is 5; it must be text"),
    "keep": (lambda r: r.save("nowhere", keep=TWO), "keep is"),
    "no attention": (lambda r: lab.GPT(r.model.config, attention=5), "attention is 5; it must be"),
    "no MLP": (lambda r: lab.GPT(r.model.config, mlp="x"), "mlp is 'x'; it must be"),
    "a device": (lambda r: lab.train(r.model, r.dataset, replace(r.config, device="hpu")), "hpu"),
}


@pytest.mark.parametrize(("call", "part"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_what_cannot_be_worked_with_gets_a_sentence(run, call, part, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**7))
    monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(free=0))
    with pytest.raises((ValueError, lab.DataError), match=part):
        call(run)


@pytest.mark.parametrize(
    "call", [lab.advice, lambda r: lab.early_stop(r, 1), lab.PHASES[1].compare]
)
def test_a_run_that_was_not_trained_gets_a_sentence(untrained, call):
    with pytest.raises(ValueError, match="was not trained yet"):
        call(untrained)


def test_the_likeliest_token_stays_however_small_top_p_is(run):
    assert run.sample("a", top_p=1e-60) == run.sample("a", temperature=0)


def test_passages_longer_than_the_text_are_none_at_once(dataset):
    assert lab.copy_rate([1, 2], [1, 2], 10**400) != 0  # NaN: there are none


@pytest.mark.parametrize("value", [None, 5, "x"])
@pytest.mark.parametrize("field", ["model", "dataset", "config", "state", "samples", "environment"])
def test_a_run_of_something_else_is_neither_made_nor_saved(run, tmp_path, field, value):
    with pytest.raises(ValueError, match=rf"The run's {field} is .*; it must be"):
        replace(run, **{field: value})
    changed = replace(run)
    setattr(changed, field, value)
    with pytest.raises(ValueError, match=rf"The run's {field} is .*; it must be"):
        changed.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", [f.name for f in fields(lab.TrainState) if f.name != "lock"])
def test_a_state_of_something_else_is_not_saved(run, tmp_path, field):
    for value in (None, "x", [1]):
        state = replace(run.state, lock=threading.RLock(), **{field: value})
        with suppress(ValueError):  # a sentence, or a run without it
            replace(run, state=state).save(tmp_path / "run")
            assert lab.Run.load(tmp_path / "run").state.step == 2


@pytest.mark.parametrize("name", [".x.new", ".x.old"])
def test_a_run_cannot_have_the_name_of_what_a_save_leaves(run, tmp_path, name):
    with pytest.raises(lab.DataError, match="is no name for a run's folder"):
        run.save(tmp_path / name)


def test_a_history_that_could_not_be_loaded_is_not_saved(tmp_path):
    own_test = lab.corpus_dataset(300, "right-sized").with_test("a test of my own")
    model = lab.GPT(lab.GPTConfig(own_test.tokenizer.n_vocab, 8, 1, 1, 8))
    run = lab.train(model, own_test, lab.TrainConfig(2, 1e-3, max_steps=1), progress=False)
    run.save(tmp_path / "run")
    with pytest.raises(ValueError, match="Only a run on the corpus"):
        run.save(tmp_path / "run", keep="history")
    assert lab.Run.load(tmp_path / "run").has_weights


def test_what_cannot_be_kept_is_told_before_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lab.Setup, "train", None)
    arguments = ["run", "phase-1 order=1 max_steps=3", "--out", str(tmp_path / "a")]
    assert main([*arguments, "--keep", "history"]) == 1
    assert "Only a run on the corpus" in capsys.readouterr().err


def test_ctrl_c_waits_for_a_save_and_is_told_once(run, tmp_path, monkeypatch):
    save, told = lab.Run.save, []

    def interrupted(*arguments, **options):
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        return save(*arguments, **options)

    monkeypatch.setattr(lab.Run, "save", interrupted)
    save_or_rescue(run, tmp_path / "run", "all", told.append)
    assert lab.Run.load(tmp_path / "run").state.step == 2
    assert told == ["Saving; please wait."]


@pytest.mark.parametrize("arguments", [["run", "phase-1", "--out", ""], ["sample", "", "The"]])
def test_an_empty_path_is_refused_before_training(arguments, capsys, monkeypatch):
    monkeypatch.setattr(lab.Setup, "train", None)
    assert main(arguments) == 1
    assert "The path is ''; give the path" in capsys.readouterr().err


@pytest.fixture
def no_temporary_space(tmp_path, monkeypatch):
    """A disk without any space but, perhaps, in the home folder."""

    def none(**where):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "run"


def test_a_run_is_rescued_to_the_home_folder_without_temporary_space(run, no_temporary_space):
    told = []
    (home := lab.text.files.user_path("~")).mkdir()
    saved = save_or_rescue(run, no_temporary_space, "all", told.append)
    assert saved.parent.parent == home and str(saved) in told[0]
    assert lab.Run.load(saved).state.step == 2


def test_a_run_that_can_be_saved_nowhere_is_told_in_a_sentence(
    run, no_temporary_space, monkeypatch
):
    def none(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", none)
    with pytest.raises(lab.DataError, match=r"could not be saved to .*, nor to .*\.") as told:
        save_or_rescue(run, no_temporary_space, "all", pytest.fail)
    assert told.value.run is run


def test_a_rescue_that_fails_leaves_no_folder(run, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise lab.DataError("No space left.")

    monkeypatch.setattr(lab.Run, "save", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(lab.DataError, match="nor to a temporary folder"):
        save_or_rescue(run, tmp_path / "run", "all", pytest.fail)
    assert not list(tmp_path.iterdir())


def test_a_sample_does_not_rule_the_terminal(run):
    run.samples.append({"step": 2, "prompt": "", "text": "a\x1b]0;owned\x07\nb", "ids": [1]})
    text = str(lab.report(run))
    run.samples.pop()
    assert "owned" in text and "\x1b" not in text and "\x07" not in text


def test_a_table_of_samples_does_not_rule_the_terminal(run):
    run.samples.append({"step": 2, "prompt": "\x1b]0;owned\x07\n", "text": "x", "ids": [1]})
    [prompt] = lab.scorecard(run, 2).index[-1:]
    run.samples.pop()
    assert prompt == "\ufffd]0;owned\ufffd\n"


def test_a_class_board_follows_no_link(tmp_path):
    (tmp_path / "board").mkdir()
    outside = tmp_path / "outside.csv"
    outside.write_text("title,guessed_gap,locked,real_gap\nmine,1.0,True,\n")
    (tmp_path / "board" / "anna.csv").symlink_to(outside)
    with pytest.raises(lab.DataError, match="is not a table of predictions"):
        lab.class_board(tmp_path / "board")


@pytest.mark.parametrize("ids", [[[5000, 1]], [[-1, 1]]])
def test_ids_beyond_a_models_rows_are_told_as_such(run, ids):
    ids = torch.tensor(ids)
    for ask in (run.model, lambda ids: run.model.loss(ids, torch.zeros(1, 2, dtype=torch.long))):
        with pytest.raises(ValueError, match=r"idx is .* numbers from 0 to \d+\."):
            ask(ids)


def test_a_token_without_a_target_is_refused(run):
    with pytest.raises(ValueError, match="2 tokens have 1 targets; give each its own"):
        run.model.loss(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long))


NO_EXAMS = {
    "a number": 3,
    "a share": 0.2,
    "a truth value": True,
    "a corpus": lambda: lab.load_corpus(),
    "a script": lambda: lab.load_corpus().documents[0],
    "scripts": lambda: [lab.load_corpus().documents[0]],
    "nothing": [],
}


@pytest.mark.parametrize("kind", NO_EXAMS)
def test_an_exam_that_is_no_list_of_names_gets_a_short_sentence(kind):
    exam = NO_EXAMS[kind]
    with pytest.raises(checking.Mistake, match=r"^`exam` should be a list of some names of"):
        lesson_02.exam(exam() if callable(exam) else exam)


NO_PLANS = {
    "a series": lambda: pd.Series([True, False]),
    "an array": lambda: np.array([True, False]),
    "a tensor": lambda: torch.tensor([True, False]),
    "a table": lambda: pd.DataFrame({"a": [True]}),
    "a missing value": lambda: pd.NA,
    "a huge number": lambda: 10**400,
    "a phase": lambda: lab.PHASES[1],
}


@pytest.mark.parametrize("kind", NO_PLANS)
def test_an_answer_that_is_no_truth_value_gets_a_short_sentence(kind):
    with pytest.raises(
        checking.Mistake, match=r"`read_a` is .*; it should be True or False"
    ) as told:
        lesson_04.plans(NO_PLANS[kind](), False, True, False)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("answer", [10**400, lab.PHASES[1]])
def test_an_answer_that_is_no_number_gets_a_short_sentence(answer):
    with pytest.raises(checking.Mistake, match=r"`size` is .*; it should be one number") as told:
        checking.number(answer, "size")
    assert len(str(told.value)) < 200


def test_progress_kept_in_a_folder_is_told_with_its_path_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_PROGRESS", str(tmp_path))
    with pytest.warns(UserWarning, match="from '.*Name a file that can be read and written"):
        assert progress.read() == progress.Progress()


SETUP_PARTS = [lab.PHASES[2].setup.shape, lab.PHASES[2].setup.data, lab.PHASES[2].setup.training]


@pytest.mark.parametrize(("place", "name"), [(0, "shape"), (1, "data"), (2, "training")])
@pytest.mark.parametrize("value", [1, None, "phase-2", SETUP_PARTS])
def test_a_setup_of_other_parts_is_refused(place, name, value):
    parts = list(SETUP_PARTS)
    parts[place] = value
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be an? .*, such as lab"):
        lab.Setup(*parts)


HUGE = {
    "families": lambda r, n: lab.families(lab.load_held_out(), n=n),
    "similar_pairs": lambda r, n: lab.similar_pairs(lab.load_held_out(), n=n),
    "overlap_losses": lambda r, n: lab.overlap_losses(r.model, r.dataset, n),
    "top_k": lambda r, n: str(lab.Decoding(top_k=n)),
    "order": lambda r, n: str(SETUP.replace(order=n)),
    "n_layer": lambda r, n: lab.Setup.parse(f"phase-2 n_layer=-{'9' * 5000}"),
}


@pytest.mark.parametrize("use", HUGE)
def test_a_number_of_5000_digits_gets_a_sentence(run, use):
    with pytest.raises(ValueError, match="is a number that is far too large") as told:
        HUGE[use](run, 10**5000)
    assert len(str(told.value)) < 200


def test_a_working_folder_that_is_gone_is_told_as_such(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for path in ("run", "./run"):
        with pytest.raises(lab.DataError, match="The working folder is gone"):
            lab.text.files.user_path(path)
    assert lab.text.files.user_path(tmp_path) == tmp_path
