"""The verdict's evidence: each function answers one question about the experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from slmlab.corpus import load_corpus, load_held_out, ngrams
from slmlab.diagnosis import scorecard
from slmlab.phases import PHASES
from slmlab.records import PHASE_RECORDS, read_experiment
from slmlab.runs import Run
from slmlab.training import mean_loss

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 1000  # of a bootstrap interval
NEAR = 0.1  # nats per token: sizes this close to the best one count as near it


def published() -> "pd.DataFrame":
    """The five published results, one row per phase, with the ratios that follow from them.

    Losses in nats per token; `gap` is signed, validation − training.
    """
    import pandas as pd

    rows = []
    for phase in PHASES:
        theirs, config = phase.published, phase.training
        tokens = config.max_steps * config.batch_size * phase.shape["block_size"]
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


def phase_runs(vocabulary: str = "right-sized") -> "pd.DataFrame":
    """Every recorded run of the phases in a vocabulary, one row each.

    Losses in nats per token. `test_loss` is the last one on the held-out files, and
    `test_loss_at_best` that of the step with the lowest validation loss, `lowest_test_loss` the
    lowest of all; NaN for the runs with GPT-2's vocabulary, which were not tested. `parses`,
    `repetition`, `domain_hits` and `copied` are means over the last samples (see `scorecard`).
    """
    import pandas as pd

    entries = [entry for entry in PHASE_RECORDS if entry.vocabulary == vocabulary]
    rows = []
    for entry in sorted(entries, key=lambda e: (e.number, e.seed)):
        run = entry.phase.recorded(entry.vocabulary, entry.seed)
        last = run.state.history[-1]
        best = next(r for r in run.state.history if r.step == run.state.best_step)
        tests = [r.test_loss for r in run.state.history if r.test_loss is not None]
        card = scorecard(run)
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
                "parses": card["parses"].mean(),
                "repetition": card["repetition"].mean(),
                "domain_hits": card["domain hits"].mean(),
                "copied": card["copied"].mean(),
            }
        )
    return pd.DataFrame(rows).astype({"test_loss": float, "test_loss_at_best": float})


def mean_and_range(
    table: "pd.DataFrame", by: str | list[str], formats: dict[str, str]
) -> "pd.DataFrame":
    """Mean and range of columns over the rows of each group, as text: "3.75 (3.70 to 3.78)".

    `formats` names the columns and how their numbers are written (".2f"). A range of one value is
    left out; a group without values is a dash. Groups keep their order in the table.
    """

    def spread(values: "pd.Series") -> str:
        if values.isna().all():
            return "–"
        numbers = values.mean(), values.min(), values.max()
        mean, low, high = (f"{n:{formats[values.name]}}".replace("-", "−") for n in numbers)
        return mean if low == high else f"{mean} ({low} to {high})"

    return table.groupby(by, sort=False)[list(formats)].agg(spread)


def around_the_rule(runs: "pd.DataFrame") -> "pd.DataFrame":
    """Does a ratio of 10 to 100 parameters per training token do best, at equal text?

    `runs` is what `last_and_best` gives. One row for each amount of text and seed, whose models
    all read the same text. `10 to 100`: the mean of the lowest held-out losses of the models in
    that range; `below 10` and `above 100`: how much more the models on either side of it have
    (nats per token; NaN where there is none). `ranges_overlap`: whether a model below 10 is as
    good as one inside.
    """
    ratio = runs["params_per_token"]
    band = np.select([ratio < 10, ratio <= 100], ["below 10", "10 to 100"], "above 100")
    groups = runs.groupby(["train_tokens", "seed", band])["best_val_loss"]
    table = groups.mean().unstack()
    inside = table["10 to 100"]
    for side in ("below 10", "above 100"):
        table[side] -= inside
    lowest, highest = groups.min().unstack(), groups.max().unstack()
    table["ranges_overlap"] = lowest["below 10"] <= highest["10 to 100"]
    return table[["10 to 100", "below 10", "above 100", "ranges_overlap"]].reset_index()


def grid() -> "pd.DataFrame":
    """The grid's runs and evaluations, with `gap` and `params_per_token`.

    The validation loss is that on the held-out files, the same for every run.
    """
    table = read_experiment("grid")
    table["gap"] = table["val_loss"] - table["train_loss"]
    table["params_per_token"] = table["params"] / table["train_tokens"]
    return table


def last_and_best(table: "pd.DataFrame") -> "pd.DataFrame":
    """One row per run of the grid: its last evaluation, and what it had at its best one.

    Best is the lowest held-out loss: `best_val_loss`, `best_step`, `best_epochs`, `best_gap`.
    """
    keys = ["n_embd", "train_tokens", "seed"]
    last = table.loc[table.groupby(keys)["step"].idxmax()].set_index(keys)
    best = table.loc[table.groupby(keys)["val_loss"].idxmin()].set_index(keys)
    for column in ("val_loss", "step", "epochs", "gap"):
        last[f"best_{column}"] = best[column]
    return last.reset_index()


def suspects() -> "pd.DataFrame":
    """The last evaluation of each suspect's runs, with the `perplexity` that it reports."""
    table = read_experiment("suspects")
    table = table[table["step"] == table["step"].max()].reset_index(drop=True)
    table["perplexity"] = np.exp(table["val_loss"])
    return table


