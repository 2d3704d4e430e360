"""Rows of a vocabulary that were never trained: found from the embedding alone, and checked.

A glitch token is one that the vocabulary has and the training text does not. For a model of ours
the text is known, so what an indicator finds can be compared with the truth. The indicators are
those of Land and Bartolo 2024 ("Fishing for Magikarp", arXiv 2405.05417) for a tied embedding,
which start from rows that nobody can have trained; and two simpler ones.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.model import GPT
from slmlab.engine.runs import Run
from slmlab.text.dataset import Dataset
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("auc", "average_precision", "flagged", "precision", "recall", "seen_flagged")
# Bytes that no UTF-8 text has (RFC 3629), so that no text can train their tokens.
IMPOSSIBLE = {0xC0, 0xC1, *range(0xF5, 0x100)}


def unseen_rows(dataset: Dataset, rows: int) -> Tensor:
    """Which of a model's rows never occur in the training text: bool (rows,)."""
    instance("dataset", dataset, Dataset)
    return torch.bincount(dataset.train, minlength=rows) == 0


def unused_rows(tokenizer: Tokenizer, rows: int) -> Tensor:
    """Which rows no text whatever can train: bool (rows,).

    Tokens with a byte that UTF-8 never uses, and rows beyond the tokenizer's last token. To know
    these takes no look at the training text.
    """
    tokens = map(tokenizer.token_bytes, range(tokenizer.n_vocab))
    impossible = [not IMPOSSIBLE.isdisjoint(token) for token in tokens]
    return torch.tensor(impossible + [True] * (rows - tokenizer.n_vocab))


def glitch_table(run: Run) -> "pd.DataFrame":
    """How well each indicator tells the rows that were never seen from those that were.

    One row an indicator. It flags a row that looks as untrained as any of the rows that no text can
    train (`unused_rows`), which are left out of all counts.

    - `auc`: how often a row never seen looks less trained than one that was seen; 0.5 is chance.
    - `average_precision`: of the rows never seen, as a ranking; chance is their share.
    - `flagged`: rows; `precision`: the share of them never seen; `recall`: the share of the rows
      never seen that are flagged; `seen_flagged`: rows that were seen, and are flagged.

    Raises `ValueError` for a run without weights, or whose vocabulary was cut to the text, so that
    no row is left to find.
    """
    import pandas as pd

    instance("run", run, Run).require_weights()
    rows = run.model.config.vocab_size
    unused = unused_rows(run.dataset.tokenizer, rows)
    unseen = unseen_rows(run.dataset, rows)[~unused]
    if not unused.any() or unseen.all() or not unseen.any():
        raise ValueError(
            f"{run.name} has no rows to tell apart; give a run with a vocabulary larger than its "
            "text's, such as lab.PHASES[1].run(seconds=10)."
        )
    share = float(unseen.double().mean())
    every = [0.5, share, len(unseen), share, 1.0, int((~unseen).sum())]
    table = {"flag every row": dict(zip(SCORES, every, strict=True))}
    for name, scores in indicators(run, unused):
        table[name] = _scored(scores[~unused], float(scores[unused].min()), unseen)
    counts = {"flagged": int, "seen_flagged": int}
    return pd.DataFrame(table).T.rename_axis("indicator").astype(counts)


def indicators(run: Run, unused: Tensor) -> Iterator[tuple[str, Tensor]]:
    """How untrained each row looks: a name, and a score (rows,), the higher the less trained."""
    embedding = run.model.wte.weight.detach().cpu()
    yield "small norm", -embedding.norm(dim=1)
    yield "near the mean unused row", _likeness(embedding, unused)
    yield "the same, first component removed", _likeness(_without_first(embedding), unused)
    yield "near its initial weights", -(embedding - _initial(run)).norm(dim=1)


def movement(run: Run) -> "pd.DataFrame":
    """How far the rows moved in training: those that were seen, and those that never were.

    The head shares the matrix, so every step pushes the rows of all tokens that are not the next
    one. Rows that are never the next one only know this push, and it is much the same for them all.

    `norm_before` and `norm_after` are mean lengths of a row, `moved` the mean length of its way,
    `decay_alone` what weight decay alone would have taken of it. `common` is the share of the way
    (squared) that is the same for all rows of the group. `probability` is what the group's tokens
    get together as the next token of the validation text, in the mean.
    """
    import pandas as pd

    instance("run", run, Run).require_weights()
    before, after = _initial(run), run.model.wte.weight.detach().cpu()
    unseen = unseen_rows(run.dataset, len(after))
    config = run.config
    steps = run.state.planned_steps
    rates = (config.learning_rate_at(i, steps) for i in range(1, run.state.step + 1))
    kept = torch.tensor([1 - rate * config.weight_decay for rate in rates]).prod()
    block = run.model.config.block_size
    with torch.no_grad():
        logits = run.model(run.dataset.val[None, :block].to(run.model.device))[0].cpu()
    table = {}
    for name, group in (("seen", ~unseen), ("never seen", unseen)):
        way = (after - before)[group]
        table[name] = {
            "rows": int(group.sum()),
            "norm_before": float(before[group].norm(dim=1).mean()),
            "norm_after": float(after[group].norm(dim=1).mean()),
            "moved": float(way.norm(dim=1).mean()),
            "decay_alone": float((1 - kept) * before[group].norm(dim=1).mean()),
            "common": float(way.mean(0).square().sum() / way.square().sum(1).mean()),
            "probability": float(logits.softmax(-1)[:, group].sum(-1).mean()),
        }
    return pd.DataFrame(table).T.astype({"rows": int})


def _initial(run: Run) -> Tensor:
    """The embedding before training, which the seed gives again: (rows, width)."""
    return GPT(run.model.config, run.config.seed).wte.weight.detach()


def _likeness(embedding: Tensor, unused: Tensor) -> Tensor:
    """The cosine of each row with the mean of the rows that are known to be unused."""
    return F.cosine_similarity(embedding, embedding[unused].mean(0)[None], dim=1)


def _without_first(embedding: Tensor) -> Tensor:
    """The rows without their first principal component, which most of them share."""
    first = torch.linalg.eigh(embedding.T @ embedding).eigenvectors[:, -1]
    return embedding - (embedding @ first)[:, None] * first


def _scored(scores: Tensor, threshold: float, unseen: Tensor) -> dict[str, float]:
    """The columns of `glitch_table` for the scores of rows, of which some were never seen."""
    flagged = scores >= threshold
    found, seen = int((flagged & unseen).sum()), int((~unseen).sum())
    ranked = unseen[scores.argsort(descending=True)].double()
    before = ranked.cumsum(0)  # rows never seen, up to each place of the ranking
    # Each row that was seen is beaten by the rows never seen that are ranked before it.
    auc = float(before[ranked == 0].sum()) / (seen * int(unseen.sum()))
    precisions = before / torch.arange(1, len(ranked) + 1)
    average = float(precisions[ranked == 1].mean())
    n = int(flagged.sum())
    precision = found / n if n else math.nan
    values = [auc, average, n, precision, found / int(unseen.sum()), n - found]
    return dict(zip(SCORES, values, strict=True))
