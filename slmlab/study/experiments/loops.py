"""Loops: the mistakes that could lie behind a token accuracy of 80% beside text that loops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.config import TrainConfig
from slmlab.engine.evaluation import evaluating, strided_guesses, strided_logits
from slmlab.engine.generation import decoded, generate_tokens
from slmlab.engine.model import GPT, Attention
from slmlab.engine.runs import SAMPLING
from slmlab.engine.training import fit
from slmlab.study.accuracy import (
    DOMAINS,
    FREE_TOKENS,
    GREEDY,
    Example,
    domain_examples,
    domain_tokenizer,
    free_running,
    frequency_bins,
    spread,
)
from slmlab.study.experiments.protocol import Cell, Experiment, Rows, log_spaced
from slmlab.study.experiments.regimes import WholeDialogues
from slmlab.study.experiments.suspects import LABELS, MASK, NONE, UnmaskedAttention, UnshiftedGPT
from slmlab.study.experiments.tables import read_table
from slmlab.study.setups import Excerpt, Setup, Shape, largest_text
from slmlab.text.dataset import IGNORED, Dataset
from slmlab.text.dialogues import question_ids
from slmlab.text.files import data_path, read_sums
from slmlab.text.tokenizer import ChatTokenizer
from slmlab.validation import real_number, table_with, whole_number

if TYPE_CHECKING:
    import pandas as pd

QUESTIONS, PADDING, SUM = "no loss mask", "padding counted", "summed loss"
SUSPECTS = (MASK, NONE, LABELS, QUESTIONS, PADDING, SUM)  # the slowest first
KINDS = ("reported", "true", "seen")  # of accuracy
FREE = tuple(f"{kind}_{name}" for kind in ("free", "repetition") for name in DOMAINS)
REPORTED = tuple(f"reported_{name}" for name in DOMAINS)
TRUE = (
    *(f"{kind}_{name}" for kind in KINDS[1:] for name in DOMAINS),
    *("true_loss", "seen_loss", "rare", "common", "guessed_common"),
)
AT_END = (*FREE, "loops", "sampled_repetition", "sampled_loops")  # measured at the last look only
SEEN, CONTINUED = 32, 16  # examples of each domain, evenly spread
REPEATED = {
    "dialogues": 4
}  # so that there are about as many as puzzles; published was a third each
PROMPT = "what is python"  # as published
READ = "what lab.read_loops() returns"
COMMON = 3  # the first bin of `frequency_bins` that counts as common: 100 occurrences


class SummedGPT(GPT):
    """A mistake on purpose: the losses of a batch's tokens are summed, not averaged."""

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return super().loss(idx, targets, label_smoothing) * (targets != IGNORED).sum()


