"""A calibration teacher: a copy of a model as it was, to see how far the model has gone since."""

import tempfile
import weakref
from copy import deepcopy
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.evaluation import evaluating
from slmlab.engine.model import GPT
from slmlab.text.dataset import require_ids
from slmlab.validation import instance, truth_values


class Teacher:
    """A copy of a model as it is now; what it says is compared with what the model says later.

    Attributes:
        off_loaded: whether its weights lie on the disk between two comparisons, not in memory.
        held: bytes of its weights in memory now.
        most: the same, at most so far.

    Raises `ValueError` for something else than a model.
    """

    def __init__(self, model: GPT, off_loaded: bool = False) -> None:
        truth_values(off_loaded=off_loaded)
        self.off_loaded, self.most = off_loaded, 0
        self._model = deepcopy(instance("model", model, GPT)).eval().requires_grad_(False)
        self._measure()
        if off_loaded:
            folder = tempfile.TemporaryDirectory()
            weakref.finalize(self, folder.cleanup)
            self._file = Path(folder.name) / "teacher.safetensors"
            safetensors.torch.save_file(self._model.state_dict(), self._file)
            self._model.to("meta")  # its shapes, without any memory

    @property
    def held(self) -> int:
        weights = self._model.parameters()
        return sum(p.numel() * p.element_size() for p in weights if not p.is_meta)

    def divergence(self, model: GPT, ids: Tensor) -> float:
        """How far the model's next-token probabilities are from the teacher's, in nats a token.

        The mean Kullback–Leibler divergence KL(teacher ‖ model) over the tokens of ids (N,), read
        in windows of a context; 0 if they agree. Raises `ValueError` for something else than ids,
        or none.
        """
        instance("model", model, GPT)
        require_ids("ids", ids)
        if not len(ids):
            raise ValueError("ids are empty; give at least one token to compare models on.")
        total = 0.0
        try:
            if self.off_loaded:
                weights = safetensors.torch.load_file(self._file)
                self._model.load_state_dict(weights, assign=True)
            self._measure()
            with evaluating(model), torch.no_grad():
                for window in ids.split(model.config.block_size):
                    theirs = self._model(window[None]).log_softmax(-1)
                    ours = model(window[None]).log_softmax(-1)
                    total += float(F.kl_div(ours, theirs, reduction="sum", log_target=True))
        finally:
            if self.off_loaded:
                self._model.to("meta")
        return total / len(ids)

    def _measure(self) -> None:
        self.most = max(self.most, self.held)
