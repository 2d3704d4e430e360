"""Checks of the exercises for 05: claims, seeds, a mask, a fair exam, a hidden bug."""

import math
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import slmlab as lab
from slmlab.engine.model import Attention
from slmlab.exercises.checking import Case, expect, expect_function, numbers, require, word
from slmlab.exercises.lesson_05_runs import (
    FAULTS,
    exam,
    hidden_faults,
    other_scripts,
    overlaps,
    reports,
)
from slmlab.exercises.telling import right, task

if TYPE_CHECKING:
    import pandas as pd

# Task 1

RULINGS = ("holds", "fails", "open")


def set_ups() -> "pd.DataFrame":
    """Two widths of the grid at their best rates, with the least and the most text: a row a run."""
    runs = lab.at_best_rates(lab.best_looks(lab.read_grid()))
    few, many = runs["train_tokens"].min(), runs["train_tokens"].max()
    runs = runs[runs["n_embd"].isin([12, 96]) & runs["train_tokens"].isin([few, many])]
    columns = ["train_tokens", "seed", "n_embd", "learning_rate", "gap", "val_bits"]
    return runs[columns].rename(columns={"val_bits": "bits"}).sort_values(columns[:3])


@task
def claims(claim_a: Any, claim_b: Any, claim_c: Any, claim_d: Any, claim_e: Any) -> None:
    """What four set-ups of the grid, with three seeds each, can show; ruled by the records."""
    runs = set_ups()
    bits = runs.set_index(["train_tokens", "n_embd", "seed"])["bits"].sort_index()
    few, many = runs["train_tokens"].min(), runs["train_tokens"].max()
    wide_few, wide_many = (_signs(bits[n, 96] - bits[n, 12]) for n in (few, many))
    with_more = _signs(*(bits[many, width] - bits[few, width] for width in (12, 96)))
    rates = runs.groupby("n_embd")["learning_rate"].agg(set)
    by_gap = runs.sort_values("gap")["bits"]
    pairs = "The two models of one seed read the same text. "
    reasons = {
        "a": pairs + "Subtract their losses for each of the three seeds: do the differences have "
        "one sign?",
        "b": pairs + "Subtract their losses for each seed, and look which of the two is lower.",
        "c": "For each width and seed on its own, subtract the loss with the short text from that "
        "with the long one: do all six differences have one sign?",
        "d": "Compare the columns: does anything but the width differ between the two models?",
        "e": "Compare the two widths with 23,000 tokens. Which has the smaller gap, and which the "
        "lower loss? One clear counterexample is enough against an “always”.",
    }
    for letter, answer, truth in (
        ("a", claim_a, wide_few),
        ("b", claim_b, {"holds": "fails", "fails": "holds"}.get(wide_many, "open")),
        ("c", claim_c, with_more),
        ("d", claim_d, "open" if rates[12] != rates[96] else "holds"),
        ("e", claim_e, "holds" if by_gap.is_monotonic_increasing else "fails"),
    ):
        expect(f"claim_{letter}", answer, truth, dict.fromkeys(RULINGS, reasons[letter]))
    right("A claim needs pairs that agree, and one thing that changed.")


def _signs(*differences: "pd.Series") -> str:
    """The ruling on "all of these are below 0"."""
    below = [bool(value < 0) for values in differences for value in values]
    return "holds" if all(below) else "open" if any(below) else "fails"


# Task 2

