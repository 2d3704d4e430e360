"""How well a model answers: what its answers cost, and what it replies."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from slmlab.engine.evaluation import LanguageModel, strided_losses
from slmlab.text.dialogues import Dialogue, render
from slmlab.text.tokenizer import ChatTokenizer
from slmlab.validation import instances

if TYPE_CHECKING:
    import pandas as pd


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
