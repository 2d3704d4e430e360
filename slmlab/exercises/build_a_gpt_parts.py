"""Checks of `build_a_gpt`, parts 3 to 8: what the model is made of, from embedding to logits.

The parts of `slmlab.engine.model` are the truth. A learner's class borrows the weights of a small
GPT in which no two numbers are alike, so that every mistake shows, and slmlab's own parts inside,
so that it shows where it was made.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

import slmlab as lab
from slmlab.exercises.checking import Probe, called, expect_function, require
from slmlab.exercises.telling import right

CONFIG = lab.GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=3, n_embd=12)
SAME = 1e-5
EQUAL = f"with the same weights, to {SAME:.5f}."


@cache
def reference() -> lab.GPT:
    """A small GPT whose weights are all different, norms and biases included."""
    model = lab.GPT(CONFIG).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model


def random_numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


IDS = torch.tensor([[1, 5, 2, 2, 7], [3, 0, 6, 1, 4]])  # (B, T); each also names a position

# 3 Embedding

EMBED = "return tokens[idx] + positions[: idx.shape[1]]"
MISTAKEN_EMBEDS = {
    "return tokens[idx]": "The positions are missing, so the model could not tell the first token "
    "from the last.",
    "return tokens[idx] + positions[idx]": "You looked the positions up by token id. The row of a "
    "position depends on the place alone: the first T rows, in order.",
    "return tokens[idx] + positions[-idx.shape[1] :]": "You took the last rows of the positions; "
    "the first token of a window is at place 0.",
    "return tokens[idx] + positions[1 : idx.shape[1] + 1]": "Places are counted from 0; you "
    "left out the first row.",
    "return tokens[idx] * positions[: idx.shape[1]]": "You multiplied the two rows; add them.",
    "return torch.cat([tokens[idx], positions[: idx.shape[1]].expand(len(idx), -1, -1)], -1)": (
        "You put the two rows one behind the other, so the width has doubled. Add them."
    ),
}


def embed(function: Any) -> None:
    """A function of (idx, tokens, positions) that gives the rows that the first block reads."""
    model = reference()
    expect_function(
        "embed(idx, tokens, positions)",
        function,
        [(ids, model.wte.weight, model.wpe.weight) for ids in (IDS, IDS[:1, :3])],
        lambda idx, *_: model.wte(idx) + model.wpe(torch.arange(idx.shape[1])),
        MISTAKEN_EMBEDS,
        read=numbers_of(),
        otherwise=unlike("A row of `tokens` for each id, plus a row of `positions` by place."),
        advice={
            "RuntimeError": "`positions` has a row for each place of the longest context, and "
            "`idx` has the shape (B, T): take the first T rows, `idx.shape[1]` of them."
        },
        rel_tol=SAME,
        abs_tol=SAME,
    )
    right(f"The same rows as in slmlab's GPT {EQUAL}")


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
    "itself, so leave the diagonal out of the mask."
)


def head(function: Any) -> None:
    """A function of queries, keys and values (…, T, D) that gives what each token gathers."""
    cases = [tuple(random_numbers(3, *shape).unbind()) for shape in ((5, 4), (2, 3, 6, 4))]
    expect_function(
        "head(q, k, v)",
        function,
        cases,
        lambda q, k, v: reference().blocks[0].attn.attend(q, k, v, is_causal=True),
        MISTAKEN_HEADS,
        read=numbers_of(NO_WEIGHT),
        otherwise=unlike("Scores, √D, mask, softmax over the last dimension, times values."),
        advice={
            "Error": "q, k and v may have more dimensions in front, (B, H, T, D): turn "
            "only the last two, `k.transpose(-2, -1)`, and take T and D from `q.shape[-2:]`."
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
    _expect_part(
        cls,
        reference().blocks[0].attn,
        MISTAKEN_ATTENTIONS,
        "Cut into heads, let `head` do its work, put the heads side by side again, then "
        "`self.proj`. (Is `head` right?)",
        advice={"view size is not": BY_VIEW},
    )
    right(f"The same as slmlab's attention {EQUAL}")


# 6 The MLP

MLP = 'return self.proj(F.gelu(self.fc(x), approximate="tanh"))'
MISTAKEN_MLPS = {
    "return self.proj(self.fc(x))": "Nothing bends between the two layers, so together they are "
    "one linear layer. Put GELU between them.",
    "return self.proj(F.relu(self.fc(x)))": "You used ReLU; GPT-2 has GELU.",
    "return self.proj(F.gelu(self.fc(x)))": "Nearly: GPT-2 uses an approximation of GELU, "
    '`F.gelu(…, approximate="tanh")`.',
    'return F.gelu(self.proj(self.fc(x)), approximate="tanh")': "GELU comes after the first layer, "
    "not after the second.",
    'return F.gelu(self.proj(F.gelu(self.fc(x), approximate="tanh")), approximate="tanh")': "GELU "
    "comes after the first layer only; the result may be negative.",
    'return x + self.proj(F.gelu(self.fc(x), approximate="tanh"))': "You added x. The residual "
    "belongs to the block, part 7.",
}


def mlp(cls: Any) -> None:
    """A class whose `forward` works on each token alone, (B, T, C) → (B, T, C)."""
    hint = "The layer `fc`, then GELU, then the layer `proj`."
    _expect_part(cls, reference().blocks[0].mlp, MISTAKEN_MLPS, hint)
    right(f"The same as slmlab's MLP {EQUAL}")


# 7 Norms and residuals

BLOCK = """
x = x + self.attn(self.ln_1(x))
return x + self.mlp(self.ln_2(x))
"""
NO_RESIDUAL = "The residual is forgotten around {}: add what comes out to what went in."
AFTER = (
    "You normed after adding. GPT-2 norms what goes *into* each part, and leaves the sum alone: "
    "`x + part(norm(x))`."
)
MISTAKEN_BLOCKS = {
    "return self.mlp(self.ln_2(self.attn(self.ln_1(x))))": "Both residuals are forgotten: add "
    "what comes out of each part to what went in.",
    BLOCK.replace("x = x + ", "x = "): NO_RESIDUAL.format("the attention"),
    BLOCK.replace("return x + ", "return "): NO_RESIDUAL.format("the MLP"),
    "x = self.ln_1(x + self.attn(x))\nreturn self.ln_2(x + self.mlp(x))": AFTER,
    "x = x + self.ln_1(self.attn(x))\nreturn x + self.ln_2(self.mlp(x))": "You normed what comes "
    "out of each part; norm what goes in.",
    "x = x + self.attn(x)\nreturn x + self.mlp(x)": "The norms are missing: norm what goes into "
    "the attention with `ln_1`, and what goes into the MLP with `ln_2`.",
    "x = self.ln_1(x)\nx = x + self.attn(x)\nx = self.ln_2(x)\nreturn x + self.mlp(x)": "You "
    "added to the normed x. The residual skips the norm: add to x as it came in.",
    "return x + self.attn(self.ln_1(x)) + self.mlp(self.ln_2(x))": "The MLP should read x *after* "
    "the attention has added to it; yours reads the old one.",
    BLOCK.replace("ln_2", "ln_1"): "You used `ln_1` twice; the MLP has a norm of its own, `ln_2`.",
    "x = x + self.mlp(self.ln_2(x))\nreturn x + self.attn(self.ln_1(x))": "The attention comes "
    "first, then the MLP.",
}


def block(cls: Any) -> None:
    """A class whose `forward` joins attention and MLP, (B, T, C) → (B, T, C)."""
    hint = "Twice: x plus a part of the normed x."
    _expect_part(cls, reference().blocks[0], MISTAKEN_BLOCKS, hint)
    right(f"The same as slmlab's block {EQUAL}")


# 8 The GPT

GPT = """
x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
for block in self.blocks:
    x = block(x)
