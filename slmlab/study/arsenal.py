"""What the arsenal's record says: each technique beside the noise, and worth how much text."""

import math
from typing import TYPE_CHECKING

from slmlab.study.experiments.arsenal import ARSENAL, BASE, SCRIPTS
from slmlab.study.experiments.tables import read_table
from slmlab.study.paired import paired_difference
from slmlab.text.corpus import load_held_out
from slmlab.text.families import families
from slmlab.validation import table_with

if TYPE_CHECKING:
    import pandas as pd

HALF = "half the text"  # the arm that says what twice the text is worth
KEYS = ["arm", "seed"]


def read_arsenal() -> "pd.DataFrame":
    """Every look of every run of the arsenal; see `Arsenal` for the columns."""
    return read_table(ARSENAL)


def chosen_scores(looks: "pd.DataFrame") -> "pd.DataFrame":
    """What each run scores on each held-out script at the step that the *other* scripts chose.

    `looks` is what `read_arsenal` gives. No script has a say in its own score, so this is no best
    of many looks. Columns: model (the arm), seed, file, step, bits and bytes, as
    `paired_difference` takes them.
    """
    import pandas as pd

    table_with("looks", looks, [*KEYS, "step", *SCRIPTS], "what read_arsenal() returns")
    documents = load_held_out().documents
    n_bytes = dict(zip(SCRIPTS, (len(d.entry.encode()) for d in documents), strict=True))
    bits = looks[list(SCRIPTS)].mul(pd.Series(n_bytes))
    rows = []
    for (arm, seed), places in looks.groupby(KEYS).groups.items():
        of_run = bits.loc[places]
        for script, document in zip(SCRIPTS, documents, strict=True):
            best = of_run.drop(columns=script).sum(axis=1).idxmin()
            score = {"bits": of_run.loc[best, script], "bytes": n_bytes[script]}
            facts = {"model": arm, "seed": seed, "file": document.name}
            rows.append(facts | {"step": int(looks.loc[best, "step"])} | score)
    return pd.DataFrame(rows)


def arsenal_table(looks: "pd.DataFrame") -> "pd.DataFrame":
    """One row an arm: its score, and its difference from the base with the same seeds.

    Columns: `seeds`; `bits` per byte, the mean of the seeds (`chosen_scores`); `spread`, the
    standard deviation of the seeds; `change` from the base, with its 95% interval `low` to `high`
    (`paired_difference`); `worth`, how many times the text would do the same, by what twice the
    text gained (`HALF`); `step`, the mean of the chosen ones. Below 0 an arm is better.
    """
    import pandas as pd

    scores = chosen_scores(looks)
    groups = families(load_held_out())
    runs = scores.groupby(["model", "seed"])[["bits", "bytes"]].sum()
    of_run = (runs["bits"] / runs["bytes"]).unstack()
    rows = {}
    for arm in looks["arm"].unique():
        seeds = of_run.loc[arm].dropna().index
        pair = scores[scores["model"].isin([arm, BASE]) & scores["seed"].isin(seeds)]
        d = paired_difference(pair, arm, BASE, groups) if arm != BASE else None
        rows[arm] = {
            "seeds": len(seeds),
            "bits": of_run.loc[arm].mean(),
            "spread": of_run.loc[arm].std(),
            "change": d.mean if d else math.nan,
            "low": d.low if d else math.nan,
            "high": d.high if d else math.nan,
            "step": scores.loc[scores["model"] == arm, "step"].mean(),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")
    table["worth"] = 2 ** (-table["change"] / table.loc[HALF, "change"])
    return table


def noise_floor(looks: "pd.DataFrame", n_seeds: int = 5) -> float:
    """How far two means of `n_seeds` runs of the base lie apart by chance, in bits per byte.

    About one in twenty pairs of such means lies further apart: 1.96 standard errors of the
    difference, from the spread of the base's seeds.
    """
    scores = chosen_scores(looks[looks["arm"] == BASE]).groupby("seed")[["bits", "bytes"]].sum()
    spread = float((scores["bits"] / scores["bytes"]).std())
    return 1.96 * spread * math.sqrt(2 / n_seeds)
