"""Text from a model, one token at a time."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slmlab.engine.decoding import Decoding, sample_token
from slmlab.engine.evaluation import evaluating, require_model
from slmlab.engine.model import GPT, KVCache
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, listed, shown, truth_values, whole_number

MAX_NEW_TOKENS = 1_000_000  # hours of computing; whoever wants more can go on from there
NO_TOKEN = "\ufffd"  # what a row of the model that stands for no token is written as


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int = 30,
    decoding: Decoding = Decoding(),
) -> str:
    """The prompt and its continuation by the model.

    The text ends after `max_new_tokens` tokens, or just before the first of the stop strings in
    the continuation.

    Raises:
        ValueError: for an empty prompt, or one that the model has no rows for.
    """
    ids = encoded_prompt(tokenizer, prompt)
    return prompt + continuation(model, tokenizer, ids, max_new_tokens, decoding)[0]


def encoded_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt's token ids. Raises `ValueError` if it is no text, or empty."""
    instance("tokenizer", tokenizer, Tokenizer)
    if not isinstance(prompt, str) or not prompt:
        raise ValueError(
            f"The prompt is {shown(prompt)}; give at least one character to continue from."
        )
    return tokenizer.encode(prompt)


def continuation(
    model: GPT,
    tokenizer: Tokenizer,
    ids: Sequence[int],
    max_new_tokens: int,
    decoding: Decoding = Decoding(),
) -> tuple[str, list[int]]:
    """What the model writes after `ids`: the text, cut at a stop string, and all its token ids."""
    new: list[int] = []
    for token in generate_tokens(model, ids, max_new_tokens, decoding):
        new.append(token)
        if decoding.stop:
            text = decoded(tokenizer, new)
            ends = [text.find(s) for s in decoding.stop if s in text]
            if ends:
                return text[: min(ends)], new
    return decoded(tokenizer, new), new


def decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Text of ids, in which a row beyond the tokenizer's tokens is written as U+FFFD."""
    if max(ids, default=0) < tokenizer.n_vocab:
        return tokenizer.decode(ids)
    pieces = (tokenizer.token_bytes(i) if i < tokenizer.n_vocab else NO_TOKEN.encode() for i in ids)
    return b"".join(pieces).decode("utf-8", "replace")


def generate_tokens(
    model: GPT,
    ids: Sequence[int],
    max_new_tokens: int,
    decoding: Decoding = Decoding(),
    *,
    use_cache: bool = True,
) -> Iterator[int]:
    """Yield `max_new_tokens` token ids that continue `ids`, each as soon as it is chosen.

    Once the text is longer than the model's context, the model sees its last `block_size` tokens.
    `use_cache=False` recomputes the whole context for every token: the same text, slower.

    Raises:
        ValueError: for no ids to continue, or one that the model has no row for.
    """
    instance("decoding", decoding, Decoding)
    text = checked_ids(model, ids)
    count = whole_number("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    truth_values(use_cache=use_cache)
    block, device = model.config.block_size, model.device
    generator = torch.Generator().manual_seed(decoding.seed)
    cache = model.new_cache() if use_cache else None
    for _ in range(count):
        # The mode is set for each token, so that it is as it was whenever the caller has the word.
        with evaluating(model), torch.inference_mode():
            if cache is not None:
                logits = next_logits(model, text, cache)
            else:
                logits = model.next_logits(torch.tensor([text[-block:]], device=device))[0]
            token = sample_token(logits, text, decoding, generator)
        text.append(token)
        yield token


def next_logits(model: GPT, text: Sequence[int], cache: list[KVCache]) -> Tensor:
    """Logits (V,) of the token after the ids `text`, of which the model sees the last `block_size`.

    `cache` holds any beginning of `text`, or of a longer text that began with it; what it lacks
    is added.
    """
    block = model.config.block_size
    if len(text) > block:  # every position shifts, so what was cached is of no use
        cache = model.new_cache()
    known = min(cache[0].length, len(text) - 1)
    for layer in cache:
        layer.length = known
    new = torch.tensor([text[-block:][known:]], device=model.device)
    return model.next_logits(new, cache)[0]


def checked_ids(model: GPT, ids: Sequence[int]) -> list[int]:
    """The ids as a list. Raises `ValueError`, with a sentence, for what cannot be continued."""
    require_model(model)
    checked = [whole_number("a token id", i) for i in listed("ids", ids, "token ids")]
    if not checked:
        raise ValueError("There is nothing to continue; give a prompt of at least one token.")
    last = model.config.vocab_size - 1
    if max(checked) > last:
        raise ValueError(
            f"The prompt has token id {max(checked)}, but the model's vocabulary ends at {last}; "
            "use the tokenizer that the model was trained with."
        )
    return checked
