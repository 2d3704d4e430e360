"""What an exercise for 09 counts: the numbers that the training of a layer of experts holds."""

import math
from typing import Any

from slmlab.engine.experts import ExpertConfig
from slmlab.exercises.checking import filled_in, require
from slmlab.validation import shown

HELD = ("total", "active", "gradients", "moments", "activations")
COUNTED = """
expert = 2 * n_embd * width + width + n_embd
router = n_expert * n_embd + n_expert
total = n_expert * expert + router
return {
    "total": total,
    "active": n_active * expert + router,
    "gradients": total,
    "moments": 2 * total,
    "activations": n_tokens * n_active * width,
}
"""
BIASES = "An expert has two biases as well: `width` numbers inside, and `n_embd` at its end."
NO_ROUTER = (
    "The router is missing: a row of `n_embd` numbers for each expert, and a bias for each. Every "
    "token is scored by all of it, so it is active too."
)
MISTAKEN_COUNTS = {
    COUNTED.replace(" + width + n_embd", ""): BIASES,
    COUNTED.replace(" + width + n_embd", " + width"): BIASES,
    COUNTED.replace(" + n_expert\n", "\n"): "The router has a bias for each expert, which is "
    "missing.",
    COUNTED.replace(" + router", ""): NO_ROUTER,
    COUNTED.replace("n_active * expert + router", "n_active * expert"): "The router is missing in "
    "`active`: every token is scored by all of it.",
    COUNTED.replace("n_active * expert + router", "n_active * (expert + n_embd + 1)"): "In "
    "`active` the router counts in full: to choose two experts, all of them are scored.",
    COUNTED.replace("2 * n_embd", "n_embd"): "An expert has two matrices: one into its inside, and "
    "one back.",
    COUNTED.replace("n_active * expert + router", "total"): "In `active` only the experts that "
    "take a token count, `n_active` of them.",
    COUNTED.replace('"gradients": total', '"gradients": n_active * expert + router'): "One token "
    "reaches `n_active` experts, but the tokens of a batch reach all of them. So each parameter "
    "has a gradient: `total`.",
    COUNTED.replace("2 * total", "total"): "AdamW keeps *two* numbers for each parameter: a mean "
    "of its gradients, and one of their squares.",
    COUNTED.replace("2 * total", "2 * (n_active * expert + router)"): "AdamW keeps its two numbers "
    "for every parameter that is trained, also for those of experts that this token does not have.",
    COUNTED.replace("n_tokens * n_active", "n_tokens * n_expert"): "Each token goes through "
    "`n_active` experts, and leaves numbers inside these only.",
    COUNTED.replace("n_tokens * n_active * width", "n_tokens * width"): "Each token goes through "
    "`n_active` experts, and leaves `width` numbers in each.",
    COUNTED.replace("n_tokens * n_active * width", "n_active * width"): "Each of the `n_tokens` "
    "tokens leaves numbers inside its experts.",
    COUNTED.replace("n_tokens * n_active * width", "n_tokens * n_active * n_embd"): "The numbers "
    "inside an expert are `width` for each token, not `n_embd`.",
}  # fmt: skip


def held_by(value: Any, name: str) -> tuple[float, ...]:
    """The five numbers; whole ones where they have to be exact."""
    filled_in(value, name)
    require(
        isinstance(value, dict) and set(value) == set(HELD),
        f"`{name}` returns {shown(value)}; it should return a dictionary with the keys "
        f"{', '.join(HELD)}.",
    )
    found = []
    for key in HELD:
        number = value[key]
        require(
            isinstance(number, int | float) and number == number // 1,
            f'`{name}` returns {shown(number)} as "{key}"; it should be a whole number.',
        )
        # With or without the router's bias, which no gradient moves, gradients are right.
        found.append(float(number) if key in ("gradients", "moments") else int(number))
    return tuple(found)


def counted(n_embd: int, width: int, n_expert: int, n_active: int, n_tokens: int) -> dict[str, int]:
    """The same by the engine's own counts, of a model with one layer."""
    config = ExpertConfig(
        vocab_size=8,
        block_size=8,
        n_layer=1,
        n_head=1,
        n_embd=n_embd,
        n_expert=n_expert,
        n_active=n_active,
        expert_width=width,
    )
    total = config.parameter_counts["MLP"]
    return {
        "total": total,
        "active": total - (config.n_params - config.active_params),
        "gradients": total,
        "moments": 2 * total,
        "activations": n_tokens * n_active * width,
    }


def wrong_count(value: tuple[float, ...], truth: tuple[float, ...], *arguments: int) -> str:
    n_embd, width, n_expert, n_active, n_tokens = arguments
    key, mine, true = next(
        (key, a, b)
        for key, a, b in zip(HELD, value, truth, strict=True)
        if not math.isclose(a, b, rel_tol=2e-3 if isinstance(b, float) else 0)
    )
    return (
        f"With n_embd = {n_embd}, width = {width}, {n_expert} experts of {n_active} and "
        f'{n_tokens} tokens, "{key}" is {mine:,.0f}; it should be {true:,.0f}.'
    )
