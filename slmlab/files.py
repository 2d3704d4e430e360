"""Where the course's data lies, and how files are read and replaced safely."""

import hashlib
import os
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


class DataError(Exception):
    """A file that is missing, damaged or cannot be written; the message says what to do."""


def data_path(*parts: str) -> Path:
    """Path of a data file: inside the installed package, or beside it in a checkout."""
    root = _PACKAGE / "data"
    if not root.is_dir():
        root = _PACKAGE.parent / "data"
    return root.joinpath(*parts)


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_verified(path: Path, expected: str) -> bytes:
    """Return the bytes of `path` if their SHA-256 is `expected`.

    Raises `DataError` if the file is missing, cannot be read, or differs.
    """
    try:
        content = Path(path).read_bytes()
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


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a crash or a full disk leaves the old content or the new."""
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
