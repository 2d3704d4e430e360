"""Contrastive search: a likely token whose hidden state is unlike those of the text so far."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from slmlab.engine.decoding import Decoding, adjusted
from slmlab.engine.model import GPT


def contrastive_token(model: GPT, text: Sequence[int], decoding: Decoding) -> int:
    """The next token of contrastive search (Su et al. 2022, "A Contrastive Framework").

    Of the `top_k` likeliest tokens, the one with the highest (1 − α)·p − α·likeness, where α is
    `contrast` and the likeness is the largest cosine between the hidden state of the token and
    that of any token before it. Slow: the model reads the whole context again, once for each of
    the k. Once the text is longer than the context, it is compared with what the model sees.
    """
    block, device = model.config.block_size, model.device
    logits = model.next_logits(torch.tensor([text[-block:]], device=device))[0]
    p = adjusted(logits, text, decoding).softmax(0)
    candidates = p.topk(min(decoding.top_k or 1, len(p)))
    texts = [[*text, token][-block:] for token in candidates.indices.tolist()]
    hidden = model.hidden(model.wte(torch.tensor(texts, device=device)))  # (k, T, C)
    hidden = F.normalize(hidden, dim=-1)
    cosines = (hidden[:, :-1] * hidden[:, -1:]).sum(-1)  # (k, T − 1)
    likeness = cosines.max(1).values if cosines.shape[1] else 0.0  # a context of one token
    scores = (1 - decoding.contrast) * candidates.values - decoding.contrast * likeness
    return int(candidates.indices[scores.argmax()])
