"""Paths and files: where the course's data lies, how a file is read safely, how it is saved."""

import errno
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

from slmlab.validation import is_one_line, shown, whole_text

_PACKAGE = Path(__file__).resolve().parent.parent
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4_095  # what systems allow at most
LEFT_FOR = 24 * 60 * 60  # seconds after which no write is still going on
MAX_SUMS_BYTES = 1_000_000  # of a list of hashes
MAX_DATA_BYTES = 100_000_000  # far above any file of the course: the largest has 0.8 MB

PUBLISHED = {  # SHA-256 of the files that hold the published results
    "bug_report.json": "df73bc43caeada435f41a2bf307dce03dee8bb09e5c5918baed1162715d4582b",
    "phases.json": "9bebb893a511ea33c32173d28fdbc47cf9d32fa63e388b9f46c6d4387bd5ac7e",
    "corpus.json": "c05d09fe164e390e14482d42141d59c69807522b0c0afc88b05f17a0935a96ac",
    "experts.json": "a5a5aaf636dd739345f1aaa13efd591413af3d51287564bf86aba65d59ddead4",
    "generation.json": "236f67cebaa66d57c1923b279551f0d03f405e66fa1237d82881064da9a8552b",
    "regimes.json": "3c02f0228bf46ac2452b17a10e94fe71ab9774c532d723895640c0948d8dc9a4",
}


class DataError(Exception):
    """A file that is missing, damaged or cannot be written; the message says what to do."""


def data_path(*parts: str) -> Path:
    """Path of a data file: inside the installed package, or beside it in a checkout.

    Raises `ValueError` for a part that is no text.
    """
    root = _PACKAGE / "data"
    if not root.is_dir():
        root = _PACKAGE.parent / "data"
    return root.joinpath(*(whole_text("A part of the path", part) for part in parts))


def user_path(path: Path | str) -> Path:
    """A path as somebody gives it, to read or to save: `~` at its beginning is their home folder.

    Raises `DataError` for what can be no path: something else than text, an empty text (which
    would mean the working folder), characters that no file name may have, a text of several lines
    or one too long.
    """
    try:
        text = os.fspath(path)
        if not isinstance(text, str) or not text.strip() or b"\0" in os.fsencode(text):
            raise TypeError
    except (TypeError, UnicodeEncodeError):
        raise DataError(
            f"The path is {shown(path)}; give the path of a file or folder as text, such as "
            '"my_text".'
        ) from None
    longest = max((len(os.fsencode(part)) for part in Path(text).parts), default=0)
    if longest > MAX_NAME_BYTES or len(os.fsencode(text)) > MAX_PATH_BYTES or not is_one_line(text):
        raise DataError(f"{shown(text)} is no path; give the path of a file, not its text.")
    try:
        expanded = Path(text).expanduser()
        expanded.absolute()
        return expanded
    except OSError:
        raise DataError(
            f"The working folder is gone, so {shown(text)} leads nowhere; go to another folder."
        ) from None
    except RuntimeError:
        raise DataError(
            f"There is no home folder to put in the place of ~ in {shown(text)}; write the whole "
            "path."
        ) from None


def read_regular(path: Path, most: int) -> bytes:
    """The first `most` bytes of a regular file.

    A pipe, a device or a folder is refused: reading one may wait for ever, or never end. Raises
    `OSError`, whose `strerror` says why the file cannot be read.
    """
    _require_regular(Path(path).stat())
    # Another file may lie there by now, so it is opened without waiting, and looked at again.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        _require_regular(status)
        # A file that the system makes up has no size, and may have nothing to give yet (None).
        return file.read(min(most, max(status.st_size, 65_536))) or b""


def few_lines(content: bytes, most: int, longest: int) -> Iterator[str]:
    """The lines of a text of at most `most` lines of `longest` letters, one by one.

    Raises `ValueError` at the first that goes beyond, before more of it takes memory.
    """
    file = TextIOWrapper(BytesIO(content), "utf-8", newline="\n")
    for _ in range(most):
        line = file.readline(longest + 1)
        if len(line) > longest:
            raise ValueError(f"it has lines of more than {longest:,} letters")
        if not line:
            return
        yield line
    if file.read(1):
        raise ValueError(f"it has more than {most:,} lines")


