"""Contrastive search: a likely token whose hidden state is unlike those of the text so far."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from slmlab.engine.decoding import Decoding, adjusted, require_finite
from slmlab.engine.model import GPT


def contrastive_token(model: GPT, text: Sequence[int], decoding: Decoding) -> int:
    """The next token of contrastive search (Su et al. 2022, "A Contrastive Framework").

    Of the `top_k` likeliest tokens, the one with the highest (1 − α)·p − α·likeness, where α is
    `contrast` and the likeness is the largest cosine between the hidden state of the token and
    that of any token before it. Slow: the model reads the whole context again, once for each of
    the k. Once the text is longer than the context, it is compared with what the model sees.
    A token of probability 0 is never chosen. Raises `ValueError` if all are impossible, or for
    logits that are no numbers.
    """
    block, device = model.config.block_size, model.device
    logits = model.next_logits(torch.tensor([text[-block:]], device=device))[0]
    p = adjusted(logits, text, decoding).softmax(0)
    likely, tokens = p.topk(min(decoding.top_k or 1, len(p)))
    require_finite(likely[0])
    likely, tokens = likely[likely > 0], tokens[likely > 0]
    texts = [[*text, token][-block:] for token in tokens.tolist()]
    hidden = model.hidden(model.wte(torch.tensor(texts, device=device)))  # (k, T, C)
    hidden = F.normalize(hidden, dim=-1)
    cosines = (hidden[:, :-1] * hidden[:, -1:]).sum(-1)  # (k, T − 1)
    likeness = cosines.max(1).values if cosines.shape[1] else 0.0  # a context of one token
    scores = (1 - decoding.contrast) * likely - decoding.contrast * likeness
    return int(tokens[scores.argmax()])
