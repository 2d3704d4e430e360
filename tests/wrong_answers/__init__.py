"""Plausible wrong answers to the exercises, and words of the message that each must be told.

One module for each lesson: WRONG maps a task's grade_id to {code: words}. The code stands where the
solution stood.
"""

from importlib import import_module

WRONG_ANSWERS = {
    number: import_module(f"tests.wrong_answers.lesson_{number}").WRONG
    for number in ("00", "01", "02", "03", "04", "05")
}
