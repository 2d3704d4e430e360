"""How good what a model writes is, and how much of it is copied."""

import ast
import codeop
import math
import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from slmlab.engine.runs import Run
from slmlab.study.baseline import number_to_beat
from slmlab.study.domain import domain_names
from slmlab.study.memorisation import COPY_NGRAM, share
from slmlab.text.dataset import id_array, ngrams
from slmlab.text.passages import known_passages, longest_passage
from slmlab.validation import instance, listed, printable, whole_number, whole_text

if TYPE_CHECKING:
    import pandas as pd

REPEAT_NGRAM = 4  # as in seq-rep-4 (Welleck et al. 2020, arXiv:1908.04319)
MOST_PARSED = 50_000  # letters: the parser takes up to 1,000 bytes for each


def repetition_rate(ids: list[int], n: int = REPEAT_NGRAM) -> float:
    """1 − distinct / all n-token sequences of `ids`: 0 never repeats, near 1 is a loop."""
    grams = ngrams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else math.nan


def parses(code: str) -> bool:
    """Whether a sample, up to its last full line, is or may yet become valid Python.

    A sample is cut after some number of tokens, so its last line is left out, and a construct
    that is still open (a function without its body yet) is not held against it. Of a long sample
    the first 50,000 letters count.
    """
    lines = code[:MOST_PARSED].split("\n")
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


def names_used(text: str, names: frozenset[str]) -> int:
    """How many different domain names a text uses."""
    words = (word[0] for word in re.finditer(r"[A-Za-z_]\w+", text))
    return len({word for word in words if word in names})


def scorecard(
    run: Run, step: int | None = None, names: Iterable[str] | None = None
) -> "pd.DataFrame":
    """One row per prompt: how good, and how much copied, is what the model wrote at a step (last)?

    Columns: `parses` (see `parses`), `repetition` (share of repeated 4-token sequences),
    `domain names` (how many different ones of `names`; those of the run's text if not given),
    `copied` (share of 8-token sequences found in the training text) and `longest match` (tokens in
    a row found there). All but `parses` look at the new tokens only, not at the prompt.
    """
    instance("run", run, Run)
    names = domain_names(run.dataset) if names is None else _names(names)
    if step is None:
        step = max((s["step"] for s in run.samples), default=0)
    step = whole_number("step", step)
    return _scored(run, [sample for sample in run.samples if sample["step"] == step], names)


def _scored(run: Run, samples: list[dict[str, Any]], names: frozenset[str]) -> "pd.DataFrame":
    """The scorecard of some samples of a run."""
    import pandas as pd

    training = run.dataset.train.numpy()
    texts = [id_array("ids", sample["ids"]) for sample in samples]
    known = known_passages(texts, training, COPY_NGRAM)
    rows = {}
    for sample, ids, copied in zip(samples, texts, known, strict=True):
        # The prompts of somebody else's run are printed with the table.
        rows[printable(sample["prompt"], keep="\n\t")] = {
            "parses": parses(sample["text"]),
            "repetition": repetition_rate(sample["ids"]),
            "domain names": names_used(sample["text"][len(sample["prompt"]) :], names),
            "copied": share(copied),
            "longest match": longest_passage(ids, training),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("prompt")


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(whole_text("A name", name) for name in listed("names", names, "names"))


def scorecard_history(run: Run) -> "pd.DataFrame":
    """The scorecard over training: one row per step that has samples, and the losses there.

    Columns: `train_loss`, `val_loss` and `test_loss` (nats per token; NaN without a test text),
    then those of `scorecard`, each the mean over the prompts. `attrs["number_to_beat"]` is what
    counting scores on the same texts.
    """
    import pandas as pd

    instance("run", run, Run)
    names = domain_names(run.dataset)
    sampled: dict[int, list[dict[str, Any]]] = {}
    for sample in run.samples:
        sampled.setdefault(sample["step"], []).append(sample)
    means = {
        step: _scored(run, sampled[step], names).astype(float).mean() for step in sorted(sampled)
    }
    columns = ["train_loss", "val_loss", "test_loss"]
    losses = run.history.set_index("step").reindex(columns=columns)
    cards = pd.DataFrame.from_dict(means, orient="index")
    table = losses.astype(float).join(cards, how="inner")
    table.attrs["number_to_beat"] = number_to_beat(run.dataset)
    return table
