"""Checks of the exercises of notebook 05: claims, seeds, a mask, a fair exam, a hidden bug."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.audit import grid, last_and_best
from slmlab.corpus import Dataset, corpus_tokenizer, load_corpus, load_held_out
from slmlab.diagnosis import copy_rate
from slmlab.exercises.checking import called, filled_in, require, right
from slmlab.experiments import UnmaskedAttention, UnshiftedGPT
from slmlab.files import sha256
from slmlab.model import GPT, Attention, GPTConfig
from slmlab.tokenizer import train_bpe
from slmlab.training import TrainConfig, fit, mean_loss

RULINGS = ("holds", "fails", "open")
READ = 0.5  # share of a script's 8-token sequences in a training text: then it counts as read
FAULTS = ("mask", "labels", "leak", "fine")


def claims(claim_a: Any, claim_b: Any, claim_c: Any, claim_d: Any, claim_e: Any) -> None:
    """Task 1: what four set-ups of the grid, with three seeds each, can show."""
    answers = {"a": claim_a, "b": claim_b, "c": claim_c, "d": claim_d, "e": claim_e}
    truth = {"a": "open", "b": "holds", "c": "holds", "d": "open", "e": "fails"}
    reasons = {
        "a": "Compare the ranges, not the middles: how far does one size, from its lowest seed to "
        "its highest, reach into the other?",
        "b": "Compare the highest loss of one size with the lowest of the other. And does anything "
        "but the size differ between these two?",
        "c": "For each size on its own, compare the ranges of the two amounts of text.",
        "d": "Look down both columns, text and epochs: did one of them change without the other?",
        "e": "Look at the two models with 23,000 tokens. Which has the smaller gap, and which the "
        "lower loss? One clear counterexample is enough against an “always”.",
    }
    for letter, answer in answers.items():
        answer = _word(answer, f"claim_{letter}", RULINGS)
        require(
            answer == truth[letter], f"Claim {letter.upper()} is not “{answer}”. {reasons[letter]}"
        )
    right("A claim needs ranges that keep apart, and one thing that changed.")


def _word(answer: Any, name: str, words: Iterable[str]) -> str:
    filled_in(answer, name)
    word = answer.strip().lower() if isinstance(answer, str) else answer
    listed = ", ".join(f'"{w}"' for w in words)
    require(word in words, f"`{name}` is {answer!r}; it should be one of {listed}.")
    return word


def seeds(compare: Callable[..., Any]) -> None:
    """Task 2: the lower loss wins only where the ranges over the seeds keep apart."""
    require(
        _verdict(compare, [2.0, 2.1, 2.2], [3.0, 3.1, 3.2]) != "b",
        "For a = [2.0, 2.1, 2.2] and b = [3.0, 3.1, 3.2] you say “b”. These are losses: the lower "
        "ones are the better ones.",
    )
    cases = (
        ([2.0, 2.1, 2.2], [3.0, 3.1, 3.2], "a", "All runs of a are better than all of b."),
        ([3.0, 3.1, 3.2], [2.0, 2.1, 2.2], "b", "All runs of b are better than all of a."),
        (
            [2.0, 2.5, 3.0],
            [2.9, 3.3, 3.4],
            "not decidable",
            "The means lie apart, and so do the best runs, but the ranges overlap: a's worst run "
            "(3.0) is worse than b's best (2.9).",
        ),
        (
            [2.0, 3.0, 3.1],
            [2.4, 2.5, 2.6],
            "not decidable",
            "One range lies inside the other: the best run is one of a, and so is the worst.",
        ),
        (
            [2.4, 2.5, 2.6],
            [2.0, 3.0, 3.1],
            "not decidable",
            "One range lies inside the other: the best run is one of b, and so is the worst.",
        ),
        (
            [3.0, 2.0, 2.5],
            [2.9, 3.5, 3.2],
            "not decidable",
            "The losses come in the order of the seeds, not sorted by size: a range goes from the "
            "lowest to the highest.",
        ),
        ([2.0, 2.2], [2.2, 2.4], "not decidable", "Ranges that touch are not apart."),
        ([2.0, 2.1, 2.2], [2.3, 2.4], "a", "The numbers of seeds may differ."),
        (
            [2.0],
            [3.0, 3.1, 3.2],
            "not decidable",
            "One run of a has no spread to look at: nobody knows where its next seed would land.",
        ),
        ([3.0, 3.1, 3.2], [2.0], "not decidable", "One run of b has no spread to look at."),
    )
    for a, b, wanted, sentence in cases:
        verdict = _verdict(compare, a, b)
        require(verdict == wanted, f"For a = {a} and b = {b} you say “{verdict}”. {sentence}")
    decided = {}
    for tokens, group in last_and_best(grid()).groupby("train_tokens"):
        losses = [list(runs["best_val_loss"]) for _, runs in group.groupby("params")]
        pairs = list(combinations(losses, 2))
        for a, b in pairs:
            wanted = "a" if max(a) < min(b) else "b" if max(b) < min(a) else "not decidable"
            require(
                _verdict(compare, a, b) == wanted,
                f"For two sizes of the grid, a = {_rounded(a)} and b = {_rounded(b)}, it should be "
                f"“{wanted}”: ranges go from the lowest run to the highest.",
            )
        decided[tokens] = sum(_verdict(compare, a, b) != "not decidable" for a, b in pairs)
    few, many = min(decided), max(decided)
    right(
        f"Of the grid's {len(pairs)} pairs of sizes, {decided[few]} can be decided with {few:,} "
        f"tokens, {decided[many]} with {many:,}."
    )


def _verdict(compare: Callable[..., Any], a: list[float], b: list[float]) -> str:
    answer = called(compare, list(a), list(b))
    return _word(answer, f"compare({_rounded(a)}, {_rounded(b)})", ("a", "b", "not decidable"))


def _rounded(losses: list[float]) -> list[float]:
    return [round(x, 2) for x in losses]


class _MaskedAttention(Attention):
    """Attention with a mask of the learner's making, (T, T), true where a token may look."""

    mask: Tensor

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)


