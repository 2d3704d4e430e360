"""What the hostile tests share."""

import json
from functools import lru_cache

import pytest

from slmlab.engine import run_parsing


@pytest.fixture
def quick_tokenizers(monkeypatch):
    """The same tokenizer is made once: tiktoken takes a tenth of a second for each."""
    make = run_parsing.tokenizer_from_spec
    made = lru_cache(maxsize=None)(lambda spec: make(json.loads(spec)))
    monkeypatch.setattr(run_parsing, "tokenizer_from_spec", lambda spec: made(json.dumps(spec)))
