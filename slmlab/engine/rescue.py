"""What keeps a finished training when it cannot be saved where it was meant to be."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from slmlab.engine.console import deferred_interrupt
from slmlab.engine.runs import Run
from slmlab.engine.storage import Keep
from slmlab.text.files import DataError


def save_or_rescue(run: Run, folder: Path | str, keep: Keep, tell: Callable[[str], None]) -> Path:
    """Save a run, or else save it to a new temporary folder and tell so. Returns the folder.

    What cannot be kept as asked is kept with its best weights. A first Ctrl-C waits until the run
    is saved. Raises `DataError` if it cannot be saved there either.
    """
    with deferred_interrupt(threading.Event()) as interrupted:
        try:
            saved = run.save(folder, keep=keep)
        except (DataError, ValueError) as error:
            rescued = Path(tempfile.mkdtemp(prefix="slmlab-")) / "run"
            saved = run.save(rescued, keep=keep if isinstance(error, DataError) else "best")
            tell(f"{error} It was saved to {rescued} instead.")
    if interrupted.is_set():
        raise KeyboardInterrupt
    return saved
