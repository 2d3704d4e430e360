"""Checks of `build_a_gpt`, parts 3 and 6 to 8: embedding, MLP, block and the whole model.

The parts of `slmlab.engine.model` are the truth. A learner's class borrows the weights of a small
GPT in which no two numbers are alike, so that every mistake shows, and slmlab's own parts inside,
so that it shows where it was made.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

import slmlab as lab
from slmlab.exercises.checking import Mistake, Probe, called, expect_function, require
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
    expect_part(cls, reference().blocks[0].mlp, MISTAKEN_MLPS, hint)
    right(f"The same as slmlab's MLP {EQUAL}")


# 7 Norms and residuals

BLOCK = """
x = x + self.attn(self.ln_1(x))
return x + self.mlp(self.ln_2(x))
"""
NO_RESIDUAL = "The residual is forgotten around {}: add what comes out to what went in."
AFTER = (
    "You normed after adding. GPT-2 norms what goes *into* each part, but not the sum: "
    "`x + part(norm(x))`."
)
IN_PLACE = (
    "The numbers are right, but training would stop with an error: `x += …` overwrites an x that "
    "`backward()` still needs. Write `x = x + …`, which makes a new tensor."
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
    expect_part(cls, reference().blocks[0], MISTAKEN_BLOCKS, hint)
    _expect_gradients(with_weights(cls, reference().blocks[0]))
    right(f"The same as slmlab's block {EQUAL}")


def _expect_gradients(block: nn.Module) -> None:
    """Raise `Mistake` if a block cannot be trained, or writes into what it was given."""
    start = random_numbers(2, 5, CONFIG.n_embd).requires_grad_()
    given = start * 1  # as in a model, x was computed: PyTorch refuses to write into a leaf
    try:
        torch.autograd.grad(block(given).sum(), start)
    except RuntimeError as error:
        require("inplace" in str(error), f"Right numbers, but `backward()` fails: {error}")
        raise Mistake(IN_PLACE) from error
    require(torch.equal(given, start), IN_PLACE)


# 8 The GPT

GPT = """
x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
for block in self.blocks:
    x = block(x)
return self.ln_f(x) @ self.wte.weight.T
"""
BY_PLACE = (
    "`self.wpe(idx)` looks positions up by token id. Let `embed` take the first T rows: "
    "`embed(idx, self.wte.weight, self.wpe.weight)`."
)
MISTAKEN_GPTS = {
    GPT.replace("self.ln_f(x)", "x"): "The last norm, `self.ln_f`, is missing before the "
    "output head.",
    GPT.replace(" + self.wpe.weight[: idx.shape[1]]", ""): "The positions are missing: start with "
    "`embed(idx, self.wte.weight, self.wpe.weight)`.",
    GPT.replace("self.wpe.weight[: idx.shape[1]]", "self.wpe(idx)"): BY_PLACE,
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
    "state, (B, T, C). The output head is still missing: the product with each row of the token "
    "table, `self.wte.weight`.",
    GPT.replace("self.ln_f(x)", "self.ln_f(x)[:, -1]"): "You kept the last position only. Training "
    "needs a prediction at every position, (B, T, V).",
}


def gpt(cls: Any) -> None:
    """A class whose `forward` makes logits of token ids, (B, T) → (B, T, V)."""
    hint = (
        "`embed`, each block in turn, `self.ln_f`, then the product with the token table "
        "`self.wte.weight`, which is the output head as well."
    )
    expect_part(
        cls,
        reference(),
        MISTAKEN_GPTS,
        hint,
        "forward(self, idx)",
        [IDS, IDS[:1, :3]],
        {
            "ModuleList": "`self.blocks` is a list: let a loop send x through one after the other.",
            "'Embedding'": "An `nn.Embedding` is a module; `embed` and `@` want its table: "
            "`self.wte.weight`, `self.wpe.weight`.",
            "cannot be multiplied": "The token table is (V, C). Turn it into (C, V) for the "
            "product: `x @ self.wte.weight.T`.",
            "NoneType": "Does `embed`, part 3, still return nothing?",
        },
    )
    right(f"The same logits as slmlab's GPT {EQUAL}")


# What the checks share


def expect_part(
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
        require(
            issubclass(cls, nn.Module),
            f"`{cls.__name__}` is no module of PyTorch: write `class {cls.__name__}(nn.Module):`.",
        )
    expect_function(
        signature,
        cls if isinstance(cls, Probe) else cls.forward,
        lambda: [(with_weights(cls, part), x) for x in inputs or [random_numbers(2, 5, 12)]],
        lambda _, x: part(x),
        mistakes,
        read=numbers_of(),
        otherwise=unlike(hint),
        advice=advice,
        rel_tol=SAME,
        abs_tol=SAME,
    )


def with_weights(cls: type, part: nn.Module) -> nn.Module:
    """A learner's part that has slmlab's weights, and slmlab's parts inside."""
    module = called(cls, CONFIG)
    require(
        hasattr(module, "_modules"),
        f"`{cls.__name__}` cannot hold layers yet: its `__init__` begins with "
        "`super().__init__()`.",
    )
    blank = _blank_inside(module)
    require(not blank, f"`{blank}` is still blank: this part uses it, so write that one first.")
    for name, child in part.named_children():
        setattr(module, name, child)
    return module


def _blank_inside(module: nn.Module) -> str:
    """The name of a class in a learner's part that returns nothing yet; innermost first."""
    for inner in reversed(list(module.modules())[1:]):
        if not type(inner).__module__.startswith("torch."):
            with suppress(Exception):  # another mistake is for that part's own check
                if inner(random_numbers(2, 5, CONFIG.n_embd)) is None:
                    return type(inner).__name__
    return ""


def numbers_of(not_finite: str | Callable[[Tensor], str] = "") -> Callable[[Any, str], tuple]:
    """Reads a tensor, or a number, as its shape and its numbers."""

    def read(answer: Any, name: str) -> tuple:
        answer = torch.tensor(answer) if isinstance(answer, float) else answer
        require(
            isinstance(answer, Tensor),
            f"`{name}` returns {type(answer).__name__}; it should return a tensor.",
        )
        if not answer.isfinite().all():
            told = not_finite(answer) if callable(not_finite) else not_finite
            raise Mistake(told or f"`{name}` returns numbers that are not finite.")
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
