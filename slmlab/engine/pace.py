"""Measures speed as training goes; from it, plans a time budget and foresees the end."""

import math
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from slmlab.engine.config import TrainConfig, TrainState

EVALUATIONS = 10  # in a run whose eval_interval is not given


class Pace:
    """How fast a training goes, and what is left of its plan; kept up to date in the state.

    Time spent inside `step()` and `evaluation()` counts; what the caller does in between does not.
    """

    def __init__(self, config: TrainConfig, state: TrainState) -> None:
        self.state = state
        self.budget = config.seconds if config.seconds is not None else math.inf
        self.eval_interval = config.eval_interval
        self._steps: deque[float] = deque(maxlen=50)  # seconds of the latest steps
        self._evaluation = 0.0  # seconds of the latest evaluation
        self._measured = 0.0  # seconds of all steps of this sitting

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time a step."""
        began = time.perf_counter()
        yield
        spent = time.perf_counter() - began
        self._steps.append(spent)
        self._measured += spent
        self.state.seconds += spent
        if self.state.planned_steps is None and self._knows_speed():
            left = 0.97 * self.budget - self.state.seconds - EVALUATIONS * self._evaluation
            # The first step is slower than the rest (caches, allocations), so it is left out.
            more = left / statistics.median(list(self._steps)[1:])
            self.state.planned_steps = self.state.step + 1 + max(1, int(more))

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Time an evaluation."""
        began = time.perf_counter()
        yield
        self._evaluation = time.perf_counter() - began
        self.state.seconds += self._evaluation

    def _knows_speed(self) -> bool:
        """A tenth of the budget is enough to plan the rest; so are 2 seconds."""
        return len(self._steps) > 3 and self._measured > min(2.0, 0.1 * self.budget)

    def is_over(self) -> bool:
        """Whether the plan, or the time, is used up."""
        return self.state.step == self.state.planned_steps or self.state.seconds >= self.budget

    def evaluation_is_due(self) -> bool:
        """Whether the step just made is one to evaluate at."""
        planned = self.state.planned_steps
        if planned is None:
            return False
        interval = max(1, planned // EVALUATIONS)
        if self.eval_interval is not None:
            # A budget may allow fewer steps than the interval was chosen for.
            budgeted = self.budget < math.inf
            interval = min(interval, self.eval_interval) if budgeted else self.eval_interval
        return self.state.step % interval == 0

    def eta(self) -> float | None:
        """Seconds to the end of the plan, evaluations apart; None before speed is known."""
        if self.state.status != "running":
            return 0.0
        if not self._steps or self.state.planned_steps is None:
            return None
        return statistics.median(self._steps) * (self.state.planned_steps - self.state.step)
