"""A folder that holds one run: a whole one at any moment, and never at anything else's cost.

A save writes the folder `.NAME.new` beside the folder NAME. Then the old run steps aside, to
`.NAME.old`, and the new one takes its name. Whenever that is cut short, by Ctrl-C, a full disk or
a power failure, NAME or `.NAME.old` is a whole run: reading looks for both, and the next save
tidies up. What is not provably a run, or what a save has left of one, is never touched.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from slmlab.engine.folder_lock import locked
from slmlab.engine.run_files import (
    FILES,
    SUMS,
    RunFiles,
    is_folder,
    is_part_of_run,
    is_run,
    names_in,
    reason,
)
from slmlab.text.files import DataError, sha256, sync_folder, user_path

# Where a save leaves what it has not finished.
LEFT = re.compile(r"\.(.*[^.].*)\.(new|old)", re.DOTALL)
LESS = {  # how a file that is too large can be made smaller
    "run.json": "give fewer prompts, or a shorter name",
    "samples.json": "keep fewer samples, such as run.samples[-100:]",
    "history.csv": "keep fewer looks, such as run.state.history[-1000:]",
    "tokenizer.json": "use a smaller vocabulary",
    "dataset.safetensors": "train on less text",
    "best.safetensors": "make a smaller model",
    "resume.safetensors": 'keep less, with keep="best"',
}
NEVER_OPENED = (
    "checkpoints such as .pt or .pkl are never opened, because a pickle can run any code when it "
    "is loaded."
)


def write_run_folder(path: Path | str, contents: dict[str, bytes], over: str | None = None) -> Path:
    """Write a run's files, and their hashes, in place of an older run there, if there is one.

    Given what `check_target` returned as `over`, no run is replaced that came after that; and by
    a training that was stopped, only what the same training had come to before.

    Returns the folder. Raises `DataError` if that is not possible; what was there before can then
    still be read.
    """
    folder = _named(path)
    for name, content in contents.items():
        if len(content) > FILES[name]:
            raise DataError(
                f"The run's {name} has {len(content):,} bytes, but a saved run's may have "
                f"{FILES[name]:,}; {LESS[name]}."
            )
    sums = "".join(f"{sha256(content)}  {name}\n" for name, content in contents.items())
    try:
        with _place(folder):
            if over is not None:
                _require_replaceable(folder, over, contents)
            try:
                # The list comes first: it proves whose the other files are.
                _fill(_new(folder), {SUMS: sums.encode()} | contents)
                _replace(folder)
            finally:
                with suppress(OSError, DataError):  # else the next save does it
                    _tidy(folder)
    except OSError as error:
        raise DataError(
            f"The run could not be saved to {folder} ({reason(error)}); it is still in "
            "memory, so free some space or choose a folder you may write to, and save again."
        ) from error
    return folder


def check_target(path: Path | str) -> str:
    """Raise `DataError` now if `write_run_folder` could not write there later.

    Returns the hashes of the run that is there, which no other has; nothing if there is none.
    """
    folder = _named(path)
    try:
        with _place(folder):
            _new(folder).mkdir()
            try:
                _rehearse(folder)
            finally:
                _new(folder).rmdir()
            return _hashes(folder)
    except OSError as error:
        raise DataError(
            f"No run can be saved to {folder} ({reason(error)}); choose a folder that you may "
            "write to."
        ) from error


def is_saved(path: Path | str) -> bool:
    """Whether a run was saved there, even if a later save was cut short."""
    folder = _named(path)
    return (folder / SUMS).is_file() or (_old(folder) / SUMS).is_file()


def run_folders(parent: Path) -> list[Path]:
    """The folders that hold a run, whole or not, in order; what a save has left counts as its run.

    Raises `OSError` if the parent cannot be read.
    """
    found = set()
    for path in parent.iterdir():
        left = LEFT.fullmatch(path.name)
        if (path / "run.json").is_file() and not (left and left[2] == "new"):
            found.add(parent / left[1] if left else path)
    return sorted(found)


def remove_run_folder(path: Path | str) -> None:
    """Remove a saved run. A folder that holds anything else as well stays as it is."""
    folder = _named(path)
    with locked(folder.parent, for_writing=True):
        if folder.is_dir() and is_run(folder):
            _remove(folder)


@contextmanager
def opened_run_folder(path: Path | str) -> Iterator[RunFiles]:
    """The files of a saved run; no save changes them inside the block.

    Raises `DataError` if there is no whole run.
    """
    folder = _named(path)
    with locked(folder.parent):
        try:
            if not folder.exists() and is_saved(folder):
                folder = _old(folder)  # a save was cut short
            found, fits = folder.exists(), folder.is_dir()
        except OSError as error:
            raise DataError(
                f"{folder} cannot be read ({reason(error)}); check the path."
            ) from error
        if not found:
            raise DataError(
                f"There is no run in {folder}; check the path, or save a run there first."
            )
        if not fits:
            raise DataError(f"{folder} is a file, but a saved run is a folder; {NEVER_OPENED}")
        yield RunFiles(folder)


def _named(path: Path | str) -> Path:
    """The folder's path, which must end in a name of its own."""
    folder = user_path(path)
    if folder.name in ("", ".", "..") or LEFT.fullmatch(folder.name):
        raise DataError(f"{folder} is no name for a run's folder; give one such as my_run.")
    return folder


