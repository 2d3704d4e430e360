"""How well a model goes on with a script, beside how the script itself goes on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.evaluation import LanguageModel, evaluating, require_model
from slmlab.engine.generation import decoded
from slmlab.study.accuracy import held_out_functions, loop_length
from slmlab.study.domain import corpus_names
from slmlab.study.memorisation import COPY_NGRAM, share
from slmlab.study.samples import names_used, parses, repetition_rate
from slmlab.text.dataset import id_array, listed_ids
from slmlab.text.passages import known_passages
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import whole_number, whole_text

MAX_TOKENS = 64  # that a model writes


@dataclass(frozen=True)
class Task:
    """The first half of a function of a script, as token ids, and how it goes on there."""

    script: str  # its file's name
    prompt: tuple[int, ...]
    truth: tuple[int, ...]  # at most `MAX_TOKENS`


def held_out_tasks(tokenizer: Tokenizer) -> tuple[Task, ...]:
    """A task for each of `held_out_functions`."""
    tasks = []
    for script, part in held_out_functions():
        ids = tokenizer.encode(part)
        half = (len(ids) + 1) // 2
        prompt, rest = ids[:half], ids[half : half + MAX_TOKENS]
        tasks.append(Task(script, tuple(prompt), tuple(rest)))
    return tuple(tasks)


def continuation_score(
    tokenizer: Tokenizer, task: Task, new: Sequence[int], training: Tensor
) -> dict[str, float]:
    """What a continuation of a task's prompt is worth, each measure between 0 and 1 but the names.

    `parses` says whether prompt and continuation are, or may yet become, Python (see
    `slmlab.study.samples.parses`); `similarity` is that of `edit_similarity` to the truth;
    `repetition` and `copied` are the shares of the new text's 4-token sequences that repeat, and of
    its 8-token sequences that the ids `training` have (NaN for a text too short); `loop` whether
    it ends in one (see `loop_length`); `domain_names` counts different ones.
    """
    new = listed_ids("new", new)
    text = decoded(tokenizer, new)
    [known] = known_passages([id_array("new", new)], training.numpy(), COPY_NGRAM)
    return {
        "parses": float(parses(decoded(tokenizer, task.prompt) + text)),
        "similarity": edit_similarity(text, decoded(tokenizer, task.truth)),
        "repetition": repetition_rate(new),
        "loop": float(loop_length(new) > 0),
        "copied": share(known),
        "domain_names": float(names_used(text, corpus_names())),
    }


def edit_similarity(a: str, b: str) -> float:
    """Share of the characters of two texts that stay where one is edited into the other: 0 to 1.

    1 − (insertions + deletions) / (characters of both), by the fewest edits, as code completion
    is scored (CodeXGLUE, Lu et al. 2021); 1 for two empty texts. A slip of a letter costs little
    wherever it is.
    """
    from rapidfuzz.distance import Indel

    return float(Indel.normalized_similarity(whole_text("a", a), whole_text("b", b)))


def generated_losses(model: LanguageModel, ids: Sequence[int], n_prompt: int) -> Tensor:
    """Losses in nats of the tokens after a prompt, (N − n_prompt,), of ids (N,).

    Each is seen as `generate_tokens` sees it: after the prompt and at most the last `block_size`
    tokens. So minus their sum is the text's log-probability to the model, without any filter.
    Raises `ValueError` for what is no model, no ids, or a prompt that leaves none.
    """
    require_model(model)
    text = torch.tensor(listed_ids("ids", ids))
    n_prompt = whole_number("n_prompt", n_prompt, 1, len(text) - 1)
    block = model.config.block_size
    shifted = [text[end - block : end] for end in range(max(block + 1, n_prompt), len(text))]
    with evaluating(model):
        parts = [model(text[None, :-1][:, :block])[0, n_prompt - 1 :]]
        if shifted:
            parts.append(model.next_logits(torch.stack(shifted)))
    return F.cross_entropy(torch.cat(parts).cpu(), text[n_prompt:], reduction="none")
