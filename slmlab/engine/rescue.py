"""What keeps a finished training when it cannot be saved where it was meant to be."""

import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from slmlab.engine.console import deferred_interrupt
from slmlab.engine.runs import Run, attach_run
from slmlab.engine.storage import Keep
from slmlab.text.files import DataError, user_path


def save_or_rescue(run: Run, folder: Path | str, keep: Keep, tell: Callable[[str], None]) -> Path:
    """Save a run, or else save it to a new folder, and tell so. Returns the folder.

    The new folder is a temporary one or, where there is no space for it, in the home folder.

    What cannot be kept as asked is kept with its best weights. A first Ctrl-C waits until the run
    is saved. Raises `DataError` if it cannot be saved there either; that error has the run as its
    attribute `run`.
    """
    with deferred_interrupt(threading.Event()) as interrupted:
        try:
            saved = run.save(folder, keep=keep)
        except (DataError, ValueError) as error:
            saved = _rescued(run, keep if isinstance(error, DataError) else "best", error)
            tell(f"{error} It was saved to {saved} instead.")
    if interrupted.is_set():
        raise KeyboardInterrupt
    return saved


def _rescued(run: Run, keep: Keep, problem: Exception) -> Path:
    """Save a run to the first place that takes it. A place that does not is left as it was."""
    for parent in (None, "~"):
        with suppress(OSError, DataError, ValueError):  # the next may take it
            # None is the first temporary folder of the system that can be written.
            place = tempfile.mkdtemp(prefix="slmlab-", dir=parent and user_path(parent))
            try:
                return run.save(Path(place) / "run", keep=keep)
            except BaseException:
                with suppress(OSError):
                    Path(place).rmdir()
                raise
    lost = DataError(
        f"{problem} It could not be saved anywhere else, neither to a temporary folder nor to your "
        "home folder; until Python ends, this error has it as its attribute run."
    )
    attach_run(run, lost)
    raise lost from problem
