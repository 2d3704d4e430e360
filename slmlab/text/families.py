"""Near-duplicates: which scripts of a corpus are copies of each other with small changes.

Exact, which suits the scripts of the course; `splitting.py` keeps copies together in a text of
any size.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING

from slmlab.text.corpus import MAX_CORPUS_BYTES, Corpus, Document
from slmlab.text.dataset import ngrams
from slmlab.text.tokenizer import gpt2_tokenizer
from slmlab.validation import instances, printable, real_number, whole_number

if TYPE_CHECKING:
    import pandas as pd

FAMILY = 0.5  # Jaccard above which two scripts are of one family; see `families`


def similar_pairs(*corpora: Corpus, n: int = 8) -> "pd.DataFrame":
    """How alike any two scripts are, most alike first: columns name, other, jaccard.

    `jaccard` is the exact resemblance of Broder 1997: of all different sequences of n GPT-2
    tokens that the two scripts have, the share that both have, from 0 to 1. Headers do not count.
    Raises `ValueError` if a name occurs twice, or a script has fewer than n tokens, or
    for what is no corpus.
    """
    import pandas as pd

    checked = instances("corpora", corpora, Corpus)
    sets = _sets_of_ngrams([d for corpus in checked for d in corpus.documents], n)
    rows = [
        (name, other, len(sets[name] & sets[other]) / len(sets[name] | sets[other]))
        for name, other in combinations(sets, 2)
    ]
    table = pd.DataFrame(rows, columns=["name", "other", "jaccard"])
    return table.sort_values("jaccard", ascending=False, kind="stable", ignore_index=True)


def families(
    *corpora: Corpus, threshold: float = FAMILY, n: int = 8
) -> tuple[tuple[str, ...], ...]:
    """The scripts in families, by name: alike above the threshold, directly or through others.

    A script unlike all others is a family of its own. In the corpus and the held-out scripts no
    pair lies between 0.29 and 0.80: above are the same script for another PDF file, below are
    scripts that share a function or two. Any threshold in that gap gives the same families, and
    the default is near its middle. Raises `ValueError` as `similar_pairs` does.
    """
    threshold = real_number("threshold", threshold, least=0, below=1)
    pairs = similar_pairs(*corpora, n=n)
    family = {d.name: {d.name} for corpus in corpora for d in corpus.documents}
    for pair in pairs[pairs["jaccard"] > threshold].itertuples():
        joined = family[pair.name] | family[pair.other]
        family.update(dict.fromkeys(joined, joined))
    return tuple(dict.fromkeys(tuple(sorted(names)) for names in family.values()))


def _sets_of_ngrams(documents: Iterable[Document], n: int) -> dict[str, set[tuple[int, ...]]]:
    n = whole_number("n", n, 1, MAX_CORPUS_BYTES)
    tokenizer = gpt2_tokenizer()
    sets: dict[str, set[tuple[int, ...]]] = {}
    for document in documents:
        if document.name in sets:
            raise ValueError(
                f"Two scripts are named {printable(document.name)}; names must tell them apart."
            )
        sets[document.name] = set(ngrams(tokenizer.encode(document.text), n))
        if not sets[document.name]:
            raise ValueError(
                f"{printable(document.name)} has fewer than {n} tokens, so none to compare."
            )
    return sets
