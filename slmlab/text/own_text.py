"""A learner's own text: read from files, inspected, searched for secrets, made into a dataset."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import charset_normalizer
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

from slmlab.text.corpus import Corpus, Document
from slmlab.text.dataset import Dataset
from slmlab.text.files import DataError
from slmlab.text.tokenizer import gpt2_tokenizer, tokenizer_for

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 5_000_000  # what a laptop can read a few times within an hour
MIN_TOKENS = 100
MAX_VAL_TOKENS = 10_000  # each evaluation reads all of them
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}  # and all that begin with "."
MAX_LINE = 2_000  # characters of a line that are searched for secrets
ENTROPY_PLUGINS = {"Base64HighEntropyString", "HexHighEntropyString"}  # they flag ordinary words


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
            "lines that occur more than once": f"{1 - len(set(lines)) / len(lines):.0%}",
            "tokens": f"{len(ids):,}",
            "distinct tokens": f"{len(set(ids)):,}",
            "files skipped or cut": f"{len(self.skipped):,}",
        }
        return pd.DataFrame({"your text": rows})

    def secrets(self) -> "pd.DataFrame":
        """Lines that look like a password, a key or a token: a model may learn them by heart.

        One row each, with the file, the line's number and what it looks like; not the secret.
        Found by the patterns of Yelp's detect-secrets; an empty table is no proof that there is
        none.
        """
        import pandas as pd

        names = ["file", "line", "looks like"]
        return pd.DataFrame(list(_secrets(self.corpus.documents)), columns=names)

    def dataset(self, vocabulary: str = "right-sized") -> Dataset:
        """The text as tokens, the last tenth (at most 10,000 tokens) for validation.

        `vocabulary` is one of those of `corpus_dataset`, made for this text. Raises `ValueError`
        for fewer than 100 tokens.
        """
        tokenizer = tokenizer_for(self.text, vocabulary)
        n = len(tokenizer.encode(self.text))
        if n < MIN_TOKENS:
            raise ValueError(f"The text has {n} tokens; give at least {MIN_TOKENS}, better 10,000.")
        return Dataset.from_text(
            self.text,
            tokenizer,
            val_fraction=min(0.1, MAX_VAL_TOKENS / n),
            source={"kind": "own text", "vocabulary": vocabulary},
        )


def read_text(path: Path | str, max_bytes: int = MAX_BYTES) -> OwnText:
    """Read a file of text, or all of a folder with its sub-folders, in the order of the paths.

    UTF-8 is tried first, then the encoding is guessed. Binary files, empty ones and hidden folders
    are skipped; after `max_bytes` bytes the rest is cut. What was left out stands in `skipped`.

    Raises:
        DataError: if there is no such file or folder, or no text in it.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"There is no file or folder {path}; check the spelling and the folder.")
    documents, skipped, left = [], {}, max_bytes
    files = sorted(_files(path, path, skipped)) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if left <= 0:
            skipped[name] = f"the first {max_bytes:,} bytes were full"
            continue
        try:
            with file.open("rb") as opened:
                content = opened.read(left + 1)
        except OSError as error:
            skipped[name] = f"cannot be read ({error.strerror})"
            continue
        cut = len(content) > left
        if cut:  # not in the middle of a line, if there are lines
            content = content[:left][: content.rfind(b"\n", 0, left) + 1 or left]
        source, problem = _decoded(content, cut)
        if source is None:
            skipped[name] = problem
            continue
        left = 0 if cut else left - len(content)
        documents.append(Document(name, source.rstrip() + "\n"))
        notes = [f"cut: the first {max_bytes:,} bytes are full"] * cut + [problem] * bool(problem)
        if notes:
            skipped[name] = "; ".join(notes)
    if not documents:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
        raise DataError(
            f"There is no text in {path}" + (f" ({reasons})" if reasons else "") + "; give a file "
            "or a folder with text in it."
        )
    return OwnText(Corpus(tuple(documents)), skipped)


def _files(folder: Path, root: Path, skipped: dict[str, str]) -> Iterator[Path]:
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        skipped[folder.relative_to(root).as_posix()] = f"cannot be read ({error.strerror})"
        return
    for path in paths:
        if path.name.startswith(".") or path.is_symlink():
            continue  # a link may lead out of the folder, or in a circle
        if path.is_dir():
            if path.name not in SKIPPED_FOLDERS:
                yield from _files(path, root, skipped)
        elif path.is_file():
            yield path


def _decoded(content: bytes, cut: bool) -> tuple[str | None, str]:
    """The text of some bytes, or None; and what is to be said about it, if anything."""
    if not content.strip():
        return None, "empty"
    try:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        return _tidied(decoder.decode(content, final=not cut)), ""
    except UnicodeDecodeError:
        pass
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16 says so by its first two bytes
        return _tidied(content.decode("utf-16", "replace")), ""
    if b"\0" in content[:8192]:
        return None, "not text (binary)"
    guess = charset_normalizer.from_bytes(content).best()
    if guess is None:
        return None, "not text (in no encoding that is known)"
    return _tidied(str(guess)), f"read as {guess.encoding}, a guess: it is not UTF-8"


def _tidied(text: str) -> str:
    """With one kind of line ends and no NUL, which UTF-8 allows but no text has."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _secrets(documents: Iterable[Document]) -> Iterator[tuple[str, int, str]]:
    with transient_settings({"plugins_used": [{"name": name} for name in _plugins()]}):
        kinds = lru_cache(maxsize=100_000)(
            lambda line: sorted({found.type for found in scan_line(line)})
        )
        for document in documents:
            for number, line in enumerate(document.text.split("\n"), start=1):
                for kind in kinds(line[:MAX_LINE]):
                    yield document.name, number, kind


def _plugins() -> list[str]:
    names = {plugin.__name__ for plugin in get_mapping_from_secret_type_to_class().values()}
    return sorted(names - ENTROPY_PLUGINS)
