"""What a training holds in memory, counted in bytes of tensors; the same on every computer."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slmlab.engine.config import TrainConfig
from slmlab.engine.experts import ExpertConfig
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.training import fit
from slmlab.study.teacher import Teacher
from slmlab.text.dataset import Dataset
from slmlab.validation import instance, listed, truth_values, whole_number

if TYPE_CHECKING:
    import pandas as pd

MB = 1_000_000


def training_bytes(model: GPT, batch_size: int) -> dict[str, int]:
    """What a step holds: "parameters", "gradients", "moments" and, kept for the backward pass,
    "activations".

    The activations are those of one step of a copy of the model on random tokens, counted as
    autograd keeps them; each once, and without the parameters among them. Raises `ValueError` for
    something else than a model and a batch size.
    """
    model = deepcopy(instance("model", model, GPT)).train()  # a step can move a router's bias
    c, batch_size = model.config, whole_number("batch_size", batch_size, 1)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(c.vocab_size, (batch_size, c.block_size + 1), generator=generator)
    own = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a result that keeps itself would never go away

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss(ids[:, :-1], ids[:, 1:])  # alive until all is counted
    activations = sum(kept.values())
    del loss
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    size = sum(n_bytes for n_bytes, _ in sizes)
    return {
        "parameters": size,
        "gradients": sum(n_bytes for n_bytes, learns in sizes if learns),
        "moments": 2 * size,
        "activations": activations,
    }


def expert_memory(
    shape: GPTConfig, width: int, batch_size: int, numbers: Sequence[int] = (2, 4, 8, 16, 32, 64)
) -> "pd.DataFrame":
    """What models with more and more experts hold, of which two take each token.

    A row for each of the `numbers` of experts, each `width` wide. Columns, in millions:
    `parameters` and `active` ones; in MB: those of `training_bytes`, and `all` of them. Raises
    `ValueError` for what `ExpertConfig` refuses.
    """
    import pandas as pd

    instance("shape", shape, GPTConfig)
    values = {setting.name: getattr(shape, setting.name) for setting in fields(GPTConfig)}
    rows = {}
    for n in listed("numbers", numbers, "numbers of experts"):
        config = ExpertConfig(**values, n_expert=n, n_active=2, expert_width=width)
        found = training_bytes(GPT(config), batch_size)
        sizes = {"parameters": config.n_params / 1e6, "active": config.active_params / 1e6}
        megabytes = {f"{name} (MB)": held / MB for name, held in found.items()}
        rows[n] = sizes | megabytes | {"all (MB)": sum(found.values()) / MB}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("experts")


def teacher_trace(
    model: GPT, dataset: Dataset, config: TrainConfig, off_loaded: bool, every: int = 5
) -> "pd.DataFrame":
    """Train in three phases of equal length, with a `Teacher` from the second on, and watch.

    One row a step: `step`, `phase` (A, B or C), `MB` held at most in that step, the teacher's
    weights included, and `divergence` from the teacher, compared at each step that `every`
    divides (else NaN), on the first window of the text. Raises `ValueError` for a training of
    another length than a number of steps that 3 divides.
    """
    import pandas as pd

    truth_values(off_loaded=off_loaded)
    every = whole_number("every", every, 1)
    steps = instance("config", config, TrainConfig).max_steps
    if steps is None or steps % 3:
        raise ValueError("The training needs max_steps that can be divided by 3, a phase each.")
    instance("dataset", dataset, Dataset)
    own = sum(training_bytes(model, config.batch_size).values())
    text = dataset.train[: model.config.block_size]
    teacher: Teacher | None = None
    rows = []
    for now in fit(model, dataset, config):
        if now.step:
            phase = "ABC"[(now.step - 1) * 3 // steps]
            row = {"step": now.step, "phase": phase, "divergence": float("nan")}
            held = teacher.held if teacher else 0
            if teacher and now.step % every == 0:
                row["divergence"] = teacher.divergence(model, text)
                held = teacher.most
            rows.append(row | {"MB": (own + held) / MB})
        if now.step == steps // 3:
            teacher = Teacher(model, off_loaded)
    return pd.DataFrame(rows)
