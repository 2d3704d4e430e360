"""What the exercises for 05 are about: two models to examine, and four reports with hidden bugs."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

import slmlab as lab
from slmlab.engine.model import Attention
from slmlab.study.experiments.suspects import UnmaskedAttention, UnshiftedGPT

FAULTS = ("mask", "labels", "leak", "fine")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Train on one thread: such small models gain nothing by a second, and wait for busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Exam:
    """Two models, the tokens that each was trained on, and scripts to examine them with."""

    model_a: lab.GPT
    model_b: lab.GPT
    train_a: Tensor
    train_b: Tensor
    scripts: dict[str, Tensor]

    @property
    def arguments(self) -> tuple:
        """What the learner's function is called with."""
        return self.model_a, self.model_b, self.train_a, self.train_b, self.scripts


@lru_cache(maxsize=1)
@_one_thread()
def exam() -> Exam:
    """Two small models: a has read the corpus's first 8 scripts, b those from 13 to 20."""
    documents = lab.load_corpus().documents
    tokenizer = lab.PHASES[4].dataset("right-sized").tokenizer

    def tokens(*chosen: Any) -> Tensor:
        return torch.tensor(tokenizer.encode("\n".join(d.text for d in chosen)))

    train_a, train_b = tokens(*documents[:8]), tokens(*documents[12:20])
    model_a, model_b = (_trained(ids, tokenizer, 150) for ids in (train_a, train_b))
    held_out = lab.load_held_out().documents
    chosen = [documents[i] for i in (1, 10, 11, 14, 20, 23, 25)] + [held_out[1], held_out[4]]
    scripts = {document.name: tokens(document) for document in chosen}
    return Exam(model_a, model_b, train_a, train_b, scripts)


def _trained(ids: Tensor, tokenizer: Any, steps: int) -> lab.GPT:
    model = lab.GPT(lab.GPTConfig(tokenizer.n_vocab, block_size=16, n_layer=1, n_head=4, n_embd=32))
    config = lab.TrainConfig(8, 6e-3, max_steps=steps, eval_interval=steps, device="cpu")
    for _ in lab.fit(model, lab.Dataset(ids, ids[:100], tokenizer), config):
        pass
    return model.eval()


def other_scripts(e: Exam) -> Exam:
    """Other names, and a script that one model has read nearly all of and the other nothing."""
    once = torch.arange(100, 160)
    copied = torch.cat([e.train_a[:60], once[:20] + 100])
    return Exam(e.model_a, e.model_b, e.train_a, once, {"one.py": copied, "two.py": once + 200})


def overlaps(e: Exam) -> dict[str, list[float]]:
    """The share of each script that is copied from the text of a, and of b."""
    texts = e.train_a.tolist(), e.train_b.tolist()
    return {
        name: [lab.copy_rate(ids.tolist(), text) for text in texts]
        for name, ids in e.scripts.items()
    }


@dataclass(frozen=True, repr=False)
class Report:
    """What a colleague hands in with a result.

    Attributes:
        predict: the trained model: ids (B, T) of at most 16 tokens each → logits (B, T, V).
        batch: the loader: a seed → the inputs and targets of one step, (4, 16) each.
        train: the tokens that it was trained on.
        val: the tokens that it was validated on.
        perplexity: the validation perplexity that the colleague reports.
    """

    predict: Callable[[Tensor], Tensor]
    batch: Callable[[int], tuple[Tensor, Tensor]]
    train: Tensor
    val: Tensor
    perplexity: float


@lru_cache(maxsize=1)
@_one_thread()
def reports() -> dict[str, Report]:
    """Four results of the same model on the same text: three have a bug, one does not."""
    text = lab.load_corpus().text
    tokenizer = lab.train_bpe(text, 300)
    train = torch.tensor(tokenizer.encode(text))[:3000]
    held_out = torch.tensor(tokenizer.encode(lab.load_held_out().text))[:400]
    vals = {fault: train[-400:] if fault == "leak" else held_out for fault in FAULTS}
    return {
        letter: _report(lab.Dataset(train, vals[fault], tokenizer), fault)
        for letter, fault in hidden_faults().items()
    }


def hidden_faults() -> dict[str, str]:
    """Which report has which fault, in an order that reading this file does not tell."""
    shuffled = sorted(FAULTS, key=lambda fault: sha256(fault.encode()).hexdigest())
    return dict(zip("ABCD", shuffled, strict=True))


def _report(dataset: lab.Dataset, fault: str) -> Report:
    shape = lab.GPTConfig(dataset.tokenizer.n_vocab, block_size=16, n_layer=1, n_head=4, n_embd=32)
    attention = UnmaskedAttention if fault == "mask" else Attention
    model = (UnshiftedGPT if fault == "labels" else lab.GPT)(shape, attention=attention)
    config = lab.TrainConfig(8, 6e-3, max_steps=800, eval_interval=800, device="cpu")
    loss = [p.val_loss for p in lab.fit(model, dataset, config) if p.val_loss is not None][-1]
    model.eval()

    @torch.no_grad()
    def predict(ids: Tensor) -> Tensor:
        return model(ids)

    def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
        inputs, targets = dataset.batch(4, shape.block_size, seed)
        return inputs, inputs.clone() if fault == "labels" else targets

    return Report(predict, batch, dataset.train, dataset.val, math.exp(loss))
