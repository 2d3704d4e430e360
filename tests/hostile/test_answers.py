"""Whatever is handed in as an answer to an exercise is told in one short sentence."""

import inspect
import re
from decimal import Decimal
from functools import partial
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import slmlab as lab
from slmlab.exercises import (
    build_a_gpt,
    checking,
    lesson_00,
    lesson_01,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_06,
    telling,
)
from slmlab.exercises.checking import Mistake


class Unprintable:
    def __repr__(self):
        raise RuntimeError

    def __eq__(self, other):
        raise RuntimeError

    __hash__ = object.__hash__


class Nameless(Exception):
    def __str__(self):
        raise RuntimeError


class NoModule:
    """Something else than a part of a model, that begins as one."""

    def __init__(self, config):
        pass

    def __call__(self, x):
        return x


class NoInit(nn.Module):
    def __init__(self, config):
        pass

    def forward(self, x):
        return x


class NoConfig(nn.Module):
    def __init__(self):
        super().__init__()


class NoForward(nn.Module):
    def __init__(self, config):
        super().__init__()


def giving(answer):
    return lambda *_: answer


def stopping(error):
    def stop(*_):
        raise error

    return stop


DOCUMENT = lab.load_corpus().documents[0]
ANSWERS = {
    "a whole number": 3,
    "a number": 0.2,
    "True": True,
    "a huge number": 10**400,
    "a Decimal": Decimal("NaN"),
    "text": "x",
    "a long text": "x" * 9_000,
    "bytes": b"x",
    "nothing": [],
    "a list of numbers": [1, 2],
    "a list of huge numbers": [10**400] * 2,
    "a dictionary": {"a": 1},
    "a corpus": lab.load_corpus(),
    "a document": DOCUMENT,
    "a list of documents": [DOCUMENT],
    "a list of long texts": ["x" * 9_000],
    "a phase": lab.PHASES[2],
    "a series": pd.Series([True, False]),
    "an array": np.array([True, False]),
    "a tensor": torch.tensor([True, False]),
    "a tensor without data": torch.zeros(2, device="meta"),
    "a table": pd.DataFrame({"a": [1]}),
    "what pandas has for nothing": pd.NA,
    "what cannot be printed": Unprintable(),
    "a list of what cannot be printed": [Unprintable()],
    "a class of nothing": type("Empty", (), {}),
    "a class that is no module": NoModule,
    "a module without its beginning": NoInit,
    "a module without a shape": NoConfig,
    "a module that does nothing": NoForward,
    "a function that gives a series": giving(pd.Series([True, False])),
    "a function that gives an array": giving(np.array([True, False])),
    "a function that gives a table": giving(pd.DataFrame({"a": [1]})),
    "a function that gives what cannot be printed": giving(Unprintable()),
    "a function that gives a huge number": giving(10**5000),
    "a function that stops at length": stopping(ValueError("x" * 9_000)),
    "a function that stops without a text": stopping(Nameless()),
}


LESSONS = [
    import_module(f"slmlab.exercises.{name}")
    for name in (*(f"lesson_0{number}" for number in range(7)), "build_a_gpt")
]
CHECKS = [
    getattr(module, name)
    for module in LESSONS
    for name in telling.TASKS[telling.lesson_of(module.__name__)]
]


@pytest.mark.parametrize("kind", ANSWERS)
def test_any_answer_to_any_task_is_told_in_a_short_sentence(kind):
    answer = ANSWERS[kind]
    for check in CHECKS:
        try:
            check(*[answer] * len(inspect.signature(check).parameters))
        except Mistake as told:
            assert len(str(told)) < 700, (check.__module__, check.__name__, str(told)[:300])


@pytest.mark.parametrize("answer", [np.True_, torch.tensor(True), 1])
def test_what_is_as_good_as_true_is_taken(answer):
    lesson_04.plans(answer, False, True, False)


def test_text_in_the_place_of_a_function_is_not_run(capsys):
    with pytest.raises(Mistake, match="`signed_gap` is text, not a function: run its cell again"):
        lesson_00.signed_gap("print('run'); return val_loss - train_loss")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("check", [lesson_03.secrets, lesson_06.honest])
@pytest.mark.parametrize("kind", ["a series", "an array", "a table"])
def test_a_function_that_gives_no_truth_value_gets_the_checks_own_sentence(check, kind):
    with pytest.raises(Mistake, match=r"` returns .*; it should return True or False\.$"):
        check(ANSWERS[f"a function that gives {kind}"])


def unread(train, exam):
    read = set(train.tolist())
    return [i for i in exam.tolist() if i not in read]


@pytest.mark.parametrize("kind", [iter, tuple, lambda ids: map(int, ids), np.array, torch.tensor])
def test_ids_may_come_in_any_row(kind):
    lesson_01.never_read(lambda train, exam: kind(unread(train, exam)))


class Filter:
    """What can be called, and has no name."""

    def __call__(self, line):
        return re.search(FILTER, line)


FILTER = (
    r"(?i:password|secret|token|api_?key|secret_key)[\"']?\s*[=:]\s*[\"'][^\"']{6,}[\"']"
    r"|AKIA[A-Z0-9]{16}|\bsk-[\w-]{20,}|-----BEGIN ([A-Z]+ )?PRIVATE KEY"
)


@pytest.mark.parametrize("function", [partial(re.search, FILTER), Filter()])
def test_what_has_no_name_is_as_good_as_a_function(function):
    lesson_03.secrets(function)
    with pytest.raises(Mistake, match="`the function` returns nothing yet"):
        lesson_03.secrets(partial(lambda _, line: None, ""))


def share(few, train, val, n=8):
    """The share of `val` that stands in `train`; `few` where `val` has no sequence."""
    seen = {tuple(train[i : i + n]) for i in range(len(train) - n + 1)}
    asked = [tuple(val[i : i + n]) for i in range(len(val) - n + 1)]
    return sum(s in seen for s in asked) / len(asked) if asked else few


NO_NAN = ["x", [], np.array([]), pd.Series([1, 2]), pd.NA, 10**5000, Unprintable()]


@pytest.mark.parametrize("few", NO_NAN, ids=lambda few: type(few).__name__)
def test_another_kind_of_answer_where_there_is_nothing_is_told(few):
    with pytest.raises(Mistake, match="return NaN, not"):
        lesson_02.contamination(partial(share, few))

    def copied(text, prompt, dataset, n):
        ids = dataset.tokenizer.encode(text[len(prompt) :])
        found = share(0.0, dataset.train.tolist(), ids, n)
        return found if len(text) > len(prompt) else few

    with pytest.raises(Mistake, match=r"`copied` is .*; it should be one number"):
        lesson_03.copied(copied)


LONG = {"a number": 10**5000, "ids": list(range(100_000)), "numbers": [[10**5000] * 99] * 99}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_a_value_that_fills_the_screen_is_cut(value):
    assert len(checking._shown(value)) < 310


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("a class of nothing", r"write `class Empty\(nn.Module\):`"),
        ("a class that is no module", r"write `class NoModule\(nn.Module\):`"),
        ("a module without its beginning", r"begins with `super\(\).__init__\(\)`"),
    ],
)
@pytest.mark.parametrize("part", ["attention", "mlp", "block", "gpt"])
def test_a_class_that_is_no_part_of_a_model_is_told_why(part, kind, told):
    with pytest.raises(Mistake, match=told):
        getattr(build_a_gpt, part)(ANSWERS[kind])