COMPARE = """
pairs = list(zip(a, b))
if len(pairs) < 2:
    return "not decidable"
if all(x < y for x, y in pairs):
    return "a"
return "b" if all(y < x for x, y in pairs) else "not decidable"
"""
RANGES = """
if len(a) < 2:
    return "not decidable"
if max(a) < min(b):
    return "a"
return "b" if max(b) < min(a) else "not decidable"
"""
TURNED = COMPARE.replace('"a"', '"B"').replace('"b"', '"a"').replace('"B"', '"b"')
SEEDS = (  # each exposes one mistake
    Case(([2.0, 2.1, 2.2], [3.0, 3.1, 3.2]), "With every seed, a has the lower loss."),
    Case(([3.0, 3.1, 3.2], [2.0, 2.1, 2.2]), "With every seed, b has the lower loss."),
    Case(
        ([2.0, 2.5, 3.0], [2.2, 2.7, 3.2]),
        "The ranges overlap, but with every seed a has the lower loss: compare the two of one "
        "seed, which read the same text.",
    ),
    Case(
        ([2.2, 3.2, 2.7], [2.0, 3.0, 2.5]),
        "The ranges overlap, but with every seed b has the lower loss: compare the two of one "
        "seed, which read the same text.",
    ),
    Case(
        ([2.0, 2.1, 3.0], [2.9, 3.0, 2.9]),
        "Means and best runs lie apart, but with the last seed b has the lower loss.",
    ),
    Case(
        ([2.9, 3.0, 2.9], [2.0, 2.1, 3.0]),
        "Means and best runs lie apart, but with the last seed a has the lower loss.",
    ),
    Case(
        ([2.1, 2.9, 2.4], [2.5, 2.2, 3.0]),
        "The losses are in the order of the seeds. Sorted, the pairs belong to unlike texts.",
    ),
    Case(([2.0, 2.2], [2.0, 2.4]), "With the first seed the two are alike."),
    Case(([2.2, 2.0], [2.0, 2.0]), "With the last seed the two are alike."),
    Case(([2.0], [3.0]), "One pair has no spread to look at: nobody knows the sign of the next."),
    Case(([3.0], [2.0]), "One pair has no spread to look at."),
)


@task
def seeds(compare: Callable[..., Any]) -> None:
    """The lower loss wins only where it is lower with every seed."""
    pairs = {}
    runs = lab.at_best_rates(lab.best_looks(lab.read_grid())).sort_values("seed")
    for tokens, group in runs.groupby("train_tokens"):
        losses = [list(of_width["val_bits"]) for _, of_width in group.groupby("n_embd")]
        pairs[tokens] = list(combinations(losses, 2))
    in_the_grid = "These are two widths of the grid: the losses in one place are of one seed."
    every = [pair for group in pairs.values() for pair in group]
    for cases, mistakes in (
        (SEEDS[:1], {TURNED: "These are losses: the lower ones are the better ones."}),
        (SEEDS, {RANGES: SEEDS[2].hint}),
        ([Case(pair, in_the_grid) for pair in every], {}),
    ):
        expect_function(
            "compare(a, b)",
            compare,
            cases,
            COMPARE,
            mistakes,
            read=_verdict,
            otherwise="For {given} you say {value}.",
        )
    decided = sum(_signs(np.subtract(a, b)) != "open" for a, b in every)
    apart = sum(max(a) < min(b) or max(b) < min(a) for a, b in every)
    right(
        f"Of the grid's {len(every)} pairs of widths on equal text, {decided} have one sign with "
        f"every seed; the ranges keep apart in {apart}."
    )


def _verdict(answer: Any, name: str) -> str:
    return word(answer, f"{name}(a, b)", ("a", "b", "not decidable"))


# Task 3

MISTAKEN_MASKS = {
    "return torch.ones(T, T).triu().bool()": "It is transposed: row i, the token that looks, may "
    "look at itself and at what comes after it. Which half of the square should be True?",
    "return torch.ones(T, T).triu(1).bool()": "It is the opposite: yours is True where a token "
    "must *not* look. (Some functions want it so; here True means “may look”.)",
    "return torch.ones(T, T).tril(-1).bool()": "A token may look at itself too; with your mask the "
    "first one has nothing to look at.",
    "return torch.ones(T, T).tril(1).bool()": "Each token may look one too far: at the next one, "
    "which is the answer.",
    "return torch.ones(T, T).bool()": "Nothing is hidden: every token may look at all that come "
    "after it. A model without a mask can bring its validation perplexity near 1, and learns "
    "nothing but to look ahead.",
    "return torch.eye(T).bool()": "Each token sees only itself; it may look at all that came "
    "before it as well.",
}


@task
def mask(causal_mask: Callable[..., Any]) -> None:
    """A changed token changes no prediction before it, and may change any from it on."""
    for T in (6, 2, 9):
        expect_function(
            "causal_mask(T)",
            causal_mask,
            [(T,)],
            "return torch.ones(T, T).tril().bool()",
            MISTAKEN_MASKS,
            read=partial(_mask, T=T),
            otherwise=_effect,
        )
    right("Changing a token changes no prediction before it, and may change every one from it on.")


