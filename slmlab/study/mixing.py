"""What the records say of experts: what they are worth, what they take, and what freezing does."""

import math
from typing import TYPE_CHECKING

from slmlab.study.experiments.arsenal import ARSENAL, SCRIPTS
from slmlab.study.experiments.freezing import FREEZING
from slmlab.study.experiments.mixtures import MIXING, ROUTES
from slmlab.study.experiments.tables import read_table
from slmlab.study.freezing import drift_at
from slmlab.study.statistics import t_975
from slmlab.study.techniques import change_table, script_scores
from slmlab.text.files import read_published
from slmlab.validation import number_columns, one_of, real_number, table_with

if TYPE_CHECKING:
    import pandas as pd

READ = "what lab.mixing.read_mixtures() returns"
READ_TRIALS = "what lab.mixing.read_freezing() returns"


def published() -> "pd.DataFrame":
    """What was reported of experts and their memory; see data/published/README.md."""
    import pandas as pd

    report = read_published("experts.json")
    said = {"experts, of which are active": f"{report['experts']}, {report['active']}"}
    for of in report["thresholds"]:
        for phase in "BC":
            drift = f"drift below {drift_at(of[phase]):.3f}"
            said[f"{of['when']} threshold, phase {phase}"] = f"stability {of[phase]:.2f}, {drift}"
    said["frozen by the first thresholds"] = f"{report['frozen']} of {report['experts']}"
    for name, megabytes in report["memory_mb"].items():
        said[f"memory, {name}"] = f"{megabytes:,.0f} MB"
    said["its coefficient of variation"] = f"{report['coefficient_of_variation']:.2%}"
    said["divergence from the teacher"] = f"{report['divergence']}, {report['alerts']} alerts"
    return pd.Series(said, name="reported").to_frame()


def read_mixtures() -> "pd.DataFrame":
    """Every look of every run of the mixtures; see `Mixtures` for the columns.

    With them the arsenal's runs with dropout alone, which have the same base; of those nobody
    counted the processor's seconds.
    """
    import pandas as pd

    arsenal = read_table(ARSENAL)
    dropout = arsenal[arsenal["arm"] == "dropout 0.1"].assign(seconds=math.nan)
    dropout = dropout.assign(active=dropout["params"]).drop(columns="train_tokens")
    return pd.concat([read_table(MIXING), dropout], ignore_index=True)


def read_freezing() -> "pd.DataFrame":
    """Every look of every trial of freezing; see `Freezing` for the columns."""
    return read_table(FREEZING)


def worth(looks: "pd.DataFrame") -> "pd.DataFrame":
    """What each kind of model scores, and costs.

    `looks` is what `read_mixtures` gives, or the looks within a budget. One row an arm: what
    `change_table` has; `params` and `active` ones, in millions; `step_ms`, the processor's
    milliseconds a step, and `seconds` to the mean of the chosen steps.
    """
    table_with(
        "looks", looks, ["arm", "seed", "step", "params", "active", "seconds", *SCRIPTS], READ
    )
    table = change_table(script_scores(looks))
    of_arm = looks.groupby("arm")
    table["params"], table["active"] = (of_arm[n].first() / 1e6 for n in ("params", "active"))
    table["step_ms"] = 1000 * _step_seconds(looks)
    table["seconds"] = table["step"] * table["step_ms"] / 1000
    return table


def within(looks: "pd.DataFrame", seconds: float) -> "pd.DataFrame":
    """The looks that a budget in processor's seconds reaches, at each arm's median step time.

    An arm whose seconds nobody counted has none.
    """
    seconds = real_number("seconds", seconds, above=0)
    table_with("looks", looks, ["arm", "seed", "step", "seconds"], READ)
    number_columns("looks", looks, ["step", "seconds"], gaps=True)
    return looks[looks["step"] * looks["arm"].map(_step_seconds(looks)) <= seconds]


def _step_seconds(looks: "pd.DataFrame") -> "pd.Series":
    """The processor's seconds of a step of each arm: the median of its runs."""
    ends = looks.loc[looks.groupby(["arm", "seed"])["step"].idxmax()]
    return (ends["seconds"] / ends["step"]).groupby(ends["arm"]).median()


