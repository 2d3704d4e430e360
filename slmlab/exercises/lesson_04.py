"""Checks of the exercises for 04: patience, the parts of a gap, plans, a token budget."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import slmlab as lab
from slmlab.exercises.checking import Case, called, expect, expect_function, numbers, require
from slmlab.exercises.telling import right, task

TRIAL_STEPS = 30  # how long a designed run is tried

# Task 1


@task
def patience_cost(stops: Any, kept: Any, lost: Any) -> None:
    """What patience 2 does to a recorded run."""
    run = lab.PHASES[4].recorded("right-sized")
    two, three = (lab.early_stop(run, patience) for patience in (2, 3))
    losses = {report.step: report.val_loss for report in run.state.history}
    interval, lowest, last = run.state.history[1].step, run.state.best_step, run.state.step
    expect(
        "stops",
        stops,
        two["stops"],
        {
            two["best step"] + interval: "There one evaluation has brought no new lowest loss; "
            "patience 2 waits for a second one in a row.",
            lowest + 2 * interval: f"You counted from step {lowest:,}, the lowest of the whole "
            "run. Read the column from the top, as training does: has patience run out before it "
            "gets there?",
            three["stops"]: "That is where patience 3 would stop; here two evaluations without a "
            "new lowest loss are enough.",
        },
        otherwise="Go down the column val_loss and note each new lowest value; stop where two rows "
        "in a row bring none.",
    )
    after = f"That step comes after the stop at {two['stops']:,}: this training never gets there."
    expect(
        "kept",
        kept,
        two["best step"],
        {
            two["stops"]: "The weights of that step are the last ones; those of the lowest "
            "validation loss so far are kept.",
            **{step: after for step in losses if step > two["stops"]},
        },
        otherwise="That step does not have the lowest validation loss of those up to the stop.",
    )
    kept_loss, lowest_loss = losses[two["best step"]], losses[lowest]
    cost = kept_loss - lowest_loss
    expect(
        "lost",
        lost,
        cost,
        {
            losses[last] - kept_loss: "That is what the kept weights are better than the last ones "
            "of the full run: a gain. You are asked what patience missed, compared with the lowest "
            "loss of the full run.",
            losses[two["stops"]] - lowest_loss: "You took the loss at the stop; but the weights "
            "that are kept are those of another step.",
            -cost: "You subtracted the other way round: the loss that was kept − the lowest one, "
            "so that missing something is positive.",
        },
        otherwise="It should be the difference between the validation loss of the weights that are "
        "kept and the lowest one in the whole column.",
        abs_tol=6e-4,
    )
    right(
        f"Patience 2 saves {last - two['stops']:,} of {last:,} steps and misses {cost:.4f} nats. "
        "That is a good trade."
    )


# Task 2

STOPS = """
best = 0
for i, loss in enumerate(val_losses):
    if loss < val_losses[best]:
        best = i
    elif i - best == patience:
        return i, best
