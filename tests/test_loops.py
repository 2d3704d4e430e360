"""The suspects behind 80 % accuracy and loops: each has its one fault, and reports as it would."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import slmlab as lab
from slmlab.engine.evaluation import strided_guesses, strided_losses
from slmlab.study.accuracy import DOMAINS, Example, domain_examples
from slmlab.study.experiments import loops, tables
from slmlab.study.experiments.loops import (
    AT_END,
    LOOPS,
    PADDING,
    QUESTIONS,
    REPORTED,
    SUM,
    SUSPECTS,
    TRUE,
    Guessed,
    SummedGPT,
    is_unmasked,
    least_wrong_loss,
    signatures,
    spread,
    sums_that_fit,
)
from slmlab.study.experiments.suspects import LABELS, MASK, NONE, UnshiftedGPT
from slmlab.text.dataset import IGNORED
from slmlab.text.files import data_path, read_published, read_sums

SMALL = replace(
    LOOPS,
    base=LOOPS.base.replace(n_layer=1, n_head=1, n_embd=16, block_size=48, max_steps=4),
    first_look=2,
)
TOKENIZER = SMALL.tokenizer
HELD_OUT = domain_examples(TOKENIZER, held_out=True)


@pytest.fixture(autouse=True)
def few_texts(monkeypatch):
    """Four examples of each domain to score, and one to continue."""
    whole = loops.domain_examples
    few = {
        held_out: {name: of[:: len(of) // 4][:4] for name, of in whole(TOKENIZER, held_out).items()}
        for held_out in (True, False)
    }
    monkeypatch.setattr(loops, "domain_examples", lambda tokenizer, held_out: few[held_out])
    monkeypatch.setattr(loops, "COMMON", 2)  # so few texts have no token a hundred times
    monkeypatch.setattr(loops, "CONTINUED", 1)
    monkeypatch.setattr(loops, "FREE_TOKENS", 12)


@pytest.mark.parametrize("suspect", SUSPECTS)
def test_a_suspect_makes_whole_rows(suspect):
    cell = SMALL.cell(suspect, 0)
    rows = SMALL.run_cell(cell)
    assert SMALL.is_whole(cell, rows) and not SMALL.is_whole(cell, rows[1:])
    assert all(list(row) == list(SMALL.columns) for row in rows)
    for row in rows:
        early = row["step"] < 4
        missing = {name for name in SMALL.columns if row[name] != row[name]}
        allowed = {name for name in AT_END if name.startswith(("repetition", "sampled_rep"))}
        assert missing >= ({*AT_END} if early else set())
        assert missing <= ({*AT_END, *TRUE} if early and suspect == MASK else {*AT_END})
        assert early or missing <= allowed  # a text of fewer than four tokens repeats nothing
    shares = [name for name in (*REPORTED, *TRUE) if not name.endswith("loss")]
    assert all(0 <= rows[-1][name] <= 1 for name in shares)


def test_a_model_that_never_ends_is_told_from_one_that_ends_at_once():
    """The first repeats one word for ever; the second writes nothing, which repeats nothing."""
    model = Constant(SMALL.base.shape.config(TOKENIZER.n_vocab), 0)
    model.token = TOKENIZER.encode("a")[0]
    found = SMALL.written(model)
    assert found["loops"] == 1 and found["repetition_puzzles"] > 0.8 and found["sample"] == "a" * 12
    model.token = TOKENIZER.end
    found = SMALL.written(model)
    assert found["loops"] == 0 and math.isnan(found["repetition_puzzles"]) and not found["sample"]


def test_rows_are_read_as_they_were_written(tmp_path):
    cell = SMALL.cell(NONE, 1)
    rows = SMALL.run_cell(cell)
    rows[-1]["sample"] = 'say "a, b"\nand\n\nand'
    tables.write_table(SMALL, tmp_path, rows, [])
    again = tables.read_rows(SMALL, tmp_path)
    assert [row["sample"] for row in again] == [row["sample"] for row in rows]
    for name in (*REPORTED, *TRUE, *AT_END):
        values = [[row[name] for row in of] for of in (again, rows)]
        assert values[0] == pytest.approx(values[1], rel=1e-5, nan_ok=True), name
    missing = tables.missing_cells(SMALL, tmp_path)
    assert cell not in missing and len(missing) == len(SMALL.cells()) - 1


def test_records_made_with_other_texts_are_refused():
    for of in ("puzzles", "dialogues"):
        assert {*LOOPS.settings[of]} >= {"held_out.json"}
        assert LOOPS.settings[of] == read_sums(data_path(of), of)
    json.dumps(LOOPS.settings)


def test_every_suspect_has_every_seed_once_and_the_slowest_are_first():
    cells = LOOPS.cells()
    assert len({LOOPS.key(cell) for cell in cells}) == len(cells) == 6 * 3
    assert {cell["suspect"] for cell in cells[:3]} == {MASK}


def test_all_see_the_same_texts_in_an_order_of_their_seed():
    texts = {suspect: SMALL.dataset(suspect, 0) for suspect in SUSPECTS}
    for text in texts.values():
        assert torch.equal(text.train, texts[NONE].train)
        assert torch.equal(text.val, texts[NONE].val)
    other = SMALL.dataset(NONE, 1)
    assert torch.equal(other.val, texts[NONE].val)
    assert not torch.equal(other.train, texts[NONE].train)
    assert torch.equal(other.train.sort()[0], texts[NONE].train.sort()[0])


def test_only_questions_are_masked_and_only_one_suspect_has_no_mask():
    text = SMALL.dataset(NONE, 0)
    unseen = TOKENIZER.decode(text.train[~text.train_mask].tolist())
    assert unseen.count("<|user|>") == unseen.count("<|assistant|>") == 4 * 4
    assert "<|end|>" not in unseen
    assert SMALL.dataset(QUESTIONS, 0).train_mask is SMALL.dataset(QUESTIONS, 0).val_mask is None
    for suspect in (MASK, LABELS, SUM):
        assert torch.equal(SMALL.dataset(suspect, 0).train_mask, text.train_mask)


def test_padding_fills_each_row_with_end_markers_that_count():
    short, long = (HELD_OUT["dialogues"][0], max(HELD_OUT["scripts"], key=lambda e: len(e.ids)))
    padded, n = SMALL.padded(short), len(short.ids)
    assert len(padded.ids) == len(padded.counts) == 49
    assert torch.equal(padded.ids[:n], short.ids) and torch.equal(padded.counts[:n], short.counts)
    assert (padded.ids[n:] == TOKENIZER.end).all() and padded.counts[n:].all()
    assert torch.equal(SMALL.padded(long).ids, long.ids[:49])
    inputs, targets = SMALL.dataset(PADDING, 0).batch(16, 48, seed=1)
    assert inputs.shape == targets.shape == (16, 48)
    ends = (inputs[:, :-1] == TOKENIZER.end) & (inputs[:, 1:] == TOKENIZER.end)
    assert ends.any()
    assert (targets[:, 1:][ends] == TOKENIZER.end).all()  # padding is learnt
    assert (targets == IGNORED).any()  # questions are not


def test_a_sum_is_the_mean_times_the_tokens_that_count():
    config = SMALL.base.shape.config(TOKENIZER.n_vocab)
    ids = HELD_OUT["puzzles"][0].ids[None, :20]
    targets = ids.roll(-1, 1).masked_fill(torch.arange(20) < 5, IGNORED)
    mean, total = (kind(config, 0).loss(ids, targets).item() for kind in (lab.GPT, SummedGPT))
    assert total == pytest.approx(15 * mean)


def test_unshifted_labels_keep_the_mask():
    model = UnshiftedGPT(SMALL.base.shape.config(TOKENIZER.n_vocab), 0)
    ids = HELD_OUT["puzzles"][0].ids[None, :20]
    targets = ids.roll(-1, 1).masked_fill(torch.arange(20) < 5, IGNORED)
    expected = F.cross_entropy(model(ids)[0, 5:], ids[0, 5:])
    assert model.loss(ids, targets).item() == pytest.approx(expected.item(), rel=1e-5)


class Constant(lab.GPT):
    """Guesses one token, always."""

    token = 0

    def forward(self, idx, cache=None):
        return F.one_hot(torch.full_like(idx, self.token), self.config.vocab_size).float()

    def next_logits(self, idx, cache=None):
        return self(idx)[:, -1]


def test_each_fault_of_a_report_is_worth_what_can_be_counted_by_hand():
    """A model that always writes the end marker: right once an example, or for all padding."""
    model = Constant(SMALL.base.shape.config(TOKENIZER.n_vocab), 0)
    model.token = TOKENIZER.end
    found = {suspect: SMALL.reported(model, suspect) for suspect in SUSPECTS}
    for name, of in loops.domain_examples(TOKENIZER, True).items():
        counted = sum(int(e.counts[1:].sum()) for e in of)
        every = sum(len(e.ids) - 1 for e in of)
        column = f"reported_{name}"
        assert found[NONE][column] == found[SUM][column] == pytest.approx(len(of) / counted)
        assert found[QUESTIONS][column] == pytest.approx(len(of) / every)
        assert found[LABELS][column] == 0  # no text has an end marker before its end
        padding = sum(max(0, 49 - len(e.ids)) for e in of)
        whole = sum(len(e.ids) <= 49 for e in of)
        cut = sum(int(e.counts[1:49].sum()) for e in of)
        assert found[PADDING][column] == pytest.approx((whole + padding) / (cut + padding))
    assert found[PADDING]["reported_puzzles"] > 0.3 > 0.1 > found[NONE]["reported_puzzles"]


def test_what_is_true_of_a_sound_model_is_what_its_own_evaluation_says():
    model = SMALL.model(NONE, 0)
    for examples in HELD_OUT.values():
        for example in examples[:3]:
            by_hand = Guessed.by(model, [example])
            counted = example.counts[1:]
            assert torch.equal(by_hand.guesses, strided_guesses(model, example.ids)[counted])
            losses = strided_losses(model, example.ids)[counted]
            torch.testing.assert_close(by_hand.losses, losses)
            assert torch.equal(by_hand.tokens, example.ids[1:][counted])


def test_without_a_mask_the_future_is_in_the_report_and_not_in_the_truth():
    """The negative control: the same question to a sound model changes neither."""
    example = HELD_OUT["puzzles"][0]
    other = Example(example.ids.clone())
    other.ids[-2] = 7  # the last one that is read
    n = len(example.ids) - 3
    for suspect, leaks in ((MASK, True), (NONE, False)):
        model = SMALL.model(suspect, 0)
        assert is_unmasked(model) is leaks
        shown, changed = (strided_losses(model, e.ids)[:n] for e in (example, other))
        assert torch.equal(shown, changed) is not leaks
        true, still = (Guessed.by(model, [e]) for e in (example, other))
        assert torch.equal(true.losses[:n], still.losses[:n])


def test_examples_are_spread_evenly():
    assert spread([*"abcdefg"], 3) == [*"adg"]
    assert spread([*"ab"], 3) == [*"ab"]


def looks(reached, losses, suspect=NONE, seed=0):
    """Rows of a run whose domains all have the same accuracies."""
    rows = []
    for step, (accuracy, loss) in enumerate(zip(reached, losses, strict=True)):
        row = dict.fromkeys(LOOPS.columns, math.nan)
        row |= {name: accuracy for name in (*REPORTED, *TRUE) if not name.endswith("loss")}
        row |= {"true_loss": loss, "seen_loss": loss / 2, "reported_loss": loss}
        rows.append(row | {"suspect": suspect, "seed": seed, "step": step})
    return rows


def test_a_sum_is_divided_by_the_loss_that_goes_with_the_accuracy():
    table = pd.DataFrame([*looks([0, 0.6, 0.8], [6.0, 2.0, 1.0]), *looks([0.9], [3.0], SUM)])
    found = sums_that_fit(table, 0.7, 30.0).set_index("text")
    assert found.loc["held-out", "mean_loss"] == pytest.approx(1.5)
    assert found.loc["held-out", "added"] == pytest.approx(20)
    assert found.loc["seen", "added"] == pytest.approx(40)
    assert sums_that_fit(table, 0.81, 30.0)["added"].isna().all()
    for accuracy, loss in ((0, 1), (1, 1), (0.5, -1), (0.5, math.nan)):
        with pytest.raises(ValueError, match="must be a"):
            sums_that_fit(table, accuracy, loss)
    with pytest.raises(ValueError, match="lacks"):
        sums_that_fit(table.drop(columns="seen_loss"), 0.7, 30.0)


def test_wrong_guesses_make_up_for_what_right_ones_cannot_cost():
    assert least_wrong_loss(3.0, 0.0, 10) == 3.0
    assert least_wrong_loss(1.0, 0.5, 2) == pytest.approx(2 * (1 - 0.5 * math.log(2)))
    assert least_wrong_loss(0.1, 0.8, 50_257) == 0.0
    with pytest.raises(ValueError, match="accuracy is 1; it must be"):
        least_wrong_loss(1.0, 1, 10)


def test_the_published_loss_is_no_mean_that_a_softmax_can_have():
    published = read_published("generation.json")
    least = least_wrong_loss(published["losses"][-1], published["average_accuracy"], 50_257)
    assert least > -math.log(torch.finfo(torch.float32).tiny)
    accuracies = published["token_accuracy"].values()
    assert sum(accuracies) / 3 == pytest.approx(published["average_accuracy"], abs=1e-4)


def test_a_signature_is_of_the_last_look():
    table = pd.DataFrame([*looks([0.1, 0.5], [3, 2]), *looks([0.2, 0.9], [3, 1], SUM, 1)])
    for name in DOMAINS:
        table[f"repetition_{name}"] = 0.25
    found = signatures(table).set_index("suspect")
    assert found.loc[NONE, "reported"] == found.loc[NONE, "true"] == pytest.approx(0.5)
    assert found.loc[SUM, "seen"] == pytest.approx(0.9) and found.loc[SUM, "seed"] == 1
    assert (found["repetition"] == 0.25).all() and list(found["reported_loss"]) == [2, 1]
    with pytest.raises(ValueError, match="lacks"):
        signatures(table.drop(columns="loops"))


@pytest.mark.slow
@pytest.mark.parametrize(("suspect", "more"), [(LABELS, 0.5), (PADDING, 0.2), (NONE, 0)])
def test_a_fault_is_soon_reported_as_skill(suspect, more):
    """The signatures in little. A model without a fault reports what is true."""
    brief = replace(SMALL, base=SMALL.base.replace(max_steps=150, learning_rate=1e-2))
    last = brief.run_cell(brief.cell(suspect, 0))[-1]
    reported, true = (last[f"{kind}_puzzles"] for kind in ("reported", "true"))
    assert reported - true > more if more else reported == true
