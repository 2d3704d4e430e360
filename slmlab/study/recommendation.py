"""A sensible model for an amount of text, or for a text, and why: what the recorded grid says."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from slmlab.engine.model import GPTConfig
from slmlab.study.baseline import Baseline, number_to_beat
from slmlab.study.experiments.counting import read_counting
from slmlab.study.experiments.grid import (
    GRID,
    NEAR,
    best_looks,
    decision_table,
    read_grid,
    size_table,
)
from slmlab.study.forecast import Forecast, forecast, reference_ms
from slmlab.study.setups import Setup, preset
from slmlab.study.vocabulary import VocabularyChoice, choose_vocabulary
from slmlab.text.corpus import load_corpus
from slmlab.text.own_text import OwnText
from slmlab.text.tokenizer import gpt2_tokenizer, tokenizer_for
from slmlab.validation import instance, whole_number

if TYPE_CHECKING:
    import pandas as pd

MIN_TOKENS = 100  # fewer are too few to learn anything from; 10,000 are better
MAX_TOKENS = 10**12  # about what the largest models are trained on: nothing here speaks of more
MAX_VOCABULARY = 1_000_000  # the widest in use have about 260,000 tokens
MORE_STEPS = 1.5  # times those after which the grid's models were best: the best may come later
PATIENCE = 3  # evaluations, of which there are ten
TRAINED_ON = 0.8  # of a text of one's own; the rest validates and is held out
EXAMPLES = (
    ("1 kB", 1_000, "bpe-256"),
    ("10 kB", 10_000, "bpe-300"),
    ("100 kB", 100_000, "bpe-512"),
    ("1 MB", 1_000_000, "bpe-1000"),
    ("10 MB", 10_000_000, "bpe-2000"),
)
MEASURED = "the grid has about as much text"
EXTRAPOLATED = "a guess: the grid has no such text"


@dataclass(frozen=True)
class Recommendation:
    """A model for an amount of text, how to train it, and the reasons.

    `epochs` is how often the text had been read when such models were best.
    """

    config: GPTConfig
    learning_rate: float
    epochs: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class TextRecommendation:
    """A vocabulary and a set-up for a text, and what to expect of them.

    `setup` says nothing of the text, which is given to `Setup.train` as a dataset. `number` is what
    counting scores with the same vocabulary.
    """

    setup: Setup
    choice: VocabularyChoice
    reasons: tuple[str, ...]
    ahead: Forecast
    number: Baseline

    def __str__(self) -> str:
        ahead, config = self.ahead, self.ahead.config
        parts = {
            "Vocabularies (n-grams in bits per byte of the validation text)": [
                self.choice.table.round(2).rename_axis(None).to_string()
            ],
            "Choice": [
                f"vocabulary {self.choice.vocabulary} ({config.vocab_size:,} tokens), "
                f"{config.n_layer} layers, {config.n_head} heads, width {config.n_embd}, context "
                f"{config.block_size}: {config.n_params:,} parameters",
                f"learning rate {self.setup.training.learning_rate:g}, at most {ahead.steps:,} "
                f"steps ({ahead.epochs:.1f} epochs), early stopping with patience {PATIENCE}",
            ],
            "Reasons": list(self.reasons),
            "Forecast": [
                f"about {ahead.seconds / 60:.1f} minutes for all steps on this computer, and "
                f"{ahead.megabytes:,.0f} MB of memory",
                ahead.like,
                *ahead.warnings,
                *filter(None, [ahead.too_large]),
            ],
            "The score to beat": [str(self.number)],
            "Set-up": [str(self.setup)],
        }
        texts = ["\n".join([f"{title}:", *lines]) for title, lines in parts.items()]
        return "\n\n".join(texts)


def recommend(n_tokens: int, vocab_size: int = 1000) -> Recommendation:
    """A sensible model for a training text of `n_tokens` tokens of GPT-2's, the grid's unit.

    For the grid's nearest amount of text, it is the smallest width that was near the best, each
    width at its own best learning rate and step. With more text than the grid has, the epochs are
    extrapolated. One pass over much more text, about 20 tokens for each parameter, asks for larger
    models (Hoffmann et al. 2022, arXiv:2203.15556).
    Raises `ValueError` outside `MIN_TOKENS` to `MAX_TOKENS`, or for a vocabulary outside 2 to
    `MAX_VOCABULARY`.
    """
    n_tokens = whole_number("n_tokens", n_tokens, MIN_TOKENS, MAX_TOKENS)
    vocab_size = whole_number("vocab_size", vocab_size, 2, MAX_VOCABULARY)
    return _recommend(n_tokens, vocab_size, GRID.base.shape.block_size)


def _recommend(n_tokens: int, vocab_size: int, block_size: int) -> Recommendation:
    sizes, decisions = _tables()
    amounts = decisions.index.to_numpy()
    amount = amounts[np.abs(np.log(amounts / n_tokens)).argmin()]
    near = sizes.loc[amount].query("near")
    width, found = int(near.index.min()), near.loc[near.index.min()]
    shape = GRID.base.replace(n_embd=width, block_size=block_size).shape
    config, epochs = shape.config(vocab_size), float(found["epochs"])
    reasons = [
        f"In the recorded grid, with {amount:,} tokens, width {width} was the smallest within "
        f"{NEAR} bits per byte of the best; with your vocabulary it has {config.n_params:,} "
        "parameters.",
        f"Its best learning rate there was {found['learning_rate']:g}, and its best step came "
        f"after the text was read about {epochs:.0f} times: train with patience, and "
        "keep the best weights. A lower rate needs more steps in proportion.",
        _beside_counting(decisions.loc[amount], amount),
    ]
    if n_tokens > amounts.max():
        epochs *= (n_tokens / amounts.max()) ** _slope(decisions)
        reasons.append(
            f"Your text is longer, so fewer epochs are enough: about {epochs:.0f}, if they keep "
            "falling as between the grid's two largest texts."
        )
    if not _measured(n_tokens):
        reasons.append("Your text is much shorter or longer than those: this is a guess.")
    if vocab_size * config.n_embd > config.n_params / 2:
        reasons.append(
            "More than half of the parameters belong to the vocabulary: a smaller one helps most."
        )
    return Recommendation(config, float(found["learning_rate"]), epochs, tuple(reasons))


def _measured(n_tokens: int) -> bool:
    """Whether the grid has about as much text."""
    amounts = _tables()[1].index
    return bool(amounts.min() / 2 <= n_tokens <= 2 * amounts.max())


def recommend_for_text(own: OwnText) -> TextRecommendation:
    """A vocabulary and a sensible model for a learner's own text, and what to expect of them.

    The vocabulary is chosen by counting (`choose_vocabulary`), the rest as by `recommend`. It takes
    some ten seconds for the choice, and some more for each million tokens. Raises `ValueError` for
    a text that is too short to divide (`OwnText.dataset`).
    """
    instance("own", own, OwnText, 'lab.read_text("my_folder")')
    n_tokens = len(own.dataset("gpt2").train)
    choice = choose_vocabulary(own.parts.train.text, own.parts.val.text)
    dataset = own.dataset(choice.vocabulary)
    n_vocab, n_own = dataset.tokenizer.n_vocab, len(dataset.train)
    advice, setup = _setup(choice.vocabulary, n_vocab, n_tokens, n_own)
    return TextRecommendation(
        setup=setup,
        choice=choice,
        reasons=(*choice.reasons, *advice.reasons),
        ahead=forecast(setup, dataset=dataset),
        number=number_to_beat(dataset),
    )


def example_setups() -> "pd.DataFrame":
    """Ready set-ups for texts from 1 kB to 10 MB, one row for each.

    Index: `text`, its size, of which `TRAINED_ON` is trained on. Columns: `vocabulary`; `setup`,
    which `Setup.parse` reads; `params`; `minutes` that all steps take on the benchmark's machine;
    and the `basis` of the row. Tokens are as long as those of the course's scripts.
    """
    import pandas as pd

    rows = {}
    for size, n_bytes, vocabulary in EXAMPLES:
        text = load_corpus().text[:n_bytes]
        own, gpt2 = tokenizer_for(text, vocabulary), gpt2_tokenizer()
        share = TRAINED_ON * n_bytes / len(text.encode())
        n_own, n_tokens = (round(share * len(t.encode(text))) for t in (own, gpt2))
        advice, setup = _setup(vocabulary, own.n_vocab, n_tokens, n_own)
        milliseconds = reference_ms(advice.config, setup.training.batch_size)
        rows[size] = {
            "vocabulary": vocabulary,
            "setup": str(setup),
            "params": advice.config.n_params,
            "minutes": (setup.training.max_steps or 0) * milliseconds / 60_000,
            "basis": MEASURED if _measured(n_tokens) else EXTRAPOLATED,
        }
    return pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="text"))


def _setup(
    vocabulary: str, n_vocab: int, n_tokens: int, n_own: int
) -> tuple[Recommendation, Setup]:
    """The recommendation for a training text of so many GPT-2 and own tokens, as a set-up too.

    A step reads as much text as one of the grid, whatever the vocabulary: as many contexts, of
    about as many bytes.
    """
    shape, training = GRID.base.shape, GRID.base.training
    block_size = max(1, min(round(shape.block_size * n_own / n_tokens), n_own - 1))
    advice = _recommend(n_tokens, n_vocab, block_size)
    epoch = n_tokens / (training.batch_size * shape.block_size)  # steps
    return advice, Setup(shape, preset(2).data, training).replace(
        vocabulary=vocabulary,
        n_embd=advice.config.n_embd,
        block_size=block_size,
        learning_rate=advice.learning_rate,
        max_steps=math.ceil(MORE_STEPS * advice.epochs * epoch),
        patience=PATIENCE,
    )


def _slope(decisions: "pd.DataFrame") -> float:
    """By which power of the text's length the epochs of the grid's best models fell at its end."""
    last = decisions["epochs"].iloc[-2:]
    return float(np.diff(np.log(last))[0] / np.diff(np.log(last.index.to_numpy()))[0])


def _beside_counting(decision: "pd.Series", amount: int) -> str:
    """Whether the best model of the grid was better than a 5-gram on the same text."""
    by, least = decision["ahead"], decision["ahead_least"]
    if least > 0:
        return f"The best model there was {by:.2f} bits per byte better than a 5-gram."
    if by > 0:
        return f"The best model there was no better than a 5-gram with every text of {amount:,}."
    return (
        f"Even the best model there was {-by:.2f} bits per byte worse than a 5-gram, a table of "
        "counts: for so little text, counting does as well or better."
    )


@lru_cache(maxsize=1)
def _tables() -> "tuple[pd.DataFrame, pd.DataFrame]":
    runs = best_looks(read_grid())
    return size_table(runs), decision_table(runs, read_counting())
