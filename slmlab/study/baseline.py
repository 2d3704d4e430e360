"""The number to beat: what counting scores on a dataset, and what it knows that a model does not.

A 5-gram of the training text (`engine.ngram`), at an order and a discount that nobody chose on any
text of the course. A model that does not beat it has not earned its parameters.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from slmlab.engine.evaluation import LanguageModel, bits_per_byte, strided_losses
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.engine.runs import Run
from slmlab.text.dataset import Dataset
from slmlab.validation import instance, real_number, shown

NUMBER_TO_BEAT = "5-gram (the number to beat)"  # its name in every chart and table
COURSE_TEXTS = ("corpus", "excerpt")  # kinds of datasets that are tested on the held-out scripts
WEIGHTS = tuple(i / 50 for i in range(51))  # of the second model in a mixture


@dataclass(frozen=True)
class Baseline:
    """What the 5-gram of a dataset's training text scores; lower is better.

    Losses are in nats per token, as in a run's history, and comparable with that run only; `bits`
    are bits per byte. Those on the test text are None where the dataset has none.
    """

    val_loss: float
    val_bits: float
    test_loss: float | None
    test_bits: float | None

    def __str__(self) -> str:
        said = f"{NUMBER_TO_BEAT}: {self.val_bits:.2f} bits per byte on the validation text"
        if self.test_bits is None:
            return said
        return f"{said}, {self.test_bits:.2f} on the held-out text"


@dataclass(frozen=True)
class Standing:
    """A run's last evaluation beside the number to beat, in bits per byte of the same text."""

    text: str
    score: float
    number: float

    def __str__(self) -> str:
        here = f"bits per byte on the {self.text}, lower is better; this run has"
        if not math.isfinite(self.score):
            return f"{here} no finite loss there"
        return f"{here} {self.score:.2f}: {self.verdict}"

    @property
    def verdict(self) -> str:
        """Which of the two is better, and by how much; neither, for a run that diverged."""
        lead = round(self.score, 2) - round(self.number, 2)  # of the two figures that are read
        if not lead or not math.isfinite(lead):
            return "neither is better"
        better = "this run" if lead < 0 else "the 5-gram"
        return f"{better} is better by {abs(lead):.2f}"


def beside_counting(run: Run) -> Standing:
    """How a run stands to the number to beat: held out if it was tested, else on validation.

    Its losses are those of its training (`mean_loss`). Raises `ValueError` for a run that was not
    trained, and as `number_to_beat` does.
    """
    instance("run", run, Run, "what lab.train(…) returns")
    last, data, number = run.last, run.dataset, number_to_beat(run.dataset)
    if last.test_loss is None or number.test_bits is None:
        score = bits_per_byte(last.val_loss, data)
        return Standing("validation text", score, number.val_bits)
    score = bits_per_byte(last.test_loss, data, data.test)
    held_out = "scripts" if data.source.get("kind") in COURSE_TEXTS else "text"
    return Standing(f"held-out {held_out}", score, number.test_bits)


def number_to_beat(dataset: Dataset) -> Baseline:
    """What counting scores on a dataset; a second at most for the course's texts, then known.

    A million training tokens take a few seconds. Every token but a text's first is predicted
    from up to four before it. Raises `ValueError` for something else than a dataset, or one with a
    text of fewer than two tokens.
    """
    instance("dataset", dataset, Dataset, "lab.corpus_dataset(1_000)")
    for name, ids in _texts(dataset).items():
        if len(ids) < 2:
            raise ValueError(f"dataset.{name} has fewer than 2 tokens, so nothing is predicted.")
    return _baseline(dataset)


@lru_cache(maxsize=32)  # by identity: a panel asks again at every picture
def _baseline(dataset: Dataset) -> Baseline:
    texts = _texts(dataset)
    every = [_as_bytes(ids) for ids in texts.values()]
    losses = _losses(_as_bytes(dataset.train), tuple(every), dataset.tokenizer.n_vocab)
    found = dict.fromkeys(("test_loss", "test_bits"))
    for (name, ids), loss in zip(texts.items(), losses, strict=True):
        found[f"{name}_loss"] = loss
        found[f"{name}_bits"] = bits_per_byte(loss, dataset, ids)
    return Baseline(**found)


def _texts(dataset: Dataset) -> dict[str, Tensor]:
    """The texts that nothing was trained on."""
    return {"val": dataset.val} | ({} if dataset.test is None else {"test": dataset.test})


@lru_cache(maxsize=32)  # the course's phases, in two vocabularies, and a learner's own texts
def _losses(train: bytes, texts: tuple[bytes, ...], vocab_size: int) -> tuple[float, ...]:
    """The 5-gram's losses on texts. Ids come as bytes: equal texts, made twice, are one key."""
    model = NGram(NGramConfig(vocab_size), _as_ids(train))
    every = [_as_ids(text)[None] for text in texts]
    return tuple(float(model.loss(ids[:, :-1], ids[:, 1:])) for ids in every)


def _as_bytes(ids: Tensor) -> bytes:
    return ids.numpy().tobytes()


def _as_ids(text: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(text, np.int64).copy())


def mix(losses_a: Tensor, losses_b: Tensor, weight: float) -> Tensor:
    """The losses of a mixture: `weight` of b's probability and the rest of a's, token by token.

    Losses (N,) are in nats, of the same tokens. At weight 0 the mixture is a, at 1 it is b. Raises
    `ValueError` for losses of different tokens, or a weight that is no share.
    """
    for name, losses in (("losses_a", losses_a), ("losses_b", losses_b)):
        instance(name, losses, Tensor, "what lab.token_losses(model, ids) returns")
    if losses_a.shape != losses_b.shape or losses_a.dim() != 1 or not len(losses_a):
        raise ValueError(
            f"The losses have shapes {shown(tuple(losses_a.shape))} and "
            f"{shown(tuple(losses_b.shape))}; give those of the same tokens, one each."
        )
    weight = real_number("weight", weight, least=0, most=1)
    # log(0) is −∞, which leaves the other model alone.
    log_a, log_b = (math.log(w) if w else -math.inf for w in (1 - weight, weight))
    return -torch.logaddexp(log_a - losses_a.double(), log_b - losses_b.double())


def choose_weight(losses_a: Tensor, losses_b: Tensor) -> float:
    """The weight of b, of `WEIGHTS`, whose mixture has the lowest mean loss.

    Choose on the validation text and score elsewhere: the text that chose flatters the mixture.
    Raises `ValueError` as `mix` does.
    """
    return min(WEIGHTS, key=lambda weight: float(mix(losses_a, losses_b, weight).mean()))


def mixture_losses(model: LanguageModel, ngram: NGram, ids: Tensor, weight: float) -> Tensor:
    """Losses (N − 1,) in nats of a mixture with `weight` of the n-gram, on ids (N,).

    Both models have at least half their context (`strided_losses`), and must share a vocabulary.
    Raises `ValueError` as `strided_losses` and `mix` do.
    """
    return mix(strided_losses(model, ids), strided_losses(ngram, ids), weight)
