"""Checks of the exercises for 09: routing, leaks, loads, thresholds, parameters."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from slmlab.exercises import lesson_09_tables as tables
from slmlab.exercises.checking import Probe, attempted, expect, expect_function, filled_in, require
from slmlab.exercises.lesson_09_counts import MISTAKEN_COUNTS, counted, held_by, wrong_count
from slmlab.exercises.lesson_09_layers import Layer
from slmlab.exercises.lesson_09_layers import inputs as inputs
from slmlab.exercises.lesson_09_layers import layers as layers
from slmlab.exercises.lesson_09_routes import (
    MISTAKEN_ROUTES,
    WRONG_AXIS,
    engine_route,
    routes_of,
    wrong_routes,
)
from slmlab.exercises.lesson_09_tables import drifts as drifts
from slmlab.exercises.lesson_09_tables import loads as loads
from slmlab.exercises.lesson_09_tables import probabilities as probabilities
from slmlab.exercises.telling import right, task
from slmlab.validation import shown

# Task 1


@task
def routing(function: Callable[..., Any]) -> None:
    """`function(scores, k)`: the experts of each token (B, T, k), and their gates."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4, 5, 2), (2, 7, 3, 2), (3, 3, 4, 3), (5, 2, 6, 2), (4, 5, 4, 4))
    cases = [(torch.randn(size, generator=generator) * 2, k) for *size, k in shapes]
    expect_function(
        "route(scores, k)",
        function,
        cases,
        engine_route,
        MISTAKEN_ROUTES,
        read=routes_of,
        otherwise=wrong_routes,
        advice={
            "selected index k out of range": WRONG_AXIS,
            "to unpack": "`topk` returns two tensors: the values, and the indices.",
        },
        abs_tol=1e-4,
    )
    right("These are the routes of the course's own layer, on the same scores.")


# Task 2

LEAKING = """
found = []
for name, layer in layers.items():
    for x in inputs:
        changed = x.clone()
        changed[:, -1] = -x[:, -1]
        before, after = layer(x), layer(changed)
        if not torch.equal(before[:, :-1], after[:, :-1]):
            found.append(name)
return sorted(set(found))
"""
EARLIER = "before[:, :-1], after[:, :-1]"
OWN_OUTPUT = (
    "By your test every layer leaks, even `best_two`. The output of the changed token itself has "
    "to change: compare only those of the tokens before it, `[:, :-1]`."
)
TOO_SMALL = (
    "Your change is so small that every expert keeps its tokens. Put another token in its place, "
    "such as `torch.randn_like(x[:, -1])`."
)
SAFE_ONES = (
    "You name layers in which nothing changes. Name those where an earlier output changes, for at "
    "least one input."
)
SOME_INPUTS = (
    "You miss `first_choices`, which leaks only where an expert is full at the right moment. Try "
    "all inputs, and name a layer as soon as one of them shows a leak."
)
IN_ALL = "[name for name in layers if found.count(name) == len(inputs)]"
MISTAKEN_TESTS = {
    LEAKING.replace(EARLIER, "before, after"): OWN_OUTPUT,
    LEAKING.replace(EARLIER, "before[:, -1], after[:, -1]"): OWN_OUTPUT,
    LEAKING.replace("changed[:, -1] = -x[:, -1]", "changed[:, 0] = -x[:, 0]").replace(
        EARLIER, "before[:, 1:], after[:, 1:]"
    ): "You change the *first* token and look at later ones. These may depend on it: that is what "
    "a context is for. Change the last token, and look at those before it.",
    LEAKING.replace("-x[:, -1]", "x[:, -1] + 1e-5"): TOO_SMALL,
    LEAKING.replace("if not torch.equal", "if torch.equal"): SAFE_ONES,
    LEAKING.replace("if not torch.equal", "if torch.equal").replace(
        "sorted(set(found))", IN_ALL
    ): SAFE_ONES,
    LEAKING.replace("in inputs:", "in inputs[:1]:"): SOME_INPUTS,
    LEAKING.replace("sorted(set(found))", IN_ALL): SOME_INPUTS,
    LEAKING.replace("layer(changed)", "layer(x[:, :-1])").replace(
        EARLIER, "before[:, :-1], after"
    ): "You cut the last token off. A shorter sequence leaves an expert less room, so "
    "`first_come` changes too, without looking ahead. Keep the length, and change the token.",
}  # fmt: skip


def _names(value: Any, name: str) -> list[str]:
    """Names, each once and sorted."""
    filled_in(value, name)
    found = sorted(set(value)) if _is_list_of_text(value) else None
    require(
        found is not None, f"`{name}` returns {shown(value)}; it should return a list of names."
    )
    return found or []


