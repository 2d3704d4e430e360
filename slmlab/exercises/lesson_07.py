"""Checks of the exercises for 07: smoothed and masked losses, the step to keep, what to believe."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from slmlab.exercises.checking import Probe, called, expect, expect_function, number, require
from slmlab.exercises.telling import right, task

if TYPE_CHECKING:
    import pandas as pd

# Task 1

SMOOTHED = """
log_p = logits.log_softmax(-1)
target = log_p[range(len(targets)), targets]
return -((1 - smoothing) * target + smoothing * log_p.mean(-1)).mean()
"""
MISTAKEN_SMOOTHINGS = {
    "return F.cross_entropy(logits, targets)": "This is the loss without smoothing: `smoothing` "
    "is not used.",
    SMOOTHED.replace("log_p.mean(-1)", "(log_p.sum(-1) - target) / (log_p.shape[-1] - 1)"): "You "
    "spread `smoothing` over the other tokens only. In PyTorch the target gets its share as well: "
    "`smoothing` / V for each of the V tokens.",
    SMOOTHED.replace("(1 - smoothing) * target", "target"): "The shares add up to more than 1: "
    "what is spread has to be taken from the target, so it keeps 1 − `smoothing`.",
    SMOOTHED.replace("-1)).mean()", "-1)).sum()"): "You added up the losses of the tokens. Take "
    "their mean.",
    SMOOTHED.replace("(1 - smoothing) * target + smoothing *", "smoothing * target + (1 - "
    "smoothing) *"): "You smooth the wrong way round: the target keeps 1 − `smoothing`, and "
    "`smoothing` is spread.",
    SMOOTHED.replace("log_p.mean(-1)", "log_p.sum(-1)"): "You gave every token the whole of "
    "`smoothing`. Each of the V tokens gets `smoothing` / V.",
    SMOOTHED.replace("return -", "return "): "The sign is missing: a loss is *minus* the log of "
    "the probability.",
    SMOOTHED.replace("logits.log_softmax(-1)", "logits"): "Logits are not yet logs of "
    "probabilities: take `log_softmax` over the vocabulary first.",
    SMOOTHED.replace("log_softmax", "softmax"): "You averaged probabilities. The loss needs their "
    "logs.",
    SMOOTHED.replace("log_softmax(-1)", "log_softmax(0)"): "Your softmax runs over the rows. Each "
    "row is one prediction, so use `dim=-1`, the vocabulary.",
    """
    mixed = (1 - smoothing) * logits.softmax(-1) + smoothing / logits.shape[-1]
    return F.nll_loss(mixed.log(), targets)
    """: "You smoothed what the model predicts. Smooth what it is asked for: the target's share is "
    "1 − `smoothing` plus its part of what is spread.",
    """
    wanted = (1 - smoothing) * F.one_hot(targets, logits.shape[-1]) + smoothing / logits.shape[-1]
    return -(wanted * logits.log_softmax(-1)).mean()
    """: "You took the mean over tokens *and* vocabulary. Add up over the vocabulary, and take the "
    "mean over the tokens.",
}  # fmt: skip
TOO_LARGE = (
    "This is right for small logits. For large ones a probability becomes 0, and its log is not "
    "finite: `log_softmax` does both in one."
)


@task
def smoothed(function: Callable[..., Any]) -> None:
    """`function(logits, targets, smoothing)`: the mean loss, with label smoothing."""
    dice = torch.Generator().manual_seed(7)
    cases = []
    for n_tokens, n_vocab, smoothing in ((3, 4, 0.1), (6, 11, 0.3), (1, 5, 0.25), (4, 7, 0.0)):
        logits = 2 * torch.randn(n_tokens, n_vocab, generator=dice)
        targets = torch.randint(n_vocab, (n_tokens,), generator=dice)
        cases.append((logits, targets, smoothing))
    expect_function(
        "smoothed_loss(logits, targets, smoothing)",
        function,
        cases,
        "return F.cross_entropy(logits, targets, label_smoothing=smoothing)",
        MISTAKEN_SMOOTHINGS,
        otherwise=lambda value, truth, logits, targets, smoothing: (
            f"For {len(targets)} tokens, a vocabulary of {logits.shape[1]} and a smoothing of "
            f"{smoothing} it gives {value:.4f}; it should be {truth:.4f}."
        ),
    )
    large = called(function, 200 * cases[0][0], *cases[0][1:], advice={"": TOO_LARGE})
    require(torch.as_tensor(large).isfinite().all(), TOO_LARGE)
    right("It agrees with `F.cross_entropy(…, label_smoothing=…)`; with smoothing it is never 0.")


# Task 2

MASKED = "return (losses * mask).sum() / mask.sum().clamp(min=1)"
NOTHING_COUNTS = (
    "Where no token counts, this is 0 / 0, which is NaN, and one such batch turns all weights "
    "into NaN. Return 0 for it."
)
ROW_MEANS = (
    "You took a mean of the rows' means. Then a token of a short answer counts for more than one "
    "of a long answer. Add up over the whole batch before you divide."
)
OTHERS = "The mask is True where a token counts; you took the mean over the other tokens."
MISTAKEN_MASKS = {
    "return losses[mask].mean()": NOTHING_COUNTS,
    "return ((losses * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()": ROW_MEANS,
    "return ((losses * mask).sum(1) / mask.sum(1)).mean()": ROW_MEANS,
    "return ((losses * mask).sum(1) / mask.sum(1)).nanmean()": ROW_MEANS,
    "return (losses * mask).mean()": "You divided by all tokens. Divide by the number of those "
    "that count.",
    "return losses.mean()": "This is the mean over all tokens: `mask` is not used.",
    "return (losses * ~mask).sum() / (~mask).sum().clamp(min=1)": OTHERS,
    "return losses[~mask].mean()": OTHERS,
    "return (losses * mask).sum()": "This is the sum. Divide it by the number of tokens that "
    "count.",
    "return (losses * mask).sum() / len(losses)": "You divided by the rows. Divide by the number "
    "of tokens that count.",
    "return (losses * mask).sum() / (mask.sum() + 1)": "Adding 1 to the number of tokens makes "
    "every loss too small. Only the batch without a counted token needs a case of its own.",
}


def _loss(value: Any, name: str) -> float:
    """A loss, and infinity for NaN, which unlike NaN equals itself."""
    try:
        return math.inf if math.isnan(value) else number(value, name)
    except (TypeError, ValueError, RuntimeError):  # no number at all
        return number(value, name)


@task
def masked(function: Callable[..., Any]) -> None:
    """`function(losses, mask)`: the mean loss of the tokens that count, 0 if there are none."""
    losses = torch.tensor([[3.0, 1.0, 2.5], [0.5, 4.0, 2.0]])
    mask = torch.tensor([[True, False, False], [True, True, True]])
    wide = torch.arange(1.0, 13.0).view(3, 4).sqrt()
    few = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
    expect_function(
        "masked_loss(losses, mask)",
        function,
        [
            (losses, mask),
            (wide, few),
            (losses, torch.ones_like(mask)),
            (losses, torch.zeros_like(mask)),
        ],
        MASKED,
        MISTAKEN_MASKS,
        read=_loss,
        otherwise=_wrong_mean,
        advice={
            "infer output dtype": "A mask of True and False has no mean; `mask.sum()` counts the "
            "tokens.",
            "ZeroDivision": NOTHING_COUNTS,
        },
    )
    right("Every counted token weighs the same, whichever dialogue it is from.")


def _wrong_mean(value: float, truth: float, losses: torch.Tensor, mask: torch.Tensor) -> str:
    counts = ", ".join(map(str, mask.sum(1).tolist()))
    if value == math.inf:
        return NOTHING_COUNTS if not mask.any() else f"With {counts} counted tokens it gives NaN."
    return (
        f"For rows with {counts} counted tokens, whose losses are "
        f"{', '.join(f'{loss:.3g}' for loss in losses[mask].tolist()) or 'none'}, it gives "
        f"{value:.4f}; it should be {truth:.4f}."
    )


# Task 3

CHOSEN = 'return min(looks, key=lambda look: look["val_loss"])["step"]'
MISTAKEN_STEPS = {
    CHOSEN.replace("val_loss", "train_loss"): "You chose by the training loss, which falls as long "
    "as the model memorises.",
    CHOSEN.replace("val_loss", "reported_loss"): "You chose by the reported loss, which has label "
    "smoothing in it. It punishes a model for being sure, also where it is right, and so it turns "
    "at another step.",
    CHOSEN.replace("val_loss", "final_loss"): "You chose by the final text. A text that chooses "
    "can no longer judge the choice.",
    'return looks[-1]["step"]': "That is the last step, not the best one.",
    CHOSEN.replace("min(looks", "min(reversed(looks)"): "Of two looks with the same loss, take "
    "the first: it costs fewer steps.",
    CHOSEN.replace("min(", "max("): "That is the step with the *highest* validation loss.",
    'return min(range(len(looks)), key=lambda i: looks[i]["val_loss"])': "That is the place of the "
    "look in the list. Return the look's `step`.",
    'return min(look["val_loss"] for look in looks)': "That is the lowest loss. Return the `step` "
    "at which it was measured.",
    CHOSEN.replace('look["val_loss"]', 'look["val_loss"] - look["train_loss"]'): "You chose the "
    "smallest gap. It is smallest before the model has learnt anything.",
    """
    for look, after in zip(looks, looks[1:]):
        if after["val_loss"] > look["val_loss"]:
            return look["step"]
    return looks[-1]["step"]
    """: "You stop at the first rise. A loss wobbles, and a later look can be lower: all looks are "
    "there, so take the lowest.",
}  # fmt: skip


def _looks(*rows: tuple[int, float, float, float, float]) -> list[dict[str, float]]:
    keys = ("step", "train_loss", "reported_loss", "val_loss", "final_loss")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _step(value: Any, name: str) -> float:
    require(
        not isinstance(value, dict), f"`{name}` returns a whole look; it should return its step."
    )
    return number(value, name)


@task
def stop(function: Callable[..., Any]) -> None:
    """`function(looks)`: the step at which the validation loss without smoothing is lowest."""
    runs = [
        _looks(
            (100, 4.1, 4.9, 4.2, 4.3),
            (200, 3.0, 4.2, 3.4, 3.6),
            (300, 2.6, 4.0, 3.5, 3.2),
            (400, 2.2, 3.9, 3.1, 3.5),
            (500, 1.7, 3.6, 3.2, 3.3),
            (600, 1.2, 3.7, 3.6, 3.4),
            (700, 1.3, 3.9, 4.0, 3.8),
        ),
        _looks(
            (50, 2.9, 4.0, 3.1, 3.4),
            (150, 2.1, 3.5, 2.9, 3.0),
            (300, 1.4, 3.6, 2.9, 3.1),
            (450, 0.9, 3.4, 3.3, 2.9),
        ),
        _looks((20, 5.9, 6.4, 6.3, 6.1), (40, 5.0, 5.6, 5.2, 5.3)),
        _looks((10, 6.0, 6.5, 6.2, 6.4)),
    ]
    expect_function(
        "chosen_step(looks)",
        function,
        [(looks,) for looks in runs],
        CHOSEN,
        MISTAKEN_STEPS,
        read=_step,
        otherwise=lambda value, truth, looks: (
            f"For looks at the steps {', '.join(str(look['step']) for look in looks)} it gives "
            f"{value:g}; the lowest `val_loss` is at step {truth}."
        ),
    )
    right("One text chooses, without smoothing, and another one judges.")


# Task 4

BELIEVED = """
sure = (table["low"] > 0) | (table["high"] < 0)
large = table["change"].abs() > floor
return list(table[sure & large].sort_values("change").index)
"""
MISTAKEN_BELIEFS = {
    BELIEVED.replace("sure & large", "large"): "You asked for the floor only. An interval that "
    "contains 0 leaves open whether the arm helps or harms.",
    BELIEVED.replace("sure & large", "sure"): "You asked for the interval only. A change below the "
    "floor is no larger than what other seeds alone would do.",
    BELIEVED.replace("sure & large", "sure | large"): "One of the two is not enough: the interval "
    "has to be on one side of 0, *and* the change above the floor.",
    BELIEVED.replace("sure & large", 'table["change"] < 0'): "You took every arm with a change "
    "below 0. About half of all arms that do nothing have one.",
    BELIEVED.replace('(table["low"] > 0) | ', ""): "You left out the arms that harm. What makes a "
    "model worse beyond chance is a finding as well.",
    BELIEVED.replace(' | (table["high"] < 0)', ""): "You left out the arms that help: their "
    "interval is below 0, and so is their change. Compare its size, without the sign.",
    BELIEVED.replace("[sure & large]", ""): "These are all arms. Keep those that you believe.",
    BELIEVED.replace('.sort_values("change")', ""): "The right arms, but in the order of the "
    "table. Sort them by their change.",
    BELIEVED.replace('"change").index', '"change", ascending=False).index'): "The right arms, but "
    "in the opposite order: the lowest change comes first.",
    BELIEVED.replace('"change").index', '"change", key=abs).index'): "The right arms, but sorted "
    "by the size of the change. Keep its sign: what helps most comes first.",
    BELIEVED.replace("> 0", "> floor").replace("< 0", "< -floor"): "You want the whole interval "
    "beyond the floor. The interval only has to leave out 0; the floor is for the change.",
    BELIEVED.replace("> 0", ">= 0").replace("< 0", "<= 0"): "An interval that ends at 0 contains "
    "0: it is not wholly on one side.",
    """
    open_ = (table["low"] <= 0) & (table["high"] >= 0)
    small = table["change"].abs() <= floor
    return list(table[~open_ & ~small].sort_values("change").index)
    """: "The base is among them. It is not compared with itself, so its change is NaN, and every "
    "comparison with NaN is False: ask for what has to be True.",
}


def _arms(value: Any, name: str) -> list[str]:
    """The names of arms in their order, from a list, an index or a column."""
    names = value.tolist() if getattr(value, "ndim", 0) == 1 else value
    require(
        isinstance(names, list | tuple) and all(isinstance(arm, str) for arm in names),
        f"`{name}` returns {type(value).__name__}; it should return a list of names of arms.",
    )
    return list(names)


def _tables() -> list[tuple["pd.DataFrame", float]]:
    """Made-up tables, each with a floor."""
    import pandas as pd

    def table(rows: dict[str, tuple[float, float, float]]) -> pd.DataFrame:
        made = pd.DataFrame.from_dict(rows, orient="index", columns=["change", "low", "high"])
        return made.rename_axis("arm")

    mixed = table(
        {
            "width 48": (0.060, 0.030, 0.090),
            "base": (math.nan, math.nan, math.nan),
            "dropout": (-0.050, -0.080, -0.020),
            "clipping": (-0.010, -0.015, -0.005),
            "weight decay": (-0.030, -0.070, 0.010),
            "label smoothing": (0.035, 0.012, 0.058),
            "a higher rate": (0.024, -0.002, 0.050),
            "a cosine": (-0.090, -0.120, -0.060),
        }
    )
    chance = table(
        {
            "shuffling": (0.040, 0.000, 0.080),
            "averaging": (-0.040, -0.080, 0.000),
            "bf16": (0.002, 0.001, 0.003),
        }
    )
    return [(mixed, 0.02), (mixed, 0.055), (mixed, 0.0), (chance, 0.03)]


@task
def belief(function: Callable[..., Any]) -> None:
    """`function(table, floor)`: the arms whose change is neither open nor below the floor."""
    expect_function(
        "believed(table, floor)",
        function,
        _tables,
        BELIEVED,
        MISTAKEN_BELIEFS,
        read=_arms,
        otherwise=_wrong_arms,
        advice={
            "truth value": "`and`, `or` and `if` want one truth value, and a column has many: use "
            "`&` and `|`.",
            "_' with a dtyped": "Put each comparison in parentheses: `&` and `|` come before `<`.",
            "unsupported operand type(s) for": "Put each comparison in parentheses: `&` and `|` "
            "come before `<`.",
            "KeyError: 'arm'": "The names of the arms are the table's index: `table.index`.",
        },
    )
    if not isinstance(function, Probe):
        table, floor = _tables()[0]
        given = table.copy()
        function(given, floor)
        require(
            given.equals(table), "`believed` changes the table that it is given. Copy it first."
        )
    right("Two questions for each row: which way, and more than chance?")


def _wrong_arms(value: list[str], truth: list[str], table: "pd.DataFrame", floor: float) -> str:
    for arm in table.index:
        if (arm in value) != (arm in truth):
            change, low, high = table.loc[arm]
            verb = "should be" if arm in truth else "should not be"
            return (
                f"With a floor of {floor}, an arm with a change of {change} ({low} to {high}) "
                f"{verb} believed."
            )
    return f"With a floor of {floor} it gives {value}; it should be {truth}."


# Task 5


@task
def readings(read_a: Any, read_b: Any, read_c: Any, read_d: Any, read_e: Any) -> None:
    """Which sentences follow from the table?"""
    reasons = {
        "a": "The interval leaves out 0, but the change of −0.012 is below the floor of 0.025: "
        "other seeds alone move the score by that much.",
        "b": "The interval goes from −0.048 to 0.010. A gain that would be worth having lies in "
        "it, so the table does not exclude one: not shown is not the same as not there.",
        "c": "Compare the intervals: half the text loses at least 0.170, and the ensemble gains at "
        "most 0.140.",
        "d": "Nobody trained the two together. If both cure the same trouble, the second has "
        "little left to do.",
        "e": "Both are compared with the base, not with each other, and each change lies inside "
        "the other's interval. A paired difference of the two would tell.",
    }
    expect("read_a", read_a, False, {True: reasons["a"]})
    expect("read_b", read_b, False, {True: reasons["b"]})
    expect("read_c", read_c, True, {False: reasons["c"]})
    expect("read_d", read_d, False, {True: reasons["d"]})
    expect("read_e", read_e, True, {False: reasons["e"]})
    right("A row answers one question: this arm against the base, on this text, with these seeds.")
