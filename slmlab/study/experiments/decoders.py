"""Decoders: what each way to choose tokens does to what a model writes, and what it repairs."""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from slmlab.engine.decoding import Decoding
from slmlab.engine.evaluation import LanguageModel
from slmlab.engine.generation import decoded, generate_tokens
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.engine.python_prefix import can_become_python
from slmlab.engine.runs import SAMPLING
from slmlab.study.accuracy import held_out_functions
from slmlab.study.continuations import (
    MAX_TOKENS,
    Task,
    continuation_score,
    generated_losses,
    held_out_tasks,
)
from slmlab.study.experiments.ladder import BEST, DISCOUNT, ORDER, RUNGS, Trained
from slmlab.study.experiments.protocol import Cell, Experiment, Rows
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Setup
from slmlab.text.dataset import Dataset
from slmlab.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pandas as pd

TRUTH, GREEDY, PLAIN = "the script itself", "greedy", "sampling"
COUNTING, REGULAR = "5-gram", "GPT with dropout"
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
MEASURES = ("parses", "similarity", "repetition", "loop", "copied", "domain_names")
# The phases' models as published, at their last step, and the best single GPT that has dropout.
PHASES = tuple(f"Phase {number}" for number in (1, 2, 3, 4))
MODELS = (*PHASES[::-1], REGULAR, COUNTING)  # the slowest first


def _rung(name: str) -> Trained:
    """How a model is trained: as a rung of the ladder, a phase to its last step."""
    wanted = "GPT, width 96, dropout" if name in (REGULAR, COUNTING) else name
    [rung] = [r for r in RUNGS if r.name == wanted and isinstance(r, Trained)]
    last = rung.setup.training.max_steps
    return replace(rung, steps=(last,) * 3) if name in PHASES else rung


@dataclass(frozen=True)
class Decoders(Experiment):
    """Each decoder on each function of the held-out scripts: the first half is the prompt.

    A model writes as many tokens as the other half has, at most 64. A row has the means over
    the `prompts` of a script: the measures of `continuation_score`; `loss`, the nats per token that
    the model itself gives to what it wrote, without filters; `likelier` and `unlikelier`, the
    shares of texts with a higher and a lower probability to the model than the greedy one, as long
    as they are equally long; `tokens` written, and the `seconds` that they took. The decoder
    "the script itself" is the truth. The 5-gram has no hidden states, so no contrastive search.
    """

    name: ClassVar[str] = "decoders"
    keys: ClassVar[tuple[str, ...]] = ("model", "seed")
    columns: ClassVar[dict[str, type]] = {
        "model": str,
        **dict.fromkeys(("seed", "step"), int),
        **dict.fromkeys(("decoder", "script"), str),
        **dict.fromkeys(("prompts", "tokens"), int),
        **dict.fromkeys((*MEASURES, "loss", "likelier", "unlikelier", "seconds"), float),
    }
    losses: ClassVar[tuple[str, ...]] = ("loss",)
    base: Setup = BEST
    seeds: tuple[int, ...] = (0, 1, 2)

    def cells(self) -> list[Cell]:
        return [self.cell(model, seed) for model in MODELS for seed in self.seeds]

    @property
    def settings(self) -> dict[str, Any]:
        """How the models are trained, and what they write."""
        setups = {name: f"{_rung(name)}, steps {_rung(name).steps}" for name in MODELS}
        decoders = {name: repr(decoding) for name, decoding in DECODERS.items()}
        values = {name: value for name, value in super().settings.items() if name != "base"}
        return values | {"models": setups, "decoders": decoders, "max_tokens": MAX_TOKENS}

    def decoders(self, model: str) -> dict[str, Decoding]:
        """Those that a model can use."""
        can = model != COUNTING
        return {name: d for name, d in DECODERS.items() if can or d.contrast is None}

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        """Whether each decoder has a row for each held-out script."""
        scripts = dict.fromkeys(script for script, _ in held_out_functions())
        wanted = [(d, s) for d in (TRUTH, *self.decoders(cell["model"])) for s in scripts]
        return [(row["decoder"], row["script"]) for row in rows] == wanted

    def run_cell(self, cell: Cell) -> Rows:
        """Train one model, or count, and let it write with every decoder."""
        import pandas as pd

        model, dataset, step = _trained(cell)
        tasks = held_out_tasks(dataset.tokenizer)
        texts: dict[str, list[Written]] = {TRUTH: [Written(list(t.truth), 0.0) for t in tasks]}
        for name, decoding in self.decoders(cell["model"]).items():
            drawn = [replace(decoding, seed=1000 * cell["seed"] + i) for i in range(len(tasks))]
            texts[name] = [
                written(model, dataset.tokenizer, task, how)
                for task, how in zip(tasks, drawn, strict=True)
            ]
        greedy = [_scored(model, dataset, *pair) for pair in zip(tasks, texts[GREEDY], strict=True)]
        rows: Rows = []
        for name, many in texts.items():
            scored = [
                _scored(model, dataset, task, text) | {"script": task.script, "prompts": 1}
                for task, text in zip(tasks, many, strict=True)
            ]
            for own, likeliest in zip(scored, greedy, strict=True):
                surplus = (
                    likeliest["nats"] - own["nats"] if own["tokens"] == likeliest["tokens"] else 0.0
                )
                own |= {"likelier": float(surplus > NEAR), "unlikelier": float(surplus < -NEAR)}
            groups = pd.DataFrame(scored).groupby("script", sort=False)
            table = groups[[*MEASURES, "likelier", "unlikelier"]].mean()
            table = table.join(groups[["prompts", "tokens", "nats", "seconds"]].sum()).reset_index()
            table["loss"] = table["nats"] / table["tokens"]
            facts = cell | {"step": step, "decoder": name}
            rows += [
                {column: (facts | row)[column] for column in self.columns}
                for row in table.to_dict("records")
            ]
        return rows


