"""How good a model is on a text: exact losses and accuracy, with dropout off."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.ensemble import Ensemble
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.text.dataset import IGNORED, Dataset, encoded, require_ids, require_mask
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, listed, real_number, whole_number

LanguageModel = GPT | NGram | Ensemble  # what can be scored
BATCH_TOKENS = 512  # in one batch of an evaluation: faster than 256 or 2,048 on two cores
LOGITS_TOKENS = 256  # where all logits are needed, so that 50,257 of them fit into 51 MB
MIN_TRAIN_SAMPLE = 1000  # tokens of training text in an evaluation: fewer made the gap jump


def require_model(model: Any) -> None:
    """Raise `ValueError` for what is no language model: one has a `config` that says its shape."""
    shape = getattr(model, "config", None)
    kind = nn.Module if isinstance(shape, GPTConfig | NGramConfig) else GPT
    instance("model", model, kind)


def continuable(model: LanguageModel, ids: Sequence[int]) -> list[int]:
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


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off and no gradients inside the block; the model's mode is restored on any exit."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if was_training:
            model.train()


def mean_loss(
    model: LanguageModel,
    ids: Tensor,
    starts: list[int] | None = None,
    mask: Tensor | None = None,
) -> float:
    """Exact mean cross-entropy (nats per token) of a model on a 1-D tensor of token ids.

    Every token but the first is predicted exactly once, in the windows of `loss_windows`;
    `starts` picks full windows at given places instead. With a `mask`, bool and as long as ids,
    the mean is over the tokens where it is true.
    Raises `ValueError` if there are fewer than two ids, an id beyond the model's vocabulary, a mask
    of another kind, or no token that counts.
    """
    _require_fit(model, ids)
    if mask is not None:
        require_mask("mask", mask, ids)
    device, block = model.device, model.config.block_size
    total, count = 0.0, 0
    with evaluating(model):
        for inputs, targets in loss_windows(ids, block, BATCH_TOKENS, starts, mask):
            counted = int((targets != IGNORED).sum())
            loss = model.loss(inputs.to(device), targets.to(device))
            total += loss.item() * counted
            count += counted
    if not count:
        raise ValueError("No token in these windows counts; give other places in `starts`.")
    return total / count


def token_losses(model: LanguageModel, ids: Tensor) -> Tensor:
    """Cross-entropy of every token but the first, in nats: ids (N,) → (N − 1,).

    Each is predicted once, in the windows of `loss_windows`; the mean is that of `mean_loss`.
    """
    _require_fit(model, ids)
    losses = []
    with evaluating(model):
        for inputs, targets in loss_windows(ids, model.config.block_size, LOGITS_TOKENS):
            logits = model(inputs.to(model.device)).flatten(0, 1).cpu()
            losses.append(F.cross_entropy(logits, targets.flatten(), reduction="none"))
    return torch.cat(losses)


def token_accuracy(model: LanguageModel, ids: Tensor) -> float:
    """Share of the tokens (but the first) that are the model's likeliest guess, given the text."""
    _require_fit(model, ids)
    right = total = 0
    with evaluating(model):
        for inputs, targets in loss_windows(ids, model.config.block_size, LOGITS_TOKENS):
            guesses = model(inputs.to(model.device)).argmax(-1).cpu()
            right += int((guesses == targets).sum())
            total += targets.numel()
    return right / total


def strided_losses(model: LanguageModel, ids: Tensor) -> Tensor:
    """Cross-entropy of every token but the first, in nats, given at least half a context.

    ids (N,) → (N − 1,), by `strided_logits`, twice the work of `token_losses`. Raises `ValueError`
    if there are fewer than two ids.
    """
    parts = strided_logits(model, ids)
    return torch.cat([F.cross_entropy(*part, reduction="none").cpu() for part in parts])


def strided_guesses(model: LanguageModel, ids: Tensor) -> Tensor:
    """The model's likeliest guess in place of every token but the first: ids (N,) → (N − 1,).

    Each is given at least half a context of the text itself (`strided_logits`). Raises `ValueError`
    if there are fewer than two ids.
    """
    return torch.cat([logits.argmax(-1).cpu() for logits, _ in strided_logits(model, ids)])


