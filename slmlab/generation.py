"""Text from a model, one token at a time."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.model import GPT, LayerCache
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
    check_text(model, ids)
    if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens!r}; it must be at least 1.")
    check_options(temperature, top_k, top_p, repetition_penalty)
    text = list(ids)
    block, device = model.config.block_size, model.wte.weight.device
    generator = torch.Generator().manual_seed(seed)
    cache = model.new_cache()
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            with torch.inference_mode():
                if use_cache:
                    logits = next_logits(model, text, cache)
                else:
                    context = torch.tensor([text[-block:]], device=device)
                    logits = model(context)[0, -1]
                token = choose(
                    logits, text, generator, temperature, top_k, top_p, repetition_penalty
                )
            text.append(token)
            yield token
    finally:
        model.train(was_training)


def next_logits(model: GPT, text: Sequence[int], cache: list[LayerCache]) -> Tensor:
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
    new = torch.tensor([text[-block:][known:]], device=model.wte.weight.device)
    return model.next_logits(new, cache)[0]


def choose(
    logits: Tensor,
    text: Sequence[int],
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
) -> int:
    """The id of the next token, drawn from `next_distribution`; the arguments are the same."""
    p = next_distribution(logits, text, temperature, top_k, top_p, repetition_penalty)
    if temperature == 0:
        return int(p.argmax())
    return int(torch.multinomial(p.cpu(), 1, generator=generator))


def filter_stages(
    logits: Tensor,
    text: Sequence[int],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
) -> dict[str, Tensor]:
    """What each filter of `next_distribution` does: the probabilities (V,) after one more each.

    The first is the model's own distribution, the last is `next_distribution` with all options.
    """
    penalty = repetition_penalty
    return {
        "model": next_distribution(logits, text),
        "penalty": next_distribution(logits, text, 1.0, None, None, penalty),
        "temperature": next_distribution(logits, text, temperature, None, None, penalty),
        "top-k": next_distribution(logits, text, temperature, top_k, None, penalty),
        "top-p": next_distribution(logits, text, temperature, top_k, top_p, penalty),
    }


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
    sampling, Holtzman et al. 2020). Temperature 0 leaves only the likeliest token.
    """
    logits = penalise(logits, text, repetition_penalty)
    if temperature == 0:
        return F.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
    logits = logits / temperature
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


def check_text(model: GPT, ids: Sequence[int]) -> None:
    """Raise `ValueError`, with a sentence, for ids that the model cannot continue."""
    if not len(ids):
        raise ValueError("There is nothing to continue; give a prompt of at least one token.")
    if max(ids) >= model.config.vocab_size:
        raise ValueError(
            f"The prompt has token id {max(ids)}, but the model's vocabulary ends at "
            f"{model.config.vocab_size - 1}; use the tokenizer that the model was trained with."
        )


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
