"""Runs and their figures in sentences: below a picture, and for readers who do not see it."""

import math
from collections.abc import Sequence

from slmlab.engine.runs import Run
from slmlab.study.baseline import number_to_beat

FEW_STEPS = 20  # a run of fewer says nothing yet about the gap's band


def joined(parts: Sequence[str], last: str = "and") -> str:
    """Some words as one list: "a, b and c"."""
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]]) if parts[1:] else "".join(parts)


def number(value: float, form: str = ".2f") -> str:
    """A number in words, without a "−0.00"; a loss of a run that diverged may be none."""
    if not math.isfinite(value):
        return "no finite number"
    text = format(value, form)
    return text if float(text) else format(0.0, form)


def counted(count: int, what: str) -> str:
    """So many of a thing: "1 step", "1,000 steps"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def of_steps(count: int) -> str:
    return counted(count, "step")


def ending(run: Run) -> str:
    """How a run ended: "" for one that made all its steps, "so far" for one that still trains."""
    status = run.state.status
    if status == "finished":
        return "" if run.config.seconds is None else "out of time"
    return {"running": "so far", "interrupted": "stopped"}.get(status, status)


def gap_in_words(run: Run) -> str:
    """A title for a run's losses, in the tense of its data."""
    if not math.isfinite(run.gap):
        return "the loss is no finite number"
    match ending(run):
        case "":
            return f"the gap ends at {number(run.gap, '+.2f')}"
        case "so far":
            return f"a gap of {number(run.gap, '+.2f')} so far"
        case how:
            return f"{how} at step {run.state.step:,}, gap {number(run.gap, '+.2f')}"


def losses_in_words(run: Run, whose: str = "the run") -> str:
    """What the losses of a run's last evaluation are, and when its validation loss was lowest."""
    last, best = run.last, run.state
    said = (
        f"After {of_steps(last.step)} {whose} has a training loss of {number(last.train_loss)} and "
        f"a validation loss of {number(last.val_loss)} nats per token, a gap of "
        f"{number(run.gap, '+.2f')}."
    )
    if not math.isfinite(best.best_val_loss) or last.step == 0:
        return said
    if best.best_step == last.step:
        return f"{said} The validation loss has not been lower before."
    return f"{said} The validation loss was lowest at {_best(run)}, with {best.best_val_loss:.2f}."


def _best(run: Run) -> str:
    """Where a run's validation loss was lowest."""
    step = run.state.best_step
    return {0: "the start", run.last.step: "the end"}.get(step, f"step {step:,}")


def outcome_in_words(run: Run, recorded: Run | None = None) -> str:
    """What became of the gap, in a sentence or two; the figure and the table have the numbers."""
    said = _outcome("The run" if recorded is None else "Your run", run)
    if run.last.step < FEW_STEPS:
        said = f"After {of_steps(run.last.step)} it is too early to judge."
    return said if recorded is None else f"{said} {_outcome('The recorded run', recorded)}"


def _outcome(whose: str, run: Run) -> str:
    verb = "is" if ending(run) == "so far" else "ends"
    said = f"{whose} {verb} at a gap of {number(run.gap, '+.2f')}"
    if math.isfinite(run.state.best_val_loss):
        said += f"; its validation loss was lowest at {_best(run)}"
    return f"{said}."


def curves_in_words(run: Run, recorded: Run | None = None) -> str:
    """Your run, the recorded one, and the number that both have to beat."""
    said = losses_in_words(run, "the run" if recorded is None else "your run")
    if recorded is not None:
        said += f" {losses_in_words(recorded, 'the recorded run')}"
    to_beat = number_to_beat((recorded or run).dataset).val_loss
    return f"{said} The 5-gram has a validation loss of {to_beat:.2f}."
