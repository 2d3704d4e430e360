"""Cheap looks at a training between its exact evaluations, so that a chart moves from the start."""

import time

import torch

from slmlab.engine.config import Progress
from slmlab.engine.evaluation import mean_loss
from slmlab.engine.runs import Run
from slmlab.show.plots.strokes import bits_per_nat

EVERY = 0.2  # seconds between two looks
SHARE = 0.05  # of the time, at most, that looks at the held-out text may take
MOST = 300  # looks that are kept; with more, every second one goes and the next come half as often

Points = list[tuple[int, float]]  # step, bits per byte


class Looks:
    """What a training looked like since it began, in bits per byte.

    A look takes the mean loss of the batches since the look before, which costs nothing. It also
    measures some windows of the held-out text, always the same, twice as many as a batch has: what
    their loss changed by since the last exact evaluation is added to that evaluation's. Nothing
    here decides anything, and the training does not notice.

    Attributes:
        batches: mean loss of the training batches; none with label smoothing, whose loss is not
            comparable.
        held_out: estimates of the held-out loss.
    """

    def __init__(self) -> None:
        self.batches: Points = []
        self.held_out: Points = []
        self._every = EVERY
        self._last = self._last_held_out = time.monotonic()
        self._cost = 0.0  # seconds of a look at the held-out text
        self._losses: list[float] = []  # of the batches since the last look
        self._offset = 0.0  # the exact loss less that of the windows, in nats per token

    def see(self, run: Run, now: Progress) -> bool:
        """Take note of a step; True if there is something new to draw."""
        if now.batch_loss is not None:
            self._losses.append(now.batch_loss)
        if now.test_loss is not None:
            self._offset = now.test_loss - self._measured(run)
        elif time.monotonic() - self._last < self._every:
            return False
        self._last = time.monotonic()
        self._note_batches(run, now.step)
        waited = self._last - self._last_held_out
        if now.test_loss is None and waited >= self._cost / SHARE:
            bits = bits_per_nat(run, "test") * (self._measured(run) + self._offset)
            self.held_out.append((now.step, bits))
        self._thin_out()
        return True

    def _note_batches(self, run: Run, step: int) -> None:
        if self._losses and not run.config.label_smoothing:
            mean = sum(self._losses) / len(self._losses)
            self.batches.append((step, bits_per_nat(run, "train") * mean))
        self._losses = []

    def _measured(self, run: Run) -> float:
        """Loss in nats per token on the fixed windows of the held-out text."""
        began = time.monotonic()
        ids, block = run.dataset.test, run.model.config.block_size
        starts = None  # a text shorter than the context is one window
        if len(ids) > block:
            count = min(2 * run.config.batch_size, (len(ids) - 1) // block)
            starts = [round(x) for x in torch.linspace(0, len(ids) - block - 1, count).tolist()]
        with run.state.lock:  # another thread may be asking the model for a sample
            loss = mean_loss(run.model, ids, starts)
        self._last_held_out = time.monotonic()
        self._cost = self._last_held_out - began
        return loss

    def _thin_out(self) -> None:
        if len(self.batches) > MOST or len(self.held_out) > MOST:
            self.batches, self.held_out = self.batches[1::2], self.held_out[1::2]
            self._every *= 2
