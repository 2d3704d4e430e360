"""Checks of the exercises for 00: counting, the gap, a short exam and a leaking one."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import slmlab as lab
from slmlab.exercises.checking import (
    Case,
    Mistake,
    called,
    expect,
    expect_function,
    number,
    require,
)
from slmlab.exercises.telling import right, task
from slmlab.validation import shown

# Task 1

SHAPE = lab.GPTConfig(vocab_size=1000, block_size=16, n_layer=2, n_head=2, n_embd=10)


@task
def parameter_count(token_embedding: Any, positions: Any, layer: Any, total: Any) -> None:
    """The parameters of `SHAPE`: of two tables, of one layer, of all."""
    C, counts, everything = SHAPE.n_embd, SHAPE.parameter_counts, SHAPE.n_params
    table, places = counts["token embedding (= output head)"], counts["positions"]
    attention, mlp, norms = 4 * C**2 + 4 * C, 8 * C**2 + 5 * C, 4 * C
    one = attention + mlp + norms

    expect(
        "token_embedding",
        token_embedding,
        table,
        {
            SHAPE.vocab_size + C: "A table of rows and columns has rows × columns numbers; you "
            "added the two.",
            2 * table: "You counted the table twice. The output head is the same table, so its "
            "numbers are there once.",
            SHAPE.vocab_size: "You counted one number for each token of the vocabulary; it is a "
            "row of C numbers for each.",
        },
        otherwise="The token embedding has one row for each token of the vocabulary, of C numbers.",
    )
    expect(
        "positions",
        positions,
        places,
        {
            SHAPE.block_size: "You counted one number for each place; it is a row of C numbers.",
            table: "Positions have one row for each place of the context, not for each token of "
            "the vocabulary.",
        },
        otherwise="The positions have one row for each place of the context, of C numbers each.",
    )
    expect(
        "layer",
        layer,
        one,
        {
            12 * C**2: "You left out the biases and the norms of the layer.",
            12 * C**2 + norms: "You left out the biases: each matrix has one, as long as its "
            "output.",
            attention + mlp: "You left out the norms: each layer has two of them.",
            one - norms // 2: "You counted one norm; each layer has two of them.",
            SHAPE.n_head * attention + mlp + norms: "You counted the attention once for each head. "
            "The heads share the four matrices, so their number changes nothing.",
            one - 3 * (C**2 + C): "You counted one of the four matrices of the attention.",
            one - 3 * C: "The bias between the two matrices of the MLP has 4 × C numbers.",
            2 * one: "This is both layers; `layer` should be one of them.",
            attention + 2 * (C**2 + C) + norms: "The MLP is four times as wide in the middle: its "
            "matrices are C × 4C and 4C × C.",
        },
        otherwise="Count the layer's three parts on their own: attention, MLP and two norms, each "
        "with its biases. The attention has 440.",
    )
    expect(
        "total",
        total,
        everything,
        {
            everything - 2 * C: "You forgot the norm after the last layer.",
            everything - one: "You counted one layer; the model has two.",
            everything + table: "You counted the output head as a table of its own. It is the "
            "token embedding, and counts once.",
            everything - places: "You left out the positions; they are learnt, so they count.",
            everything - table: "You left out the token embedding.",
        },
        otherwise="The total is the two tables, both layers, and the norm after the last layer.",
    )
    right(f"{everything:,} parameters, and {table / everything:.0%} of them the token embedding.")


# Task 2

GAP = """
gap = val_loss - train_loss
return gap, lab.gap_band(gap).name
"""
MISTAKEN_GAPS = {
    GAP.replace("val_loss - train_loss", "train_loss - val_loss"): "You subtracted the other way "
    "round: the gap is validation − training, so that memorising is positive.",
    GAP.replace("val_loss - train_loss", "abs(val_loss - train_loss)"): "You lost the sign: where "
    "the validation loss is the lower one, the gap is negative, and that is worth knowing.",
    GAP.replace(" - ", " / "): "You divided; the gap is a difference between the two losses.",
}
LOOK = "Look again between which two borders it lies."
BELOW_0 = "Below 0 is a band of its own: easier validation is a reason to look for a leak."
BORDER = "A band begins at its lower border and ends just before its upper one."
BANDS = (
    *(Case((2.0, 2.0 + gap), LOOK) for gap in (8.25, 3.75, 2.0, 0.75, 0.25)),
    Case((5.25, 5.0), BELOW_0),
    *(Case((1.0, 1.0 + band.low), BORDER) for band in lab.GAP_BANDS[1:]),
)


@task
def signed_gap(function: Any) -> None:
    """A function of (train_loss, val_loss) that returns the gap and the name of its band."""
    expect_function(
        "signed_gap(train_loss, val_loss)",
        function,
        [(2.0, 5.0), *(case.arguments for case in BANDS)],
        GAP,
        MISTAKEN_GAPS,
        read=lambda answer, _: _gap_and_band(answer)[0],
        otherwise="For a training loss of {train_loss} and a validation loss of {val_loss} your "
        "gap is {value}.",
    )
    expect_function(
        "signed_gap(train_loss, val_loss)",
        function,
        BANDS,
        GAP,
        read=lambda answer, _: _gap_and_band(answer)[1],
        otherwise="You call a gap of {val_loss} − {train_loss} {value}.",
    )
    right("The sign is kept, and all six bands are found, borders included.")


def _gap_and_band(answer: Any) -> tuple[float, str]:
    require(
        isinstance(answer, tuple | list) and len(answer) == 2,
        f"`signed_gap` returns {shown(answer)}; it should return two things, `gap, name`: a number "
        "and the name of its band.",
    )
    gap, name = number(answer[0], "gap"), getattr(answer[1], "name", answer[1])
    names = [band.name for band in lab.GAP_BANDS]
    name = name.strip().lower() if isinstance(name, str) else name
    require(name in names, f"{shown(name)} is no band; the names are {', '.join(names)}.")
    return gap, name


# Task 3

RUN = {"parameters": 45_000, "tokens": 10_000, "steps": 450, "batch": 8, "block": 20}


@task
def rates(params_per_token: Any, times_read: Any) -> None:
    """Parameters for each training token of `RUN`, and how often it reads its text."""
    parameters, tokens, steps, batch, block = RUN.values()
    train_tokens, read = 0.9 * tokens, steps * batch * block
    expect(
        "params_per_token",
        params_per_token,
        parameters / train_tokens,
        {
            parameters / tokens: "You divided by the whole text. The last tenth is held back, and "
            "is not trained on.",
            train_tokens / parameters: "That is training tokens for each parameter; you are asked "
            "for the inverse.",
        },
        otherwise="Divide the parameters by the tokens trained on.",
    )
    expect(
        "times_read",
        times_read,
        read / train_tokens,
        {
            read / tokens: "You divided by the whole text; only the part that is trained on is "
            "read.",
            steps * block / train_tokens: "You left out the batch: a step reads several windows.",
            steps * batch / train_tokens: "You left out the context: a window is many tokens long.",
            steps / train_tokens: "A step reads more than one token: it reads a batch of windows, "
            "each as long as the context.",
            steps: "A step does not read the whole text, only a batch of windows.",
            read: "That is the number of tokens read in all; how often is the text read?",
            train_tokens / read: "You divided the other way round.",
        },
        otherwise="How many tokens does a step read, how many do all steps read, and how many "
        "times the training text is that?",
    )
    right("Only what is trained on counts, in both; Phase 0 had 33,328 and 284.")


# Task 4

LOSS = "return F.cross_entropy(model(ids[None, :-1])[0], ids[1:])"
SUM = LOSS.replace("ids[1:])", "ids[1:], reduction='sum')")
MISTAKEN_LOSSES = {
    "return F.cross_entropy(model(ids[None])[0], ids)": "You compare each prediction with the "
    "token that was just read. Compare it with the next one.",
    "return F.cross_entropy(model(ids[None])[0, 1:], ids[:-1])": "You shifted the wrong way: each "
    "prediction is compared with the token before, not with the one after.",
    SUM: "This is the sum over all predictions; you are asked for their mean (100 tokens give 99 "
    "predictions).",
    SUM + " / len(ids)": "You divided by 100. The first token is given and not predicted, so 100 "
    "tokens give 99 predictions.",
    SUM + " / model.config.block_size": "You divided by the context. The text is shorter, so there "
    "are fewer predictions.",
    "return F.cross_entropy(model(ids[None, :-1])[:, -1], ids[-1:])": "You took the loss of the "
    "last token only; take the mean over all of them.",
    LOSS + ".exp()": "This is the perplexity, e to the loss; you are asked for the loss itself.",
    LOSS + " / torch.tensor(2.0).log()": "This is in bits (log to base 2); it should be in nats "
    "(base e).",
    LOSS.replace("return ", "return -"): "The sign is wrong: the loss is *minus* the log of the "
    "probability.",
    LOSS.replace("[0], ids", "[0].softmax(-1), ids"): "`cross_entropy` takes logits and applies "
    "the softmax itself; you applied it twice.",
}


@task
def mean_loss_of_short_text(function: Any) -> None:
    """A function of (model, ids) that gives the mean loss of fewer tokens than the context."""
    signature = "mean_loss_of_short_text(model, ids)"

    def exams(*lengths: int) -> list[tuple]:
        dataset = lab.PHASES[0].dataset("right-sized")
        model = _any_model(dataset.tokenizer.n_vocab, block_size=128)
        return [(model, dataset.val[:length]) for length in lengths]

    expect_function(
        signature,
        function,
        lambda: exams(100),
        lab.mean_loss,
        MISTAKEN_LOSSES,
        read=_loss,
        otherwise="For the 100 tokens of Phase 0's exam you get {value}, which is not the mean. "
        "Each token but the first has to be predicted once, from those before it, and nothing "
        "else.",
        advice={
            "RuntimeError": "(The model wants ids of shape (batch, time), and gives logits of "
            "shape (batch, time, vocabulary).)"
        },
    )
    for length in (2, 37):
        expect_function(
            signature,
            function,
            lambda length=length: exams(length),
            lab.mean_loss,
            read=_loss,
            otherwise=f"Right for 100 tokens, but not for {length}: is a length written into your "
            "function?",
        )
    right("The 100 tokens of Phase 0's exam give 99 predictions, though no window fits.")


def _any_model(vocab_size: int, block_size: int) -> lab.GPT:
    """An untrained model with opinions: its weights are larger than usual, so losses differ."""
    model = lab.GPT(lab.GPTConfig(vocab_size, block_size, n_layer=1, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(50)
    return model.eval()


def _loss(answer: Any, name: str) -> float:
    if isinstance(answer, Tensor):
        answer = answer.detach()
        require(
            answer.numel() == 1, f"Your function returns {answer.numel()} numbers; take their mean."
        )
    if isinstance(answer, float | Tensor):
        require(
            not math.isnan(answer) and float(answer) != 0.0,
            "Your function finds nothing to predict: if you cut the text into windows as long as "
            "the context, no window fits. Take the text as one shorter window.",
        )
    return number(answer, f"{name}(model, ids)")


# Task 5


@task
def mended_split(function: Any) -> None:
    """A function of ids that returns what to train on and what to hold back, without a leak."""
    for n in (1000, 3217):
        places = torch.arange(n)  # each token tells its place, so a leak cannot hide
        train, val = _sides(function, places)
        require(val, "Nothing is held back: the validation text is empty.")
        require(
            len(val) <= len(train),
            f"You return {len(train)} tokens to train on and {len(val)} to validate on: did you "
            "swap the two? The training text comes first.",
        )
        require(
            set(train) | set(val) <= set(range(n)),
            "Some of what you return is not in the text: return its tokens.",
        )
        require(
            train != list(range(n)),
            "You train on the whole text, what is held back included: cut it out of the training "
            "text.",
        )
        shared = len(set(train) & set(val))
        require(
            not shared,
            f"There is still a leak: of {len(set(val))} places held back, {shared} are in the "
            "training text as well. Print where a passage ends and where the next one begins.",
        )
        require(
            0.05 * n <= len(val) <= 0.2 * n,
            f"You hold back {len(val)} of {n} tokens; hold back about a tenth.",
        )
        require(
            len(set(train) | set(val)) >= 0.9 * n,
            f"Of {n} tokens only {len(set(train) | set(val))} are used; little text should be lost "
            "by the split.",
        )
        for side, name in ((train, "training"), (val, "validation")):
            following = sum(b == a + 1 for a, b in pairwise(side))
            require(
                following >= 0.8 * (len(side) - 1),
                f"Your {name} text no longer reads as text: its tokens have lost their "
                "order. Hold back passages, not single tokens.",
            )
    train, val = _sides(function, torch.arange(1000))
    some_ids = torch.arange(1000) % 40
    lengths = tuple(map(len, _sides(function, some_ids)))
    require(
        lengths == (len(train), len(val)),
        "You take tokens out of the training text because the same token is held back elsewhere. "
        "A frequent token may appear in both; it is the *place* in the text that must not.",
    )
    tokenizer, text = lab.gpt2_tokenizer(), lab.load_held_out().text
    train, val = map(torch.tensor, _sides(function, torch.tensor(tokenizer.encode(text))))
    share = lab.Dataset(train, val, tokenizer).overlap()
    right(
        f"No place is on both sides. (Of the 8-token sequences held back, {share:.0%} still occur "
        "in the training text: scripts repeat themselves.)"
    )


def _sides(function: Any, ids: Tensor) -> tuple[list[int], list[int]]:
    result = called(function, ids)
    require(
        isinstance(result, tuple | list) and len(result) == 2,
        "Return two things, `train, val`: the tokens to train on, and those held back.",
    )
    sides = []
    for side in result:
        try:
            sides.append([int(i) for i in side])
        except (TypeError, ValueError):
            raise Mistake(
                "`train` and `val` should each be one row of token ids; join the passages with "
                "`torch.cat`."
            ) from None
    return sides[0], sides[1]
