"""Overtraining: what long runs copy, and where early stopping would have ended them."""

from collections.abc import Sequence

import pandas as pd

from slmlab.engine.runs import Run
from slmlab.show.plots.chart import LOSS, SERIES, Chart, coloured, finished, literal
from slmlab.show.plots.strokes import (
    LOSSES,
    bits_per_nat,
    counted,
    curve,
    draw_both_numbers,
    draw_numbers,
    is_tested,
    over_steps,
    ring,
    some,
    three_losses,
)
from slmlab.show.runs import evaluated, short
from slmlab.study.baseline import number_to_beat
from slmlab.study.diagnosis import early_stop
from slmlab.validation import table_with, whole_number


def memory_curves(histories: Sequence[pd.DataFrame], title: str = "") -> Chart:
    """Losses, copying and domain names over the steps of training; a line per run.

    `histories` are what `scorecard_history` gives. Losses in nats per token; dashed: the number to
    beat on each text.
    """
    columns = [*(column for column, _, _ in LOSSES), "copied", "domain names"]
    for table in some("histories", histories):
        table_with("A history", table, columns, "what lab.scorecard_history(run) returns")
    chart = Chart(height=6.6)
    # The losses need more room: their three lines cross.
    losses, copied, names = chart.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    said = three_losses(losses, histories)
    for table in histories:
        curve(copied, table.index, 100 * table["copied"], SERIES[3], linewidth=1.6)
        curve(names, table.index, table["domain names"], SERIES[4], linewidth=1.6)
    draw_both_numbers(losses, [table.attrs["number_to_beat"] for table in histories])
    losses.set_ylabel(LOSS)
    losses.set_title(title or f"Losses, copying and domain names ({counted(histories)})")
    copied.set_ylabel("copied (%)")
    copied.set_ylim(0, 100)
    names.set_ylabel("domain names per sample")
    for axes in (losses, names):
        axes.set_ylim(bottom=0)
    for axes in chart.axes:
        over_steps(axes)
        axes.label_outer()
    for axes in (copied, names):
        finished(chart, axes, legend=False)
    ends = pd.DataFrame([table[["copied", "domain names"]].iloc[-1] for table in histories]).mean()
    chart.description = (
        f"{said} The samples copy {ends['copied']:.0%} of their sequences and use "
        f"{ends['domain names']:.1f} domain names each."
    )
    return finished(chart, losses)


def stopping_points(runs: Sequence[Run], patience: int) -> Chart:
    """Where early stopping would have ended finished runs: one line per run, of one to six.

    Above the validation loss, below (if all runs have one) the held-out loss; a ring at the lowest
    validation loss before the stop, thin lines after the stop; dashed the number to beat. Losses
    are in nats per token, or in bits per byte if the runs are not all of one text and vocabulary.
    Only those up to 1 above each run's lowest are shown: the first steps would flatten the rest.
    """
    patience = whole_number("patience", patience, least=1)
    kinds = {"val": "validation"}
    if all(is_tested(evaluated(run)) for run in some("runs", runs)):
        kinds["test"] = "held-out"
    of_one_text = len({number_to_beat(run.dataset) for run in runs}) == 1
    unit_name = "nats per token" if of_one_text else "bits per byte"
    chart = Chart(height=1.4 + 2.3 * len(kinds))
    rows = chart.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (kind, name) in zip(rows, kinds.items(), strict=True):
        numbers, lowest = [], []
        for run, colour in coloured(runs):
            unit = 1.0 if of_one_text else bits_per_nat(run, kind)
            stop = early_stop(run, patience)
            losses = unit * run.history.set_index("step")[f"{kind}_loss"]
            curve(axes, losses.index, losses, colour, linewidth=1)
            trained = losses.loc[: stop["stops"]]
            curve(axes, trained.index, trained, colour, linewidth=2.4, label=literal(run.name))
            ring(axes, stop["best step"], losses[stop["best step"]], colour)
            numbers.append((unit * getattr(number_to_beat(run.dataset), f"{kind}_loss"), colour))
            lowest.append(losses.min())
        draw_numbers(axes, numbers)
        # 0.1: room for the ring.
        axes.set_ylim(min(*lowest, *(loss for loss, _ in numbers)) - 0.1, max(lowest) + 1)
        axes.set_ylabel(f"{name} loss ({unit_name})")
        over_steps(axes)
        axes.label_outer()
        if axes is rows[0]:
            axes.set_title(f"Early stopping with patience {patience}")
        finished(chart, axes, legend=axes is rows[0])
    chart.description = " ".join(_stop_in_words(run, patience) for run in runs)
    return chart


def _stop_in_words(run: Run, patience: int) -> str:
    stop = early_stop(run, patience)
    return (
        f"{short(run.name)} would stop at step {stop['stops']:,} of {run.last.step:,}, with its "
        f"lowest validation loss, {stop['validation at best']:.2f} nats per token, at step "
        f"{stop['best step']:,}."
    )
