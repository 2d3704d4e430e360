"""What keeps a finished training when it cannot be saved where it was meant to be."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from slmlab.engine.console import guarded
from slmlab.engine.run_files import reason
from slmlab.engine.runs import Run, attach_run
from slmlab.engine.storage import Keep
from slmlab.text.files import DataError, user_path

KEEPS: tuple[Keep, ...] = ("all", "best", "history")  # each takes less space than the one before
# None is the first temporary folder of the system that can be written.
PLACES = {None: "a temporary folder", "~": "your home folder", ".": "the working folder"}


def save_or_rescue(
    run: Run,
    folder: Path | str,
    keep: Keep,
    tell: Callable[[str], None],
    over: str | None = None,
) -> Path:
    """Save a run, or else save it to a new folder, and tell so. Returns the folder.

    Given what `check_target` returned before the training as `over`, a run that came meanwhile is
    not replaced.

    The new folder is a temporary one or, where there is no space for it, in the home folder or
    the working folder. Where none has space for the run as asked, less of it is kept.

    What cannot be kept as asked is kept with its best weights. Ctrl-C does nothing meanwhile, as
    often as it is pressed. Raises `DataError` if the run cannot be saved there either; that error
    has it as its attribute `run`.
    """
    with guarded(tell, holds=True):
        try:
            return run.save(folder, keep=keep, over=over)
        except (DataError, ValueError) as error:
            why = f"The run could not be saved to {folder} ({_reason(error)})"
            saved, kept = _rescued(run, keep if isinstance(error, DataError) else "best", why)
            less = "" if kept == keep else f', with keep="{kept}"'
            tell(f"{why}. It was saved to {saved} instead{less}.")
            return saved


def _rescued(run: Run, keep: Keep, why: str) -> tuple[Path, Keep]:
    """Save a run to the first place that takes it. A place that does not is left as it was."""
    for kept in KEEPS[KEEPS.index(keep) :]:
        for parent in PLACES:
            with suppress(OSError, DataError, ValueError):  # the next may take it
                place = tempfile.mkdtemp(prefix="slmlab-", dir=parent and user_path(parent))
                try:
                    return run.save(Path(place).absolute() / "run", keep=kept), kept
                except BaseException:
                    with suppress(OSError):
                        Path(place).rmdir()
                    raise
    lost = DataError(
        f"{why}, nor to {', '.join(PLACES.values())}. It is lost when Python ends; until then this "
        "error has it as its attribute run."
    )
    attach_run(run, lost)
    raise lost


def _reason(error: Exception) -> str:
    """Why a save failed: its own sentence says that the run waits in memory."""
    return reason(error.__cause__ or error).rstrip(".")
