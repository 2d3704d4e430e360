"""SLM Lab: train five small GPTs on a laptop, and learn when a model memorises."""

import os
import sys
from importlib import import_module

# Both are read once, when PyTorch loads, so they come before any import of it.
# A waiting thread spins for microseconds, then sleeps (GNU OpenMP, so Linux). By default it spins
# for milliseconds, which slows every step badly when another program is on the same cores.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# Large tensors on large memory pages (Linux): fewer page faults for 50,257-wide logits.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from slmlab.engine.beams import beam_search
from slmlab.engine.config import Progress, TrainConfig, TrainState
from slmlab.engine.decoding import Decoding, next_distribution
from slmlab.engine.evaluation import (
    bits_per_byte,
    mean_loss,
    perplexity,
    text_score,
    token_accuracy,
    token_losses,
)
from slmlab.engine.experts import ExpertConfig, routings
from slmlab.engine.generation import generate, generate_tokens
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.ngram import NGram, NGramConfig, choose_ngram
from slmlab.engine.runs import Run, train
from slmlab.engine.speculative import speculative
from slmlab.engine.training import fit
from slmlab.study.baseline import number_to_beat
from slmlab.study.diagnosis import (
    GAP_BANDS,
    advice,
    early_stop,
    gap_band,
    losses_per_byte,
    size_advice,
)
from slmlab.study.domain import PROMPTS
from slmlab.study.memorisation import copy_rate, line_completions, longest_match, overlap_losses
from slmlab.study.paired import paired_difference, per_file_scores
from slmlab.study.phases import PHASES, Phase, recorded, settings_table
from slmlab.study.samples import scorecard, scorecard_history
from slmlab.study.setups import Setup
from slmlab.text.corpus import Corpus, corpus_dataset, load_corpus, load_final, load_held_out
from slmlab.text.dataset import Dataset
from slmlab.text.dialogues import Dialogue, dialogue_dataset, load_dialogues
from slmlab.text.families import families, similar_pairs
from slmlab.text.files import DataError, data_path, write_atomically
from slmlab.text.puzzles import load_puzzles
from slmlab.text.tokenizer import chat_tokenizer, gpt2_tokenizer, right_size, train_bpe

__all__ = [
    "GAP_BANDS",
    "GPT",
    "PHASES",
    "PROMPTS",
    "ChatPanel",
    "Corpus",
    "CourseMap",
    "DataError",
    "Dataset",
    "Decoding",
    "DecodingBench",
    "Dialogue",
    "ExpertConfig",
    "GPTConfig",
    "NGram",
    "NGramConfig",
    "NextTokenExplorer",
    "Phase",
    "Playground",
    "PredictionCard",
    "Progress",
    "Quiz",
    "RouteExplorer",
    "RulingCards",
    "Run",
    "Scrubber",
    "Setup",
    "TokenExplorer",
    "TrainConfig",
    "TrainState",
    "advice",
    "answer_bits",
    "at_best_rates",
    "beam_search",
    "best_looks",
    "bits_per_byte",
    "calibration",
    "chat_tokenizer",
    "choose_ngram",
    "choose_vocabulary",
    "class_board",
    "copy_rate",
    "corpus_dataset",
    "data_path",
    "decision_table",
    "dialogue_dataset",
    "early_stop",
    "example_setups",
    "explain_samples",
    "families",
    "fit",
    "from_huggingface",
    "gap_band",
    "generate",
    "generate_tokens",
    "gpt2_tokenizer",
    "line_completions",
    "load_corpus",
    "load_dialogues",
    "load_final",
    "load_held_out",
    "load_puzzles",
    "longest_match",
    "loss_curves",
    "losses_per_byte",
    "mean_loss",
    "model_card",
    "next_distribution",
    "number_to_beat",
    "overlap_losses",
    "paired_difference",
    "parameter_breakdown",
    "per_file_scores",
    "perplexity",
    "phase_runs",
    "predictions",
    "read_counting",
    "read_crossing",
    "read_grid",
    "read_ladder",
    "read_loops",
    "read_recipes",
    "read_suspects",
    "read_text",
    "read_vocabularies",
    "recommend",
    "recommend_for_text",
    "recorded",
    "remedies_table",
    "report",
    "reported_perplexities",
    "right_size",
    "routings",
    "scorecard",
    "scorecard_history",
    "settings_table",
    "show_mask",
    "similar_pairs",
    "size_advice",
    "size_table",
    "speculative",
    "start_over",
    "text_score",
    "to_huggingface",
    "token_accuracy",
    "token_losses",
    "train",
    "train_bpe",
    "vocabulary_table",
    "write_atomically",
]

