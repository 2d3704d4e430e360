"""Where the course's data lies, and how a file is checked before it is believed."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent.parent


class DataError(Exception):
    """A file that is missing, damaged or cannot be written; the message says what to do."""


def data_path(*parts: str) -> Path:
    """Path of a data file: inside the installed package, or beside it in a checkout."""
    root = _PACKAGE / "data"
    if not root.is_dir():
        root = _PACKAGE.parent / "data"
    return root.joinpath(*parts)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment it holds either the old content or all of the new.

    Raises `DataError` if it cannot be written; the old content then still stands.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} could not be written ({error.strerror}); free some space or choose a folder "
            "you may write to."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


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


def read_published(name: str) -> Any:
    """A file of the published results. Raises `DataError` if it is missing or damaged."""
    path = data_path("published", name)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is missing or damaged; restore it with `git checkout -- data` or reinstall."
        ) from error
