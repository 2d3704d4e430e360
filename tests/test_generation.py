"""Generation: the cache changes nothing but the speed, and each option does what it says."""

import copy
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import Decoding, generate, generate_tokens, next_distribution
from slmlab.engine.decoding import filter_stages, penalise
from slmlab.engine.generation import next_logits


def greedy(model, ids, n, use_cache=True, **options):
    decoding = Decoding(temperature=0, **options)
    return list(generate_tokens(model, ids, n, decoding, use_cache=use_cache))


def argmax_by_hand(model, ids, n):
    text = list(ids)
    with torch.no_grad():
        for _ in range(n):
            context = torch.tensor([text[-model.config.block_size :]])
            text.append(int(model(context)[0, -1].argmax()))
    return text[len(ids) :]


@pytest.mark.parametrize("length", [1, 5, 15, 16, 17, 40])
def test_greedy_with_cache_equals_greedy_without(finished, length):
    model, ids = finished.model, finished.dataset.val[:length].tolist()
    cached = greedy(model, ids, 48)
    assert cached == greedy(model, ids, 48, use_cache=False) == argmax_by_hand(model, ids, 48)


@pytest.mark.parametrize("options", [{"repetition_penalty": 1.5}, {"top_k": 3}, {"top_p": 0.5}])
def test_options_act_the_same_with_and_without_cache(finished, options):
    ids = finished.dataset.val[:3].tolist()
    assert greedy(finished.model, ids, 30, **options) == greedy(
        finished.model, ids, 30, use_cache=False, **options
    )


def test_same_seed_gives_the_same_text(finished):
    first, same, other = (finished.sample("The old", 40, seed=seed) for seed in (4, 4, 5))
    assert first == same
    assert first != other


def test_sampling_leaves_the_global_generator_alone(finished):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    finished.sample("The old")
    assert torch.equal(torch.rand(4), expected)


def test_top_k_of_one_is_greedy(finished):
    ids = finished.dataset.val[:5].tolist()
    assert list(generate_tokens(finished.model, ids, 30, Decoding(top_k=1))) == greedy(
        finished.model, ids, 30
    )


def test_tokens_come_one_at_a_time(finished):
    tokens = generate_tokens(finished.model, [0], 10**6)
    assert len(list(islice(tokens, 3))) == 3


def test_the_number_of_new_tokens_is_kept(finished):
    assert len(list(generate_tokens(finished.model, [1, 2, 3], 21))) == 21


def test_the_mode_of_the_model_is_restored(tiny):
    model = tiny(dropout=0.5).train()
    tokens = generate_tokens(model, [0], 5)
    next(tokens)
    tokens.close()
    assert model.training
    assert list(generate_tokens(model, [0], 9)) == list(generate_tokens(model.eval(), [0], 9))


logits_lists = st.lists(
    st.integers(-60, 60), min_size=2, max_size=12, unique=True
)  # in tenths, all different


@given(
    tenths=logits_lists,
    temperature=st.floats(0.2, 5),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.none() | st.floats(0.01, 1),
    penalty=st.floats(0.5, 3),
    data=st.data(),
)
def test_the_distribution_is_a_distribution(tenths, temperature, top_k, top_p, penalty, data):
    logits = torch.tensor(tenths) / 10
    text = data.draw(st.lists(st.integers(0, len(tenths) - 1), min_size=1))
    p = next_distribution(logits, text, Decoding(temperature, top_k, top_p, penalty))
    assert p.shape == logits.shape
    assert (p >= 0).all()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@given(tenths=logits_lists, k=st.integers(1, 15))
def test_top_k_keeps_the_k_likeliest(tenths, k):
    logits = torch.tensor(tenths) / 10
    p = next_distribution(logits, [0], Decoding(top_k=k))
    kept = set(p.nonzero().flatten().tolist())
    assert kept == set(logits.argsort(descending=True)[:k].tolist())
    rest = logits.softmax(0)[list(kept)]
    torch.testing.assert_close(p[list(kept)], rest / rest.sum())


