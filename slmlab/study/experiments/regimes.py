"""The three published regimes of training on dialogues, small and at the published size."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from slmlab.engine.config import TrainConfig
from slmlab.engine.evaluation import mean_loss
from slmlab.engine.model import GPT
from slmlab.engine.training import fit
from slmlab.study.experiments.chats import bits_of, chooser
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.replies import reply
from slmlab.study.setups import Excerpt, Setup, Shape, largest_text
from slmlab.text.dataset import Dataset
from slmlab.text.dialogues import ChatTokenizer, chat_tokenizer, dialogue_dataset, load_dialogues
from slmlab.text.tokenizer import gpt2_tokenizer

SMALL, PUBLISHED = "small", "published"
QUESTIONS = ("Hello", "What is Python?", "What is Git?")  # the last is of a kind never trained on


@dataclass(frozen=True)
class Regime:
    """One of the published ways to train.

    Attributes:
        name: as published.
        dialogues: the set that it reads.
        epochs: after which it ends, or None for the experiment's number of steps.
        changes: of the training.
    """

    name: str
    dialogues: str
    epochs: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)


REGIMES_PUBLISHED: tuple[Regime, ...] = (
    Regime("basic", "plain"),
    Regime(
        "improved",
        "varied",
        changes={"learning_rate": 3e-4, "label_smoothing": 0.1, "grad_clip": 0.5, "cosine": True},
    ),
    Regime(
        "conservative",
        "curated",
        epochs=6,
        changes={
            "learning_rate": 1e-4,
            "weight_decay": 0.05,
            "label_smoothing": 0.2,
            "grad_clip": 0.3,
        },
    ),
)
