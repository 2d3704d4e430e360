"""How well a model answers: what its answers cost, and what it replies."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from string import punctuation
from typing import TYPE_CHECKING

import torch

from slmlab.engine.decoding import MAX_NEW_TOKENS, Decoding
from slmlab.engine.evaluation import LanguageModel, strided_losses
from slmlab.engine.generation import decoded, generate_tokens
from slmlab.engine.model import GPT
from slmlab.study.samples import repetition_rate
from slmlab.text.dialogues import Dialogue, question_ids, render
from slmlab.text.tokenizer import ChatTokenizer
from slmlab.validation import instance, instances, truth_values, whole_number, whole_text

if TYPE_CHECKING:
    import pandas as pd

SAMPLED = Decoding(temperature=0.8)
MAX_TOKENS = 60  # of a reply; the longest answer of the course has 21 of GPT-2's
MAX_REPLIES = 1_000
GREETING = 2  # words of a question that a reply may give back, as in "Good morning!"
ECHO = 5  # words of a longer question in a row that it may not
ENDS = (".", "!", "?", ")", '"', "'", "`")  # of a sentence


def answer_bits(
    model: LanguageModel, tokenizer: ChatTokenizer, dialogues: Iterable[Dialogue]
) -> "pd.DataFrame":
    """What a model needs for each answer: columns file, bits, bytes and end_nats.

    `file` is the dialogue's topic, so that `paired_difference` takes the table, once it has the
    columns model and seed. Each dialogue is scored alone, from its own user marker on, by
    `strided_losses`. `bits` are those of the answer's tokens, given the question, `bytes` those of
    the answer's text; the score of all is the sum of bits over the sum of bytes. The end marker is
    in neither: `end_nats` is its loss, in nats, after the right answer. Whatever mask a model was
    trained with, this is the same exam.

    Raises `ValueError` for something else than dialogues, or a model that lacks rows for them.
    """
    import pandas as pd

    rows = []
    for dialogue in instances("dialogues", dialogues, Dialogue):
        ids, mask = render(dialogue, tokenizer, count_end=False)
        losses = strided_losses(model, torch.tensor(ids)).double()
        nats = losses[torch.tensor(mask[1:])].sum().item()
        n_bytes = len(dialogue.answer.encode())
        rows.append((dialogue.topic, nats / math.log(2), n_bytes, losses[-1].item()))
    return pd.DataFrame(rows, columns=["file", "bits", "bytes", "end_nats"])


@dataclass(frozen=True)
class Reply:
    """What a model replied to a question.

    Attributes:
        question: what was asked.
        text: the reply, without the end marker.
        ended: whether the model wrote the end marker; otherwise it was cut off.
        loss: mean loss of the reply's tokens, the end marker included, in nats per token. It is
            that of the model itself, whatever the temperature and the filters of the decoding.
        ids: the tokens that the model wrote.

    Raises `ValueError` for values of another kind.
    """

    question: str
    text: str
    ended: bool
    loss: float
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        whole_text("question", self.question)
        whole_text("text", self.text)
        truth_values(ended=self.ended)
        instance("loss", self.loss, float, "1.5")
        instance("ids", self.ids, tuple, "(1, 2)")

    @property
    def problems(self) -> tuple[str, ...]:
        """Which filters would remove the reply: "repeats", "echoes", "unfinished"; none if good."""
        found = {
            "repeats": repeats(self.text),
            "echoes": echoes(self.question, self.text),
            "unfinished": unfinished(self),
        }
        return tuple(name for name, removed in found.items() if removed)


def reply(
    model: GPT,
    tokenizer: ChatTokenizer,
    question: str,
    decoding: Decoding = SAMPLED,
    max_tokens: int = MAX_TOKENS,
) -> Reply:
    """Ask a model. It replies until it writes the end marker, or for `max_tokens` tokens.

    The decoding's `stop` and `python` are not looked at: a reply is no Python, and it ends at the
    marker's id, which no text can spell. Raises `ValueError` for an empty question, or a model
    without rows for it.
    """
    before = question_ids(question, tokenizer)
    max_tokens = whole_number("max_tokens", max_tokens, 1, MAX_NEW_TOKENS)

    def over(new: list[int]) -> bool:
        return new[-1] == tokenizer.end

    ids = list(generate_tokens(model, before, max_tokens, decoding, ended=over))
    ended = over(ids)
    losses = strided_losses(model, torch.tensor(before + ids))[-len(ids) :]
    text = decoded(tokenizer, ids[:-1] if ended else ids)
    return Reply(question, text, ended, losses.double().mean().item(), tuple(ids))


def replies(
    n: int,
    model: GPT,
    tokenizer: ChatTokenizer,
    question: str,
    decoding: Decoding = SAMPLED,
    max_tokens: int = MAX_TOKENS,
) -> list[Reply]:
    """As `reply`, n times, with the decoding's seed and those after it."""
    n = whole_number("n", n, 1, MAX_REPLIES)
    instance("decoding", decoding, Decoding)
    return [
        reply(model, tokenizer, question, replace(decoding, seed=decoding.seed + i), max_tokens)
        for i in range(n)
    ]


def best(candidates: Iterable[Reply]) -> Reply:
    """Best of n: the likeliest of the replies that pass every filter, or of all if none passes.

    The likeliest has the lowest loss per token, so that long replies are not at a disadvantage.
    Raises `ValueError` if there are none.
    """
    candidates = instances("candidates", candidates, Reply)
    if not candidates:
        raise ValueError("There are no replies to choose from; give at least one.")
    passed = [candidate for candidate in candidates if not candidate.problems]
    return min(passed or candidates, key=lambda candidate: candidate.loss)


def repeats(text: str) -> bool:
    """Whether a text repeats itself.

    It does if four words in a row occur twice, if two or three words come again at once, or if a
    word comes thrice in a row.
    """
    words = _words(text)
    number = {word: i for i, word in enumerate(words)}
    loops = any(
        words[i : i + n] * (times - 1) == words[i + n : i + n * times]
        for n, times in ((1, 3), (2, 2), (3, 2))
        for i in range(len(words) - n * times + 1)
    )
    return loops or repetition_rate([number[word] for word in words]) > 0


def echoes(question: str, text: str) -> bool:
    """Whether a reply gives the question back: all of it, or five of its words in a row.

    A question of one or two words is a greeting, which a longer reply may begin with.
    """
    asked, said = _words(question), _words(text)
    n = min(len(asked), ECHO)
    if n <= GREETING:
        return asked == said
    stretches = {tuple(asked[i : i + n]) for i in range(len(asked) - n + 1)}
    return any(tuple(said[i : i + n]) in stretches for i in range(len(said)))


def unfinished(answer: Reply) -> bool:
    """Whether a reply was cut off, has no word, or does not end as a sentence does."""
    instance("answer", answer, Reply)
    return not (answer.ended and _words(answer.text) and answer.text.rstrip().endswith(ENDS))


def _words(text: str) -> list[str]:
    """The words of a text in lower case, without the punctuation around them."""
    stripped = (word.strip(punctuation) for word in whole_text("The text", text).lower().split())
    return [word for word in stripped if word]
