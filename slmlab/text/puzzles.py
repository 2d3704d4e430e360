"""Small puzzles of arithmetic and logic, each a line with its question and its answer."""

from dataclasses import dataclass

from slmlab.text.dialogues import some_text
from slmlab.text.files import data_path, read_entries
from slmlab.validation import one_of

SETS = ("train", "held_out")


@dataclass(frozen=True)
class Puzzle:
    """A question, and an answer that says its steps first.

    `topic` is a kind and a fact, such as "addition/7 12". Raises `ValueError` for texts that are
    none, or empty.
    """

    question: str
    answer: str
    topic: str

    def __post_init__(self) -> None:
        for name in ("question", "answer", "topic"):
            some_text(f"The {name}", getattr(self, name))

    @property
    def text(self) -> str:
        """The line that models read."""
        return f"{self.question} {self.answer}\n"


def load_puzzles(name: str) -> tuple[Puzzle, ...]:
    """The puzzles of one of the course's sets: "train" or "held_out".

    Raises `DataError` if the set is missing or was altered, `ValueError` for another name.
    """
    entries = read_entries(data_path("puzzles"), one_of("name", name, SETS), "set of puzzles")
    return tuple(Puzzle(**entry) for entry in entries)
