"""What experts take: every measure on choices whose answer is known, and beside chance."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slmlab as lab
from slmlab.study import routing
from slmlab.study.routing import (
    choices,
    coactivation,
    explained,
    load,
    routes,
    saturation,
    specialisation,
)


def random_choices(layers, n, k, n_expert):
    luck = torch.rand(layers, n, n_expert, generator=torch.Generator().manual_seed(n))
    return luck.argsort(-1)[..., :k]


@pytest.fixture(scope="module")
def sparse(dataset):
    config = lab.ExpertConfig(dataset.tokenizer.n_vocab, 16, 2, 2, 16, n_expert=4)
    return lab.GPT(config, 3)


def test_choices_are_those_of_windows_one_after_the_other(sparse, dataset):
    ids = dataset.val[:40]  # two windows and a half
    found = choices(sparse, ids)
    assert found.shape == (2, 40, 2) and found.dtype == torch.int64
    for i, layer in enumerate(routes(sparse, ids)):
        assert torch.equal(found[i], layer.chosen[0])
        for start in (0, 16, 32):
            window = lab.routings(sparse, ids[start : start + 16])[i]
            for ours, theirs in zip(layer, window, strict=True):
                assert torch.equal(ours[:, start : start + 16], theirs)


@pytest.mark.parametrize("ids", [[1, 2], torch.tensor([[1]]), torch.tensor([1.0]), None])
def test_other_ids_are_refused(sparse, ids):
    with pytest.raises(ValueError, match="1-D int64 tensor"):
        choices(sparse, ids)


def test_a_model_without_experts_has_no_routes(tiny):
    with pytest.raises(ValueError, match="no experts"):
        choices(tiny(), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="model"):
        choices(None, torch.tensor([1, 2]))


def test_load_is_the_share_of_the_choices():
    chosen = torch.tensor([[[0, 1], [0, 2]], [[3, 1], [3, 1]]])
    assert load(chosen, 4).tolist() == [[0.5, 0.25, 0.25, 0], [0, 0.5, 0, 0.5]]
    assert load(random_choices(3, 50, 2, 8), 8).sum(1).tolist() == pytest.approx([1] * 3)


def test_saturation_counts_the_experts_that_are_final_already():
    final = torch.tensor([[[0, 1], [2, 3]]])
    assert saturation(final, final) == 1
    assert (
        saturation(final.flip(-1), final) == 1
    )  # which of a token's experts is first is no matter
    assert saturation(torch.tensor([[[2, 3], [0, 1]]]), final) == 0
    assert saturation(torch.tensor([[[1, 5], [4, 5]]]), final) == 0.25


def test_random_choices_saturate_by_chance():
    one, other = random_choices(2, 4_000, 2, 8), random_choices(2, 4_001, 2, 8)[:, 1:]
    assert saturation(one, other) == pytest.approx(2 / 8, abs=0.02)


def test_saturation_of_other_texts_is_refused():
    with pytest.raises(ValueError, match="the same text and layers"):
        saturation(torch.zeros(1, 2, 1).long(), torch.zeros(1, 3, 1).long())


def test_experts_that_are_always_together_are_found_in_every_pair():
    """Eight of 64 always take a token together. Whoever pairs neighbours in sorted order only
    finds 7 of their 28 pairs, which is a mean of 0.25."""
    group, luck = torch.arange(8) * 8, torch.Generator().manual_seed(0)
    shuffled = torch.stack([group[torch.randperm(8, generator=luck)] for _ in range(50)])
    others = torch.arange(64)[torch.arange(64) % 8 > 0]
    rest = torch.stack([others[torch.randperm(56, generator=luck)[:8]] for _ in range(50)])
    [table] = coactivation(torch.cat([shuffled, rest])[None], 64)
    within = table[group][:, group]
    assert (within[~torch.eye(8, dtype=torch.bool)] == 1).all()
    assert (table[group][:, others] == 0).all()


def test_coactivation_counts_every_pair_once_and_no_expert_with_itself():
    chosen = random_choices(2, 40, 3, 6)
    table = coactivation(chosen, 6)
    assert (table.diagonal(dim1=1, dim2=2) == 0).all()
    for layer, shares in zip(chosen.tolist(), table, strict=True):
        tokens = Counter(e for experts in layer for e in experts)
        for i in range(6):
            for j in set(range(6)) - {i}:
                both = sum({i, j} <= set(experts) for experts in layer)
                assert shares[i, j] == pytest.approx(both / tokens[i])
    counts = table * load(chosen, 6)[..., None] * 120
    torch.testing.assert_close(counts, counts.transpose(1, 2))


def test_an_expert_without_tokens_goes_with_nobody():
    [table] = coactivation(torch.tensor([[[0, 1], [1, 0]]]), 4)
    assert table[2:].eq(0).all() and table[:, 2:].eq(0).all() and table[0, 1] == 1


def test_specialisation_has_a_row_for_each_label_and_one_of_all():
    chosen = torch.tensor([[[0, 1], [0, 2], [3, 2]]])
    table = specialisation(chosen, ["name", "name", "number"], 5)
    assert list(table.index) == ["name", "number", "all"]
    assert list(table.columns) == ["tokens", 0, 1, 2, 3, 4]
    assert table["tokens"].tolist() == [2, 1, 3]
    assert table.loc["name"].tolist() == [2, 0.5, 0.25, 0.25, 0, 0]
    assert table.loc["number"].tolist() == [1, 0, 0, 0.5, 0.5, 0]
    of_all = table.loc["all"].drop("tokens").tolist()
    assert of_all == pytest.approx(load(chosen, 5)[0].tolist())
    made = random_choices(1, 200, 2, 8)
    table = specialisation(made, [i % 7 for i in range(200)], 8).drop(columns="tokens")
    assert table.sum(axis=1).tolist() == pytest.approx([1] * 8)


def test_specialisation_is_of_one_layer():
    with pytest.raises(ValueError, match="2 layers; give the choices of one"):
        specialisation(torch.zeros(2, 3, 1).long(), ["a"] * 3, 4)


# How much labels explain


def test_a_copy_of_the_choice_explains_all_of_it():
    chosen = random_choices(2, 600, 2, 8)
    assert explained(chosen[:1], chosen[0, :, 0].tolist()) == pytest.approx(1)


@pytest.mark.parametrize("n_labels", [2, 7, 49, 300, 2_000])
def test_random_labels_explain_nothing_however_many_they_are(n_labels):
    """Without a correction for chance, 300 labels of 2,000 tokens would explain a quarter."""
    chosen = random_choices(2, 2_000, 2, 8)
    labels = torch.randint(n_labels, (2_000,), generator=torch.Generator().manual_seed(5))
    assert abs(explained(chosen, labels.tolist())) < 0.03


def test_labels_that_are_all_different_explain_nothing():
    assert explained(random_choices(2, 500, 2, 8), range(500)) == 0


def test_half_of_the_choice_lies_between():
    chosen = random_choices(1, 2_000, 2, 8)
    labels = [int(e) if i % 2 else "?" for i, e in enumerate(chosen[0, :, 0])]
    assert 0.3 < explained(chosen, labels) < 0.7


@settings(max_examples=10)
@given(st.permutations(range(8)), st.permutations("abcdefg"))
def test_names_of_experts_and_labels_do_not_matter(experts, names):
    chosen = random_choices(1, 300, 2, 8)
    labels = [int(e) % 7 for e in chosen[0, :, 0]]
    renamed = explained(torch.tensor(experts)[chosen], [names[label] for label in labels])
    assert renamed == pytest.approx(explained(chosen, labels), abs=0.02)  # shuffled otherwise


def test_pairs_are_labels_too():
    chosen = random_choices(1, 100, 2, 8)
    labels = [(int(e), "x") for e in chosen[0, :, 0]]
    assert explained(chosen, labels) == pytest.approx(1)


def test_one_expert_leaves_nothing_to_explain():
    assert explained(torch.zeros(1, 20, 1).long(), ["a", "b"] * 10) == 0
    both = torch.stack([torch.zeros(20).long(), torch.arange(20) % 2])[..., None]
    assert explained(both, ["a", "b"] * 10) == pytest.approx(0.5)  # the mean of the layers


def test_chance_is_what_the_exact_formula_says():
    """The expected mutual information of two labelings of the same sizes, by Vinh et al. 2010."""
    generator = np.random.default_rng(1)
    experts = generator.integers(4, size=120)
    labels = np.where(generator.random(120) < 0.5, experts, generator.integers(4, 30, size=120))
    a, b, n = np.bincount(experts), np.bincount(labels), len(labels)
    chance = 0.0
    for rows in a[a > 0].tolist():
        for columns in b[b > 0].tolist():
            for both in range(max(1, rows + columns - n), min(rows, columns) + 1):
                chance += (
                    both
                    / n
                    * math.log(n * both / (rows * columns))
                    * hypergeometric(both, rows, columns, n)
                )
    found, most = (routing._information(experts, other) for other in (labels, experts))
    exact = (found - chance) / (most - chance)
    chosen = torch.tensor(experts)[None, :, None]
    assert explained(chosen, labels.tolist()) == pytest.approx(exact, abs=0.02)


def hypergeometric(both, rows, columns, n):
    ways = math.comb(columns, both) * math.comb(n - columns, rows - both)
    return ways / math.comb(n, rows)


@pytest.mark.parametrize(
    "chosen",
    [
        None,
        [[0]],
        torch.zeros(2, 3).long(),
        torch.zeros(1, 0, 2).long(),
        torch.zeros(1, 2, 1),
        torch.full((1, 2, 1), 9),
        torch.full((1, 2, 1), -1),
    ],
)
def test_what_are_no_choices_gets_a_sentence(chosen):
    for measure in (load, coactivation, lambda c, n: specialisation(c, ["a", "b"], n)):
        with pytest.raises(ValueError, match="chosen"):
            measure(chosen, 4)


@pytest.mark.parametrize(
    ("labels", "sentence"), [(["a"], "1 labels for 2 tokens"), ("ab", "a list"), (None, "a list")]
)
def test_labels_are_one_for_each_token(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        explained(torch.zeros(1, 2, 1).long(), labels)
    with pytest.raises(ValueError, match=sentence):
        specialisation(torch.zeros(1, 2, 1).long(), labels, 4)
