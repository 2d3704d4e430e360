# Import it needs: from slmlab.diagnosis import early_stop


def memory_curves(histories: list[pd.DataFrame]) -> Chart:
    """Losses, copying and names of the domain over the steps of training; a line per run.

    `histories` are what `diagnosis.scorecard_history` gives. Losses in nats per token.
    """
    chart = Chart(height=6.4)
    losses, copied, names = chart.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    columns = {"train_loss": "training", "val_loss": "validation", "test_loss": "held-out scripts"}
    for i, table in enumerate(histories):
        for (column, name), colour in zip(columns.items(), (TRAIN, VAL, GUESS), strict=True):
            label = name if i == 0 and table[column].notna().any() else None
            losses.plot(table.index, table[column], color=colour, linewidth=1.4, label=label)
        copied.plot(table.index, 100 * table["copied"], color=SERIES[3], linewidth=1.4)
        names.plot(table.index, table["domain hits"], color=SERIES[5], linewidth=1.4)
    losses.set_ylabel("loss (nats per token)")
    losses.set_title("What the last steps of training change")
    copied.set_ylabel("copied (%)")
    copied.set_ylim(0, 100)
    names.set_ylabel("names per sample")
    names.set_xlabel("step")
    for axes in (losses, names):
        axes.set_ylim(bottom=0)
    for axes in (copied, names):
        _finished(chart, axes, legend=False)
    chart.align_ylabels()
    return _finished(chart, losses)


def stopping_points(runs: list[Run], patience: int) -> Chart:
    """Where early stopping would have ended finished runs: one line per run, on one or two exams.

    Above the validation loss, below (if all runs have one) the held-out loss, in nats per token; a
    ring at the lowest validation loss before the stop, faint lines after the stop. Only losses up
    to 1 nat above the lowest are shown.
    """
    exams = {"val_loss": "validation"}
    if all(run.state.history[-1].test_loss is not None for run in runs):
        exams["test_loss"] = "held-out scripts"
    chart = Chart(height=1.0 + 2.4 * len(exams))
    rows = chart.subplots(len(exams), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (column, exam) in zip(rows, exams.items(), strict=True):
        for run, colour in zip(runs, SERIES, strict=False):
            stop, losses = early_stop(run, patience), run.history.set_index("step")[column]
            axes.plot(losses, color=colour, linewidth=1, alpha=0.5)
            axes.plot(losses.loc[: stop["stops"]], color=colour, linewidth=2.2, label=run.name)
            best = stop["best step"]
            axes.plot(best, losses[best], "o", color=colour, markersize=9, fillstyle="none")
        lowest = min(run.history[column].min() for run in runs)
        axes.set_ylim(lowest - 0.1, lowest + 1)
        axes.set_ylabel(f"{exam}\n(nats per token)")
        _finished(chart, axes, legend=axes is rows[0])
    rows[-1].set_xlabel("step")
    rows[0].set_title(f"Early stopping with patience {patience}")
    chart.align_ylabels()
    return chart
