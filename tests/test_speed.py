"""What is measured of speed: the rows and what is counted in them, never how fast it was."""

import pytest

import slmlab as lab
from slmlab import NGram, NGramConfig, speed


def test_the_cache_is_measured_up_to_twice_the_context(tiny, monkeypatch):
    calls = []
    model = tiny(block_size=12)
    monkeypatch.setattr(model, "next_logits", recorded(model, calls))
    table = speed.cache_speed(model, rounds=2)
    assert list(table.index) == [1, 2, 4, 8, 12, 13, 24]
    assert (table > 0).all(axis=None)
    ratio = table["without cache"] / table["with cache"]
    assert table["times as fast"].tolist() == pytest.approx(ratio.tolist())
    # With the cache one token is read, beyond the context all; without it, always all there are.
    read = [12, 12, 12, 12, 1, 12, 1, 8, 1, 4, 1, 2, 1, 1]
    assert calls == [12, *read, 11, *read]  # before each round the cache is filled


def recorded(model, calls):
    """Its `next_logits`, which also notes how many tokens it is given."""
    original = model.next_logits

    def next_logits(idx, *cache):
        calls.append(idx.shape[1])
        return original(idx, *cache)

    return next_logits


def test_drafting_is_measured_for_each_model_and_prompt(tiny, finished, dataset):
    drafter = NGram(NGramConfig(dataset.tokenizer.n_vocab), dataset.train)
    models = {"trained": finished.model, "untrained": tiny(seed=1)}
    prompts = ["The old", "A young potter"]
    table = speed.drafting_speed(models, drafter, dataset.tokenizer, prompts, 9, rounds=2)
    assert list(table.index) == [(name, prompt) for name in models for prompt in prompts]
    assert (table[["plain", "drafted", "times as fast"]] > 0).all(axis=None)
    for (name, prompt), row in table.iterrows():
        ids = dataset.tokenizer.encode(prompt)
        found = lab.speculative(models[name], drafter, ids, 9, lab.Decoding(temperature=0))
        assert row["acceptance"] == pytest.approx(found.acceptance, nan_ok=True)
        assert row["calls per token"] == found.calls / 9
    first = table["acceptance"].groupby("model").mean()
    assert first["trained"] > first["untrained"]


def test_a_text_ends_where_the_context_is_full(finished, dataset):
    drafter = NGram(NGramConfig(dataset.tokenizer.n_vocab), dataset.train)
    measure = speed.drafting_speed
    table = measure({"it": finished.model}, drafter, dataset.tokenizer, ["The"], 99, rounds=1)
    calls = table["calls per token"].item() * 16  # a context of 16, and the token behind it
    assert calls == pytest.approx(round(calls)) and calls <= 16


def test_what_cannot_be_measured_is_refused(finished, dataset):
    drafter = NGram(NGramConfig(dataset.tokenizer.n_vocab), dataset.train)
    tokenizer, models = dataset.tokenizer, {"it": finished.model}
    with pytest.raises(ValueError, match="model is None; it must be a GPT"):
        speed.cache_speed(None)
    with pytest.raises(ValueError, match="rounds is 0"):
        speed.cache_speed(finished.model, 0)
    with pytest.raises(ValueError, match="at least one model and one prompt"):
        speed.drafting_speed({}, drafter, tokenizer)
    with pytest.raises(ValueError, match=r"models\['it'\] is 5; it must be a GPT"):
        speed.drafting_speed({"it": 5}, drafter, tokenizer)
    with pytest.raises(ValueError, match="more than the context of 'it'; give a shorter one"):
        speed.drafting_speed(models, drafter, tokenizer, ["The old " * 20])
    with pytest.raises(ValueError, match="drafter is None"):
        speed.drafting_speed(models, None, tokenizer, ["The old"])
    for name in (None, float("nan"), 3):
        with pytest.raises(ValueError, match=r"The name of a model is .*; it must be text"):
            speed.drafting_speed(models | {name: finished.model}, drafter, tokenizer)
    for prompt in (3, None, [3]):
        with pytest.raises(ValueError, match=r"The prompt is .*; it must be text"):
            speed.drafting_speed(models, drafter, tokenizer, [prompt])
