"""Checks of the exercises to notebook 00: counting, the gap, a short exam and a leaking one."""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import slmlab as lab
from slmlab.exercises.checking import Mistake, called, number, require, right

SHAPE = lab.GPTConfig(vocab_size=1000, block_size=16, n_layer=2, n_head=2, n_embd=10)

RUN = {"parameters": 45_000, "tokens": 10_000, "steps": 450, "batch": 8, "block": 20}


def parameter_count(token_embedding: Any, positions: Any, layer: Any, total: Any) -> None:
    """The parameters of `SHAPE`: of two tables, of one layer, of all."""
    C, counts = SHAPE.n_embd, SHAPE.parameter_counts
    table, places = counts["token embedding (= output head)"], counts["positions"]
    attention, mlp, norms = 4 * C**2 + 4 * C, 8 * C**2 + 5 * C, 4 * C
    one = attention + mlp + norms

    _count(
        token_embedding,
        "token_embedding",
        table,
        {
            SHAPE.vocab_size + C: "A table of rows and columns has rows × columns numbers; you "
            "added the two.",
            2 * table: "You counted the table twice. The output head is the same table, so its "
            "numbers are there once.",
            SHAPE.vocab_size: "You counted one number for each token of the vocabulary; it is a "
            "row of C numbers for each.",
        },
        "The token embedding has one row for each token of the vocabulary, of C numbers each.",
    )
    _count(
        positions,
        "positions",
        places,
        {
            SHAPE.block_size: "You counted one number for each place; it is a row of C numbers for "
            "each.",
            table: "Positions have one row for each place of the context, not for each token of "
            "the vocabulary.",
        },
        "The positions have one row for each place of the context, of C numbers each.",
    )
    _count(
        layer,
        "layer",
        one,
        {
            12 * C**2: "You left out the biases and the norms of the layer.",
            12 * C**2 + 4 * C: "You left out the biases: each matrix has one, as long as its "
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
        "Count the layer's three parts on their own: attention, MLP and two norms, each with its "
        "biases. The attention has 440.",
    )
    _count(
        total,
        "total",
        SHAPE.n_params,
        {
            SHAPE.n_params - 2 * C: "You forgot the norm after the last layer.",
            SHAPE.n_params - one: "You counted one layer; the model has two.",
            SHAPE.n_params + table: "You counted the output head as a table of its own. It is the "
            "token embedding, and counts once.",
            SHAPE.n_params - places: "You left out the positions; they are learnt, so they count.",
            SHAPE.n_params - table: "You left out the token embedding.",
        },
        "The total is the two tables, both layers, and the norm after the last layer.",
    )
    share = table / SHAPE.n_params
    right(f"{SHAPE.n_params:,} parameters, and {share:.0%} of them are the token embedding.")


def _count(answer: Any, name: str, expected: int, mistakes: dict[int, str], hint: str) -> None:
    require(
        not isinstance(answer, tuple),
        f"`{name}` is {answer}: Python reads a comma as the border between two numbers. Write "
        "twelve thousand as 12000 or 12_000.",
    )
    value = number(answer, name)
    for wrong, sentence in mistakes.items():
        require(value != wrong, f"`{name}`: {sentence}")
    require(value == expected, f"`{name}` is not {value:,.10g}. {hint}")


def signed_gap(function: Any) -> None:
    """A function of (train_loss, val_loss) that returns the gap and the name of its band."""
    gap, _ = _gap_and_band(function, 2.0, 5.0)
    require(
        not _close(gap, -3.0),
        "You subtracted the other way round: the gap is validation − training, so that "
        "memorising is positive.",
    )
    require(not _close(gap, 2.5), "You divided; the gap is a difference of the two losses.")
    require(_close(gap, 3.0), f"For losses of 2.0 and 5.0 the gap is not {gap:g}.")
    gap, _ = _gap_and_band(function, 5.25, 5.0)
    require(
        not _close(gap, 0.25),
        "You lost the sign: where the validation loss is the lower one, the gap is negative, and "
        "that is worth knowing.",
    )
    for train_loss, val_loss in (
        (0.75, 9.0),
        (2.0, 5.75),
        (2.0, 4.0),
        (2.0, 2.75),
        (2.0, 2.25),
        (5.25, 5.0),
    ):
        wanted = lab.gap_band(val_loss - train_loss)
        gap, name = _gap_and_band(function, train_loss, val_loss)
        require(
            _close(gap, val_loss - train_loss),
            f"For a training loss of {train_loss} and a validation loss of {val_loss} your gap is "
            f"{gap:g}.",
        )
        if wanted.low == -math.inf:
            require(
                name == wanted.name,
                f'You call a gap of {gap:+.2f} "{name}". Below 0 a band of its own begins: '
                "validation easier than training is a reason to look for a leak.",
            )
        require(
            name == wanted.name,
            f'You call a gap of {gap:+.2f} "{name}"; look again between which two borders '
            f"{gap:.2f} lies.",
        )
    for band in lab.GAP_BANDS[1:]:
        _, name = _gap_and_band(function, 1.0, 1.0 + band.low)
        require(
            name == band.name,
            f'You call a gap of exactly {band.low:.1f} "{name}". A band begins at its lower border '
            "and ends just before its upper one.",
        )
    right("The sign is kept, and all six bands are found, borders included.")


def _gap_and_band(function: Any, train_loss: float, val_loss: float) -> tuple[float, str]:
    result = called(function, train_loss, val_loss)
    require(
        isinstance(result, tuple | list) and len(result) == 2,
        f"`signed_gap` returns {result!r}; it should return two things, `gap, name`: a number and "
        "the name of its band.",
    )
    gap, name = number(result[0], "gap"), getattr(result[1], "name", result[1])
    names = [band.name for band in lab.GAP_BANDS]
    name = name.strip().lower() if isinstance(name, str) else name
    require(name in names, f"{name!r} is no band; the names are {', '.join(names)}.")
    return gap, name


def rates(params_per_token: Any, times_read: Any) -> None:
    """Parameters for each training token of `RUN`, and how often it reads its text."""
    facts = RUN
    train_tokens = 0.9 * facts["tokens"]
    read = facts["steps"] * facts["batch"] * facts["block"]
    value = number(params_per_token, "params_per_token")
    expected = facts["parameters"] / train_tokens
    require(
        not _close(value, facts["parameters"] / facts["tokens"]),
        "You divided by the whole text. The last tenth is held back, and is not trained on.",
    )
    require(
        not _close(value, 1 / expected),
        "That is training tokens for each parameter; it is asked the other way round.",
    )
    require(
        _close(value, expected),
        f"`params_per_token` is not {value:g}: divide the parameters by the tokens trained on.",
    )
    value, expected = number(times_read, "times_read"), read / train_tokens
    mistakes = {
        read / facts["tokens"]: "You divided by the whole text; only the part that is trained on "
        "is read.",
        expected / facts["batch"]: "You left out the batch: a step reads several windows.",
        expected / facts["block"]: "You left out the context: a window is many tokens long.",
        expected / facts["batch"] / facts["block"]: "A step reads more than one token: it reads a "
        "batch of windows, each as long as the context.",
        facts["steps"]: "A step does not read the whole text, only a batch of windows.",
        read: "That is the number of tokens read in all; how often is the text read?",
        1 / expected: "You divided the other way round.",
    }
    for wrong, sentence in mistakes.items():
        require(not _close(value, wrong), sentence)
    require(
        _close(value, expected),
        f"`times_read` is not {value:g}: how many tokens does a step read, how many do all steps "
        "read, and how many times the training text is that?",
    )
    right("Only what is trained on counts, in both; Phase 0 had 33,328 and 284.")


def mean_loss_of_short_text(function: Any) -> None:
    """A function of (model, ids) that gives the mean loss of fewer tokens than the context."""
    dataset = lab.PHASES[0].dataset("right-sized")
    model = _any_model(dataset.tokenizer.n_vocab, block_size=128)
    exam = dataset.val
    mean = lab.mean_loss(model, exam)
    value = _loss(function, model, exam)
    with torch.no_grad():
        logits = model(exam[None])[0]
    n = len(exam)
    forward = F.cross_entropy(logits[:-1], exam[1:], reduction="none")
    mistakes = (
        (
            F.cross_entropy(logits, exam),
            "You compare each prediction with the token that was just read. It has to be compared "
            "with the next one.",
        ),
        (
            F.cross_entropy(logits[1:], exam[:-1]),
            "You shifted the wrong way: each prediction is compared with the token before, not "
            "with the one after.",
        ),
        (
            mean * (n - 1),
            f"This is the sum over all predictions; the mean is asked ({n} tokens give {n - 1} "
            "predictions).",
        ),
        (
            mean * (n - 1) / n,
            f"You divided by {n}. The first token is given and not predicted, so {n} tokens give "
            f"{n - 1} predictions.",
        ),
        (
            mean * (n - 1) / 128,
            "You divided by the context. The text is shorter, so there are fewer predictions.",
        ),
        (forward[-1], "You took the loss of the last token only; take the mean over all of them."),
        (math.exp(mean), "This is the perplexity, e to the loss; the loss itself is asked."),
        (mean / math.log(2), "This is in bits (log to base 2); it should be in nats (base e)."),
        (-mean, "The sign is wrong: the loss is *minus* the log of the probability."),
        (
            F.cross_entropy(logits[:-1].softmax(-1), exam[1:]),
            "`cross_entropy` takes logits and applies the softmax itself; you applied it twice.",
        ),
    )
    for wrong, sentence in mistakes:
        # The mean itself may be rounded; a mistake that was computed may not, as some lie near.
        require(not math.isclose(value, float(wrong), rel_tol=1e-4), sentence)
    require(
        _close(value, mean),
        f"For the {n} tokens of Phase 0's exam you get {value:.4f}, which is not the mean. Each "
        "token but the first has to be predicted once, from those before it, and nothing else.",
    )
    for length in (2, 37):
        value, mean = _loss(function, model, exam[:length]), lab.mean_loss(model, exam[:length])
        require(
            _close(value, mean),
            f"Right for {n} tokens, but not for {length}: is a length written into your function?",
        )
    right(f"The {n} tokens of Phase 0's exam give {n - 1} predictions, though no window fits.")


def _any_model(vocab_size: int, block_size: int) -> lab.GPT:
    """An untrained model with opinions: its weights are larger than usual, so losses differ."""
    model = lab.GPT(lab.GPTConfig(vocab_size, block_size, n_layer=1, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(50)
    return model.eval()


def _loss(function: Any, model: lab.GPT, ids: Tensor) -> float:
    try:
        result = called(function, model, ids)
    except Mistake as error:
        if "stopped with RuntimeError" not in str(error):
            raise
        raise Mistake(
            f"{str(error)[:200]} (The model wants ids of shape (batch, time), and gives logits of "
            "shape (batch, time, vocabulary).)"
        ) from error
    if isinstance(result, Tensor):
        result = result.detach()
        require(
            result.numel() == 1,
            f"Your function returns {result.numel()} numbers; take their mean.",
        )
    if isinstance(result, float | Tensor):
        require(
            not math.isnan(result) and float(result) != 0.0,
            "Your function finds nothing to predict: if you cut the text into windows as long as "
            "the context, no window fits. Take the text as one shorter window.",
        )
    return number(result, "mean_loss_of_short_text(model, ids)")


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
            "Some of what you return does not stand in the text: return its tokens.",
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
            f"You hold back {len(val)} of {n} tokens; about a tenth is asked.",
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
                f"Your {name} text is no text any more: its tokens do not stand one after the "
                "other as they did. Hold back passages, not single tokens.",
            )
    train, val = _sides(function, torch.arange(1000))
    some_ids = torch.arange(1000) % 40
    lengths = tuple(map(len, _sides(function, some_ids)))
    require(
        lengths == (len(train), len(val)),
        "You take tokens out of the training text because the same token is held back elsewhere. "
        "A frequent token may stand in both; it is the *place* in the text that must not.",
    )
    tokenizer, text = lab.gpt2_tokenizer(), lab.load_held_out().text
    train, val = map(torch.tensor, _sides(function, torch.tensor(tokenizer.encode(text))))
    share = lab.Dataset(train, val, tokenizer).contamination()
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


def _close(value: float, expected: float) -> bool:
    """Whether two numbers agree to the third digit or so: answers may be rounded."""
    return math.isclose(value, expected, rel_tol=2e-3, abs_tol=1e-6)
