"""Training in a thread, so that a notebook stays usable meanwhile; one run at a time."""

import atexit
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from slmlab.engine.config import Progress
from slmlab.engine.runs import Run
from slmlab.show.widgets.looks import Looks
from slmlab.study.setups import Setup


class Viewer(Protocol):
    """Who is told how a training goes. Both are called in the worker's thread."""

    def on_progress(self, run: Run, now: Progress, worker: "Worker") -> None:
        """Whenever there is something new to show: at every look, exact or cheap."""

    def on_end(self, run: Run | None, problem: str, worker: "Worker") -> None:
        """At the end; `problem` is a sentence, or empty; the run so far, if it had begun."""


class Worker:
    """The training of one set-up. Start it with `Worker.start`.

    Attributes:
        began: day and time to the millisecond, such as "20261231-235959-999", which no two
            trainings of a kernel have in common.
        looks: what the training looks like between its exact evaluations.
    """

    latest: "Worker | None" = None

    def __init__(self, setup: Setup, viewer: Viewer) -> None:
        self.setup = setup
        self._run: Run | None = None
        self.began = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        self.looks = Looks()
        self._viewers = [viewer]
        self._all_told = False
        self._telling = threading.Lock()  # held while it is decided who is still to be told
        self._stop = threading.Event()
        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = threading.Thread(target=self._work, daemon=True, name="slmlab-training")

    @classmethod
    def start(cls, setup: Setup, viewer: Viewer) -> "Worker":
        """Begin to train. Raises `RuntimeError` while another training is under way."""
        if other := cls.under_way():
            raise RuntimeError(f"{other.setup} is still training; stop it first.")
        cls.latest = cls(setup, viewer)
        cls.latest._thread.start()
        return cls.latest

    @classmethod
    def under_way(cls) -> "Worker | None":
        """The training that is under way, if there is one."""
        worker = cls.latest
        training = worker is not None and worker._thread.is_alive() and not worker._all_told
        return worker if training else None

    def tell(self, viewer: Viewer) -> bool:
        """Tell one more viewer from now on; False if the training has ended and all were told."""
        with self._telling:
            if self._all_told:
                return False
            if viewer not in self._viewers:
                self._viewers.append(viewer)
        return True

    def stop(self) -> None:
        """End the training after the step at hand; what was trained is kept."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether somebody has stopped it."""
        return self._stop.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """Until the training has ended."""
        self._thread.join(seconds)

    def _work(self) -> None:
        problem = ""
        try:
            self._run = self.setup.train(
                progress=False,
                sample_each_evaluation=True,
                on_step=self._show,
                stop=self._stop,
            )
        except Exception as error:  # whatever it is, the panel must say it
            problem = f"Training ended: {error}"
        for viewer in self._each_viewer():
            viewer.on_end(self._run, problem, self)

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
        self._run = run
        if self.looks.see(run, now):
            for viewer in list(self._viewers):
                viewer.on_progress(run, now, self)


@atexit.register
def _end() -> None:
    """PyTorch must not be in the middle of a step when the interpreter goes."""
    if worker := Worker.under_way():
        worker.stop()
        worker.wait(5)
