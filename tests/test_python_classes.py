"""The class of each byte and token of a Python text, by hand and by another way to read Python."""

import ast
import keyword
import re
import tokenize

import pytest
import torch

import slmlab as lab
from slmlab.text.python_classes import CLASSES, byte_classes, token_classes


def by_letters(letters):
    """Classes from a row of letters: k n d (digits) s c o, and blanks."""
    names = dict(zip("kndsco ", CLASSES, strict=True))
    return [names[letter] for letter in letters]


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("if x:  # why\n", "kk no  ccccc "),
        ("def f(a=1.5):\n    return a\n", "kkk nonodddoo     kkkkkk n "),
        ("match = None\n", "nnnnn o kkkk "),  # a soft keyword is a name
        ('"""A\nb."""\n', "ssssssssss "),
        ("s = 'a # b'  # c\n", "n o sssssss  ccc "),
        ("a = 'x' \\\n  'y'\n", "n o sss     sss "),
        ("t = r'\\d' b''", "n o sssss sss"),
        ("x=0x1F**2", "noddddood"),
        ("f(\n  a)\n", "no   no "),
        ("", ""),
    ],
)
def test_each_class_by_hand(text, letters):
    assert byte_classes(text) == by_letters(letters)


def test_letters_of_many_bytes_have_their_class_for_each():
    assert byte_classes('é = "ü→"  # 漢\n') == by_letters("nn o sssssss  ccccc ")


@pytest.mark.parametrize("end", ["\x0c", "\x0b", "\x1c", "\x85", "\u2028"])
def test_what_only_some_call_the_end_of_a_line_moves_nothing(end):
    """`str.splitlines` cuts there, Python's tokenizer does not."""
    found = byte_classes(f"a = '{end}'\nwhile b:\n    pass\n")
    n = len(end.encode())
    assert found == by_letters(f"n o s{'s' * n}s kkkkk no     kkkk ")


F_STRING = """x = f"{{a}} {b + f'{c}'}"\n"""
PARTS = {kind: 1_000 + i for i, kind in enumerate(("START", "MIDDLE", "END"))}
AS_OF_3_12 = """NAME 0 1, OP 2 3, START 4 6, MIDDLE 6 7, MIDDLE 8 10, MIDDLE 11 12, OP 12 13,
NAME 13 14, OP 15 16, START 17 19, OP 19 20, NAME 20 21, OP 21 22, END 22 23, OP 23 24, END 24 25,
NEWLINE 25 26"""  # kind, first and last column: of a doubled brace, one has a token


def tokens_of_3_12(_):
    for token in AS_OF_3_12.split(","):
        kind, *columns = token.split()
        number = PARTS.get(kind) or getattr(tokenize, kind)
        begin, end = map(int, columns)
        yield tokenize.TokenInfo(number, F_STRING[begin:end], (1, begin), (1, end), F_STRING)


@pytest.mark.parametrize("new", [False, True], ids=["this Python", "Python 3.12"])
def test_an_f_string_is_all_string_by_the_rules_of_any_python(new, monkeypatch):
    if new:
        names = {number: f"FSTRING_{kind}" for kind, number in PARTS.items()}
        monkeypatch.setattr(tokenize, "generate_tokens", tokens_of_3_12)
        monkeypatch.setattr(tokenize, "tok_name", tokenize.tok_name | names)
    assert byte_classes(F_STRING) == by_letters(f"n o {'s' * 21} ")


@pytest.mark.parametrize("text", ["a = (", "x = '''a", "  a\n b\n", "a = ? b", "x = 'a\n"])
def test_what_is_not_python_gets_a_sentence(text):
    with pytest.raises(ValueError, match="Not all of the text is Python"):
        byte_classes(text)


@pytest.mark.parametrize("text", [None, b"a", "\ud800"])
def test_what_is_no_text_gets_a_sentence(text):
    with pytest.raises(ValueError, match="text"):
        byte_classes(text)


def test_a_token_has_the_class_of_most_of_its_bytes(gpt2):
    text = "if len(x) == 1:\n    say('é')\n"
    ids = torch.tensor(gpt2.encode(text))
    pieces = [gpt2.token_bytes(i).decode(errors="replace") for i in ids.tolist()]
    found = list(zip(pieces, token_classes(ids, gpt2), strict=True))
    assert found[:3] == [("if", "keyword"), (" len", "name"), ("(", "operator")]
    assert (" 1", "number") in found and (":", "operator") in found
    assert all(of == "space" for piece, of in found if piece.isspace())
    assert len({piece for piece, of in found if of == "string"}) >= 1


def test_a_token_that_crosses_classes_has_that_of_the_larger_part():
    tokenizer = lab.train_bpe("f('ab'):'ab'):'ab'):", 259)
    ids = torch.tensor(tokenizer.encode("f('ab'):\n"))
    pieces = [tokenizer.token_bytes(i) for i in ids.tolist()]
    crossing = [piece for piece in pieces if b"'" in piece and b")" in piece]
    assert crossing, pieces
    found = dict(zip(pieces, token_classes(ids, tokenizer), strict=True))
    of_bytes = {b"'": "string", b"a": "string", b"b": "string", b")": "operator", b":": "operator"}
    for piece in crossing:
        classes = [of_bytes[bytes([b])] for b in piece]
        assert found[piece] == max(classes, key=classes.count)  # the first, of as many


def test_ids_that_are_no_python_are_refused(gpt2):
    for ids, sentence in (
        (torch.tensor(gpt2.encode("漢"))[:1], "a letter is cut"),
        (torch.tensor(gpt2.encode("a = (")), "Python"),
        ([1, 2], "1-D int64 tensor"),
    ):
        with pytest.raises(ValueError, match=sentence):
            token_classes(ids, gpt2)
    with pytest.raises(ValueError, match="tokenizer"):
        token_classes(torch.tensor([1]), None)


def independently(text):
    """The classes as `ast` and regular expressions see them, for texts without continued lines."""
    data = text.encode()
    starts = [0]
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    classes = [None] * len(data)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            classes[begin:end] = ["string"] * (end - begin)
    outside = bytes(b if c is None else 32 for b, c in zip(data, classes, strict=True))
    for pattern, name in ((rb"#[^\n]*", "comment"), (rb"\b\d[\w.]*", "number"), (rb"\w+", "word")):
        for found in re.finditer(pattern, outside):
            if classes[found.start()] is None:
                word = keyword.iskeyword(found[0].decode())
                kind = ("keyword" if word else "name") if name == "word" else name
                classes[found.start() : found.end()] = [kind] * len(found[0])
    left = [
        "space" if bytes([b]).isspace() else c or "operator"
        for b, c in zip(data, classes, strict=True)
    ]
    return data, left


@pytest.mark.parametrize("n", range(5))
def test_the_held_out_scripts_have_the_classes_that_another_reading_finds(n):
    text = lab.load_held_out().documents[n].entry
    data, expected = independently(text)
    found = byte_classes(text)
    blank = [bytes([b]).isspace() for b in data]
    assert [c for c, b in zip(found, blank, strict=True) if not b] == [
        c for c, b in zip(expected, blank, strict=True) if not b
    ]
    assert set(expected) == set(CLASSES)
