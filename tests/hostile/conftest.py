"""Hostile cases are many, and belong to `make test`."""

import json
from functools import lru_cache
from pathlib import Path

import pytest

from slmlab.engine import run_parsing


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def quick_tokenizers(monkeypatch):
    """The same tokenizer is made once: tiktoken takes a tenth of a second for each."""
    make = run_parsing.tokenizer_from_spec
    made = lru_cache(maxsize=None)(lambda spec: make(json.loads(spec)))
    monkeypatch.setattr(run_parsing, "tokenizer_from_spec", lambda spec: made(json.dumps(spec)))
