"""Checks of the exercises to notebook 01: where parameters sit, and which tokens are needed."""

import math
from typing import Any

import torch
from torch import Tensor

import slmlab as lab
from slmlab.exercises.checking import Mistake, called, filled_in, number, require, right

GPT2, RIGHT_SIZED = 50_257, 1_172  # tokens in GPT-2's vocabulary, and in the right-sized one
WIDTH, REST = 64, 152_128  # of the model whose shares are asked: Phase 2's shape
BUDGET, CONTEXT = 50_000, 16
KEYS = (
    "(Elements of a tensor are tensors, and never equal in a set or as keys of a dict; `.tolist()` "
    "makes numbers of them.)"
)


def embedding_share(share_gpt2: Any, share_right_sized: Any) -> None:
    """The token embedding's share of the parameters, with two vocabularies."""
    for answer, name, vocabulary in (
        (share_gpt2, "share_gpt2", GPT2),
        (share_right_sized, "share_right_sized", RIGHT_SIZED),
    ):
        table = vocabulary * WIDTH
        share = table / (table + REST)
        value = number(answer, name)
        require(
            abs(value - 100 * share) > 1,
            f"`{name}` is in per cent; give it as a part of 1, such as 0.5 for a half.",
        )
        for wrong, sentence in {
            1 - share: "This is the share of all other parts; the token embedding's is asked.",
            table / REST: "You divided by the other parts. A share is taken of the whole, the "
            "token embedding included.",
            2 * table / (2 * table + REST): "You counted the table twice. Token embedding and "
            "output head are the same table.",
            vocabulary / (vocabulary + REST): f"You took {vocabulary:,} for the embedding, the "
            f"number of its rows; each row has {WIDTH} numbers.",
        }.items():
            require(abs(value - wrong) > 0.003, f"`{name}`: {sentence}")
        require(
            abs(value - share) < 0.006,
            f"`{name}` is not {value:g}. The token embedding has {vocabulary:,} rows of {WIDTH} "
            "numbers; divide its size by that of the whole model.",
        )
    right("The same layers, once nearly nothing and once two thirds of the model.")


def initial_loss(start_gpt2: Any, start_right_sized: Any) -> None:
    """The loss of a model that knows nothing, with two vocabularies."""
    for answer, name, vocabulary in (
        (start_gpt2, "start_gpt2", GPT2),
        (start_right_sized, "start_right_sized", RIGHT_SIZED),
    ):
        value, loss = number(answer, name), math.log(vocabulary)
        for wrong, sentence in {
            math.log2(vocabulary): "This is in bits (log to base 2); losses are in nats (base e).",
            math.log10(vocabulary): "This is the log to base 10; losses are in nats (base e).",
            -loss: "The sign is wrong: the loss is *minus* the log of the probability.",
            1 / vocabulary: "This is the probability of each token; the loss is −log of it.",
            vocabulary: "This is the perplexity, the number of equally likely tokens; the loss is "
            "the log of it.",
        }.items():
            require(
                not math.isclose(value, wrong, rel_tol=2e-3, abs_tol=1e-6), f"`{name}`: {sentence}"
            )
        require(
            abs(value - loss) < 0.02,
            f"`{name}` is not {value:g}. Each of the {vocabulary:,} tokens gets the same "
            "probability: which one, and what is −log of it?",
        )
    dataset = lab.PHASES[1].dataset("right-sized")
    measured = lab.mean_loss(lab.PHASES[1].model(RIGHT_SIZED), dataset.val)
    right(
        f"The untrained model with {RIGHT_SIZED:,} tokens starts at {measured:.2f}: its weights "
        "are small, not 0."
    )


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
    try:
        result = called(function, old.clone())
    except Mistake as error:
        if "KeyError: tensor" in str(error):
            raise Mistake(f"{error}. {KEYS}") from error
        raise
    require(
        isinstance(result, tuple | list) and len(result) == 2,
        "Return two things, `new, kept`: the new ids, and the table that leads back.",
    )
    new = _ids(result[0], "new")
    require(new, "`new` is empty: every token of the text gets a new id.")
    return new, result[1]


def never_read(function: Any) -> None:
    """A function of (train, exam) that returns the ids of the exam that training never showed."""
    train = torch.tensor([50, 60, 70, 70, 50])
    exam = torch.tensor([70, 90, 50, 90, 80])
    result = called(function, train, exam)
    require(
        not isinstance(result, int | float)
        and not (isinstance(result, Tensor) and not result.dim()),
        f"You return {result}, one number; return the tokens' ids.",
    )
    if isinstance(result, Tensor):
        require(
            result.dtype != torch.bool,
            "You return a mask of true and false; use it to pick the ids from the exam.",
        )
    found = _ids(result, "the answer")
    require(
        found != [1, 3, 4],
        "You return the places in the exam; return the ids that stand there.",
    )
    require(
        not (found and set(found) <= {60}),
        "You looked the other way: these tokens are read in training, but the exam lacks them.",
    )
    require(
        found != [70, 50],
        "These are the tokens that *were* read; return the others.",
    )
    read = [i for i in found if i in {50, 70}]
    require(
        not read,
        f"Your answer has token {next(iter(read), None)}, which does occur in training, if not at "
        f"the same place. {KEYS}",
    )
    require(
        len(found) != 2,
        "You name each token once; return it as often as the exam asks for it, as each time costs.",
    )
    require(
        found != [80, 90, 90],
        "The ids are right, but sorted; keep the order of the exam.",
    )
    require(
        found == [90, 90, 80],
        f"After reading {train.tolist()}, in the exam {exam.tolist()} you find {found}.",
    )
    require(
        _ids(called(function, train, train), "the answer") == [],
        "If the exam is the training text itself, nothing is new; return an empty list then.",
    )
    dataset = lab.PHASES[1].dataset()
    exam = dataset.val[1:]
    count = len(_ids(called(function, dataset.train, exam), "the answer"))
    wanted = int((~torch.isin(exam, dataset.train)).sum())
    require(
        count == wanted,
        f"Right for a few tokens, but in Phase 1's exam you find {count} new ones, not {wanted}.",
    )
    right(f"{count} of the {len(exam)} tokens that Phase 1's exam asks for were never read.")


def _ids(answer: Any, name: str) -> list[int]:
    try:
        return [int(i) for i in answer]
    except (TypeError, ValueError):
        raise Mistake(f"`{name}` should be one row of whole numbers, a list or a tensor.") from None


def design(config: Any) -> None:
    """A `GPTConfig` within the budget that still learns the order of tokens."""
    filled_in(config, "config")
    config = getattr(config, "config", config)  # a model will do as well
    require(
        isinstance(config, lab.GPTConfig),
        f"`config` is a {type(config).__name__}; write it as lab.GPTConfig(…).",
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
    for _ in lab.fit(model, dataset, lab.PHASES[1].training):
        pass
    loss, frequencies = lab.mean_loss(model, dataset.train), _entropy(dataset.train)
    require(
        loss < frequencies,
        f"It fits, but after 500 steps its training loss is {loss:.1f}. Who knows only how "
        f"frequent each token is gets {frequencies:.1f}. A width of {config.n_embd} is too narrow "
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
