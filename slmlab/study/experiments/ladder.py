"""The ladder: what every kind of model scores on the final scripts, in one table.

A rung is a row of it. A lesson adds its best set-up to `RUNGS`, and `python -m slmlab record
ladder` makes what is missing. Sizes, rates, steps, orders and weights are chosen before, on
validation text or held-out scripts; nothing is chosen by the final ones.
"""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from slmlab.engine.ensemble import Ensemble
from slmlab.engine.evaluation import strided_losses
from slmlab.engine.model import GPT
from slmlab.engine.ngram import NGram, NGramConfig, choose_ngram
from slmlab.engine.training import VocabularyWarning, fit
from slmlab.study.baseline import NUMBER_TO_BEAT, choose_weight, mixture_losses
from slmlab.study.experiments.arsenal import ARMS, ARSENAL, Arm
from slmlab.study.experiments.grid import GRID
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.vocabularies import VOCABULARIES
from slmlab.study.paired import per_file_scores
from slmlab.study.setups import Setup, preset
from slmlab.text.corpus import Corpus, load_final
from slmlab.text.dataset import Dataset, encoded
from slmlab.text.files import sha256

if TYPE_CHECKING:
    import pandas as pd

ORDER, DISCOUNT = 5, 0.9  # of the number to beat
Facts = dict[str, Any]


@dataclass(frozen=True)
class Rung(ABC):
    """A row of the ladder: what is trained, on which text, and for which lesson.

    Attributes:
        name: of the row.
        lesson: the number of its notebook, such as "04".
        setup: shape, text and training; a counting model uses its text only.
        rival: the name of the 5-gram over the same text; that 5-gram is its own.
        steps: how long each seed trains, seed 0 first. Counting has no chance: one seed, step 0.
    """

    kind: ClassVar[str]
    name: str
    lesson: str
    setup: Setup
    rival: str
    steps: tuple[int, ...]

    def __str__(self) -> str:
        """What tells the rung's set-up from another's, apart from seed and step."""
        return str(self.setup)

    def dataset(self, seed: int) -> Dataset:
        """The text of a seed, which decides the order of the files where they are shuffled."""
        order = None if self.setup.data.order is None else seed
        return self.setup.replace(order=order).dataset(tested=False)

    @abstractmethod
    def scores(self, seed: int, corpus: Corpus) -> tuple["pd.DataFrame", Facts]:
        """Train one seed: its bits and bytes of each file of a corpus, and the facts of it.

        The facts are its params, step, seconds and what was chosen for it.
        """


@dataclass(frozen=True)
class Counting(Rung):
    """An n-gram. Without an `order`, the held-out scripts choose its order and discount."""

    kind = "counting"
    steps: tuple[int, ...] = (0,)
    order: int | None = ORDER

    def __str__(self) -> str:
        return f"{self.order or 'n'}-gram of {self.setup}"

    def scores(self, seed: int, corpus: Corpus) -> tuple["pd.DataFrame", Facts]:
        dataset, begin = self.dataset(seed), perf_counter()
        model = _counted(dataset, self.order)
        facts = {
            "params": model.n_params,
            "step": 0,
            "seconds": perf_counter() - begin,
            "chosen": f"order {model.config.order}, discount {model.config.discount:g}",
        }
        return per_file_scores(model, dataset.tokenizer, corpus), facts


@dataclass(frozen=True)
class Trained(Rung):
    """A GPT at the steps that the held-out scripts chose."""

    kind = "GPT"

    def scores(self, seed: int, corpus: Corpus) -> tuple["pd.DataFrame", Facts]:
        dataset = self.dataset(seed)
        model, facts = self.train(seed, dataset)
        return per_file_scores(model, dataset.tokenizer, corpus), facts

    def train(self, seed: int, dataset: Dataset) -> tuple[GPT | Ensemble, Facts]:
        """The model of a seed at its step, as it was in the full run; and its facts."""
        setup = self.setup.replace(seed=seed)
        model = setup.model(dataset.tokenizer.n_vocab)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VocabularyWarning)  # GPT-2's whole one is on purpose
            for now in fit(model, dataset, setup.training):
                if now.step == self.steps[seed]:
                    break
        facts = {"step": now.step, "seconds": now.seconds, "chosen": f"step {now.step}"}
        return model, {"params": model.n_params} | facts


@dataclass(frozen=True)
class Mixed(Trained):
    """A GPT and the 5-gram of its own text; the held-out scripts choose one weight for a seed."""

    kind = "GPT + counting"

    def __str__(self) -> str:
        return f"{self.setup} + {ORDER}-gram"

    def scores(self, seed: int, corpus: Corpus) -> tuple["pd.DataFrame", Facts]:
        dataset = self.dataset(seed)
        return _mixed_scores(*self.train(seed, dataset), dataset, corpus)