def mask(causal_mask: Callable[..., Any]) -> None:
    """Task 3: a changed token changes no prediction before it, and may change any from it on."""
    for T in (6, 2, 9):
        allowed = _mask(causal_mask, T)
        if T == 6:
            _name_the_mask(allowed)
        _property(allowed)
    right("Changing a token changes no prediction before it, and may change every one from it on.")


def _mask(causal_mask: Callable[..., Any], T: int) -> Tensor:
    """The learner's mask as (T, T) of True and False; also from 0 and 1, or from 0 and −∞."""
    answer = called(causal_mask, T)
    try:
        found = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0)
    require(
        found.dim() >= 2 and found.numel() == T * T and found.shape[-1] == T,
        f"`causal_mask({T})` should be a tensor of shape ({T}, {T}): a row for each token that "
        f"looks, a column for each that is looked at. Yours has the shape {tuple(found.shape)}.",
    )
    found = found.reshape(T, T)
    if found.dtype != torch.bool:
        added = bool((found == -math.inf).any())  # the kind that is added to the scores
        found = found == 0 if added else found != 0
    return found


def _name_the_mask(allowed: Tensor) -> None:
    T = len(allowed)
    causal = torch.ones(T, T).tril().bool()
    mistakes = (
        (
            causal.T,
            "It is turned round: row i, the token that looks, may look at itself and at what comes "
            "after it. Which half of the square should be True?",
        ),
        (
            ~causal,
            "It is the opposite: yours is True where a token must *not* look. (Some functions want "
            "it so; here True means “may look”.)",
        ),
        (
            causal.tril(-1),
            "A token may look at itself too; with your mask the first one has nothing to look at.",
        ),
        (
            torch.ones(T, T).tril(1).bool(),
            "Each token may look one too far: at the next one, which is the answer.",
        ),
        (
            torch.ones(T, T).bool(),
            "Nothing is hidden: every token may look at all that come after it. This is the "
            "missing mask of the notebook, with its perplexity near 1.",
        ),
        (
            torch.eye(T).bool(),
            "Each token sees only itself; it may look at all that came before it as well.",
        ),
    )
    for wrong, sentence in mistakes:
        require(not torch.equal(allowed, wrong), sentence)


