"""Measures speed as training goes; from it, plans a time budget and foresees the end."""

import math
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from slmlab.engine.config import TrainConfig, TrainState

EVALUATIONS = 10  # in a run whose eval_interval is not given
EARLY = 0.05  # of a budget, for looks before the first of these


class Pace:
    """How fast a training goes, and what is left of its plan; kept up to date in the state.

    Time spent inside `step()` and `evaluation()` counts; what the caller does in between does not.
    """

    def __init__(self, config: TrainConfig, state: TrainState) -> None:
        self.state = state
        self.budget = config.seconds if config.seconds is not None else math.inf
        self.eval_interval = config.eval_interval
        # A look that finds nothing better would use up patience.
        self._for_early_looks = 0.0 if config.patience else EARLY * self.budget
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
        if self._is_early():
            self._for_early_looks -= self._evaluation

    def _knows_speed(self) -> bool:
        """A tenth of the budget is enough to plan the rest; so are 2 seconds."""
        return len(self._steps) > 3 and self._measured > min(2.0, 0.1 * self.budget)

    def is_over(self) -> bool:
        """Whether the plan, or the time, is used up."""
        return self.state.step == self.state.planned_steps or self.state.seconds >= self.budget

    def evaluation_is_due(self) -> bool:
        """Whether the step just made is one to evaluate at.

        Every so many steps; in a run with a budget also at steps 1, 2, 4, 8 and so on before the
        first of these, as far as a small part of the budget allows.
        """
        if self._is_early():
            step = self.state.step
            return step & (step - 1) == 0 and self._evaluation < self._for_early_looks
        return self.state.step % self._interval() == 0

    def _is_early(self) -> bool:
        """Whether there is a budget, and no regular evaluation yet."""
        return self.budget < math.inf and 0 < self.state.step < self._interval()

    def _interval(self) -> float:
        """Steps between regular evaluations: infinity as long as they are not planned."""
        planned = self.state.planned_steps
        if planned is None:
            return math.inf
        interval = max(1, planned // EVALUATIONS)
        if self.eval_interval is None:
            return interval
        # A budget may allow fewer steps than the interval was chosen for.
        return min(interval, self.eval_interval) if self.budget < math.inf else self.eval_interval

    def eta(self) -> float | None:
        """Seconds to the end of the plan, evaluations apart; None before speed is known."""
        if self.state.status != "running":
            return 0.0
        if not self._steps or self.state.planned_steps is None:
            return None
        return statistics.median(self._steps) * (self.state.planned_steps - self.state.step)
