"""Checks of `build_a_gpt`: each part beside the package's own, with the same weights, to 1e-5.

Here are the parts around the model: counts, loss, a step of training, sampling. Those of the model
itself are in `build_a_gpt_parts` and `build_a_gpt_attention`, and are called from here as well.
"""

from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

import slmlab as lab
from slmlab.exercises import build_a_gpt_attention, build_a_gpt_parts
from slmlab.exercises.build_a_gpt_parts import (
    CONFIG,
    IDS,
    SAME,
    numbers_of,
    random_numbers,
    reference,
    unlike,
)
from slmlab.exercises.checking import (
    Mistake,
    Probe,
    Probed,
    called,
    close,
    expect_function,
    require,
)
from slmlab.exercises.telling import right, task
from slmlab.validation import shown

__all__ = [
    "attention",
    "bigram",
    "block",
    "embed",
    "gpt",
    "head",
    "mlp",
    "sample",
    "step",
    "surprise",
]

part = partial(task, stops=True)  # each part is built on those before

# 1 The table of counts

BIGRAM = """
counts = torch.full((V, V), float(alpha))
counts.index_put_((ids[:-1], ids[1:]), torch.ones(len(ids) - 1), accumulate=True)
return counts / counts.sum(1, keepdim=True)
"""
ACCUMULATE = "counts.index_put_((ids[:-1], ids[1:]), torch.ones(len(ids) - 1), accumulate=True)"
MISTAKEN_BIGRAMS = {
    BIGRAM.replace(ACCUMULATE, "counts[ids[:-1], ids[1:]] += 1"): "Pairs that occur twice are "
    "counted once: `counts[a, b] += 1` with whole tensors a and b writes each place only once. "
    "Use `index_put_` with `accumulate=True`, or a loop.",
    BIGRAM.replace("sum(1, keepdim=True)", "sum(0, keepdim=True)"): "You divided by the sums of "
    "the columns. A row holds the probabilities after one token, so each row adds up to 1.",
    BIGRAM.replace("sum(1, keepdim=True)", "sum(1)"): "You divided each *column* by the sum of a "
    "row: `sum(1)` has shape (V,), which lies along the columns. Keep the dimension.",
    BIGRAM.replace("counts.sum(1, keepdim=True)", "counts.sum()"): "All V × V numbers together add "
    "up to 1 in your table; each row should, as something follows every token.",
    BIGRAM.replace(" / counts.sum(1, keepdim=True)", ""): "These are counts. Divide each row by "
    "its sum, so that it holds probabilities.",
    BIGRAM.replace("(ids[:-1], ids[1:])", "(ids[1:], ids[:-1])"): "The table is transposed: row a "
    "should hold what came *after* a, yours holds what came before it.",
    BIGRAM.replace("(ids[:-1], ids[1:])", "(ids[:-1], ids[:-1])"): "You counted each token as its "
    "own successor. Shift by one: `ids[:-1]` came first, `ids[1:]` after it.",
    BIGRAM.replace("float(alpha)", "0.0").replace("keepdim=True)", "keepdim=True).clamp(min=1)"): (
        "`alpha` is missing: what was never seen has probability 0, and the surprise is infinite "
        "when it comes."
    ),
    BIGRAM.replace("float(alpha)", "1.0"): "You added 1 to every count, not `alpha`.",
}
NO_ROW = (
    "A row of your table is not finite. Nothing follows some tokens, so their counts are all 0, "
    "and 0 / 0 is no number: add `alpha` to every count before you divide."
)


@part
def bigram(function: Any) -> None:
    """A function of (ids, V, alpha) that gives the probability of each next token, (V, V)."""
    ids = torch.tensor([0, 1, 0, 1, 0, 2, 2, 1, 0, 1, 4])
    expect_function(
        "bigram(ids, V, alpha)",
        function,
        [(ids, 6, 0.5), (ids.flip(0), 5, 0.01)],
        BIGRAM,
        MISTAKEN_BIGRAMS,
        read=numbers_of(NO_ROW),
        otherwise=unlike("Count the pairs of neighbours, add `alpha`, and divide each row."),
        rel_tol=SAME,
        abs_tol=SAME,
    )
    right("Every row adds up to 1, also that of a token after which nothing came.")


# 2 The loss, by hand

