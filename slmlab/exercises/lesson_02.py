"""Checks of the exercises for 02: a gap's sign, reading often, contamination, clean splits."""

import difflib
import random
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch

import slmlab as lab
from slmlab.exercises.checking import (
    Mistake,
    called,
    close,
    expect,
    expect_function,
    filled_in,
    number,
    require,
)
from slmlab.exercises.telling import right, task
from slmlab.validation import is_nan, shown

# Task 1


@task
def sign(gap: Any, suspect: Any, reason: Any) -> None:
    """Run B's gap, the run whose exam is suspicious, and the letter of the reason."""
    expect(
        "gap",
        gap,
        -0.17,
        {
            0.17: "You subtracted the other way round, or dropped the sign: the gap is validation "
            "− training, so that memorising makes it positive.",
            0.66 / 0.83: "That is the ratio of the two losses; the gap is their difference.",
        },
        otherwise="Subtract run B's training loss from its validation loss.",
        abs_tol=5e-3,
    )
    expect(
        "suspect",
        suspect,
        "B",
        {
            "A": "Run A's validation loss is below a training loss that was taken with dropout on. "
            "Read its note: compare losses which were taken in the same way.",
            "C": "Run C knows its own text far better than its exam. That is no reason to doubt "
            "that exam. Look for one that is too easy.",
        },
    )
    expect(
        "reason",
        reason,
        "c",
        {
            "a": "A large gap is a sign of memorising, and run B's is small. Its sign is odd.",
            "b": "Run B's losses were both taken with dropout off, so dropout explains nothing "
            "here.",
            "d": "The lowest loss of three exams is the best model only if the exams are equally "
            "hard.",
        },
    )
    right("Validation below training, both taken in the same way, is an alarm and no triumph.")


# Task 2


@task
def reading(stop: Any, times: Any, steps: Any) -> None:
    """Where to stop, how often the text was read by then, and the steps for more text."""
    history = lab.PHASES[2].recorded("right-sized").history.set_index("step")
    lowest = {column: history[column].idxmin() for column in history}
    stop = expect(
        "stop",
        stop,
        lowest["test_loss"],
        {
            lowest["train_loss"]: "At that step the training loss is lowest; it always falls.",
            lowest["val_loss"]: "At that step the validation loss is lowest, but this exam was "
            "studied. Which column is the exam that nobody copied?",
        },
        otherwise="Give a value of the column `step`: the one where the held-out loss is lowest.",
    )
    batch, context, tokens = 8, 32, 4500
    read = stop * batch * context
    expect(
        "times",
        times,
        read / tokens,
        {
            read: "That is the number of tokens read; divide it by the tokens of the training "
            "text.",
            stop * batch / tokens: "Each of the 8 sequences of a step is 32 tokens long; count "
            "tokens.",
            stop * context / tokens: "A step reads 8 sequences, not one.",
            stop / tokens: "A step reads more than one token: 8 sequences of 32 tokens each.",
            read / 5000: "The last tenth of the 5,000 tokens is the exam, and is not read in "
            "training.",
            1000 * batch * context / tokens: "That is for all 1,000 steps; you stop earlier.",
        },
        otherwise=f"It should be the tokens read until step {stop:.0f}, divided by the tokens of "
        "the training text.",
        rel_tol=0.02,
    )
    wanted = read / tokens * 18_000 / (batch * context)
    expect(
        "steps",
        steps,
        wanted,
        {
            wanted * 20 / 18: "Only nine tenths of the 20,000 tokens are trained on.",
            stop: "The same steps read the same tokens: four times the text is then read a quarter "
            "as often.",
            wanted * context: "A step reads 8 sequences of 32 tokens, not 8 tokens.",
            wanted * batch: "A step reads 8 sequences, not one.",
            stop / 4: "More text takes more steps, not fewer.",
        },
        otherwise="Read the new training text as often as the old one. How many tokens is that, "
        "and how many does a step read?",
        rel_tol=0.02,
    )
    right("As often as before: four times the text, four times the steps.")


# Task 3