@given(tenths=logits_lists, top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(tenths, top_p):
    logits = torch.tensor(tenths) / 10
    full = logits.softmax(0)
    p = next_distribution(logits, [0], Decoding(top_p=top_p))
    kept = full[p > 0].sort().values
    assert kept.min() >= full[p == 0].max() if (p == 0).any() else True
    assert kept.sum() >= top_p - 1e-6
    assert kept[1:].sum() < top_p + 1e-6
    torch.testing.assert_close(p[p > 0], full[p > 0] / full[p > 0].sum())


def test_distributions_of_a_hand_made_case():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    squared = [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]
    for decoding, expected in (
        (Decoding(), [0.5, 0.3, 0.15, 0.05]),
        (Decoding(top_k=2), [0.625, 0.375, 0, 0]),
        (Decoding(top_p=0.5), [1, 0, 0, 0]),
        (Decoding(top_p=0.6), [0.625, 0.375, 0, 0]),
        (Decoding(temperature=0.5), squared),
    ):
        assert next_distribution(logits, [0], decoding).tolist() == pytest.approx(expected)


def test_temperature_zero_leaves_the_likeliest_token():
    logits = torch.tensor([0.9, 1.0, -1.0])
    assert next_distribution(logits, [0], Decoding(temperature=0)).tolist() == [0, 1, 0]
    assert next_distribution(logits, [1], Decoding(0, 2, 0.5, 2.0)).tolist() == [1, 0, 0]


@given(
    tenths=logits_lists,
    temperature=st.just(0.0) | st.floats(0.2, 5),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.none() | st.floats(0.01, 1),
    penalty=st.floats(0.5, 3),
)
def test_the_stages_lead_to_the_distribution(tenths, temperature, top_k, top_p, penalty):
    logits = torch.tensor(tenths) / 10
    decoding = Decoding(temperature, top_k, top_p, penalty)
    stages = list(filter_stages(logits, [0, 1], decoding).values())
    assert torch.equal(stages[0], logits.softmax(0))
    assert torch.equal(stages[-1], next_distribution(logits, [0, 1], decoding))
    for before, after in pairwise(stages[1:]):
        assert (after[before == 0] == 0).all()  # what a filter removed stays away


def test_each_stage_adds_its_filter():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    stages = filter_stages(logits, [3], Decoding(0.5, 3, 0.9, 2.0))
    assert list(stages) == ["model", "penalty", "temperature", "top-k", "top-p"]
    assert stages["model"].tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05])
    penalised = torch.tensor([0.5, 0.3, 0.15, 0.05**2])
    squared = penalised**2
    assert stages["penalty"].tolist() == pytest.approx((penalised / penalised.sum()).tolist())
    assert stages["temperature"].tolist() == pytest.approx((squared / squared.sum()).tolist())
    assert stages["top-k"].tolist() == pytest.approx(
        [0.25 / 0.3625, 0.09 / 0.3625, 0.0225 / 0.3625, 0]
    )
    assert stages["top-p"].tolist() == pytest.approx([0.25 / 0.34, 0.09 / 0.34, 0, 0])


@pytest.mark.parametrize("lengths", [(1, 2, 3), (9, 10, 4, 5), (15, 16, 17, 18, 16, 15), (30, 3)])
def test_a_cache_serves_texts_that_grow_and_shrink(finished, lengths):
    model, ids = finished.model, finished.dataset.val.tolist()
    cache = model.new_cache()
    for n in lengths:
        with torch.no_grad():
            expected = model(torch.tensor([ids[:n][-16:]]))[0, -1]
            torch.testing.assert_close(next_logits(model, ids[:n], cache), expected)


def test_the_penalty_makes_seen_tokens_less_likely():
    logits = torch.tensor([2.0, -2.0, 1.0, 0.0])
    assert penalise(logits, [0, 1, 0, 3], 2.0).tolist() == [1.0, -4.0, 1.0, 0.0]
    assert penalise(logits, [0, 1], 1.0).tolist() == logits.tolist()
    assert logits.tolist() == [2.0, -2.0, 1.0, 0.0]


@pytest.mark.slow
def test_sampling_follows_the_distribution():
    logits = torch.tensor([0.6, 0.3, 0.1]).log()
    model = lab.GPT(lab.GPTConfig(3, 4, 1, 1, 4))
    model.next_logits = lambda *_: logits[None]
    tokens = list(generate_tokens(model, [0], 4000))
    for token, share in enumerate([0.6, 0.3, 0.1]):
        assert tokens.count(token) / 4000 == pytest.approx(share, abs=0.03)


