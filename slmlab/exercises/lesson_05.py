"""Checks of the exercises for 05: claims, seeds, a mask, a fair exam, a hidden bug."""

import math
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import slmlab as lab
from slmlab.engine.model import Attention
from slmlab.exercises.checking import (
    Case,
    expect,
    expect_function,
    numbers,
    require,
    right,
    word,
)
from slmlab.exercises.lesson_05_runs import (
    FAULTS,
    exam,
    hidden_faults,
    other_scripts,
    overlaps,
    reports,
)

# Task 1

RULINGS = ("holds", "fails", "open")


def claims(claim_a: Any, claim_b: Any, claim_c: Any, claim_d: Any, claim_e: Any) -> None:
    """What four set-ups of the grid, with three seeds each, can show."""
    reasons = {
        "a": "Compare the ranges, not the middles: how far does one size, from its lowest seed to "
        "its highest, reach into the other?",
        "b": "Compare the highest loss of one size with the lowest of the other. And does anything "
        "but the size differ between these two?",
        "c": "For each size on its own, compare the ranges of the two amounts of text.",
        "d": "Look down both columns, text and epochs: did one of them change without the other?",
        "e": "Look at the two models with 23,000 tokens. Which has the smaller gap, and which the "
        "lower loss? One clear counterexample is enough against an “always”.",
    }
    for letter, answer, truth in (
        ("a", claim_a, "open"),
        ("b", claim_b, "holds"),
        ("c", claim_c, "holds"),
        ("d", claim_d, "open"),
        ("e", claim_e, "fails"),
    ):
        expect(f"claim_{letter}", answer, truth, dict.fromkeys(RULINGS, reasons[letter]))
    right("A claim needs ranges that keep apart, and one thing that changed.")


# Task 2

COMPARE = """
if min(len(a), len(b)) < 2:
    return "not decidable"
if max(a) < min(b):
    return "a"
return "b" if max(b) < min(a) else "not decidable"
"""
TURNED = COMPARE.replace('"a"', '"B"').replace('"b"', '"a"').replace('"B"', '"b"')
SEEDS = (  # each exposes one mistake
    Case(([2.0, 2.1, 2.2], [3.0, 3.1, 3.2]), "All runs of a are better than all of b."),
    Case(([3.0, 3.1, 3.2], [2.0, 2.1, 2.2]), "All runs of b are better than all of a."),
    Case(
        ([2.0, 2.5, 3.0], [2.9, 3.3, 3.4]),
        "The means lie apart, and so do the best runs, but the ranges overlap: a's worst run (3.0) "
        "is worse than b's best (2.9).",
    ),
    Case(
        ([2.0, 3.0, 3.1], [2.4, 2.5, 2.6]),
        "One range lies inside the other: the best run is one of a, and so is the worst.",
    ),
    Case(
        ([2.4, 2.5, 2.6], [2.0, 3.0, 3.1]),
        "One range lies inside the other: the best run is one of b, and so is the worst.",
    ),
    Case(
        ([3.0, 2.0, 2.5], [2.9, 3.5, 3.2]),
        "The losses come in the order of the seeds, not sorted by size: a range goes from the "
        "lowest to the highest.",
    ),
    Case(([2.0, 2.2], [2.2, 2.4]), "Ranges that touch are not apart."),
    Case(([2.0, 2.1, 2.2], [2.3, 2.4]), "The numbers of seeds may differ."),
    Case(
        ([2.0], [3.0, 3.1, 3.2]),
        "One run of a has no spread to look at: nobody knows where its next seed would land.",
    ),
    Case(([3.0, 3.1, 3.2], [2.0]), "One run of b has no spread to look at."),
)


def seeds(compare: Callable[..., Any]) -> None:
    """The lower loss wins only where the ranges over the seeds keep apart."""
    pairs = {}
    for tokens, group in lab.last_and_best(lab.read_grid()).groupby("train_tokens"):
        losses = [list(runs["best_val_loss"]) for _, runs in group.groupby("params")]
        pairs[tokens] = list(combinations(losses, 2))
    in_the_grid = "These are two sizes of the grid: ranges go from the lowest run to the highest."
    for cases, mistakes in (
        (SEEDS[:1], {TURNED: "These are losses: the lower ones are the better ones."}),
        (SEEDS, {}),
        ([Case(pair, in_the_grid) for group in pairs.values() for pair in group], {}),
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

    def decided(tokens: int) -> int:
        return sum(max(a) < min(b) or max(b) < min(a) for a, b in pairs[tokens])

    few, many = min(pairs), max(pairs)
    right(
        f"Of the grid's {len(pairs[few])} pairs of sizes, {decided(few)} can be decided with "
        f"{few:,} tokens, {decided(many)} with {many:,}."
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
    "after it. This is the missing mask of the notebook, with its perplexity near 1.",
    "return torch.eye(T).bool()": "Each token sees only itself; it may look at all that came "
    "before it as well.",
}


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
    EXAMINE.replace(".tolist()", ""): ALL_SCRIPTS,
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
