"""Checks of the exercises for 03: recall or learning, copying, secrets, which step to keep."""

import math
from collections.abc import Callable
from functools import cache, wraps
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from slmlab.corpus import load_corpus, load_held_out, ngrams
from slmlab.diagnosis import copy_rate, longest_match, scorecard_history
from slmlab.exercises.checking import called, check_values, letter, number, require, right
from slmlab.phases import PHASES
from slmlab.runs import Run

if TYPE_CHECKING:
    import pandas as pd

NAMES_NEEDED = 3  # of the domain, in a sample, on average


@cache
def _run() -> Run:
    return PHASES[3].recorded("right-sized")


# Task 1


def recall(share: Any, learnt: Any, recites: Any) -> None:
    """The share of new lines that B finishes; the model that learnt most; that recites most."""
    share = number(share, "share")
    mistaken = {
        20.0: "That is per cent; give a share between 0 and 1.",
        8 / 280: "You divided by all lines; divide by the new ones only.",
        8 / 104: "You divided by the lines it finished; divide by the new lines it was asked.",
        96 / 240: "That is the share of the known lines; the question is about the new ones.",
        104 / 280: "That is the share of all lines, known ones included.",
    }
    for value, sentence in mistaken.items():
        require(not math.isclose(share, value, abs_tol=5e-3), sentence)
    require(math.isclose(share, 0.2, abs_tol=5e-3), f"The share is not {share:g}.")
    learnt = letter(learnt, "learnt", "ABC")
    require(
        learnt != "A",
        "A finishes the largest share of all its lines, but nearly all of those it had read. "
        "Learning shows on the new lines.",
    )
    require(
        learnt != "C",
        "C finishes the largest number of new lines, but it was asked four times as many as B. "
        "Compare shares.",
    )
    recites = letter(recites, "recites", "ABC")
    require(
        recites != "B",
        "B finishes the largest number of known lines, but it was asked most of them. Compare "
        "shares.",
    )
    require(recites != "C", "Another model finishes a larger share of its known lines.")
    right("A knows its book best, B has learnt most; one share of all lines would not have told.")


# Task 2


def copied(function: Callable[..., Any]) -> None:
    """`function(text, prompt, dataset, n)`: the share of a sample that is copied."""
    dataset = _run().dataset
    encode = dataset.tokenizer.encode
    last, looping = (
        [(s["text"], s["prompt"]) for s in _run().samples if s["step"] == step]
        for step in (2000, 150)
    )
    cases = [(*sample, 8) for sample in last] + [(*sample, 4) for sample in looping]
    values = []
    for text, prompt, n in cases:
        value = number(called(function, text, prompt, dataset, n), "copied")
        # Who encodes first and cuts the prompt off after that may get other tokens at the border.
        cut = encode(text)[len(encode(prompt)) :]
        also = copy_rate(cut, dataset.train.tolist(), n)
        values.append(_copied(text, prompt, n) if math.isclose(value, also) else value)
    check_values(values, cases, _copied, MISCOUNTS, _wrong_copied)
    nothing = called(function, "# File:", "# File:", dataset, 8)
    require(
        float(nothing) == 0 or math.isnan(float(nothing)),
        f"Where nothing was written nothing is copied: give 0 or NaN, not {nothing}.",
    )
    right("It agrees with the column `copied` of the course's scorecard.")


def _written(text: str, prompt: str) -> list[int]:
    return _run().dataset.tokenizer.encode(text[len(prompt) :])


def _copied(text: str, prompt: str, n: int) -> float:
    return copy_rate(_written(text, prompt), _training(), n)


def _training() -> list[int]:
    return _run().dataset.train.tolist()


def _different(text: str, prompt: str, n: int) -> tuple[set, set]:
    """The different sequences of what was written, and of the training text."""
    return set(ngrams(_written(text, prompt), n)), set(ngrams(_training(), n))


def _different_found(text: str, prompt: str, n: int, divide_by: int) -> float:
    sequences = _different(text, prompt, n)
    return len(sequences[0] & sequences[1]) / len(sequences[divide_by])


