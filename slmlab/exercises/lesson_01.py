"""Checks of the exercises for 01: where parameters sit, and which tokens are needed."""

import math
from typing import Any

import torch
from torch import Tensor

import slmlab as lab
from slmlab.exercises.checking import (
    Mistake,
    called,
    expect,
    expect_function,
    filled_in,
    require,
)
from slmlab.exercises.telling import right, task
from slmlab.validation import one, shown

GPT2, RIGHT_SIZED = 50_257, 1_172  # tokens in GPT-2's vocabulary, and in the right-sized one
WIDTH, REST = 64, 152_128  # of the model whose shares are asked: Phase 2's shape
BUDGET, CONTEXT = 50_000, 16
KEYS = (
    "(Elements of a tensor are tensors, and never equal in a set or as keys of a dict; `.tolist()` "
    "makes numbers of them.)"
)


# Task 1


@task
def embedding_share(share_gpt2: Any, share_right_sized: Any) -> None:
    """The token embedding's share of the parameters, with two vocabularies."""
    for name, answer, vocabulary in (
        ("share_gpt2", share_gpt2, GPT2),
        ("share_right_sized", share_right_sized, RIGHT_SIZED),
    ):
        table = vocabulary * WIDTH
        share = table / (table + REST)
        expect(
            name,
            answer,
            share,
            {
                100 * share: "This is in per cent; give it as a part of 1, such as 0.5 for a half.",
                1 - share: "This is the share of all other parts; you are asked for that of the "
                "token embedding.",
                table / REST: "You divided by the other parts. A share is taken of the whole, the "
                "token embedding included.",
                2 * table / (2 * table + REST): "You counted the table twice. Token embedding and "
                "output head are the same table.",
                vocabulary / (vocabulary + REST): f"You took {vocabulary:,} for the embedding, the "
                f"number of its rows; each row has {WIDTH} numbers.",
            },
            otherwise=f"The token embedding has {vocabulary:,} rows of {WIDTH} numbers; divide its "
            "size by that of the whole model.",
            rel_tol=0.01,
            abs_tol=0.003,
        )
    right("The same layers, once nearly nothing and once two thirds of the model.")


# Task 2


@task
def initial_loss(start_gpt2: Any, start_right_sized: Any) -> None:
    """The loss of a model that knows nothing, with two vocabularies."""
    for name, answer, vocabulary in (
        ("start_gpt2", start_gpt2, GPT2),
        ("start_right_sized", start_right_sized, RIGHT_SIZED),
    ):
        loss = math.log(vocabulary)
        expect(
            name,
            answer,
            loss,
            {
                math.log2(vocabulary): "This is in bits (log to base 2); losses are in nats (base "
                "e).",
                math.log10(vocabulary): "This is the log to base 10; losses are in nats (base e).",
                -loss: "The sign is wrong: the loss is *minus* the log of the probability.",
                1 / vocabulary: "This is the probability of each token; the loss is −log of it.",
                vocabulary: "This is the perplexity, the number of equally likely tokens; the loss "
                "is the log of it.",
            },
            otherwise=f"Each of the {vocabulary:,} tokens gets the same probability: which one, "
            "and what is −log of it?",
        )
    dataset = lab.PHASES[1].dataset("right-sized")
    measured = lab.mean_loss(lab.PHASES[1].model(RIGHT_SIZED), dataset.val)
    right(
        f"The untrained model with {RIGHT_SIZED:,} tokens starts at {measured:.2f}: its weights "
        "are small, not 0."
    )


# Task 3


@task
def right_sized_ids(function: Any) -> None:
    """A function of ids that returns new ids, without gaps, and the table back to the old ones."""
    exam = lab.PHASES[1].dataset().val
    for old in (torch.tensor([220, 50256, 220, 7, 198, 7]), torch.tensor([13, 13, 13]), exam):
        new, kept = _renumbered(function, old)
        ids, distinct = old.tolist(), len(old.unique())
        require(
            len(new) == len(ids),
            f"The text has {len(ids)} tokens, but you return {len(new)} new ids: every token of "
            "the text keeps its place, repeated ones too.",
        )
        try:
            back = [int(kept[i]) for i in new]
        except (IndexError, KeyError, TypeError) as error:
            if isinstance(error, KeyError) and all(i in kept for i in ids):
                raise Mistake(
                    "`kept` is the wrong way round: it leads from old ids to new ones. `kept[new]` "
                    "should be the old id."
                ) from None
            raise Mistake(
                f"`kept[new]` fails for one of your new ids (the largest is {max(new)}): `kept` "
                "needs an entry for each of them, counted from 0."
            ) from None
        numbers = set(new)
        require(
            min(numbers) == 0,
            f"Your smallest new id is {min(numbers)}; the first row of a table is row 0.",
        )
        require(
            len(numbers) <= distinct,
            f"The text has {distinct} different tokens, but you use {len(numbers)} new ids: the "
            f"same token got several. {KEYS}",
        )
        require(
            len(numbers) == distinct,
            f"The text has {distinct} different tokens, but you use only {len(numbers)} new ids: "
            "different tokens got the same.",
        )
        require(
            max(numbers) == distinct - 1,
            f"{distinct} different tokens should get the ids 0 to {distinct - 1}; your largest is "
            f"{max(numbers)}, so there are gaps: rows that nobody uses.",
        )
        require(
            back == ids,
            f"The way back does not lead home: {ids[:6]} becomes {back[:6]}. Each new id has to "
            "keep the place of its token.",
        )
        require(
            len(kept) == distinct,
            f"`kept` has {len(kept)} entries for {distinct} different tokens.",
        )
    rows = len(exam.unique())
    right(f"The exam of {len(exam)} tokens needs {rows} rows, not {GPT2:,}, and nothing is lost.")