SURPRISE = """
log_p = logits - logits.logsumexp(-1, keepdim=True)
return -log_p[torch.arange(len(targets)), targets].mean()
"""
LARGE = "use `logits.logsumexp(-1, keepdim=True)`, or subtract the largest logit first."
CAME = "log_p[torch.arange(len(targets)), targets]"
MISTAKEN_SURPRISES = {
    SURPRISE.replace("return -", "return "): "The sign is wrong: a surprise is *minus* the log of "
    "a probability, so it is never below 0.",
    SURPRISE.replace(".mean()", ".sum()"): "This is the sum over all tokens; take the mean, so "
    "that long and short texts can be compared.",
    SURPRISE.replace(".mean()", ""): "You return one number for each token; take their mean.",
    "return -logits[torch.arange(len(targets)), targets].mean()": "You took the logits for "
    "log-probabilities. Subtract the log of the sum of exp(logits) first: that is the softmax.",
    SURPRISE.replace(CAME, f"{CAME}.exp()"): "You took the probability; the surprise is minus its "
    "*logarithm*.",
    SURPRISE.replace(f"-{CAME}.mean()", f"-{CAME}.exp().mean().log()"): "You took the log of the "
    "mean probability; take the mean of the logs. A single 0 should cost infinitely much.",
    SURPRISE.replace("-1, keepdim", "0, keepdim"): "Your softmax runs over the places of the text. "
    "At each place the V probabilities add up to 1: use the last dimension.",
    SURPRISE.replace("-1, keepdim=True", "(0, 1)"): "Your softmax runs over the whole tensor. At "
    "each place the V probabilities add up to 1: use the last dimension only.",
    SURPRISE.replace(CAME, "log_p[:, targets]"): "`log_p[:, targets]` takes every target at every "
    "place. Each place has its own: index with `torch.arange(len(targets))` and `targets`.",
    SURPRISE.replace(CAME, "log_p"): "You averaged over the whole vocabulary; only the token that "
    "came counts.",
    SURPRISE.replace(CAME, "log_p.max(-1).values"): "You took the likeliest token; take the one "
    "that came, which `targets` names.",
    SURPRISE.replace(".mean()", ".mean() / torch.tensor(2.0).log()"): "This is in bits (log to "
    "base 2); it should be in nats (base e).",
    SURPRISE.replace("log_p = logits", "logits = logits.softmax(-1)\nlog_p = logits"): "You "
    "applied the softmax twice.",
}


@part
def surprise(function: Any) -> None:
    """A function of logits (N, V) and targets (N,) that gives the mean loss in nats."""
    signature = "surprise(logits, targets)"
    logits, targets = 2 * random_numbers(7, 5), torch.tensor([0, 4, 2, 2, 1, 3, 0])
    expect_function(
        signature,
        function,
        [(logits, targets), (logits[:1], targets[:1])],
        nn.functional.cross_entropy,
        MISTAKEN_SURPRISES,
        read=numbers_of("Your mean is not a finite number: is a log of 0 in it?"),
        otherwise=unlike("Softmax, pick the token that came, minus log, mean."),
        rel_tol=SAME,
        abs_tol=SAME,
    )
    expect_function(
        signature,
        function,
        [(200 * logits, targets)],
        nn.functional.cross_entropy,
        read=numbers_of(
            "Right for small logits. But exp(200) is too large for a 32-bit number, and becomes "
            f"infinite: {LARGE}"
        ),
        otherwise=unlike(
            "So it is for large logits only. Add nothing to a probability, and cut no logit: "
            f"{LARGE}"
        ),
        rel_tol=SAME,
        abs_tol=SAME,
    )
    right("The same as cross-entropy, which slmlab trains on, also for large logits.")


# 3 to 8 The model

embed, mlp = part(build_a_gpt_parts.embed), part(build_a_gpt_parts.mlp)
head, attention = part(build_a_gpt_attention.head), part(build_a_gpt_attention.attention)
block, gpt = part(build_a_gpt_parts.block), part(build_a_gpt_parts.gpt)


# 9 A step of training

RATE = 0.1
THE_LOSS = "The loss is `model.loss(inputs, targets)`."
ADVICE = {
    "no attribute 'backward'": "`loss.item()` is a plain number without gradients: call it last, "
    "in the `return`.",
    "Boolean value": f"`model(…)` takes the inputs only. {THE_LOSS}",
    "Expected target size": f"`F.cross_entropy` wants one row for each target. {THE_LOSS}",
}


@part
def step(function: Any) -> None:
    """A function of (model, optimizer, inputs, targets) that trains on one batch."""
    if isinstance(function, Probe):
        raise Probed
    model, truth = deepcopy(reference()), deepcopy(reference())
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    theirs = torch.optim.SGD(truth.parameters(), lr=RATE)
    happened: set[str] = set()
    model.wte.weight.register_hook(lambda _: happened.add("backward"))
    optimizer.register_step_post_hook(lambda *_: happened.add("step"))
    for batch in (IDS, IDS.flip(0, 1)):
        inputs, targets = batch[:, :-1], batch[:, 1:]
        before = deepcopy(model.state_dict())
        loss = truth.loss(inputs, targets)
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        answer = called(function, model, optimizer, inputs, targets, advice=ADVICE)
        _judge_loss(answer, loss.item())
        _judge_weights(model, truth, before, happened, first=batch is IDS)
    right("Two steps in a row change every weight as slmlab's loop does.")


