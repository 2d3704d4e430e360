"""Make data/puzzles/: small arithmetic and logic puzzles, to train on and held out.

    python tools/puzzles.py            # write the puzzles and their hashes
    python tools/puzzles.py --check    # fail if they are not what would be written

A kind of puzzle has many facts, such as 7 + 12, or that a key is in the box or in the bag. Each
fact makes one puzzle, so the held-out puzzles ask about facts that no training puzzle has. Nor does
the answer of a training puzzle contain a sum, a difference or a product of a held-out answer.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

from slmlab.text.files import sha256

FOLDER = Path(__file__).parent.parent / "data" / "puzzles"
SEED = 8
N_TRAIN, N_HELD_OUT = 40, 12  # of each kind

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jill")
GOODS = ("pens", "eggs", "coins", "books", "plums", "cards", "shells", "keys")
HOLDERS = ("boxes", "bags", "rows", "trays")
JOBS = ("baker", "pilot", "poet", "nurse", "farmer", "painter", "sailor", "teacher", "singer")
TRAITS = ("kind", "brave", "tired", "rich", "quiet", "clever", "happy", "tall")
ORDERS = (("taller", "tallest"), ("older", "oldest"), ("faster", "fastest"))
THINGS = ("key", "letter", "ring", "ticket", "map", "coin")
PLACES = ("box", "bag", "drawer", "car", "kitchen", "garden", "desk", "hall")

Pick = Callable[[Any], Any]  # one of some things, drawn
Puzzle = tuple[str, str]  # a question, and its answer with the steps that lead to it


def addition(pick: Pick, a: int, b: int) -> Puzzle:
    name, goods = pick(NAMES), pick(GOODS)
    asked = f"{name} has {a} {goods} and finds {b} more. How many {goods} does {name} have now?"
    return asked, f"{a} + {b} = {a + b}. {name} has {a + b} {goods}."


def subtraction(pick: Pick, a: int, b: int) -> Puzzle:
    name, goods = pick(NAMES), pick(GOODS)
    asked = f"{name} has {a} {goods} and gives {b} away. How many {goods} are left?"
    return asked, f"{a} - {b} = {a - b}. {a - b} {goods} are left."


def multiplication(pick: Pick, a: int, b: int) -> Puzzle:
    holders, goods = pick(HOLDERS), pick(GOODS)
    asked = f"There are {a} {holders} with {b} {goods} each. How many {goods} are there?"
    return asked, f"{a} * {b} = {a * b}. There are {a * b} {goods}."


def comparison(pick: Pick, a: int, b: int) -> Puzzle:
    first, second = (a, b) if pick((True, False)) else (b, a)
    asked = f"Which number is larger, {first} or {second}?"
    return asked, f"{a} - {b} = {a - b}. So {a} is larger."


def sequence(pick: Pick, last: int, step: int) -> Puzzle:
    shown = ", ".join(str(last - step * back) for back in (3, 2, 1, 0))
    asked = f"Which number comes next: {shown}?"
    rule = f"Each number is {step} more than the one before."
    return asked, f"{rule} {last} + {step} = {last + step}."


def order(pick: Pick, names: tuple[str, str, str], words: tuple[str, str]) -> Puzzle:
    first = pick(names)
    second, third = (name for name in names if name != first)
    more, most = words
    facts = [f"{first} is {more} than {second}", f"{second} is {more} than {third}"]
    shown = facts if pick((True, False)) else facts[::-1]
    asked = f"{shown[0]}. {shown[1]}. Who is the {most}?"
    return asked, f"{facts[0]}, and {facts[1]}. So {first} is the {most}."


def conclusion(pick: Pick, job: str, trait: str) -> Puzzle:
    name, form = pick(NAMES), pick(("all", "no", "some"))
    if form == "all":
        asked = f"All {job}s are {trait}. {name} is a {job}. Is {name} {trait}?"
        return asked, f"{name} is a {job}, and all {job}s are {trait}. So yes."
    if form == "no":
        asked = f"No {job}s are {trait}. {name} is a {job}. Is {name} {trait}?"
        return asked, f"{name} is a {job}, and no {job}s are {trait}. So no."
    asked = f"All {job}s are {trait}. {name} is {trait}. Is {name} a {job}?"
    return asked, f"All {job}s are {trait}, but others may be {trait} too. So nobody knows."


def place(pick: Pick, thing: str, places: tuple[str, str]) -> Puzzle:
    false = pick(places)
    [true] = (p for p in places if p != false)
    asked = f"The {thing} is in the {places[0]} or in the {places[1]}. "
    asked += f"It is not in the {false}. Where is the {thing}?"
    return asked, f"It is not in the {false}, so it is in the {true}."


# What makes a puzzle of each kind, and all of its facts: the arguments after `pick`.
KINDS: dict[str, tuple[Callable[..., Puzzle], Sequence[tuple[Any, ...]]]] = {
    "addition": (addition, [*combinations(range(3, 50), 2)]),
    "subtraction": (subtraction, [(a, b) for b, a in combinations(range(3, 60), 2)]),
    "multiplication": (multiplication, [*combinations(range(2, 13), 2)]),
    "comparison": (comparison, [(a, b) for b, a in combinations(range(3, 99), 2)]),
    "sequence": (sequence, [(last, s) for s in range(2, 10) for last in range(3 * s + 1, 60)]),
    "order": (order, [*product(combinations(NAMES, 3), ORDERS)]),
    "conclusion": (conclusion, [*product(JOBS, TRAITS)]),
    "place": (place, [*product(THINGS, combinations(PLACES, 2))]),
}


def puzzles(seed: int = SEED) -> dict[str, list[dict[str, str]]]:
    """The two sets, each a list of topic, question and answer. Same seed, same puzzles.

    Only `Random.random` is drawn from, as Python promises its values for every version.
    """
    generator = random.Random(seed)

    def pick(things: Any) -> Any:
        return things[int(generator.random() * len(things))]

    kinds = {}
    for kind, (make, facts) in KINDS.items():
        shuffled = sorted(facts, key=lambda fact: generator.random())
        kinds[kind] = [(topic_of(kind, fact), *make(pick, *fact)) for fact in shuffled]
    held_out = [puzzle for of in kinds.values() for puzzle in of[:N_HELD_OUT]]
    kept_apart = {equation(answer) for _, _, answer in held_out} - {None}
    train = []
    for of in kinds.values():
        free = [p for p in of[N_HELD_OUT:] if equation(p[2]) not in kept_apart]
        train += free[:N_TRAIN]
    keys = ("topic", "question", "answer")
    return {
        name: [dict(zip(keys, puzzle, strict=True)) for puzzle in of]
        for name, of in (("train", train), ("held_out", held_out))
    }


def topic_of(kind: str, fact: tuple[Any, ...]) -> str:
    """The kind and its fact, such as "addition/7 12"."""
    parts = (part if isinstance(part, tuple) else (part,) for part in fact)
    return f"{kind}/{' '.join(str(word) for part in parts for word in part)}"


def equation(answer: str) -> tuple[str, frozenset[str]] | None:
    """The sign and the two numbers of what an answer reckons, whichever comes first; or None."""
    words = answer.replace(".", " ").split()
    for a, sign, b in zip(words, words[1:], words[2:], strict=False):
        if sign in "+-*":
            return sign, frozenset({a, b})
    return None


def files() -> dict[str, bytes]:
    """Every file to write, by its name."""
    made = {}
    for name, of in puzzles().items():
        lines = ",\n".join(f"  {json.dumps(puzzle)}" for puzzle in of)
        made[f"{name}.json"] = f"[\n{lines}\n]\n".encode()
    sums = "".join(f"{sha256(made[name])}  {name}\n" for name in sorted(made))
    return made | {"SHA256SUMS": sums.encode()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    stale = []
    for name, content in files().items():
        path = FOLDER / name
        if not check:
            path.write_bytes(content)
        elif not path.is_file() or path.read_bytes() != content:
            stale.append(name)
    print(f"data/puzzles differs: {', '.join(stale)}" if stale else "data/puzzles is as made.")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
