"""A set-up as a value, as a string and as code."""

from dataclasses import astuple, fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.study.setups import SETTINGS, Excerpt, Setup, Shape, largest_text, preset


@pytest.mark.parametrize("phase", lab.PHASES, ids=lambda phase: phase.title)
def test_a_phase_prints_as_its_name(phase):
    setup = preset(phase.number)
    assert str(setup) == f"phase-{phase.number}"
    published = phase.setup
    changes = {"vocabulary": "gpt2", "eval_interval": published.training.eval_interval}
    assert setup.replace(**changes) == published
    assert Setup.parse(str(published)) == published


@given(
    number=st.integers(0, 4),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "n_layer": st.integers(1, 9),
            "n_embd": st.sampled_from([24, 48, 96]),
            "n_tokens": st.integers(100, 20_000),
            "vocabulary": st.sampled_from(["gpt2", "bpe-300"]),
            "learning_rate": st.floats(1e-6, 1),
            "dropout": st.floats(0, 0.9),
            "patience": st.none() | st.integers(1, 9),
            "cosine": st.booleans(),
            "warmup_steps": st.integers(0, 9),
            "average": st.floats(0, 0.999),
            "precision": st.sampled_from(["fp32", "bf16"]),
            "order": st.none() | st.integers(0, 9),
            "validation": st.sampled_from(["last tenth", "held-out"]),
            "seed": st.integers(0, 99),
        },
    ),
    seconds=st.none() | st.floats(1, 1e4),
)
def test_any_set_up_comes_back_from_its_string(number, changes, seconds):
    setup = preset(number).replace(n_head=4, **changes | {"n_embd": 48})
    if seconds is not None:
        setup = setup.replace(seconds=seconds)
    assert Setup.parse(str(setup)) == setup


def test_the_string_names_what_differs_from_the_nearest_phase():
    text = "phase-2 n_layer=4 seconds=20.0 seed=1"
    assert str(Setup.parse(text)) == text
    text = "phase-2 average=0.9 precision=bf16 seed=1"
    assert str(Setup.parse(text)) == text
    assert Setup.parse("phase-2 seconds=20").training.max_steps is None
    assert str(Setup.parse("phase-4 n_tokens=15000 max_steps=100")).startswith("phase-")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not begin with a phase"),
        ("n_layer=2", "does not begin with a phase"),
        ("phase-7", "write one of phase-0"),
        ("phase-2 layers=3", "'layers' is no setting; the settings are n_layer"),
        ("phase-2 n_layer=three", "n_layer is 'three'; it must be a whole number"),
        ("phase-2 n_layer=0", "from 1 to 1,000"),
        ("phase-2 cosine=1", "cosine is '1'; it must be True or False"),
        ("phase-2 validation=none", "validation is 'none'; it must be one of last tenth"),
        ("phase-2 n_layer=99999999999999999999", "from 1 to 1,000"),
        ("phase-2 max_steps=1e999", "max_steps is '1e999'; it must be a whole number"),
        ("phase-2 learning_rate=inf", "learning_rate is inf; it must be a finite number above 0"),
        ("phase-2 seed=" + 5_000 * "9", "seed is "),
        ("phase-2 n_head=5", "multiple of 5"),
        ("phase-2 dropout=2", "below 1"),
        ("phase-2 average=1", "average is 1.0; it must be a number at least 0 and below 1"),
        ("phase-2 precision=16", "precision is '16'; it must be one of fp32, bf16"),
        ("phase-2 learning_rate=-1", "above 0"),
        ("phase-2 n_tokens=3", "at least 20"),
        ("phase-2 seconds=5 max_steps=5", "one of the two"),
        ("phase-2 seed=20260715123456", "it must be a whole number from 0"),
        ("phase-2 device=", "device is ''; it must be a name"),
        ("phase-2 device=\x1b[2J", r"device is '\\x1b\[2J'; it must be a name"),
        ("phase-2 device=\u202ecpu", r"device is '\\u202ecpu'; it must be a name"),
        ("phase-2 seed=None", "seed is 'None'; it must be a whole number"),
    ],
)
def test_a_wrong_string_gets_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        Setup.parse(text)


@pytest.mark.parametrize("vocabulary", ["klingon", "bpe-", "bpe-ten"])
def test_an_unknown_vocabulary_gets_a_sentence(vocabulary):
    with pytest.raises(ValueError, match="it must be"):
        Setup.parse(f"phase-2 vocabulary={vocabulary}")


