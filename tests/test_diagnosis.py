"""What a run's numbers mean, each measure against a hand-made case or brute force."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Dataset, TrainState, gap_band
from slmlab.study.diagnosis import GAP_NOISE, MAX_USEFUL_RATIO, early_stop
from slmlab.study.domain import corpus_names
from slmlab.study.memorisation import line_completions
from slmlab.study.samples import names_used, parses, repetition_rate, scorecard_history


def untrained(state):
    """A run that has a history only."""
    ids = torch.arange(4)
    dataset = Dataset(ids, ids, lab.gpt2_tokenizer())
    return lab.Run(
        lab.GPT(lab.GPTConfig(4, 2, 1, 1, 1)), dataset, lab.TrainConfig(1, 1e-3, max_steps=1), state
    )


@pytest.mark.parametrize(
    ("gap", "name"),
    [
        (-9.0, "suspicious"),
        (-0.17, "suspicious"),
        (-GAP_NOISE, "suspicious"),
        (-0.0699, "good"),  # no more than two texts differ by before any training
        (-0.001, "good"),
        (-1e-9, "good"),
        (0.0, "good"),
        (0.4999, "good"),
        (0.5, "acceptable"),
        (0.9999, "acceptable"),
        (1.0, "moderate"),
        (2.9999, "moderate"),
        (3.0, "severe"),
        (4.9999, "severe"),
        (5.0, "catastrophic"),
        (6.9, "catastrophic"),
        (1e9, "catastrophic"),
    ],
)
def test_bands_are_the_published_ones(gap, name):
    assert gap_band(gap).name == name


def test_a_band_says_how_many_times_the_perplexity_is():
    for band in lab.GAP_BANDS[1:]:
        for border in (band.low, band.high):
            if 0 < border < math.inf:
                times = math.exp(border)
                assert f"{times:.0f}" in band.meaning or f"{times:.1f}" in band.meaning


@pytest.mark.slow
def test_losses_per_byte_are_those_of_each_text():
    run = lab.PHASES[1].recorded("right-sized")
    table, history, data = lab.losses_per_byte(run), run.history.set_index("step"), run.dataset
    assert list(table.columns) == ["training", "validation", "held-out"]
    for name, column, ids in (
        ("training", "train_loss", data.train),
        ("validation", "val_loss", data.val),
        ("held-out", "test_loss", data.test),
    ):
        expected = lab.bits_per_byte(history.loc[500, column], data, ids)
        assert table.loc[500, name] == pytest.approx(expected)
    without = lab.losses_per_byte(lab.PHASES[1].recorded())
    assert list(without.columns) == ["training", "validation"]


def test_bands_touch_without_overlap():
    for below, above in pairwise(lab.GAP_BANDS):
        assert below.high == above.low
    assert lab.GAP_BANDS[0].low == -math.inf
    assert lab.GAP_BANDS[-1].high == math.inf


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
def test_losses_that_are_not_finite_have_no_band(gap):
    with pytest.raises(ValueError, match="in no band: the run has no finite losses"):
        gap_band(gap)


@pytest.mark.parametrize("gap", [None, "0.5", True, [0.5]])
def test_a_gap_that_is_no_number_is_refused(gap):
    with pytest.raises(ValueError, match=r"^The gap is .*; it must be a number"):
        gap_band(gap)


@pytest.mark.slow
def test_the_noise_is_what_untrained_models_show():
    runs = [phase.recorded("right-sized", seed) for phase in lab.PHASES for seed in range(3)]
    firsts = [run.state.history[0] for run in runs]
    assert sum(abs(now.val_loss - now.train_loss) > GAP_NOISE for now in firsts) == 1


def test_perplexity_is_the_number_of_equally_likely_tokens():
    assert lab.perplexity(math.log(50)) == pytest.approx(50)
    assert lab.perplexity(0) == 1
    assert math.isfinite(lab.perplexity(1e6))


def test_bits_per_byte_of_a_hand_made_case(gpt2):
    data = Dataset(torch.tensor([0, 1]), torch.tensor(gpt2.encode("say hello world")), gpt2)
    assert len(data.val) == 3
    in_bits = 2 * 3.0 / math.log(2)
    assert lab.bits_per_byte(3.0, data) == pytest.approx(in_bits / len(" hello world"))


def test_bits_per_byte_of_random_bytes_is_eight(text):
    data = Dataset.from_text(text, lab.train_bpe(text, 256))
    assert lab.bits_per_byte(math.log(256), data) == pytest.approx(8)


@pytest.mark.parametrize("shift", range(4))
def test_bits_per_byte_counts_bytes_also_inside_a_letter(shift):
    letters = "x" * shift + "数é🙂" * 30
    data = Dataset.from_text(letters, lab.train_bpe(letters, 256), val_fraction=0.31)
    assert lab.bits_per_byte(math.log(256), data) == pytest.approx(8)


def test_bits_per_byte_does_not_depend_on_the_vocabulary(text, gpt2):
    """A loss that is the same for each byte is the same number, however the bytes are cut."""
    for tokenizer in (gpt2, lab.right_size(gpt2, text), lab.train_bpe(text, 400)):
        data = Dataset.from_text(text, tokenizer)
        n_bytes = len(tokenizer.decode(data.val[1:].tolist()).encode())
        loss = n_bytes * math.log(256) / (len(data.val) - 1)
        assert lab.bits_per_byte(loss, data) == pytest.approx(8)


@pytest.mark.parametrize("length", [2, 16, 17, 18, 100])
def test_token_accuracy_equals_a_loop_written_by_hand(finished, length):
    model, ids = finished.model, finished.dataset.val[:length]
    block, right = model.config.block_size, 0
    with torch.no_grad():
        for start in range(0, length - 1, block):
            window = ids[start : start + block + 1]
            right += int((model(window[None, :-1])[0].argmax(-1) == window[1:]).sum())
    assert lab.token_accuracy(model, ids) == right / (length - 1)


def contains(text, part):
    return any(text[i : i + len(part)] == part for i in range(len(text) - len(part) + 1))


def longest_by_brute_force(ids, training):
    parts = (ids[a:b] for a in range(len(ids)) for b in range(a + 1, len(ids) + 1))
    return max((len(part) for part in parts if contains(training, part)), default=0)


few = st.lists(st.integers(0, 3), max_size=14)


@given(ids=few, training=few)
def test_longest_match_equals_brute_force(ids, training):
    assert lab.longest_match(ids, training) == longest_by_brute_force(ids, training)


def test_longest_match_knows_tokens_from_digits():
    assert lab.longest_match([1, 2], [12]) == 0
    assert lab.longest_match([50256, 7], [3, 50256, 7, 3]) == 2


@given(ids=few, training=few, n=st.integers(1, 5))
def test_copy_rate_equals_brute_force(ids, training, n):
    parts = [ids[i : i + n] for i in range(len(ids) - n + 1)]
    rate = lab.copy_rate(ids, training, n)
    if parts:
        assert rate == pytest.approx(sum(contains(training, part) for part in parts) / len(parts))
    else:
        assert math.isnan(rate)


@given(ids=few, n=st.integers(1, 5))
def test_repetition_equals_brute_force(ids, n):
    parts = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    rate = repetition_rate(ids, n)
    if parts:
        seen_before = sum(part in parts[:i] for i, part in enumerate(parts))
        assert rate == pytest.approx(seen_before / len(parts))
    else:
        assert math.isnan(rate)


@pytest.mark.parametrize(
    "code",
    [
        "x = 1\n",
        "import chromadb\n\ndef f():\n    return 1\nprin",
        "def main():",
        "def main():\n",
        "def main():\n    x = [1,\n    2",
        "for i in range(3):\n    print(i)\n    if",
        "collection.add(",
        "collection.add(\n    ids=[1],\n    doc",
        'text = """one\ntwo\nthr',
        "# File: a.py\n\nimport os\n",
        "x = 1\nthis line is cut off and not judg",
        "if x:\n    pass\nelse:\n",
        'pattern = "\\d"\nx',
    ],
)
def test_code_that_is_valid_so_far_parses(code):
    assert parses(code)


