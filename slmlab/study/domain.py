"""What the course's experiment asked for: its prompts, and the names of its domain."""

import ast
import builtins
import keyword
from functools import lru_cache

from slmlab.text.corpus import Corpus, load_corpus
from slmlab.text.dataset import Dataset

# The prompts that the experiment tried on every model, in its order.
PROMPTS = (
    "import chromadb",
    "def get_",
    "from embeddings_utils import",
    "collection.add(",
    "logging.debug(",
    "pdf_file_path =",
    "def main():",
    "# File:",
)
# Words of the scripts that any program might use.
COMMON = frozenset({"main", "self", "path", "name"})


def domain_names(dataset: Dataset) -> frozenset[str]:
    """The names to look for in samples of a model trained on this: none for a learner's text."""
    if dataset.source.get("kind") == "own text":
        return frozenset()
    return corpus_names()


@lru_cache(maxsize=1)
def corpus_names() -> frozenset[str]:
    """The domain names of the course's corpus."""
    return names_of(load_corpus())


def names_of(corpus: Corpus) -> frozenset[str]:
    """Names of a corpus of Python: functions, attributes, arguments and imported modules.

    Words that any Python text would have (keywords, built-ins, names of one or two letters) are
    left out.
    """
    names: set[str] = set()
    for document in corpus.documents:
        for node in ast.walk(ast.parse(document.text)):
            if isinstance(node, ast.FunctionDef):
                names |= {node.name, *(a.arg for a in node.args.args)}
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.name for alias in node.names}
                names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
    common = COMMON | set(keyword.kwlist) | set(dir(builtins))
    return frozenset(name for name in names - common if len(name) > 2 and name.isidentifier())
