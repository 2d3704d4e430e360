"""Training in a thread, so that a notebook stays usable meanwhile; one run at a time."""

import atexit
import threading
from collections.abc import Iterator
from datetime import datetime
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
        run: the run so far, None before its first evaluation.
        began: day and time to the millisecond, such as "20261231-235959-999"; no two are the same.
    """

    current: "Worker | None" = None

    def __init__(self, setup: Setup, viewer: Viewer) -> None:
        self.setup = setup
        self.run: Run | None = None
        self.began = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        self._viewers = [viewer]
        self._all_told = False
        self._telling = threading.Lock()  # held while it is decided who is still to be told
        self._stop = threading.Event()
        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = threading.Thread(target=self._work, daemon=True, name="slmlab-training")

    @classmethod
    def start(cls, setup: Setup, viewer: Viewer) -> "Worker":
        """Begin to train. Raises `RuntimeError` while another training is under way."""
        if cls.is_training():
            raise RuntimeError(f"{cls.current.setup} is still training; stop it first.")
        cls.current = cls(setup, viewer)
        cls.current._thread.start()
        return cls.current

    @classmethod
    def is_training(cls) -> bool:
        """Whether a training is under way."""
        worker = cls.current
        return worker is not None and worker._thread.is_alive() and not worker._all_told

    def tell(self, viewer: Viewer) -> bool:
        """Tell one more viewer from now on; False if the training has ended and all were told."""
        with self._telling:
            if not self.is_training():
                return False
            if viewer not in self._viewers:
                self._viewers.append(viewer)
        return True

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
        for viewer in self._each_viewer():
            viewer.on_end(self.run, problem)

    def _each_viewer(self) -> Iterator[Viewer]:
        """Every viewer once, those included that come while the others are told."""
        told = 0
        while True:
            with self._telling:
                if told == len(self._viewers):
                    self._all_told = True
                    return
            yield self._viewers[told]
            told += 1

    def _show(self, run: Run, now: Progress) -> None:
        self.run = run
        for viewer in list(self._viewers):
            viewer.on_progress(run, now)


@atexit.register
def _end() -> None:
    """PyTorch must not be in the middle of a step when the interpreter goes."""
    if Worker.current is not None:
        Worker.current.stop()
        Worker.current.wait(5)