def _new(folder: Path) -> Path:
    """Where a new run is until it takes the folder's name."""
    return folder.with_name(f".{folder.name}.new")


def _old(folder: Path) -> Path:
    """Where the old run is from then on, until it is removed."""
    return folder.with_name(f".{folder.name}.old")


@contextmanager
def _place(folder: Path) -> Iterator[None]:
    """The place for a run to be saved in, for one save at a time.

    Raises `DataError` if there is anything but nothing, an empty folder, or a whole run; and for a
    place inside another run.
    """
    inside = next(filter(is_run, folder.absolute().parents), None)
    if inside is not None:
        raise DataError(
            f"{folder} is inside the saved run {inside}, which could then not be saved again; "
            "choose another folder."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent, for_writing=True):
        _tidy(folder)
        if os.path.lexists(folder):
            if not is_folder(folder):
                kind = "a link" if folder.is_symlink() else "no folder"
                raise DataError(f"{folder} is {kind}, so it was left alone; choose another name.")
            if names_in(folder) and not is_run(folder):
                raise DataError(
                    f"{folder} exists and is not a saved run, or not a whole one, so it was left "
                    "alone; choose another name, or remove it yourself."
                )
        yield


def _require_replaceable(folder: Path, over: str, contents: dict[str, bytes]) -> None:
    """Raise `DataError` for a run that came later than `over`.

    A training that was stopped replaces only what provably is less of the same training.
    """
    if _hashes(folder) != over:
        raise DataError(f"{folder} holds another run by now.")
    new = json.loads(contents["run.json"])
    if not over or _is_whole(new):
        return
    old = json.loads((folder / "run.json").read_bytes())
    if _is_whole(old):
        raise DataError(f"{folder} holds a run that came to its end, which this one did not.")
    if any(old.get(part) != new[part] for part in ("model", "training", "dataset")):
        raise DataError(f"{folder} holds a run of another set-up, and this one was stopped.")
    if old.get("step") not in range(new["step"]):
        raise DataError(f"{folder} holds a run that got at least as far before it was stopped.")


def _hashes(folder: Path) -> str:
    return (folder / SUMS).read_text() if (folder / SUMS).is_file() else ""


def _is_whole(summary: dict[str, Any]) -> bool:
    """Whether a training came to its end, going by its `run.json`."""
    return summary.get("status") in ("finished", "stopped early")


def _fill(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in contents.items():
        with (folder / name).open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)


def _replace(folder: Path) -> None:
    """Give the new run the folder's name: at each moment, that or `.NAME.old` is a whole run."""
    if os.path.lexists(folder):
        if names_in(folder):
            folder.replace(_old(folder))
        else:
            folder.rmdir()
    _new(folder).replace(folder)
    sync_folder(folder.parent)
    with suppress(OSError):  # the new run is there, whatever happens now
        _remove(_old(folder))


def _rehearse(folder: Path) -> None:
    """Do to what is at the folder what `_replace` does, and undo it. Raises `OSError`."""
    if not os.path.lexists(folder):
        return
    if os.path.ismount(folder):  # it can neither be renamed nor removed
        raise OSError(errno.EBUSY, "a disk is mounted there")
    folder.replace(_old(folder))
    _old(folder).replace(folder)


def _tidy(folder: Path) -> None:
    """Undo what a save that was cut short has left: the old run gets its name back, if it lost it.

    Raises `DataError`, and touches nothing, if something else is where a save leaves things.
    """
    new, old = _new(folder), _old(folder)
    for left in (new, old):
        if os.path.lexists(left) and not is_part_of_run(left, finished=left == old):
            raise DataError(
                f"{left} is in the way of a save to {folder}, and no save has left it there; "
                "move it elsewhere, or choose another name."
            )
    _remove(new)
    if not os.path.lexists(old):
        return
    empty = os.path.lexists(folder) and is_folder(folder) and not names_in(folder)
    free = empty or not os.path.lexists(folder)
    if free and is_run(old):
        if empty:
            folder.rmdir()
        old.replace(folder)
    elif free or is_run(folder):  # else the old run may be the only one there is
        _remove(old)


def _remove(left: Path) -> None:
    """Remove what a save has left; its list last, so that the rest is known to be ours."""
    if os.path.lexists(left) and is_part_of_run(left, finished=False):
        for name in sorted(names_in(left), key=SUMS.__eq__):
            (left / name).unlink()
        left.rmdir()
