"""Experiments over many small runs, each cell of which can be trained on its own.

The grid varies model size and data with everything else fixed. The suspects are the mistakes that
could have made a validation perplexity of 1.00. `records.py` runs and stores them.
"""

import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from slmlab.corpus import Corpus, Dataset, load_corpus, load_held_out
from slmlab.diagnosis import repetition_rate, scorecard
from slmlab.files import sha256
from slmlab.generation import generate_tokens
from slmlab.model import GPT, Attention, GPTConfig
from slmlab.runs import PROMPTS, SAMPLE_OPTIONS, SAMPLE_TOKENS, train
from slmlab.tokenizer import gpt2_tokenizer, right_size, train_bpe
from slmlab.training import Progress, TrainConfig, VocabularyWarning, fit, loss_windows

SEEDS = (0, 1, 2)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Grid:
    """Five model sizes × five amounts of data × three seeds, all with the same tokens seen.

    A cell's training text is the start of the corpus with its files in an order that the seed
    decides, so that the spread over seeds includes the luck of which files come first. Every
    model is validated on the same held-out files.
    """

    name: str = "grid"
    widths: tuple[int, ...] = (12, 24, 48, 96, 192)
    train_tokens: tuple[int, ...] = (1_000, 2_200, 4_800, 10_500, 23_000)
    seeds: tuple[int, ...] = SEEDS
    n_layer: int = 3
    n_head: int = 4
    block_size: int = 64
    batch_size: int = 8
    learning_rate: float = 1e-3
    steps: int = 1_200
    eval_interval: int = 100

    @property
    def keys(self) -> tuple[str, ...]:
        return ("n_embd", "train_tokens", "seed")

    def cells(self) -> list[dict[str, Any]]:
        """The settings of every run, the slowest first, so that none is left alone at the end."""
        values = product(self.widths[::-1], self.train_tokens, self.seeds)
        return [dict(zip(self.keys, v, strict=True)) for v in values]

    def dataset(self, train_tokens: int, seed: int) -> Dataset:
        """Training text of a cell, validated on the held-out files; right-sized vocabulary."""
        corpus = load_corpus()
        tokenizer = right_size(gpt2_tokenizer(), corpus.text)
        documents = list(corpus.documents)
        random.Random(seed).shuffle(documents)
        ids = torch.tensor(tokenizer.encode(Corpus(tuple(documents)).text)[:train_tokens])
        val = torch.tensor(tokenizer.encode(load_held_out().text))
        return Dataset(ids, val, tokenizer, {"kind": "grid", "seed": seed})

    def model_config(self, n_embd: int, vocab_size: int) -> GPTConfig:
        return GPTConfig(vocab_size, self.block_size, self.n_layer, self.n_head, n_embd)

    def work(self, n_embd: int, train_tokens: int, seed: int) -> Rows:
        """Train one cell; one row per evaluation."""
        dataset = self.dataset(train_tokens, seed)
        model = GPT(self.model_config(n_embd, dataset.tokenizer.n_vocab), seed)
        config = TrainConfig(
            self.batch_size,
            self.learning_rate,
            max_steps=self.steps,
            eval_interval=self.eval_interval,
            seed=seed,
        )
        run = train(model, dataset, config, progress=False, sample_often=True)
        return list(self._rows(run, n_embd, train_tokens, seed))

    def _rows(self, run, n_embd: int, train_tokens: int, seed: int) -> Iterator[dict[str, Any]]:
        for report in run.state.history:
            card = scorecard(run, report.step)
            yield {
                "n_embd": n_embd,
                "train_tokens": train_tokens,
                "seed": seed,
                "params": run.model.n_params,
                "step": report.step,
                "tokens_seen": report.tokens,
                "epochs": report.epochs,
                "train_loss": report.train_loss,
                "val_loss": report.val_loss,
                "parses": card["parses"].mean(),
                "repetition": card["repetition"].mean(),
                "domain_hits": card["domain hits"].mean(),
                "copied": card["copied"].mean(),
                "longest_match": card["longest match"].max(),
                "seconds": report.seconds,
            }


