"""Text from a model, one token at a time."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from slmlab.engine.beams import beam_search
from slmlab.engine.contrastive import contrastive_token
from slmlab.engine.decoding import MAX_NEW_TOKENS, Decoding, sample_token
from slmlab.engine.evaluation import LanguageModel, continuable, evaluating
from slmlab.engine.model import GPT, KVCache
from slmlab.engine.python_prefix import can_become_python
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, shown, truth_values, whole_number, whole_text

MOST_TRIED = 200  # tokens, after which a text ends that none of them may continue
NO_TOKEN = "\ufffd"  # what a row of the model that stands for no token is written as


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int = 30,
    decoding: Decoding = Decoding(),
) -> str:
    """The prompt and its continuation by the model.

    The text ends after `max_new_tokens` tokens, or just before the first of the stop strings in
    the continuation.

    Raises:
        ValueError: for an empty prompt, one that the model has no rows for, a model that the
            decoding cannot use, or logits that leave no token to draw.
    """
    ids = encoded_prompt(tokenizer, prompt)
    return prompt + continuation(model, tokenizer, ids, max_new_tokens, decoding)[0]


def encoded_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt's token ids. Raises `ValueError` if it is no text, or empty."""
    instance("tokenizer", tokenizer, Tokenizer)
    if not whole_text("The prompt", prompt):
        raise ValueError("The prompt is ''; give at least one character to continue from.")
    return tokenizer.encode(prompt)


def continuation(
    model: LanguageModel,
    tokenizer: Tokenizer,
    ids: Sequence[int],
    max_new_tokens: int,
    decoding: Decoding = Decoding(),
) -> tuple[str, list[int]]:
    """What the model writes after `ids`: the text, cut at a stop string, and all its token ids.

    Raises `ValueError` for a prompt that cannot become Python, if it is to.
    """
    instance("decoding", decoding, Decoding)
    instance("tokenizer", tokenizer, Tokenizer)
    prompt = decoded(tokenizer, ids) if decoding.python else ""

    def ended(new: list[int]) -> bool:
        text = decoded(tokenizer, new)
        return any(stop in text for stop in decoding.stop)

    def allowed(new: list[int]) -> bool:
        return can_become_python(prompt + decoded(tokenizer, new))

    if decoding.python and not allowed([]):
        raise ValueError(
            f"The prompt is {shown(prompt)}, which no text can continue to Python; begin with "
            "Python, or set python to False."
        )
    new = list(
        generate_tokens(
            model,
            ids,
            max_new_tokens,
            decoding,
            ended=ended if decoding.stop else None,
            allowed=allowed if decoding.python else None,
        )
    )
    text = decoded(tokenizer, new)
    ends = [text.find(stop) for stop in decoding.stop if stop in text]
    return text[: min(ends, default=None)], new


def decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Text of ids, in which a row beyond the tokenizer's tokens is written as U+FFFD."""
    if max(ids, default=0) < tokenizer.n_vocab:
        return tokenizer.decode(ids)
    pieces = (tokenizer.token_bytes(i) if i < tokenizer.n_vocab else NO_TOKEN.encode() for i in ids)
    return b"".join(pieces).decode("utf-8", "replace")


def generate_tokens(
    model: LanguageModel,
    ids: Sequence[int],
    max_new_tokens: int,
    decoding: Decoding = Decoding(),
    *,
    ended: Callable[[list[int]], bool] | None = None,
    allowed: Callable[[list[int]], bool] | None = None,
    use_cache: bool = True,
) -> Iterator[int]:
    """Yield up to `max_new_tokens` token ids that continue `ids`, each as soon as it is chosen.

    Once the text is longer than the model's context, the model sees its last `block_size` tokens.
    `ended` says of the new tokens whether the text is over. `allowed` says of them whether the last
    one may be kept; if not, it is struck out and another is drawn. The text is also over once
    `MOST_TRIED` were struck out. The decoding's `stop` and `python`, which speak of text, are left
    to these two, as in `generate`. A beam search yields its best text only at the end.
    `use_cache=False` recomputes the whole context for every token: the same text, slower.

    Raises:
        ValueError: for no ids to continue, one that the model has no row for, `contrast` with
            another model than a GPT, or logits that leave no token to draw.
    """
    instance("decoding", decoding, Decoding)
    text = continuable(model, ids)
    count = whole_number("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    truth_values(use_cache=use_cache)
    for name, judge in (("ended", ended), ("allowed", allowed)):
        if judge is not None:
            instance(name, judge, Callable, "lambda new: len(new) < 5")
    if decoding.contrast is not None and not isinstance(model, GPT):
        raise ValueError(
            f"contrast compares hidden states, which only a GPT has; model is {shown(model)}."
        )
    if decoding.beams is not None:
        yield from beam_search(model, text, count, decoding, ended=ended).beams[0].ids
        return
    generator = torch.Generator().manual_seed(decoding.seed)
    cache = model.new_cache() if use_cache else None
    new: list[int] = []
    while len(new) < count and not (new and ended is not None and ended(new)):
        # The mode is set for each token, so that it is as it was whenever the caller has the word.
        with evaluating(model), torch.inference_mode():
            if decoding.contrast is not None and isinstance(model, GPT):
                token = contrastive_token(model, text, decoding)
            else:
                logits = next_logits(model, text, cache)
                token = _chosen(logits, text, new, decoding, generator, allowed)
        if token is None:
            return
        text.append(token)
        new.append(token)
        yield token


def _chosen(
    logits: Tensor,
    text: Sequence[int],
    new: Sequence[int],
    decoding: Decoding,
    generator: torch.Generator,
    allowed: Callable[[list[int]], bool] | None,
) -> int | None:
    """The next token, drawn until one is allowed after the new ones; None if none is found."""
    for _ in range(min(MOST_TRIED, len(logits))):
        token = sample_token(logits, text, decoding, generator)
        if allowed is None or allowed([*new, token]):
            return token
        logits = logits.index_fill(0, torch.tensor([token], device=logits.device), -torch.inf)
    return None


def next_logits(
    model: LanguageModel, text: Sequence[int], cache: list[KVCache] | None = None
) -> Tensor:
    """Logits (V,) of the token after the ids `text`, of which the model sees the last `block_size`.

    A `cache` holds any beginning of `text`, or of a longer text that began with it; what it lacks
    is added. Beyond `block_size` every position shifts, so what it holds is of no use.
    """
    block = model.config.block_size
    if cache is None or not isinstance(model, GPT) or len(text) > block:
        return model.next_logits(torch.tensor([text[-block:]], device=model.device))[0]
    known = min(cache[0].length, len(text) - 1)
    for layer in cache:
        layer.length = known
    return model.next_logits(torch.tensor([text[known:]], device=model.device), cache)[0]