def strided_logits(model: LanguageModel, ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (n, V) and the n tokens that came, for every token of ids (N,) but the first, in turn.

    Windows overlap by half, and only what a window adds counts, so no token suffers from standing
    at a window's beginning; but for the text's own. Raises `ValueError` if there are fewer than two
    ids.
    """
    _require_fit(model, ids)
    block, last = model.config.block_size, len(ids) - 1
    step, done = max(1, block // 2), 0
    while done < last:
        end = min(done + step if done else block, last)
        window = ids[max(0, end - block) : end + 1].to(model.device)
        with evaluating(model):
            logits = model(window[None, :-1])[0, done - end :]
        yield logits, window[done - end :]
        done = end


def text_score(model: LanguageModel, tokenizer: Tokenizer, text: str) -> float:
    """Bits per byte of a model on a text: comparable across models, vocabularies and texts.

    By `strided_losses`. Raises `ValueError` as `text_bits` does.
    """
    bits, n_bytes = text_bits(model, tokenizer, text)
    return bits / n_bytes


def text_bits(model: LanguageModel, tokenizer: Tokenizer, text: str) -> tuple[float, int]:
    """The bits that a model needs for a text, and the text's bytes; their ratio is its score.

    By `strided_losses`. The first token is given, so neither its bits nor its bytes count. Raises
    `ValueError` if the tokenizer loses anything of the text: then its bytes are no measure.
    """
    ids = encoded(text, tokenizer)
    pieces = [tokenizer.token_bytes(i) for i in ids.tolist()]
    if tokenizer.decode(ids.tolist()) != text or sum(map(len, pieces)) != len(text.encode()):
        raise ValueError(f"The tokenizer {tokenizer.name!r} does not give this text back.")
    return strided_bits(model, tokenizer, ids)


def strided_bits(model: LanguageModel, tokenizer: Tokenizer, ids: Tensor) -> tuple[float, int]:
    """As `text_bits`, for a stretch of token ids (N,), which need not be whole characters."""
    nats = strided_losses(model, ids).double().sum().item()
    n_bytes = sum(len(tokenizer.token_bytes(i)) for i in ids[1:].tolist())
    return nats / math.log(2), n_bytes


def perplexity(loss: float) -> float:
    """e to the loss: among how many equally likely tokens the model hesitates."""
    return math.exp(min(_checked_loss(loss), 700.0))  # beyond, a float overflows


def bits_per_byte(loss: float, dataset: Dataset, ids: Tensor | None = None) -> float:
    """A loss on the validation text (or `ids`) in bits per byte: comparable across vocabularies.

    Where the validation text has a mask, only the bytes of the tokens that count are counted.
    Raises `ValueError` if there are fewer than two ids, or for a loss that is no number.
    """
    instance("dataset", dataset, Dataset)
    mask = dataset.val_mask if ids is None else None
    ids = dataset.val if ids is None else ids
    _require_text(ids)
    targets = ids[1:] if mask is None else ids[1:][mask[1:]]
    n_bytes = sum(len(dataset.tokenizer.token_bytes(i)) for i in targets.tolist())
    return _checked_loss(loss) * len(targets) / math.log(2) / n_bytes


def loss_windows(
    ids: Tensor,
    block: int,
    batch_tokens: int,
    starts: list[int] | None = None,
    mask: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut ids into consecutive windows of inputs and next tokens.

    A batch holds about `batch_tokens` tokens. Next tokens that the mask leaves out are `IGNORED`.
    The last window may be shorter than `block`, so a text shorter than the context works.
    Raises `ValueError` if there are fewer than two ids.
    """
    _require_text(ids)
    if starts is None:
        starts = list(range(0, len(ids) - 1, block))
    else:
        places = listed("starts", starts, "places in the text")
        starts = [whole_number("A place in starts", i, most=len(ids) - 2) for i in places]
    if not starts:
        raise ValueError("There are no windows to look at; give some places in `starts`.")
    labels = ids if mask is None else ids.masked_fill(~mask, IGNORED)
    pairs = torch.stack([ids[:-1], labels[1:]])
    windows = [pairs[:, start : start + block] for start in starts]
    full = [w for w in windows if w.shape[1] == block]
    per_batch = max(1, batch_tokens // block)
    for i in range(0, len(full), per_batch):
        inputs, targets = torch.stack(full[i : i + per_batch], 1)
        yield inputs, targets
    for window in windows:
        if window.shape[1] < block:
            yield window[:1], window[1:]


def _require_text(ids: Tensor) -> None:
    """Raise `ValueError` for something else than token ids, or fewer than two."""
    require_ids("The text", ids)
    if len(ids) < 2:
        raise ValueError(f"A loss needs at least 2 tokens; got {len(ids)}.")


def _checked_loss(loss: float) -> float:
    """A loss, which may be infinite or NaN where a run diverged, but must be a number."""
    return loss if isinstance(loss, float) else real_number("The loss", loss)


def _require_fit(model: LanguageModel, ids: Tensor) -> None:
    """Raise `ValueError` for something else than a model and a text that it has rows for."""
    require_model(model)
    _require_text(ids)
    rows = model.config.vocab_size
    if int(ids.max()) >= rows:
        raise ValueError(
            f"The text has token id {int(ids.max())}, but the model's vocabulary ends at "
            f"{rows - 1}; use the tokenizer that the model was trained with."
        )


def train_sample_starts(n_train: int, n_val: int, block: int) -> list[int]:
    """Where the windows of the fixed train sample begin: disjoint, evenly spread.

    The sample is as long as the validation set, but at least 1,000 tokens, and at most the
    whole training text.
    """
    wanted = round(max(n_val, MIN_TRAIN_SAMPLE) / block)
    count = max(1, min(wanted, (n_train - 1) // block))
    return [round(x) for x in torch.linspace(0, n_train - block - 1, count).tolist()]
