"""Checks of the exercises for 02: a gap's sign, reading often, contamination, clean splits."""

import difflib
import math
import random
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch

from slmlab.corpus import Corpus, Dataset, corpus_tokenizer, load_corpus, ngrams
from slmlab.exercises.checking import (
    Misreading,
    Mistake,
    called,
    check_values,
    filled_in,
    letter,
    number,
    require,
    right,
)
from slmlab.phases import PHASES


def sign(gap: Any, suspect: Any, reason: Any) -> None:
    """Run B's gap, the run whose exam is suspicious, and the letter of the reason."""
    gap = number(gap, "gap")
    require(
        not math.isclose(gap, 0.17, abs_tol=5e-3),
        "You subtracted the other way round, or dropped the sign: the gap is validation − "
        "training, so that memorising makes it positive.",
    )
    require(
        not math.isclose(gap, 0.66 / 0.83, abs_tol=5e-3),
        "That is the ratio of the two losses; the gap is their difference.",
    )
    require(math.isclose(gap, -0.17, abs_tol=5e-3), f"The gap of run B is not {gap:g}.")
    suspect = letter(suspect, "suspect", "ABC")
    require(
        suspect != "A",
        "Run A's validation loss is below a training loss that was taken with dropout on. Read "
        "its note: compare losses which were taken in the same way.",
    )
    require(
        suspect != "C",
        "Run C has memorised a lot, and its exam tells so: nothing speaks against the exam. Look "
        "for an exam that is too easy.",
    )
    reason = letter(reason, "reason", "abcd")
    told = {
        "a": "A large gap speaks of memorising, and run B's is small. What is odd is its sign.",
        "b": "Run B's losses were both taken with dropout off, so dropout explains nothing here.",
        "d": "The lowest loss of three exams is the best model only if the exams are equally hard.",
    }
    require(reason == "c", told.get(reason, ""))
    right("Validation below training, both taken in the same way, is an alarm and no triumph.")


# Task 2


def reading(stop: Any, times: Any, steps: Any) -> None:
    """Where to stop, how often the text was read by then, and the steps for more text."""
    history = PHASES[2].recorded("right-sized").history.set_index("step")
    by = {column: history[column].idxmin() for column in ("test_loss", "val_loss", "train_loss")}
    stop = number(stop, "stop")
    require(
        stop != by["val_loss"],
        "At that step the validation loss is lowest, but this exam was studied. Which column is "
        "the exam that nobody copied?",
    )
    require(stop != by["train_loss"], "At that step the training loss is lowest; it always falls.")
    require(
        stop in history.index,
        f"There is no evaluation at step {stop:g}; give a value of the column `step`.",
    )
    require(stop == by["test_loss"], "The held-out loss is lower at another step.")

    batch, context, tokens = 8, 32, 4500
    times = number(times, "times")
    read = stop * batch * context
    mistaken = {
        read: "That is the number of tokens read; divide it by the tokens of the training text.",
        stop * batch / tokens: "Each of the 8 sequences of a step is 32 tokens long; count tokens.",
        stop * context / tokens: "A step reads 8 sequences, not one.",
        stop / tokens: "A step reads more than one token: 8 sequences of 32 tokens each.",
        read / 5000: "The last tenth of the 5,000 tokens is the exam, and is not read in training.",
        1000 * batch * context / tokens: "That is for all 1,000 steps; you stop earlier.",
    }
    for value, sentence in mistaken.items():
        require(not math.isclose(times, value, rel_tol=0.01), sentence)
    require(
        math.isclose(times, read / tokens, rel_tol=0.02),
        f"`times` is {times:g}; it should be the tokens read until step {stop:.0f}, divided by the "
        "tokens of the training text.",
    )

    steps = number(steps, "steps")
    wanted = read / tokens * 18_000 / (batch * context)
    mistaken = {
        wanted * 20 / 18: "Only nine tenths of the 20,000 tokens are trained on.",
        stop: "The same steps read the same tokens: four times the text is then read a quarter as "
        "often.",
        wanted * context: "A step reads 8 sequences of 32 tokens, not 8 tokens.",
        wanted * batch: "A step reads 8 sequences, not one.",
        stop / 4: "More text takes more steps, not fewer.",
    }
    for value, sentence in mistaken.items():
        require(not math.isclose(steps, value, rel_tol=0.01), sentence)
    require(
        math.isclose(steps, wanted, rel_tol=0.02),
        f"`steps` is {steps:g}: read the new training text as often as the old one. How many "
        "tokens is that, and how many does a step read?",
    )
    right("As often as before: four times the text, four times the steps.")


