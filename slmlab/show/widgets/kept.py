"""The runs that the Playground can compare: this session's, and those that a folder holds."""

from pathlib import Path

from slmlab.engine.run_folder import run_folders
from slmlab.engine.runs import Run
from slmlab.engine.storage import Keep
from slmlab.show.runs import short
from slmlab.text.files import DataError, user_path
from slmlab.validation import printable

LONGEST_FOLDER = 120  # letters of a run's folder: file systems allow 255 bytes, less some prefixes


class KeptRuns:
    """Runs by name, kept in a folder as histories without weights; read when they are asked for.

    Attributes:
        problem: why nothing can be read from the folder, as a sentence; empty if all is well.

    Raises:
        DataError: if `folder` can be no path.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = user_path(folder)
        self._runs: dict[str, Run | Path] = {}
        self.problem = ""
        try:
            if self._folder.exists():
                for path in run_folders(self._folder):
                    self._runs[self._unused(f"kept: {printable(path.name)}")] = path
        except OSError as error:
            self.problem = (
                f"No runs can be kept in {short(printable(self._folder))} ({error.strerror}); open "
                "the Playground with another folder."
            )

    def names(self) -> list[str]:
        """The names of the runs, the newest first."""
        return list(self._runs)[::-1]

    def save(self, run: Run, began: str) -> str:
        """Write a run that began then; what went wrong, if anything, as a sentence."""
        # Another text than the start of the corpus is saved with the run, and so are its weights.
        keep: Keep = "history" if run.dataset.source.get("kind") == "corpus" else "best"
        try:
            run.save(self._path(run, began), keep)
        except (DataError, ValueError) as error:
            return str(error)
        return ""

    def add(self, run: Run, began: str) -> str:
        """Save a run that ended, and list it. What went wrong, if anything, as a sentence."""
        problem = self.save(run, began)
        # What is on the disk need not stay in memory, with its weights.
        self._runs[self._unused(run.name)] = run if problem else self._path(run, began)
        return problem

    def read(self, name: str) -> Run:
        """A run by its name. Raises `DataError` if it is missing or damaged."""
        if name not in self._runs:
            raise DataError("There is no run yet; train one first.")
        run = self._runs[name]
        if isinstance(run, Path):
            run = self._runs[name] = Run.load(run)
        return run

    def _path(self, run: Run, began: str) -> Path:
        # Not every system allows every sign in a name.
        name = "".join(sign if sign.isalnum() or sign in "=._- " else "-" for sign in run.name)
        return self._folder / f"{began} {name}"[:LONGEST_FOLDER].rstrip()

    def _unused(self, name: str) -> str:
        number = 1 + sum(key == name or key.startswith(f"{name} (") for key in self._runs)
        return name if number == 1 else f"{name} ({number})"
