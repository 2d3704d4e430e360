"""Distillation: one small model that learns from what others predict, not from the text alone."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.ensemble import Ensemble
from slmlab.engine.evaluation import evaluating
from slmlab.engine.fused_loss import counting
from slmlab.engine.model import GPT, GPTConfig
from slmlab.validation import real_number, shown

# As Baby Llama, whose student did better than its teachers on a small text (Timiryasov and Tastet
# 2023, arXiv:2308.02019).
SHARE = 0.5  # of the teacher's word in the training loss; the rest is the text's
TEMPERATURE = 2.0  # makes the teacher's probabilities flatter, and the student's beside them


class Student(GPT):
    """A GPT that is trained by `fit` to predict what a teacher predicts (Hinton et al. 2015).

    Only the loss in training differs from a GPT's: evaluations, samples and weights do not. So what
    a run of one saves is a GPT, with keep="best": it could not train on without the teacher.
    Raises `ValueError` for a teacher of another vocabulary.
    """

    def __init__(self, config: GPTConfig, teacher: GPT | Ensemble, seed: int = 0) -> None:
        super().__init__(config, seed)
        if not isinstance(teacher, GPT | Ensemble):
            raise ValueError(f"teacher is {shown(teacher)}; give a GPT, or an Ensemble of some.")
        if teacher.config.vocab_size != config.vocab_size:
            raise ValueError(
                f"The teacher has {teacher.config.vocab_size:,} vocabulary rows and the student "
                f"{config.vocab_size:,}; they must be the same tokens."
            )
        self._teacher: tuple[Any, ...] = (teacher,)  # a tuple, so that its weights are not ours

    @property
    def exchanged_parts(self) -> tuple[str, ...]:
        """Names of the classes in place of GPT-2's own; a student that was trained is a GPT."""
        return tuple(name for name in super().exchanged_parts if name != type(self).__name__)

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """In training: part cross-entropy with the targets, part with the teacher's probabilities.

        ids and targets (B, T); targets of −100 do not count. Raises `ValueError` for other targets,
        or a label smoothing outside 0 to 1.
        """
        if not self.training:
            return super().loss(idx, targets, label_smoothing)
        label_smoothing = real_number("label_smoothing", label_smoothing, least=0, most=1)
        [teacher] = self._teacher
        with evaluating(teacher):
            wanted = (teacher(idx) / TEMPERATURE).softmax(-1).flatten(0, 1)
        logits, labels = self(idx).flatten(0, 1), targets.flatten()
        counted = counting(labels, *logits.shape)
        if not counted.any():
            return logits.sum() * 0
        of_text = F.cross_entropy(logits[counted], labels[counted], label_smoothing=label_smoothing)
        log_p = (logits / TEMPERATURE).log_softmax(-1)
        of_teacher = -(wanted * log_p).sum(-1)[counted].mean()
        # Gradients of the flatter probabilities are smaller by the temperature's square.
        return (1 - SHARE) * of_text + SHARE * TEMPERATURE**2 * of_teacher