def bootstrap(
    table: "pd.DataFrame",
    statistic: Callable[["pd.DataFrame"], float | np.ndarray],
    by: Sequence[str],
) -> np.ndarray:
    """A 95 % percentile interval of a statistic (Efron and Tibshirani 1993), always the same.

    Whole runs are drawn with replacement; `by` names the columns that tell runs apart, so that
    the evaluations of one run, which resemble each other, stay together. Returns (low, high), or
    a column of them for each of the statistic's values: (2, k).
    """
    runs = list(table.groupby(list(by)).indices.values())
    generator = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(len(runs), size=len(runs))
        values.append(statistic(table.iloc[np.concatenate([runs[i] for i in drawn])]))
    return np.nanpercentile(values, [2.5, 97.5], axis=0)


@dataclass(frozen=True)
class PowerLaw:
    """y ≈ scale · x^exponent, with a 95 % interval of the exponent."""

    scale: float
    exponent: float
    low: float
    high: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.scale * np.asarray(x, dtype=float) ** self.exponent

    def __str__(self) -> str:
        per_doubling = 100 * (2**self.exponent - 1)
        bounds = [100 * (2**e - 1) for e in (self.low, self.high)]
        text = f"{per_doubling:+.1f} % per doubling ({bounds[0]:+.1f} to {bounds[1]:+.1f})"
        return text.replace("-", "−")


def fit_power_law(table: "pd.DataFrame", x: str, y: str, by: Sequence[str]) -> PowerLaw:
    """A straight line through log x and log y by least squares, with its uncertainty.

    The interval holds the scatter of the runs only, not the doubt whether a power law is the
    right curve. Raises `ValueError` if a value is not above 0 or x does not vary.
    """
    if (table[[x, y]] <= 0).any(axis=None) or table[x].nunique() < 2:
        raise ValueError(f"A power law of {y} in {x} needs positive values and at least two {x}.")

    def line(rows: "pd.DataFrame") -> np.ndarray:
        if rows[x].nunique() < 2:
            return np.array([np.nan, np.nan])
        return np.polyfit(np.log(rows[x]), np.log(rows[y]), 1)

    exponent, offset = line(table)
    low, high = bootstrap(table, lambda rows: line(rows)[0], by)
    return PowerLaw(float(np.exp(offset)), float(exponent), float(low), float(high))


def gap_per_doubling(table: "pd.DataFrame") -> "pd.DataFrame":
    """How much the grid's gap grows with a doubling of epochs, parameters and training tokens.

    A linear model of the gap in the three logarithms, over all evaluations of all runs. Columns:
    `effect` in nats per doubling, with its 95 % interval `low` to `high`.
    """
    import pandas as pd

    names = ["epochs", "params", "train_tokens"]
    rows = table[table["step"] > 0]

    def effects(sample: "pd.DataFrame") -> np.ndarray:
        x = np.column_stack([np.log2(sample[names]), np.ones(len(sample))])
        return np.linalg.lstsq(x, sample["gap"], rcond=None)[0][:-1]

    low, high = bootstrap(rows, effects, ["n_embd", "train_tokens", "seed"])
    columns = {"effect": effects(rows), "low": low, "high": high}
    return pd.DataFrame(columns, index=pd.Index(names, name="a doubling of"))


def rank_correlation(table: "pd.DataFrame", x: str, y: str) -> float:
    """Spearman's rank correlation of two columns; NaN if one of them does not vary."""
    if table[x].nunique() < 2 or table[y].nunique() < 2:
        return float("nan")
    return float(np.corrcoef(table[x].rank(), table[y].rank())[0, 1])


def rank_correlations(
    table: "pd.DataFrame", predictors: Sequence[str], outcomes: Sequence[str], by: Sequence[str]
) -> "pd.DataFrame":
    """Spearman's rank correlation of every predictor with every outcome, and 95 % intervals."""
    import pandas as pd

    rows = []
    for outcome in outcomes:
        for predictor in predictors:
            columns = table[[*by, predictor, outcome]]  # few columns are drawn faster
            low, high = bootstrap(
                columns, lambda t, x=predictor, y=outcome: rank_correlation(t, x, y), by
            )
            correlation = rank_correlation(table, predictor, outcome)
            rows.append((outcome, predictor, correlation, low, high))
    columns = ["outcome", "predictor", "correlation", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


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
            "own_validation": dataset.contamination(n),
            "held_out": replace(dataset, val=held_out).contamination(n),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("phase")


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


def decision_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """For each amount of training text in the grid: the size that did best, and when to stop.

    The best size has the lowest mean of `best_val_loss` over the seeds; `spread` is the range of
    its seeds. `near` lists the parameters of the sizes whose mean is at most `NEAR` above the
    lowest (all sizes of a seed read the same text, so their means compare better than the spread
    suggests).
    `stop_at_epochs` is the mean epoch of the best evaluation, `first_look` that of the first one
    after the start: a best step before it would not have been seen. `gap_there` and `gap_at_end`
    are the mean gaps then and at the end; `cost_of_waiting` what the held-out loss rises in
    between (nats per token).
    """
    import pandas as pd

    runs = last_and_best(table)
    rows = {}
    for tokens, group in runs.groupby("train_tokens"):
        means = group.groupby("params")["best_val_loss"].mean()
        best = group[group["params"] == means.idxmin()]
        spread = best["best_val_loss"].max() - best["best_val_loss"].min()
        rows[tokens] = {
            "best_params": means.idxmin(),
            "near": ", ".join(f"{p:,}" for p in means[means <= means.min() + NEAR].index),
            "best_loss": means.min(),
            "spread": spread,
            "stop_at_epochs": best["best_epochs"].mean(),
            "first_look": table.query("train_tokens == @tokens and step > 0")["epochs"].min(),
            "gap_there": best["best_gap"].mean(),
            "gap_at_end": best["gap"].mean(),
            "cost_of_waiting": (best["val_loss"] - best["best_val_loss"]).mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("training tokens")
