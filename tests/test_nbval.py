"""How notebooks are compared: timings and addresses may differ, results may not."""

import re
from pathlib import Path

import pytest
from nbval.plugin import get_sanitize_patterns


@pytest.fixture
def sanitize(pytestconfig):
    file = Path(pytestconfig.option.nbval_sanitize_with)
    assert file.is_absolute()
    patterns = get_sanitize_patterns(file.read_text(encoding="utf-8"))
    assert len(patterns) == 6

    def clean(text):
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        return text

    return clean


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<GPT at 0x7f2a9c1d3e50>", "<GPT at 0x55d0c8a1b2f0>"),
        ("took 12.3 s", "took 9 s"),
        ("1.5 ms a step, 200 tok/s", "1.7e2 ms a step, 99.5 tok/s"),
        ("50/50 [00:02<00:00, 21.5it/s]", "50/50 [00:11<00:00, 4.2it/s]"),
        ("0/50 [00:00<?, ?it/s]", "0/50 [00:01<?, ?it/s]"),
        ('<table id="T_1a2b3">', '<table id="T_fffff">'),
        (
            '<figure class="slm-chart" style="a"><svg>0.5</svg></figure> 3',
            '<figure class="slm-chart" style="b"><svg>0.6</svg></figure> 3',
        ),
        ("/tmp/ipykernel_123/4567.py:1: UserWarning", "/tmp/ipykernel_9/1.py:1: UserWarning"),
    ],
)
def test_what_may_differ_is_ignored(sanitize, one, other):
    assert sanitize(one) == sanitize(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gap 1.5", "gap 1.6"),
        ("2,080 parameters", "2,081 parameters"),
        ("loss 3.21 at step 40", "loss 3.21 at step 50"),
        ("12 samples", "13 samples"),
    ],
)
def test_results_are_compared(sanitize, one, other):
    assert sanitize(one) != sanitize(other)
