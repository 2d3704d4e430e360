"""Values are taken as what they are, or refused in one sentence that says what is allowed."""

import math
import threading
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

import slmlab as lab
from slmlab.validation import one, real_number, shown, table_with, whole_number, whole_text

WHOLE = [0, 5, np.int64(5), np.uint8(5), np.array(5), torch.tensor(5)]
NOT_WHOLE = [
    *("5", b"5", "", None, True, False, np.True_, torch.tensor(True), 5.0, np.float64(5), 1.5),
    *(math.nan, math.inf, [5], (5,), {5}, {}, np.array([5]), object(), int, Decimal(5)),
]
REAL = [0, 0.5, 5, np.float32(0.5), np.int64(5), Fraction(1, 2), Decimal("0.5"), torch.tensor(0.5)]
NOT_REAL = [
    *(
        "0.5",
        b"1",
        bytearray(b"1"),
        None,
        True,
        np.False_,
        [1.0],
        np.array([1.0]),
        {},
        object(),
        1j,
    ),
    *(math.nan, math.inf, -math.inf, np.nan, np.float32("inf"), 10**400, torch.ones(2)),
]


def kind(value):
    return type(value).__name__


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("value", WHOLE, ids=kind)
def test_whole_numbers_become_ints(value):
    number = whole_number("n", value)
    assert type(number) is int
    assert number == value


@pytest.mark.parametrize("value", NOT_WHOLE, ids=kind)
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^n is .*; it must be a whole number of at least 0\.$"):
        whole_number("n", value)


@pytest.mark.parametrize(
    ("thing", "named"),
    [
        *((lab.GPT, "a GPT"), (lab.NGram, "an NGram"), (lab.NGramConfig, "an NGramConfig")),
        *((lab.accuracy.Example, "an Example"), (int, "an int"), (lab.Run, "a Run")),
        *((threading.Event, "an Event"), (np.ndarray, "a ndarray"), (type(None), "a NoneType")),
    ],
)
def test_a_kind_has_its_article(thing, named):
    assert one(thing) == named


def test_a_table_has_each_column_once():
    table = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match=r"it has the column 'a' twice; give each its own name\."):
        table_with("it", table, ["a"])


@pytest.mark.parametrize("value", [-1, 0, 10, 10**13, 10**100, -(10**5000)], ids=kind)
def test_bounds_are_told(value):
    with pytest.raises(ValueError, match=r"must be a whole number from 1 to 9 \(so it is\)\.$"):
        whole_number("n", value, 1, 9, note="so it is")
    with pytest.raises(ValueError, match="must be a number above 0 and below 1"):
        real_number("x", value - 1 if value > 0 else value, above=0, below=1)


@pytest.mark.parametrize("value", REAL, ids=kind)
def test_real_numbers_become_floats(value):
    number = real_number("x", value)
    assert type(number) is float
    assert number == value


@pytest.mark.parametrize("value", NOT_REAL, ids=kind)
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^x is .*; it must be a (finite )?number at most 9\.$"):
        real_number("x", value, most=9)


def test_included_and_excluded_bounds():
    assert real_number("x", 1, least=1, most=1) == 1
    for bounds in ({"above": 1}, {"below": 1}, {"least": 1.1}, {"most": 0.9}):
        with pytest.raises(ValueError, match="x is 1; it must be a number"):
            real_number("x", 1, **bounds)
    with pytest.raises(ValueError, match=r"x is None; it must be a number\.$"):
        real_number("x", None)


@pytest.mark.parametrize("text", ["", "abc", "naïve 数 🙂", "\0\n", np.str_("abc")])
def test_whole_text_is_text(text):
    assert whole_text("The text", text) == text


@pytest.mark.parametrize(
    "value", [None, 5, b"abc", bytearray(b"a"), ["abc"], Unprintable()], ids=kind
)
def test_what_is_no_text_is_refused(value):
    with pytest.raises(ValueError, match=r"^The text is .*; it must be text \(a str\)"):
        whole_text("The text", value)


@pytest.mark.parametrize("text", ["\ud800", "abc\udfff", "a" * 10**6 + "\udc80b"], ids=len)
def test_half_a_character_is_named_with_its_place(text):
    half = f"U\\+{ord(max(text)):04X}"
    with pytest.raises(ValueError, match=f"half a character \\({half}\\) at place [0-9,]+; remove"):
        whole_text("The text", text)


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, 10**5000, [[["a\n\nb"]]], Unprintable(), torch.ones(40, 40)],
    ids=kind,
)
def test_any_value_is_shown_on_one_short_line(value):
    text = shown(value)
    assert "\n" not in text
    assert 0 < len(text) <= 81
