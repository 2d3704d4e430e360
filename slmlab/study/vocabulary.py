"""Which vocabulary suits a text: the cheap answer, by counting."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.text.dataset import Dataset, encoded
from slmlab.text.tokenizer import Tokenizer, tokenizer_for
from slmlab.validation import listed

if TYPE_CHECKING:
    import pandas as pd

BYTES = "bpe-256"  # no pair is merged: every token is a byte
SIZES = (256, 300, 400, 512, 700, 1_000, 2_000, 4_000, 8_000)  # of vocabularies that are trained
VOCABULARIES = (*(f"bpe-{size}" for size in SIZES), "right-sized", "gpt2")
ORDERS = {"five_gram": 5, "sixteen_gram": 16}  # the number to beat; a context of 15 bytes or more


def vocabulary_table(
    train_text: str, exam_text: str, vocabularies: Sequence[str] = VOCABULARIES
) -> "pd.DataFrame":
    """What counting makes of the same two texts in several vocabularies, one row for each.

    Every vocabulary is made from `train_text` alone, and so are the counts. Index: `vocabulary`,
    a name that `tokenizer_for` knows. Columns: `n_vocab`, the tokens it has; `tokens` of the exam
    text, and `bytes_per_token` there; `five_gram` and `sixteen_gram`, bits per byte of the exam
    text, lower is better. The second is there because a 5-gram looks back four tokens, which may be
    four bytes of text or twenty: it flatters long tokens.

    A trained vocabulary that is the same as a smaller one is left out: a text has only so many
    pairs to merge. Raises `ValueError` for a text of fewer than two tokens, or an unknown name.
    """
    import pandas as pd

    rows: dict[str, dict[str, float]] = {}
    made: set[str] = set()
    for vocabulary in listed("vocabularies", vocabularies, "names such as bpe-512"):
        tokenizer = tokenizer_for(train_text, vocabulary)
        if tokenizer.name not in made:
            rows[vocabulary] = _row(train_text, exam_text, tokenizer)
        made.add(tokenizer.name)
    return pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="vocabulary"))


def _row(train_text: str, exam_text: str, tokenizer: Tokenizer) -> dict[str, float]:
    data = Dataset(encoded(train_text, tokenizer), encoded(exam_text, tokenizer), tokenizer)
    per_nat = bits_per_byte(1.0, data)
    row = {
        "n_vocab": tokenizer.n_vocab,
        "tokens": len(data.val),
        "bytes_per_token": len(exam_text.encode()) / len(data.val),
    }
    for name, order in ORDERS.items():
        model = NGram(NGramConfig(tokenizer.n_vocab, order), data.train)
        row[name] = per_nat * float(model.loss(data.val[None, :-1], data.val[None, 1:]))
    return row