@torch.no_grad()
def _property(allowed: Tensor) -> None:
    """Put the mask into a small model, and change one token after the other."""
    T = len(allowed)
    model = GPT(GPTConfig(vocab_size=20, block_size=T, n_layer=1, n_head=1, n_embd=8)).eval()
    for block in model.blocks:
        block.attn.__class__, block.attn.mask = _MaskedAttention, allowed
        block.attn.proj.weight.mul_(50)  # what is looked at counts more than in a new model
    ids = torch.arange(T)[None]
    before = model(ids)[0]
    for t in range(T):
        changed = ids.clone()
        changed[0, t] = 19
        differs = (model(changed)[0] - before).abs().amax(-1) > 1e-5
        early = differs[:t].nonzero().flatten().tolist()
        require(
            not early,
            f"In a model with your mask for {T} tokens, changing token {t} changed the prediction "
            f"after token {early[0] if early else 0}, which comes before it: the future leaks.",
        )
        late = (~differs[t:]).nonzero().flatten().tolist()
        require(
            not late,
            f"In a model with your mask for {T} tokens, changing token {t} did not change the "
            f"prediction after token {t + late[0] if late else 0}: it cannot see all of its past.",
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Train on one thread: such small models gain nothing by a second, and wait for busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Exam:
    """Two models, the tokens that each was trained on, and scripts to examine them with."""

    model_a: GPT
    model_b: GPT
    train_a: Tensor
    train_b: Tensor
    scripts: dict[str, Tensor]


@lru_cache(maxsize=1)
@_one_thread()
def exam() -> Exam:
    """Two small models: a has read the corpus's first 8 scripts, b those from 13 to 20."""
    documents = load_corpus().documents
    tokenizer = corpus_tokenizer(load_corpus().text, "right-sized")

    def tokens(*chosen: Any) -> Tensor:
        return torch.tensor(tokenizer.encode("\n".join(d.source for d in chosen)))

    train_a, train_b = tokens(*documents[:8]), tokens(*documents[12:20])
    model_a, model_b = (_trained(ids, tokenizer, 150) for ids in (train_a, train_b))
    held_out = load_held_out().documents
    chosen = [documents[i] for i in (1, 10, 11, 14, 20, 23, 25)] + [held_out[1], held_out[4]]
    scripts = {document.name: tokens(document) for document in chosen}
    return Exam(model_a, model_b, train_a, train_b, scripts)


def _trained(ids: Tensor, tokenizer: Any, steps: int) -> GPT:
    model = GPT(GPTConfig(tokenizer.n_vocab, block_size=16, n_layer=1, n_head=4, n_embd=32))
    config = TrainConfig(8, 6e-3, max_steps=steps, eval_interval=steps, device="cpu")
    for _ in fit(model, Dataset(ids, ids[:100], tokenizer), config):
        pass
    return model.eval()


def fair_exam(examine: Callable[..., Any]) -> None:
    """Task 4: both models on the scripts that neither has read, each script counting the same."""
    e = exam()
    found = _losses(examine, e)
    overlap = {name: _overlap(ids, e) for name, ids in e.scripts.items()}
    losses = {
        name: (mean_loss(e.model_a, ids), mean_loss(e.model_b, ids))
        for name, ids in e.scripts.items()
    }
    fair = [name for name, shares in overlap.items() if max(shares) < READ]
    wanted = _mean_of(losses, fair)
    pooled = torch.cat([e.scripts[name] for name in fair])
    lengths = {name: len(e.scripts[name]) - 1 for name in fair}
    weighted = tuple(
        sum(losses[name][i] * lengths[name] for name in fair) / sum(lengths.values())
        for i in (0, 1)
    )
    unread_a = [name for name, (a, _) in overlap.items() if a < READ]
    unread_b = [name for name, (_, b) in overlap.items() if b < READ]
    not_verbatim = [name for name, shares in overlap.items() if max(shares) < 1]
    all_scripts = _mean_of(losses, losses)
    own = (_mean_of(losses, unread_a)[0], _mean_of(losses, unread_b)[1])
    worst = max(set(not_verbatim) - set(fair), key=lambda name: max(overlap[name]))
    mistakes = (
        (wanted[::-1], "The order is turned round: first the loss of model a, then that of b."),
        (
            all_scripts,
            "Your exam has all the scripts, those too which a model has read. (If you left some "
            "out with lab.copy_rate: give it lists, by .tolist(). The items of a tensor never "
            "compare as equal, so nothing counts as copied.)",
        ),
        (
            own,
            "Each model sits its own exam: a on what a has not read, b on what b has not read. "
            "Their losses cannot be compared; both should get the same scripts.",
        ),
        (_mean_of(losses, unread_a), "You left out what a has read, but not what b has read."),
        (_mean_of(losses, unread_b), "You left out what b has read, but not what a has read."),
        (
            _mean_of(losses, not_verbatim),
            f"Your exam still has {worst}. Nobody has read the file itself, but "
            f"{max(overlap[worst]):.0%} of its sequences stand in one of the training texts.",
        ),
        (
            _mean_of(losses, [name for name in losses if name not in fair]),
            "You chose the scripts that have been read; the others make a fair exam.",
        ),
        (weighted, "Long scripts count more in your mean; each script should count the same."),
        (
            (mean_loss(e.model_a, pooled), mean_loss(e.model_b, pooled)),
            "You examine all scripts as one long text, in which long ones count more; each should "
            "count the same.",
        ),
        (tuple(x * len(fair) for x in wanted), "You return sums over the scripts, not means."),
    )
    for wrong, sentence in mistakes:
        require(_same(wrong, wanted) or not _same(found, wrong), sentence)
    require(
        _same(found, wanted),
        f"({found[0]:.3f}, {found[1]:.3f}) are not the mean losses on the fair scripts, of which "
        f"there are {len(fair)} of {len(losses)}: those less than half copied from either text.",
    )
    _unknown_scripts(examine, e)
    right(
        f"{len(fair)} of {len(losses)} scripts are fair to both; by their names "
        f"{len(not_verbatim)} seemed to be."
    )


def _unknown_scripts(examine: Callable[..., Any], e: Exam) -> None:
    """Other names, and a script that one model has read nearly all of and the other nothing."""
    once = torch.arange(100, 160)
    copied = torch.cat([e.train_a[:60], once[:20] + 100])
    other = Exam(e.model_a, e.model_b, e.train_a, once, {"one.py": copied, "two.py": once + 200})
    wanted = mean_loss(e.model_a, once + 200), mean_loss(e.model_b, once + 200)
    require(
        _same(_losses(examine, other), wanted),
        "With other scripts your function does not find the fair one: “one.py” is mostly copied "
        "from a's text and not from b's, “two.py” is new to both. One model that has read a script "
        "is enough to make it unfair; and names of files tell nothing.",
    )


def _overlap(ids: Tensor, e: Exam) -> tuple[float, float]:
    a, b = (copy_rate(ids.tolist(), train.tolist()) for train in (e.train_a, e.train_b))
    return a, b


def _mean_of(losses: dict[str, tuple[float, float]], names: Iterable[str]) -> tuple[float, float]:
    chosen = [losses[name] for name in names]
    return sum(a for a, _ in chosen) / len(chosen), sum(b for _, b in chosen) / len(chosen)


def _losses(examine: Callable[..., Any], e: Exam) -> tuple[float, float]:
    answer = called(examine, e.model_a, e.model_b, e.train_a, e.train_b, dict(e.scripts))
    try:
        a, b = (float(x) for x in answer)
    except (TypeError, ValueError):
        a = b = math.nan
    require(
        math.isfinite(a) and math.isfinite(b),
        f"`examine` returns {answer!r}; it should return two losses, of model a and of model b.",
    )
    return a, b


def _same(found: tuple[float, float], wanted: tuple[float, float]) -> bool:
    return all(math.isclose(x, y, abs_tol=2e-4) for x, y in zip(found, wanted, strict=True))


@dataclass(frozen=True, repr=False)
class Report:
    """What a colleague hands in with a result.

    Attributes:
        predict: the trained model: ids (B, T) of at most 16 tokens each → logits (B, T, V).
        batch: the loader: a seed → the inputs and targets of one step, (4, 16) each.
        train: the tokens that it was trained on.
        val: the tokens that it was validated on.
        perplexity: the validation perplexity that the colleague reports.
    """

    predict: Callable[[Tensor], Tensor]
    batch: Callable[[int], tuple[Tensor, Tensor]]
    train: Tensor
    val: Tensor
    perplexity: float


@lru_cache(maxsize=1)
@_one_thread()
def reports() -> dict[str, Report]:
    """Four results of the same model on the same text: three have a bug, one does not."""
    text = load_corpus().text
    tokenizer = train_bpe(text, 300)
    train = torch.tensor(tokenizer.encode(text))[:3000]
    held_out = torch.tensor(tokenizer.encode(load_held_out().text))[:400]
    vals = {fault: train[-400:] if fault == "leak" else held_out for fault in FAULTS}
    return {
        letter: _report(Dataset(train, vals[fault], tokenizer), fault)
        for letter, fault in _hidden().items()
    }


def _hidden() -> dict[str, str]:
    """Which report has which fault, in an order that reading this file does not tell."""
    return dict(zip("ABCD", sorted(FAULTS, key=lambda fault: sha256(fault.encode())), strict=True))


def _report(dataset: Dataset, fault: str) -> Report:
    shape = GPTConfig(dataset.tokenizer.n_vocab, block_size=16, n_layer=1, n_head=4, n_embd=32)
    model = (UnshiftedGPT if fault == "labels" else GPT)(shape)
    if fault == "mask":
        for block in model.blocks:
            block.attn.__class__ = UnmaskedAttention
    config = TrainConfig(8, 6e-3, max_steps=800, eval_interval=800, device="cpu")
    loss = [p.val_loss for p in fit(model, dataset, config) if p.val_loss is not None][-1]
    model.eval()

    @torch.no_grad()
    def predict(ids: Tensor) -> Tensor:
        return model(ids)

    def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
        inputs, targets = dataset.batch(4, shape.block_size, seed)
        return inputs, inputs.clone() if fault == "labels" else targets

    return Report(predict, batch, dataset.train, dataset.val, math.exp(loss))


def bug(run_a: Any, run_b: Any, run_c: Any, run_d: Any) -> None:
    """Task 5: which report has which bug; each wrong guess is answered with evidence."""
    answers = {"A": run_a, "B": run_b, "C": run_c, "D": run_d}
    for letter, answer in answers.items():
        _word(answer, f"run_{letter.lower()}", FAULTS)
    for letter, fault in _hidden().items():
        guess = _word(answers[letter], f"run_{letter.lower()}", FAULTS)
        if guess != fault:
            report = reports()[letter]
            shared = copy_rate(report.val.tolist(), report.train.tolist())
            evidence = {
                "mask": "changing the last token of a window leaves all earlier predictions as "
                "they were. Its model does not look ahead.",
                "labels": "in its batches, targets[:, t] is inputs[:, t + 1] everywhere. Its "
                "loader asks for the next token, as it should.",
                "leak": f"only {shared:.0%} of the 8-token sequences of its validation text stand "
                "in its training text.",
                "fine": "it has one of the three faults. Have you looked at its batches, at its "
                "texts, and at its predictions when a later token changes?",
            }[guess]
            require(False, f"Run {letter} is not “{guess}”: {evidence}")
    right("A perplexity is only as honest as its labels, its mask and its validation text.")