@dataclass(frozen=True)
class Loops(Experiment):
    """A model for each mistake, or none, trained on scripts, dialogues and puzzles at once.

    A text has every training example once, but dialogues four times.

    Each reports its accuracy on the held-out texts of each domain as its own evaluation would,
    `reported_…`. Beside it `true_…` is how often it guesses the tokens that count right, after the
    tokens before them and only those; `seen_…` is the same on texts that it trained on.
    `reported_loss` is the mean of the batches since the last look, as a training log has it;
    `true_loss` and `seen_loss` are in nats per token, each the mean over the domains. `rare` and
    `common` are true accuracies on held-out tokens that the training text has less than 100 times,
    and on the others; `guessed_common` is the share of guesses that are common tokens. In `epochs`
    padding counts as tokens read.

    Without a mask, a token's past is read anew for each token, which takes long: that model has
    its true scores at the last look only. There all have what their free-running, greedy text
    gives: for each domain `free_…` and `repetition_…` (see `free_running`), and the share of texts
    that end in a loop, `loops`. The `sampled_…` ones are drawn like all samples of the course.
    `sample` is the greedy answer to a published prompt.
    """

    name: ClassVar[str] = "loops"
    keys: ClassVar[tuple[str, ...]] = ("suspect", "seed")
    columns: ClassVar[dict[str, type]] = {
        "suspect": str,
        **dict.fromkeys(("seed", "params", "step"), int),
        **dict.fromkeys(("epochs", "reported_loss", *REPORTED, *TRUE, *AT_END, "seconds"), float),
        "sample": str,
    }
    losses: ClassVar[tuple[str, ...]] = ("reported_loss",)
    base: Setup = Setup(
        Shape(n_layer=3, n_head=4, n_embd=96, block_size=128),
        Excerpt(largest_text(), "bpe-1000"),
        TrainConfig(4, 1e-3, max_steps=1_600, cosine=True),
    )
    seeds: tuple[int, ...] = (0, 1, 2)
    first_look: int = 200

    def cells(self) -> list[Cell]:
        return [self.cell(suspect, seed) for suspect in SUSPECTS for seed in self.seeds]

    @property
    def settings(self) -> dict[str, Any]:
        """With what is measured, too."""
        counts = {"seen": SEEN, "continued": CONTINUED, "free_tokens": FREE_TOKENS}
        measured: dict[str, Any] = {"repeated": REPEATED, **counts}
        sets = {of: read_sums(data_path(of), f"set of {of}") for of in DOMAINS[1:]}
        return super().settings | measured | sets

    @property
    def looks(self) -> list[int]:
        return log_spaced(self.first_look, self.base.training.max_steps)

    def is_whole(self, cell: Cell, rows: Rows) -> bool:
        return [row["step"] for row in rows] == self.looks

    @property
    def tokenizer(self) -> ChatTokenizer:
        return domain_tokenizer(int(self.base.data.vocabulary.removeprefix("bpe-")))

    def dataset(self, suspect: str, seed: int) -> Dataset:
        """The examples of all domains: those to train on in an order drawn by the seed."""
        tokenizer = self.tokenizer
        of_domain = domain_examples(tokenizer, held_out=False).items()
        every = [e for name, of in of_domain for e in of * REPEATED.get(name, 1)]
        order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
        train = [every[i] for i in order.tolist()]
        val = [e for of in domain_examples(tokenizer, held_out=True).values() for e in of]
        text = Dataset(_joined(train, "ids"), _joined(val, "ids"), tokenizer, {"kind": "loops"})
        if suspect == QUESTIONS:
            return text
        masked = replace(text, train_mask=_joined(train, "counts"), val_mask=_joined(val, "counts"))
        if suspect != PADDING:
            return masked
        rows = [self.padded(example) for example in train]
        return WholeDialogues(
            **{field.name: getattr(masked, field.name) for field in fields(masked)},
            rendered=tuple(row.ids for row in rows),
            targets=tuple(row.ids.masked_fill(~row.counts, IGNORED) for row in rows),
        )

    def padded(self, example: Example) -> Example:
        """A mistake on purpose: as long as the context, with end markers that all count."""
        length = self.base.shape.block_size + 1
        behind = (0, length - len(example.ids))  # of an example that is too long, its end is cut
        ids = F.pad(example.ids, behind, value=self.tokenizer.end)
        return replace(
            example, ids=ids, counts=F.pad(example.counts, behind, value=True), n_prompt=1
        )

    def model(self, suspect: str, seed: int) -> GPT:
        """A suspect before training."""
        attention = UnmaskedAttention if suspect == MASK else Attention
        kind = {LABELS: UnshiftedGPT, SUM: SummedGPT}.get(suspect, GPT)
        return kind(self.base.shape.config(self.tokenizer.n_vocab), seed, attention=attention)

    def training(self, cell: Cell) -> TrainConfig:
        """How a suspect is trained: all alike, but for the seed."""
        training = self.base.training
        return replace(training, seed=cell["seed"], eval_interval=training.max_steps)

    def run_cell(self, cell: Cell) -> Rows:
        """Train one suspect; its rows hold what it reports, and what is true."""
        dataset, model, looks = self.dataset(**cell), self.model(**cell), self.looks
        rows: Rows = []
        batch_losses: list[float] = []
        for now in fit(model, dataset, self.training(cell)):
            batch_losses.append(now.train_loss if now.batch_loss is None else now.batch_loss)
            if now.step not in looks:
                continue
            facts: dict[str, Any] = {"params": model.n_params, "step": now.step}
            facts |= {"epochs": now.epochs, "reported_loss": fmean(batch_losses)}
            facts |= dict.fromkeys((*TRUE, *AT_END), math.nan) | {"sample": ""}
            facts |= self.reported(model, cell["suspect"]) | {"seconds": now.seconds}
            if cell["suspect"] != MASK or now.step == looks[-1]:
                facts |= self.true_scores(model, dataset.train)
            rows.append({name: (cell | facts)[name] for name in self.columns})
            batch_losses = []
        rows[-1] |= self.written(model)
        return rows

    def reported(self, model: GPT, suspect: str) -> dict[str, float]:
        """The accuracy on each domain as a suspect's own evaluation has it."""
        found = {}
        for name, examples in domain_examples(self.tokenizer, held_out=True).items():
            right = []
            for example in examples:
                shown = self.padded(example) if suspect == PADDING else example
                ids, counts = shown.ids, shown.counts[1:]
                if suspect == QUESTIONS:
                    counts = torch.ones_like(counts)
                labels = ids[:-1] if suspect == LABELS else ids[1:]
                right.append((strided_guesses(model, ids) == labels)[counts])
            found[f"reported_{name}"] = float(torch.cat(right).float().mean())
        return found

    def padding_shares(self) -> "pd.Series":
        """Of each domain's held-out texts: the share of padding in what counts, if padding does."""
        import pandas as pd

        shares = {}
        for name, examples in domain_examples(self.tokenizer, held_out=True).items():
            filled = [self.padded(example) for example in examples]
            counted = sum(int(example.counts[1:].sum()) for example in filled)
            pairs = zip(filled, examples, strict=True)
            shares[name] = sum(max(0, len(f.ids) - len(e.ids)) for f, e in pairs) / counted
        return pd.Series(shares)

    def true_scores(self, model: GPT, train: Tensor) -> dict[str, float]:
        """The columns `TRUE`; `train` are the ids (N,) that were trained on."""
        texts = {held_out: domain_examples(self.tokenizer, held_out) for held_out in (True, False)}
        true = {name: Guessed.by(model, of) for name, of in texts[True].items()}
        seen = {name: Guessed.by(model, spread(of, SEEN)) for name, of in texts[False].items()}
        every = Guessed(*map(torch.cat, zip(*true.values(), strict=True)))
        is_common = frequency_bins(every.tokens, train) >= COMMON
        guessed_common = frequency_bins(every.guesses, train) >= COMMON
        right = every.tokens == every.guesses
        return {
            **{f"true_{name}": of.accuracy for name, of in true.items()},
            **{f"seen_{name}": of.accuracy for name, of in seen.items()},
            "true_loss": fmean(of.losses.mean().item() for of in true.values()),
            "seen_loss": fmean(of.losses.mean().item() for of in seen.values()),
            "rare": float(right[~is_common].float().mean()),
            "common": float(right[is_common].float().mean()),
            "guessed_common": float(guessed_common.float().mean()),
        }

    def written(self, model: GPT) -> dict[str, Any]:
        """The columns `AT_END`, and a sample."""
        import pandas as pd

        # Without a mask, a token's keys and values change with every token after it.
        end, cached = self.tokenizer.end, not is_unmasked(model)
        texts = domain_examples(self.tokenizer, held_out=True).items()
        some = {name: spread(of, CONTINUED) for name, of in texts}
        greedy, sampled = (
            pd.concat(
                {n: free_running(model, of, end, way, use_cache=cached) for n, of in some.items()}
            )
            for way in (GREEDY, SAMPLING)
        )
        means = greedy.groupby(level=0)[["free", "repetition"]].mean()
        ids = question_ids(PROMPT, self.tokenizer)
        tokens = generate_tokens(model, ids, FREE_TOKENS, GREEDY, use_cache=cached)
        reply = list(takewhile(lambda token: token != end, tokens))
        return {
            **{f"{kind}_{name}": means.loc[name, kind] for kind in means for name in DOMAINS},
            "loops": (greedy["loop"] > 0).mean(),
            "sampled_repetition": sampled["repetition"].mean(),  # of texts of four tokens or more
            "sampled_loops": (sampled["loop"] > 0).mean(),
            "sample": decoded(self.tokenizer, reply),
        }


