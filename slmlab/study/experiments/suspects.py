"""The suspects: the mistakes that could have made a validation perplexity of 1.00."""

import warnings
from dataclasses import dataclass, replace
from itertools import product
from statistics import mean
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from slmlab.engine.config import Progress, TrainConfig
from slmlab.engine.evaluation import evaluating, loss_windows
from slmlab.engine.generation import decoded, generate_tokens
from slmlab.engine.model import GPT, Attention
from slmlab.engine.runs import SAMPLE_TOKENS, SAMPLING
from slmlab.engine.training import VocabularyWarning, fit
from slmlab.study.domain import PROMPTS
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.tables import read_table
from slmlab.study.samples import repetition_rate
from slmlab.study.setups import Excerpt, Setup, Shape, largest_text
from slmlab.text.corpus import load_corpus, load_held_out
from slmlab.text.dataset import Dataset
from slmlab.text.tokenizer import Tokenizer, tokenizer_for

if TYPE_CHECKING:
    import pandas as pd


class UnmaskedAttention(Attention):
    """A mistake on purpose: every token sees the whole window, the next token included."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
        return super().attend(q, k, v)


class UnshiftedGPT(GPT):
    """A mistake on purpose: the target of a token is that token, not the next one."""

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return super().loss(idx, idx, label_smoothing)


@dataclass(frozen=True)
class Suspects(Experiment):
    """What makes a validation perplexity near 1? Three suspects, alone and together, and a fourth.

    `vocabulary`: as many rows as there are tokens (423), or 32,000. `validation`: on held-out
    files, or leaked: on the end of the training text itself. `mask`: causal, or missing.
    `labels`: next token, or unshifted (tried alone). All are trained on the whole corpus.
    """

    name: ClassVar[str] = "suspects"
    keys: ClassVar[tuple[str, ...]] = ("vocabulary", "validation", "mask", "labels", "seed")
    columns: ClassVar[dict[str, type]] = {
        **dict.fromkeys(("vocabulary", "validation", "mask", "labels"), str),
        **dict.fromkeys(("seed", "step"), int),
        **dict.fromkeys(("train_loss", "val_loss", "accuracy", "repetition"), float),
        "sample": str,
    }
    base: Setup = Setup(
        Shape(n_layer=3, n_head=4, n_embd=48, block_size=64),
        Excerpt(largest_text(), "bpe-423"),
        TrainConfig(8, 4e-3, max_steps=1_600, eval_interval=100),
    )
    padded_vocab: int = 32_000
    val_tokens: int = 500
    seeds: tuple[int, ...] = (0, 1, 2)

    def cells(self) -> list[Cell]:
        factors = product(("32,000", "423"), ("held out", "leaked"), ("causal", "missing"))
        suspects = [(*factor, "next token") for factor in factors]
        suspects.append(("423", "held out", "causal", "unshifted"))
        return [self.cell(*suspect, seed) for suspect in suspects for seed in self.seeds]

    @property
    def tokenizer(self) -> Tokenizer:
        """As many tokens as the published vocabulary had distinct ones."""
        return tokenizer_for(load_corpus().text, self.base.data.vocabulary)

    def dataset(self, validation: str) -> Dataset:
        """The whole corpus, and what a suspect is validated on."""
        train_ids = torch.tensor(self.tokenizer.encode(load_corpus().text))
        val = train_ids[-self.val_tokens :]
        if validation == "held out":
            val = torch.tensor(self.tokenizer.encode(load_held_out().text)[: self.val_tokens])
        return Dataset(train_ids, val, self.tokenizer, {"kind": "suspects"})

    def model(self, vocabulary: str, mask: str, labels: str, seed: int) -> GPT:
        """A suspect before training."""
        rows = self.padded_vocab if vocabulary == "32,000" else self.tokenizer.n_vocab
        attention = UnmaskedAttention if mask == "missing" else Attention
        kind = UnshiftedGPT if labels == "unshifted" else GPT
        return kind(self.base.shape.config(rows), seed, attention=attention)

    def run_cell(self, cell: Cell) -> Rows:
        """Train one suspect; its rows hold what its faulty evaluation reports."""
        dataset = self.dataset(cell["validation"])
        model = self.model(cell["vocabulary"], cell["mask"], cell["labels"], cell["seed"])
        config = replace(self.base.training, seed=cell["seed"])
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)  # the mismatch is on purpose
            for now in fit(model, dataset, config):
                if now.val_loss is not None:
                    rows.append(cell | self._measure(model, dataset, now))
        return rows

    def _measure(self, model: GPT, dataset: Dataset, now: Progress) -> dict[str, Any]:
        with evaluating(model):
            texts = [self._continue(model, dataset, prompt) for prompt in PROMPTS]
        return {
            "step": now.step,
            "train_loss": now.train_loss,
            "val_loss": now.val_loss,
            "accuracy": _reported_accuracy(model, dataset.val),
            "repetition": mean(map(repetition_rate, texts)),
            "sample": decoded(dataset.tokenizer, texts[PROMPTS.index("def main():")]),
        }

    def _continue(self, model: GPT, dataset: Dataset, prompt: str) -> list[int]:
        ids = dataset.tokenizer.encode(prompt)
        # No cache: without a mask, a token's keys and values change with every token after it.
        return list(generate_tokens(model, ids, SAMPLE_TOKENS, SAMPLING, use_cache=False))


def _reported_accuracy(model: GPT, ids: Tensor) -> float:
    """Teacher-forced accuracy as this set-up would report it: against the labels it trains on."""
    right = total = 0
    with evaluating(model):
        for inputs, targets in loss_windows(ids, model.config.block_size, 512):
            labels = inputs if isinstance(model, UnshiftedGPT) else targets
            right += int((model(inputs).argmax(-1) == labels).sum())
            total += labels.numel()
    return right / total


SUSPECTS = Suspects()


def read_suspects() -> "pd.DataFrame":
    """The last evaluation of each suspect's runs, with the `perplexity` that it reports."""
    table = read_table(SUSPECTS)
    table = table[table["step"] == table["step"].max()].reset_index(drop=True)
    table["perplexity"] = np.exp(table["val_loss"])
    return table
