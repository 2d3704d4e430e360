"""Beam search: several texts at once, of which the likeliest is kept, and the tree they grow in."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from slmlab.engine.decoding import MAX_NEW_TOKENS, Decoding, adjusted, require_finite
from slmlab.engine.evaluation import LanguageModel, continuable, evaluating
from slmlab.engine.model import GPT, KVCache
from slmlab.validation import instance, whole_number

PROMPT = -1  # the parent of a first token


class Node(NamedTuple):
    """A token in the tree, at the end of the new tokens that lead to it."""

    token: int
    parent: int  # its place in the tree, or `PROMPT`
    log_probability: float  # of those tokens to the model itself, in nats
    score: float  # the same after the penalties: what the search compares


class Beam(NamedTuple):
    """A text that the search kept to its end."""

    ids: tuple[int, ...]  # the new tokens
    log_probability: float  # of them to the model itself, in nats
    score: float  # the same after the penalties, divided by a power of the number of tokens
    node: int  # the place of its last token in the tree


class BeamSearch(NamedTuple):
    """What a beam search found: the beams, best first, and every token that it kept on the way."""

    beams: tuple[Beam, ...]
    tree: tuple[Node, ...]


def beam_search(
    model: LanguageModel,
    ids: Sequence[int],
    max_new_tokens: int,
    decoding: Decoding,
    *,
    ended: Callable[[list[int]], bool] | None = None,
) -> BeamSearch:
    """Continue `ids` by up to `max_new_tokens` tokens, with the `beams` texts that score best.

    At each step every beam is continued by every token, and the best of all go on. `ended` says
    of new tokens whether a text is over; such a text grows no further and keeps its place among
    the best. The tokens are those of Hugging Face's `generate` with `num_beams`, and
    `early_stopping="never"` where a text can end early. The result need not be the likeliest
    text, nor even likelier than the greedy one, whose beginning may have been dropped.

    Raises:
        ValueError: for a decoding without beams, no ids to continue, one that the model has no row
            for, more than `MAX_NEW_TOKENS`, or logits that leave nothing to choose from.
    """
    instance("decoding", decoding, Decoding)
    prompt = continuable(model, ids)
    count = whole_number("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    n = whole_number("beams", decoding.beams, 1)
    if ended is not None:
        instance("ended", ended, Callable, "lambda new: len(new) == 5")
    tree: list[Node] = []
    live, over = [PROMPT], list[Beam]()
    texts, rows, cache = [prompt], [0], model.new_cache()
    sums = torch.zeros(1, 2)  # of each live text: its log-probability and its score
    for length in range(1, count + 1):
        with evaluating(model), torch.inference_mode():
            own, scores = _grown(model, texts, rows, cache, decoding)
        own, scores = own + sums[:, :1], scores + sums[:, 1:]
        parents, grown = live, texts
        live, texts, rows = [], [], []
        # Twice as many as needed, so that enough are left if the best half of them end.
        best = scores.flatten().topk(min(2 * n, scores.numel()))
        if not (over and best.values[0] == -torch.inf):  # texts that ended are kept
            require_finite(best.values[0])
        for place, (score, i) in enumerate(zip(*map(Tensor.tolist, best), strict=True)):
            row, token = divmod(i, scores.shape[1])
            text = [*grown[row], token]
            new = text[len(prompt) :]
            at_end = length == count or (ended is not None and ended(new))
            if score == -torch.inf or (place >= n if at_end else len(live) == n):
                continue
            log_probability = own[row, token].item()
            tree.append(Node(token, parents[row], log_probability, score))
            if at_end:
                final = score / length**decoding.length_normalisation
                over.append(Beam(tuple(new), log_probability, final, len(tree) - 1))
            else:
                live, texts, rows = [*live, len(tree) - 1], [*texts, text], [*rows, row]
        over = sorted(over, key=lambda beam: -beam.score)[:n]
        if not live:
            break
        # A score falls as a text grows, unless a penalty is negative: is there hope for these?
        hope = max(tree[node].score for node in live) / count**decoding.length_normalisation
        if len(over) == n and hope <= over[-1].score:
            break
        sums = torch.tensor([tree[node][2:] for node in live])
    return BeamSearch(tuple(over), tuple(tree))


def _grown(
    model: LanguageModel,
    texts: Sequence[Sequence[int]],
    rows: Sequence[int],
    cache: list[KVCache] | None,
    decoding: Decoding,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of every next token of every text, and the same after the penalties.

    Each is (texts, V) on the CPU. `rows` says which of the texts before each one continues.
    """
    block = model.config.block_size
    # Beyond the context every position shifts, so what was cached is of no use.
    if cache is None or not isinstance(model, GPT) or len(texts[0]) > block:
        windows = torch.tensor([text[-block:] for text in texts], device=model.device)
        logits = model.next_logits(windows)
    else:
        known = cache[0].length
        for layer in cache:
            layer.k, layer.v = layer.k[rows], layer.v[rows]
        new = torch.tensor([text[known:] for text in texts], device=model.device)
        logits = model.next_logits(new, cache)
    own = logits.float().cpu().log_softmax(-1)
    # As Hugging Face does, the penalties act on log-probabilities here, not on logits.
    return own, torch.stack([adjusted(row, t, decoding) for row, t in zip(own, texts, strict=True)])
