"""Text that can become Python: every beginning of a script can, and nothing beyond repair."""

import ast
import random

import pytest

import slmlab as lab
from slmlab.engine.python_prefix import INCOMPLETE, can_become_python

pytestmark = pytest.mark.skipif(INCOMPLETE is None, reason="needs Python 3.11")

BEGINNINGS = {
    "a part of a name": "x = retur",
    "a part of a keyword": "for name i",
    "a keyword that may become a name": "x = in",
    "a part of an operator": "if a !",
    "a walrus": "if (a :",
    "a part of a number": "x = 1e-",
    "a part of a hexadecimal number": "x = 0x",
    "a part of an ellipsis": "x = ..",
    "a part of an arrow": "def f() -",
    "an open string": 'x = "a',
    "an escape in a string": "x = '\\",
    "a backslash at the end": "x = \\",
    "the letter of a string": "('a' f",
    "a block to come": "def f():\n",
    "half an indentation": "if a:\n    b = 1\n  ",
    "a handler to come": "try:\n    a\nexc",
    "a comment": "# anything goes ( here",
    "nothing": "",
}
NO_BEGINNINGS = {
    "two names": "a b ",
    "two names in brackets": "f(a b,",
    "a bracket too many": "x = )",
    "the wrong bracket": "x = [1)",
    "a keyword as a name": "x = in ",
    "a value for a number": "1 = ",
    "a line break in a string": "x = 'a\n",
    "no block": "def f():\nx",
    "an indentation too much": "a = 1\n    b",
    "between two indentations": "if a:\n    b = 1\n  c",
    "no handler": "try:\n    a\nb ",
    "an else without an if": "a = 1\nelse:",
    "a null byte": "a\0",
    "Python 2": "print 'a'",
}


@pytest.mark.parametrize("text", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_beginning_is_one(text):
    assert can_become_python(text)


@pytest.mark.parametrize("text", NO_BEGINNINGS.values(), ids=NO_BEGINNINGS)
def test_what_no_text_can_repair_is_none(text):
    assert not can_become_python(text)


def test_a_script_may_be_cut_anywhere(corpus):
    chosen = random.Random(0)
    for document in corpus.documents[::3]:
        text = document.text
        for cut in chosen.sample(range(len(text)), 12):
            assert can_become_python(text[:cut]), text[max(0, cut - 60) : cut]


def test_some_mistakes_are_found_late():
    with pytest.raises(SyntaxError):
        ast.parse("'\\xg'")
    assert can_become_python("'\\xg'")  # a dead end
    assert not can_become_python("'\\xg';")
    assert can_become_python("return undefined\n")  # only grammar counts


def test_an_older_python_is_told_so(monkeypatch):
    monkeypatch.setattr("slmlab.engine.python_prefix.INCOMPLETE", None)
    with pytest.raises(ValueError, match=r"Only Python 3\.11 and newer"):
        can_become_python("a")


@pytest.mark.parametrize("options", [{"seed": 1}, {"top_k": 5, "seed": 2}])
def test_whatever_the_model_is_the_text_stays_a_beginning_of_python(tiny, dataset, options):
    model, tokenizer = tiny(), dataset.tokenizer
    free = lab.generate(model, tokenizer, "x = (", 25, lab.Decoding(**options))
    kept = lab.generate(model, tokenizer, "x = (", 25, lab.Decoding(python=True, **options))
    assert not can_become_python(free)
    assert can_become_python(kept) and len(kept) > len("x = (")


def test_a_prompt_that_is_no_python_is_refused(finished):
    with pytest.raises(ValueError, match="no text can continue to Python"):
        finished.sample("The old man", python=True)