def _mask(answer: Any, name: str, T: int) -> Tensor:
    """The learner's mask as (T, T) of True and False; also from 0 and 1, or from 0 and −∞."""
    try:
        found = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0)
    require(
        found.dim() >= 2 and found.numel() == T * T and found.shape[-1] == T,
        f"`{name}({T})` should be a tensor of shape ({T}, {T}): a row for each token that looks, a "
        f"column for each that is looked at. Yours has the shape {tuple(found.shape)}.",
    )
    found = found.reshape(T, T)
    if found.dtype != torch.bool:
        added = bool((found == -math.inf).any())  # the kind that is added to the scores
        found = found == 0 if added else found != 0
    return found


class _MaskedAttention(Attention):
    """Attention with a mask of the learner's making, (T, T), true where a token may look."""

    mask: Tensor

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)


@torch.no_grad()
def _effect(allowed: Tensor, causal: Tensor, T: int) -> str:
    """What a wrong mask does in a small model, if one token after the other is changed."""
    shape = lab.GPTConfig(vocab_size=20, block_size=T, n_layer=1, n_head=1, n_embd=8)
    model = lab.GPT(shape, attention=_MaskedAttention).eval()
    for block in model.blocks:
        block.attn.mask = allowed
        block.attn.proj.weight.mul_(50)  # what is looked at counts more than in a new model
    ids = torch.arange(T)[None]
    before = model(ids)[0]
    in_a_model = f"In a model with your mask for {T} tokens, changing token"
    for t in range(T):
        changed = ids.clone()
        changed[0, t] = 19
        differs = (model(changed)[0] - before).abs().amax(-1) > 1e-5
        for early in differs[:t].nonzero().flatten().tolist():
            return (
                f"{in_a_model} {t} changed the prediction after token {early}, which comes before "
                "it: the future leaks."
            )
        for late in (~differs[t:]).nonzero().flatten().tolist():
            return (
                f"{in_a_model} {t} did not change the prediction after token {t + late}: it cannot "
                "see all of its past."
            )
    row = int((allowed != causal).any(-1).nonzero()[0])
    return f"Row {row} of your mask for {T} tokens is wrong: is token {row} to see itself?"


# Task 4

SHARES = """
a, b = train_a.tolist(), train_b.tolist()
texts = [(ids, lab.copy_rate(ids.tolist(), a), lab.copy_rate(ids.tolist(), b))
         for ids in scripts.values()]
"""
FAIR = SHARES + "fair = [ids for ids, in_a, in_b in texts if max(in_a, in_b) < 0.5]\n"
LOSSES = """
losses = [[lab.mean_loss(model, ids) for ids in fair] for model in (model_a, model_b)]
return [sum(of_one) / len(fair) for of_one in losses]
"""
EXAMINE = FAIR + LOSSES
ALL_SCRIPTS = (
    "Your exam has all the scripts, those too which a model has read. (If you left some out with "
    "lab.copy_rate: give it lists, by .tolist(). The items of a tensor never compare as equal, so "
    "nothing counts as copied.)"
)


def _nearly_read() -> str:
    shares = {name: max(pair) for name, pair in overlaps(exam()).items() if max(pair) < 1}
    worst = max(shares, key=shares.get)
    return (
        f"Your exam still has {worst}. Nobody has read the file itself, but {shares[worst]:.0%} of "
        "its sequences appear in one of the training texts."
    )