def at_best(looks: "pd.DataFrame") -> "pd.DataFrame":
    """The look of each run at which its held-out loss was lowest; arms keep their order."""
    table_with("looks", looks, ["arm", "seed", "step", "val_bits", *ROUTES], READ)
    number_columns("looks", looks, ["val_bits"], gaps=False)
    return looks.loc[looks.groupby(["arm", "seed"], sort=False)["val_bits"].idxmin()]


def trial_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """How each trial ended, the mean of its seeds.

    `table` is what `read_freezing` gives. Columns: `frozen`, the share of the experts; `from_step`,
    the first look with any frozen (NaN for none); `bits` per byte on the held-out scripts, and
    `spread`, their standard deviation; `change` from the first trial with the same seeds, with its
    95% interval `low` to `high` by Student's t; `drift` and `rate` at the end.
    """
    import pandas as pd

    columns = ["trial", "seed", "step", "frozen", "experts", "val_bits", "drift", "learning_rate"]
    table_with("table", table, columns, READ_TRIALS)
    number_columns("table", table, columns[2:], gaps=True)
    ends = table.loc[table.groupby(["trial", "seed"], sort=False)["step"].idxmax()]
    bits = ends.pivot(index="seed", columns="trial", values="val_bits")
    rows = {}
    for trial, of in ends.groupby("trial", sort=False):
        frozen = table[(table["trial"] == trial) & (table["frozen"] > 0)]
        row = {"frozen": (of["frozen"] / of["experts"]).mean(), "from_step": frozen["step"].min()}
        row |= {"bits": bits[trial].mean(), "spread": bits[trial].std()}
        change = dict.fromkeys(("change", "low", "high"), math.nan)
        if trial != ends["trial"].iloc[0]:
            change = mean_change(table, trial, ends["trial"].iloc[0])
        row |= change | {"drift": of["drift"].mean(), "rate": of["learning_rate"].mean()}
        rows[trial] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trial")


def mean_change(table: "pd.DataFrame", trial: str, base: str) -> dict[str, float]:
    """By how many bits per byte a trial ends above another with the same seeds.

    Keys: `change`, the mean, and its 95% interval `low` to `high` by Student's t. Raises
    `ValueError` for another table, or fewer than two seeds that both have.
    """
    table_with("table", table, ["trial", "seed", "step", "val_bits"], READ_TRIALS)
    number_columns("table", table, ["step", "val_bits"], gaps=False)
    for name in (trial, base):
        one_of("The trial", name, tuple(table["trial"].unique()))
    ends = table.loc[table.groupby(["trial", "seed"])["step"].idxmax()]
    bits = ends.pivot(index="seed", columns="trial", values="val_bits")
    changes = (bits[trial] - bits[base]).dropna()
    if len(changes) < 2:
        raise ValueError(
            f"{trial!r} and {base!r} share {len(changes)} seeds; an interval takes at least two."
        )
    reach = t_975(len(changes)) * float(changes.std()) / math.sqrt(len(changes))
    mean = float(changes.mean())
    return {"change": mean, "low": mean - reach, "high": mean + reach}


def alert_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """Which trials a rule would have raised an alert in, and when.

    The rule: the divergence from the teacher rises between two looks by more than it ever does in
    the first trial with the *other* seeds. `table` is what `read_freezing` gives. Columns: `seeds`;
    `alerts`, how many of them had one; `first`, the step of the earliest; `highest` divergence and
    `rise`, the highest between two looks, in nats per token.
    """
    import pandas as pd

    columns = ["trial", "seed", "step", "divergence"]
    table_with("table", table, columns, READ_TRIALS)
    number_columns("table", table, ["step", "divergence"], gaps=True)
    known = table.dropna(subset="divergence").sort_values("step")
    known = known.assign(rise=known.groupby(["trial", "seed"])["divergence"].diff())
    first = table["trial"].iloc[0]
    highest = known[known["trial"] == first].groupby("seed")["rise"].max()
    rows = {}
    for trial, of in known.groupby("trial", sort=False):
        limits = of["seed"].map(lambda seed: highest.drop(seed, errors="ignore").max())
        alerts = of[of["rise"] > limits]
        rows[trial] = {
            "seeds": of["seed"].nunique(),
            "alerts": alerts["seed"].nunique(),
            "first": alerts["step"].min(),
            "highest": of["divergence"].max(),
            "rise": of["rise"].max(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").reindex(table["trial"].unique())
