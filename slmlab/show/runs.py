"""What figures and panels ask of a run that somebody hands them."""

from typing import Any

from slmlab.engine.runs import Run
from slmlab.validation import instance, printable

LONGEST_NAME = 60  # letters of a name in a picture: more would leave no room for the curves


def evaluated(value: Any) -> Run:
    """A run that was evaluated at least once. Raises `ValueError` for anything else."""
    run = instance("run", value, Run)
    if not run.state.history:
        raise ValueError(f"{short(run.name)} was not trained yet, so there are no losses to show.")
    return run


def short(name: str) -> str:
    """A name on one line, cut where it is too long for a picture or a table."""
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
