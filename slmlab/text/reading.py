"""Somebody's own file or folder as documents: whatever lies there is read, or told why not."""

import codecs
import errno
import os
import re
import stat
from pathlib import Path
from typing import AnyStr

import charset_normalizer

from slmlab.text.corpus import Document
from slmlab.text.files import DataError, read_regular, user_path
from slmlab.validation import printable

MAX_FILES = 100_000
MAX_DEPTH = 50  # folders within folders; deeper ones are a program's work, or a mistake
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}  # and all that begin with "."
BINARY = "not text (binary)"
# What the first bytes of a text may say of its encoding. A mark of UTF-32 begins as one of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Characters that text hardly has: controls other than tabs, ends of lines and pages, bells,
# backspaces and the escapes of a terminal; and what a decoder makes of bytes that are no text.
ODD = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ue000-\uf8ff\ufffd-\uffff]")
MAX_ODD = 0.05  # their share of a text; of random bytes they are a tenth


def read_documents(path: Path | str, max_bytes: int) -> tuple[list[Document], dict[str, str]]:
    """The texts of a file or folder in the order of their paths, and what was left out, and why.

    Raises `DataError` if there is no such file or folder.
    """
    documents: list[Document] = []
    skipped: dict[str, str] = {}
    left = max_bytes
    for name, file in _files(user_path(path), skipped):
        if left <= 0:
            skipped[name] = f"the first {max_bytes:,} bytes were full"
            continue
        try:
            content = read_regular(file, left + 1)
        except OSError as error:
            skipped[name] = f"cannot be read ({error.strerror})"
            continue
        cut = len(content) > left
        text, note = _decoded(content[:left], cut)
        if text is not None:
            left = 0 if cut else left - len(content)
            documents.append(Document(name, text.rstrip() + "\n"))
        if cut and text is not None:
            note = f"cut: the first {max_bytes:,} bytes are full" + (f"; {note}" if note else "")
        if note:
            skipped[name] = note
    return documents, skipped


def _files(root: Path, skipped: dict[str, str]) -> list[tuple[str, Path]]:
    """The regular files below a path, with the names they go by, in the order of their paths."""
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise DataError(_unreachable(root, error)) from error
    if stat.S_ISREG(mode):
        return [(printable(root.name), root)]
    if not stat.S_ISDIR(mode):
        raise DataError(f"{root} is no regular file; give a file with text in it, or a folder.")
    found: list[Path] = []
    folders = [root]
    while folders and len(found) + len(skipped) <= MAX_FILES:  # no recursion: Python limits it
        folder = folders.pop()
        try:
            for entry in os.scandir(folder):
                path = Path(entry.path)
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():  # may lead out of the folder, or in a circle
                    skipped[_name(path, root)] = "a link; give what it leads to"
                elif entry.is_file(follow_symlinks=False):
                    found.append(path)
                elif not entry.is_dir(follow_symlinks=False):
                    skipped[_name(path, root)] = "no regular file"
                elif len(path.relative_to(root).parts) > MAX_DEPTH:
                    skipped[_name(path, root)] = f"more than {MAX_DEPTH} folders deep"
                elif entry.name not in SKIPPED_FOLDERS:
                    folders.append(path)
        except OSError as error:
            skipped[_name(folder, root)] = f"cannot be read ({error.strerror})"
    if folders:
        skipped["the rest"] = f"more than {MAX_FILES:,} files"
    found.sort(key=lambda path: path.parts)
    return [(_name(path, root), path) for path in found]


def _name(path: Path, root: Path) -> str:
    return printable(path.relative_to(root).as_posix())


def _unreachable(root: Path, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"There is no file or folder {root}; check the spelling and the folder."
    return f"{root} cannot be read ({error.strerror}); give another path, or change its rights."


def _decoded(content: bytes, cut: bool) -> tuple[str | None, str]:
    """The text of some bytes, or None; and what is to be said about it, if anything.

    If it was `cut`, it ends with a line, where it has lines.
    """
    note = ""
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    try:
        decoder = codecs.getincrementaldecoder(encoding or "utf-8-sig")
        text = decoder("replace" if encoding else "strict").decode(content, final=not cut)
    except UnicodeDecodeError:
        if b"\0" in content:
            return None, BINARY
        lines = _whole_lines(content, b"\n") if cut else content
        guess = charset_normalizer.from_bytes(lines).best()
        if guess is None:
            return None, "not text (in no encoding that is known)"
        text = str(guess)
        note = f"read as {guess.encoding}, a guess: it is not UTF-8"
    if content.startswith(b"%PDF-") or "\0" in text:
        return None, BINARY
    if len(ODD.findall(text)) > MAX_ODD * len(text):
        return None, BINARY
    if not text.strip():
        return None, "empty"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _whole_lines(text, "\n") if cut else text, note


def _whole_lines(text: AnyStr, end: AnyStr) -> AnyStr:
    return text[: text.rfind(end) + 1] or text
