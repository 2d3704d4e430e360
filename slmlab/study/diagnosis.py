"""What a run's losses mean: in one unit, bands of the gap, early stopping, warnings in words."""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.model import GPTConfig
from slmlab.engine.runs import Run
from slmlab.engine.training import vocabulary_advice
from slmlab.study.memorisation import COPY_NGRAM
from slmlab.text.dataset import Dataset
from slmlab.validation import instance, real_number, whole_number

if TYPE_CHECKING:
    import pandas as pd

MAX_USEFUL_RATIO = 6_000  # parameters per training token; the grid's best models had up to 5,800


class GapBand(NamedTuple):
    """A published band of the gap, val − train, in nats per token: `low` ≤ gap < `high`."""

    low: float
    high: float
    name: str
    meaning: str


# The borders and names are the published ones; "suspicious" is this course's name for a gap below
# 0. A meaning says what the number itself says: e to the gap is how many times the training
# perplexity the validation perplexity is. Whether that is good or bad it does not say.
GAP_BANDS = (
    GapBand(-math.inf, 0.0, "suspicious", "validation is easier than training: look for leakage"),
    GapBand(0.0, 0.5, "good", "published band; validation perplexity up to 1.6 × training's"),
    GapBand(
        0.5, 1.0, "acceptable", "published band; validation perplexity 1.6 to 2.7 × training's"
    ),
    GapBand(1.0, 3.0, "moderate", "published band; validation perplexity 2.7 to 20 × training's"),
    GapBand(3.0, 5.0, "severe", "published band; validation perplexity 20 to 148 × training's"),
    GapBand(5.0, math.inf, "catastrophic", "published band; more than 148 × training's perplexity"),
)


# Nats per token. Before training a model knows neither text, yet of the 15 recorded right-sized
# phases all but one had a gap of up to this size at step 0: the two texts differ by that much.
GAP_NOISE = 0.07


def gap_band(gap: float) -> GapBand:
    """The published band of a signed gap (validation − training loss, nats per token).

    A gap below 0 by less than `GAP_NOISE` counts as 0. Raises `ValueError` if the gap is no finite
    number, as in a run that diverged.
    """
    if isinstance(gap, float) and not math.isfinite(gap):
        raise ValueError(f"The gap is {gap}, so it is in no band: the run has no finite losses.")
    gap = real_number("The gap", gap)
    if -GAP_NOISE < gap < 0:
        gap = 0.0
    return next(band for band in GAP_BANDS if band.low <= gap < band.high)


def losses_per_byte(run: Run) -> "pd.DataFrame":
    """A run's losses in bits per byte of the text that each was measured on, one row per step.

    Columns `training`, `validation` and, for a run with a test text, `held-out`. Nats per token
    of two texts may be two units, since a right-sized tokenizer cuts unknown words into bytes.
    """
    import pandas as pd

    instance("run", run, Run, "what lab.train(…) returns")
    data = run.dataset
    texts = {
        "training": ("train_loss", data.train),  # taken from windows all over this text
        "validation": ("val_loss", data.val),
        "held-out": ("test_loss", data.test),
    }
    history = run.history.set_index("step")
    return pd.DataFrame(
        {
            name: history[column] * bits_per_byte(1.0, data, ids)
            for name, (column, ids) in texts.items()
            if ids is not None
        }
    )


def early_stop(run: Run, patience: int) -> dict[str, float]:
    """Where early stopping would have ended a run that was trained to its end.

    With a constant learning rate a run that stops early is the beginning of the longer one, so its
    history tells. The `best step`; the step at which it `stops`, after `patience` evaluations
    without a better validation loss; the `share` of the steps spent by then; the validation loss
    and, where there is one, the held-out loss `at best` and `at the end` of the full run, in nats
    per token. Raises `ValueError` for a patience below 1.
    """
    instance("run", run, Run)
    patience = whole_number("patience", patience, least=1)
    end, history = run.last, run.state.history
    best = stop = history[0]
    since_best = 0
    for stop in history:
        since_best += 1
        if stop is best or stop.val_loss < best.val_loss:
            best, since_best = stop, 0
        if since_best >= patience:
            break
    share = stop.step / max(1, end.step)
    facts = {"best step": best.step, "stops": stop.step, "share": share}
    for name, column in (("validation", "val_loss"), ("held-out", "test_loss")):
        if getattr(best, column) is not None:
            facts[f"{name} at best"] = getattr(best, column)
            facts[f"{name} at the end"] = getattr(end, column)
    return facts


def size_advice(config: GPTConfig, dataset: Dataset) -> list[str]:
    """Warnings in words about a model's size for its data, before any training."""
    instance("config", config, GPTConfig)
    instance("dataset", dataset, Dataset)
    found = list(filter(None, [vocabulary_advice(config, dataset)]))
    # A row that never occurs is learnt nothing from, so it cannot store any text.
    distinct = len(torch.cat([dataset.train, dataset.val]).unique())
    used = config.n_params - (config.vocab_size - distinct) * config.n_embd
    ratio = used / len(dataset.train)
    if ratio > MAX_USEFUL_RATIO:
        found.append(
            f"The model has {ratio:,.0f} parameters for each training token, more than any that "
            "did best when the course tried many sizes: it can store the text instead of learning "
            "from it."
        )
    return found


def advice(run: Run) -> list[str]:
    """Warnings in words about a run; an empty list if nothing stands out."""
    instance("run", run, Run)
    found = size_advice(run.model.config, run.dataset)
    last = run.last
    if last.step == 0:
        return found
    if last.train_loss < last.val_loss / 2:
        found.append(
            f"The training loss ({last.train_loss:.2f}) is below half the validation loss "
            f"({last.val_loss:.2f}): it knows its training text far better than that text."
        )
    if run.gap <= -GAP_NOISE:
        shared = run.dataset.overlap()
        found.append(
            f"Validation is easier than training (gap {run.gap:+.2f}), and {shared:.0%} of the "
            f"validation text's {COPY_NGRAM}-token sequences appear in the training text: "
            "this score may be a leak."
        )
    if last.val_loss > run.state.best_val_loss + 0.05:
        found.append(
            f"The validation loss was lowest at step {run.state.best_step:,} "
            f"({run.state.best_val_loss:.2f}) and has risen since: stop there."
        )
    return found
