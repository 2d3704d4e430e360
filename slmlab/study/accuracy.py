"""Teacher-forced accuracy: where it comes from, and what is left of it in free-running text.

Teacher-forced means that a model guesses each token after the text's own tokens, however wrong its
guesses before were; in free-running text it goes on from its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from slmlab.engine.decoding import Decoding
from slmlab.engine.evaluation import LanguageModel, require_model, strided_guesses
from slmlab.engine.generation import generate_tokens
from slmlab.engine.model import GPT
from slmlab.study.samples import repetition_rate
from slmlab.text.corpus import Corpus, load_corpus, load_held_out
from slmlab.text.dataset import listed_ids, require_ids, require_mask
from slmlab.text.dialogues import Dialogue, load_dialogues, question_ids, render
from slmlab.text.files import read_published
from slmlab.text.puzzles import load_puzzles
from slmlab.text.tokenizer import ChatTokenizer, chat_tokenizer, train_bpe
from slmlab.validation import (
    instance,
    instances,
    shown,
    table_with,
    text_columns,
    truth_values,
    whole_number,
    whole_text,
)

if TYPE_CHECKING:
    import pandas as pd

DOMAINS = ("scripts", "dialogues", "puzzles")
BETWEEN = "\n\n\n"  # the functions of a script, as Python's style guide asks for
GREEDY = Decoding(temperature=0)
FREE_TOKENS = 60  # of a free-running text
TIMES = 3  # in a row make a loop
Thing = TypeVar("Thing")
FREQUENCIES = (1, 10, 100, 1_000)  # occurrences in the training text at which a bin begins
RESERVED = {"domain", "token", "tokens", "average", "text"}  # names of columns and rows


@dataclass(frozen=True, eq=False)
class Example:
    """A short text on its own, as token ids.

    Attributes:
        ids: (N,) int64, at least two.
        n_prompt: how many of them a model is given to continue.
        counts: (N,) bool, which of them count in a score; all if not given.

    Raises `ValueError` for something else.
    """

    ids: Tensor
    n_prompt: int = 1
    counts: Tensor = None

    def __post_init__(self) -> None:
        require_ids("ids", self.ids)
        if self.counts is None:
            object.__setattr__(self, "counts", torch.ones_like(self.ids, dtype=torch.bool))
        require_mask("counts", self.counts, self.ids)
        whole_number("n_prompt", self.n_prompt, 1, len(self.ids) - 1)


def spread(things: Sequence[Thing], n: int) -> list[Thing]:
    """n of some things, evenly spread; all if there are no more.

    Raises `ValueError` for what is no sequence, or a number below 0.
    """
    instance("things", things, Sequence, "[1, 2, 3]")
    n = whole_number("n", n)
    places = torch.linspace(0, len(things) - 1, min(n, len(things))).round().int()
    return [things[i] for i in places.tolist()]


def domain_tokenizer(n_tokens: int) -> ChatTokenizer:
    """`n_tokens` learnt from the training texts of all domains, and the three of a dialogue.

    Raises `ValueError` as `train_bpe` does.
    """
    return _domain_tokenizer(whole_number("n_tokens", n_tokens))


@cache
def _domain_tokenizer(n_tokens: int) -> ChatTokenizer:
    dialogues = (f"{d.question}\n{d.answer}\n" for d in _dialogues(held_out=False))
    puzzles = (puzzle.text for puzzle in load_puzzles("train"))
    text = "".join([load_corpus().text, *dialogues, *puzzles])
    return chat_tokenizer(train_bpe(text, n_tokens))


def domain_examples(tokenizer: ChatTokenizer, held_out: bool) -> dict[str, list[Example]]:
    """The texts of each of `DOMAINS`, those to train on or the held-out ones.

    An example is a function (or another part) of a script, a dialogue, or a puzzle; each closes
    with the end marker. No held-out one is trained on, word for word. All tokens count, but for
    the questions of dialogues. The prompt is the first half of a function, or a question.
    Raises `ValueError` for another tokenizer than one of dialogues, or no truth value.
    """
    instance("tokenizer", tokenizer, ChatTokenizer)
    truth_values(held_out=held_out)
    parts = held_out_functions() if held_out else _functions(load_corpus())
    puzzles = load_puzzles("held_out" if held_out else "train")
    found: dict[str, list[Example]] = {name: [] for name in DOMAINS}
    for _, part in parts:
        ids = tokenizer.encode(part)
        example = Example(torch.tensor([*ids, tokenizer.end]), (len(ids) + 1) // 2)
        found["scripts"].append(example)
    for dialogue in _dialogues(held_out):
        ids, counts = render(dialogue, tokenizer)
        n_prompt = len(question_ids(dialogue.question, tokenizer))
        found["dialogues"].append(Example(torch.tensor(ids), n_prompt, torch.tensor(counts)))
    for puzzle in puzzles:
        ids = tokenizer.encode(puzzle.text)
        n_prompt = len(tokenizer.encode(puzzle.question))
        found["puzzles"].append(Example(torch.tensor([*ids, tokenizer.end]), n_prompt))
    return found


def held_out_functions() -> list[tuple[str, str]]:
    """The functions (and other parts) of the held-out scripts, each with its script's name.

    What the corpus has word for word, such as the call of main() at the end, is left out.
    """
    known = {part for _, part in _functions(load_corpus())}
    return [(script, part) for script, part in _functions(load_held_out()) if part not in known]


def _functions(corpus: Corpus) -> list[tuple[str, str]]:
    return [(d.name, part) for d in corpus.documents for part in d.entry.split(BETWEEN)]


def _dialogues(held_out: bool) -> list[Dialogue]:
    names = ("held_out",) if held_out else ("plain", "varied")
    return [dialogue for name in names for dialogue in load_dialogues(name)]


def published() -> "pd.DataFrame":
    """What was reported: token accuracies by domain and their average, and two replies."""
    import pandas as pd

    report = read_published("generation.json")
    shares = report["token_accuracy"] | {"average": report["average_accuracy"]}
    said = {f"{name}: tokens right": f"{share:.1%}" for name, share in shares.items()}
    said["final loss"] = f"{report['losses'][-1]}"
    pairs = zip(report["prompts"], report["outputs"], strict=True)
    said |= {f"reply to “{prompt}”": reply for prompt, reply in pairs}
    return pd.Series(said, name="reported").to_frame()


def guess_table(
    models: Mapping[str, LanguageModel], examples: Mapping[str, Sequence[Example]]
) -> "pd.DataFrame":
    """What models guess for each token that counts: columns domain, token, and each model's name.

    `examples` are those of each domain. Each is read alone, from its own beginning, and each
    token guessed once, after at least half a context (`strided_guesses`). An id stands for a
    token. Raises `ValueError` if there is no model, no example, a model lacks rows for one, or for
    a name that is no text, or in `RESERVED`.
    """
    import pandas as pd

    instance("models", models, Mapping, '{"GPT": model}')
    instance("examples", examples, Mapping, "lab.accuracy.domain_examples(tokenizer, True)")
    names = [whole_text("The name of a model or domain", name) for name in (*models, *examples)]
    if taken := RESERVED.intersection(names):
        raise ValueError(f"{shown(min(taken))} is a column or row of a table; use another name.")
    parts = []
    for domain, of in examples.items():
        for example in _checked(of):
            counted = example.counts[1:]
            guesses = {
                name: strided_guesses(model, example.ids)[counted].numpy()
                for name, model in models.items()
            }
            tokens = example.ids[1:][counted].numpy()
            parts.append(pd.DataFrame({"domain": domain, "token": tokens, **guesses}))
    if not parts or not models:
        raise ValueError("There is nothing to compare; give at least one model and one example.")
    return pd.concat(parts, ignore_index=True)


def accuracy_by_domain(guesses: "pd.DataFrame") -> "pd.DataFrame":
    """Each model's token accuracy on each domain, and their mean, of a `guess_table`.

    A row for each domain and one called "average", in which a short domain weighs as much as a
    long one. Columns: `tokens`, how many there are (of all, in the last row), and the models.
    Raises `ValueError` for another table, such as one with a guess that is no token id.
    """
    right, tokens = _right(guesses), guesses.groupby("domain", sort=False).size()
    table = right.groupby(guesses["domain"], sort=False).mean()
    table.loc["average"] = table.mean()
    table.insert(0, "tokens", [*tokens, len(guesses)])
    return table


def accuracy_by_frequency(guesses: "pd.DataFrame", train: Tensor) -> "pd.DataFrame":
    """Each model's token accuracy by how often a token occurs in the training text.

    `guesses` is a `guess_table`, `train` the ids (N,) that were trained on. A row for each bin of
    `FREQUENCIES`. Columns: `text`, the share of the tokens that are in the bin; for each model
    "NAME right", its accuracy on them (NaN if there are none), and "NAME guessed", the share of its
    guesses that are in the bin. A model that guesses common tokens more often than the text has
    them is biased towards them. Raises `ValueError` as `accuracy_by_domain` and `frequency_bins`.
    """
    import pandas as pd

    right = _right(guesses)
    bins = {
        name: frequency_bins(torch.tensor(guesses[name].tolist()), train).numpy()
        for name in ("token", *right)
    }
    upper = [f"{low:,} to {high - 1:,}" for low, high in pairwise(FREQUENCIES)]
    names = ["none", *upper, f"{FREQUENCIES[-1]:,} or more"]
    table = pd.DataFrame(index=pd.Index(names, name="occurrences in the training text"))
    numbers = range(len(names))
    table["text"] = [(bins["token"] == i).mean() for i in numbers]
    for name in right:
        table[f"{name} right"] = right[name].groupby(bins["token"]).mean().reindex(numbers).array
        table[f"{name} guessed"] = [(bins[name] == i).mean() for i in numbers]
    return table


def frequency_bins(tokens: Tensor, train: Tensor) -> Tensor:
    """For each token (N,) the bin (N,) of its number of occurrences in the ids `train`, from 0 on.

    Bin 0 is of tokens that do not occur, bin i of those with at least `FREQUENCIES[i − 1]`.
    Raises `ValueError` for something else than tensors of token ids.
    """
    for name, ids in (("tokens", tokens), ("train", train)):
        require_ids(name, ids)
    distinct, which = torch.cat([tokens, train]).unique(return_inverse=True)  # ids may be large
    asked, known = which.split([len(tokens), len(train)])
    occurrences = known.bincount(minlength=len(distinct))[asked]
    return torch.bucketize(occurrences, torch.tensor(FREQUENCIES), right=True)


def _right(guesses: "pd.DataFrame") -> "pd.DataFrame":
    """Whether each guess is the token, a column for each model.

    Raises `ValueError` for what is no `guess_table`: it has names of domains, and token ids.
    """
    table_with("guesses", guesses, ["domain", "token"], "what lab.accuracy.guess_table(…) returns")
    text_columns("guesses", guesses, ["domain"])
    ids = guesses.drop(columns="domain")
    for name, column in ids.items():
        if column.dtype.kind not in "iu" or (column < 0).any():
            raise ValueError(
                f"The column {shown(name)} of guesses has other values than token ids; keep "
                "domain, token and what each model guesses."
            )
    if len(ids.columns) < 2:
        raise ValueError("guesses has no model's column; add one with the ids that it guesses.")
    return ids.drop(columns="token").eq(ids["token"], axis=0)


def loop_length(ids: Sequence[int]) -> int:
    """How many tokens long the loop is that a text ends in; 0 if it ends in none.

    A loop is a stretch of tokens that comes three times in a row; of several, the shortest. Raises
    `ValueError` for something else than token ids.
    """
    back = listed_ids("ids", ids)[::-1]
    borders = [0]  # of each beginning of `back`: how long a shorter one it ends in, at most
    for token in back[1:]:  # (the failure function of Knuth, Morris and Pratt 1977)
        border = borders[-1]
        while border and back[border] != token:
            border = borders[border - 1]
        borders.append(border + (back[border] == token))
        period = len(borders) - borders[-1]
        if len(borders) == TIMES * period:
            return period
    return 0


def free_running(
    model: GPT,
    examples: Sequence[Example],
    end: int | None = None,
    decoding: Decoding = GREEDY,
    max_tokens: int = FREE_TOKENS,
    use_cache: bool = True,
) -> "pd.DataFrame":
    """The same model twice, on what follows each prompt: teacher-forced, and free-running.

    A row for each example. It looks at the first `max_tokens` tokens after the prompt, and a text
    that the model writes is over at the token `end`. Columns: `forced`, the share of tokens that
    the model guesses after the example's own; `free`, the share of places where its free-running
    text has the example's token; `repetition` of that text (see `repetition_rate`) and the length
    of its `loop` (see `loop_length`); `own_repetition` and `own_loop`, those of the example.
    """
    import pandas as pd

    require_model(model)
    if end is not None:
        end = whole_number("end", end, most=model.config.vocab_size - 1)
    max_tokens = whole_number("max_tokens", max_tokens, 1)
    rows = []
    for example in _checked(examples):
        start = example.n_prompt
        truth = example.ids[start : start + max_tokens].tolist()
        forced = strided_guesses(model, example.ids[: start + max_tokens])[start - 1 :].tolist()
        tokens = generate_tokens(
            model, example.ids[:start].tolist(), max_tokens, decoding, use_cache=use_cache
        )
        written = list(takewhile(lambda token: token != end, tokens))
        own = list(takewhile(lambda token: token != end, truth))
        rows.append(
            {
                "forced": _agreement(forced, truth),
                "free": _agreement(written if end is None else [*written, end], truth),
                "repetition": repetition_rate(written),
                "loop": loop_length(written),
                "own_repetition": repetition_rate(own),
                "own_loop": loop_length(own),
            }
        )
    return pd.DataFrame(rows)


def _agreement(guesses: list[int], truth: list[int]) -> float:
    """The share of places of the true text where another one has the same token."""
    return sum(a == b for a, b in zip(guesses, truth, strict=False)) / len(truth)


def _checked(examples: Sequence[Example]) -> list[Example]:
    return instances("examples", examples, Example)
