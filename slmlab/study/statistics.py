"""Statistics of many runs: spread, intervals and rank correlations."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from slmlab.validation import (
    instance,
    listed,
    number_columns,
    shown,
    table_with,
    whole_number,
)

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 1000  # of a bootstrap interval
# Quantiles of Student's t at 0.975, for 1, 2, … degrees of freedom; the last also for more.
T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


def mean_and_range(
    table: "pd.DataFrame", by: str | list[str], formats: dict[str, str]
) -> "pd.DataFrame":
    """Mean and range of columns over the rows of each group, as text: "3.75 (3.70 to 3.78)".

    `formats` names the columns and how their numbers are written (".2f"). A range of one value is
    left out; a group without values is a dash. Groups keep their order in the table.
    Raises `ValueError` for a column without numbers, or a format that numbers have not.
    """

    def spread(values: "pd.Series") -> str:
        if values.isna().all():
            return "–"
        numbers = values.mean(), values.min(), values.max()
        mean, low, high = (f"{n:{formats[values.name]}}".replace("-", "−") for n in numbers)
        return mean if low == high else f"{mean} ({low} to {high})"

    keys = [by] if isinstance(by, str) else _keys(by)
    instance("formats", formats, dict, '{"val_loss": ".2f"}')
    table_with("The table", table, [*formats])
    number_columns("the table", table, formats, gaps=True)
    for column, style in formats.items():
        try:
            format(0.0, style)
        except (TypeError, ValueError):
            raise ValueError(
                f"The format of {shown(column)} is {shown(style)}; it must be one for numbers, "
                'such as ".2f".'
            ) from None
    # A row's name may be the group.
    table_with("The table", table, [key for key in keys if key not in table.index.names])
    return table.groupby(keys, sort=False)[list(formats)].agg(spread)


def t_975(n: int) -> float:
    """How many standard errors of a mean of n values its 95% interval reaches (Student's t).

    Raises `ValueError` for fewer than two values, whose spread nobody knows.
    """
    return T_975[min(whole_number("n", n, 2) - 1, len(T_975)) - 1]


def bootstrap(
    table: "pd.DataFrame",
    statistic: Callable[["pd.DataFrame"], float | np.ndarray],
    by: Sequence[str],
) -> np.ndarray:
    """A 95% percentile interval of a statistic (Efron and Tibshirani 1993), always the same.

    Whole runs are drawn with replacement; `by` names the columns that tell runs apart, so that
    the evaluations of one run, which resemble each other, stay together. Returns (low, high), or
    a column of them for each of the statistic's values: (2, k).

    Raises `ValueError` for a table without these columns, with a gap in one or fewer than two runs,
    or for a statistic that gives something else than a number, or always as many.
    """
    by = _keys(by)
    table_with("The table", table, by)
    instance("statistic", statistic, Callable, "a function of a table")
    try:
        if table[by].isna().any(axis=None):
            raise TypeError
        runs = list(table.groupby(by).indices.values())
    except TypeError:
        raise ValueError(
            f"The columns {', '.join(by)} tell runs apart, so each row needs a text or a number "
            "in them."
        ) from None
    if len(runs) < 2:
        raise ValueError("The table has one run only, so there is nothing to draw; add others.")
    generator = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(len(runs), size=len(runs))
        values.append(statistic(table.iloc[np.concatenate([runs[i] for i in drawn])]))
    try:
        numbers = np.array(values)
        if numbers.dtype.kind not in "iufb":
            raise ValueError
    except ValueError:  # of lists of different lengths
        raise ValueError(
            f"statistic gives {shown(values[0])}; it must give a number, or always as many."
        ) from None
    return np.nanpercentile(numbers, [2.5, 97.5], axis=0)


def _keys(by: Sequence[str]) -> list[str]:
    """The columns that tell groups apart. Raises `ValueError` if there are none."""
    if not (keys := listed("by", by, "columns")):
        raise ValueError("by names no column; name those that tell the groups apart.")
    return keys


def rank_correlation(table: "pd.DataFrame", x: str, y: str, given: str | None = None) -> float:
    """Spearman's rank correlation of two columns; NaN if one of them does not vary.

    With a column `given`, the partial one: of what the ranks of that column do not explain in
    either (Conover 1999, Practical Nonparametric Statistics, section 5.4). NaN if it explains one
    of them fully.

    Raises `ValueError` for a table without these columns, with one row, or where a column has a
    gap or other values than numbers.
    """
    names = [x, y] if given is None else [x, y, given]
    table_with("The table", table, names)
    number_columns("the table", table, names, gaps=False)
    if len(table) < 2:
        raise ValueError("The table has one row only; a correlation needs at least two.")
    if any(table[name].nunique() < 2 for name in names):
        return float("nan")
    ranks = np.corrcoef(table[names].rank().to_numpy().T)
    if given is None:
        return float(ranks[0, 1])
    (_, xy, xz), (_, _, yz), _ = ranks
    explained = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / np.sqrt(explained)) if explained > 1e-12 else float("nan")


def rank_correlations(
    table: "pd.DataFrame",
    predictors: Sequence[str],
    outcomes: Sequence[str],
    by: Sequence[str],
    given: str | None = None,
) -> "pd.DataFrame":
    """Spearman's rank correlation of every predictor with every outcome, and 95% intervals.

    The intervals draw whole runs, which `by` tells apart. `given` is that of `rank_correlation`.
    """
    import pandas as pd

    by, predictors = _keys(by), listed("predictors", predictors, "columns")
    outcomes = listed("outcomes", outcomes, "columns")
    table_with("The table", table, [*by, *predictors, *outcomes, *([given] if given else [])])
    rows = []
    for outcome in outcomes:
        for predictor in predictors:
            used = dict.fromkeys([*by, predictor, outcome, *([given] if given else [])])
            columns = table[list(used)]  # few columns are drawn faster
            correlation = partial(rank_correlation, x=predictor, y=outcome, given=given)
            low, high = bootstrap(columns, correlation, by)
            rows.append((outcome, predictor, correlation(columns), low, high))
    columns = ["outcome", "predictor", "correlation", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
