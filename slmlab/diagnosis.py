"""What a run's numbers mean: gap bands, memorisation, sample quality, warnings."""

import ast
import builtins
import codeop
import keyword
import math
import re
import warnings
from bisect import bisect_right
from itertools import accumulate
from statistics import mean
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.corpus import Dataset, load_corpus, ngrams
from slmlab.model import GPT, GPTConfig
from slmlab.runs import Run
from slmlab.training import far_too_wide, loss_windows

if TYPE_CHECKING:
    import pandas as pd

COPY_NGRAM = 8  # tokens in a row that count as copied: a line of code, more or less
MOST_USEFUL_RATIO = 500  # parameters per training token; the grid's best sizes had 20 to 454
REPEAT_NGRAM = 4  # as in seq-rep-4 (Welleck et al. 2020, arXiv:1908.04319)


class GapBand(NamedTuple):
    """A band of the gap, val − train, in nats per token: `low` ≤ gap < `high`."""

    low: float
    high: float
    name: str
    meaning: str


# The bands that the experiment published; "suspicious" is this course's reading of a gap below 0.
GAP_BANDS = (
    GapBand(-math.inf, 0.0, "suspicious", "validation is easier than training: look for leakage"),
    GapBand(0.0, 0.5, "good", "what was learnt carries over to the validation text"),
    GapBand(0.5, 1.0, "acceptable", "some of it is memory"),
    GapBand(1.0, 3.0, "moderate", "much of it is memory; 1 to 2 can serve a single domain"),
    GapBand(3.0, 5.0, "severe", "nearly all of it is memory"),
    GapBand(5.0, math.inf, "catastrophic", "the training text is known by heart, and little else"),
)


def gap_band(gap: float) -> GapBand:
    """The band of a signed gap (validation − training loss, nats per token).

    Raises `ValueError` if the gap is not a number.
    """
    for band in GAP_BANDS:
        if band.low <= gap < band.high:
            return band
    raise ValueError(f"The gap is {gap}, which is not a number; the run has no finite losses.")


def perplexity(loss: float) -> float:
    """e to the loss: among how many equally likely tokens the model hesitates."""
    return math.exp(min(loss, 700.0))


def bits_per_byte(loss: float, dataset: Dataset) -> float:
    """A loss in bits per byte of the validation text: comparable across vocabularies."""
    n_bytes = sum(len(dataset.tokenizer.token_bytes(i)) for i in dataset.val[1:].tolist())
    return loss * (len(dataset.val) - 1) / math.log(2) / n_bytes


@torch.no_grad()
def token_accuracy(model: GPT, ids: Tensor) -> float:
    """Share of the tokens (but the first) that are the model's likeliest guess, given the text."""
    was_training = model.training
    model.eval()
    right = total = 0
    for inputs, targets in loss_windows(ids, model.config.block_size, rows=256):
        inputs = inputs.to(model.wte.weight.device)
        right += int((model(inputs).argmax(-1).cpu() == targets).sum())
        total += targets.numel()
    model.train(was_training)
    return right / total


@torch.no_grad()
def token_losses(model: GPT, ids: Tensor) -> Tensor:
    """Cross-entropy of every token but the first, in nats: ids (N,) → (N − 1,).

    Each is predicted once, in the windows of `loss_windows`; the mean is that of `mean_loss`.
    """
    was_training = model.training
    model.eval()
    losses = []
    for inputs, targets in loss_windows(ids, model.config.block_size, rows=256):
        logits = model(inputs.to(model.wte.weight.device)).flatten(0, 1).cpu()
        losses.append(F.cross_entropy(logits, targets.flatten(), reduction="none"))
    model.train(was_training)
    return torch.cat(losses)


