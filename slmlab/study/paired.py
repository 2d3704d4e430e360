"""Two models on the same files: a score for each file, and the difference with its interval."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slmlab.engine.evaluation import LanguageModel, text_bits
from slmlab.study.statistics import RESAMPLES
from slmlab.text.corpus import Corpus
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, listed, shown, table_with, whole_text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model", "file", "seed", "bits", "bytes")  # of a table of scores


def per_file_scores(model: LanguageModel, tokenizer: Tokenizer, corpus: Corpus) -> "pd.DataFrame":
    """What a model needs for each file of a corpus: columns file, bits and bytes.

    Each file is scored alone, under its header, as `text_score` scores a text; the score of all
    is the sum of bits over the sum of bytes. Add columns model and seed for `paired_difference`.
    Raises `ValueError` if the tokenizer loses anything of a file.
    """
    import pandas as pd

    instance("corpus", corpus, Corpus)
    rows = [(d.name, *text_bits(model, tokenizer, d.entry)) for d in corpus.documents]
    return pd.DataFrame(rows, columns=["file", "bits", "bytes"])


@dataclass(frozen=True)
class Difference:
    """Two models' difference in bits per byte, with a 95% interval and what was drawn for it."""

    mean: float
    low: float
    high: float
    n_families: int
    n_seeds: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})".replace("-", "−")


def paired_difference(
    table: "pd.DataFrame", a: str, b: str, families: Iterable[Collection[str]] = ()
) -> Difference:
    """Score of model `a` minus that of model `b` on the same files and seeds, bits per byte.

    `table` has a row for each model, file and seed: columns model, file, seed, bits and bytes. A
    score is all bits over all bytes, so longer files weigh more; below 0, `a` is better. `seed`
    may be any repetition, such as an order of the text; a model without chance, such as counting,
    gets its row once for each seed.

    The interval draws families of files and, independently, seeds, each with replacement, and
    keeps every pair (the pigeonhole bootstrap, Owen 2007, Annals of Applied Statistics 1(2)).
    `families` holds names of files that are near-duplicates, as `lab.families` returns them; a
    file in none is its own. The draws are always the same. The interval is rough, and often too
    narrow, where few families or seeds are drawn; with one seed it covers the choice of files only.

    Raises `ValueError` if a column is missing, a file is in two families, all files are of one,
    unless both models have each file with each seed once, with the same bytes, or for names and
    numbers that are none.
    """
    whole_text("a", a)
    whole_text("b", b)
    table_with("The table", table, COLUMNS, "what lab.per_file_scores(…) returns")
    first, second = (bits_and_bytes(table, model) for model in (a, b))
    if not first["bytes"].equals(second["bytes"]):
        raise ValueError(
            f"{shown(a)} and {shown(b)} were not scored on the same bytes of the same files, "
            "with the same seeds."
        )
    family = _family_of_each(first.index, families)
    n_families, n_seeds = family.nunique(), first["bits"].shape[1]
    if n_families < 2:
        raise ValueError("All files are of one family, so there is nothing to draw; add others.")
    bits = (first["bits"] - second["bits"]).groupby(family).sum().to_numpy()
    n_bytes = first["bytes"].groupby(family).sum().to_numpy()
    generator = np.random.default_rng(0)
    families_drawn, seeds_drawn = (
        generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)  # how often each was drawn
        for n in (n_families, n_seeds)
    )
    sums = [
        np.einsum("rf,fs,rs->r", families_drawn, cells, seeds_drawn) for cells in (bits, n_bytes)
    ]
    low, high = np.percentile(sums[0] / sums[1], [2.5, 97.5])
    mean = bits.sum() / n_bytes.sum()
    return Difference(float(mean), float(low), float(high), n_families, n_seeds)


def bits_and_bytes(table: "pd.DataFrame", model: str) -> "pd.DataFrame":
    """A row for each file; columns (bits or bytes, seed).

    Raises `ValueError` unless the model has each file with each seed once, with real numbers.
    """
    rows = table[table["model"] == model]
    try:
        once = not rows.duplicated(["file", "seed"]).any()
        complete = len(rows) == rows["file"].nunique() * rows["seed"].nunique() > 0
        numbers = rows[["bits", "bytes"]]
        known = np.isrealobj(numbers) and np.isfinite(numbers).all(axis=None)
    except (TypeError, ValueError):  # a list, or text, in a cell
        known = False
    if not (known and once and complete):
        raise ValueError(f"The model {shown(model)} needs one score for each file with each seed.")
    if not (rows["bytes"] > 0).all():
        raise ValueError(f"The model {shown(model)} has a file without bytes.")
    return rows.pivot(index="file", columns="seed", values=["bits", "bytes"])


def _family_of_each(files: "pd.Index", families: Iterable[Collection[str]]) -> "pd.Series":
    """The number of each file's family, or the file itself."""
    listed_names = [
        listed("A family", family, "names of files")
        for family in listed("families", families, "families, as lab.families(…) returns them")
    ]
    named = [
        (whole_text("The name of a file", file), number)
        for number, family in enumerate(listed_names)
        for file in family
    ]
    number_of = dict(named)
    if len(number_of) < len(named):
        raise ValueError("A file is in two families; join them.")
    return files.to_series().map(lambda file: f"family {number_of.get(file, file)}")
