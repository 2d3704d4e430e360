"""Decoders: what each way to choose tokens does to what a model writes, and what it repairs."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from slmlab.engine.decoding import Decoding
from slmlab.engine.evaluation import LanguageModel
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.engine.runs import SAMPLING
from slmlab.engine.training import fit
from slmlab.study.accuracy import DOMAINS, held_out_functions
from slmlab.study.continuations import (
    GROUPS,
    MAX_TOKENS,
    SCRIPTS,
    TRUTH,
    Attempt,
    Task,
    attempt,
    continuation_score,
    domain_tasks,
    script_tasks,
)
from slmlab.study.experiments.ladder import BEST, DISCOUNT, ORDER, RUNGS, Trained
from slmlab.study.experiments.loops import LOOPS
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.suspects import NONE
from slmlab.study.setups import Setup
from slmlab.text.dataset import Dataset
from slmlab.text.tokenizer import ChatTokenizer

GREEDY, PLAIN = "greedy", "sampling"
PUBLISHED_PENALTY = 1.2
DECODERS: dict[str, Decoding] = {
    PLAIN: Decoding(),
    GREEDY: Decoding(temperature=0),
    "temperature 0.5": Decoding(temperature=0.5),
    "temperature 0.8": Decoding(temperature=0.8),
    "temperature 0.8, top-k 40": SAMPLING,
    "top-k 10": Decoding(top_k=10),
    "top-k 40": Decoding(top_k=40),
    "top-p 0.8": Decoding(top_p=0.8),
    "top-p 0.9": Decoding(top_p=0.9),
    "top-p 0.95": Decoding(top_p=0.95),
    "min-p 0.05": Decoding(min_p=0.05),
    "min-p 0.1": Decoding(min_p=0.1),
    "min-p 0.2": Decoding(min_p=0.2),
    "typical 0.9": Decoding(typical_p=0.9),
    "temperature 1.5": Decoding(temperature=1.5),
    "temperature 1.5, top-p 0.9": Decoding(temperature=1.5, top_p=0.9),
    "temperature 1.5, min-p 0.1": Decoding(temperature=1.5, min_p=0.1),
    "sampling, penalty 1.2": Decoding(repetition_penalty=PUBLISHED_PENALTY),
    "greedy, penalty 1.1": Decoding(temperature=0, repetition_penalty=1.1),
    "greedy, penalty 1.2": Decoding(temperature=0, repetition_penalty=PUBLISHED_PENALTY),
    "greedy, penalty 1.5": Decoding(temperature=0, repetition_penalty=1.5),
    "greedy, presence 1": Decoding(temperature=0, presence_penalty=1.0),
    "greedy, frequency 0.5": Decoding(temperature=0, frequency_penalty=0.5),
    "greedy, no repeats of 3": Decoding(temperature=0, no_repeat_ngram=3),
    "greedy, no repeats of 8": Decoding(temperature=0, no_repeat_ngram=8),
    "2 beams": Decoding(beams=2),
    "4 beams": Decoding(beams=4),
    "10 beams": Decoding(beams=10),
    "contrastive": Decoding(top_k=4, contrast=0.6),
    "greedy, stays Python": Decoding(temperature=0, python=True),
    "sampling, stays Python": Decoding(python=True),
}
NEAR = 1e-3  # nats by which two ways to compute the same probability may differ
MEASURES = ("parses", "similarity", "exact", "repetition", "loop", "copied", "domain_names")
# The phases' models as published, at their last step; the best single GPT that has dropout; and
# one that reads scripts, dialogues and puzzles: that of `LOOPS` without a fault.
PHASES = tuple(f"Phase {number}" for number in (1, 2, 3, 4))
REGULAR, COUNTING, KINDS = "GPT with dropout", "5-gram", "GPT, three kinds"
MODELS = (*PHASES[::-1], KINDS, REGULAR, COUNTING)  # the slowest first


def _rung(name: str) -> Trained:
    """How a model is trained: as a rung of the ladder, a phase to its last step."""
    wanted = name if name in PHASES else "GPT, width 96, dropout"
    [rung] = [r for r in RUNGS if r.name == wanted and isinstance(r, Trained)]
    last = rung.setup.training.max_steps
    return replace(rung, steps=(last,) * 3) if name in PHASES else rung


@dataclass(frozen=True)
class Decoders(Experiment):
    """Each decoder on the first halves of the functions of the held-out scripts.

    A model writes as many tokens as the other half has, at most 64 (see `Task`). One model also
    answers held-out dialogues and puzzles: 26 of each kind. A row has, of one file, the means over
    its `prompts`: the measures of `continuation_score`; `loss`, the nats per token that the model
    itself gives to what it wrote, without filters; `likelier` and `unlikelier`, the shares of texts
    that have a higher and a lower probability to the model than the greedy one, where both are
    equally long or both ended; the `tokens` written, and the `seconds` that they took. The decoder
    "the truth" is the text itself. The 5-gram has no hidden states, so no contrastive search.
    """

    name: ClassVar[str] = "decoders"
    keys: ClassVar[tuple[str, ...]] = ("model", "seed")
    columns: ClassVar[dict[str, type]] = {
        "model": str,
        **dict.fromkeys(("seed", "step"), int),
        **dict.fromkeys(("decoder", "kind", "file"), str),
        **dict.fromkeys(("prompts", "tokens"), int),
        **dict.fromkeys((*MEASURES, "loss", "likelier", "unlikelier", "seconds"), float),
    }
    losses: ClassVar[tuple[str, ...]] = ("loss",)
    base: Setup = BEST
    seeds: tuple[int, ...] = (0, 1, 2)
    of_kind: int = 26  # as many as there are functions

    def cells(self) -> list[Cell]:
        return [self.cell(model, seed) for model in MODELS for seed in self.seeds]

    @property
    def settings(self) -> dict[str, Any]:
        """How the models are trained, and what they write."""
        values = {name: value for name, value in super().settings.items() if name != "base"}
        setups = {n: f"{_rung(n)}, steps {_rung(n).steps}" for n in MODELS if n != KINDS}
        setups[KINDS] = str(LOOPS.base)
        decoders = {name: repr(decoding) for name, decoding in DECODERS.items()}
        return values | {"models": setups, "decoders": decoders, "max_tokens": MAX_TOKENS}

    def decoders(self, model: str, kind: str) -> dict[str, Decoding]:
        """Those that a model can use for a kind of text."""
        return {
            name: decoding
            for name, decoding in DECODERS.items()
            if not (model == COUNTING and decoding.contrast is not None)
            and not (kind != SCRIPTS and decoding.python)
        }

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        """Whether each decoder has a row for each file."""
        files = {SCRIPTS: list(dict.fromkeys(script for script, _ in held_out_functions()))}
        if cell["model"] == KINDS:
            groups = range(1, GROUPS + 1)
            files |= {kind: [f"{kind} {i}" for i in groups] for kind in DOMAINS[1:]}
        wanted = {
            (name, file)
            for kind, of_kind in files.items()
            for name in (TRUTH, *self.decoders(cell["model"], kind))
            for file in of_kind
        }
        found = [(row["decoder"], row["file"]) for row in rows]
        return len(found) == len(wanted) and set(found) == wanted

    def run_cell(self, cell: Cell) -> Rows:
        """Train one model, or count, and let it write with every decoder."""
        import pandas as pd

        model, dataset, step = _trained(cell)
        tokenizer = dataset.tokenizer
        tasks = script_tasks(tokenizer)
        if isinstance(tokenizer, ChatTokenizer):
            tasks = domain_tasks(tokenizer, self.of_kind)
        scored = []
        for i, task in enumerate(tasks):
            texts = {TRUTH: Attempt(task.whole_truth, 0.0)}
            for name, decoding in self.decoders(cell["model"], task.kind).items():
                drawn = replace(decoding, seed=1_000 * cell["seed"] + i)
                texts[name] = attempt(model, tokenizer, task, drawn)
            scores = {
                name: continuation_score(model, tokenizer, task, text, dataset.train)
                for name, text in texts.items()
            }
            for name, text in texts.items():
                surplus = _surplus(task, text, texts[GREEDY], scores[name], scores[GREEDY])
                facts = {"decoder": name, "kind": task.kind, "file": task.file, "prompts": 1}
                facts |= {"likelier": surplus > NEAR, "unlikelier": surplus < -NEAR}
                scored.append(facts | scores[name] | {"seconds": text.seconds})
        groups = pd.DataFrame(scored).groupby(["kind", "decoder", "file"], sort=False)
        table = groups[[*MEASURES, "likelier", "unlikelier"]].mean()
        table = table.join(groups[["prompts", "tokens", "nats", "seconds"]].sum()).reset_index()
        table["loss"] = table["nats"] / table["tokens"]
        facts = cell | {"step": step}
        return [{c: (facts | row)[c] for c in self.columns} for row in table.to_dict("records")]


DECODING = Decoders()


def _surplus(
    task: Task, text: Attempt, greedy: Attempt, own: dict[str, float], its: dict[str, float]
) -> float:
    """How much likelier than the greedy one a text is, in nats; 0 if that says nothing."""
    both_ended = task.end is not None and text.ids[-1] == greedy.ids[-1] == task.end
    fair = len(text.ids) == len(greedy.ids) or both_ended
    return its["nats"] - own["nats"] if fair else 0.0


def _trained(cell: Cell) -> tuple[LanguageModel, Dataset, int]:
    """A cell's model with its text, and the step of its weights."""
    name, seed = cell["model"], cell["seed"]
    if name == KINDS:
        sound, dataset = LOOPS.model(NONE, seed), LOOPS.dataset(NONE, seed)
        *_, last = fit(sound, dataset, LOOPS.training({"seed": seed}))
        return sound, dataset, last.step
    dataset = _rung(name).dataset(seed)
    if name == COUNTING:
        config = NGramConfig(dataset.tokenizer.n_vocab, ORDER, DISCOUNT)
        return NGram(config, dataset.train), dataset, 0
    model, facts = _rung(name).train(seed, dataset)
    return model, dataset, facts["step"]