def write_atomically(path: Path | str, content: bytes) -> None:
    """Write a file so that at any moment it holds either the old content or all of the new.

    A link is followed: the file that it leads to is written, and the link stays. Nothing but a
    regular file that may be written is ever replaced.

    Raises:
        DataError: if the file cannot be written; what was there before then still is.
        ValueError: if the content is not bytes.
    """
    path = user_path(path)
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"content is {shown(content)}; it must be bytes, such as text.encode().")
    temporary = None
    try:
        target = Path(os.path.realpath(path))  # where the working folder is gone, this fails
        # Whatever the length of the target's name, its own begins with the same.
        own = f".{sha256(os.fsencode(target.name))[:16]}"
        temporary = target.parent / f"{own}.{secrets.token_hex(8)}.tmp"
        old = _replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy(target.parent, own)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if old:
            temporary.chmod(stat.S_IMODE(old.st_mode))
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise DataError(
            f"{path} could not be written ({error.strerror}); free some space or choose a path "
            "that you may write to."
        ) from error
    finally:
        with suppress(OSError):
            if temporary is not None:
                temporary.unlink(missing_ok=True)


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_verified(path: Path, expected: str) -> bytes:
    """Return the bytes of `path` if their SHA-256 is `expected`.

    Raises `DataError` if the file is missing, cannot be read, or differs.
    """
    try:
        content = read_regular(path, MAX_DATA_BYTES)
    except OSError as error:
        raise DataError(
            f"Cannot read {path} ({error.strerror}); restore it with `git checkout -- data` "
            "or reinstall the package."
        ) from error
    if sha256(content) != expected:
        raise DataError(
            f"{path} is not the file this course was made with (SHA-256 {sha256(content)[:12]}…, "
            f"expected {expected[:12]}…); restore it with `git checkout -- data` or reinstall."
        )
    return content


def read_sums(folder: Path, what: str) -> dict[str, str]:
    """The SHA-256 of each file that a folder's `SHA256SUMS` lists, all of them in that folder.

    Raises `DataError`, which says that there is no such `what`, if it cannot be read.
    """
    try:
        lines = read_regular(folder / "SHA256SUMS", MAX_SUMS_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"There is no {what} in {folder} (SHA256SUMS cannot be read); restore it with "
            "`git checkout -- data` or reinstall the package."
        ) from error
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    return {n: digest for n, digest in sums.items() if n == Path(n).name and is_one_line(n)}


def read_entries(folder: Path, name: str, what: str) -> list[dict[str, Any]]:
    """The entries of a set that a folder of the course holds as `NAME.json`.

    Raises `DataError`, which says that there is no such `what`, if it is missing or was altered.
    """
    digest = read_sums(folder, what).get(f"{name}.json", "")
    return json.loads(read_verified(folder / f"{name}.json", digest))


def read_published(name: str) -> Any:
    """A file of the published results. Raises `DataError` if it is missing or was altered."""
    return json.loads(read_verified(data_path("published", name), PUBLISHED[name]))


def read_json(*parts: str) -> Any:
    """A JSON file of the course's data. Raises `DataError` if it is missing or damaged."""
    path = data_path(*parts)
    try:
        return json.loads(read_regular(path, MAX_DATA_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is missing or damaged; restore it with `git checkout -- data` or reinstall."
        ) from error


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def _tidy(folder: Path, own: str) -> None:
    """Remove what writes of a target that were killed have left, a day ago or more."""
    for left in folder.glob(f"{own}.{'[0-9a-f]' * 16}.tmp"):
        with suppress(OSError):
            status = left.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mtime < time.time() - LEFT_FOR:
                left.unlink()


def _replaceable(target: Path) -> os.stat_result | None:
    """What lies at a path that is to be written, if anything. Raises `OSError` to protect it."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    _require_regular(status)
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is protected from writing")
    return status


def sync_folder(folder: Path) -> None:
    """Have the new name of a file on the disk, where the system can do that (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