class UnmaskedAttention(Attention):
    """A mistake on purpose: every token sees the whole window, the next token included."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
        return super().attend(q, k, v)


class UnshiftedGPT(GPT):
    """A mistake on purpose: the target of a token is that token, not the next one."""

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return super().loss(idx, idx, label_smoothing)


@dataclass(frozen=True)
class Suspects:
    """What makes a validation perplexity near 1? Three suspects, alone and together, and a fourth.

    `vocabulary`: as many rows as there are tokens (423), or 32,000. `validation`: on held-out
    files, or leaked: on the end of the training text itself. `mask`: causal, or missing.
    `labels`: next token, or unshifted (tried alone). All are trained on the whole corpus.
    """

    name: str = "suspects"
    n_vocab: int = 423
    padded_vocab: int = 32_000
    val_tokens: int = 500
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 48
    block_size: int = 64
    batch_size: int = 8
    learning_rate: float = 4e-3
    steps: int = 1_600
    eval_interval: int = 100
    seeds: tuple[int, ...] = SEEDS

    @property
    def keys(self) -> tuple[str, ...]:
        return ("vocabulary", "validation", "mask", "labels", "seed")

    def cells(self) -> list[dict[str, Any]]:
        """The settings of every run, the slowest first."""
        factors = product(("32,000", "423"), ("held out", "leaked"), ("causal", "missing"))
        suspects = [(*factor, "next token") for factor in factors]
        suspects.append(("423", "held out", "causal", "unshifted"))
        values = [(*suspect, seed) for suspect in suspects for seed in self.seeds]
        return [dict(zip(self.keys, v, strict=True)) for v in values]

    def dataset(self, validation: str) -> Dataset:
        """The text of the suspects, in a byte-pair vocabulary of exactly 423 tokens."""
        corpus = load_corpus()
        tokenizer = train_bpe(corpus.text, self.n_vocab)
        train_ids = torch.tensor(tokenizer.encode(corpus.text))
        val = train_ids[-self.val_tokens :]
        if validation == "held out":
            val = torch.tensor(tokenizer.encode(load_held_out().text)[: self.val_tokens])
        return Dataset(train_ids, val, tokenizer, {"kind": "suspects"})

    def model(self, vocabulary: str, mask: str, labels: str, seed: int) -> GPT:
        rows = self.padded_vocab if vocabulary == "32,000" else self.n_vocab
        config = GPTConfig(rows, self.block_size, self.n_layer, self.n_head, self.n_embd)
        model = (UnshiftedGPT if labels == "unshifted" else GPT)(config, seed)
        if mask == "missing":
            for block in model.blocks:
                block.attn.__class__ = UnmaskedAttention  # same weights, another `attend`
        return model

    def work(self, vocabulary: str, validation: str, mask: str, labels: str, seed: int) -> Rows:
        """Train one suspect; one row per evaluation, with what its faulty evaluation reports."""
        dataset = self.dataset(validation)
        model = self.model(vocabulary, mask, labels, seed)
        config = TrainConfig(
            self.batch_size,
            self.learning_rate,
            max_steps=self.steps,
            eval_interval=self.eval_interval,
            seed=seed,
        )
        cell = (vocabulary, validation, mask, labels, seed)
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)  # the mismatch is on purpose
            for report in fit(model, dataset, config):
                if report.val_loss is not None:
                    row = self._measure(model, dataset, report)
                    rows.append(dict(zip(self.keys, cell, strict=True)) | row)
        return rows

    def _measure(self, model: GPT, dataset: Dataset, report: Progress) -> dict[str, Any]:
        texts = [self._continue(model, dataset, prompt) for prompt in PROMPTS]
        return {
            "step": report.step,
            "train_loss": report.train_loss,
            "val_loss": report.val_loss,
            "accuracy": _reported_accuracy(model, dataset.val),
            "repetition": mean(map(repetition_rate, texts)),
            "sample": _decode(dataset, texts[PROMPTS.index("def main():")]),
        }

    def _continue(self, model: GPT, dataset: Dataset, prompt: str) -> list[int]:
        ids = dataset.tokenizer.encode(prompt)
        # No cache: without a mask, a token's keys and values change with every token after it.
        return list(generate_tokens(model, ids, SAMPLE_TOKENS, use_cache=False, **SAMPLE_OPTIONS))


def _decode(dataset: Dataset, ids: list[int]) -> str:
    """Text of ids; a padded vocabulary has rows that stand for no token."""
    n_vocab = dataset.tokenizer.n_vocab
    return "".join(dataset.tokenizer.decode([i]) if i < n_vocab else "�" for i in ids)


@torch.no_grad()
def _reported_accuracy(model: GPT, ids: Tensor) -> float:
    """Teacher-forced accuracy as this set-up would report it: against the labels it trains on."""
    model.eval()
    right = total = 0
    for inputs, targets in loss_windows(ids, model.config.block_size, rows=512):
        labels = inputs if isinstance(model, UnshiftedGPT) else targets
        right += int((model(inputs).argmax(-1) == labels).sum())
        total += labels.numel()
    model.train()
    return right / total


def texts_used() -> dict[str, str]:
    """SHA-256 of the texts that the experiments are made with."""
    return {
        "corpus_sha256": sha256(load_corpus().text.encode()),
        "held_out_sha256": sha256(load_held_out().text.encode()),
    }


GRID = Grid()
SUSPECTS = Suspects()