DECODING = Decoders()


class Written(NamedTuple):
    """What a model wrote."""

    ids: list[int]
    seconds: float


def written(model: LanguageModel, tokenizer: Tokenizer, task: Task, decoding: Decoding) -> Written:
    """What a model writes after a task's prompt: as many tokens as the truth has."""
    prompt = decoded(tokenizer, task.prompt)

    def allowed(new: list[int]) -> bool:
        return can_become_python(prompt + decoded(tokenizer, new))

    begin = perf_counter()
    tokens = generate_tokens(
        model,
        task.prompt,
        len(task.truth),
        decoding,
        allowed=allowed if decoding.python else None,
    )
    return Written(list(tokens), perf_counter() - begin)


def _trained(cell: Cell) -> tuple[LanguageModel, Dataset, int]:
    """A cell's model with its text, and the step of its weights."""
    rung, seed = _rung(cell["model"]), cell["seed"]
    dataset = rung.dataset(seed)
    if cell["model"] == COUNTING:
        config = NGramConfig(dataset.tokenizer.n_vocab, ORDER, DISCOUNT)
        return NGram(config, dataset.train), dataset, 0
    model, facts = rung.train(seed, dataset)
    return model, dataset, facts["step"]


def _scored(model: LanguageModel, dataset: Dataset, task: Task, text: Written) -> dict[str, Any]:
    """What a text is worth, and how likely it is to the model."""
    scores = continuation_score(dataset.tokenizer, task, text.ids, dataset.train)
    losses = generated_losses(model, [*task.prompt, *text.ids], len(task.prompt))
    facts = {"tokens": len(text.ids), "nats": losses.double().sum().item()}
    return scores | facts | {"seconds": text.seconds}


def read_decoders() -> "pd.DataFrame":
    """Every model, seed, decoder and held-out script; see `Decoders` for the columns."""
    return read_table(DECODING)
