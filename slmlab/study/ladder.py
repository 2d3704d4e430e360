"""What the ladder says: a row for each rung, beside counting, and the sentences that follow."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slmlab.study.baseline import NUMBER_TO_BEAT
from slmlab.study.experiments.ladder import LADDER, RUNGS, Rung
from slmlab.study.experiments.tables import missing_cells, read_table
from slmlab.study.paired import Difference, paired_difference
from slmlab.text.corpus import load_corpus, load_final, load_held_out
from slmlab.text.families import families
from slmlab.text.files import DataError, data_path

if TYPE_CHECKING:
    import pandas as pd


def read_ladder() -> "pd.DataFrame":
    """The ladder as recorded, a row for each rung; see `ladder_table` for the columns.

    Raises `DataError` if a run is missing, or the record is damaged or altered.
    """
    table = read_table(LADDER)
    if missing := missing_cells(LADDER, data_path("runs")):
        raise DataError(
            f"{len(missing)} runs of the ladder are missing, such as {LADDER.title(missing[0])}; "
            "make them with `python -m slmlab record ladder`."
        )
    return ladder_table(table)


def ladder_table(scores: "pd.DataFrame", rungs: Sequence[Rung] = RUNGS) -> "pd.DataFrame":
    """Each rung's score on the final scripts: bits per byte, all bits over all bytes.

    `scores` has the columns of `Ladder`. `score` is the mean of the seeds, `score_low` and
    `score_high` their range; `params`, `train_tokens` and `seconds` are means, `step` is text.
    `to_beat` is the difference to the number to beat, with the 95% interval `to_beat_low` to
    `to_beat_high`; `same_text` the one to the 5-gram over the rung's own training text. Below 0
    the rung is better; NaN where it is that 5-gram itself (see `paired_difference`).
    """
    import pandas as pd

    groups = families(load_final())
    rows = {}
    for rung in rungs:
        runs = scores[scores["rung"] == rung.name].groupby("seed")
        of_seed = runs["bits"].sum() / runs["bytes"].sum()
        facts = runs[["params", "train_tokens", "seconds", "step"]].first()
        low, high = facts["step"].min(), facts["step"].max()
        rows[rung.name] = {
            "lesson": rung.lesson,
            "kind": rung.kind,
            "setup": str(rung),
            "train_tokens": round(facts["train_tokens"].mean()),
            "params": round(facts["params"].mean()),
            "step": f"{low:,}" if low == high else f"{low:,} to {high:,}",
            "seconds": facts["seconds"].mean(),
            "seeds": len(of_seed),
            "score": of_seed.mean(),
            "score_low": of_seed.min(),
            "score_high": of_seed.max(),
        }
        for column, rival in (("to_beat", NUMBER_TO_BEAT), ("same_text", rung.rival)):
            values = [math.nan] * 3
            if rival != rung.name:
                d = _difference(scores, rung.name, rival, groups)
                values = [d.mean, d.low, d.high]
            columns = (column, f"{column}_low", f"{column}_high")
            rows[rung.name] |= dict(zip(columns, values, strict=True))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rung")


def new_words() -> dict[str, float]:
    """The share of the words of the held-out and the final scripts that the corpus has not."""
    known = set(_words(load_corpus().text))
    exams = {"held-out": load_held_out(), "final": load_final()}
    words = {name: _words(scripts.text) for name, scripts in exams.items()}
    return {name: sum(w not in known for w in of) / len(of) for name, of in words.items()}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _difference(
    scores: "pd.DataFrame", rung: str, rival: str, groups: tuple[tuple[str, ...], ...]
) -> Difference:
    """The paired difference of a rung and a counting one, whose one score goes with each seed."""
    import pandas as pd

    table = scores.rename(columns={"rung": "model"})
    ours, theirs = (table[table["model"] == name] for name in (rung, rival))
    repeated = [theirs.assign(seed=seed) for seed in ours["seed"].unique()]
    return paired_difference(pd.concat([ours, *repeated]), rung, rival, groups)


def ladder_words(table: "pd.DataFrame") -> str:
    """Where a model beats counting and where it does not, in sentences made from `ladder_table`."""
    to_beat = table.loc[NUMBER_TO_BEAT, "score"]
    others = table[table["kind"] != "counting"]
    return "\n".join(
        [
            f"The number to beat is {to_beat:.3f} bits per byte on the final scripts; lower is "
            "better.",
            *_verdicts(others, "to_beat", "the number to beat"),
            "Each model beside the 5-gram over its own training text:",
            *_verdicts(others, "same_text", "the 5-gram over its text"),
            "A difference is clear if its 95% interval does not include 0.",
        ]
    )


def _verdicts(models: "pd.DataFrame", column: str, rival: str) -> list[str]:
    """Three sentences: which models are better, which are worse, and which are neither."""
    low, high = models[f"{column}_low"], models[f"{column}_high"]
    return [
        f"  {words} {rival}: {'; '.join(models.index[which]) or 'none'}."
        for words, which in (
            ("Clearly better than", high < 0),
            ("Clearly worse than", low > 0),
            ("No clear difference from", (low <= 0) & (high >= 0)),
        )
    ]
