"""What experiments write down of a run at a look: losses, and how good its samples are."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slmlab.engine.evaluation import LanguageModel, strided_bits
from slmlab.engine.runs import Run
from slmlab.engine.training import fit
from slmlab.study.domain import PROMPTS
from slmlab.study.experiments.protocol import Rows
from slmlab.study.samples import scorecard
from slmlab.study.setups import Setup
from slmlab.text.dataset import Dataset

SAMPLE_COLUMNS = ("parses", "repetition", "domain_names", "copied")
COLUMNS: dict[str, type] = {
    "params": int,
    "step": int,
    "epochs": float,
    "train_loss": float,
    "val_loss": float,
    "train_bits": float,
    "val_bits": float,
    **dict.fromkeys(SAMPLE_COLUMNS, float),
    "seconds": float,
}
TRAIN_TOKENS = 4_000  # of the training text in a look: about as many as the held-out scripts have
STRETCHES = 4  # that they are taken from, so that they are not of one script


def observed(setup: Setup, looks: Sequence[int], is_over: Callable[[Rows], bool]) -> Rows:
    """Train a set-up, and look at it at the steps `looks`, until `is_over(rows)` or the last one.

    A row has the `COLUMNS`. Both losses are strided: every token has at least half a context. They
    are given in nats per token of the text that they are on and, to compare them, in bits per
    byte. Every second look is sampled too; the others have no measures of samples (NaN).
    """
    setup = setup.replace(max_steps=looks[-1], eval_interval=looks[-1])
    dataset = setup.dataset(tested=False)
    model = setup.model(dataset.tokenizer.n_vocab)
    run = Run(model, dataset, setup.training, prompts=PROMPTS, name=str(setup))
    rows: Rows = []
    for now in fit(model, dataset, setup.training, run.state):
        if now.step not in looks:
            continue
        if sampled := len(rows) % 2 == 0:
            run.samples += [run.take_sample(prompt) for prompt in PROMPTS]
        samples = (
            sample_means(run, now.step) if sampled else dict.fromkeys(SAMPLE_COLUMNS, math.nan)
        )
        facts = {"params": model.n_params, "step": now.step, "epochs": now.epochs}
        rows.append(facts | losses(model, dataset) | samples | {"seconds": now.seconds})
        if is_over(rows):
            break
    return rows


def sample_means(run: Run, step: int) -> dict[str, float]:
    """The `SAMPLE_COLUMNS`: means over the samples taken at a step (see `scorecard`)."""
    card = scorecard(run, step)
    return {name: float(card[name.replace("_", " ")].mean()) for name in SAMPLE_COLUMNS}


def losses(model: LanguageModel, dataset: Dataset) -> dict[str, float]:
    """Strided losses on the training and the validation text: nats per token, and bits per byte.

    Of a long training text, `TRAIN_TOKENS` in a few stretches. Keys: train_loss, val_loss,
    train_bits, val_bits.
    """
    texts = {"train": _stretches(dataset.train), "val": [dataset.val]}
    per_token, per_byte = {}, {}
    for kind, stretches in texts.items():
        parts = [strided_bits(model, dataset.tokenizer, ids) for ids in stretches]
        bits, n_bytes = (sum(column) for column in zip(*parts, strict=True))
        per_token[f"{kind}_loss"] = bits * math.log(2) / sum(len(ids) - 1 for ids in stretches)
        per_byte[f"{kind}_bits"] = bits / n_bytes
    return per_token | per_byte


def _stretches(ids: Tensor) -> list[Tensor]:
    """A text (N,) of up to `TRAIN_TOKENS`, or evenly spread stretches of a longer one."""
    if len(ids) <= TRAIN_TOKENS:
        return [ids]
    length = TRAIN_TOKENS // STRETCHES
    starts = torch.linspace(0, len(ids) - length, STRETCHES).round().int()
    return [ids[start : start + length] for start in starts.tolist()]
