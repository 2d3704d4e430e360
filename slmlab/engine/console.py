"""What a training needs of the terminal or notebook it was started from, none of which may end it.

A bar that nobody can read any more, a warning that cannot be printed, or a Ctrl-C in the middle of
a step: the training is worth more.
"""

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from tqdm import tqdm

from slmlab.validation import instance


def progress_bar(title: str, shown: bool, step: int) -> tqdm:
    """A bar of text, which is still readable in a stored notebook; there stderr is red."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    file = sys.stdout if in_notebook else sys.stderr
    return tqdm(
        desc=title,
        unit="step",
        initial=step,  # a resumed run has made some before
        disable=not shown or file is None,
        file=Forgiving(file),
        ncols=110,
        mininterval=0.5,
    )


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


@contextmanager
def deferred_interrupt(event: threading.Event) -> Iterator[threading.Event]:
    """Let the first Ctrl-C set the event, so that a step is never cut in two."""
    instance("stop", event, threading.Event)
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals reach the main thread only
        return

    def on_interrupt(*_: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        event.set()

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield event
    finally:
        # None is a handler that was not set in Python, which cannot be put back from here.
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)