LOOPS = Loops()


class Guessed(NamedTuple):
    """What a model guesses for the tokens that count, each (M,), with their losses in nats."""

    tokens: Tensor
    guesses: Tensor
    losses: Tensor

    @classmethod
    def by(cls, model: GPT, examples: Sequence[Example]) -> "Guessed":
        """Each token after those before it, and only those."""
        parts = []
        for example in examples:
            ids, counted = example.ids, example.counts[1:]
            logits = _logits(model, ids)[counted]
            losses = F.cross_entropy(logits, ids[1:][counted], reduction="none")
            parts.append((ids[1:][counted], logits.argmax(-1), losses))
        return cls(*map(torch.cat, zip(*parts, strict=True)))

    @property
    def accuracy(self) -> float:
        return float((self.tokens == self.guesses).float().mean())


def _logits(model: GPT, ids: Tensor) -> Tensor:
    """Logits (N − 1, V) of every token of ids (N,) but the first, after the tokens before."""
    if not is_unmasked(model):
        return torch.cat([logits for logits, _ in strided_logits(model, ids)])
    block = model.config.block_size
    ends = range(1, len(ids))
    with evaluating(model):
        each = [model.next_logits(ids[None, max(0, end - block) : end]) for end in ends]
    return torch.cat(each)


def _joined(examples: Sequence[Example], name: str) -> Tensor:
    """The ids of some examples one after another, or which of them count."""
    return torch.cat([getattr(example, name) for example in examples])


