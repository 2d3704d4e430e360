"""The verdict's evidence: each function answers one question about the experiment."""

from typing import TYPE_CHECKING

import torch

from slmlab.corpus import load_corpus, ngrams
from slmlab.runs import Run
from slmlab.training import mean_loss

if TYPE_CHECKING:
    import pandas as pd


def stretches(run: Run, length: int | None = None, n: int = 8) -> "pd.DataFrame":
    """The same model, examined on every stretch of the corpus that follows its training text.

    One row per stretch of `length` tokens (as many as the run's own validation text): where it
    `start`s, its `overlap` (share of its n-token sequences that stand in the training text) and
    the model's `loss` on it, in nats per token.

    Raises:
        ValueError: for a run without weights, or one that was not trained on the start of the
            corpus.
    """
    import pandas as pd

    if not run.has_weights:
        raise ValueError(f"{run.name} was kept without weights; train it again to examine it.")
    ids = torch.tensor(run.dataset.tokenizer.encode(load_corpus().text))
    n_train, length = len(run.dataset.train), length or len(run.dataset.val)
    if not torch.equal(ids[:n_train], run.dataset.train):
        raise ValueError(f"{run.name} was not trained on the first tokens of the corpus.")
    seen = set(ngrams(run.dataset.train.tolist(), n))
    rows = []
    for start in range(n_train, len(ids) - length + 1, length):
        stretch = ids[start : start + length]
        grams = ngrams(stretch.tolist(), n)
        overlap = sum(gram in seen for gram in grams) / len(grams)
        rows.append({"start": start, "overlap": overlap, "loss": mean_loss(run.model, stretch)})
    return pd.DataFrame(rows)
