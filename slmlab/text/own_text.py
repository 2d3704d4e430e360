"""A learner's own text: read from files, inspected, searched for secrets, made into a dataset."""

import random
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.text.corpus import Corpus
from slmlab.text.dataset import Dataset, encoded
from slmlab.text.files import DataError, sha256
from slmlab.text.reading import read_documents
from slmlab.text.secrets import find_secrets
from slmlab.text.splitting import SEED, Parts, split
from slmlab.text.tokenizer import Tokenizer, gpt2_tokenizer, tokenizer_for
from slmlab.validation import whole_number

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 5_000_000  # what a laptop can read a few times within an hour
MOST_BYTES = 100_000_000  # what the memory of a laptop has room for, several times
MIN_TOKENS = 100
PROMPT_TOKENS = 4  # and the rest of a word, up to twice as many


@dataclass(frozen=True)
class OwnText:
    """What was read of a file or folder, and what was not.

    Attributes:
        corpus: the texts, in the order of their paths.
        skipped: for each file that was left out, or cut, why.
    """

    corpus: Corpus
    skipped: dict[str, str]

    @property
    def text(self) -> str:
        return self.corpus.text

    def inspect(self) -> "pd.DataFrame":
        """What the text consists of; the token counts are GPT-2's."""
        import pandas as pd

        ids = gpt2_tokenizer().encode(self.text)
        lines = [line for line in self.text.split("\n") if line.strip()]
        rows = {
            "files": f"{len(self.corpus.documents):,}",
            "characters": f"{len(self.text):,}",
            "lines with text": f"{len(lines):,}",
            "lines that occur more than once": f"{1 - len(set(lines)) / max(1, len(lines)):.0%}",
            "tokens": f"{len(ids):,}",
            "distinct tokens": f"{len(set(ids)):,}",
            "files skipped or cut, so not searched for secrets": f"{len(self.skipped):,}",
        }
        return pd.DataFrame({"your text": rows})

    def secrets(self) -> "pd.DataFrame":
        """Lines that look like a password, a key or a token: a model may learn them by heart.

        One row for each line and kind, with the file, the line's number and what it looks like;
        not the secret. They are found by their form, with patterns of this course and those of
        Yelp's detect-secrets, in all that was read, however long its lines. Not searched: what
        `skipped` names (other files, and the rest of those that were cut), folders and files that
        begin with a dot, the names of the files. A secret without a form of its own, in plain
        prose or over several lines, is not found: an empty table is no proof that there is none.
        """
        import pandas as pd

        names = ["file", "line", "looks like"]
        return pd.DataFrame(list(find_secrets(self.corpus.documents)), columns=names)

    @cached_property
    def parts(self) -> Parts:
        """The text in three, as `split` divides it: to train on, to validate on, and held out."""
        return split(self.corpus)

    def dataset(self, vocabulary: str = "right-sized") -> Dataset:
        """The text as tokens: the three `parts`, the held-out one as the test text.

        `vocabulary` is one of those of `corpus_dataset`, made for the training part only: what is
        new in the others is spelled in smaller tokens. Raises `ValueError` for a text of fewer
        than 100 tokens, or of fewer than three lines.
        """
        n = len(gpt2_tokenizer().encode(self.text))
        if n < MIN_TOKENS:
            raise ValueError(f"The text has {n} tokens; give at least {MIN_TOKENS}, better 10,000.")
        train, val, test, by = self.parts
        tokenizer = tokenizer_for(train.text, vocabulary)
        source = {
            "kind": "own text",
            "vocabulary": vocabulary,
            "sha256": sha256(self.text.encode()),
            "parts": by,
        }
        train_ids, val_ids = encoded(train.text, tokenizer), encoded(val.text, tokenizer)
        return Dataset(train_ids, val_ids, tokenizer, source).with_test(test.text)

    @cached_property
    def overlaps(self) -> dict[str, float]:
        """Shares of the "validation" and "held-out" parts that appear in the training part.

        Of their 8-token sequences, in GPT-2's tokens: so they can be compared, whatever vocabulary
        a model has. NaN for a part of fewer tokens.
        """
        gpt2 = gpt2_tokenizer()
        train, val, test = (encoded(part.text, gpt2) for part in self.parts[:3])
        data = Dataset(train, val, gpt2)
        return {"validation": data.overlap(), "held-out": replace(data, val=test).overlap()}

    def prompts(self, n: int = 8) -> tuple[str, ...]:
        """Beginnings of lines to try a model with, all of them different, a few tokens each.

        They are drawn from the validation part with a fixed seed; there are fewer than `n` if it
        has fewer lines. Raises `ValueError` if `n` is no whole number, or below 1.
        """
        n = whole_number("n", n, least=1)
        gpt2 = gpt2_tokenizer()
        # Beginnings of lines that go on, and whole lines; each once, in their order.
        long: dict[str, None] = {}
        short: dict[str, None] = {}
        for document in self.parts.val.documents:
            for line in filter(None, map(str.strip, document.text.split("\n"))):
                beginning = _beginning(line, gpt2)
                (long if len(beginning) < len(line) else short)[beginning] = None
        drawn = []
        for beginnings in (long, short):
            drawn += random.Random(SEED).sample(list(beginnings), len(beginnings))
        return tuple(dict.fromkeys(drawn))[:n]


def read_text(path: Path | str, max_bytes: int = MAX_BYTES) -> OwnText:
    """Read a file of text, or all of a folder with its sub-folders, in the order of the paths.

    UTF-8 is tried first, and UTF-16 and UTF-32 with their marks; else the encoding is guessed.
    Binary files, empty ones, links, pipes and devices are skipped, and so is what begins with a
    dot; after `max_bytes` bytes, or 100 million, the rest is cut. What was left out is in
    `skipped`.

    Raises:
        DataError: if there is no such file or folder, or no text in it.
        ValueError: if `max_bytes` is no whole number, or below 1.
    """
    most = min(whole_number("max_bytes", max_bytes, least=1), MOST_BYTES)
    documents, skipped = read_documents(path, most)
    if not documents:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
        raise DataError(
            f"There is no text in {path}" + (f" ({reasons})" if reasons else "") + "; give a file "
            "or a folder with text in it."
        )
    return OwnText(Corpus(tuple(documents)), skipped)


def _beginning(line: str, tokenizer: Tokenizer) -> str:
    """The first tokens of a line, to the end of a word."""
    pieces = [tokenizer.token_bytes(i) for i in tokenizer.encode(line[:200])]
    n = PROMPT_TOKENS
    while n < min(len(pieces), 2 * PROMPT_TOKENS) and re.match(rb"\w", pieces[n]):
        n += 1
    # A token may end in the middle of a character.
    return b"".join(pieces[:n]).decode("utf-8", "ignore").rstrip() or line[0]