# What draws or reads records is loaded when it is first asked for, and pandas where a table is
# made, so that a script that only trains does not pay for them (pandas alone: 34 MB).
_LATER = {
    "loss_curves": "slmlab.show.plots",
    "parameter_breakdown": "slmlab.show.plots",
    "report": "slmlab.show.report",
    "ChatPanel": "slmlab.show.widgets",
    "DecodingBench": "slmlab.show.widgets",
    "NextTokenExplorer": "slmlab.show.widgets",
    "Playground": "slmlab.show.widgets",
    "PredictionCard": "slmlab.show.widgets",
    "Quiz": "slmlab.show.widgets",
    "Scrubber": "slmlab.show.widgets",
    "RouteExplorer": "slmlab.show.widgets",
    "RulingCards": "slmlab.show.widgets",
    "TokenExplorer": "slmlab.show.widgets",
    "calibration": "slmlab.show.widgets",
    "predictions": "slmlab.show.widgets",
    "start_over": "slmlab.show.widgets",
    "show_mask": "slmlab.show.masks",
    "explain_samples": "slmlab.show.cards",
    "model_card": "slmlab.show.cards",
    "class_board": "slmlab.show.board",
    "CourseMap": "slmlab.show.course_map",
    "from_huggingface": "slmlab.engine.huggingface",
    "to_huggingface": "slmlab.engine.huggingface",
    "phase_runs": "slmlab.study.recorded",
    "at_best_rates": "slmlab.study.experiments.grid",
    "best_looks": "slmlab.study.experiments.grid",
    "decision_table": "slmlab.study.experiments.grid",
    "read_counting": "slmlab.study.experiments.counting",
    "read_crossing": "slmlab.study.experiments.crossing",
    "read_grid": "slmlab.study.experiments.grid",
    "read_loops": "slmlab.study.experiments.loops",
    "read_ladder": "slmlab.study.ladder",
    "read_recipes": "slmlab.study.experiments.recipes",
    "read_suspects": "slmlab.study.experiments.suspects",
    "read_vocabularies": "slmlab.study.experiments.vocabularies",
    "reported_perplexities": "slmlab.study.experiments.suspects",
    "size_table": "slmlab.study.experiments.grid",
    "read_text": "slmlab.text.own_text",
    "answer_bits": "slmlab.study.replies",
    "example_setups": "slmlab.study.recommendation",
    "recommend": "slmlab.study.recommendation",
    "recommend_for_text": "slmlab.study.recommendation",
    "choose_vocabulary": "slmlab.study.vocabulary",
    "remedies_table": "slmlab.study.remedies",
    "vocabulary_table": "slmlab.study.vocabulary",
}
# Modules that notebooks call by name: figures, statistics of many runs, the evidence of lesson 05,
# what lesson 06 takes apart, the dialogues and techniques of lesson 07, the accuracy, decoders and
# speed of lesson 08, the experts of lesson 09.
_MODULES = {
    "accuracy": "slmlab.study.accuracy",
    "byte_counts": "slmlab.study.byte_counts",
    "byte_pairs": "slmlab.text.byte_pairs",
    "continuations": "slmlab.study.continuations",
    "dialogues": "slmlab.text.dialogues",
    "footprint": "slmlab.study.footprint",
    "freezing": "slmlab.study.freezing",
    "glitches": "slmlab.study.glitches",
    "mixing": "slmlab.study.mixing",
    "plots": "slmlab.show.plots",
    "python_classes": "slmlab.text.python_classes",
    "repairs": "slmlab.study.repairs",
    "replies": "slmlab.study.replies",
    "routing": "slmlab.study.routing",
    "speed": "slmlab.study.speed",
    "statistics": "slmlab.study.statistics",
    "techniques": "slmlab.study.techniques",
    "verdict": "slmlab.study.verdict",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _LATER:
        raise AttributeError(f"module 'slmlab' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


if "ipykernel" in sys.modules:  # perhaps in a notebook
    import_module("slmlab.show.bars").use_widgets()
