"""Dialogues of a question and an answer: read, rendered to token ids, and made a dataset."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from slmlab.text.dataset import Dataset
from slmlab.text.files import data_path, read_entries, sha256
from slmlab.text.tokenizer import ChatTokenizer
from slmlab.validation import (
    instance,
    instances,
    listed,
    one_of,
    truth_values,
    whole_number,
    whole_text,
)

SETS = ("plain", "varied", "curated", "held_out")


@dataclass(frozen=True)
class Dialogue:
    """A question and its answer.

    `topic` is a kind and a subject, such as "python/list"; `roles` are the two speakers' names
    where the dialogue is plain text. Raises `ValueError` for texts that are none, or empty.
    """

    question: str
    answer: str
    topic: str
    roles: tuple[str, str] = ("Human", "Assistant")

    def __post_init__(self) -> None:
        roles = tuple(listed("roles", self.roles, "two names"))
        if len(roles) != 2:
            raise ValueError(f"A dialogue has two roles, not {len(roles)}.")
        object.__setattr__(self, "roles", roles)
        for name in ("question", "answer", "topic"):
            some_text(f"The {name}", getattr(self, name))
        for role in roles:
            some_text("A role", role)


def load_dialogues(name: str) -> tuple[Dialogue, ...]:
    """The dialogues of one of the course's sets: "plain", "varied", "curated" or "held_out".

    Raises `DataError` if the set is missing or was altered, `ValueError` for another name.
    """
    entries = read_entries(data_path("dialogues"), one_of("name", name, SETS), "set of dialogues")
    return tuple(Dialogue(**entry) for entry in entries)


def question_ids(question: str, tokenizer: ChatTokenizer) -> list[int]:
    """What comes before an answer: the user's marker, the question, the assistant's marker."""
    instance("tokenizer", tokenizer, ChatTokenizer)
    return [
        tokenizer.user,
        *tokenizer.encode(some_text("The question", question)),
        tokenizer.assistant,
    ]


def render(
    dialogue: Dialogue, tokenizer: ChatTokenizer, count_end: bool = True
) -> tuple[list[int], list[bool]]:
    """The token ids of a dialogue, and for each whether it counts in a masked loss.

    The ids are those of `question_ids`, of the answer, and the end marker. The answer and the end
    marker count. With `count_end=False` the end marker does not: a model that is trained so never
    learns to stop.
    """
    instance("dialogue", dialogue, Dialogue)
    truth_values(count_end=count_end)
    before = question_ids(dialogue.question, tokenizer)
    answer = tokenizer.encode(dialogue.answer)
    counted = [False] * len(before) + [True] * len(answer) + [count_end]
    return [*before, *answer, tokenizer.end], counted


def render_plain(dialogue: Dialogue) -> str:
    """The dialogue as plain text, as the published experiment wrote it: roles as ordinary words."""
    instance("dialogue", dialogue, Dialogue)
    user, assistant = dialogue.roles
    return f"{user}: {dialogue.question}\n{assistant}: {dialogue.answer}\n"


def dialogue_dataset(
    train: Iterable[Dialogue],
    val: Iterable[Dialogue],
    tokenizer: ChatTokenizer,
    masked: bool = True,
    count_end: bool = True,
    seed: int = 0,
) -> Dataset:
    """Dialogues to train on and to validate on, rendered one after another.

    Those of `train` come in an order drawn by `seed`, those of `val` as they are given, so that
    the validation text is the same for every seed. If `masked`, only answers and end markers
    count as targets; otherwise every token does. `count_end=False` leaves out the end markers in
    both cases, in training and in validation.

    A window of `Dataset.batch` is cut anywhere: it may begin in the middle of a dialogue, and hold
    several. Raises `ValueError` for something else than dialogues, or for none.
    """
    train, val = (_some_dialogues(name, d) for name, d in (("train", train), ("val", val)))
    truth_values(masked=masked, count_end=count_end)
    generator = torch.Generator().manual_seed(whole_number("seed", seed, most=2**63 - 1))
    order = torch.randperm(len(train), generator=generator).tolist()
    train_ids, train_mask = _stream([train[i] for i in order], tokenizer, masked, count_end)
    val_ids, val_mask = _stream(val, tokenizer, masked, count_end)
    text = tokenizer.decode(train_ids.tolist() + val_ids.tolist())
    source = {
        "kind": "dialogues",
        "sha256": sha256(text.encode()),
        "n_tokens": len(train_ids) + len(val_ids),
        "masked": masked,
        "count_end": count_end,
        "seed": seed,
    }
    return Dataset(train_ids, val_ids, tokenizer, source, train_mask=train_mask, val_mask=val_mask)


def _stream(
    dialogues: list[Dialogue], tokenizer: ChatTokenizer, masked: bool, count_end: bool
) -> tuple[Tensor, Tensor | None]:
    """Ids (N,) of dialogues in a row, and which of them count (N,); None where all do."""
    rendered = [render(dialogue, tokenizer, count_end) for dialogue in dialogues]
    ids = torch.tensor([i for ids, _ in rendered for i in ids])
    if masked:
        return ids, torch.tensor([counts for _, mask in rendered for counts in mask])
    return ids, None if count_end else ids != tokenizer.end


def _some_dialogues(name: str, dialogues: Iterable[Dialogue]) -> list[Dialogue]:
    if not (some := instances(name, dialogues, Dialogue)):
        raise ValueError(f'{name} is empty; give dialogues, such as lab.load_dialogues("plain").')
    return some


def some_text(name: str, text: str) -> str:
    """The text. Raises `ValueError` if it is none, or empty."""
    if not whole_text(name, text):
        raise ValueError(f"{name} is empty; give some text.")
    return text