MISCOUNTS = (  # what a likely mistake gives, and what to say of it
    (
        lambda text, prompt, n: _copied(text, "", n),
        "You counted the prompt, too. Nobody copies a question: leave out its characters first.",
    ),
    (
        lambda text, prompt, n: copy_rate(_written(text, prompt), _run().dataset.val.tolist(), n),
        "You searched the validation text. What the model can recite it has read in the training "
        "text.",
    ),
    (
        lambda text, prompt, n: copy_rate(
            _written(text, prompt), _training() + _run().dataset.val.tolist(), n
        ),
        "You searched the training and the validation text; the model has read only the first.",
    ),
    (
        lambda text, prompt, n: _different_found(text, prompt, n, 1),
        "You looked the other way round: what share of the training text was written. Count the "
        "sequences of the sample.",
    ),
    (
        lambda text, prompt, n: _different_found(text, prompt, n, 0),
        "A sequence that is written twice counts twice; you counted different ones (a set forgets "
        "how often).",
    ),
    (
        lambda text, prompt, n: _copied(text, prompt, 1),
        "You counted single tokens; look for n of them in a row.",
    ),
    (
        lambda text, prompt, n: _copied(text, prompt, 8),
        "You looked for 8 tokens in a row, whatever n is: use the argument.",
    ),
    (
        lambda text, prompt, n: 100 * _copied(text, prompt, n),
        "That is per cent; a share lies between 0 and 1.",
    ),
)


def _wrong_copied(value: float, truth: float, text: str, prompt: str, n: int) -> str:
    return (
        f"For what was written after {prompt!r}, with n={n}, it gives {value:.3f}; it should be "
        f"{truth:.3f}."
    )


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


def _beginning(written: list[int], training: list[int]) -> int:
    beginnings = (written[:k] for k in range(len(written) + 1))
    return max(len(b) for b in beginnings if longest_match(b, training) == len(b))


def _with_others_between(written: list[int], training: list[int]) -> int:
    best = [0] * (len(training) + 1)  # the longest common subsequence with each beginning
    for a in written:
        before = best
        best = [0]
        for j, b in enumerate(training):
            best.append(before[j] + 1 if a == b else max(before[j + 1], best[j]))
    return best[-1]


