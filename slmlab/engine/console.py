"""What a training needs of the terminal or notebook it was started from, none of which may end it.

A bar that nobody can read any more, a warning that cannot be printed, or a Ctrl-C in the middle of
a step: the training is worth more.
"""

import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Protocol, TextIO

from tqdm import tqdm

from slmlab.engine.config import Progress, TrainState
from slmlab.validation import instance

MEASURING = "measuring your machine …"
REFRESH = 0.25  # seconds between two pictures of a bar


class Bar:
    """One line on a training: steps, time left, latest losses.

    What cannot be shown costs the bar, never the training.
    """

    def __init__(self, title: str, state: TrainState, shown: bool) -> None:
        self._state = state
        self._losses = ""
        self._shown_at = -math.inf
        self._line: Line | None = None
        with suppress(Exception):
            if shown:
                self._line = make_line(title)
                self._show(MEASURING)

    def __enter__(self) -> "Bar":
        return self

    def show(self, now: Progress) -> None:
        """Where training stands after a step."""
        if now.val_loss is not None:
            self._losses = f" · train {now.train_loss:.2f} · val {now.val_loss:.2f}"
        if now.eta is None:
            self._show(MEASURING)
        else:
            self._show(f"{_duration(now.eta)} left{self._losses}")

    def __exit__(self, *_: object) -> None:
        self._shown_at = -math.inf
        self._show(f"{_duration(self._state.seconds)}{self._losses}")
        with suppress(Exception):
            if self._line is not None:
                self._line.end()

    def _show(self, said: str) -> None:
        moment = time.monotonic()
        if self._line is None or moment < self._shown_at + REFRESH:
            return
        self._shown_at = moment
        with suppress(Exception):  # nobody reads it, it is closed, the disk is full
            self._line.show(self._state.step, self._state.planned_steps, said)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def in_notebook() -> bool:
    """Whether what is printed goes to a notebook."""
    return type(sys.stdout).__module__.startswith("ipykernel")


class Line(Protocol):
    """What a bar is drawn with."""

    def show(self, step: int, planned: int | None, said: str) -> None: ...

    def end(self) -> None: ...


class TextLine:
    """A bar of letters, as wide as the terminal."""

    def __init__(self, title: str) -> None:
        # A notebook shows what is written to stderr as an error.
        file = sys.stdout if in_notebook() else sys.stderr
        self._title = title
        self._bar = tqdm(
            disable=file is None, file=Forgiving(file), dynamic_ncols=True, bar_format=MEASURING
        )

    def show(self, step: int, planned: int | None, said: str) -> None:
        self._bar.n, self._bar.total = step, planned
        title, said = (text.replace("{", "{{").replace("}", "}}") for text in (self._title, said))
        steps = " {n_fmt}/{total_fmt} |{bar}| " if planned else ": "
        self._bar.bar_format = f"{title}{steps}{said}"
        self._bar.refresh()

    def end(self) -> None:
        self._bar.close()


# Whoever has other means than text may put its own line here.
make_line: Callable[[str], Line] = TextLine


class Forgiving:
    """A stream for a bar. What it cannot write costs the bar, never the training."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(Exception):  # nobody reads it, the disk is full, it is closed
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode("ascii", "replace").decode())

    def flush(self) -> None:
        with suppress(Exception):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # its encoding, and whether it is a terminal


def warn(sentence: str) -> None:
    """Warn, if that is possible: not even a warning that was made an error ends a training."""
    with suppress(Exception):
        warnings.warn(sentence, stacklevel=2)


class Guard:
    """A handler of Ctrl-C that costs no training: once one has begun, it waits for the save.

    `deferred_interrupt` tells it that one has begun. Only if it `may_cut` does a second Ctrl-C cut
    a step in two. `came` says whether there was a Ctrl-C that it made wait.
    """

    def __init__(self, tell: Callable[[str], object], may_cut: bool, holds: bool) -> None:
        self._tell = tell
        self.may_cut, self.holds, self.came = may_cut, holds, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.holds:
            raise KeyboardInterrupt
        if not self.came:
            self.came = True
            with suppress(Exception):  # it may have come in the middle of another print
                self._tell("Saving; please wait.")


@contextmanager
def guarded(
    tell: Callable[[str], object], *, may_cut: bool = False, holds: bool = False
) -> Iterator[Guard]:
    """Keep what is trained inside, until it is saved there, however often Ctrl-C is pressed.

    With `holds` there is something to keep from the beginning. A guard around it goes on.
    """
    previous = signal.getsignal(signal.SIGINT)
    guard = previous if isinstance(previous, Guard) else Guard(tell, may_cut, holds)
    guard.holds |= holds
    if threading.current_thread() is not threading.main_thread():
        yield guard  # signals reach the main thread only
        return
    signal.signal(signal.SIGINT, guard)
    try:
        yield guard
    finally:
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)


@contextmanager
def deferred_interrupt(event: threading.Event) -> Iterator[threading.Event]:
    """Let the first Ctrl-C set the event, so that a step is not cut in two, and the second end it.

    A third one must not cut short what the second has begun. A signal of another kind that is
    passed on to its handler, such as SIGTERM, is no second one.
    """
    instance("stop", event, threading.Event)
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals reach the main thread only
        return

    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    guard = previous if isinstance(previous, Guard) else Guard(lambda _: None, True, True)
    guard.holds, may_cut = True, guard.may_cut

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal may_cut
        if not event.is_set() or (came and number not in came):
            came.append(number)
            event.set()
        elif may_cut:
            may_cut = False
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        else:
            guard(number, frame)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield event
    finally:
        # None is a handler that was not set in Python, which cannot be put back from here.
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)