return self.ln_f(x) @ self.wte.weight.T
"""
MISTAKEN_GPTS = {
    GPT.replace("self.ln_f(x)", "x"): "The last norm, `self.ln_f`, is missing before the head.",
    GPT.replace(" + self.wpe.weight[: idx.shape[1]]", ""): "The positions are missing: start with "
    "`embed(idx, self.wte.weight, self.wpe.weight)`.",
    GPT.replace("    x = block(x)", "    x = block(x)\n    break"): "Only the first block worked: "
    "is the `return` inside the loop?",
    GPT.replace("for block in self.blocks:\n    x = block(x)\n", ""): "No block worked on the "
    "embedding; send x through each of `self.blocks` in turn.",
    GPT.replace("    x = block(x)", "    y = block(x)").replace("ln_f(x)", "ln_f(y)"): "Each block "
    "reads the embedding; it should read what the block before it made of it.",
    GPT.replace("    x = block(x)", "    x = x + block(x)"): "You added x once more; the residuals "
    "are inside the block.",
    GPT.replace("weight.T", "weight.T").replace("return ", "return F.softmax(") + ", -1)": "These "
    "are probabilities. Return logits: the loss applies the softmax itself.",
    GPT.replace("self.ln_f(x) @ self.wte.weight.T", "self.ln_f(x)"): "This is the last hidden "
    "state, (B, T, C). The head is still missing: the product with each row of the token table, "
    "`self.wte.weight`.",
    GPT.replace("self.ln_f(x)", "self.ln_f(x)[:, -1]"): "You kept the last position only. Training "
    "needs a prediction at every position, (B, T, V).",
}


def gpt(cls: Any) -> None:
    """A class whose `forward` makes logits of token ids, (B, T) → (B, T, V)."""
    hint = (
        "`embed`, each block in turn, `self.ln_f`, then the product with the token table "
        "`self.wte.weight`, which is the head as well."
    )
    _expect_part(
        cls,
        reference(),
        MISTAKEN_GPTS,
        hint,
        "forward(self, idx)",
        [IDS, IDS[:1, :3]],
        {"ModuleList": "`self.blocks` is a list: let a loop send x through one after the other."},
    )
    right(f"The same logits as slmlab's GPT {EQUAL}")


# What the checks share


def _expect_part(
    cls: Any,
    part: nn.Module,
    mistakes: dict[str, str],
    hint: str,
    signature: str = "forward(self, x)",
    inputs: list[Tensor] | None = None,
    advice: dict[str, str] | None = None,
) -> None:
    """Raise `Mistake` unless the class computes what slmlab's part does, with its weights."""
    if not isinstance(cls, Probe):
        require(isinstance(cls, type), "Give the class itself, such as `check.mlp(MLP)`.")
    expect_function(
        signature,
        cls if isinstance(cls, Probe) else cls.forward,
        lambda: [(_with_weights(cls, part), x) for x in inputs or [random_numbers(2, 5, 12)]],
        lambda _, x: part(x),
        mistakes,
        read=numbers_of(),
        otherwise=unlike(hint),
        advice=advice,
        rel_tol=SAME,
        abs_tol=SAME,
    )