SEQUENCES = """
studied = [tuple(train[i : i + n]) for i in range(len(train) - n + 1)]
asked = [tuple(val[i : i + n]) for i in range(len(val) - n + 1)]
"""
FOUND = SEQUENCES + "found = [sequence in studied for sequence in asked]\n"
SHARE = FOUND + "return sum(found) / len(found) if found else float('nan')"
MISTAKEN_SHARES = {
    SEQUENCES + "return sum(s in asked for s in studied) / len(studied)": "You looked the other "
    "way round: what share of the training text appears in the validation set. It is the exam's "
    "sequences that are counted.",
    SHARE.replace(
        "[sequence in studied for sequence in asked]", "[s in studied for s in {*asked}]"
    ): (
        "A sequence that the exam asks twice counts twice; you counted different sequences (a set "
        "of the validation set's forgets how often)."
    ),
    "return sum(token in train for token in val) / len(val)": "You counted single tokens. Any text "
    "of the same language shares those; look for n of them in a row.",
    SHARE.replace("sequence in studied", "{*sequence} <= {*train}"): "The n tokens must appear "
    "in the training text one after the other, in the same order, not just anywhere.",
    SHARE.replace("in asked]", "in asked[::n]]"): "You cut the validation set into blocks of n. A "
    "sequence begins at every token, so that neighbours overlap.",
    SHARE.replace("len(val) - n + 1", "len(val) - n"): "You lost the last sequence of the "
    "validation set: of N tokens, N − n + 1 sequences of n begin.",
    SHARE.replace("len(train) - n + 1", "len(train) - n"): "You lost the last sequence of the "
    "training text: of N tokens, N − n + 1 sequences of n begin.",
    SHARE.replace(" - n + 1", " - n"): "You lost the last sequence of both texts: of N tokens, "
    "N − n + 1 sequences of n begin.",
    FOUND + "return sum(found) / len(val)": "You divided by the number of tokens; divide by the "
    "number of sequences, of which there are N − n + 1.",
    FOUND + "return sum(found)": "That is how many sequences were found; divide by how many there "
    "are.",
    """
    text = "".join(map(str, train))
    asked = ["".join(map(str, val[i : i + n])) for i in range(len(val) - n + 1)]
    return sum(gram in text for gram in asked) / len(asked) if asked else float("nan")
    """: "Written one after the other, the ids 1, 12 look like 11, 2. Compare ids, not digits.",
    FOUND + "return 100 * sum(found) / len(found)": "That is per cent; a share lies between 0 and "
    "1.",
}


@task
def contamination(function: Callable[..., Any]) -> None:
    """`function(train, val, n)`: the share of the exam's n-token sequences that were studied."""
    signature = "contamination(train, val, n)"
    expect_function(
        signature,
        function,
        [
            ([1, 2, 3, 4, 5, 6, 7, 8], [3, 4, 5, 6, 99], 3),
            ([1, 2, 3, 4], [1, 2, 3, 1, 2, 9, 1, 2], 2),
            ([5, 4, 3, 2, 1], [1, 2, 3, 4, 5], 2),
            ([1, 2, 9, 3, 4], [1, 2, 3, 4], 3),
            ([1, 12, 3, 4], [11, 2, 3, 4, 7], 2),
        ],
        SHARE,
        MISTAKEN_SHARES,
        abs_tol=1e-3,
    )
    expect_function(signature, function, [([1, 2, 3], [1, 2, 3], 3)], SHARE)
    for looked_at in ([1, 2], []):
        value = called(function, [1, 2, 3, 4], looked_at, 3)
        require(
            is_nan(value),
            f"A validation set of {len(looked_at)} tokens has no sequence of 3 to take a share of: "
            f"return NaN, not {shown(value)}, which would look measured.",
        )
    phase_2 = lab.PHASES[2].dataset()
    value = number(called(function, phase_2.train.tolist(), phase_2.val.tolist(), 8), "the share")
    require(
        close(value, phase_2.overlap(), abs_tol=1e-3),
        f"On small cases it is right, but for the exam of Phase 2 it gives {value:.3f}, not "
        f"{phase_2.overlap():.3f}.",
    )
    right("It agrees with the course's own measure, on small cases and on the exam of Phase 2.")