@pytest.mark.parametrize(
    "code",
    [
        "x = = 1\nx",
        "def f(:\n    pass\nx",
        "return)\nx",
        "import chromadb.'\nlogging",
        "def f()\nimport logging\nx",
        "print(1\n  x y z)\nx",
        "    x = 1\n  y = 2\nz",
        "x = 'open\ny = 1\nz",
        "x = 1)\ny\nz",
        "\x00\nx",
    ],
)
def test_code_that_can_never_become_valid_does_not_parse(code):
    assert not parses(code)


@given(st.text("(){}[]:=.,'\"\\# \n\tabdefinrx01#@*+-"))
def test_judging_a_sample_never_fails(code):
    assert parses(code) in (True, False)


@pytest.mark.parametrize("part", ["-", "1+", "(", "["])
def test_judging_endless_repetition_never_fails(part):
    assert parses(part * 20_000 + "\nx") in (True, False)


def test_domain_hits_counts_different_names():
    names = frozenset({"collection", "upsert", "pdf_file_path"})
    assert names_used("collection.upsert(collection)", names) == 2
    assert names_used("collections.upserts(pdf_file_paths)", names) == 0
    assert names_used("", names) == 0


def test_domain_identifiers_are_those_of_the_corpus():
    names = corpus_names()
    assert {"chromadb", "embeddings_utils", "collection", "pdf_file_path"} <= names
    assert not names & {"print", "def", "return", "self", "len", "import", "f", "df"}