MISTAKEN_EXAMS = {
    EXAMINE.replace("(model_a, model_b)", "(model_b, model_a)"): "The order is reversed: first "
    "the loss of model a, then that of b.",
    "fair = list(scripts.values())" + LOSSES: ALL_SCRIPTS,
    SHARES
    + """
own_a = [lab.mean_loss(model_a, ids) for ids, in_a, _ in texts if in_a < 0.5]
own_b = [lab.mean_loss(model_b, ids) for ids, _, in_b in texts if in_b < 0.5]
return sum(own_a) / len(own_a), sum(own_b) / len(own_b)
""": "Each model takes its own exam: a on what a has not read, b on what b has not read. Their "
    "losses cannot be compared; both should get the same scripts.",
    EXAMINE.replace("max(in_a, in_b)", "in_a"): "You left out what a has read, but not what b has "
    "read.",
    EXAMINE.replace("max(in_a, in_b)", "in_b"): "You left out what b has read, but not what a has "
    "read.",
    EXAMINE.replace("< 0.5", "< 1"): _nearly_read,
    EXAMINE.replace("< 0.5", ">= 0.5"): "You chose the scripts that have been read; the others "
    "make a fair exam.",
    FAIR
    + """
lengths = [len(ids) - 1 for ids in fair]
return [
    sum(lab.mean_loss(model, ids) * n for ids, n in zip(fair, lengths)) / sum(lengths)
    for model in (model_a, model_b)
]
""": "Long scripts count more in your mean; each script should count the same.",
    FAIR + "return [lab.mean_loss(model, torch.cat(fair)) for model in (model_a, model_b)]": "You "
    "examine all scripts as one long text, in which long ones count more; each should count the "
    "same.",
    EXAMINE.replace(" / len(fair)", ""): "You return sums over the scripts, not means.",
}


@task
def fair_exam(examine: Callable[..., Any]) -> None:
    """Both models on the scripts that neither has read, each script counting the same."""
    expect_function(
        "examine(model_a, model_b, train_a, train_b, scripts)",
        examine,
        lambda: [exam().arguments],
        EXAMINE,
        MISTAKEN_EXAMS,
        read=_losses,
        otherwise=_other_losses,
        rel_tol=0.0,
        abs_tol=2e-4,
    )
    expect_function(
        "examine(model_a, model_b, train_a, train_b, scripts)",
        examine,
        lambda: [other_scripts(exam()).arguments],
        EXAMINE,
        read=_losses,
        otherwise="With other scripts your function does not find the fair one: “one.py” is mostly "
        "copied from a's text and not from b's, “two.py” is new to both. One model that has read a "
        "script is enough to make it unfair; and names of files tell nothing.",
        rel_tol=0.0,
        abs_tol=2e-4,
    )
    shares = [max(pair) for pair in overlaps(exam()).values()]
    fair, by_name = sum(share < 0.5 for share in shares), sum(share < 1 for share in shares)
    right(
        f"{fair} of {len(shares)} scripts are fair to both; by their names {by_name} seemed to be."
    )


def _losses(answer: Any, name: str) -> tuple[float, ...]:
    return numbers(answer, name, 2, "the loss of model a, and that of model b")


def _other_losses(value: tuple[float, ...], *_: Any) -> str:
    shares = [max(pair) for pair in overlaps(exam()).values()]
    return (
        f"({value[0]:.3f}, {value[1]:.3f}) are not the mean losses on the fair scripts, of which "
        f"there are {sum(share < 0.5 for share in shares)} of {len(shares)}: those less than half "
        "copied from either text."
    )


# Task 5


@task
def bug(run_a: Any, run_b: Any, run_c: Any, run_d: Any) -> None:
    """Which report has which bug; each wrong guess is answered with evidence."""
    for answer, (letter, fault) in zip(
        (run_a, run_b, run_c, run_d), hidden_faults().items(), strict=True
    ):
        evidence = {guess: partial(_evidence, letter, guess) for guess in FAULTS}
        expect(f"run_{letter.lower()}", answer, fault, evidence)
    right("A perplexity is only as honest as its labels, its mask and its validation text.")


def _evidence(letter: str, guess: str) -> str:
    """What speaks against a guess."""
    report = reports()[letter]
    shared = lab.copy_rate(report.val.tolist(), report.train.tolist())
    told = {
        "mask": "changing the last token of a window leaves all earlier predictions as they were. "
        "Its model does not look ahead.",
        "labels": "in its batches, targets[:, t] is inputs[:, t + 1] everywhere. Its loader asks "
        "for the next token, as it should.",
        "leak": f"only {shared:.0%} of the 8-token sequences of its validation text appear in its "
        "training text.",
        "fine": "it has one of the three faults. Have you looked at its batches, at its texts, and "
        "at its predictions when a later token changes?",
    }
    return f"Run {letter} is not “{guess}”: {told[guess]}"
