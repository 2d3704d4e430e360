"""Checks of `build_a_gpt`, parts 4 and 5: one head of attention, and several."""

from typing import Any

from torch import Tensor

from slmlab.exercises.build_a_gpt_parts import (
    EQUAL,
    SAME,
    expect_part,
    numbers_of,
    random_numbers,
    reference,
    unlike,
)
from slmlab.exercises.checking import Case, expect_function
from slmlab.exercises.telling import right

# 4 One head

HEAD = """
T, D = q.shape[-2:]
scores = q @ k.transpose(-2, -1) / D**0.5
later = torch.ones(T, T, dtype=torch.bool).triu(1)
weights = scores.masked_fill(later, -torch.inf).softmax(-1)
return weights @ v
"""
MASK = "masked_fill(later, -torch.inf)."
NO_SCALE = "You forgot to divide the scores by √D. Without it they grow with the size of the head."
NO_MASK = "There is no mask: each token also looks at those that come after it, which it must guess"
MISTAKEN_HEADS = {
    HEAD.replace(" / D**0.5", ""): NO_SCALE,
    HEAD.replace(MASK, ""): f"{NO_MASK}.",
    HEAD.replace(MASK, "").replace(" / D**0.5", ""): f"{NO_MASK}. And divide the scores by √D.",
    HEAD.replace("D**0.5", "D"): "You divided the scores by D; divide by its square root.",
    HEAD.replace("D**0.5", "T**0.5"): "You divided by √T, the number of tokens; D is the number of "
    "columns of q and k.",
    HEAD.replace("triu(1)", "tril(-1)"): "The mask is on the wrong side: each token sees what "
    "comes after it, and not what came before. Row t may look at columns 0 to t.",
    HEAD.replace("-torch.inf", "0.0"): "A masked score of 0 still gets a share of the softmax, as "
    "exp(0) is 1. Mask with −∞.",
    HEAD.replace(MASK, "").replace(".softmax(-1)", ".softmax(-1).masked_fill(later, 0.0)"): (
        "You masked after the softmax, so the weights that are left do not add up to 1. Mask the "
        "scores, then take the softmax."
    ),
    HEAD.replace("softmax(-1)", "softmax(-2)"): "Your softmax runs down the columns. Each row is "
    "one token that looks around, and *its* weights add up to 1: use the last dimension.",
    HEAD.replace(".softmax(-1)", "").replace("-torch.inf", "0.0"): "There is no softmax: the "
    "scores are not weights yet.",
    HEAD.replace(" / D**0.5", "").replace("softmax(-1)", "softmax(-1) / D**0.5"): "You divided "
    "the weights by √D, so they do not add up to 1. Divide the scores, before the softmax.",
    HEAD.replace("weights @ v", "weights"): "These are the weights. Multiply them with the values.",
    HEAD.replace("q @ k.transpose", "k @ q.transpose"): "Queries and keys are swapped: row t of "
    "the scores belongs to the *query* of token t.",
}
NO_WEIGHT = (
    "The result is not finite. A row whose scores are all −∞ has no softmax: a token may look at "
    "itself, so leave the diagonal out of the mask, `triu(1)`. Or does the softmax run along "
    "another dimension than the last?"
)
ZERO_TIMES_INFINITY = (
    "Nothing in the result is a number: 0 × −∞ is none, so a mask of zeros and ones cannot be "
    "multiplied by −∞. Put −∞ where the mask is true, with `masked_fill`."
)
OTHER_SIDE = (
    "The mask is the wrong way round: it hides the token itself and those before it, so the last "
    "token has nothing to look at. True means hidden: use `triu(1)`, not `tril()`."
)
MORE_DIMENSIONS = (
    "q, k and v may have more dimensions in front, (B, H, T, D): swap only the last two, "
    "`k.transpose(-2, -1)`, and take T and D from `q.shape[-2:]`."
)
BY_NUMBER = (
    "`*` multiplies number by number. Both products here are of matrices: "
    "`q @ k.transpose(-2, -1)` and `weights @ v`. If yours are, take T and D from `q.shape[-2:]`."
)


def _not_finite(result: Tensor) -> str:
    """What to say of a result (…, T, D) by the rows that are not finite."""
    rows = ~result.isfinite().all(-1)
    if rows.all():
        return ZERO_TIMES_INFINITY
    return OTHER_SIDE if rows[..., -1].any() else NO_WEIGHT


