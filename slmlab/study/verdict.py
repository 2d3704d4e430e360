"""The verdict's evidence: each function answers one question about the experiment."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slmlab.engine.evaluation import bits_per_byte, mean_loss
from slmlab.engine.runs import Run
from slmlab.study.experiments.grid import GRID
from slmlab.study.phases import PHASES
from slmlab.study.statistics import bootstrap
from slmlab.text.corpus import load_corpus, load_held_out
from slmlab.text.dataset import ngrams
from slmlab.text.files import read_published
from slmlab.validation import instance, table_with, whole_number

if TYPE_CHECKING:
    import pandas as pd


def published() -> "pd.DataFrame":
    """The five published results, one row per phase, with the ratios that follow from them.

    Losses in nats per token; `gap` is signed, validation − training.
    """
    import pandas as pd

    rows = []
    for phase in PHASES:
        theirs, training = phase.published, phase.setup.training
        steps = training.max_steps or 0  # phases have a number of steps
        tokens = steps * training.batch_size * phase.setup.shape.block_size
        rows.append(
            {
                "phase": phase.number,
                "params": theirs["parameters"],
                "train_tokens": theirs["train_tokens"],
                "params_per_token": theirs["parameters"] / theirs["train_tokens"],
                "epochs": tokens / theirs["train_tokens"],
                "train_loss": theirs["final_train_loss"],
                "val_loss": theirs["final_val_loss"],
                "gap": theirs["final_val_loss"] - theirs["final_train_loss"],
            }
        )
    return pd.DataFrame(rows).set_index("phase")


def bug_report() -> dict[str, Any]:
    """The figures of the bug report that lesson 06 is about; see data/published/README.md."""
    return read_published("bug_report.json")


def gap_per_doubling(table: "pd.DataFrame") -> "pd.DataFrame":
    """How much the grid's gap grows with a doubling of epochs, parameters and learning rate.

    For each amount of training text, a linear model of the gap in the three logarithms, over all
    looks of all runs. Index: train_tokens and what is doubled. Columns: `effect` in bits per byte
    for a doubling, with its 95% interval `low` to `high`, which draws whole runs.
    """
    import pandas as pd

    names = ["epochs", "params", "learning_rate"]
    table_with("The table", table, ["step", "gap", *names, *GRID.keys])

    def effects(sample: "pd.DataFrame") -> np.ndarray:
        x = np.column_stack([np.log2(sample[names]), np.ones(len(sample))])
        return np.linalg.lstsq(x, sample["gap"], rcond=None)[0][:-1]

    index = pd.Index(names, name="a doubling of")
    tables = {}
    for tokens, rows in table[table["step"] > 0].groupby("train_tokens"):
        low, high = bootstrap(rows, effects, GRID.keys)
        columns = {"effect": effects(rows), "low": low, "high": high}
        tables[tokens] = pd.DataFrame(columns, index=index)
    return pd.concat(tables, names=["train_tokens"])


def held_out_overlap(n: int = 8) -> "pd.DataFrame":
    """How much of two exams stands in each phase's training text, one row per phase.

    `own_validation` and `held_out` are shares of the n-token sequences of the phase's validation
    text and of the held-out files.
    """
    import pandas as pd

    rows = {}
    for phase in PHASES:
        dataset = phase.dataset()
        held_out = torch.tensor(dataset.tokenizer.encode(load_held_out().text))
        rows[phase.number] = {
            "own_validation": dataset.overlap(n),
            "held_out": replace(dataset, val=held_out).overlap(n),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("phase")


def segment_losses(run: Run, length: int | None = None, n: int = 8) -> "pd.DataFrame":
    """The same model, examined on every segment of the corpus that follows its training text.

    One row per segment of `length` tokens (as many as the run's own validation text): where it
    `start`s, its `overlap` (share of its n-token sequences that stand in the training text) and
    the model's `loss` on it, in nats per token, and in `bits` per byte to compare segments.

    Raises:
        ValueError: for a run without weights, or one that was not trained on the start of the
            corpus.
    """
    import pandas as pd

    instance("run", run, Run)
    n = whole_number("n", n, least=1)
    if length is not None:
        length = whole_number("length", length, least=max(2, n))
    if not run.has_weights:
        raise ValueError(f"{run.name} was kept without weights; train it again to examine it.")
    ids = torch.tensor(run.dataset.tokenizer.encode(load_corpus().text))
    n_train, length = len(run.dataset.train), length or len(run.dataset.val)
    if not torch.equal(ids[:n_train], run.dataset.train):
        raise ValueError(f"{run.name} was not trained on the first tokens of the corpus.")
    seen = set(ngrams(run.dataset.train.tolist(), n))
    rows = []
    for start in range(n_train, len(ids) - length + 1, length):
        segment = ids[start : start + length]
        grams = ngrams(segment.tolist(), n)
        overlap = sum(gram in seen for gram in grams) / len(grams)
        loss = mean_loss(run.model, segment)
        bits = bits_per_byte(loss, run.dataset, segment)
        rows.append({"start": start, "overlap": overlap, "loss": loss, "bits": bits})
    return pd.DataFrame(rows)