def changed(run, *, train=2.0, val=2.5, best=None, model=None, dataset=None):
    last = replace(run.state.history[-1], train_loss=train, val_loss=val)
    state = TrainState("finished", 60, history=[last], best_step=40, best_val_loss=best or val)
    state.best_weights = run.state.best_weights
    return replace(
        run, state=state, model=model or run.model, dataset=dataset or run.dataset, samples=[]
    )


@pytest.fixture
def modest(finished):
    """A run that nothing can be said against: a small model, plenty of text."""
    train = finished.dataset.train.repeat(10)
    return replace(finished, dataset=replace(finished.dataset, train=train))


def test_nothing_stands_out_in_a_healthy_run(modest):
    assert lab.advice(changed(modest)) == []


def test_a_vocabulary_far_too_wide_is_noticed(modest):
    wide = lab.GPT(lab.GPTConfig(50257, 8, 1, 1, 1))
    advice = lab.advice(changed(modest, model=wide))
    assert any("50,257 vocabulary rows" in line and "no token" in line for line in advice)


def test_a_model_too_large_for_its_text_is_noticed(finished):
    few = replace(finished.dataset, train=finished.dataset.train[:10])
    [line] = lab.size_advice(lab.GPTConfig(100, 16, 8, 1, 256), few)
    assert "parameters for each training token" in line


def test_rows_of_tokens_that_never_occur_are_no_parameters_to_store_a_text_in(modest):
    config = lab.GPTConfig(50_000_000, 16, 1, 1, 16)
    assert config.n_params > MAX_USEFUL_RATIO * len(modest.dataset.train)
    [line] = lab.size_advice(config, modest.dataset)
    assert "50,000,000 vocabulary rows" in line
    assert "parameters for each training token" not in line


def test_memorising_is_noticed(modest):
    [line] = lab.advice(changed(modest, train=1.0, val=2.1))
    assert "below half the validation loss" in line
    assert lab.advice(changed(modest, train=1.05, val=2.1)) == []


