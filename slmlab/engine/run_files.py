"""The files of a saved run, which may be somebody else's: opened only if they can be what they say.

`SHA256SUMS` lists the others with their hashes, so a folder that holds no other file, each as
listed, is provably a run. Nothing else is ever taken for one.
"""

import hashlib
import json
import re
import stat
from pathlib import Path

from slmlab.text.files import DataError, read_regular, sha256

MB = 1_000_000
SUMS = "SHA256SUMS"
FILES = {  # all that a saved run may hold, and how large each may be in bytes
    SUMS: MB,
    "run.json": MB,
    "samples.json": 80 * MB,  # 160,000 samples of 30 tokens take up to 70 MB
    "history.csv": 50 * MB,
    "tokenizer.json": 50 * MB,
    "dataset.safetensors": 32 * MB,  # eight million tokens: own texts have up to 5 MB
    "best.safetensors": 2_000 * MB,
    "resume.safetensors": 6_000 * MB,
}
HISTORY = {"run.json", "samples.json", "history.csv"}
BEST = HISTORY | {"tokenizer.json", "dataset.safetensors", "best.safetensors"}
ALL = BEST | {"resume.safetensors"}
LINE = re.compile("([0-9a-f]{64})  ([a-z.]+)")  # of SHA256SUMS


class RunFiles:
    """The files of a saved run. Each is checked against the run's SHA256SUMS when it is read.

    Only files of the format are opened, and only regular ones of a sensible size. Making this,
    and reading, raise `DataError` if the folder is no whole run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.sums = _listed(folder)
            if self.sums.keys() not in (HISTORY, BEST, ALL):
                raise ValueError(f"{SUMS} does not list the files of a run")
            if unlisted := (names_in(folder) & FILES.keys()) - {SUMS, *self.sums}:
                raise ValueError(f"{SUMS} does not list {', '.join(sorted(unlisted))}")
        except (OSError, ValueError) as error:
            raise self._incomplete(error) from error

    def __contains__(self, name: str) -> bool:
        return name in self.sums

    def read(self, name: str, most: int | None = None) -> bytes:
        """The content of a file, which may have at most `most` bytes."""
        try:
            content = _read(self.folder, name, most)
        except (OSError, ValueError) as error:
            raise self._incomplete(error) from error
        if sha256(content) != self.sums[name]:
            raise DataError(
                f"{self.folder / name} has changed since the run was saved; restore it from a "
                "copy, or train the run again."
            )
        return content

    def size(self, name: str, most: int) -> int:
        """How many bytes a file has, which may be at most `most`, without reading it."""
        try:
            return _require_size(self.folder, name, min(FILES[name], most))
        except (OSError, ValueError) as error:
            raise self._incomplete(error) from error

    def verify(self, name: str) -> None:
        """As `read`, without holding the file: somebody else's may be larger than the memory."""
        digest = hashlib.sha256()
        try:
            _require_size(self.folder, name, FILES[name])
            with (self.folder / name).open("rb") as file:
                while part := file.read(MB):
                    digest.update(part)
        except (OSError, ValueError) as error:
            raise self._incomplete(error) from error
        if digest.hexdigest() != self.sums[name]:
            raise self._incomplete(ValueError(f"{name} has changed"))

    def _incomplete(self, error: Exception) -> DataError:
        return DataError(
            f"{self.folder} is not a complete run ({reason(error)}); it was half-written or a "
            "file was changed or removed, so train it again or restore it from a copy."
        )


def is_run(folder: Path) -> bool:
    """Whether a folder holds a whole run, and nothing else."""
    try:
        files = RunFiles(folder)
        summary = json.loads(files.read("run.json"))
        for name in files.sums:
            files.verify(name)
        return (
            is_folder(folder)
            and names_in(folder) == {SUMS, *files.sums}
            and isinstance(summary, dict)
            and {"format", "model", "training"} <= summary.keys()
        )
    except (DataError, OSError, ValueError, RecursionError):
        return False


def is_part_of_run(folder: Path, finished: bool) -> bool:
    """Whether a folder holds some of the files that its SHA256SUMS lists, and nothing else.

    If the run was `finished`, they are still as listed; else the last may be half-written, the
    list itself too.
    """
    if not is_folder(folder):
        return False
    names = names_in(folder)
    if not all(stat.S_ISREG((folder / name).lstat().st_mode) for name in names):
        return False
    try:
        if names == {SUMS} and not finished:
            return _begins_a_list(_read(folder, SUMS))
        sums = _listed(folder) if names else {}
        return names <= {SUMS, *sums} and not (
            finished and any(sha256(_read(folder, n)) != sums[n] for n in names - {SUMS})
        )
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself, no link to one."""
    return stat.S_ISDIR(path.lstat().st_mode)


def names_in(folder: Path) -> set[str]:
    """The names of all that a folder holds."""
    return {path.name for path in folder.iterdir()}


def reason(error: BaseException) -> str:
    """What the system says about an error, without the path, or else what the error says."""
    return getattr(error, "strerror", None) or str(error)


def _listed(folder: Path) -> dict[str, str]:
    """The names that SHA256SUMS lists, with their hashes; of a run's files only."""
    lines = _read(folder, SUMS).decode().splitlines()
    found = [line.groups() for line in map(LINE.fullmatch, lines) if line]
    sums = {name: digest for digest, name in found}
    if len(sums) < len(lines) or not sums.keys() <= FILES.keys() - {SUMS}:
        raise ValueError(f"{SUMS} is no list of a run's files")
    return sums


def _begins_a_list(content: bytes) -> bool:
    """Whether a SHA256SUMS may begin so. A power failure can leave NULs in place of the rest."""
    *lines, last = content.rstrip(b"\0").decode().split("\n")
    ends = [f"  {name}" for name in FILES.keys() - {SUMS}]
    return (
        all(LINE.fullmatch(line) and line[64:] in ends for line in lines)
        and re.fullmatch("[0-9a-f]*", last[:64]) is not None
        and any(end.startswith(last[64:]) for end in ends)
    )


def _read(folder: Path, name: str, most: int | None = None) -> bytes:
    most = min(FILES[name], FILES[name] if most is None else most)
    _require_size(folder, name, most)
    return read_regular(folder / name, most)


def _require_size(folder: Path, name: str, most: int) -> int:
    found = (folder / name).lstat()
    if not stat.S_ISREG(found.st_mode):  # a link may lead anywhere
        raise ValueError(f"{name} is no regular file")
    if found.st_size > most:
        raise ValueError(f"{name} has {found.st_size:,} bytes, but it may have {most:,} at most")
    return found.st_size