def test_text_starts_with_the_prompt(finished):
    prompt = "A young potter — ünïcode 数"
    text = finished.sample(prompt, 12)
    assert text.startswith(prompt)
    assert len(text) > len(prompt)


def test_text_ends_before_the_first_stop_string(finished):
    model, tokenizer = finished.model, finished.dataset.tokenizer
    prompt = "The postman"
    full = generate(model, tokenizer, prompt, 60, Decoding(seed=1))
    continuation = full[len(prompt) :]
    for stop in (continuation[20:24], continuation[30], continuation[10:13]):
        text = generate(model, tokenizer, prompt, 60, Decoding(seed=1, stop=[stop]))
        assert text == prompt + continuation[: continuation.index(stop)]
    both = [continuation[40:43], continuation[10:13]]
    first = min(continuation.index(stop) for stop in both)
    text = generate(model, tokenizer, prompt, 60, Decoding(seed=1, stop=both))
    assert text == prompt + continuation[:first]


def test_stop_strings_in_the_prompt_do_not_count(finished):
    model, tokenizer = finished.model, finished.dataset.tokenizer
    prompt = "QQQ The postman"
    plain = generate(model, tokenizer, prompt, 10, Decoding(top_k=5))
    assert generate(model, tokenizer, prompt, 10, Decoding(top_k=5, stop=["QQQ"])) == plain


@pytest.mark.parametrize("stop", ["§ e §", [""], ["ok", ""], [3], [None]])
def test_a_stop_that_is_no_list_of_strings_is_refused(stop):
    with pytest.raises(ValueError, match=r"stop is .* list of strings that are not empty"):
        Decoding(stop=stop)


def test_top_k_keeps_exactly_k_where_logits_are_equal():
    logits = torch.tensor([1.0, 2.0, 2.0, 2.0])
    for k in (1, 2, 3):
        p = next_distribution(logits, [0], Decoding(top_k=k))
        assert int((p > 0).sum()) == k


@pytest.mark.parametrize("temperature", [1e-3, 1e-10, 1e-40, 1e-300])
def test_the_lowest_temperatures_are_nearly_greedy(finished, temperature):
    ids = finished.dataset.val[:5].tolist()
    cold = generate_tokens(finished.model, ids, 20, Decoding(temperature=temperature))
    assert list(cold) == greedy(finished.model, ids, 20)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_precision_generates_with_its_cache(finished, dtype):
    model = copy.deepcopy(finished.model).to(dtype)
    ids = finished.dataset.val[:5].tolist()
    tokens = greedy(model, ids, 20)
    assert len(tokens) == 20
    if dtype is torch.float64:
        assert tokens == greedy(model, ids, 20, use_cache=False)


def test_rows_that_stand_for_no_token_are_written_as_such(dataset):
    n_vocab = dataset.tokenizer.n_vocab
    model = lab.GPT(lab.GPTConfig(n_vocab + 9, 8, 1, 1, 4))
    model.next_logits = lambda *_: torch.eye(n_vocab + 9)[n_vocab + 5 : n_vocab + 6] * 99
    assert generate(model, dataset.tokenizer, "The", 3) == "The" + 3 * "\ufffd"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0; it must be a whole number from 1 to 1,000,000"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be a number above 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"repetition_penalty": -2.0}, "repetition_penalty is -2.0"),
        (
            {"max_new_tokens": 0},
            "max_new_tokens is 0; it must be a whole number from 1 to 1,000,000",
        ),
        ({"max_new_tokens": -3}, "max_new_tokens is -3"),
        ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5"),
    ],
)
def test_options_out_of_range_are_refused(finished, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        finished.sample("The old", **options)


def test_an_empty_prompt_is_refused(finished):
    with pytest.raises(ValueError, match="at least one character to continue"):
        finished.sample("")
    with pytest.raises(ValueError, match="nothing to continue"):
        next(generate_tokens(finished.model, [], 5))


def test_a_prompt_that_the_model_has_no_rows_for_is_refused(finished, gpt2):
    with pytest.raises(ValueError, match="vocabulary"):
        generate(finished.model, gpt2, "The Copenhagen interpretation", 5)
