"""Checks of the exercises for 08: top-p, a penalty, beams, drafted tokens, a scorecard."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from slmlab.exercises import lesson_08_table as tiny
from slmlab.exercises.checking import Probe, expect, expect_function, filled_in, require
from slmlab.exercises.lesson_08_table import next_tokens as next_tokens
from slmlab.exercises.telling import right, task
from slmlab.validation import shown

# Task 1

TOP_P = """
order = probabilities.argsort(descending=True)
ordered = probabilities[order]
needed = ordered.cumsum(0) - ordered < p
kept = torch.zeros_like(probabilities)
kept[order[needed]] = ordered[needed]
return kept / kept.sum()
"""
BEFORE = "ordered.cumsum(0) - ordered < p"
CROSSING = "You left out the token that crosses the line. Without it the sum does not reach `p`."
NONE_LEFT = (
    "You left out the token that crosses the line. Where the first one does so alone, nothing is "
    "left, and 0 / 0 is NaN."
)
MISTAKEN_TOP_P = {
    TOP_P.replace(BEFORE, "ordered.cumsum(0) <= p"): NONE_LEFT,
    TOP_P.replace(BEFORE, "ordered.cumsum(0) < p"): NONE_LEFT,
    TOP_P.replace(BEFORE, "(ordered.cumsum(0) <= p) | (ordered == ordered[0])"): CROSSING,
    TOP_P.replace(BEFORE, "(ordered.cumsum(0) < p) | (ordered == ordered[0])"): CROSSING,
    TOP_P.replace("- ordered < p", "- ordered <= p"): "One token too many where the sum is exactly "
    "`p`: it has reached `p`, so the next token is not needed.",
    TOP_P.replace(" / kept.sum()", ""): "What you return adds up to less than 1. Divide by the sum "
    "of what is left.",
    TOP_P.replace("kept / kept.sum()", "kept.softmax(0)"): "These are probabilities already. "
    "Softmax would give the removed tokens a share again: divide by the sum.",
    TOP_P.replace("kept / kept.sum()", "kept / p"): "You divided by `p`. The kept tokens may reach "
    "more than `p`: divide by their sum.",
    "return probabilities": "Nothing was removed: `p` is not used.",
    TOP_P.replace("kept[order[needed]]", "kept[needed]"): "The probabilities are still sorted: "
    "each has to go back to the place of its own token.",
    """
    order = probabilities.argsort(descending=True)
    ordered = probabilities[order]
    ordered[ordered.cumsum(0) - ordered >= p] = 0
    return ordered[order] / ordered.sum()
    """: "To put the sorted ones back, `[order]` is the wrong way round: it sorts them a second "
    "time. Assign to `[order]`, as in `kept[order] = …`.",
    TOP_P.replace("descending=True", ""): "You begin with the unlikeliest token. Sort in "
    "descending order.",
    """
    ordered = probabilities.sort(descending=True).values
    kept = ordered[ordered.cumsum(0) - ordered < p]
    return kept / kept.sum()
    """: "You return the kept tokens alone. Every token keeps its place, and the removed ones have "
    "a probability of 0.",
    """
    kept = probabilities * (probabilities >= p)
    return kept / kept.sum()
    """: "You compare each token's own probability with `p`. Add up the likeliest ones until the "
    "*sum* reaches `p`.",
    """
    kept = probabilities * (probabilities >= p * probabilities.max())
    return kept / kept.sum()
    """: "That is min-p, which compares each token with the likeliest one. Top-p adds up the "
    "likeliest ones until the *sum* reaches `p`.",
}  # fmt: skip
ALL_EQUALS = {
    """
    ordered = probabilities.sort(descending=True).values
    least = ordered[ordered.cumsum(0) - ordered < p].min()
    kept = probabilities * (probabilities >= least)
    return kept / kept.sum()
    """: "Where tokens are equally likely, you keep all of them. Keep only as many as are needed "
    "to reach `p`.",
}  # fmt: skip


def _distribution(value: Any, name: str, what: str = "probability") -> list[float]:
    """A list of numbers; infinity for NaN, which unlike NaN equals itself."""
    filled_in(value, name)
    try:
        found = [float(p) for p in value]
    except Exception:  # each kind of thing has its own
        found = []
    told = f"`{name}` returns {shown(value)}; it should return a {what} for each token."
    require(found, told)
    return [math.inf if math.isnan(p) else p for p in found]


def _sorted_distribution(value: Any, name: str) -> list[float]:
    """The same, sorted: any of several equally likely tokens may be kept."""
    return sorted(_distribution(value, name))


@task
def nucleus(function: Callable[..., Any]) -> None:
    """`function(probabilities, p)`: the distribution over the fewest tokens that reach p."""
    cases = [
        (torch.tensor(probabilities), p)
        for probabilities, p in (
            ([0.05, 0.5, 0.1, 0.3, 0.03, 0.02], 0.85),
            ([0.0625, 0.5, 0.125, 0.25, 0.0625], 0.75),  # whose sum is exactly p
            ([0.125, 0.25, 0.625], 0.5),
            ([0.2, 0.1, 0.4, 0.3], 0.65),
            ([0.2, 0.1, 0.4, 0.3], 0.15),
            ([0.5, 0.125, 0.375], 1.0),
        )
    ]
    flat = [(torch.full((4,), 0.25), 0.5), (torch.tensor([0.125, 0.125, 0.5, 0.125, 0.125]), 0.7)]
    for group, mistakes, read in (
        (cases, MISTAKEN_TOP_P, _distribution),
        (flat, ALL_EQUALS, _sorted_distribution),
    ):
        expect_function(
            "top_p(probabilities, p)",
            function,
            group,
            TOP_P,
            mistakes,
            read=read,
            otherwise=_wrong_distribution,
            abs_tol=1e-4,
        )
    _leaves_alone(function, "top_p", "probabilities", *cases[0])
    right("The number of tokens that are kept adapts: one where the model is sure, many elsewhere.")


def _wrong_distribution(
    value: list[float], truth: list[float], given: torch.Tensor, p: float
) -> str:
    if len(value) != len(truth):
        return f"For {len(truth)} tokens you return {len(value)} numbers; return one for each."
    return (
        f"For the probabilities {_listed(given.tolist())} and p = {p:g} it gives {_listed(value)}; "
        f"it should be {_listed(truth)}."
    )


def _listed(values: Sequence[float]) -> str:
    shown_each = ("NaN" if value == math.inf else f"{value:.3g}" for value in values)
    return f"[{', '.join(shown_each)}]"


def _leaves_alone(
    function: Callable[..., Any], name: str, argument: str, tensor: torch.Tensor, *others: Any
) -> None:
    """Raise `Mistake` if the function changes the tensor that it is given."""
    if not isinstance(function, Probe):
        given = tensor.clone()
        function(given, *others)
        told = f"`{name}` changes the `{argument}` that it is given. Work on `{argument}.clone()`."
        require(torch.equal(given, tensor), told)


# Task 2

PENALISED = """
changed = logits.clone()
changed[list(set(seen))] -= math.log(theta)
return changed
"""
SUBTRACTED = "changed[list(set(seen))] -= math.log(theta)"
DIVIDED = """
p = logits.softmax(0)
p[list(set(seen))] /= theta
return p
"""
LOGS = "You divided the probabilities, as you should. But softmax comes next: return their logs."
MISTAKEN_PENALTIES = {
    PENALISED.replace("-= math.log(theta)", "/= theta"): "That is `divided`. A negative logit that "
    "is divided comes nearer to 0, so the token gets *likelier*.",
    PENALISED.replace("-= math.log(theta)", "*= theta"): "Now the negative logits are right, and "
    "the positive ones grow: their tokens get likelier.",
    PENALISED.replace(
        SUBTRACTED, "changed[seen] = torch.where(changed > 0, changed / theta, changed * theta)"
        "[seen]"
    ): "That is `repaired`, the penalty that libraries have. It depends on where the logits have "
    "their zero, and softmax doesn't: subtract a number that is the same for all logits.",
    PENALISED.replace("logits.clone()", "logits.log_softmax(0)").replace(
        "-= math.log(theta)", "*= theta"
    ): "This no longer depends on a constant. But it makes a likely token hardly less likely and "
    "an unlikely one far less. Each should become `theta` times less likely.",
    PENALISED.replace("math.log(theta)", "theta"): "You subtract `theta`, and softmax makes "
    "exp(`theta`) of it. What do you subtract so that exp gives `theta`?",
    PENALISED.replace("-=", "+="): "Now the seen tokens get likelier. Subtract.",
    """
    changed = logits.clone()
    for token in seen:
        changed[token] -= math.log(theta)
    return changed
    """: "A token that occurs twice is punished twice. Each token counts once, however often it "
    "occurs: `set(seen)`.",
    "return logits - math.log(theta)": "All logits are lowered alike, or none is: softmax sees no "
    "difference. Lower those of the seen tokens.",
    DIVIDED: LOGS,
    DIVIDED.replace("return p", "return p / p.sum()"): LOGS,
    PENALISED.replace(SUBTRACTED, "changed[list(set(seen))] = -math.inf"): "You forbid the seen "
    "tokens. They should become `theta` times less likely, and code needs most of them again.",
}  # fmt: skip


def _softmax(value: Any, name: str) -> list[float]:
    """Probabilities of the next token by its logits, wherever these have their zero."""
    logits = torch.tensor(_distribution(value, name, "logit"))
    return logits.softmax(0).nan_to_num(math.inf).tolist()


@task
def penalty(function: Callable[..., Any]) -> None:
    """`function(logits, seen, theta)`: logits with each seen token theta times less likely."""
    logits = torch.tensor([2.0, 1.0, -1.0, -2.0, 0.5])
    cases = [
        (logits, [0], 1.5),
        (logits, [3], 1.5),
        (logits, [0, 3, 2], 1.2),
        (logits + 4, [0, 3, 2], 1.2),
        (logits - 7, [0, 3, 2], 1.2),
        (logits, [1, 3, 1, 1], 2.0),
        (logits, [2, 4], 1.0),
        (logits, [], 1.3),
    ]
    expect_function(
        "penalised(logits, seen, theta)",
        function,
        cases,
        PENALISED,
        MISTAKEN_PENALTIES,
        read=_softmax,
        otherwise=lambda value, truth, logits, seen, theta: (
            f"For the logits {_listed(logits.tolist())}, the seen tokens {seen} and theta = "
            f"{theta:g}, softmax makes {_listed(value)} of your logits; it should be "
            f"{_listed(truth)}."
        ),
        advice={
            "must be Tensor, not float": "`theta` is a plain number: `math.log(theta)`.",
            "unhashable": "`seen` is a list of token ids; `set(seen)` has each of them once.",
        },
        abs_tol=1e-4,
    )
    _leaves_alone(function, "penalised", "logits", *cases[2])
    right("Any constant may be added to the logits, and a seen token always loses the same factor.")


# Task 3

WRITTEN = 0.02  # an answer with two digits is near enough


@task
def beams(
    greedy: Any, two_beams: Any, likeliest: Any, p_greedy: Any, p_beams: Any, p_likeliest: Any
) -> None:
    """What greedy decoding and two beams write, the likeliest text, and their probabilities."""
    truths = (tiny.kept(1)[-1][0], tiny.kept(2)[-1][0], max(tiny.TEXTS, key=tiny.probability))
    texts = {"greedy": greedy, "two_beams": two_beams, "likeliest": likeliest}
    reasons = (tiny.not_greedy, tiny.not_beams, tiny.not_likeliest)
    for (name, answer), truth, reason in zip(texts.items(), truths, reasons, strict=True):
        mistakes = {" ".join(text): reason(text) for text in tiny.TEXTS if text != truth}
        expect(name, tiny.text_of(answer, name), " ".join(truth), mistakes)
    products = {"p_greedy": p_greedy, "p_beams": p_beams, "p_likeliest": p_likeliest}
    for (name, answer), truth in zip(products.items(), truths, strict=True):
        expect(
            name,
            answer,
            tiny.probability(truth),
            tiny.mistaken_products(truth, WRITTEN),
            otherwise=f"Multiply the probabilities of the three tokens of “{' '.join(truth)}”.",
            rel_tol=WRITTEN,
        )
    right("Two beams end with a less likely text than greedy, and the likeliest text is a loop.")


# Task 4

KEPT = """
n = 0
while n < len(draft) and draft[n] == own[n]:
    n += 1