def test_a_negative_gap_is_an_alarm_that_names_the_overlap(modest):
    leaky = replace(modest.dataset, val=modest.dataset.train[:300])
    [line] = lab.advice(changed(modest, train=2.0, val=1.9, dataset=leaky))
    assert "gap -0.10" in line
    assert "100%" in line


def test_a_negative_gap_within_the_noise_is_no_alarm(modest):
    assert lab.advice(changed(modest, train=2.0, val=1.94)) == []


@pytest.mark.parametrize(("train", "val"), [(5.7, 5.5), (2.0, 4.5)])
def test_nothing_is_said_of_losses_before_any_training(modest, train, val):
    run = changed(modest, train=train, val=val)
    assert len(lab.advice(run)) == 1
    run.state.history[-1] = replace(run.state.history[-1], step=0)
    assert lab.advice(run) == []


def test_training_past_the_best_step_is_noticed(modest):
    [line] = lab.advice(changed(modest, val=2.5, best=2.2))
    assert "lowest at step 40" in line


def test_the_scorecard_has_a_row_for_each_prompt(finished):
    card = lab.scorecard(finished)
    assert list(card.index) == list(lab.PROMPTS)
    assert list(card.columns) == ["parses", "repetition", "domain names", "copied", "longest match"]


def test_the_scorecard_judges_the_last_samples_and_not_the_prompt(finished):
    prompt = "import chromadb"
    tokenizer = finished.dataset.tokenizer
    copied = finished.dataset.train[:40].tolist()
    own = tokenizer.encode("\nx = 1\n" + "y = 2\n" * 9)
    samples = [
        {"step": step, "prompt": prompt, "text": prompt + tokenizer.decode(ids), "ids": ids}
        for step, ids in ((10, copied), (60, own))
    ]
    [row] = lab.scorecard(replace(finished, samples=samples)).to_dict("records")
    assert row["parses"]
    assert row["domain names"] == 0
    assert row["copied"] == 0
    assert row["repetition"] > 0.5

    [row] = lab.scorecard(replace(finished, samples=samples[:1])).to_dict("records")
    assert row["copied"] == 1
    assert row["longest match"] == 40


def test_token_losses_average_to_the_mean_loss(finished):
    losses = lab.token_losses(finished.model, finished.dataset.val)
    assert len(losses) == len(finished.dataset.val) - 1
    assert losses.mean().item() == pytest.approx(
        lab.mean_loss(finished.model, finished.dataset.val), abs=1e-5
    )


def test_the_loss_is_split_by_what_the_training_text_has(finished):
    table = lab.overlap_losses(finished.model, finished.dataset)
    assert table["share"].sum() == pytest.approx(1)
    assert table["share"].iloc[0] == pytest.approx(finished.dataset.overlap())
    with pytest.raises(ValueError, match="it needs 8"):
        lab.overlap_losses(finished.model, replace(finished.dataset, val=torch.tensor([1, 2])))


def test_the_scorecard_over_training_has_a_row_for_each_sampled_step():
    run = lab.PHASES[1].recorded("right-sized")
    table = scorecard_history(run)
    assert list(table.index) == [report.step for report in run.state.history]
    for column in ("train_loss", "val_loss", "test_loss"):
        assert table[column].iloc[-1] == getattr(run.state.history[-1], column)
    card = lab.scorecard(run)
    assert table["copied"].iloc[-1] == pytest.approx(card["copied"].mean())
    assert table["parses"].iloc[-1] == pytest.approx(card["parses"].mean())


def test_the_scorecard_over_training_looks_at_each_sample_once(finished):
    class Counted(dict):
        asked = 0

        def __getitem__(self, key):
            Counted.asked += key == "step"
            return super().__getitem__(key)

    sample = {"prompt": "a", "text": "a b", "ids": [1]}
    samples = [Counted(sample, step=step) for step in range(0, 61, 20)]
    assert list(scorecard_history(replace(finished, samples=samples)).index)[-1] == 60
    assert Counted.asked == len(samples)


