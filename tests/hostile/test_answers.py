"""Whatever is handed in as an answer to an exercise is told in one short sentence."""

import inspect
from decimal import Decimal
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import slmlab as lab
from slmlab.exercises import build_a_gpt, lesson_00, lesson_03, lesson_04, lesson_06, telling
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
