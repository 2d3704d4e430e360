"""Reads what the course carries of the phases: one table of all recorded runs."""

import math
from typing import TYPE_CHECKING

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.runs import Run
from slmlab.study.baseline import number_to_beat
from slmlab.study.experiments.evaluations import sample_means
from slmlab.study.records import PHASE_RECORDS, PhaseRecord
from slmlab.validation import shown

if TYPE_CHECKING:
    import pandas as pd


def phase_runs(vocabulary: str = "right-sized") -> "pd.DataFrame":
    """Every recorded run of the phases in a vocabulary, one row each.

    Losses in nats per token. `test_loss` is the last one on the held-out files, and
    `test_loss_at_best` that of the step with the lowest validation loss, `lowest_test_loss` the
    lowest of all; NaN for the runs with GPT-2's vocabulary, which were not tested. `parses`,
    `repetition`, `domain_names` and `copied` are means over the last samples (see `scorecard`).

    To compare phases, take bits per byte of the held-out files: `held_out_bits` is `test_loss` in
    that unit, `lowest_held_out_bits` is `lowest_test_loss`, and `five_gram_bits` the number to beat
    (see `number_to_beat`), from the same training text and vocabulary. A vocabulary has its own:
    what a right-sized one does not know is spelled in bytes, which costs bits.

    All losses of a run are those of its training, in windows side by side (`mean_loss`), where a
    window's first tokens have little context. `text_score` would give each at least half of it,
    but needs weights, which these runs were kept without.
    """
    import pandas as pd

    known = sorted({entry.vocabulary for entry in PHASE_RECORDS})
    if not isinstance(vocabulary, str) or vocabulary not in known:
        raise ValueError(
            f"No phase was recorded with the vocabulary {shown(vocabulary)}; there are "
            f"{', '.join(known)}."
        )
    entries = [entry for entry in PHASE_RECORDS if entry.vocabulary == vocabulary]
    five_gram = {entry.number: _five_gram_bits(entry) for entry in entries}
    rows = []
    for entry in sorted(entries, key=lambda e: (e.number, e.seed)):
        run = entry.phase.recorded(entry.vocabulary, entry.seed)
        last = run.state.history[-1]
        best = next(r for r in run.state.history if r.step == run.state.best_step)
        tests = [r.test_loss for r in run.state.history if r.test_loss is not None]
        lowest = min(tests, default=math.nan)
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
                "lowest_test_loss": lowest,
                "held_out_bits": _held_out_bits(run, last.test_loss),
                "lowest_held_out_bits": _held_out_bits(run, lowest),
                "five_gram_bits": five_gram[entry.number],
                **sample_means(run, last.step),
            }
        )
    return pd.DataFrame(rows).astype({"test_loss": float, "test_loss_at_best": float})


def _five_gram_bits(entry: PhaseRecord) -> float | None:
    return number_to_beat(entry.setup.dataset(tested=True)).test_bits


def _held_out_bits(run: Run, loss: float | None) -> float:
    """A loss on the held-out files in bits per byte; NaN for a run that was not tested."""
    if run.dataset.test is None or loss is None:
        return math.nan
    return bits_per_byte(loss, run.dataset, run.dataset.test)