return len(val_losses) - 1, best
"""
LOSSES = [3.0, 2.0, 2.5, 2.6, 2.7, 2.8]
MISTAKEN_STOPS = {
    STOPS.replace("return i, best", "return best, i"): "The order is reversed: first where it "
    "stops, then the best.",
    STOPS.replace("== patience", "> patience"): f"For {LOSSES} and patience 2 you stop one "
    "evaluation too late: after 2.0, the losses 2.5 and 2.6 are two without a new lowest.",
    STOPS.replace("== patience", "== patience - 1"): f"For {LOSSES} and patience 2 you stop one "
    "evaluation too early: 2.5 is only the first without a new lowest.",
    STOPS.replace("return i, best", "return i, i"): f"For {LOSSES} you name the same position "
    "twice: training stops at one evaluation, but the best one came before it.",
}
RAN_OUT = "Patience does not run out here; then training stops at the last evaluation."
REVEALING_LOSSES = (  # each exposes one mistake
    Case(
        ([3.0, 2.0, 2.1, 2.2, 1.0], 2),
        "The 1.0 comes after the stop: training ends before it, so it cannot know of it.",
    ),
    Case(
        ([3.0, 2.0, 2.3, 2.2, 2.1, 1.9], 3),
        "A loss that falls again without passing below the lowest so far is no success: compare "
        "each with the lowest so far, not with the one before it.",
    ),
    Case(
        ([3.0, 3.1, 2.0, 2.1, 1.5, 1.6, 1.7], 2),
        "Count from the latest lowest loss: at each new one the count begins again at 0.",
    ),
    Case(([2.0, 1.5, 1.5, 1.5, 1.4], 2), "A loss that only equals the lowest is not a new lowest."),
    Case(([3.0, 2.0, 1.0], 3), RAN_OUT),
    Case(([3.0, 2.0, 2.1], 3), RAN_OUT),
)


@task
def stopping(stops_at: Callable[..., Any]) -> None:
    """Early stopping, on short histories that each expose one mistake, and on the phases."""

    def others() -> list[Any]:
        runs = {phase.title: phase.recorded("right-sized").history for phase in lab.PHASES}
        losses = {title: history["val_loss"].tolist() for title, history in runs.items()}
        patiences = (1, 2, 3, 5)
        recorded = (Case((losses[t], p), f"({t})") for t in losses for p in patiences)
        return [*REVEALING_LOSSES, *recorded]

    first = Case((LOSSES, 2), "Go through it with a pencil.")
    for cases, mistakes in (([first], MISTAKEN_STOPS), (others, {})):
        expect_function(
            "stops_at(val_losses, patience)",
            stops_at,
            cases,
            STOPS,
            mistakes,
            read=_positions,
            otherwise="For {given} you return {value}.",
        )
    right("It stops all five phases where the course's own early stopping does.")


def _positions(answer: Any, name: str) -> tuple[int, ...]:
    found = numbers(answer, name, 2, "the position where it stops, and that of the best")
    require(
        all(x == int(x) for x in found),
        f"You return {found}; give positions in the list (0, 1, 2, …), not losses.",
    )
    return tuple(map(int, found))


# Task 3

PARTS = """
best = val_losses.index(min(val_losses))
there = val_losses[best] - train_losses[best]
fell = train_losses[best] - train_losses[-1]
rose = val_losses[-1] - val_losses[best]
return there, fell, rose
"""
LOWEST = "val_losses.index(min(val_losses))"
MISTAKEN_PARTS = {
    PARTS.replace("there, fell, rose", "-there, -fell, -rose"): "All three have the wrong sign: "
    "the gap is validation − training.",
    PARTS.replace("return there", "return -there"): "The first part has the wrong sign: the gap is "
    "validation − training.",
    PARTS.replace(", fell", ", -fell"): "The second part has the wrong sign: a training loss that "
    "*falls* makes the gap larger, so its fall counts as positive.",
    PARTS.replace(", rose", ", -rose"): "The third part has the wrong sign: a validation loss that "
    "*rises* makes the gap larger, so its rise counts as positive.",
    PARTS.replace("fell, rose", "rose, fell"): "The second and the third part have changed places: "
    "first the training loss, then the validation loss.",
    PARTS.replace(LOWEST, "train_losses.index(min(train_losses))"): "Your best step is the one "
    "with the lowest *training* loss; the best step is decided by the validation loss.",
    "gaps = [v - t for t, v in zip(train_losses, val_losses)]"
    + PARTS.replace(LOWEST, "gaps.index(min(gaps))"): "Your best step is the one with the smallest "
    "gap (the untrained model!); it is decided by the validation loss.",
    PARTS.replace("- train_losses[-1]", "- min(train_losses)"): "You compare with the lowest "
    "training loss; the gap at the end has the *last* one.",
    PARTS.replace(
        "val_losses[best] - train_losses[best]", "min(val_losses) - min(train_losses)"
    ): "Your first part takes the lowest loss of each curve, which are those of two different "
    "steps; take both at the best step.",
    PARTS.replace("s[best] - train_losses[-1]", "s[0] - train_losses[-1]").replace(
        "[-1] - val_losses[best]", "[-1] - val_losses[0]"
    ): "You measure both changes from the beginning of training; measure them from the best step "
    "on.",
}


@task
def gap_parts(parts: Callable[..., Any]) -> None:
    """The gap at the best step, and the two ways in which it grows afterwards."""
    signature = "gap_parts(train_losses, val_losses)"
    curves = ([6.0, 3.0, 2.2, 0.4, 0.5], [6.1, 4.0, 3.5, 3.8, 4.2])
    expect_function(
        signature, parts, [curves], PARTS, MISTAKEN_PARTS, read=_three, otherwise=_wrong_parts
    )
    later = [
        Case(
            ([3.0, 2.0, 1.0], [3.1, 2.5, 2.4]),
            "When the last step is the best one, nothing was added since: the second and the third "
            "part should be 0.",
        )
    ]
    for phase in (1, 3, 4):
        history = lab.PHASES[phase].recorded("right-sized").history
        losses = history["train_loss"].tolist(), history["val_loss"].tolist()
        hint = (
            f"The parts of the recorded run of Phase {phase} are not right: is something in your "
            "function fixed, such as the position of the best step?"
        )
        later.append(Case(losses, hint))
    expect_function(signature, parts, later, PARTS, read=_three, otherwise="")
    there, fell, rose = _three(called(parts, *losses), "gap_parts")
    right(
        f"Of the gap of {there + fell + rose:.2f} that Phase 4 ends with, {there:.2f} was there at "
        f"the best step already; {fell:.2f} is the training loss falling, {rose:.2f} is harm."
    )


def _three(answer: Any, name: str) -> tuple[float, ...]:
    return numbers(answer, name, 3, "the gap at the best step, the fall, the rise")


def _wrong_parts(value: tuple, _: tuple, train: list[float], val: list[float]) -> str:
    gap, shown = val[-1] - train[-1], ", ".join(f"{part:.4g}" for part in value)
    told = f"For train_losses = {train} and val_losses = {val} "
    if not math.isclose(sum(value), gap, rel_tol=1e-3):
        return told + (
            f"your parts ({shown}) add up to {sum(value):.4g}, but the gap at the end is {gap:.4g}."
        )
    return told + (
        f"you return ({shown}). Find the position of the lowest validation loss first, and take "
        "all parts from there."
    )


# Task 4


@task
def plans(read_a: Any, read_b: Any, read_c: Any, read_d: Any) -> None:
    """Which shorter runs are the beginning of the longer one?"""
    falling = replace(lab.PHASES[4].setup.training, cosine=True)
    long, short = (f"{falling.learning_rate_at(600, n):.1e}" for n in (3000, 1200))
    reasons = {
        "a": "With a constant rate no step knows how many were planned, and its batch depends on "
        "the seed and its number only. What then could differ in the first 1,200 steps?",
        "b": f"Look at the rate at step 600. Of 3,000 planned steps it is {long}, of 1,200 planned "
        f"ones {short}: the cosine is stretched over the plan.",
        "c": "Both runs are planned for 3,000 steps, so the rate is the same at every step. "
        "Patience only decides when to stop looking.",
        "d": "A step reads other sequences, and half as many, so already the first step changes "
        "the weights in another way. The rate is not all that counts.",
    }
    expect("read_a", read_a, True, {False: reasons["a"]})
    expect("read_b", read_b, False, {True: reasons["b"]})
    expect("read_c", read_c, True, {False: reasons["c"]})
    expect("read_d", read_d, False, {True: reasons["d"]})
    right("A run is the beginning of another if every step of it, rate and batch, is the same.")


# Task 5


@task
def budget(design: Callable[..., Any]) -> None:
    """Any design passes that keeps the budget, can stop early, and learns."""
    text = lab.load_held_out().text
    small = lab.Dataset.from_text(text, lab.right_size(lab.gpt2_tokenizer(), text))
    cases = (
        ("the held-out scripts", small, 20),
        ("the whole corpus", lab.PHASES[4].dataset("right-sized"), 40),
        ("1,000 tokens of the corpus", lab.corpus_dataset(1_000, "right-sized"), 60),
    )
    for name, dataset, times in cases:
        shape, training = _design(design, dataset, times)
        _fits(shape, training, dataset, name)
        _keeps_the_budget(shape, training, dataset, name, times)
        _can_stop_early(training, name)
    _learns(*_design(design, small, 20), small)
    right("The budget holds for three texts, patience has room, and the first steps learn.")


def _design(design: Callable[..., Any], dataset: lab.Dataset, times: int) -> tuple:
    answer = called(design, dataset, times)
    pair = tuple(answer) if isinstance(answer, list | tuple) else (answer,)
    require(
        [type(part) for part in pair] != [lab.TrainConfig, lab.GPTConfig],
        "The order is reversed: first the shape of the model, then how to train it.",
    )
    require(
        [type(part) for part in pair] == [lab.GPTConfig, lab.TrainConfig],
        f"`design` returns {type(answer).__name__}; it should return two things: a lab.GPTConfig "
        "and a lab.TrainConfig.",
    )
    return pair


def _fits(shape: lab.GPTConfig, training: lab.TrainConfig, dataset: lab.Dataset, name: str) -> None:
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
    shape: lab.GPTConfig, training: lab.TrainConfig, dataset: lab.Dataset, name: str, times: int
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


def _can_stop_early(training: lab.TrainConfig, name: str) -> None:
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


def _learns(shape: lab.GPTConfig, training: lab.TrainConfig, dataset: lab.Dataset) -> None:
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
        reports = [p for p in lab.fit(lab.GPT(shape), dataset, trial) if p.train_loss is not None]
    fell = reports[0].train_loss - reports[-1].train_loss if len(reports) == 2 else -math.inf
    rate = f"learning_rate={training.learning_rate:g}"
    require(
        fell > -0.5,
        f"In a trial of {TRIAL_STEPS} steps the training loss went up: {rate} is too high.",
    )
    require(
        fell > 0.05,
        f"In a trial of {TRIAL_STEPS} steps the training loss barely moved: is {rate} right? Too "
        "low, and the budget is spent before anything is learnt; far too high, and it only jumps.",
    )
