"""What experiments write down of a run at an evaluation: losses, and how good its samples are."""

from typing import Any

from slmlab.engine.config import Progress
from slmlab.engine.runs import Run
from slmlab.study.experiments.protocol import Rows
from slmlab.study.samples import scorecard

COLUMNS: dict[str, type] = {
    "params": int,
    "step": int,
    "tokens_seen": int,
    "epochs": float,
    "train_loss": float,
    "val_loss": float,
    "parses": float,
    "repetition": float,
    "domain_names": float,
    "copied": float,
    "longest_match": int,
    "seconds": float,
}


def evaluation_rows(run: Run) -> Rows:
    """One row for each evaluation of a run that was sampled at each.

    Raises `KeyboardInterrupt` if the run was: half a run is no result.
    """
    if run.state.status == "interrupted":
        raise KeyboardInterrupt
    return [evaluation_row(run, now) for now in run.state.history]


def evaluation_row(run: Run, now: Progress) -> dict[str, Any]:
    """The `COLUMNS` at one evaluation. Losses in nats per token; see `scorecard` for the rest.

    Of the samples it has the means over the prompts, and of the longest match the longest.
    """
    card = scorecard(run, now.step)
    return {
        "params": run.model.n_params,
        "step": now.step,
        "tokens_seen": now.tokens,
        "epochs": now.epochs,
        "train_loss": now.train_loss,
        "val_loss": now.val_loss,
        "parses": card["parses"].mean(),
        "repetition": card["repetition"].mean(),
        "domain_names": card["domain names"].mean(),
        "copied": card["copied"].mean(),
        "longest_match": card["longest match"].max(),
        "seconds": now.seconds,
    }
