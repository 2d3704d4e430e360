"""Text from a model, one token at a time."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slmlab.model import GPT
from slmlab.tokenizer import Tokenizer


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int = 30,
    *,
    stop: Sequence[str] = (),
    **options: float | int | bool | None,
) -> str:
    """The prompt and its continuation by the model.

    The text ends after `max_new_tokens` tokens, or just before the first of the `stop` strings
    in the continuation. `options` are those of `generate_tokens`.

    Raises:
        ValueError: for an empty prompt, or an option out of range.
    """
    if not prompt:
        raise ValueError("The prompt is empty; give at least one character to continue from.")
    if isinstance(stop, str):
        raise ValueError(f"stop is {stop!r}; give a list of strings, such as [{stop!r}].")
    ids = tokenizer.encode(prompt)
    start = len(ids)
    for token in generate_tokens(model, ids, max_new_tokens, **options):
        ids.append(token)
        if stop:
            continuation = tokenizer.decode(ids[start:])
            ends = [continuation.find(s) for s in stop if s in continuation]
            if ends:
                return prompt + continuation[: min(ends)]
    return prompt + tokenizer.decode(ids[start:])


def generate_tokens(
    model: GPT,
    ids: Sequence[int],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    use_cache: bool = True,
) -> Iterator[int]:
    """Yield `max_new_tokens` token ids that continue `ids`, each as soon as it is chosen.

    Temperature 0 is greedy: always the likeliest token. Otherwise a token is drawn from
    softmax(logits / temperature), after the filters of `next_distribution`. Once the text is
    longer than the model's context, the model sees its last `block_size` tokens.

    `use_cache=False` recomputes the whole context for every token: the same text, slower.

    Raises:
        ValueError: for no ids to continue, or an option out of range.
    """
    if not len(ids):
        raise ValueError("There is nothing to continue; give at least one token.")
    if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens!r}; it must be at least 1.")
    check_options(temperature, top_k, top_p, repetition_penalty)
    text = list(ids)
    if max(text) >= model.config.vocab_size:
        raise ValueError(
            f"The prompt has token id {max(text)}, but the model's vocabulary ends at "
            f"{model.config.vocab_size - 1}; use the tokenizer that the model was trained with."
        )
    block, device = model.config.block_size, model.wte.weight.device
    generator = torch.Generator().manual_seed(seed)
    cache = None
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            with torch.inference_mode():
                if not use_cache:
                    context = torch.tensor([text[-block:]], device=device)
                    logits = model(context)[0, -1]
                else:
                    # Beyond the context every position shifts, so the cache starts afresh.
                    if cache is None or len(text) > block:
                        cache, new = model.new_cache(), text[-block:]
                    else:
                        new = text[-1:]
                    logits = model.next_logits(torch.tensor([new], device=device), cache)[0]
                if temperature == 0:
                    token = int(penalise(logits, text, repetition_penalty).argmax())
                else:
                    p = next_distribution(
                        logits, text, temperature, top_k, top_p, repetition_penalty
                    )
                    token = int(torch.multinomial(p.cpu(), 1, generator=generator))
            text.append(token)
            yield token
    finally:
        model.train(was_training)


def next_distribution(
    logits: Tensor,
    text: Sequence[int],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
) -> Tensor:
    """Probabilities of the next token, (V,), from logits (V,) and the ids so far.

    In this order: the repetition penalty; the temperature; `top_k`, which keeps the k likeliest
    tokens; `top_p`, which keeps the likeliest tokens that together reach probability p (nucleus
    sampling, Holtzman et al. 2020).
    """
    logits = penalise(logits, text, repetition_penalty) / temperature
    if top_k is not None and top_k < len(logits):
        smallest = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    p = logits.softmax(0)
    if top_p is not None and top_p < 1:
        ordered, index = p.sort(descending=True)
        before = ordered.cumsum(0) - ordered  # probability of the tokens likelier than each
        p = torch.zeros_like(p).index_put((index,), ordered.masked_fill(before >= top_p, 0.0))
        p = p / p.sum()
    return p


def penalise(logits: Tensor, text: Sequence[int], penalty: float) -> Tensor:
    """Make tokens that already occur in `text` less likely (CTRL, Keskar et al. 2019)."""
    if penalty == 1.0:
        return logits
    seen = torch.tensor(sorted(set(text)), device=logits.device)
    values = logits[seen]
    return logits.index_put((seen,), torch.where(values > 0, values / penalty, values * penalty))


def check_options(
    temperature: float, top_k: int | None, top_p: float | None, repetition_penalty: float
) -> None:
    """Raise `ValueError`, with a sentence, for a decoding option out of range."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}; it must be 0 (greedy) or more.")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k is {top_k!r}; it must be at least 1, or None for all tokens.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it must be above 0 and at most 1, or None.")
    if not 0 < repetition_penalty < float("inf"):
        raise ValueError(f"repetition_penalty is {repetition_penalty}; it must be above 0.")