def _renumbered(function: Any, old: Tensor) -> tuple[list[int], Any]:
    result = called(function, old.clone(), advice={"KeyError: tensor": KEYS})
    require(
        isinstance(result, tuple | list) and len(result) == 2,
        "Return two things, `new, kept`: the new ids, and the table that leads back.",
    )
    new = _ids(result[0], "new")
    require(new, "`new` is empty: every token of the text gets a new id.")
    return new, result[1]


# Task 4

ONCE = "You name each token once; return it as often as the exam asks for it, as each time costs."
KNOWN = f"Your answer has a token that does occur in training, if not at the same place. {KEYS}"
MISTAKEN_TOKENS = {
    "return (~torch.isin(exam, train)).nonzero().flatten()": "You return the places in the exam; "
    "return the ids found there.",
    "return train[~torch.isin(train, exam)]": "You looked the other way: these tokens are read in "
    "training, but the exam lacks them.",
    "return exam[torch.isin(exam, train)]": "These are the tokens that *were* read; return the "
    "others.",
    "return [i for i in exam if i not in set(train)]": KNOWN,
    "return [e for t, e in zip(train.tolist(), exam.tolist()) if t != e]": KNOWN,
    "return sorted(set(exam.tolist()) - set(train.tolist()))": ONCE,
    "return list(dict.fromkeys(exam[~torch.isin(exam, train)].tolist()))": ONCE,
    "return sorted(i for i in exam.tolist() if i not in train)": "The ids are right, but sorted; "
    "keep the order of the exam.",
}


@task
def never_read(function: Any) -> None:
    """A function of (train, exam) that returns the ids of the exam that training never showed."""
    signature, truth = "never_read(train, exam)", "return exam[~torch.isin(exam, train)]"
    train, exam = torch.tensor([50, 60, 70, 70, 50]), torch.tensor([70, 90, 50, 90, 80])
    expect_function(
        signature,
        function,
        [(train, exam)],
        truth,
        MISTAKEN_TOKENS,
        read=_never_read,
        otherwise="After reading [50, 60, 70, 70, 50], in the exam [70, 90, 50, 90, 80] you find "
        "{value}.",
    )
    expect_function(
        signature,
        function,
        [(train, train)],
        truth,
        read=_never_read,
        otherwise="If the exam is the training text itself, nothing is new; return an empty list "
        "then, not {value}.",
    )
    dataset = lab.PHASES[1].dataset()
    exam = dataset.val[1:]
    expect_function(
        signature,
        function,
        [(dataset.train, exam)],
        truth,
        read=lambda answer, name: len(_never_read(answer, name)),
        otherwise="Right for a few tokens, but in Phase 1's exam you find {value} new ones, not "
        "{truth}.",
    )
    count = int((~torch.isin(exam, dataset.train)).sum())
    right(f"{count} of the {len(exam)} tokens that Phase 1's exam asks for were never read.")


def _never_read(answer: Any, _: str) -> list[int]:
    require(
        not isinstance(answer, int | float)
        and not (isinstance(answer, Tensor) and not answer.dim()),
        f"You return {shown(answer)}, one number; return the tokens' ids.",
    )
    require(
        not (isinstance(answer, Tensor) and answer.dtype == torch.bool),
        "You return a mask of true and false; use it to pick the ids from the exam.",
    )
    return _ids(answer, "the answer")


def _ids(answer: Any, name: str) -> list[int]:
    try:
        return [int(i) for i in answer]
    except Exception:  # each kind of thing has its own
        raise Mistake(f"`{name}` should be one row of whole numbers, a list or a tensor.") from None


# Task 5


@task
def design(config: Any) -> None:
    """A `GPTConfig` within the budget that still learns the order of tokens."""
    filled_in(config, "config")
    config = getattr(config, "config", config)  # a model will do as well
    require(
        isinstance(config, lab.GPTConfig),
        f"`config` is {one(type(config))}; write it as lab.GPTConfig(…).",
    )
    dataset = lab.PHASES[1].dataset("right-sized")
    needed = dataset.tokenizer.n_vocab
    require(
        config.vocab_size >= needed,
        f"The ids of this text run up to {needed - 1}, but your vocabulary has only "
        f"{config.vocab_size:,} rows. It is the vocabulary that counts, not the length of the "
        "text.",
    )
    require(
        config.block_size == CONTEXT,
        f"The context should stay {CONTEXT}; yours is {config.block_size}.",
    )
    table = config.vocab_size * config.n_embd
    remedy = "What makes its rows shorter makes the layers smaller, too."
    if config.vocab_size > needed:
        remedy = f"Does it need {config.vocab_size:,} rows?"
    require(
        config.n_params <= BUDGET,
        f"{config.n_params:,} parameters are more than {BUDGET:,}; {table:,} of them are the token "
        f"embedding. {remedy}",
    )
    model = lab.GPT(config)
    for _ in lab.fit(model, dataset, lab.PHASES[1].setup.training):
        pass
    loss, frequencies = lab.mean_loss(model, dataset.train), _entropy(dataset.train)
    require(
        loss < frequencies,
        f"It fits, but after 500 steps its training loss is {loss:.1f}. Knowing only how "
        f"frequent each token is gives {frequencies:.1f}. A width of {config.n_embd} is too narrow "
        "to learn more: you have parameters to spare.",
    )
    ratio = config.n_params / len(dataset.train)
    right(
        f"{config.n_params:,} parameters, {ratio:.0f} for each training token, and it learns more "
        "than which tokens are frequent."
    )


def _entropy(ids: Tensor) -> float:
    """The loss, in nats, of a guess by the frequencies of the tokens alone."""
    share = torch.bincount(ids).float() / len(ids)
    return -torch.special.xlogy(share, share).sum().item()