def _is_list_of_text(value: Any) -> bool:
    many = isinstance(value, list | tuple | set)
    return many and all(isinstance(one, str) for one in value)


def _mean_before(x: Tensor) -> Tensor:
    return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


def _next_token(x: Tensor) -> Tensor:
    return x.roll(-1, 1)


def _last_token(x: Tensor) -> Tensor:
    """Where only the first token sees the last one."""
    return torch.cat([x[:, -1:], x[:, 1:]], 1)


def _other_sequence(x: Tensor) -> Tensor:
    """Where each token sees those of the other sequences, at its own place alone."""
    return x.roll(1, 0)


@task
def leaks(function: Callable[..., Any]) -> None:
    """`function(layers, inputs)`: the names of the layers in which a token sees a later one."""
    tried = inputs()
    known: dict[str, Layer] = {
        "mean_before": _mean_before,
        "next_token": _next_token,
        "last_token": _last_token,
        "other_sequence": _other_sequence,
    }
    _keeps(function, tried)
    expect_function(
        "leaking(layers, inputs)",
        function,
        [(layers(), tried), (known, tried[:2])],
        LEAKING,
        MISTAKEN_TESTS,
        read=_names,
        otherwise=_wrong_names,
    )
    right("Both choose among all tokens at once. A limit alone is no leak: `first_come` has one.")


def _keeps(function: Callable[..., Any], tried: list[Tensor]) -> None:
    """Raise `Mistake` if the function changes the inputs that it is given."""
    if not isinstance(function, Probe):
        given = [x.clone() for x in tried]
        attempted(function, layers(), given)
        require(
            all(map(torch.equal, given, tried)),
            "You change the `inputs` themselves, so both outputs are those of the changed tokens. "
            "Work on `x.clone()`.",
        )


def _wrong_names(value: list[str], truth: list[str], layers: dict[str, Layer], _: Any) -> str:
    missed = [name for name in truth if name not in value]
    if missed:
        return (
            f"Of the layers {', '.join(layers)}, your test misses {', '.join(missed)}: there an "
            "earlier output changes with the last token, if only in one place of one input."
        )
    extra = ", ".join(name for name in value if name not in truth)
    return (
        f"Of the layers {', '.join(layers)}, your test also names {extra}, in which no earlier "
        "output changes with the last token."
    )


# Task 3

NEAR = 0.01


@task
def balance(collapsed: Any, busiest: Any, of_tokens: Any, aux: Any) -> None:
    """What a table of loads says of the layer that has collapsed."""
    E, k = tables.EXPERTS, tables.ACTIVE
    truth = max(range(len(tables.LOADS)), key=lambda layer: max(tables.LOADS[layer]))
    share, p = tables.LOADS[truth], tables.PROBABILITIES[truth]
    expect(
        "collapsed",
        collapsed,
        truth,
        {
            0: "Its busiest expert has twice its equal share, and none has less than a quarter "
            "of it. Look for the largest number of the table.",
            1: "Nearly: two experts share most of its choices. In another layer a single expert "
            "takes as many as one can.",
        },
        otherwise="Give the number of the layer: 0, 1 or 2.",
    )
    expect(
        "busiest",
        busiest,
        max(share) * E,
        {
            max(share): "That is its share of all choices. Its equal share would be 1/8: how many "
            "of these does it have?",
            max(share) * E / k: "You divided by the two choices of a token as well. The shares of "
            "the table already add up to 1, so an equal one is 1/8.",
            max(share) / min(share): "You compared it with the idlest expert. Compare it with an "
            "equal share, 1/8.",
            max(p) * E: "That is made of the mean probability. The load counts choices.",
        },
        otherwise="Divide the largest share of that layer by an equal share, 1/8.",
        rel_tol=NEAR,
    )
    expect(
        "of_tokens",
        of_tokens,
        max(share) * k,
        {
            max(share): "That is its share of the *choices*. Each token makes two, and never "
            "chooses the same expert twice.",
            max(share) / k: "A token makes two choices, so there are twice as many choices as "
            "tokens: multiply.",
            max(p): "That is the mean probability. A token whose router is hardly sure goes to "
            "its expert all the same.",
        },
        otherwise="For each token there are two choices; this expert has a share of them.",
        rel_tol=NEAR,
    )
    products = sum(a * b for a, b in zip(share, p, strict=True))
    expect(
        "aux",
        aux,
        E * products,
        {
            products: "Multiply by the number of experts, so that equal loads give 1.",
            products / E: "You took the mean of the products. Take their sum, times the number of "
            "experts.",
            E * sum(a * a for a in share): "You multiplied each share with itself. The other "
            "factor is the router's mean probability: a count alone has no gradient.",
            E * sum(b * b for b in p): "You multiplied each probability with itself. One factor is "
            "the share of choices.",
            k * E * products: "You counted shares of tokens, which add up to 2. Those of the table "
            "are of choices, and add up to 1.",
            E * sum(share) * sum(p): "You summed before you multiplied. Multiply expert by expert, "
            "then add up.",
            E * max(share) * max(p): "That is the part of the busiest expert. Add up all eight.",
        },
        otherwise="For each expert multiply its share and its mean probability; add up the eight "
        "products, and multiply the sum by 8.",
        rel_tol=NEAR,
    )
    right("Nearly every token has that expert, and the loss that should prevent it is below 2.")