# Task 3

SMALL_CASES = (  # the text read, the text looked at, n
    ([1, 2, 3, 4, 5, 6, 7, 8], [3, 4, 5, 6, 99], 3),
    ([1, 2, 3, 4], [1, 2, 3, 1, 2, 9, 1, 2], 2),
    ([5, 4, 3, 2, 1], [1, 2, 3, 4, 5], 2),
    ([1, 2, 9, 3, 4], [1, 2, 3, 4], 3),
    ([1, 12, 3, 4], [11, 2, 3, 4, 7], 2),
)


def _share(read: list[int], looked_at: list[int], n: int) -> float:
    """The share by the package's own measure."""
    train, val = (torch.tensor(ids, dtype=torch.long) for ids in (read, looked_at))
    return Dataset(train, val, None).contamination(n)


def _found(read: list[int], grams: Iterable[tuple[int, ...]], n: int) -> list[bool]:
    seen = set(ngrams(read, n))
    return [gram in seen for gram in grams]


def _mean(values: list[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def _digits(ids: Iterable[int]) -> str:
    return "".join(map(str, ids))


MISREADINGS: tuple[Misreading, ...] = (
    (
        lambda read, looked_at, n: _share(looked_at, read, n),
        "You looked the other way round: what share of the training text stands in the validation "
        "set. It is the exam's sequences that are counted.",
    ),
    (
        lambda read, looked_at, n: _mean(_found(read, set(ngrams(looked_at, n)), n)),
        "A sequence that the exam asks twice counts twice; you counted different sequences (a set "
        "of the validation set's forgets how often).",
    ),
    (
        lambda read, looked_at, n: _mean([i in read for i in looked_at]),
        "You counted single tokens. Any text of the same language shares those; look for n of "
        "them in a row.",
    ),
    (
        lambda read, looked_at, n: _mean([set(gram) <= set(read) for gram in ngrams(looked_at, n)]),
        "The n tokens must stand in the training text one after the other, in the same order, not "
        "just anywhere.",
    ),
    (
        lambda read, looked_at, n: _mean(_found(read, ngrams(looked_at, n)[::n], n)),
        "You cut the validation set into blocks of n. A sequence begins at every token, so that "
        "neighbours overlap.",
    ),
    (
        lambda read, looked_at, n: _mean(_found(read, ngrams(looked_at, n)[:-1], n)),
        "You lost the last sequence of the validation set: of N tokens, N − n + 1 sequences of n "
        "begin.",
    ),
    (
        lambda read, looked_at, n: _mean(_found(read[:-1], ngrams(looked_at, n), n)),
        "You lost the last sequence of the training text: of N tokens, N − n + 1 sequences of n "
        "begin.",
    ),
    (
        lambda read, looked_at, n: _mean(_found(read[:-1], ngrams(looked_at, n)[:-1], n)),
        "You lost the last sequence of both texts: of N tokens, N − n + 1 sequences of n begin.",
    ),
    (
        lambda read, looked_at, n: sum(_found(read, ngrams(looked_at, n), n)) / len(looked_at),
        "You divided by the number of tokens; divide by the number of sequences, of which there "
        "are N − n + 1.",
    ),
    (
        lambda read, looked_at, n: sum(_found(read, ngrams(looked_at, n), n)),
        "That is how many sequences were found; divide by how many there are.",
    ),
    (
        lambda read, looked_at, n: _mean(
            [_digits(gram) in _digits(read) for gram in ngrams(looked_at, n)]
        ),
        "Written one after the other, the ids 1, 12 look like 11, 2. Compare ids, not digits.",
    ),
    (
        lambda read, looked_at, n: 100 * _share(read, looked_at, n),
        "That is per cent; a share lies between 0 and 1.",
    ),
)


def contamination(function: Callable[..., Any]) -> None:
    """`function(train, val, n)`: the share of the exam's n-token sequences that were studied."""
    name = "contamination"
    values = [number(called(function, list(r), list(v), n), name) for r, v, n in SMALL_CASES]
    check_values(values, SMALL_CASES, _share, MISREADINGS, _wrong_share)
    whole = number(called(function, [1, 2, 3], [1, 2, 3], 3), name)
    require(whole == 1, f"For [1, 2, 3] in [1, 2, 3] with n=3 it gives {whole:g}; it should be 1.")
    for looked_at in ([1, 2], []):
        value = called(function, [1, 2, 3, 4], looked_at, 3)
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise Mistake(f"`{name}` returned {value!r}; it should return a number.") from None
        require(
            math.isnan(value),
            f"A validation set of {len(looked_at)} tokens has no sequence of 3, so there is "
            f"nothing to take a share of: return NaN, not {value:g}, which would look measured.",
        )
    phase_2 = PHASES[2].dataset()
    value = number(called(function, phase_2.train.tolist(), phase_2.val.tolist(), 8), name)
    require(
        math.isclose(value, phase_2.contamination(), abs_tol=1e-3),
        f"On small cases it is right, but for the exam of Phase 2 it gives {value:.3f}, not "
        f"{phase_2.contamination():.3f}.",
    )
    right("It agrees with the course's own measure, on small cases and on the exam of Phase 2.")


def _wrong_share(value: float, truth: float, read: list[int], looked_at: list[int], n: int) -> str:
    case = f"train={read}, val={looked_at} and n={n}"
    return f"For {case} it gives {value:.4g}; it should be {truth:.4g}."


# Task 4

HEADER = re.compile(r"^# File:", re.MULTILINE)


def split(function: Callable[..., Any]) -> None:
    """`function(text, share)`: training and validation text, cut at a file's header."""
    for text, share in _texts():
        _check_split(text, share, called(function, text, share))
    alone = "# File: a.py\n\nprint(1)\n"
    try:
        sides = function(alone, 0.5)
    except ValueError as error:
        sides = None
        require(
            not re.search(r"m(in|ax)\(\)|substring|unpack|^$", str(error)),
            f"For a text of one file your function stops with `{error}`, which does not tell what "
            "is wrong. Notice that case, and raise a ValueError with a sentence of your own.",
        )
    except Exception as error:
        raise Mistake(
            f"A text of one file cannot be cut; raise a ValueError that says so. Yours stopped "
            f"with {type(error).__name__}: {error}"
        ) from error
    require(
        sides is None,
        "A text of one file cannot be cut without leaving a side empty, yet yours was returned "
        "as if all were well; raise a ValueError that says so.",
    )
    right("No file is on both sides, and no character is lost.")


def _texts() -> Iterable[tuple[str, float]]:
    def text(*lengths: int) -> str:
        files = (f"# File: {i}.py\n\n" + "x = 1\n" * n for i, n in enumerate(lengths))
        return "\n\n".join(files)

    corpus = load_corpus().text
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


def _check_split(text: str, share: float, sides: Any) -> None:
    name = "split_by_file"
    require(
        isinstance(sides, (tuple, list))
        and len(sides) == 2
        and all(isinstance(side, str) for side in sides),
        f"`{name}` should return two texts: `return train, val`.",
    )
    train, val = sides
    require(
        val + train != text or train + val == text,
        "The two sides are swapped: return the training text first. The exam is at the end.",
    )
    if train + val != text:
        without = "".join(HEADER.split(text))
        require(
            train + val != without and HEADER.match(val),
            "A header is lost: joined again, the two sides should be "
            "the text, to the letter. (`split` takes out what it splits at.)",
        )
        raise Mistake(
            "Some text is lost or doubled: joined again, the two sides should be the text, to the "
            "letter, blank lines included."
        )
    require(
        train and val,
        "One side is empty. The header of the first file, at the very start, is no place to cut.",
    )
    at = len(train)
    plain = (1 - share) * len(text)
    require(
        val.startswith("# File:") or abs(at - plain) > 2,
        "That is the plain cut, in the middle of a file: its beginning is studied, its end "
        "examined. Move it to a header.",
    )
    require(
        train.endswith("\n") or not val.startswith("# File:"),
        "You cut at `# File:` in the middle of a line. A header begins its line; such words "
        "elsewhere are only text.",
    )
    require(
        val.startswith("# File:"),
        f"The validation text begins with {val[:20]!r}, which is no header.",
    )
    cuts = [found.start() for found in HEADER.finditer(text) if found.start() > 0]
    nearest = min(abs(cut - plain) for cut in cuts)
    if abs(at - plain) > nearest + 2:
        require(
            not math.isclose(at, min(cuts, key=lambda cut: abs(cut - share * len(text)))),
            "You measured the share from the front: `share` is what the exam gets, at the end of "
            "the text.",
        )
        where = "after" if at > plain else "before"
        raise Mistake(
            f"For share={share:.2g} you took a header {where} the plain cut and gave the exam "
            f"{len(val) / len(text):.0%}, but another header lies nearer to it. Compare those on "
            "either side."
        )


# Task 5

TWINS = 0.8  # share of the lines that two scripts have in common, in the same order
MOST_OVERLAP = 0.4  # as the course's own held-out scripts have with the whole corpus


def look_at(exam: Iterable[str]) -> None:
    """Print how large an exam of whole scripts is, and how much of it the others give away."""
    size, overlap, twins = _facts(_chosen(exam))
    print(f"size: {size:.1%} of the corpus's tokens")
    print(f"overlap: {overlap:.1%} of its 8-token sequences stand in the scripts left to train on")
    print(f"scripts left to train on that are nearly copies: {len(twins)}")
    for script, twin in twins.items():
        print(f"  {script} is nearly {twin}")


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
        f"No near-copy is left, and still {overlap:.0%} of the exam's sequences stand in the "
        "training text: these scripts share functions with others. Look for scripts that stand "
        "more alone.",
    )
    right(
        f"{size:.0%} of the tokens, {overlap:.0%} of the sequences studied, no near-copy left: as "
        "fair as the held-out scripts."
    )


def _chosen(names: Any) -> list[str]:
    filled_in(names, "exam")
    require(not isinstance(names, str), "`exam` should be a list of names of scripts.")
    chosen = list(dict.fromkeys(str(name) for name in names))
    known = [document.name for document in load_corpus().documents]
    for name in chosen:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0)
        require(name in known, f"There is no script {name!r}; did you mean {near[0]!r}?")
    require(chosen, "`exam` is an empty list; name some scripts.")
    return sorted(chosen)


def _facts(chosen: list[str]) -> tuple[float, float, dict[str, str]]:
    """An exam's share of all tokens, its overlap, and a twin of each script that has one."""
    documents = load_corpus().documents
    sides = [
        Corpus(tuple(d for d in documents if (d.name in chosen) == examined)).text
        for examined in (False, True)
    ]
    tokenizer = corpus_tokenizer(load_corpus().text, "right-sized")
    train, val = (torch.tensor(tokenizer.encode(side), dtype=torch.long) for side in sides)
    overlap = Dataset(train, val, tokenizer).contamination()
    rest = [d.name for d in documents if d.name not in chosen]
    twins = {
        name: twin for name in chosen for twin in reversed(rest) if _likeness(name, twin) >= TWINS
    }
    return len(val) / (len(train) + len(val)), overlap, twins


@cache
def _likeness(one: str, other: str) -> float:
    sources = {document.name: document.source.splitlines() for document in load_corpus().documents}
    return difflib.SequenceMatcher(None, sources[one], sources[other], autojunk=False).ratio()