def _with_weights(cls: type, part: nn.Module) -> nn.Module:
    """A learner's part that has slmlab's weights, and slmlab's parts inside."""
    module = called(cls, CONFIG)
    for name, child in part.named_children():
        setattr(module, name, child)
    return module


def numbers_of(not_finite: str = "") -> Callable[[Any, str], tuple]:
    """Reads a tensor, or a number, as its shape and its numbers."""

    def read(answer: Any, name: str) -> tuple:
        answer = torch.tensor(answer) if isinstance(answer, float) else answer
        require(
            isinstance(answer, Tensor),
            f"`{name}` returns {type(answer).__name__}; it should return a tensor.",
        )
        require(
            answer.isfinite().all(), not_finite or f"`{name}` returns numbers that are not finite."
        )
        return tuple(answer.shape), tuple(answer.detach().flatten().tolist())

    return read


def unlike(hint: str) -> Callable[..., str]:
    """What to say of an unknown mistake: about the shape, or about the numbers."""

    def told(value: tuple, truth: tuple, *_: Any) -> str:
        (shape, numbers), (right_shape, right_numbers) = value, truth
        if shape != right_shape:
            return f"It returns the shape {shape}; it should be {right_shape}. {hint}"
        off = max(abs(a - b) for a, b in zip(numbers, right_numbers, strict=True))
        return f"The shape is right, the numbers are not: they are up to {off:.2g} off. {hint}"

    return told
