"""What techniques do alone, by the records: each beside chance, and worth how much text."""

import math
from typing import TYPE_CHECKING

from slmlab.study.experiments.arsenal import ARSENAL, BASE, SCRIPTS
from slmlab.study.experiments.chats import CHATS, KINDS, of_kinds
from slmlab.study.experiments.regimes import REGIMES
from slmlab.study.experiments.tables import read_table
from slmlab.study.paired import bits_and_bytes, paired_difference
from slmlab.study.statistics import t_975
from slmlab.text.corpus import load_held_out
from slmlab.text.families import families
from slmlab.text.files import read_published
from slmlab.validation import (
    number_columns,
    one_of,
    real_number,
    table_with,
    text_columns,
    whole_number,
    whole_text,
)

if TYPE_CHECKING:
    import pandas as pd

HALVES = ("half the text", "half of the dialogues")  # the arms that say what twice the text does
SCORES = ("model", "seed", "file", "step", "bits", "bytes")


def published_regimes() -> "pd.DataFrame":
    """The published ways to train on dialogues, a row each; see data/published/README.md."""
    import pandas as pd

    regimes = read_published("regimes.json")["regimes"]
    return pd.DataFrame(regimes, dtype=object).set_index("name")  # whole numbers stay whole


def read_arsenal() -> "pd.DataFrame":
    """Every look of every run of the arsenal; see `Arsenal` for the columns."""
    return read_table(ARSENAL)


def read_chats() -> "pd.DataFrame":
    """Every look of every run on dialogues; see `Chats` for the columns."""
    return read_table(CHATS)


def read_regimes() -> "pd.DataFrame":
    """Every look at every regime; see `Regimes` for the columns."""
    return read_table(REGIMES)


def script_scores(looks: "pd.DataFrame") -> "pd.DataFrame":
    """What each run scores on each held-out script at the step that the *other* scripts chose.

    `looks` is what `read_arsenal` gives. No script has a say in its own score, so this is no best
    of many looks. The columns are `SCORES`, as `paired_difference` takes them; `model` is the arm.
    """
    import pandas as pd

    table_with("looks", looks, ["arm", "seed", "step", *SCRIPTS], "what read_arsenal() returns")
    text_columns("looks", looks, ["arm"])
    number_columns("looks", looks, ["seed", "step", *SCRIPTS], gaps=False)
    documents = load_held_out().documents
    n_bytes = dict(zip(SCRIPTS, (len(d.entry.encode()) for d in documents), strict=True))
    bits = looks[list(SCRIPTS)].mul(pd.Series(n_bytes))
    rows = []
    for (arm, seed), places in looks.groupby(["arm", "seed"]).groups.items():
        of_run = bits.loc[places]
        for script, document in zip(SCRIPTS, documents, strict=True):
            best = of_run.drop(columns=script).sum(axis=1).idxmin()
            score = of_run.loc[best, script], n_bytes[script]
            rows.append((arm, seed, document.name, int(looks.loc[best, "step"]), *score))
    return pd.DataFrame(rows, columns=list(SCORES))


def dialogue_scores(looks: "pd.DataFrame") -> "pd.DataFrame":
    """What each run scores on each kind of held-out dialogue, at the step that other ones chose.

    `looks` is what `read_chats` gives. The columns are `SCORES`; `file` is the kind.
    """
    import pandas as pd

    needed = ["arm", "seed", "step", "choose_bits", *KINDS]
    table_with("looks", looks, needed, "what read_chats() returns")
    text_columns("looks", looks, ["arm"])
    number_columns("looks", looks, needed[1:], gaps=False)
    n_bytes = {kind: sum(len(d.answer.encode()) for d in ds) for kind, ds in of_kinds().items()}
    rows = []
    for (arm, seed), places in looks.groupby(["arm", "seed"]).groups.items():
        best = looks.loc[looks.loc[places, "choose_bits"].idxmin()]
        for kind in KINDS:
            score = best[kind] * n_bytes[kind], n_bytes[kind]
            rows.append((arm, seed, kind, int(best["step"]), *score))
    return pd.DataFrame(rows, columns=list(SCORES))


def technique_table(scores: "pd.DataFrame") -> "pd.DataFrame":
    """One row an arm: what `change_table` has, and `worth`: how many times the text would do the
    same, by what half the text lost.

    `scores` is what `script_scores` or `dialogue_scores` gives. Raises `ValueError` for another
    table, or one without an arm of half the text.
    """
    halves = [name for name in HALVES if name in _of_runs(scores).index]
    if len(halves) != 1:
        raise ValueError(
            f"The table needs one arm with half the text, {' or '.join(HALVES)}, which says what "
            "twice the text is worth."
        )
    table = change_table(scores)
    table["worth"] = 2 ** (-table["change"] / table.loc[halves[0], "change"])
    return table


def change_table(scores: "pd.DataFrame") -> "pd.DataFrame":
    """One row an arm: its score, and its difference from the base with the same seeds.

    `scores` is what `script_scores` or `dialogue_scores` gives. Columns: `seeds`; `bits` per byte,
    the mean of the seeds; `spread`, their standard deviation; `change` from the base, with its 95%
    interval `low` to `high` (`paired_difference`; near-duplicate scripts count as one); `step`, the
    mean of the chosen ones. Below 0 an arm is better. Raises `ValueError` for another table.
    """
    import pandas as pd

    of_run = _of_runs(scores)
    for step in scores["step"]:
        real_number("A step", step)
    steps = scores.groupby("model")["step"].mean()
    groups = families(load_held_out())  # each kind of dialogue is its own
    rows = {}
    for arm in scores["model"].unique():
        runs = of_run.loc[arm].dropna()
        row = {"seeds": len(runs), "bits": runs.mean(), "spread": runs.std()}
        difference = [math.nan] * 3
        if arm != BASE:
            pair = scores[scores["model"].isin([arm, BASE]) & scores["seed"].isin(runs.index)]
            d = paired_difference(pair, arm, BASE, groups)
            difference = [d.mean, d.low, d.high]
        row |= dict(zip(("change", "low", "high"), difference, strict=True))
        rows[arm] = row | {"step": steps[arm]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")


def noise_floor(scores: "pd.DataFrame", n_seeds: int = 5) -> float:
    """How far two means of `n_seeds` runs of the base lie apart by chance, in bits per byte.

    About one in twenty pairs of such means lies further apart: a quantile of Student's t, as the
    spread is known from the base's few seeds only, times the standard error of the difference.
    Raises `ValueError` for another table, or fewer than two runs of the base.
    """
    n_seeds = whole_number("n_seeds", n_seeds, 1, 1_000)
    of_run = _of_runs(scores)
    one_of("The base", BASE, tuple(of_run.index))
    runs = of_run.loc[BASE].dropna()
    if len(runs) < 2:
        raise ValueError("The base has one run only; what chance does takes at least two.")
    return t_975(len(runs)) * float(runs.std()) * math.sqrt(2 / n_seeds)


def _of_runs(scores: "pd.DataFrame") -> "pd.DataFrame":
    """Bits per byte of each arm (row) and seed (column).

    Raises `ValueError` unless each arm has each of its files with each of its seeds once.
    """
    table_with("scores", scores, SCORES, "what script_scores(read_arsenal()) returns")
    for arm in {whole_text("The name of an arm", name) for name in scores["model"]}:
        bits_and_bytes(scores, arm)
    runs = scores.groupby(["model", "seed"])[["bits", "bytes"]].sum()
    return (runs["bits"] / runs["bytes"]).unstack()
