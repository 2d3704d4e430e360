"""Training in a thread, so that a notebook stays usable meanwhile; one run at a time."""

import atexit
import threading
import time
from typing import Protocol

from slmlab.engine.config import Progress
from slmlab.engine.runs import Run
from slmlab.study.setups import Setup


class Viewer(Protocol):
    """Who is told how a training goes. Both are called in the worker's thread."""

    def on_progress(self, run: Run, now: Progress) -> None:
        """After every step."""

    def on_end(self, run: Run | None, problem: str) -> None:
        """At the end; `problem` is a sentence, or empty; the run so far, if it had begun."""


class Worker:
    """The training of one set-up. Start it with `Worker.start`.

    Attributes:
        viewer: who is told; may be replaced while training, by a panel that was opened anew.
        run: the run so far, None before its first evaluation.
        began: day and time, such as "20261231-235959".
    """

    current: "Worker | None" = None

    def __init__(self, setup: Setup, viewer: Viewer) -> None:
        self.setup = setup
        self.viewer = viewer
        self.run: Run | None = None
        self.began = time.strftime("%Y%m%d-%H%M%S")
        self._stop = threading.Event()
        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = threading.Thread(target=self._work, daemon=True, name="slmlab-training")

    @classmethod
    def start(cls, setup: Setup, viewer: Viewer) -> "Worker":
        """Begin to train. Raises `RuntimeError` while another training is under way."""
        if cls.current is not None and cls.current.is_alive():
            raise RuntimeError(f"{cls.current.setup} is still training; stop it first.")
        cls.current = cls(setup, viewer)
        cls.current._thread.start()
        return cls.current

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the training after the step at hand; what was trained is kept."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Until the training has ended."""
        self._thread.join(seconds)

    def _work(self) -> None:
        problem = ""
        try:
            self.run = self.setup.train(
                progress=False,
                sample_each_evaluation=True,
                on_step=self._show,
                stop=self._stop,
            )
        except Exception as error:  # whatever it is, the panel must say it
            problem = f"Training ended: {error}"
        told = None
        while told is not self.viewer:  # a panel that is opened meanwhile is told as well
            told = self.viewer
            told.on_end(self.run, problem)

    def _show(self, run: Run, now: Progress) -> None:
        self.run = run
        self.viewer.on_progress(run, now)


@atexit.register
def _end() -> None:
    """PyTorch must not be in the middle of a step when the interpreter goes."""
    if Worker.current is not None:
        Worker.current.stop()
        Worker.current.wait(5)
