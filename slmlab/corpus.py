"""Text to train on: the course's corpus, and datasets of train and validation tokens."""

import ast
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slmlab.files import DataError, data_path, read_published, read_verified, sha256
from slmlab.tokenizer import Tokenizer, gpt2_tokenizer, right_size, train_bpe

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Document:
    """One file of a corpus."""

    name: str
    source: str


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, read as one stream of text.

    Each document enters the stream under a `# File: NAME` header.
    """

    documents: tuple[Document, ...]

    @cached_property
    def text(self) -> str:
        """The whole stream."""
        return "\n\n".join(f"# File: {d.name}\n\n{d.source}" for d in self.documents)

    def inspect(self) -> "pd.DataFrame":
        """The statistics that the experiment published, beside those of this corpus.

        A ChromaDB operation is a call such as `collection.add(…)`: a method of the names
        `chromadb`, `client` or `collection`.
        """
        import pandas as pd

        ids = gpt2_tokenizer().encode(self.text)
        trees = [ast.parse(d.source) for d in self.documents]
        nodes = [node for tree in trees for node in ast.walk(tree)]
        ours = {
            "characters": len(self.text),
            "tokens": len(ids),
            "distinct tokens": len(set(ids)),
            "files": len(self.documents),
            "functions": sum(isinstance(n, ast.FunctionDef) for n in nodes),
            "ChromaDB operations": sum(_is_chromadb_call(n) for n in nodes),
        }
        published = read_published("corpus.json")
        return pd.DataFrame({"ours": ours, "published": published})


def _is_chromadb_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"chromadb", "client", "collection"}
    )


def load_corpus(folder: Path | None = None) -> Corpus:
    """The 31 scripts of the course, each checked against `SHA256SUMS` in the same folder.

    Raises `DataError` if a script is missing, truncated or altered.
    """
    folder = Path(folder) if folder else data_path("corpus")
    try:
        sums = (folder / "SHA256SUMS").read_text().splitlines()
    except OSError as error:
        raise DataError(
            f"There is no corpus in {folder} (SHA256SUMS cannot be read); restore it with "
            "`git checkout -- data` or reinstall the package."
        ) from error
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in sums)}
    if not {path.name for path in folder.glob("*.py")} <= expected.keys():
        raise DataError(
            f"{folder / 'SHA256SUMS'} does not list every script beside it; restore it with "
            "`git checkout -- data` or reinstall the package."
        )
    return Corpus(
        tuple(
            Document(name, read_verified(folder / name, digest).decode().strip() + "\n")
            for name, digest in sorted(expected.items())
            if name.endswith(".py")
        )
    )


def load_held_out() -> Corpus:
    """Five more scripts of the same project, which no model of the course trains on.

    Raises `DataError` if a script is missing, truncated or altered.
    """
    return load_corpus(data_path("held_out"))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Token ids to train on and to validate on, and the tokenizer they come from.

    `train`, `val` and, if there is one, `test` are 1-D int64 tensors. `source` says where the text
    came from, with the SHA-256 of what was used of it; runs store it.
    """

    train: Tensor
    val: Tensor
    tokenizer: Tokenizer
    source: dict = field(default_factory=dict)
    test: Tensor | None = None

    @classmethod
    def from_text(
        cls,
        text: str,
        tokenizer: Tokenizer,
        n_tokens: int | None = None,
        val_fraction: float = 0.1,
        source: dict | None = None,
    ) -> "Dataset":
        """The first `n_tokens` tokens of a text (default: all), the last tenth for validation.

        Raises:
            ValueError: for empty text, more tokens than the text has, or a split that leaves
                fewer than two tokens on a side.
        """
        if not text:
            raise ValueError("The text is empty; give some text to train on.")
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction is {val_fraction}; it must be between 0 and 1.")
        ids = torch.tensor(tokenizer.encode(text))
        if n_tokens is None:
            n_tokens = len(ids)
        if not 1 <= n_tokens <= len(ids):
            raise ValueError(
                f"{n_tokens:,} tokens were asked for, but the text has {len(ids):,}; "
                f"ask for 1 to {len(ids):,}."
            )
        n_train = round(n_tokens * (1 - val_fraction))
        if n_train < 2 or n_tokens - n_train < 2:
            raise ValueError(
                f"{n_tokens} tokens split into {n_train} for training and {n_tokens - n_train} "
                "for validation; each side needs at least 2, so use more text."
            )
        used = tokenizer.decode(ids[:n_tokens].tolist())
        source = {"sha256": sha256(used.encode()), "n_tokens": n_tokens} | (source or {})
        return cls(ids[:n_train], ids[n_train:n_tokens], tokenizer, source)

    def with_test(self, text: str) -> "Dataset":
        """The same dataset with a test text, whose loss is reported at every evaluation."""
        ids = torch.tensor(self.tokenizer.encode(text))
        return replace(self, test=ids, source=self.source | {"test_sha256": sha256(text.encode())})

    def batch(self, batch_size: int, block_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Random windows of the training tokens: inputs and next tokens, (batch, block) each."""
        generator = torch.Generator().manual_seed(seed)
        starts = torch.randint(len(self.train) - block_size, (batch_size, 1), generator=generator)
        windows = self.train[starts + torch.arange(block_size + 1)]
        return windows[:, :-1], windows[:, 1:]

    def contamination(self, n: int = 8) -> float:
        """Share of the validation set's n-token sequences that also stand in the training set.

        The train/test overlap measure of Brown et al. 2020 (GPT-3, appendix C), at n tokens.
        """
        seen = set(ngrams(self.train.tolist(), n))
        found = [gram in seen for gram in ngrams(self.val.tolist(), n)]
        return sum(found) / len(found) if found else float("nan")


def ngrams(ids: list[int], n: int) -> list[tuple[int, ...]]:
    """All sequences of n consecutive ids, in order."""
    return list(zip(*(ids[i:] for i in range(n)), strict=False))


def corpus_dataset(n_tokens: int, vocabulary: str = "gpt2") -> Dataset:
    """The first `n_tokens` tokens of the course's corpus, split 90 / 10 as published.

    `vocabulary` is "gpt2" (50,257 tokens), "right-sized" (those of the whole corpus and the 256
    bytes; the same text is cut into the same tokens) or "bpe-N", such as "bpe-500" (N tokens,
    trained on the whole corpus). Raises `ValueError` for another name, or more tokens than the
    corpus has.
    """
    text = load_corpus().text
    source = {"kind": "corpus", "vocabulary": vocabulary}
    tokenizer = corpus_tokenizer(text, vocabulary)
    return Dataset.from_text(text, tokenizer, n_tokens, source=source)


@lru_cache(maxsize=8)
def corpus_tokenizer(text: str, vocabulary: str) -> Tokenizer:
    """The tokenizer of a vocabulary of `corpus_dataset`, for that text."""
    check_vocabulary(vocabulary)
    if vocabulary == "gpt2":
        return gpt2_tokenizer()
    if vocabulary == "right-sized":
        return right_size(gpt2_tokenizer(), text)
    return train_bpe(text, int(vocabulary.removeprefix("bpe-")))


def check_vocabulary(vocabulary: str) -> None:
    """Raise `ValueError` unless this names a vocabulary of `corpus_dataset`."""
    if vocabulary in ("gpt2", "right-sized") or vocabulary.removeprefix("bpe-").isdecimal():
        return
    raise ValueError(
        f'vocabulary is {vocabulary!r}; it must be "gpt2", "right-sized", or "bpe-" and a number '
        'of tokens, such as "bpe-500".'
    )