return draft[:n] + [own[n]]
"""
MISTAKEN_KEEPING = {
    KEPT.replace(" + [own[n]]", ""): "The model's own next token is missing. It is known already, "
    "and without it a pass with a wrong first guess would write nothing.",
    KEPT.replace("own[n]]", "own[-1]]"): "The next token has to be the model's own where the "
    "first guess was wrong. The last of `own` was computed after that wrong guess.",
    KEPT.replace("draft[:n] +", ""): "That is the model's own next token alone. The guesses before "
    "it were right, so they are kept.",
    KEPT.replace("[own[n]]", "draft[n : n + 1]"): "You keep the guess that the model does not "
    "share. Put the model's own token in its place.",
    KEPT.replace("draft[:n] + [own[n]]", "draft[: n + 1] + [own[n]]"): "You keep the wrong guess "
    "and the model's own token too. The one takes the place of the other.",
    KEPT.replace("return draft[:n] + [own[n]]", "return own[: min(n + 1, len(draft))]"): "Where "
    "all guesses are right, one more token is known: `own` has one more than `draft`.",
    "return own": "After the first wrong guess, the model's tokens were computed after a text that "
    "is not kept. They are of no use.",
    "return draft": "These are the guesses, unchecked. Keep those that are the model's own.",
    """
    kept = [guess for guess, token in zip(draft, own) if guess == token]
    return kept + own[len(kept) : len(kept) + 1]
    """: "You go on after a wrong guess. All that follows it was guessed, and computed, after a "
    "token that is not kept: stop at the first one.",
    """
    n = 0
    while n < len(draft) and draft[n] == own[n + 1]:
        n += 1
    return draft[:n] + [own[n]]
    """: "You compare each guess with the token after it. `own[i]` is what the model writes in the "
    "place of `draft[i]`.",
    KEPT.replace("draft[n] == own[n]", "draft[n] in own"): "You accept a guess that the model "
    "writes anywhere. It has to be the model's own token in the same place.",
}  # fmt: skip


def _ids(value: Any, name: str) -> list[int]:
    """A list of token ids, from a list, a tuple or a tensor."""
    filled_in(value, name)
    ids = value.tolist() if isinstance(value, torch.Tensor) else value
    require(
        isinstance(ids, list | tuple) and all(isinstance(i, int) for i in ids),
        f"`{name}` returns {shown(value)}; it should return a list of token ids.",
    )
    return list(ids)


@task
def draft(function: Callable[..., Any]) -> None:
    """`function(draft, own)`: the tokens that one pass of the model adds."""
    cases: list[tuple[list[int], list[int]]] = [
        ([5, 8, 2], [5, 8, 4, 7]),
        ([5, 8, 2], [5, 8, 2, 9]),
        ([5, 8, 2], [6, 8, 2, 9]),
        ([1, 2, 3, 4, 5], [1, 9, 3, 4, 6, 7]),
        ([3, 3, 3, 3], [3, 3, 1, 3, 3]),
        ([2, 4, 6], [2, 6, 4, 1]),
        ([4], [4, 4]),
        ([], [7]),
    ]
    expect_function(
        "accepted(draft, own)",
        function,
        cases,
        KEPT,
        MISTAKEN_KEEPING,
        read=_ids,
        otherwise="For the guesses {draft} and the model's own tokens {own} it gives {value}; it "
        "should be {truth}.",
        advice={
            "IndexError": "Where all guesses are right, `draft[n]` does not exist: look at `n` "
            "first.",
        },
    )
    right("Each token is the model's own, whoever guessed it: only the number of passes changes.")


# Task 5


@task
def scorecard(chosen: Any, read_a: Any, read_b: Any, read_c: Any, read_d: Any, read_e: Any) -> None:
    """Which decoder completes code best, and which sentences follow from the table?"""
    expect(
        "chosen",
        chosen,
        "greedy",
        {
            "greedy, penalty 1.2": "It repeats least because it may not write brackets and names "
            "again: 60% of its texts no longer parse.",
            "sampling": "It has the lowest similarity, and fewer than half its texts parse.",
            "top-p 0.9": "Its repetition is the script's, but its text is not: another is "
            "nearer to the script, by more than chance, and parses more often.",
            "4 beams": "Its lead in `parses` is within chance, and a loop parses as well. Compare "
            "similarity, and how far the repetition is from the script's.",
            "the script itself": "That is no decoder: it is what they all should come near to.",
        },
    )
    reasons = {
        "a": "The script itself repeats 0.21. With 0.03 the penalty misses it by more than plain "
        "greedy decoding does, and most texts are no longer Python.",
        "b": "The script itself has 0.21, so only what goes beyond that is the decoder's doing: "
        "0.33 − 0.21.",
        "c": "0.91 and 0.88 differ by less than the two can move. The repetition of 0.48 is what "
        "differs, and a loop parses as well.",
        "d": "The amount of repetition is the script's. What is repeated need not be: the "
        "similarity is 0.43, and 38% of the texts do not parse.",
        "e": "All prompts were scripts. A reply in a chat does not need its brackets again, so "
        "nobody knows from here what a penalty does to it.",
    }
    expect("read_a", read_a, False, {True: reasons["a"]})
    expect("read_b", read_b, True, {False: reasons["b"]})
    expect("read_c", read_c, False, {True: reasons["c"]})
    expect("read_d", read_d, False, {True: reasons["d"]})
    expect("read_e", read_e, True, {False: reasons["e"]})
    right("Repetition is no fault in itself: compare it with what the true text has.")
