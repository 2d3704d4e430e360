"""Which vocabulary suits a text: the cheap answer, by counting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.ngram import NGram, NGramConfig
from slmlab.study.experiments.grid import NEAR
from slmlab.text.dataset import Dataset, encoded
from slmlab.text.tokenizer import Tokenizer, tokenizer_for
from slmlab.validation import listed, whole_text

if TYPE_CHECKING:
    import pandas as pd

SIZES = (256, 300, 400, 512, 700, 1_000, 2_000, 4_000, 8_000)  # of vocabularies that are trained
VOCABULARIES = (*(f"bpe-{size}" for size in SIZES), "right-sized", "gpt2")
ORDERS = {"five_gram": 5, "sixteen_gram": 16}  # the number to beat; a context of 15 bytes or more

MOST_READ = 200_000  # bytes of the training text: counting them in every vocabulary takes 20 s
STRETCHES = 20  # of a longer text that are read, evenly spread
LITTLE = 2_000  # bytes: a shorter validation text alone would choose by luck
FOLDS = 5  # of a text that is so short
DECIDES = "five_gram"  # the column that a choice is made by
BITS = list(ORDERS)  # columns that hold bits per byte


@dataclass(frozen=True)
class VocabularyChoice:
    """A vocabulary for a text, by name; the `vocabulary_table` that decided it, and the reasons."""

    vocabulary: str
    table: "pd.DataFrame"
    reasons: tuple[str, ...]


def choose_vocabulary(train_text: str, val_text: str) -> VocabularyChoice:
    """Choose how large a vocabulary to train on a text, by counting.

    A 5-gram says how well each vocabulary of `VOCABULARIES` predicts the validation text: it orders
    those of the corpus more as the recorded GPTs do than a 16-gram does. Of the trained ones that
    are within `NEAR` bits per byte of the best, the largest is chosen: it cuts the text into the
    fewest tokens, so a model reads it in the fewest steps. Right-sized and whole
    vocabularies of GPT-2 are only compared with it. Of a training text longer than `MOST_READ`
    bytes, stretches that are spread over it are read. If the validation text is shorter than
    `LITTLE` bytes, the two texts together are cut in five, and each fifth is predicted from the
    others. Raises `ValueError` as `vocabulary_table` does.
    """
    read = _stretches(whole_text("train_text", train_text))
    table = vocabulary_table(read, val_text)
    little = len(val_text.encode()) < LITTLE
    if little:
        crossed = _crossed(train_text + val_text)
        table = table.loc[table.index.isin(crossed.index)]
        table[BITS] = crossed[BITS]
    bits = table[DECIDES]
    trained = bits.drop(["right-sized", "gpt2"])
    near = trained[trained <= trained.min() + NEAR]
    chosen = str(near.index[-1])
    reasons = _reasons(table, chosen, len(near))
    if little:
        reasons.append(
            f"The validation text has only {len(val_text.encode()):,} bytes, so these are means: "
            "each fifth of it and the training text was predicted from the others."
        )
    if read != train_text:
        reasons.append(
            f"Only {MOST_READ:,} bytes of the training text were counted. More text bears a larger "
            "vocabulary, so this one may be too small."
        )
    return VocabularyChoice(chosen, table, tuple(reasons))


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


def _stretches(text: str) -> str:
    """A text, or evenly spread stretches of it that have about `MOST_READ` bytes together."""
    n_bytes = len(text.encode())
    if n_bytes <= MOST_READ:
        return text
    share = MOST_READ / n_bytes
    length = len(text) // STRETCHES
    starts = range(0, length * STRETCHES, length)
    return "".join(text[start : start + round(share * length)] for start in starts)


def _crossed(text: str) -> "pd.DataFrame":
    """The mean `vocabulary_table` of a text's fifths, each predicted from the others.

    It has the vocabularies that every four fifths have enough pairs for.
    """
    import pandas as pd

    length = math.ceil(len(text) / FOLDS)
    folds = [text[start : start + length] for start in range(0, len(text), length)]
    tables = pd.concat(
        vocabulary_table("".join(folds[:i] + folds[i + 1 :]), fold) for i, fold in enumerate(folds)
    ).groupby(level=0, sort=False)
    return tables.mean()[tables.size() == len(folds)]


def _reasons(table: "pd.DataFrame", chosen: str, n_near: int) -> list[str]:
    """Why a vocabulary was chosen, how GPT-2's compare, and where the answer may be wrong."""
    bits, n_vocab = table[DECIDES], table["n_vocab"]
    trained = list(bits.index.drop(["right-sized", "gpt2"]))
    best = bits[trained].idxmin()
    length = table.loc[chosen, "bytes_per_token"]
    why = (
        "the lowest"
        if n_near == 1
        else f"{bits[chosen] - bits[best]:.2f} above the lowest ({best}). It is the largest of "
        f"{n_near} that are within {NEAR} of it: its tokens have {length:.1f} bytes on average, so "
        "a model reads the text in the fewest steps"
    )
    found = [
        f"Of {len(trained)} vocabularies trained on the training text, {chosen} gives a 5-gram "
        f"{bits[chosen]:.2f} bits per byte on the validation text, {why}.",
        f"GPT-2's vocabulary right-sized to the training text ({n_vocab['right-sized']:,} tokens) "
        f"has {bits['right-sized']:.2f}: it spells new words in bytes. Whole ({n_vocab['gpt2']:,} "
        f"tokens) it has {bits['gpt2']:.2f}, but most of its rows would never be used.",
    ]
    if best == trained[0]:
        found.append("The lowest is the smallest there is: its tokens are single bytes.")
    if chosen == trained[-1]:
        found.append(
            f"That is the largest with {n_vocab[chosen]:,} tokens: the text has no more pairs to "
            "merge."
            if n_vocab[chosen] < int(chosen.removeprefix("bpe-"))
            else "That is the largest that was tried; a larger one may do as well."
        )
    found.append(
        "Counting stands in for a model here. With the course's own scripts, GPTs did best with "
        "up to 2.5 times as many tokens as counting: try a larger vocabulary, too."
    )
    return found


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
