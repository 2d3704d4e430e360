"""How much of a text the training text holds, and how much of it a model recites."""

import math
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch

from slmlab.engine.evaluation import evaluating, require_model, token_losses
from slmlab.engine.model import GPT
from slmlab.text.dataset import Dataset, id_array
from slmlab.text.passages import known_passages, longest_passage
from slmlab.validation import MOST_LISTED, instance, whole_number, whole_text

if TYPE_CHECKING:
    import pandas as pd

COPY_NGRAM = 8  # tokens in a row that count as copied: a line of code, more or less


def copy_rate(ids: list[int], training: list[int], n: int = COPY_NGRAM) -> float:
    """Share of the n-token sequences of `ids` that stand in the training text (NaN if none)."""
    n = whole_number("n", n, least=1)
    source = id_array("training", training)
    [known] = known_passages([id_array("ids", ids)], source, n)
    return share(known)


def longest_match(ids: list[int], training: list[int]) -> int:
    """Length of the longest run of `ids` that stands, token for token, in the training text."""
    return longest_passage(id_array("ids", ids), id_array("training", training))


def share(known: np.ndarray) -> float:
    """Share of passages that are known (NaN if there are none)."""
    return float(known.mean()) if len(known) else math.nan


def overlap_losses(model: GPT, dataset: Dataset, n: int = COPY_NGRAM) -> "pd.DataFrame":
    """The validation loss, split by whether the training text has the same passage.

    A token counts as "in the training text" if the n tokens that end with it stand there. Columns:
    `tokens`, `share` of all, mean `loss` in nats per token. Raises `ValueError` if the validation
    text has fewer than n tokens.
    """
    import pandas as pd

    require_model(model)
    instance("dataset", dataset, Dataset)
    n = whole_number("n", n, 2, MOST_LISTED)
    if len(dataset.val) < n:
        raise ValueError(f"The validation text has {len(dataset.val)} tokens; it needs {n}.")
    [known] = known_passages([dataset.val.numpy()], dataset.train.numpy(), n)
    copied = torch.from_numpy(known)
    losses = token_losses(model, dataset.val)[n - 2 :]  # the first n - 1 tokens end no passage
    rows = {
        name: {
            "tokens": int(which.sum()),
            "share": which.float().mean().item(),
            "loss": losses[which].mean().item(),
        }
        for name, which in (("in the training text", copied), ("new", ~copied))
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def line_completions(model: GPT, dataset: Dataset, text: str) -> "pd.DataFrame":
    """Can the model finish the lines of a text? One row per line of at least four tokens.

    The indentation aside, it is given the first half of the line's tokens and what comes before
    (as far as its context reaches), and must go on greedily. Columns: `line`, stripped; `known`,
    whether the same line, indentation included, stands in the training text; `exact`, whether the
    model finds every token to the line's end.
    """
    import pandas as pd

    require_model(model)
    instance("dataset", dataset, Dataset)
    whole_text("text", text)
    tokenizer, block = dataset.tokenizer, model.config.block_size
    seen = set(tokenizer.decode(dataset.train.tolist()).split("\n"))
    ids = tokenizer.encode(text)
    pieces = [tokenizer.token_bytes(i) for i in ids]
    ends = list(accumulate(map(len, pieces)))
    rows = []
    begin = 0  # of the line, in bytes
    for line in text.split("\n"):
        end = begin + len(line.encode())
        first, stop = bisect_right(ends, begin), bisect_right(ends, end)
        begin = end + 1
        while first < stop and not pieces[first].strip():
            first += 1
        if stop - first < 4:
            continue
        asked = stop - first - (stop - first) // 2
        window = torch.tensor(ids[max(0, stop - block - 1) : stop], device=model.device)
        with evaluating(model):
            guesses = model(window[None, :-1])[0].argmax(-1)
        exact = torch.equal(guesses[-asked:], window[-asked:])
        rows.append({"line": line.strip(), "known": line in seen, "exact": exact})
    return pd.DataFrame(rows, columns=["line", "known", "exact"])