def test_the_scorecard_over_training_without_a_test_text(finished):
    table = scorecard_history(finished)
    assert list(table.index) == [60]  # sampled at the end only
    assert math.isnan(table["test_loss"].iloc[0])


class Parrot(torch.nn.Module):
    """A stand-in for a model: it knows the ids of one text, and continues them at each place."""

    def __init__(self, ids, vocab_size, block_size):
        super().__init__()
        self.config = lab.GPTConfig(vocab_size, block_size, 1, 1, 2)
        self.device = torch.device("cpu")
        self.after = {tuple(ids[max(0, i - 3) : i]): ids[i] for i in range(1, len(ids))}

    def forward(self, inputs):
        logits = torch.zeros(*inputs.shape, self.config.vocab_size)
        for row, ids in enumerate(inputs.tolist()):
            for i in range(len(ids)):
                guess = self.after.get(tuple(ids[max(0, i - 2) : i + 1]))
                if guess is not None:
                    logits[row, i, guess] = 1.0
        return logits


def test_known_lines_are_finished_by_who_knows_them(gpt2):
    study = "def area(width, height):\n    return width * height\n\ndef edge(box):\n    pass\n"
    new = "def area(width, height):\n    return height - width * 2\n\nx = 1\n"
    tokenizer = lab.right_size(gpt2, study + new)
    ids = tokenizer.encode(study)
    dataset = Dataset(torch.tensor(ids), torch.tensor(tokenizer.encode(new)), tokenizer)
    parrot = Parrot(ids, tokenizer.n_vocab, block_size=16)
    table = line_completions(parrot, dataset, new)
    assert table["line"].tolist() == ["def area(width, height):", "return height - width * 2"]
    assert table["known"].tolist() == [True, False]  # "x = 1" is too short to count
    assert table["exact"].tolist() == [True, False]
    assert line_completions(parrot, dataset, study)["exact"].all()


def test_a_line_longer_than_the_context_is_asked_as_far_as_it_reaches(finished, text):
    table = line_completions(finished.model, finished.dataset, text.replace("\n", " ") + "\n")
    assert len(table) == 1
    assert not table["known"].item()


@pytest.mark.slow
@given(st.lists(st.integers(1, 9), min_size=2, max_size=30), st.integers(1, 5))
def test_early_stopping_after_the_fact_is_what_patience_would_have_done(losses, patience):
    history = [
        lab.Progress(i, None, 1.0, float(x), 0, 0.0, 0.0, 1e-3, None) for i, x in enumerate(losses)
    ]
    stop = early_stop(untrained(TrainState(history=history)), patience)
    best, since = 0, 0  # what a loop with patience does, step by step
    for i, loss in enumerate(losses):
        best, since = (i, 0) if i == 0 or loss < losses[best] else (best, since + 1)
        if since == patience:
            break
    assert (stop["best step"], stop["stops"]) == (best, i)
    assert stop["validation at best"] == min(losses[: i + 1])
    assert stop["validation at the end"] == losses[-1]
    assert "held-out at best" not in stop


@pytest.mark.parametrize("patience", [0, -1, 1.5, None, True])
def test_a_patience_that_is_none_is_refused(patience):
    with pytest.raises(ValueError, match=r"patience is .*; it must be a whole number"):
        early_stop(untrained(TrainState()), patience)


def test_early_stopping_after_the_fact_is_the_run_that_stops(dataset, tiny):
    config = lab.TrainConfig(4, 3e-2, max_steps=60, eval_interval=3, patience=2)
    stopped = lab.train(tiny(), dataset, config, progress=False)
    full = lab.train(tiny(), dataset, replace(config, patience=None), progress=False)
    assert stopped.state.status == "stopped early"
    stop = early_stop(full, 2)
    assert stop["stops"] == stopped.state.step
    assert stop["best step"] == stopped.state.best_step
    assert stop["validation at best"] == stopped.state.best_val_loss