@dataclass(frozen=True)
class Armed(Trained):
    """An arm of the arsenal, trained as it was there, at the steps that the held-out scripts chose.

    `setup` is the arsenal's base, which the arm changes.
    """

    arm: Arm = ARMS[0]

    def __str__(self) -> str:
        return f"{self.setup}, {self.arm}"

    def train(self, seed: int, dataset: Dataset) -> tuple[GPT | Ensemble, Facts]:
        training = ARSENAL.training(self.arm, seed, dataset)
        at_step = (found for found in training if found[1].step == self.steps[seed])
        model, now, seconds = next(at_step)
        facts = {"step": now.step, "seconds": seconds, "chosen": f"step {now.step}"}
        return model, {"params": model.n_params} | facts


@dataclass(frozen=True)
class Together(Armed):
    """Several GPTs whose probabilities are averaged."""

    kind = "ensemble"


@dataclass(frozen=True)
class MixedTogether(Together):
    """An ensemble and the 5-gram of its text, mixed as in `Mixed`."""

    kind = "GPT + counting"

    def __str__(self) -> str:
        return f"{super().__str__()} + {ORDER}-gram"

    def scores(self, seed: int, corpus: Corpus) -> tuple["pd.DataFrame", Facts]:
        dataset = self.dataset(seed)
        return _mixed_scores(*self.train(seed, dataset), dataset, corpus)


def _mixed_scores(
    model: GPT | Ensemble, facts: Facts, dataset: Dataset, corpus: Corpus
) -> tuple["pd.DataFrame", Facts]:
    """The scores of a model mixed with the 5-gram of its text, and the facts of both."""
    begin = perf_counter()
    models = model, _counted(dataset, ORDER)
    weight = choose_weight(*(strided_losses(m, dataset.val) for m in models))
    facts = facts | {
        "params": facts["params"] + models[1].n_params,
        "seconds": facts["seconds"] + perf_counter() - begin,
        "chosen": f"{facts['chosen']}, weight {weight:g} of counting",
    }
    table = per_file_scores(model, dataset.tokenizer, corpus)  # for the bytes
    texts = [encoded(document.entry, dataset.tokenizer) for document in corpus.documents]
    nats = [mixture_losses(*models, ids, weight).sum() for ids in texts]
    table["bits"] = [float(loss) / math.log(2) for loss in nats]
    return table, facts


def _counted(dataset: Dataset, order: int | None) -> NGram:
    vocab_size = dataset.tokenizer.n_vocab
    if order is None:
        return choose_ngram(dataset.train, dataset.val, vocab_size)
    return NGram(NGramConfig(vocab_size, order, DISCOUNT), dataset.train)


GPT2_TOKENS = "5-gram, GPT-2's tokens"
LEARNT_TOKENS = "5-gram, 512 tokens"
LARGER_TOKENS = "5-gram, 1,000 tokens"
BYTES = "5-gram, bytes"
WHOLE = preset(4).replace(validation="held-out")  # 23,000 tokens, all of them to train on
# The width, learning rate and steps that the held-out scripts chose in the grid for 23,000 tokens.
BEST = GRID.setup(192, 1e-4, 23_000, 0)
BEST_STEPS = (2_560, 1_810, 1_810)
# One seed of the grid was run wider, and was better still; the held-out scripts chose its step.
WIDER = BEST.replace(n_embd=384)
WIDER_STEPS = (905,) * 3
# Of the vocabularies learnt from the text, the one that they chose; and the steps of its GPT.
LEARNT = "bpe-512"
LEARNT_GPT = VOCABULARIES.setup(LEARNT, 192, 1e-4, 0)
LEARNT_STEPS = (2_560,) * 3
# The two that were best at width 96 and the rate that all vocabularies were run with.
LARGER = "bpe-1000"
LARGER_GPT, GPT2_GPT = (VOCABULARIES.setup(name, 96, 3e-4, 0) for name in (LARGER, "gpt2"))
LARGER_STEPS, GPT2_STEPS = (1_810, 1_280, 1_810), (1_810, 2_560, 1_810)
# The steps of the recorded right-sized runs with the lowest held-out loss, a seed each. Phase 0's
# is its first look, and Phase 1's with seed 1 its last, so another step may be better still.
PHASE_STEPS = (
    (50, 50, 50),
    (300, 500, 400),
    (600, 600, 500),
    (750, 600, 600),
    (1800, 1600, 1600),
)


def _phase_text(number: int) -> str:
    """The name of the counting rung over a phase's text; Phase 0 reads what Phase 1 reads."""
    return f"5-gram, text of Phase {max(1, number)}"