def head(function: Any) -> None:
    """A function of queries, keys and values (…, T, D) that gives what each token gathers."""
    one, many = (tuple(random_numbers(3, *shape).unbind()) for shape in ((5, 4), (2, 3, 6, 4)))
    expect_function(
        "head(q, k, v)",
        function,
        [one, Case(many, MORE_DIMENSIONS)],
        lambda q, k, v: reference().blocks[0].attn.attend(q, k, v, is_causal=True),
        MISTAKEN_HEADS,
        read=numbers_of(_not_finite),
        otherwise=unlike("Scores, √D, mask, softmax over the last dimension, times values."),
        advice={
            "must match": BY_NUMBER,
            "cannot be multiplied": "Columns of the first must match rows of the second: swap "
            "the last two dimensions of k, `q @ k.transpose(-2, -1)`.",
        },
        rel_tol=SAME,
        abs_tol=SAME,
    )
    right("The same as slmlab's attention, for one head and for many, to 0.00001.")


# 5 Several heads

SPLIT = "p.view(B, T, self.n_head, -1).transpose(1, 2)"
MERGE = "y.transpose(1, 2).reshape(B, T, C)"
ATTENTION = f"""
B, T, C = x.shape
q, k, v = self.qkv(x).chunk(3, dim=-1)
q, k, v = ({SPLIT} for p in (q, k, v))
y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
return self.proj({MERGE})
"""
BY_VIEW = (
    "(B, T, C) cannot be cut into (B, H, T, D) at once: a head then gets whole rows of a few "
    "tokens. First `view(B, T, H, D)`, then swap T and H with `transpose(1, 2)`."
)
WAY_BACK = (
    "On the way back, after `transpose(1, 2)`, use `reshape(B, T, C)`, or `.contiguous()` before "
    "the `view`. On the way there, first `view(B, T, H, D)`, then `transpose(1, 2)`."
)
NOT_BACK = "Swap heads and tokens back, `transpose(1, 2)`, before you join the heads to (B, T, C)."
MISTAKEN_ATTENTIONS = {
    ATTENTION.replace(SPLIT, "p.reshape(B, self.n_head, T, -1)"): BY_VIEW,
    ATTENTION.replace(SPLIT, "p.reshape(B, self.n_head, T, -1)").replace(
        MERGE, "y.reshape(B, T, C)"
    ): BY_VIEW,
    ATTENTION.replace(MERGE, "y.reshape(B, T, C)"): NOT_BACK,
    ATTENTION.replace(SPLIT, "p.view(B, T, self.n_head, -1)").replace(
        MERGE, "y.reshape(B, T, C)"
    ): "Your heads look at each other instead of at tokens: the last two dimensions must be "
    "(T, D). Swap T and H with `transpose(1, 2)` after the `view`.",
    ATTENTION.replace(SPLIT, "p.view(B, T, -1, self.n_head).permute(0, 3, 1, 2)").replace(
        MERGE, "y.permute(0, 2, 3, 1).reshape(B, T, C)"
    ): "Each head gets every H-th column; it should get D columns in a row: `view(B, T, H, D)`.",
    ATTENTION.replace(SPLIT, "p").replace(MERGE, "y"): "This is one head over the whole width. "
    "Give each of the `self.n_head` heads its own C / H columns.",
    ATTENTION.replace("q, k, v = self.qkv", "k, q, v = self.qkv"): "`self.qkv` gives queries, "
    "keys and values in this order; you swapped the first two.",
    ATTENTION.replace("q, k, v = self.qkv", "v, k, q = self.qkv"): "`self.qkv` gives queries, "
    "keys and values in this order; you began with the values.",
    ATTENTION.replace(f"self.proj({MERGE})", MERGE): "`self.proj` is missing: the last matrix "
    "mixes what the heads have gathered.",
    ATTENTION.replace("return ", "return x + "): "You added x. The residual belongs to the block, "
    "part 7.",
}


def attention(cls: Any) -> None:
    """A class whose `forward` is causal attention with several heads, (B, T, C) → (B, T, C)."""
    expect_part(
        cls,
        reference().blocks[0].attn,
        MISTAKEN_ATTENTIONS,
        "Cut into heads, let `head` do its work, put the heads side by side again, then "
        "`self.proj`. Part q, k and v before you cut heads; their number is `self.n_head`.",
        advice={
            "view size is not": WAY_BACK,
            "not enough values": "`chunk(3)` cuts the first dimension, the batch. To cut the "
            "columns, name the last one: `chunk(3, dim=-1)`.",
            "NoneType": "Does `head`, part 4, still return nothing?",
        },
    )
    right(f"The same as slmlab's attention {EQUAL}")