def overlap_losses(model: GPT, dataset: Dataset, n: int = COPY_NGRAM) -> "pd.DataFrame":
    """The validation loss, split by whether the training text has the same passage.

    A token counts as "in the training text" if the n tokens that end with it stand there. Columns:
    `tokens`, `share` of all, mean `loss` in nats per token. Raises `ValueError` if the validation
    text has fewer than n tokens.
    """
    import pandas as pd

    if len(dataset.val) < n:
        raise ValueError(f"The validation text has {len(dataset.val)} tokens; it needs {n}.")
    seen = set(ngrams(dataset.train.tolist(), n))
    copied = torch.tensor([gram in seen for gram in ngrams(dataset.val.tolist(), n)])
    losses = token_losses(model, dataset.val)[n - 2 :]  # the first n - 1 tokens end no passage
    rows = {
        name: {
            "tokens": int(which.sum()),
            "share": which.float().mean().item(),
            "loss": losses[which].mean().item(),
        }
        for name, which in (("in the training text", copied), ("new", ~copied))
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def longest_match(ids: list[int], training: list[int]) -> int:
    """Length of the longest run of `ids` that stands, token for token, in the training text."""
    text, source = _as_text(ids), _as_text(training)
    longest = 0
    for start in range(len(text)):
        while start + longest < len(text) and text[start : start + longest + 1] in source:
            longest += 1
    return longest


def copy_rate(ids: list[int], training: list[int], n: int = COPY_NGRAM) -> float:
    """Share of the n-token sequences of `ids` that stand in the training text (NaN if none)."""
    seen = set(ngrams(training, n))
    return _mean([gram in seen for gram in ngrams(ids, n)])


def repetition_rate(ids: list[int], n: int = REPEAT_NGRAM) -> float:
    """1 − distinct / all n-token sequences of `ids`: 0 never repeats, near 1 is a loop."""
    grams = ngrams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else math.nan


def parses(code: str) -> bool:
    """Whether a sample, up to its last full line, is or may yet become valid Python.

    A sample is cut after some number of tokens, so its last line is left out, and a construct
    that is still open (a function without its body yet) is not held against it.
    """
    lines = code.split("\n")
    code = "\n".join(lines[:-1] if len(lines) > 1 else lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as "invalid escape sequence" in a sample
        try:
            ast.parse(code)
        except (SyntaxError, ValueError):
            try:
                return codeop.compile_command(code, symbol="exec") is None
            except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
                return False
        except (MemoryError, RecursionError):  # nested too deeply for the parser
            return False
    return True


def domain_hits(text: str, identifiers: frozenset[str]) -> int:
    """How many different identifiers of the domain a text uses."""
    return len(identifiers & set(re.findall(r"[A-Za-z_]\w+", text)))


def domain_identifiers() -> frozenset[str]:
    """Names of the course's corpus: functions, attributes, arguments and imported modules.

    Words that any Python text would have (keywords, built-ins, names of one or two letters) are
    left out.
    """
    names: set[str] = set()
    for document in load_corpus().documents:
        for node in ast.walk(ast.parse(document.source)):
            if isinstance(node, ast.FunctionDef):
                names |= {node.name, *(a.arg for a in node.args.args)}
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.name for alias in node.names}
                names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
    common = set(keyword.kwlist) | set(dir(builtins)) | {"main", "self", "path", "name"}
    return frozenset(name for name in names - common if len(name) > 2 and name.isidentifier())


def scorecard(run: Run, step: int | None = None) -> "pd.DataFrame":
    """One row per prompt: how good, and how much copied, is what the model wrote at a step (last)?

    Columns: `parses` (see `parses`), `repetition` (share of repeated 4-token sequences),
    `domain hits` (different identifiers of the corpus), `copied` (share of 8-token sequences
    found in the training text) and `longest match` (tokens in a row found there). All but
    `parses` look at the continuation only, not at the prompt.
    """
    import pandas as pd

    training = run.dataset.train.tolist()
    identifiers = domain_identifiers()
    if step is None:
        step = max((s["step"] for s in run.samples), default=0)
    rows = {}
    for sample in (s for s in run.samples if s["step"] == step):
        continuation = sample["text"][len(sample["prompt"]) :]
        ids = run.dataset.tokenizer.encode(continuation)
        rows[sample["prompt"]] = {
            "parses": parses(sample["text"]),
            "repetition": repetition_rate(ids),
            "domain hits": domain_hits(continuation, identifiers),
            "copied": copy_rate(ids, training),
            "longest match": longest_match(ids, training),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("prompt")


def scorecard_history(run: Run) -> "pd.DataFrame":
    """The scorecard over training: one row per step that has samples, and the losses there.

    Columns: `train_loss`, `val_loss` and `test_loss` (nats per token; NaN without a test text),
    then those of `scorecard`, each the mean over the prompts.
    """
    import pandas as pd

    steps = sorted({sample["step"] for sample in run.samples})
    cards = {step: scorecard(run, step).astype(float).mean() for step in steps}
    columns = ["train_loss", "val_loss", "test_loss"]
    losses = run.history.set_index("step").reindex(columns=columns)
    return losses.astype(float).join(pd.DataFrame.from_dict(cards, orient="index"), how="inner")


@torch.no_grad()
def line_completions(model: GPT, dataset: Dataset, text: str) -> "pd.DataFrame":
    """Can the model finish the lines of a text? One row per line of at least four tokens.

    The indentation aside, it is given the first half of the line's tokens and what comes before
    (as far as its context reaches), and must go on greedily. Columns: `line`, stripped; `known`,
    whether the same line, indentation included, stands in the training text; `exact`, whether the
    model finds every token to the line's end.
    """
    import pandas as pd

    tokenizer, block = dataset.tokenizer, model.config.block_size
    seen = set(tokenizer.decode(dataset.train.tolist()).split("\n"))
    ids = tokenizer.encode(text)
    pieces = [tokenizer.token_bytes(i) for i in ids]
    ends = list(accumulate(map(len, pieces)))
    was_training = model.training
    model.eval()
    rows = []
    begin = 0  # of the line, in bytes
    for line in text.split("\n"):
        end = begin + len(line.encode())
        first, stop = bisect_right(ends, begin), bisect_right(ends, end)
        begin = end + 1
        while first < stop and not pieces[first].strip():
            first += 1
        if stop - first < 4:
            continue
        asked = stop - first - (stop - first) // 2
        window = torch.tensor(ids[max(0, stop - block - 1) : stop], device=model.wte.weight.device)
        guesses = model(window[None, :-1])[0].argmax(-1)
        exact = torch.equal(guesses[-asked:], window[-asked:])
        rows.append({"line": line.strip(), "known": line in seen, "exact": exact})
    model.train(was_training)
    return pd.DataFrame(rows, columns=["line", "known", "exact"])


def early_stop(run: Run, patience: int) -> dict[str, float]:
    """Where early stopping would have ended a run that was trained to its end.

    With a constant learning rate a run that stops early is the beginning of the longer one, so its
    history tells. The `best step`; the step at which it `stops`, after `patience` evaluations
    without a better validation loss; the `share` of the steps spent by then; the validation loss
    and, where there is one, the held-out loss `at best` and `at the end` of the full run, in nats
    per token.
    """
    history = run.state.history
    best = history[0]
    for report in history:
        if report.val_loss < best.val_loss:
            best = report
        if sum(best.step < r.step <= report.step for r in history) >= patience:
            break
    share = report.step / max(1, history[-1].step)
    facts = {"best step": best.step, "stops": report.step, "share": share}
    for name, column in (("validation", "val_loss"), ("held-out", "test_loss")):
        if getattr(best, column) is not None:
            facts[f"{name} at best"] = getattr(best, column)
            facts[f"{name} at the end"] = getattr(history[-1], column)
    return facts


def size_advice(config: GPTConfig, dataset: Dataset) -> list[str]:
    """Warnings in words about a model's size for its data, before any training."""
    found = []
    distinct = len(torch.cat([dataset.train, dataset.val]).unique())
    if far_too_wide(config.vocab_size, distinct):
        found.append(
            f"The vocabulary has {config.vocab_size:,} rows, but only {distinct:,} tokens occur in "
            "this data: right-size it."
        )
    ratio = config.n_params / len(dataset.train)
    if ratio > MOST_USEFUL_RATIO:
        found.append(
            f"The model has {ratio:,.0f} parameters for each training token, more than any that "
            "did best in the recorded grid: it can store the text instead of learning from it."
        )
    return found


def advice(run: Run) -> list[str]:
    """Warnings in words about a run; an empty list if nothing stands out."""
    found = size_advice(run.model.config, run.dataset)
    last = run.state.history[-1]
    if last.train_loss < last.val_loss / 2:
        found.append(
            f"The training loss ({last.train_loss:.2f}) is below half the validation loss "
            f"({last.val_loss:.2f}): the model memorises."
        )
    if run.gap < 0:
        shared = run.dataset.contamination()
        found.append(
            f"Validation is easier than training (gap {run.gap:+.2f}), and {shared:.0%} of the "
            f"validation text's {COPY_NGRAM}-token sequences stand in the training text: "
            "this score may be a leak."
        )
    if last.val_loss > run.state.best_val_loss + 0.05:
        found.append(
            f"The validation loss was lowest at step {run.state.best_step:,} "
            f"({run.state.best_val_loss:.2f}) and has risen since: stop there."
        )
    return found


def _as_text(ids: list[int]) -> str:
    return "".join(map(chr, ids))  # one character per id, so that `in` searches for tokens


def _mean(values: list[bool]) -> float:
    return mean(map(float, values)) if values else math.nan