# Task 4

HEADER = re.compile(r"^# File:", re.MULTILINE)


@task
def split(function: Callable[..., Any]) -> None:
    """`function(text, share)`: training and validation text, cut at a file's header."""
    for text, share in _texts():
        train, val = _sides(called(function, text, share))
        _check_whole(text, train, val)
        _check_cut(text, share, len(train))
    wanted = "A text of one file cannot be cut; raise a ValueError that says so."
    try:
        function("# File: a.py\n\nprint(1)\n", 0.5)
    except ValueError as error:
        require(
            not re.search(r"m(in|ax)\(\)|substring|unpack|^$", str(error)),
            f"For a text of one file your function stops with `{error}`, which does not tell what "
            "is wrong. Notice that case, and raise a ValueError with a sentence of your own.",
        )
    except Exception as error:
        raise Mistake(f"{wanted} Yours stopped with {type(error).__name__}: {error}") from error
    else:
        raise Mistake(f"{wanted} Yours was returned as if all were well, with a side empty.")
    right("No file is on both sides, and no character is lost.")


def _texts() -> Iterable[tuple[str, float]]:
    def text(*lengths: int) -> str:
        files = (f"# File: {i}.py\n\n" + "x = 1\n" * n for i, n in enumerate(lengths))
        return "\n\n".join(files)

    corpus = lab.load_corpus().text
    yield corpus, 0.1
    yield corpus, 0.3
    yield text(10, 10, 10), 0.4
    yield text(30, 5), 0.9  # the nearest header is that of the first file, which is no cut
    yield text(5, 30), 0.05
    # A comment's words at the end of a line are no header.
    yield text(40) + "print(1)  # File: copied\n" * 3 + "\n\n" + text(10), 0.25
    lengths = random.Random(0)
    for _ in range(5):
        yield text(*(lengths.randint(1, 40) for _ in range(8))), lengths.uniform(0.1, 0.5)


def _sides(sides: Any) -> tuple[str, str]:
    pair = isinstance(sides, tuple | list) and len(sides) == 2
    require(
        pair and all(isinstance(side, str) for side in sides),
        "`split_by_file` should return two texts: `return train, val`.",
    )
    return sides[0], sides[1]


def _check_whole(text: str, train: str, val: str) -> None:
    """Nothing may be lost, doubled or swapped."""
    whole = train + val == text
    require(
        val + train != text or whole,
        "The two sides are swapped: return the training text first. The exam is at the end.",
    )
    require(
        whole or (train + val != "".join(HEADER.split(text)) and HEADER.match(val)),
        "A header is lost: joined again, the two sides should be the text, to the letter. "
        "(`split` takes out what it splits at.)",
    )
    require(
        whole,
        "Some text is lost or doubled: joined again, the two sides should be the text, to the "
        "letter, blank lines included.",
    )
    require(
        train and val,
        "One side is empty. The header of the first file, at the very start, is no place to cut.",
    )


def _check_cut(text: str, share: float, at: int) -> None:
    """The cut has to be at the header nearest to the last `share` of the text."""
    plain, headed = (1 - share) * len(text), text.startswith("# File:", at)
    require(
        headed or abs(at - plain) > 2,
        "That is the plain cut, in the middle of a file: its beginning is studied, its end "
        "examined. Move it to a header.",
    )
    require(
        not headed or text[at - 1] == "\n",
        "You cut at `# File:` in the middle of a line. A header begins its line; such words "
        "elsewhere are only text.",
    )
    require(headed, f"The validation text begins with {text[at : at + 20]!r}, which is no header.")
    cuts = [found.start() for found in HEADER.finditer(text) if found.start() > 0]
    if abs(at - plain) > min(abs(cut - plain) for cut in cuts) + 2:
        require(
            at != min(cuts, key=lambda cut: abs(cut - share * len(text))),
            "You measured the share from the front: `share` is what the exam gets, at the end of "
            "the text.",
        )
        where = "after" if at > plain else "before"
        raise Mistake(
            f"For share={share:.2g} you took a header {where} the plain cut and gave the exam "
            f"{1 - at / len(text):.0%}, but another header lies nearer to it. Compare those on "
            "either side."
        )