# Task 4


@task
def thresholds(
    drift_95: Any,
    drift_75: Any,
    stability_219: Any,
    frozen_20: Any,
    frozen_100: Any,
    read_a: Any,
    read_b: Any,
    read_c: Any,
    read_d: Any,
) -> None:
    """From a stability to a drift and back, and what a threshold freezes at two intervals."""
    for name, answer, least in (("drift_95", drift_95, 0.95), ("drift_75", drift_75, 0.75)):
        expect(
            name,
            answer,
            1 / least - 1,
            {
                1 - least: "That is 1 − stability. Solve stability = 1 / (1 + drift) for the "
                "drift.",
                1 / least: "That is 1 + drift. Subtract 1.",
                1 / (1 + least): "You put the stability in the place of the drift.",
                least / (1 - least): "That is the inverse of the drift.",
            },
            otherwise="Solve stability = 1 / (1 + drift) for the drift.",
            rel_tol=NEAR,
        )
    expect(
        "stability_219",
        stability_219,
        1 / 1.219,
        {
            1 - 0.219: "That is 1 − drift, which is near for small drifts only. Divide 1 by 1 + "
            "drift.",
            1 / 0.219: "That is 1 / drift. Divide 1 by 1 + drift.",
            1 / 0.219 - 1: "That is the way from a stability to a drift.",
        },
        otherwise="Divide 1 by 1 + drift.",
        rel_tol=NEAR,
    )
    counts = {n: sum(d <= 0.25 for d in column) for n, column in tables.DRIFTS.items()}
    E = tables.EXPERTS
    expect(
        "frozen_20",
        frozen_20,
        counts[20],
        {
            E - counts[20]: "That is how many are *not* frozen. A small drift is a high stability.",
            0: "0.80 is a stability. The drift that belongs to it is 0.25.",
            E: "Some have drifted more than 0.25 even over 20 steps.",
        },
        otherwise="Count the drifts of 0.25 or less in the column of 20 steps.",
    )
    expect(
        "frozen_100",
        frozen_100,
        counts[100],
        {
            counts[20]: "That is the column of 20 steps.",
            E: "0.80 is a stability. The drift that belongs to it is 0.25, and a larger one does "
            "not freeze.",
        },
        otherwise="Count the drifts of 0.25 or less in the column of 100 steps.",
    )
    reasons = {
        "a": "Divide the columns: it is two to three times as far. Later changes partly undo "
        "earlier ones.",
        "b": "Sort the column of 100 steps. The five lowest there are not the five that 20 steps "
        "freeze: expert 2 comes before expert 7.",
        "c": "0.95 allows a drift of 0.053. The lowest of the table is above that, so looking "
        "often does not help here.",
        "d": "The same experts of the same run pass it or fail it, depending on how far apart the "
        "looks are.",
    }
    expect("read_a", read_a, False, {True: reasons["a"]})
    expect("read_b", read_b, False, {True: reasons["b"]})
    expect("read_c", read_c, True, {False: reasons["c"]})
    expect("read_d", read_d, True, {False: reasons["d"]})
    right("A threshold means something only together with the interval it was measured over.")


# Task 5


@task
def memory(function: Callable[..., Any]) -> None:
    """`function(n_embd, width, n_expert, n_active, n_tokens)`: numbers a layer's training holds."""
    expect_function(
        "held(n_embd, width, n_expert, n_active, n_tokens)",
        function,
        [
            (96, 192, 8, 2, 392),
            (96, 192, 64, 2, 392),
            (96, 192, 8, 4, 392),
            (64, 100, 5, 1, 49),
            (32, 48, 3, 3, 16),
        ],
        counted,
        MISTAKEN_COUNTS,
        read=held_by,
        otherwise=wrong_count,
    )
    right(
        "With 64 experts of 2 for 8 of 2, weights, gradients and moments become nearly eight times "
        "as many; what is active hardly changes, and the activations do not."
    )