# What gained most in the arsenal, each arm at the steps that the held-out scripts chose.
ARMED: tuple[tuple[type[Armed], str, str, tuple[int, ...]], ...] = (
    (Armed, "student of four GPTs", "one student of 4", (10_240,) * 3),
    (Armed, "GPT, width 96, dropout", "dropout 0.1", (2_560,) * 3),
    (Together, "four GPTs", "ensemble of 4", (2_560,) * 3),
    (MixedTogether, "four GPTs and counting, mixed", "ensemble of 4", (2_560,) * 3),
)


def _armed(cls: type[Armed], name: str, arm: str, steps: tuple[int, ...]) -> Armed:
    [found] = [one for one in ARMS if one.name == arm]
    return cls(name, "07", ARSENAL.base, LARGER_TOKENS, steps, found)


RUNGS: tuple[Rung, ...] = (
    *(
        Counting(_phase_text(number), f"{number:02}", preset(number), _phase_text(number))
        for number in (1, 2, 3, 4)
    ),
    Counting(NUMBER_TO_BEAT, "00", WHOLE, NUMBER_TO_BEAT),
    Counting("counting, order chosen", "05", WHOLE, NUMBER_TO_BEAT, order=None),
    Counting(GPT2_TOKENS, "05", WHOLE.replace(vocabulary="gpt2"), GPT2_TOKENS),
    *(
        Trained(f"Phase {number}", f"{number:02}", preset(number), _phase_text(number), steps)
        for number, steps in enumerate(PHASE_STEPS)
    ),
    Trained("GPT, width 192", "05", BEST, NUMBER_TO_BEAT, BEST_STEPS),
    Trained("GPT, width 384", "05", WIDER, NUMBER_TO_BEAT, WIDER_STEPS),
    Mixed("GPT, width 384, and counting, mixed", "05", WIDER, NUMBER_TO_BEAT, WIDER_STEPS),
    Counting(LEARNT_TOKENS, "06", WHOLE.replace(vocabulary=LEARNT), LEARNT_TOKENS),
    Counting(LARGER_TOKENS, "06", WHOLE.replace(vocabulary=LARGER), LARGER_TOKENS),
    Counting(BYTES, "06", WHOLE.replace(vocabulary="bpe-256"), BYTES),
    Counting("bytes, order chosen", "06", WHOLE.replace(vocabulary="bpe-256"), BYTES, order=None),
    Counting(
        "GPT-2's tokens, order chosen",
        "06",
        WHOLE.replace(vocabulary="gpt2"),
        GPT2_TOKENS,
        order=None,
    ),
    Trained("GPT, width 96, GPT-2's tokens", "06", GPT2_GPT, GPT2_TOKENS, GPT2_STEPS),
    Trained("GPT, width 96, 1,000 tokens", "06", LARGER_GPT, LARGER_TOKENS, LARGER_STEPS),
    Trained("GPT, width 192, 512 tokens", "06", LEARNT_GPT, LEARNT_TOKENS, LEARNT_STEPS),
    Mixed("GPT, 512 tokens, and counting, mixed", "06", LEARNT_GPT, LEARNT_TOKENS, LEARNT_STEPS),
    *(_armed(*rung) for rung in ARMED),
)


@dataclass(frozen=True)
class Ladder(Experiment):
    """Each seed of each rung, with a row for each final script.

    Rungs may be added to a recorded ladder, so each row names its own set-up, and only what all
    rungs share is a setting.
    """

    name: ClassVar[str] = "ladder"
    keys: ClassVar[tuple[str, ...]] = ("rung", "setup", "seed")
    columns: ClassVar[dict[str, type]] = {
        **dict.fromkeys(("rung", "lesson", "setup"), str),
        **dict.fromkeys(("params", "train_tokens", "seed", "step"), int),
        "seconds": float,
        "chosen": str,
        "file": str,
        "bits": float,
        "bytes": int,
    }
    losses: ClassVar[tuple[str, ...]] = ("bits",)
    base: Setup = BEST
    rungs: tuple[Rung, ...] = RUNGS

    def cells(self) -> list[Cell]:
        rungs = self.rungs[::-1]  # the slow ones are the last
        return [self.cell(r.name, str(r), seed) for r in rungs for seed in range(len(r.steps))]

    @property
    def settings(self) -> dict[str, Any]:
        return {"final_sha256": sha256(load_final().text.encode())}

    def rung(self, cell: Cell) -> Rung:
        return next(rung for rung in self.rungs if rung.name == cell["rung"])

    def run_cell(self, cell: Cell) -> Rows:
        rung, seed = self.rung(cell), cell["seed"]
        table, facts = rung.scores(seed, load_final())
        facts |= {"lesson": rung.lesson, "train_tokens": len(rung.dataset(seed).train)}
        return [cell | facts | scores for scores in table.to_dict("records")]

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        """Whether there is a row at the cell's step for each final script."""
        step = self.rung(cell).steps[cell["seed"]]
        return [row["step"] for row in rows] == [step] * len(load_final().documents)


LADDER = Ladder()