@pytest.mark.parametrize("vocabulary", ["gpt2", "right-sized", "bpe-300"])
def test_more_text_than_there_is_gets_a_sentence(vocabulary):
    with pytest.raises(ValueError, match="but the text has 23,174"):
        Setup.parse(f"phase-2 vocabulary={vocabulary} n_tokens={largest_text() + 1}")
    whole = Setup.parse(f"phase-2 vocabulary={vocabulary} n_tokens={largest_text()}").dataset()
    assert len(whole.train) + len(whole.val) > 10_000


def test_the_same_number_of_tokens_is_the_same_text():
    texts = []
    for vocabulary in ("gpt2", "right-sized", "bpe-500"):
        dataset = Setup.parse(f"phase-2 n_tokens=3000 vocabulary={vocabulary}").dataset()
        ids = torch.cat([dataset.train, dataset.val]).tolist()
        texts.append(dataset.tokenizer.decode(ids))
    assert texts[0] == texts[1]
    # BPE may join the tokens where the text is cut, so its text may be a token shorter or longer.
    assert abs(len(texts[2]) - len(texts[0])) < 20
    assert texts[0].startswith(texts[2]) or texts[2].startswith(texts[0])


def test_a_dataset_is_made_once():
    assert Setup.parse("phase-2").dataset() is Setup.parse("phase-2 n_layer=4").dataset()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["phase-1 max_steps=5", "phase-1 max_steps=4 vocabulary=bpe-300 dropout=0.1 seed=3"]
)
def test_the_code_trains_the_same_run(text, capsys):
    setup = Setup.parse(text)
    run = setup.train(progress=False)
    names = {}
    exec(setup.code().replace("lab.report(run)\n", ""), names)
    theirs = names["run"]
    assert theirs.config == run.config
    assert theirs.model.config == run.model.config
    assert theirs.history["val_loss"].tolist() == run.history["val_loss"].tolist()
    assert theirs.history["test_loss"].tolist() == run.history["test_loss"].tolist()


def test_a_run_of_a_bpe_vocabulary_can_be_kept_as_a_record(tmp_path):
    setup = Setup.parse("phase-1 max_steps=2 vocabulary=bpe-300")
    run = setup.train(progress=False)
    loaded = lab.Run.load(run.save(tmp_path / "run", keep="history"))
    assert torch.equal(loaded.dataset.train, run.dataset.train)
    assert loaded.dataset.tokenizer.n_vocab == run.dataset.tokenizer.n_vocab


def test_settings_have_flat_names_that_no_two_parts_share():
    assert len(SETTINGS) == sum(len(fields(part)) for part in (Shape, Excerpt, lab.TrainConfig))
    assert list(preset(2).values()) == list(SETTINGS)


def test_choices_leave_out_what_is_at_its_default():
    assert Setup.parse("phase-2 dropout=0.1").choices().items() >= {"dropout": 0.1}.items()
    assert not {"cosine", "order", "device"} & preset(2).choices().keys()


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="layers is no setting; the settings are n_layer"):
        preset(2).replace(layers=3)


def test_numbers_of_other_packages_become_pythons():
    changes = {"n_layer": np.int64(2), "n_embd": torch.tensor(64), "dropout": torch.tensor(0.5)}
    setup = preset(2).replace(**changes)
    assert setup == preset(2).replace(n_layer=2, n_embd=64, dropout=0.5)
    assert hash(setup) and Setup.parse(str(setup)) == setup
    assert [type(value) for value in astuple(setup.shape)] == [int] * 4 + [float]
    assert "np." not in setup.code() and "tensor" not in setup.code()


def test_steps_and_seconds_exclude_each_other():
    timed = preset(2).replace(seconds=5)
    assert (timed.training.max_steps, timed.training.seconds) == (None, 5)
    assert timed.replace(max_steps=7).training.seconds is None


def test_files_in_another_order_validated_on_the_held_out_scripts():
    setup = preset(2).replace(order=1, validation="held-out", n_tokens=2_000)
    data, other = setup.dataset(tested=False), setup.replace(order=2).dataset(tested=False)
    assert len(data.train) == 2_000
    assert data.tokenizer.decode(data.val.tolist()) == lab.load_held_out().text
    assert not torch.equal(data.train, other.train)


def test_every_vocabulary_reads_the_same_text():
    """Also bytes, of which the excerpt has more than GPT-2's tokens."""
    excerpt = preset(2).replace(order=0, validation="held-out", n_tokens=2_000)
    texts = {
        data.tokenizer.decode(data.train.tolist())
        for data in (
            excerpt.replace(vocabulary=name).dataset(tested=False)
            for name in ("right-sized", "bpe-256", "bpe-512")
        )
    }
    assert len(texts) == 1
