"""The course's own text: 31 scripts to train on, five to choose by, ten for final scores."""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slmlab.text.dataset import Dataset
from slmlab.text.files import (
    DataError,
    data_path,
    read_published,
    read_sums,
    read_verified,
    user_path,
)
from slmlab.text.tokenizer import gpt2_tokenizer, tokenizer_for
from slmlab.validation import instance, instances, printable, shown

if TYPE_CHECKING:
    import pandas as pd

MAX_CORPUS_BYTES = 20_000_000  # of a corpus; that of the course has a hundredth


@dataclass(frozen=True)
class Document:
    """One file of a corpus. Raises `ValueError` for a name or a text that is none."""

    name: str
    text: str

    def __post_init__(self) -> None:
        instance("The name of a document", self.name, str, '"config.py"')
        instance("The text of a document", self.text, str, '"import chromadb\\n"')

    @property
    def entry(self) -> str:
        """How it enters the stream of a corpus: under a `# File: NAME` header."""
        return f"# File: {self.name}\n\n{self.text}"


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, read as one stream of text.

    Raises `ValueError` for something else than documents.
    """

    documents: tuple[Document, ...]

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "documents", tuple(instances("documents", self.documents, Document))
        )

    @cached_property
    def text(self) -> str:
        """The whole stream."""
        return "\n\n".join(document.entry for document in self.documents)

    def overlap(self, other: "Corpus", n: int = 8) -> float:
        """Share of this text's sequences of n GPT-2 tokens that also appear in another corpus."""
        instance("other", other, Corpus)
        ours, theirs = (torch.tensor(gpt2_tokenizer().encode(c.text)) for c in (self, other))
        return Dataset(theirs, ours, gpt2_tokenizer()).overlap(n)

    def inspect(self) -> "pd.DataFrame":
        """The statistics that the experiment published, beside those of this corpus.

        A ChromaDB operation is a call such as `collection.add(…)`: a method of the names
        `chromadb`, `client` or `collection`. Raises `ValueError` for what is not Python.
        """
        import pandas as pd

        ids = gpt2_tokenizer().encode(self.text)
        trees = [_parsed(d) for d in self.documents]
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


def _parsed(document: Document) -> ast.AST:
    try:
        return ast.parse(document.text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{printable(document.name)} is no Python script, so its functions cannot be counted; "
            "for a text of your own use lab.read_text(…).inspect()."
        ) from error


def _is_chromadb_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"chromadb", "client", "collection"}
    )


def load_corpus(folder: Path | str | None = None) -> Corpus:
    """The 31 scripts of the course, each checked against `SHA256SUMS` in the same folder.

    Raises `DataError` if a script is missing, truncated or altered.
    """
    folder = data_path("corpus") if folder is None else user_path(folder)
    sums = read_sums(folder, "corpus")
    scripts = sorted(name for name in sums if name.endswith(".py"))
    if not scripts or not {path.name for path in folder.glob("*.py")} <= sums.keys():
        raise DataError(
            f"{folder / 'SHA256SUMS'} does not list every script beside it; restore it with "
            "`git checkout -- data` or reinstall the package."
        )
    size = sum(path.stat().st_size for path in map(folder.joinpath, scripts) if path.is_file())
    if size > MAX_CORPUS_BYTES:
        raise DataError(
            f"The scripts in {folder} have {size:,} bytes; read more than {MAX_CORPUS_BYTES:,} by "
            "lab.read_text(…)."
        )
    return Corpus(tuple(_document(folder / name, sums[name]) for name in scripts))


def _document(path: Path, digest: str) -> Document:
    try:
        return Document(path.name, read_verified(path, digest).decode().strip() + "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8.") from error


def load_held_out() -> Corpus:
    """Five more scripts of the same project, which no model of the course trains on.

    Raises `DataError` if a script is missing, truncated or altered.
    """
    return load_corpus(data_path("held_out"))


def load_final() -> Corpus:
    """Ten more scripts of the same project, for final scores only: nothing is chosen by them.

    Raises `DataError` if a script is missing, truncated or altered.
    """
    return load_corpus(data_path("final"))


def corpus_dataset(n_tokens: int, vocabulary: str = "gpt2") -> Dataset:
    """The first `n_tokens` tokens of the course's corpus, split 90 / 10 as published.

    `vocabulary` is "gpt2" (50,257 tokens), "right-sized" (those of the whole corpus and the 256
    bytes; the same text is cut into the same tokens) or "bpe-N", such as "bpe-500" (N tokens,
    trained on the whole corpus). Raises `ValueError` for another name, or more tokens than the
    corpus has.
    """
    text = load_corpus().text
    source = {"kind": "corpus", "vocabulary": vocabulary}
    tokenizer = tokenizer_for(text, vocabulary)
    return Dataset.from_text(text, tokenizer, n_tokens, source=source)


def dataset_from_source(source: dict[str, Any]) -> Dataset:
    """The dataset of the course's corpus that a `Dataset.source` describes.

    Raises `ValueError` if the source is of another kind, or of another corpus than this one.
    """
    if not isinstance(source, dict) or source.get("kind") != "corpus":
        kind = source.get("kind") if isinstance(source, dict) else source
        raise ValueError(f"its text is of kind {shown(kind)}, which the package has not")
    if not {"n_tokens", "vocabulary"} <= source.keys():
        raise ValueError("it does not say which part of the corpus it is, or in which vocabulary")
    dataset = corpus_dataset(source["n_tokens"], source["vocabulary"])
    if "test_sha256" in source:
        dataset = dataset.with_test(load_held_out().text)
    if dataset.source != source:
        raise ValueError("the corpus has changed since it was made")
    return dataset
