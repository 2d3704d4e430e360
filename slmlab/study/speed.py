"""How fast a model writes: with the key/value cache and without, with a drafter and without.

Times are medians of several rounds, and each round measures everything once, so that a computer
that is busy for a while slows all of it alike. They are those of this computer.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from slmlab.engine.decoding import Decoding
from slmlab.engine.evaluation import evaluating
from slmlab.engine.generation import encoded_prompt, generate_tokens, next_logits
from slmlab.engine.model import GPT
from slmlab.engine.ngram import NGram
from slmlab.engine.speculative import speculative
from slmlab.study.domain import PROMPTS
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, listed, shown, whole_number, whole_text

if TYPE_CHECKING:
    import pandas as pd

MOST_ROUNDS = 1_000
GREEDY = Decoding(temperature=0)


def cache_speed(model: GPT, rounds: int = 15) -> "pd.DataFrame":
    """What a model takes for the next token after contexts of 1, 2, 4 … tokens, in milliseconds.

    One row a `context`: powers of two up to the model's `block_size`, that size, one token more,
    and twice as many. Columns: `with cache` and `without cache` in ms, and how many `times as fast`
    the cache is. Beyond `block_size` every position has shifted, so the model reads all it sees
    for each token, with a cache or without. The time is the model's alone: choosing the token is
    not in it.

    Raises `ValueError` for something else than a GPT, or a number of rounds out of range.
    """
    import pandas as pd

    instance("model", model, GPT)
    rounds = whole_number("rounds", rounds, 1, MOST_ROUNDS)
    block = model.config.block_size
    text = [i % model.config.vocab_size for i in range(2 * block)]  # any tokens take as long
    powers = {2**i for i in range(block.bit_length())}
    contexts = sorted(powers | {block, block + 1, 2 * block})
    cache = model.new_cache()
    measured = []
    with evaluating(model), torch.inference_mode():
        for _ in range(rounds):
            next_logits(model, text[:block], cache)  # so that of each n it lacks one token
            for n in reversed(contexts):
                _, known = _timed(next_logits, model, text[:n], cache)
                _, anew = _timed(next_logits, model, text[:n])
                ms = {"with cache": 1000 * known, "without cache": 1000 * anew}
                measured.append({"context": n} | ms)
    table = pd.DataFrame(measured).groupby("context").median()
    table["times as fast"] = table["without cache"] / table["with cache"]
    return table


def drafting_speed(
    models: Mapping[str, GPT],
    drafter: NGram,
    tokenizer: Tokenizer,
    prompts: Sequence[str] = PROMPTS,
    max_new_tokens: int = 60,
    decoding: Decoding = GREEDY,
    *,
    rounds: int = 3,
) -> "pd.DataFrame":
    """Each model's text after each prompt, with a drafter and without: how many guesses are right?

    One row a model and prompt. Columns: `acceptance`, the share of the drafter's guesses that the
    model keeps, `calls per token`, `plain` and `drafted`, the milliseconds a token takes without
    the drafter and with it, and `times as fast`. Texts end where the model's context is full.

    Where the drafter counted the model's training text, acceptance is one more meter of
    memorisation: how often the model writes what came next there. Ask at a temperature of 1, where
    tokens are drawn from the model's own probabilities: a greedy model that knows little is as easy
    to guess, because it writes the commonest tokens over and over.

    Raises `ValueError` for models, names or a drafter of another kind, a prompt that leaves no room
    in a model's context, and as `speculative` does.
    """
    import pandas as pd

    for name in instance("models", models, Mapping, '{"Phase 2": run.model}'):
        whole_text("The name of a model", name)
    texts = {text: encoded_prompt(tokenizer, text) for text in listed("prompts", prompts, "texts")}
    most = whole_number("max_new_tokens", max_new_tokens, 1)
    rounds = whole_number("rounds", rounds, 1, MOST_ROUNDS)
    if not models or not texts:
        raise ValueError("There is nothing to measure; give at least one model and one prompt.")
    measured = []
    for _, (name, model), (prompt, ids) in product(range(rounds), models.items(), texts.items()):
        room = instance(f"models[{shown(name)}]", model, GPT).config.block_size - len(ids) + 1
        if room < 1:
            raise ValueError(
                f"The prompt {shown(prompt)} has {len(ids)} tokens, more than the context of "
                f"{shown(name)}; give a shorter one."
            )
        new = min(most, room)
        _, plain = _timed(list, generate_tokens(model, ids, new, decoding))
        found, drafted = _timed(speculative, model, drafter, ids, new, decoding)
        measured.append(
            {
                "model": name,
                "prompt": prompt,
                "acceptance": found.acceptance,
                "calls per token": found.calls / new,
                "plain": 1000 * plain / new,
                "drafted": 1000 * drafted / new,
            }
        )
    table = pd.DataFrame(measured).groupby(["model", "prompt"], sort=False).median()
    table["times as fast"] = table["plain"] / table["drafted"]
    return table


def _timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a function returns, and the seconds that it took."""
    began = time.perf_counter()
    result = work(*arguments)
    return result, time.perf_counter() - began