def _first_places(written: list[int], training: list[int]) -> int:
    def together(start: int) -> int:
        if written[start] not in training:
            return 0
        pairs = zip(written[start:], training[training.index(written[start]) :], strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

    return max(map(together, range(len(written))), default=0)


def _digits(written: list[int], training: list[int]) -> int:
    text, n = str(training)[1:-1], len(written)
    parts = [written[i:j] for i in range(n) for j in range(i + 1, n + 1)]
    return max((len(part) for part in parts if str(part)[1:-1] in text), default=0)


MISMATCHES = (  # what a likely mistake gives, and what to say of it
    (
        lambda written, training: sum(token in training for token in written),
        "You counted tokens that occur somewhere; they must stand in a row, in the same order.",
    ),
    (
        _with_others_between,
        "The tokens must follow one another; you skipped some in between.",
    ),
    (
        _beginning,
        "A match may begin anywhere in what was written, not only at its first token.",
    ),
    (
        _first_places,
        "You tried only the first place at which a token stands in the training text; a later one "
        "may go on longer.",
    ),
    (
        lambda written, training: sum(a == b for a, b in zip(written, training, strict=False)),
        "You compared both at the same places; a match may stand anywhere.",
    ),
    (_digits, "Digits are no tokens: the 1 of 11 is not the token 1."),
)


def _wrong_length(value: float, truth: int, written: list[int], training: list[int]) -> str:
    why = {
        truth - 1: " One is missing: mind where a slice ends, and the last token.",
        truth + 1: " That is one too many.",
    }
    told = f"For {written} in {training} it gives {value:g}; it should be {truth}."
    return told + why.get(value, "")


def longest(function: Callable[..., Any]) -> None:
    """`function(written, training)`: the longest run of tokens that stands in the training."""
    name = "longest"
    values = [number(called(function, list(w), list(t)), name) for w, t in MATCHES]
    check_values(values, MATCHES, longest_match, MISMATCHES, _wrong_length)
    training = _training()
    for sample in _run().samples[-8:-6]:
        ids = _written(sample["text"], sample["prompt"])
        value = number(called(function, ids, training), name)
        truth = longest_match(ids, training)
        require(
            value == truth,
            f"On small lists it is right, but for the sample after {sample['prompt']!r} it gives "
            f"{value:g}, not {truth}.",
        )
    right("On small lists, and on samples of the recorded run.")


# Task 4


def secrets(function: Callable[..., Any]) -> None:
    """`function(line)`: whether a line of code looks as if it held a secret."""

    @wraps(function)
    def boxed(line: str) -> tuple[Any]:
        return (function(line),)  # `None` is a fair way to say no, as in `return re.search(…)`

    def verdict(line: str) -> Any:
        return called(boxed if callable(function) else function, line)[0]

    verdicts = [(line, hint, verdict(line)) for line, hint in _secret_lines()]
    require(
        any(found is not None and found is not ... for _, _, found in verdicts),
        f"`{function.__name__}` returns nothing yet, whatever the line: write its body.",
    )
    for line, hint, found in verdicts:
        require(found, f"This line gets through your filter: `{line}`. {hint}")
    for line, hint in INNOCENT:
        require(not verdict(line), f"Your filter takes out a harmless line: `{line}`. {hint}")
    ordinary = f"{load_corpus().text}\n{load_held_out().text}".splitlines()
    flagged = [line for line in ordinary if verdict(line)]
    require(
        not flagged,
        f"Your filter takes out {len(flagged):,} of the {len(ordinary):,} lines of the course's "
        f"scripts, which hold no secret; such as `{flagged[0].strip() if flagged else ''}`.",
    )
    right(
        f"{len(verdicts)} of {len(verdicts)} secrets are flagged, and none of the course's "
        f"{len(ordinary):,} lines."
    )


def _secret_lines() -> list[tuple[str, str]]:
    """Lines with made-up secrets, and what to think of if one is missed.

    They are put together here, so that no tool that searches files for secrets trips over them.
    """
    key, aws = "sk-" + "aB3dE5x" * 5, "AKIA" + "Q7ZM" * 4
    value = "correct horse " + "battery"
    named = "A name that speaks of a secret is given a value in quotes."
    return [
        (f'api_key = "{key}"', named),
        (f'password = "{value}"', named + " The value may hold blanks."),
        (f"db_password = '{value}'", "Quotes may be single ones, and the name may be longer."),
        (f'OPENAI_API_KEY = "{value}"', "Names are often written in capitals."),
        (f'password="{value}"', "There need be no blanks around the sign."),
        (f'    "secret": "{value}",', "In JSON the name is in quotes too, and a colon follows it."),
        (f'client = Client(url, auth_token="{value}")', "The name may stand within a call."),
        (f'SECRET_KEY = "{value}"', named),
        (f'apikey = "{value[:6]}"', "Some write it without `_`; six characters are enough."),
        (
            f'boto3.client("s3", "{aws}")',
            "A key of AWS tells itself by its shape, whatever the name.",
        ),
        (f'answer = ask("Why?", "{key}")', "A key that begins with sk- tells itself by its shape."),
        (f"# the old key was {key[:23]}", "A comment is learnt like any line."),
        ("-----BEGIN " + "RSA PRIVATE KEY-----", "This line begins a private key."),
        ("-----BEGIN " + "PRIVATE KEY-----", "This line begins a private key; no RSA in it."),
    ]


INNOCENT = (
    ('api_key = os.environ["OPENAI_API_KEY"]', "It says where the key is, not what it is."),
    ('password = getpass("Your password: ")', "It asks for a password; the text is a question."),
    ('print("Enter your password")', "It only speaks of a password."),
    ('password = ""', "The value is empty."),
    ("max_tokens = 30", "Tokens are also what a model reads, and no value in quotes is given."),
    ("token = tokens[0]", "No value in quotes is given."),
    ('tokenizer = "gpt2-large-english"', "The name does not end in `token`; it only begins so."),
    ('secretary = "Miss Moneypenny"', "The name does not end in `secret`; it only begins so."),
    (
        'queue = "task-queue-for-background-workers"',
        "The letters sk- stand inside a word here, not at its beginning.",
    ),
    ("# Never write a password into a script.", "It only speaks of a password."),
)


# Task 5


@cache
def _history() -> "pd.DataFrame":
    return scorecard_history(_run())


def steps(for_new_scripts: Any, for_retyping: Any, for_sharing: Any) -> None:
    """Which step of the recorded run serves which job."""
    history = _history()
    test, val, copies = history["test_loss"], history["val_loss"], history["copied"]

    step = _step(for_new_scripts, "for_new_scripts")
    require(
        step != val.idxmin(),
        "That step has the lowest validation loss; but half of this exam was studied, so gains on "
        "the known half pay for losses on the new one. Which exam holds only new scripts?",
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
    names = history["domain hits"]
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