def _judge_loss(answer: Any, loss: float) -> None:
    require(
        not isinstance(answer, Tensor),
        "You return a tensor, which keeps the whole computation in memory. Return a plain number, "
        "`loss.item()`.",
    )
    require(
        isinstance(answer, float) and close(answer, loss, SAME, SAME),
        f"`step` returns {shown(answer)}; the loss of this batch, before the weights change, is "
        f"{loss:.4f}. It is `model.loss(inputs, targets)`, in this order.",
    )


def _judge_weights(
    model: nn.Module, truth: nn.Module, before: dict, happened: set[str], first: bool
) -> None:
    after = model.state_dict()
    if all(torch.equal(after[name], weight) for name, weight in before.items()):
        require("backward" in happened, "No gradients were computed: call `loss.backward()`.")
        require("step" in happened, "No weight has changed: call `optimizer.step()`.")
        raise Mistake(
            "`backward` and `step` were called, but no weight has changed. The order matters: "
            "clear the old gradients, compute the new ones, then step."
        )
    same = all(
        torch.allclose(after[name], weight, SAME, SAME)
        for name, weight in truth.state_dict().items()
    )
    require(
        same or first,
        "The first step is right, the second is not: the gradients of the first were still there, "
        "and PyTorch adds to them. Call `optimizer.zero_grad()` in each step.",
    )
    require(same, "The weights have changed, but not as one step with this loss changes them.")


# 10 Sampling

SAMPLE = """
generator = torch.Generator().manual_seed(seed)
ids = list(ids)
for _ in range(count):
    seen = torch.tensor([ids[-model.config.block_size :]])
    p = model(seen)[0, -1].softmax(-1)
    ids.append(int(torch.multinomial(p, 1, generator=generator)))
return ids
"""
DRAW = "int(torch.multinomial(p, 1, generator=generator))"
MISTAKEN_SAMPLES = {
    SAMPLE.replace(DRAW, "int(p.argmax())"): "You always take the likeliest token. Draw one, in "
    "proportion to its probability, with `torch.multinomial`.",
    SAMPLE.replace("[0, -1]", "[0, 0]"): "You took the logits at the first position. The next "
    "token is predicted at the last one.",
    SAMPLE.replace("ids[-model.config.block_size :]", "ids[: model.config.block_size]"): "Once the "
    "text is longer than the context, the model should see its *last* tokens; yours sees the first "
    "ones.",
    SAMPLE.replace("ids = list(ids)\n", "prompt, ids = list(ids), list(ids)\n").replace(
        "[ids[-model", "[prompt[-model"
    ): "The model reads the prompt each time; it should read its own new tokens as well.",
    SAMPLE.replace("return ids", "return ids[-count:]"): "You return the new tokens only; the ids "
    "that were given come before them.",
    SAMPLE.replace("ids[-model.config.block_size :]", "ids[-1:]"): "The model sees one token only, "
    "like a table of pairs. Give it the last `block_size` tokens.",
}


@part
def sample(function: Any) -> None:
    """A function of (model, ids, count, seed) that draws a continuation: a list of ids."""
    model = lab.GPT(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # larger weights, so that each token read matters
            parameter.mul_(20 if parameter.dim() == 2 else 1)

    def truth(model: lab.GPT, ids: list[int], count: int, seed: int) -> list[int]:
        return [*ids, *lab.generate_tokens(model, ids, count, lab.Decoding(seed=seed))]

    expect_function(
        "sample(model, ids, count, seed)",
        function,
        [(model, [1, 2, 3], 4, 0), *((model, [4, 0], 20, seed) for seed in (1, 2, 3))],
        truth,
        MISTAKEN_SAMPLES,
        read=_ids,
        otherwise="For seed {seed} it gives {value}; slmlab draws {truth} with the same seed. Is "
        "each token drawn from a softmax over all logits, with `generator`?",
        advice={
            f"{CONFIG.n_embd} tokens": "The batch dimension is missing: the model reads (B, T), "
            "here (1, T): put the ids in brackets, `torch.tensor([…])`.",
            "context of": "The text has become longer than the model's context: give it the last "
            "`model.config.block_size` tokens only.",
            "probability tensor": "`torch.multinomial` wants probabilities; logits need a softmax "
            "first.",
        },
    )
    right("The same tokens as slmlab draws with the same seed.")


def _ids(answer: Any, name: str) -> list[int]:
    require(
        isinstance(answer, list),
        f"`{name}` returns {shown(answer)}; it should be a list. (`tolist()` makes one of a "
        "tensor.)",
    )
    try:
        return [int(i) for i in answer]
    except Exception:  # each kind of thing has its own
        told = f"`{name}` returns {shown(answer)}; it should be a list of token ids."
        raise Mistake(told) from None
