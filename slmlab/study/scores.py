"""Scores of a model file by file, for comparisons of models on the same files."""

from typing import TYPE_CHECKING

from slmlab.engine.evaluation import text_bits
from slmlab.engine.model import GPT
from slmlab.text.corpus import Corpus
from slmlab.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pandas as pd


def per_file_scores(model: GPT, tokenizer: Tokenizer, corpus: Corpus) -> "pd.DataFrame":
    """What a model needs for each file of a corpus: columns file, bits and bytes.

    Each file is scored alone, under its header, as `text_score` scores a text; the score of all
    is the sum of bits over the sum of bytes. With columns model and seed added, two such tables
    are what `paired_difference` compares, where both models must have the same first token.
    Raises `ValueError` if the tokenizer loses anything of a file.
    """
    import pandas as pd

    rows = [(d.name, *text_bits(model, tokenizer, d.entry)) for d in corpus.documents]
    return pd.DataFrame(rows, columns=["file", "bits", "bytes"])
