"""A folder that holds one run: written and replaced in one step, and read only if it is whole."""

import shutil
import tempfile
from pathlib import Path

from slmlab.text.files import DataError, sha256

FILES = {  # all that a saved run may hold
    "SHA256SUMS",
    "run.json",
    "samples.json",
    "history.csv",
    "tokenizer.json",
    "dataset.safetensors",
    "best.safetensors",
    "resume.safetensors",
}


def write_run_folder(folder: Path, contents: dict[str, bytes]) -> Path:
    """Write a run's files, and their hashes, in place of an older run there, if there is one.

    Raises `DataError` if that is not possible; what was there before is untouched.
    """
    if folder.is_file() or (folder.is_dir() and not _may_replace(folder)):
        raise DataError(
            f"{folder} exists and is not a saved run, so it was left alone; choose another."
        )
    sums = "".join(f"{sha256(content)}  {name}\n" for name, content in contents.items())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for name, content in (contents | {"SHA256SUMS": sums.encode()}).items():
                (temporary / name).write_bytes(content)
            temporary.chmod(0o755)
            _replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"The run could not be saved to {folder} ({error.strerror}); it is still in "
            "memory, so free some space or choose a folder you may write to, and save again."
        ) from error
    return folder


def read_run_folder(folder: Path) -> dict[str, bytes]:
    """All files of a saved run, each checked against the run's SHA256SUMS."""
    if folder.is_file():
        raise DataError(
            f"{folder} is a file, but a saved run is a folder; checkpoints such as .pt or .pkl "
            "are never opened, because a pickle can run any code when it is loaded."
        )
    if not folder.is_dir():
        raise DataError(f"There is no run in {folder}; check the path, or save a run there first.")
    try:
        sums = (folder / "SHA256SUMS").read_text().splitlines()
        expected = dict(reversed(line.split("  ", 1)) for line in sums)
        contents = {name: (folder / name).read_bytes() for name in expected}
        unlisted = {path.name for path in folder.iterdir()} & FILES - {"SHA256SUMS", *expected}
        if unlisted:
            raise ValueError(f"SHA256SUMS does not list {', '.join(sorted(unlisted))}")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} is not a complete run ({error}); it was half-written or a file was "
            "removed, so train it again or restore it from a copy."
        ) from error
    for name, content in contents.items():
        if sha256(content) != expected[name]:
            raise DataError(
                f"{folder / name} has changed since the run was saved; restore it from a copy, "
                "or train the run again."
            )
    return contents


def check_target(folder: Path) -> None:
    """Raise `DataError` now if `write_run_folder` could not write there later."""
    if folder.is_file() or (folder.is_dir() and not _may_replace(folder)):
        raise DataError(
            f"{folder} exists and is not a saved run, so it was left alone; choose another."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.").cleanup()
    except OSError as error:
        raise DataError(
            f"No run can be saved to {folder} ({error.strerror}); choose a folder that you may "
            "write to."
        ) from error


def _may_replace(folder: Path) -> bool:
    """Whether a folder holds nothing but a saved run, or nothing at all."""
    return {path.name for path in folder.iterdir()} <= FILES


def _replace_folder(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`, which is set aside until the new one stands."""
    if not target.exists():
        new.replace(target)
        return
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    try:
        target.replace(old / "run")
        try:
            new.replace(target)
        except OSError:
            (old / "run").replace(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
