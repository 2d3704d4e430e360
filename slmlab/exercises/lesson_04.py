"""Checks of the exercises of notebook 04: patience, the parts of a gap, plans, a token budget."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from slmlab.corpus import Dataset, corpus_dataset, load_held_out
from slmlab.diagnosis import early_stop
from slmlab.exercises.checking import called, filled_in, number, require, right
from slmlab.model import GPT, GPTConfig
from slmlab.phases import PHASES
from slmlab.runs import Run
from slmlab.tokenizer import gpt2_tokenizer, right_size
from slmlab.training import TrainConfig, fit

TRIAL_STEPS = 30  # how long a designed run is tried


def _recorded() -> Run:
    return PHASES[4].recorded("right-sized")


def patience_cost(stops: Any, kept: Any, lost: Any) -> None:
    """Task 1: what patience 2 does to a recorded run."""
    stops, kept, lost = number(stops, "stops"), number(kept, "kept"), number(lost, "lost")
    run = _recorded()
    facts = early_stop(run, patience=2)
    losses = {report.step: report.val_loss for report in run.state.history}
    interval = run.state.history[1].step
    lowest = run.state.best_step
    require(
        stops != facts["best step"] + interval,
        f"At step {stops:,.0f} one evaluation has brought no new lowest loss; patience 2 waits for "
        "a second one in a row.",
    )
    require(
        stops != lowest + 2 * interval,
        f"You counted from step {lowest:,}, the lowest of the whole run. Read the column from the "
        "top, as training does: has patience run out before it gets there?",
    )
    require(
        stops != early_stop(run, patience=3)["stops"],
        f"Step {stops:,.0f} is where patience 3 would stop; here two evaluations without a new "
        "lowest loss are enough.",
    )
    require(
        stops == facts["stops"],
        f"Training does not stop at step {stops:,.0f}. Go down the column val_loss and note each "
        "new lowest value; stop where two rows in a row bring none.",
    )
    require(
        kept != stops,
        f"The weights of step {kept:,.0f} are the last ones; those of the lowest validation loss "
        "so far are kept.",
    )
    require(
        kept <= stops,
        f"Step {kept:,.0f} comes after the stop at {stops:,.0f}: this training never gets there.",
    )
    require(
        kept == facts["best step"],
        f"Step {kept:,.0f} does not have the lowest validation loss of those up to {stops:,.0f}.",
    )
    cost = losses[facts["best step"]] - losses[lowest]
    require(
        not _near(lost, losses[run.state.step] - losses[facts["best step"]]),
        "That is what the kept weights are better than the last ones of the full run: a gain. "
        "Asked is what patience missed, compared with the lowest loss of the full run.",
    )
    require(
        not _near(lost, losses[facts["stops"]] - losses[lowest]),
        "You took the loss at the stop; but the weights that are kept are those of another step.",
    )
    require(
        not _near(lost, -cost),
        "You subtracted the other way round: the loss that was kept − the lowest one, so that "
        "missing something is positive.",
    )
    require(
        _near(lost, cost),
        f"lost = {lost:g} is not the difference between the validation loss of the weights that "
        "are kept and the lowest one in the whole column.",
    )
    right(
        f"Patience 2 saves {run.state.step - facts['stops']:,} of {run.state.step:,} steps and "
        f"misses {cost:.4f} nats. That is a good trade."
    )


def _near(value: float, wanted: float, tolerance: float = 0.0006) -> bool:
    """Equal but for rounding to three digits after the point."""
    return abs(value - wanted) <= tolerance


def stopping(stops_at: Callable[..., Any]) -> None:
    """Task 2: early stopping, on short histories that each expose one mistake."""
    losses = [3.0, 2.0, 2.5, 2.6, 2.7, 2.8]
    called(stops_at, losses, 2)
    found = _stop_and_best(stops_at, losses, 2)
    require(found != (1, 3), "The order is turned round: first where it stops, then the best.")
    require(
        all(x == int(x) for x in found),
        f"You return {found}; asked are positions in the list (0, 1, 2, …), not losses.",
    )
    require(
        found != (4, 1),
        f"For {losses} and patience 2 you stop one evaluation too late: after 2.0, the losses 2.5 "
        "and 2.6 are two without a new lowest.",
    )
    require(
        found != (2, 1),
        f"For {losses} and patience 2 you stop one evaluation too early: 2.5 is only the first "
        "without a new lowest.",
    )
    require(
        found != (3, 3),
        f"For {losses} you name the same position twice: training stops at one evaluation, but the "
        "best one came before it.",
    )
    _expect(stops_at, losses, 2, (3, 1), "Go through it with a pencil.")
    _expect(
        stops_at,
        [3.0, 2.0, 2.1, 2.2, 1.0],
        2,
        (3, 1),
        "The 1.0 comes after the stop: training ends before it, so it cannot know of it.",
    )
    _expect(
        stops_at,
        [3.0, 2.0, 2.3, 2.2, 2.1, 1.9],
        3,
        (4, 1),
        "A loss that falls again without passing below the lowest so far is no success: compare "
        "each with the lowest so far, not with the one before it.",
    )
    _expect(
        stops_at,
        [3.0, 3.1, 2.0, 2.1, 1.5, 1.6, 1.7],
        2,
        (6, 4),
        "Count from the latest lowest loss: at each new one the count begins again at 0.",
    )
    _expect(
        stops_at,
        [2.0, 1.5, 1.5, 1.5, 1.4],
        2,
        (3, 1),
        "A loss that only equals the lowest is no new lowest.",
    )
    for losses, expected in (([3.0, 2.0, 1.0], (2, 2)), ([3.0, 2.0, 2.1], (2, 1))):
        _expect(
            stops_at,
            losses,
            3,
            expected,
            "Patience does not run out here; then training stops at the last evaluation.",
        )
    for phase in PHASES:
        run = phase.recorded("right-sized")
        steps = [report.step for report in run.state.history]
        history = [report.val_loss for report in run.state.history]
        for patience in (1, 2, 3, 5):
            facts = early_stop(run, patience)
            expected = (steps.index(facts["stops"]), steps.index(facts["best step"]))
            _expect(stops_at, history, patience, expected, f"This is the run of {phase.title}.")
    right("It stops all five phases where the course's own early stopping does.")


def _stop_and_best(stops_at: Callable[..., Any], losses: list[float], patience: int) -> tuple:
    """The two positions. Without a `return` on some path there are none, which is told apart."""

    @wraps(stops_at)
    def boxed(*arguments: Any) -> tuple[Any]:
        return (stops_at(*arguments),)

    (answer,) = called(boxed, list(losses), patience)
    require(
        answer is not None,
        f"For {losses} and patience {patience} you return nothing. Patience does not run out "
        "there, so the loop ends; what should be returned then?",
    )
    return _numbers(answer, 2, "stops_at", "the position where it stops, and that of the best")


def _expect(
    stops_at: Callable[..., Any], losses: list[float], patience: int, wanted: tuple, sentence: str
) -> None:
    found = _stop_and_best(stops_at, losses, patience)
    shown = f"[{', '.join(f'{x:.4g}' for x in losses)}]"
    require(found == wanted, f"For {shown} and patience {patience} you return {found}. {sentence}")


def _numbers(answer: Any, count: int, name: str, what: str) -> tuple[float, ...]:
    """The numbers of a tuple, list, tensor, array or dictionary."""
    values = answer.values() if isinstance(answer, dict) else answer
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        found = ()
    require(
        len(found) == count,
        f"`{name}` returns {answer!r}; it should return {count} numbers: {what}.",
    )
    require(all(map(math.isfinite, found)), f"`{name}` returns {answer!r}: not all are finite.")
    return tuple(int(value) if value == int(value) else value for value in found)


def gap_parts(parts: Callable[..., Any]) -> None:
    """Task 3: the gap at the best step, and the two ways in which it grows afterwards."""
    train, val = [6.0, 3.0, 2.2, 0.4, 0.5], [6.1, 4.0, 3.5, 3.8, 4.2]
    found = _parts_of(parts, train, val)
    wanted = _true_parts(train, val)
    there, fell, rose = wanted
    mistakes = {
        (-there, -fell, -rose): "All three have the wrong sign: the gap is validation − training.",
        (-there, fell, rose): "The first part has the wrong sign: the gap is validation − "
        "training.",
        (there, -fell, rose): "The second part has the wrong sign: a training loss that *falls* "
        "makes the gap larger, so its fall counts as positive.",
        (there, fell, -rose): "The third part has the wrong sign: a validation loss that *rises* "
        "makes the gap larger, so its rise counts as positive.",
        (there, rose, fell): "The second and the third part have changed places: first the "
        "training loss, then the validation loss.",
        (val[3] - train[3], train[3] - train[-1], val[-1] - val[3]): "Your best step is the one "
        "with the lowest *training* loss; the best step is decided by the validation loss.",
        (val[0] - train[0], train[0] - train[-1], val[-1] - val[0]): "Your best step is the one "
        "with the smallest gap (the untrained model!); it is decided by the validation loss.",
        (there, train[2] - min(train), rose): "You compare with the lowest training loss; the gap "
        "at the end has the *last* one.",
        (min(val) - min(train), fell, rose): "Your first part takes the lowest loss of each curve, "
        "which are those of two different steps; take both at the best step.",
        (there, train[0] - train[-1], val[-1] - val[0]): "You measure both changes from the "
        "beginning of training; measure them from the best step on.",
    }
    for wrong, sentence in mistakes.items():
        require(not _all_near(found, wrong), sentence)
    require(
        _near(sum(found), val[-1] - train[-1]),
        f"For train_losses = {train} and val_losses = {val} your parts {_shown(found)} add up to "
        f"{sum(found):.4g}, but the gap at the end is {val[-1] - train[-1]:.4g}.",
    )
    require(
        _all_near(found, wanted),
        f"For train_losses = {train} and val_losses = {val} you return {_shown(found)}. Find the "
        "position of the lowest validation loss first, and take all parts from there.",
    )
    falling = [3.0, 2.0, 1.0], [3.1, 2.5, 2.4]
    require(
        _all_near(_parts_of(parts, *falling), (1.4, 0, 0)),
        "When the last step is the best one, nothing was added since: the second and the third "
        "part should be 0.",
    )
    for number_of_phase in (1, 3, 4):
        run = PHASES[number_of_phase].recorded("right-sized")
        lists = run.history["train_loss"].tolist(), run.history["val_loss"].tolist()
        require(
            _all_near(_parts_of(parts, *lists), _true_parts(*lists)),
            f"The parts of the recorded run of Phase {number_of_phase} are not right: is something "
            "in your function fixed, such as the position of the best step?",
        )
    there, fell, rose = _true_parts(*lists)
    right(
        f"Of the gap of {there + fell + rose:.2f} that Phase 4 ends with, {there:.2f} stood at the "
        f"best step already; {fell:.2f} is the training loss falling, {rose:.2f} is harm."
    )


def _true_parts(train: list[float], val: list[float]) -> tuple[float, float, float]:
    best = val.index(min(val))
    return val[best] - train[best], train[best] - train[-1], val[-1] - val[best]


def _parts_of(parts: Callable[..., Any], train: list[float], val: list[float]) -> tuple:
    answer = called(parts, list(train), list(val))
    return _numbers(answer, 3, "gap_parts", "the gap at the best step, the fall, the rise")


def _all_near(found: tuple, wanted: tuple) -> bool:
    return all(_near(a, b, 1e-6) for a, b in zip(found, wanted, strict=True))


def _shown(values: tuple) -> str:
    return f"({', '.join(f'{value:.4g}' for value in values)})"


def plans(read_a: Any, read_b: Any, read_c: Any, read_d: Any) -> None:
    """Task 4: which shorter runs are the beginning of the longer one?"""
    answers = {"read_a": read_a, "read_b": read_b, "read_c": read_c, "read_d": read_d}
    for name, answer in answers.items():
        filled_in(answer, name)
        require(answer in (True, False), f"`{name}` is {answer!r}; it should be True or False.")
    constant = PHASES[4].training
    falling = replace(constant, cosine=True)
    long, short = (f"{falling.learning_rate_at(600, n):.1e}" for n in (3000, 1200))
    require(
        read_a,
        "A: with a constant rate no step knows how many were planned, and its batch depends on "
        "the seed and its number only. What then could differ in the first 1,200 steps?",
    )
    require(
        not read_b,
        f"B: look at the rate at step 600. Of 3,000 planned steps it is {long}, of 1,200 planned "
        f"ones {short}: the cosine is stretched over the plan.",
    )
    require(
        read_c,
        "C: both runs are planned for 3,000 steps, so the rate is the same at every step. Patience "
        "only decides when to stop looking.",
    )
    require(
        not read_d,
        "D: a step reads other sequences, and half as many, so already the first step changes the "
        "weights in another way. The rate is not all that counts.",
    )
    right("A run is the beginning of another if every step of it, rate and batch, is the same.")


def budget(design: Callable[..., Any]) -> None:
    """Task 5: any design passes that keeps the budget, can stop early, and learns."""
    text = load_held_out().text
    small = Dataset.from_text(text, right_size(gpt2_tokenizer(), text))
    cases = (
        ("the held-out scripts", small, 20),
        ("the whole corpus", PHASES[4].dataset("right-sized"), 40),
        ("1,000 tokens of the corpus", corpus_dataset(1_000, "right-sized"), 60),
    )
    for name, dataset, times in cases:
        shape, training = _design(design, dataset, times)
        _fits(shape, training, dataset, name)
        _keeps_the_budget(shape, training, dataset, name, times)
        _can_stop_early(training, name)
    _learns(*_design(design, small, 20), small)
    right("The budget holds for three texts, patience has room, and the first steps learn.")


def _design(design: Callable[..., Any], dataset: Dataset, times: int) -> tuple:
    answer = called(design, dataset, times)
    pair = tuple(answer) if isinstance(answer, list | tuple) else (answer,)
    require(
        [type(part) for part in pair] != [TrainConfig, GPTConfig],
        "The order is turned round: first the shape of the model, then how to train it.",
    )
    require(
        [type(part) for part in pair] == [GPTConfig, TrainConfig],
        f"`design` returns {type(answer).__name__}; it should return two things: a lab.GPTConfig "
        "and a lab.TrainConfig.",
    )
    return pair


def _fits(shape: GPTConfig, training: TrainConfig, dataset: Dataset, name: str) -> None:
    vocab, tokens = dataset.tokenizer.n_vocab, len(dataset.train)
    require(
        shape.vocab_size >= vocab,
        f"For {name}, ids go up to {vocab - 1}, but the model has {shape.vocab_size} rows; the "
        "vocabulary differs from text to text, and the dataset's tokenizer knows it.",
    )
    require(
        shape.vocab_size <= 2 * vocab,
        f"For {name}, the model has {shape.vocab_size:,} rows of vocabulary for {vocab:,} tokens; "
        "the rest costs time in each step and learns nothing.",
    )
    require(
        shape.block_size < tokens,
        f"A context of {shape.block_size} does not fit into {name} ({tokens} training tokens); "
        "choose it shorter, or by the length of the text.",
    )
    require(
        shape.n_params <= 2_000_000,
        f"The model has {shape.n_params:,} parameters; at most 2,000,000 were allowed.",
    )
    require(
        training.max_steps is not None,
        "With a budget in seconds a fast machine reads more tokens than a slow one; a budget of "
        "tokens needs max_steps.",
    )


def _keeps_the_budget(
    shape: GPTConfig, training: TrainConfig, dataset: Dataset, name: str, times: int
) -> None:
    step, allowed = training.batch_size * shape.block_size, times * len(dataset.train)
    read = training.max_steps * step
    told = f"For {name} and {times} times, your run reads {read:,} tokens; {allowed:,} are allowed"
    mistakes = {
        allowed: "It seems that you counted a step as one token.",
        allowed // training.batch_size: "It seems that you counted a sequence as one token; each "
        "has block_size of them.",
        allowed // shape.block_size: "It seems that you counted one sequence a step; a step reads "
        "batch_size of them.",
        times * (len(dataset.train) + len(dataset.val)) // step: "It seems that you counted the "
        "validation text; only `train` is read.",
    }
    if read > allowed:
        for steps, sentence in mistakes.items():
            require(abs(training.max_steps - steps) > 1, f"{told}. {sentence}")
    require(
        read <= allowed,
        f"{told}. A step reads batch_size × block_size = {step:,} tokens; how many steps are that?",
    )
    require(
        read >= allowed / 2,
        f"{told}. You leave more than half of them unread: plan for more steps; patience will stop "
        "them if they are too many.",
    )


def _can_stop_early(training: TrainConfig, name: str) -> None:
    require(
        training.patience is not None,
        "Nothing stops this run when the validation loss no longer falls: set `patience`.",
    )
    interval = training.eval_interval or max(1, training.max_steps // 10)
    waits = training.patience * interval
    require(
        3 * waits <= training.max_steps,
        f"For {name}, patience waits for {training.patience} × {interval} = {waits} of "
        f"{training.max_steps} steps, more than a third: evaluate more often, or wait for fewer.",
    )


def _learns(shape: GPTConfig, training: TrainConfig, dataset: Dataset) -> None:
    """Try the first steps, at the design's full learning rate and in small batches."""
    trial = replace(
        training,
        batch_size=min(4, training.batch_size),
        max_steps=TRIAL_STEPS,
        eval_interval=TRIAL_STEPS,
        patience=None,
        warmup_steps=0,
        cosine=False,
        device="cpu",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a loss that is no number: told below
        reports = [p for p in fit(GPT(shape), dataset, trial) if p.train_loss is not None]
    fell = reports[0].train_loss - reports[-1].train_loss if len(reports) == 2 else -math.inf
    rate = f"learning_rate={training.learning_rate:g}"
    require(
        fell > -0.5,
        f"In a trial of {TRIAL_STEPS} steps the training loss went up: {rate} is too high.",
    )
    require(
        fell > 0.05,
        f"In a trial of {TRIAL_STEPS} steps the training loss hardly moved: is {rate} right? Too "
        "low, and the budget is spent before anything is learnt; far too high, and it only jumps.",
    )
