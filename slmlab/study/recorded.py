"""Reads what the course carries of the phases: one table of all recorded runs."""

from typing import TYPE_CHECKING

import numpy as np

from slmlab.study.experiments.evaluations import sample_means
from slmlab.study.records import PHASE_RECORDS
from slmlab.validation import shown

if TYPE_CHECKING:
    import pandas as pd


def phase_runs(vocabulary: str = "right-sized") -> "pd.DataFrame":
    """Every recorded run of the phases in a vocabulary, one row each.

    Losses in nats per token. `test_loss` is the last one on the held-out files, and
    `test_loss_at_best` that of the step with the lowest validation loss, `lowest_test_loss` the
    lowest of all; NaN for the runs with GPT-2's vocabulary, which were not tested. `parses`,
    `repetition`, `domain_names` and `copied` are means over the last samples (see `scorecard`).
    """
    import pandas as pd

    entries = [entry for entry in PHASE_RECORDS if entry.vocabulary == vocabulary]
    if not entries:
        known = ", ".join(sorted({entry.vocabulary for entry in PHASE_RECORDS}))
        raise ValueError(
            f"No phase was recorded with the vocabulary {shown(vocabulary)}; there are {known}."
        )
    rows = []
    for entry in sorted(entries, key=lambda e: (e.number, e.seed)):
        run = entry.phase.recorded(entry.vocabulary, entry.seed)
        last = run.state.history[-1]
        best = next(r for r in run.state.history if r.step == run.state.best_step)
        tests = [r.test_loss for r in run.state.history if r.test_loss is not None]
        rows.append(
            {
                "phase": entry.number,
                "seed": entry.seed,
                "params": run.model.n_params,
                "train_tokens": len(run.dataset.train),
                "params_per_token": run.params_per_token,
                "epochs": last.epochs,
                "train_loss": last.train_loss,
                "val_loss": last.val_loss,
                "gap": run.gap,
                "best_step": run.state.best_step,
                "steps": last.step,
                "test_loss": last.test_loss,
                "test_loss_at_best": best.test_loss,
                "lowest_test_loss": min(tests, default=np.nan),
                **sample_means(run, last.step),
            }
        )
    return pd.DataFrame(rows).astype({"test_loss": float, "test_loss_at_best": float})
