"""Checks of the exercises for 03: recall or learning, copying, secrets, which step to keep."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import slmlab as lab
from slmlab.exercises.checking import (
    Mistake,
    attempted,
    called,
    expect,
    expect_function,
    name_of,
    number,
    require,
)
from slmlab.exercises.telling import right, task
from slmlab.validation import is_nan, shown

if TYPE_CHECKING:
    import pandas as pd

NAMES_NEEDED = 3  # of the domain, in a sample, on average


@cache
def _run() -> lab.Run:
    return lab.PHASES[3].recorded("right-sized")


# Task 1


@task
def recall(share: Any, learnt: Any, recites: Any) -> None:
    """The share of new lines that B finishes; the model that learnt most; that recites most."""
    expect(
        "share",
        share,
        0.2,
        {
            20.0: "That is per cent; give a share between 0 and 1.",
            8 / 280: "You divided by all lines; divide by the new ones only.",
            8 / 104: "You divided by the lines it finished; divide by the new lines it was asked.",
            96 / 240: "That is the share of the known lines; the question is about the new ones.",
            104 / 280: "That is the share of all lines, known ones included.",
        },
        otherwise="Divide the new lines that B finished by the new lines that it was asked.",
        abs_tol=5e-3,
    )
    expect(
        "learnt",
        learnt,
        "B",
        {
            "A": "A finishes the largest share of all its lines, but nearly all of those it had "
            "read. Learning shows on the new lines.",
            "C": "C finishes the largest number of new lines, but it was asked four times as many "
            "as B. Compare shares.",
        },
    )
    expect(
        "recites",
        recites,
        "A",
        {
            "B": "B finishes the largest number of known lines, but it was asked most of them. "
            "Compare shares.",
            "C": "Another model finishes a larger share of its known lines.",
        },
    )
    right("A knows its book best, B has learnt most; one share of all lines would not have told.")


# Task 2

WRITTEN = """
ids, training = dataset.tokenizer.encode(text[len(prompt) :]), dataset.train.tolist()
seen = {tuple(training[i : i + n]) for i in range(len(training) - n + 1)}
written = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
"""
COPIED = WRITTEN + "return sum(s in seen for s in written) / len(written) if written else 0"
MISTAKEN_COPIED = {
    COPIED.replace("text[len(prompt) :]", "text"): "You counted the prompt, too. Nobody copies a "
    "question: leave out its characters first.",
    COPIED.replace("dataset.train", "dataset.val"): "You searched the validation text. What the "
    "model can recite it has read in the training text.",
    COPIED.replace("train.tolist()", "train.tolist() + dataset.val.tolist()"): "You searched "
    "the training and the validation text; the model has read only the first.",
    WRITTEN + "return len(set(written) & seen) / len(seen)": "You looked the other way round: what "
    "share of the training text was written. Count the sequences of the sample.",
    WRITTEN + "return len(set(written) & seen) / len(set(written))": "A sequence that is written "
    "twice counts twice; you counted different ones (a set forgets how often).",
    "n = 1" + COPIED: "You counted single tokens; look for n of them in a row.",
    "n = 8" + COPIED: "You looked for 8 tokens in a row, whatever n is: use the argument.",
    COPIED.replace("sum(", "100 * sum("): "That is per cent; a share lies between 0 and 1.",
}


@task
def copied(function: Callable[..., Any]) -> None:
    """`function(text, prompt, dataset, n)`: the share of a sample that is copied."""
    dataset = _run().dataset
    expect_function(
        "copied(text, prompt, dataset, n)",
        function,
        [
            (sample["text"], sample["prompt"], dataset, n)
            for step, n in ((2000, 8), (150, 4))  # the last samples, and looping ones
            for sample in _run().samples
            if sample["step"] == step
        ],
        COPIED,
        MISTAKEN_COPIED,
        otherwise="For what was written after {prompt!r}, with n={n}, it gives {value}; it should "
        "be {truth}.",
        abs_tol=1e-3,
    )
    nothing = called(function, "# File:", "# File:", dataset, 8)
    require(
        is_nan(nothing) or number(nothing, "copied") == 0,
        f"Where nothing was written nothing is copied: give 0 or NaN, not {shown(nothing)}.",
    )
    right("It agrees with the column `copied` of the course's scorecard.")


# Task 3

MATCHES = (  # what was written, the training text
    ([3, 2, 1], [1, 2, 3]),
    ([1, 2, 3, 4], [9, 1, 2, 3, 8, 4]),
    ([7, 7, 1, 2, 3], [5, 1, 2, 3]),
    ([1, 2, 3], [1, 9, 1, 2, 3]),
    ([1, 2, 9, 1, 2, 3], [1, 2, 3, 4]),
    ([1, 23], [11, 23]),
    ([4, 5, 6], [4, 5, 6]),
    ([1, 1, 2], [1, 1, 1, 2]),
    ([1, 2], [3, 4]),
    ([], [1, 2]),
)
LONGEST = """
for n in range(len(written), 0, -1):
    for i in range(len(written) - n + 1):
        for j in range(len(training) - n + 1):
            if written[i : i + n] == training[j : j + n]:
                return n
