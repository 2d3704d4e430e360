"""One save at a time in a folder, of all threads and programs, as far as the system has locks."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PATIENCE = 30  # seconds to wait for another program
_threads = threading.Lock()  # where the system has none, one among the threads of this program


@contextmanager
def locked(folder: Path, for_writing: bool = False) -> Iterator[None]:
    """Nobody writes to a folder inside the block but the caller; `for_writing`, nobody reads.

    The lock ends with the program that holds it, however it ends. Raises `OSError`, for writing
    only, if another program keeps it longer than `PATIENCE`.
    """
    if fcntl is None:
        with _threads:
            yield
        return
    handle = None
    with suppress(OSError):  # it is not there, or may not be read
        handle = os.open(folder, os.O_RDONLY)
    try:
        if handle is not None:
            _wait(handle, for_writing)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _wait(handle: int, for_writing: bool) -> None:
    kind = fcntl.LOCK_EX if for_writing else fcntl.LOCK_SH
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                if for_writing:
                    raise OSError(errno.EAGAIN, "another program is saving beside it") from None
                return None  # reading harms nobody
        except OSError:
            return None  # some network drives have no locks
        time.sleep(0.01)
