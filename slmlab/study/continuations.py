"""How well a model goes on with a text, beside how the text itself goes on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.decoding import Decoding
from slmlab.engine.evaluation import LanguageModel, evaluating, require_model
from slmlab.engine.generation import decoded, generate_tokens
from slmlab.engine.python_prefix import can_become_python
from slmlab.study.accuracy import domain_examples, held_out_functions, loop_length, spread
from slmlab.study.domain import corpus_names
from slmlab.study.memorisation import COPY_NGRAM, share
from slmlab.study.samples import names_used, parses, repetition_rate
from slmlab.text.dataset import listed_ids, require_ids
from slmlab.text.passages import known_passages
from slmlab.text.tokenizer import ChatTokenizer, Tokenizer
from slmlab.validation import instance, whole_number, whole_text

MAX_TOKENS = 64  # that a model writes
SCRIPTS = "scripts"
TRUTH = "the truth"  # in the place of a decoder's name
GROUPS = 5  # of tasks without files, as many as there are held-out scripts


@dataclass(frozen=True)
class Task:
    """A text to continue, and how it goes on.

    Attributes:
        kind: of text: "scripts", "dialogues" or "puzzles".
        file: which it is of; of dialogues and puzzles, one of five groups of them.
        prompt: token ids.
        truth: what follows, at most `MAX_TOKENS` ids, without the end marker.
        end: the end marker's id; None if a model writes as many tokens as the truth has.

    Raises `ValueError` for something else.
    """

    kind: str
    file: str
    prompt: tuple[int, ...]
    truth: tuple[int, ...]
    end: int | None = None

    def __post_init__(self) -> None:
        for name in ("kind", "file"):
            whole_text(name, getattr(self, name))
        for name in ("prompt", "truth"):
            object.__setattr__(self, name, tuple(listed_ids(name, getattr(self, name))))
        if self.end is not None:
            object.__setattr__(self, "end", whole_number("end", self.end))

    @property
    def whole_truth(self) -> tuple[int, ...]:
        """What follows, with the end marker, if there is one and it was not cut off."""
        return self.truth + (self.end,) * (self.end is not None and len(self.truth) < MAX_TOKENS)


class Attempt(NamedTuple):
    """What a model wrote: token ids, with the end marker if it came, and the seconds that took."""

    ids: tuple[int, ...]
    seconds: float


def script_tasks(tokenizer: Tokenizer) -> list[Task]:
    """Each of `held_out_functions`, its first half as the prompt."""
    tasks = []
    for script, part in held_out_functions():
        ids = tokenizer.encode(part)
        half = (len(ids) + 1) // 2
        prompt, truth = ids[:half], ids[half : half + MAX_TOKENS]
        tasks.append(Task(SCRIPTS, script, tuple(prompt), tuple(truth)))
    return tasks


def domain_tasks(tokenizer: ChatTokenizer, n: int) -> list[Task]:
    """n held-out texts of each domain, evenly spread (see `domain_examples`), with end markers."""
    tasks = []
    scripts = [script for script, _ in held_out_functions()]
    for kind, examples in domain_examples(tokenizer, held_out=True).items():
        files = scripts if kind == SCRIPTS else [f"{kind} {i % GROUPS + 1}" for i in range(n)]
        for example, file in zip(spread(examples, n), spread(files, n), strict=True):
            ids, half = tuple(example.ids.tolist()), example.n_prompt
            truth = ids[half:-1][:MAX_TOKENS]
            tasks.append(Task(kind, file, ids[:half], truth, tokenizer.end))
    return tasks


def attempt(model: LanguageModel, tokenizer: Tokenizer, task: Task, decoding: Decoding) -> Attempt:
    """What a model writes after a task's prompt.

    Raises `ValueError` for something else than these, and as `generate_tokens` does.
    """
    instance("tokenizer", tokenizer, Tokenizer)
    instance("task", task, Task)
    instance("decoding", decoding, Decoding)
    prompt = decoded(tokenizer, task.prompt)

    def allowed(new: list[int]) -> bool:
        return can_become_python(prompt + decoded(tokenizer, new))

    begin = perf_counter()
    ids = generate_tokens(
        model,
        task.prompt,
        len(task.truth) if task.end is None else MAX_TOKENS,
        decoding,
        ended=None if task.end is None else lambda new: new[-1] == task.end,
        allowed=allowed if decoding.python else None,
    )
    return Attempt(tuple(ids), perf_counter() - begin)


def continuation_score(
    model: LanguageModel, tokenizer: Tokenizer, task: Task, text: Attempt, training: Tensor
) -> dict[str, float]:
    """What a text is worth, a number for each measure.

    - `parses`: whether prompt and text are, or may yet become, Python (see
      `slmlab.study.samples.parses`); `domain_names`: how many different ones the text has. Both are
      NaN for another kind of text than scripts.
    - `similarity`: that of `edit_similarity` to the truth; `exact`: whether it is the truth.
    - `repetition`, `copied`: the shares of its 4-token sequences that repeat, and of its 8-token
      sequences that the ids `training` have; NaN for a text too short for one.
    - `loop`: whether it ends in one (see `loop_length`).
    - `nats`: minus its log-probability to the model, without filters; `tokens`: how many these are.

    Raises `ValueError` for something else than these, or a text without tokens.
    """
    instance("tokenizer", tokenizer, Tokenizer)
    instance("task", task, Task)
    instance("text", text, Attempt, "what lab.continuations.attempt(…) returns")
    require_ids("training", training)
    ids = listed_ids("text.ids", text.ids)
    new = list(takewhile(lambda token: token != task.end, ids))
    written, truth = decoded(tokenizer, new), decoded(tokenizer, task.truth)
    [known] = known_passages([np.array(new, dtype=np.int64)], training.numpy(), COPY_NGRAM)
    of_code = task.kind == SCRIPTS
    losses = generated_losses(model, [*task.prompt, *ids], len(task.prompt))
    return {
        "parses": parses(decoded(tokenizer, task.prompt) + written) if of_code else math.nan,
        "similarity": edit_similarity(written, truth),
        "exact": written == truth,
        "repetition": repetition_rate(new),
        "loop": loop_length(new) > 0,
        "copied": share(known),
        "domain_names": names_used(written, corpus_names()) if of_code else math.nan,
        "nats": losses.double().sum().item(),
        "tokens": len(losses),
    }


def edit_similarity(a: str, b: str) -> float:
    """Share of the characters of two texts that stay where one is edited into the other: 0 to 1.

    1 − (insertions + deletions) / (characters of both), by the fewest edits, as code completion
    is scored (CodeXGLUE, Lu et al. 2021); 1 for two empty texts.
    """
    from rapidfuzz.distance import Indel

    return float(Indel.normalized_similarity(whole_text("a", a), whole_text("b", b)))


def generated_losses(model: LanguageModel, ids: Sequence[int], n_prompt: int) -> Tensor:
    """Losses in nats of the tokens after a prompt, (N − n_prompt,), of ids (N,).

    Minus their sum is the text's log-probability to the model, without any filter. See
    `generated_logits` for what each is computed from.
    """
    logits = generated_logits(model, ids, n_prompt)
    return F.cross_entropy(logits, torch.tensor(ids[n_prompt:]), reduction="none")


def generated_logits(model: LanguageModel, ids: Sequence[int], n_prompt: int) -> Tensor:
    """Logits (N − n_prompt, V) of the tokens after a prompt, of ids (N,), as in generating them.

    Each is seen as `generate_tokens` sees it: after the prompt and at most the last `block_size`
    tokens. Raises `ValueError` for what is no model, no ids, or a prompt that leaves none.
    """
    require_model(model)
    text = torch.tensor(listed_ids("ids", ids), device=model.device)
    n_prompt = whole_number("n_prompt", n_prompt, 1, len(text) - 1)
    block = model.config.block_size
    shifted = [text[end - block : end] for end in range(max(block + 1, n_prompt), len(text))]
    with evaluating(model):
        parts = [model(text[None, :-1][:, :block])[0, n_prompt - 1 :]]
        if shifted:
            parts.append(model.next_logits(torch.stack(shifted)))
    return torch.cat(parts).float().cpu()