return 0
"""
MISTAKEN_MATCHES = {
    "return sum(token in training for token in written)": "You counted tokens that occur "
    "somewhere; they must follow one another in the same order.",
    """
    best = [0] * (len(training) + 1)
    for a in written:
        before, best = best, [0]
        for j, b in enumerate(training):
            best.append(before[j] + 1 if a == b else max(before[j + 1], best[j]))
    return best[-1]
    """: "The tokens must follow one another; you skipped some in between.",
    LONGEST.replace("range(len(written) - n + 1)", "[0]"): "A match may begin anywhere in what was "
    "written, not only at its first token.",
    """
    best = 0
    for start, token in enumerate(written):
        place, n = training.index(token) if token in training else len(training), 0
        while written[start : start + n + 1] == training[place : place + n + 1]:
            if place + n == len(training):
                break
            n += 1
        best = max(best, n)
    return best
    """: "You tried only the first place where a token appears in the training text; a later one "
    "may go on longer.",
    "return sum(a == b for a, b in zip(written, training))": "You compared both at the same "
    "places; a match may be anywhere.",
    """
    text = ", ".join(map(str, training))
    for n in range(len(written), 0, -1):
        for i in range(len(written) - n + 1):
            if ", ".join(map(str, written[i : i + n])) in text:
                return n
    return 0
    """: "Digits are no tokens: the 1 of 11 is not the token 1.",
}


@task
def longest(function: Callable[..., Any]) -> None:
    """`function(written, training)`: the longest run of tokens that both share."""
    signature, truth = "longest(written, training)", lab.longest_match
    expect_function(signature, function, MATCHES, truth, MISTAKEN_MATCHES, otherwise=_wrong_length)
    training = _run().dataset.train.tolist()
    for sample in _run().samples[-8:-6]:
        ids = _run().dataset.tokenizer.encode(sample["text"][len(sample["prompt"]) :])
        expect_function(
            signature,
            function,
            [(ids, training)],
            truth,
            otherwise=f"On small lists it is right, but for the sample after {sample['prompt']!r} "
            "it gives {value}, not {truth}.",
        )
    right("On small lists, and on samples of the recorded run.")


def _wrong_length(value: float, truth: float, written: list[int], training: list[int]) -> str:
    why = {
        truth - 1: " One is missing: mind where a slice ends, and the last token.",
        truth + 1: " That is one too many.",
    }
    told = f"For {written} in {training} it gives {value:g}; it should be {truth:g}."
    return told + why.get(value, "")


# Task 4


@task
def secrets(function: Callable[..., Any]) -> None:
    """`function(line)`: whether a line of code looks as if it held a secret."""
    # `None` is a fair way to say no, as in `return re.search(…)`.
    verdicts = [(line, hint, _found(function, line)) for line, hint in _secret_lines()]
    require(
        any(found is not None and found is not ... for _, _, found in verdicts),
        f"`{name_of(function)}` returns nothing yet, whatever the line: write its body.",
    )
    for line, hint, found in verdicts:
        require(found, f"This line gets through your filter: `{line}`. {hint}")
    for line, hint in INNOCENT:
        require(
            not _found(function, line),
            f"Your filter takes out a harmless line: `{line}`. {hint}",
        )
    ordinary = f"{lab.load_corpus().text}\n{lab.load_held_out().text}".splitlines()
    flagged = [line for line in ordinary if _found(function, line)]
    require(
        not flagged,
        f"Your filter takes out {len(flagged):,} of the {len(ordinary):,} lines of the course's "
        f"scripts, which hold no secret; such as `{flagged[0].strip() if flagged else ''}`.",
    )
    right(
        f"{len(verdicts)} of {len(verdicts)} secrets are flagged, and none of the course's "
        f"{len(ordinary):,} lines."
    )


def _found(function: Callable[..., Any], line: str) -> Any:
    """What a filter returns for a line, which must be true or not."""
    found = attempted(function, line)
    try:
        bool(found)
    except Exception:  # a table has no truth value, and says so in its own way
        told = f"`{name_of(function)}` returns {shown(found)}; it should return True or False."
        raise Mistake(told) from None
    return found


def _secret_lines() -> list[tuple[str, str]]:
    """Lines with made-up secrets, and what to think of if one is missed.

    They are put together here, so that no tool that searches files for secrets trips over them.
    """
    key, aws = "sk-" + "aB3dE5x" * 5, "AKIA" + "Q7ZM" * 4
    value = "correct horse " + "battery"
    named = "A name that hints at a secret is given a value in quotes."
    return [
        (f'api_key = "{key}"', named),
        (f'password = "{value}"', named + " The value may hold blanks."),
        (f"db_password = '{value}'", "Quotes may be single ones, and the name may be longer."),
        (f'OPENAI_API_KEY = "{value}"', "Names are often written in capitals."),
        (f'password="{value}"', "There need be no blanks around the sign."),
        (f'    "secret": "{value}",', "In JSON the name is in quotes too, and a colon follows it."),
        (f'client = Client(url, auth_token="{value}")', "The name may be inside a call."),
        (f'SECRET_KEY = "{value}"', named),
        (f'apikey = "{value[:6]}"', "Some write it without `_`; six characters are enough."),
        (
            f'boto3.client("s3", "{aws}")',
            "The shape gives away a key of AWS, whatever the name.",
        ),
        (f'answer = ask("Why?", "{key}")', "The shape gives away a key that begins with sk-."),
        (f"# the old key was {key[:23]}", "A comment is learnt like any line."),
        ("-----BEGIN " + "RSA PRIVATE KEY-----", "This line begins a private key."),
        ("-----BEGIN " + "PRIVATE KEY-----", "This line begins a private key; no RSA in it."),
    ]


INNOCENT = (
    ('api_key = os.environ["OPENAI_API_KEY"]', "It says where the key is, not what it is."),
    ('password = getpass("Your password: ")', "It asks for a password; the text is a question."),
    ('print("Enter your password")', "It only mentions a password."),
    ('password = ""', "The value is empty."),
    ("max_tokens = 30", "Tokens are also what a model reads, and no value in quotes is given."),
    ("token = tokens[0]", "No value in quotes is given."),
    ('tokenizer = "gpt2-large-english"', "The name does not end in `token`; it only begins so."),
    ('secretary = "Miss Moneypenny"', "The name does not end in `secret`; it only begins so."),
    (
        'queue = "task-queue-for-background-workers"',
        "The letters sk- are inside a word here, not at its beginning.",
    ),
    ("# Never write a password into a script.", "It only mentions a password."),
)


# Task 5


@cache
def _history() -> "pd.DataFrame":
    return lab.scorecard_history(_run())


@task
def steps(for_new_scripts: Any, for_retyping: Any, for_sharing: Any) -> None:
    """Which step of the recorded run serves which job."""
    history = _history()
    test, val, copies = history["test_loss"], history["val_loss"], history["copied"]

    step = _step(for_new_scripts, "for_new_scripts")
    require(
        step != val.idxmin(),
        "That step has the lowest validation loss; but half of this text was studied, so gains on "
        "the known half may hide losses on the new one. Which exam holds only new scripts?",
    )
    require(
        test[step] <= test.min() + 0.02,
        f"At step {step} the loss on new scripts is {test[step]:.2f}; elsewhere it is lower. "
        + ("Stop earlier: it rises." if step > test.idxmin() else "It still falls: go on."),
    )

    step = _step(for_retyping, "for_retyping")
    require(
        copies[step] >= 0.85 * copies.max(),
        f"At step {step} {copies[step]:.0%} of what it writes is copied. To retype what exists is "
        "to copy: for this job a high `copied` is good.",
    )

    step = _step(for_sharing, "for_sharing")
    names = history["domain names"]
    require(
        names[step] >= NAMES_NEEDED,
        f"At step {step} it copies {copies[step]:.0%}, but knows only {names[step]:.1f} names of "
        f"the domain in a sample. First look which steps reach {NAMES_NEEDED}.",
    )
    least = copies[names >= NAMES_NEEDED].min()
    require(
        copies[step] <= least + 0.1,
        f"At step {step} it knows the names, and recites: {copies[step]:.0%} is copied. Among the "
        f"steps with at least {NAMES_NEEDED} names there is one which copies far less.",
    )
    right("One run, several models: which step is best depends on the job, not on a loss alone.")


def _step(answer: Any, name: str) -> int:
    step = number(answer, name)
    require(
        step in _history().index,
        f"`{name}` is {step:g}, at which there was no evaluation; take a step of the table.",
    )
    return int(step)
