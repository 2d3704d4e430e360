"""A folder that holds one run: a whole one at any moment, and read only if it is whole.

A new run is written beside the old one; then the old one steps aside, under a name that is known,
and the new one takes its place. Whenever that is cut short, by Ctrl-C, a full disk or a power
failure, the folder's own name or the name aside leads to a whole run: `read_run_folder` looks for
both, and the next `write_run_folder` tidies up.
"""

import glob
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slmlab.text.files import DataError, read_regular, sha256, sync_folder, user_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MB = 1_000_000
FILES = {  # all that a saved run may hold, and how large each may be in bytes
    "SHA256SUMS": MB,
    "run.json": MB,
    "samples.json": 100 * MB,
    "history.csv": 100 * MB,
    "tokenizer.json": 100 * MB,
    "dataset.safetensors": 1_000 * MB,
    "best.safetensors": 2_000 * MB,
    "resume.safetensors": 6_000 * MB,
}
NEVER_OPENED = (
    "checkpoints such as .pt or .pkl are never opened, because a pickle can run any code when it "
    "is loaded."
)


def write_run_folder(path: Path | str, contents: dict[str, bytes]) -> Path:
    """Write a run's files, and their hashes, in place of an older run there, if there is one.

    Returns the folder. Raises `DataError` if that is not possible; what was there before can then
    still be read by `read_run_folder`.
    """
    folder = _named(path)
    sums = "".join(f"{sha256(content)}  {name}\n" for name, content in contents.items())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent):
            _tidy(folder)
            _require_replaceable(folder)
            new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.new."))
            try:
                for name, content in (contents | {"SHA256SUMS": sums.encode()}).items():
                    _write(new / name, content)
                new.chmod(0o755)
                _replace(folder, new)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"The run could not be saved to {folder} ({_reason(error)}); it is still in "
            "memory, so free some space or choose a folder you may write to, and save again."
        ) from error
    return folder


def check_target(path: Path | str) -> None:
    """Raise `DataError` now if `write_run_folder` could not write there later."""
    folder = _named(path)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _require_replaceable(folder)
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.new.").cleanup()
    except OSError as error:
        raise DataError(
            f"No run can be saved to {folder} ({_reason(error)}); choose a folder that you may "
            "write to."
        ) from error


def read_run_folder(path: Path | str) -> dict[str, bytes]:
    """All files of a saved run, each checked against the run's SHA256SUMS.

    Only files of the format are opened, and only regular ones of a sensible size. Raises
    `DataError` if there is no whole run.
    """
    folder = _named(path)
    try:
        if not folder.exists() and _aside(folder).is_dir():
            folder = _aside(folder)  # a save was cut short
        if not folder.exists():
            raise DataError(
                f"There is no run in {folder}; check the path, or save a run there first."
            )
        if not folder.is_dir():
            raise DataError(f"{folder} is a file, but a saved run is a folder; {NEVER_OPENED}")
        contents, expected = _contents(folder)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} is not a complete run ({_reason(error)}); it was half-written or a file "
            "was changed or removed, so train it again or restore it from a copy."
        ) from error
    for name, content in contents.items():
        if sha256(content) != expected[name]:
            raise DataError(
                f"{folder / name} has changed since the run was saved; restore it from a copy, "
                "or train the run again."
            )
    return contents


def _contents(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files that SHA256SUMS lists, and the hashes that it gives them."""
    lines = _read(folder, "SHA256SUMS").decode().splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if foreign := expected.keys() - FILES.keys():
        raise ValueError(f"SHA256SUMS lists {sorted(foreign)[0][:40]!r}, which is no file of a run")
    unlisted = (_names(folder) & FILES.keys()) - {"SHA256SUMS", *expected}
    if unlisted:
        raise ValueError(f"SHA256SUMS does not list {', '.join(sorted(unlisted))}")
    return {name: _read(folder, name) for name in expected}, expected


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):  # a link may lead anywhere
        raise ValueError(f"{name} is no regular file")
    if found.st_size > FILES[name]:
        raise ValueError(f"{name} is larger than any run's, {FILES[name] // MB:,} MB")
    return read_regular(path, FILES[name])


def _named(path: Path | str) -> Path:
    """The folder's path, which must end in a name of its own."""
    folder = user_path(path)
    if folder.name in ("", ".", ".."):
        raise DataError(f"{folder} is no name for a run's folder; give one such as my_run.")
    return folder


def _require_replaceable(folder: Path) -> None:
    """Refuse to replace anything but an empty folder, or a whole run."""
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "no folder"
        raise DataError(f"{folder} is {kind}, so it was left alone; choose another name.")
    names = _names(folder)
    if names and not (names <= FILES.keys() and _is_run(folder)):
        raise DataError(
            f"{folder} exists and is not a saved run, or not a whole one, so it was left alone; "
            "choose another name, or remove it yourself."
        )


def _is_run(folder: Path) -> bool:
    """Whether every file is as some run's `SHA256SUMS` says, and `run.json` is a run's."""
    try:
        summary = json.loads(read_run_folder(folder)["run.json"])
        return {"format", "model", "training"} <= summary.keys()
    except (DataError, KeyError, ValueError, AttributeError):
        return False


def _aside(folder: Path) -> Path:
    """Where the old run is while the new one takes its place."""
    return folder.with_name(f".{folder.name}.old")


def _replace(folder: Path, new: Path) -> None:
    """Put `new` in the place of the folder. At each moment one of the two names has a whole run."""
    aside = _aside(folder)
    if folder.exists():
        folder.replace(aside)
    try:
        new.replace(folder)
        sync_folder(folder.parent)
    except BaseException:
        if aside.exists() and not folder.exists():
            with suppress(OSError):  # else it stays aside, where it is looked for
                aside.replace(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _tidy(folder: Path) -> None:
    """Finish or undo what a save that was cut short has left."""
    aside = _aside(folder)
    if aside.is_dir() and not aside.is_symlink():
        if not folder.exists() or (folder.is_dir() and not _names(folder)):
            aside.replace(folder)
        elif _is_run(folder):
            shutil.rmtree(aside, ignore_errors=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.new.*"):
        if not left.is_symlink() and left.is_dir() and _names(left) <= FILES.keys():
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One save at a time in a folder, of all processes, where the system has such locks."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
