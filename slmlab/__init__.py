"""SLM Lab: train five small GPTs on a laptop, and learn when a model memorises."""

import os
from importlib import import_module

# Both are read once, when PyTorch loads, so they come before any import of it.
# A waiting thread spins for microseconds, then sleeps (GNU OpenMP, so Linux). By default it spins
# for milliseconds, which slows every step badly when another program is on the same cores.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# Large tensors on large memory pages (Linux): fewer page faults for 50,257-wide logits.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from slmlab.corpus import Corpus, Dataset, corpus_dataset, load_corpus, load_held_out
from slmlab.diagnosis import (
    GAP_BANDS,
    advice,
    bits_per_byte,
    copy_rate,
    gap_band,
    longest_match,
    overlap_losses,
    perplexity,
    scorecard,
    token_accuracy,
)
from slmlab.files import DataError
from slmlab.generation import generate, generate_tokens, next_distribution
from slmlab.model import GPT, GPTConfig
from slmlab.phases import PHASES, Phase
from slmlab.runs import PROMPTS, Run, recorded, train
from slmlab.tokenizer import gpt2_tokenizer, right_size, train_bpe
from slmlab.training import Progress, TrainConfig, TrainState, fit, mean_loss

__all__ = [
    "GAP_BANDS",
    "GPT",
    "PHASES",
    "PROMPTS",
    "Corpus",
    "DataError",
    "Dataset",
    "GPTConfig",
    "NextTokenExplorer",
    "Phase",
    "Playground",
    "PredictionCard",
    "Progress",
    "Quiz",
    "Run",
    "Scrubber",
    "TrainConfig",
    "TrainState",
    "advice",
    "bits_per_byte",
    "class_board",
    "copy_rate",
    "corpus_dataset",
    "fit",
    "gap_band",
    "generate",
    "generate_tokens",
    "gpt2_tokenizer",
    "load_corpus",
    "load_held_out",
    "longest_match",
    "loss_curves",
    "mean_loss",
    "model_card",
    "next_distribution",
    "overlap_losses",
    "parameter_breakdown",
    "perplexity",
    "predictions",
    "read_text",
    "recommend",
    "recorded",
    "report",
    "right_size",
    "scorecard",
    "token_accuracy",
    "train",
    "train_bpe",
]

# What draws or reads records is loaded when it is first asked for, and pandas where a table is
# made, so that a script that only trains does not pay for them (pandas alone: 34 MB).
_LATER = {
    "loss_curves": "slmlab.plots",
    "parameter_breakdown": "slmlab.plots",
    "report": "slmlab.panel",
    "NextTokenExplorer": "slmlab.widgets",
    "Playground": "slmlab.widgets",
    "PredictionCard": "slmlab.widgets",
    "Scrubber": "slmlab.widgets",
    "model_card": "slmlab.cards",
    "Quiz": "slmlab.widgets",
    "class_board": "slmlab.board",
    "predictions": "slmlab.widgets",
    "read_text": "slmlab.own_text",
    "recommend": "slmlab.forecast",
}


def __getattr__(name: str) -> object:
    if name in ("audit", "plots"):
        return import_module(f"slmlab.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'slmlab' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