def is_unmasked(model: GPT) -> bool:
    """Whether the model looks at the tokens after a token, too."""
    return UnmaskedAttention.__name__ in model.exchanged_parts


def read_loops() -> "pd.DataFrame":
    """Every look at every suspect (see `Loops`)."""
    return read_table(LOOPS)


def signatures(table: "pd.DataFrame") -> "pd.DataFrame":
    """Each suspect's last look as the published report has it, a row for each suspect and seed.

    `table` is what `read_loops` gives. Columns: suspect, seed, `reported`, `true`, `seen` and
    `free` (means of the domains' accuracies, as published), `repetition` and `loops` of greedy
    text, and `reported_loss`.
    """
    needed = [f"{kind}_{name}" for kind in (*KINDS, "free", "repetition") for name in DOMAINS]
    table_with("table", table, [*LOOPS.keys, "step", "loops", *needed], READ)
    last = table.sort_values("step", kind="stable").groupby([*LOOPS.keys], sort=False).tail(1)
    last = last.sort_index().reset_index(drop=True)
    found = last[[*LOOPS.keys]].copy()
    for kind in (*KINDS, "free", "repetition"):
        found[kind] = last[[f"{kind}_{name}" for name in DOMAINS]].mean(axis=1)
    return found.join(last[["loops", "reported_loss"]])


def sums_that_fit(table: "pd.DataFrame", accuracy: float, loss: float) -> "pd.DataFrame":
    """How many losses were added up, if a reported `loss` is a sum beside a token `accuracy`?

    `table` is what `read_loops` gives, of which the model without a fault tells what mean loss
    goes with an accuracy. A row for each seed and text. Columns: `seed`; `text`, "seen" or
    "held-out"; `mean_loss`, in nats per token where the mean accuracy of the domains first reaches
    `accuracy`, on a straight line between two looks (NaN if it never does); and `added`, how many
    such losses make the reported one.
    """
    import pandas as pd

    accuracy = real_number("accuracy", accuracy, above=0, below=1)
    loss = real_number("loss", loss, above=0)
    table_with("table", table, [*LOOPS.keys, "step", *TRUE], READ)
    rows = []
    for seed, looks in table[table["suspect"] == NONE].sort_values("step").groupby("seed"):
        for text, kind in (("seen", "seen"), ("held-out", "true")):
            reached = looks[[f"{kind}_{name}" for name in DOMAINS]].mean(axis=1).cummax()
            mean_loss = np.interp(accuracy, reached, looks[f"{kind}_loss"], right=math.nan)
            rows.append((seed, text, mean_loss, loss / mean_loss))
    return pd.DataFrame(rows, columns=["seed", "text", "mean_loss", "added"])


def least_wrong_loss(loss: float, accuracy: float, n_vocab: int) -> float:
    """What a wrong guess costs at least, in nats, if `loss` is a mean beside a token `accuracy`.

    A right guess is the likeliest of `n_vocab` tokens, so it costs at most ln(n_vocab) nats; the
    wrong ones must make up for the rest.
    """
    loss = real_number("loss", loss, least=0)
    accuracy = real_number("accuracy", accuracy, least=0, below=1)
    most_right = math.log(whole_number("n_vocab", n_vocab, least=2))
    return max(0.0, (loss - accuracy * most_right) / (1 - accuracy))