# Task 5

TWINS = 0.8  # share of the lines that two scripts have in common, in the same order
MOST_OVERLAP = 0.4  # as the held-out scripts have with the whole corpus, in right-sized tokens


def look_at(exam: Iterable[str]) -> None:
    """Print how large an exam of whole scripts is, and how much of it the others give away."""
    size, overlap, twins = _facts(_chosen(exam))
    print(f"size: {size:.1%} of the corpus's tokens")
    print(f"overlap: {overlap:.1%} of its 8-token sequences appear in the scripts left to train on")
    print(f"scripts left to train on that are nearly copies: {len(twins)}")
    for script, twin in twins.items():
        print(f"  {script} is nearly {twin}")


@task
def exam(names: Iterable[str]) -> None:
    """A list of scripts that is a fair exam for the rest of the corpus."""
    chosen = _chosen(names)
    size, overlap, twins = _facts(chosen)
    modules = [name for name in chosen if not name[0].isdigit()]
    require(
        not modules,
        f"{', '.join(modules)}: a module that the scripts import, not one of the numbered scripts. "
        "Its overlap is low because it is about other things, so it is no exam for writing "
        "scripts.",
    )
    if twins:
        script, twin = next(iter(twins.items()))
        raise Mistake(
            f"{script} is in the exam, while {twin}, nearly a copy of it, is left to train on. "
            f"Whole files are not enough: take both, or neither. ({len(twins)} such in all.)"
        )
    require(
        size >= 0.1,
        f"The exam has {size:.1%} of the tokens; below a tenth its loss hangs on a few lines.",
    )
    require(
        size <= 0.2,
        f"The exam has {size:.1%} of the tokens; above a fifth too little is left to train on.",
    )
    require(
        overlap <= MOST_OVERLAP,
        f"No near-copy is left, and still {overlap:.0%} of the exam's sequences appear in the "
        "training text: these scripts share functions with others. Look for scripts that share "
        "less.",
    )
    right(
        f"{size:.0%} of the tokens, {overlap:.0%} of the sequences studied, no near-copy left: as "
        "little overlap as the held-out scripts have."
    )


def _chosen(names: Any) -> list[str]:
    filled_in(names, "exam")
    fine = isinstance(names, list | tuple | set) and all(isinstance(n, str) for n in names)
    require(fine and names, "`exam` should be a list of some names of scripts.")
    known = [document.name for document in lab.load_corpus().documents]
    for name in (chosen := sorted(set(names))):
        near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0)
        require(name in known, f"There is no script {name[:80]!r}; did you mean {near[0]!r}?")
    return chosen


def _facts(chosen: list[str]) -> tuple[float, float, dict[str, str]]:
    """An exam's share of all tokens, its overlap, and a twin of each script that has one."""
    documents = lab.load_corpus().documents
    sides = [
        lab.Corpus(tuple(d for d in documents if (d.name in chosen) == examined)).text
        for examined in (False, True)
    ]
    tokenizer = lab.PHASES[2].dataset("right-sized").tokenizer
    train, val = (torch.tensor(tokenizer.encode(side), dtype=torch.long) for side in sides)
    overlap = lab.Dataset(train, val, tokenizer).overlap()
    rest = [d.name for d in documents if d.name not in chosen]
    twins = {n: twin for n in chosen for twin in reversed(rest) if _likeness(n, twin) >= TWINS}
    return len(val) / (len(train) + len(val)), overlap, twins


@cache
def _likeness(one: str, other: str) -> float:
    sources = {d.name: d.text.splitlines() for d in lab.load_corpus().documents}
    return difflib.SequenceMatcher(None, sources[one], sources[other], autojunk=False).ratio()
