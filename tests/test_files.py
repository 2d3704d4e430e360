"""Paths as people give them, files read only if they are files, and saved whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from slmlab.text import files
from slmlab.text.files import DataError, read_regular, user_path, write_atomically
from slmlab.validation import printable


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_home_is_meant_by_a_tilde_when_reading_and_when_saving(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert user_path("~/a") == user_path(Path("~/a")) == tmp_path / "a"
    write_atomically("~/a", b"one")
    assert names_in(tmp_path) == ["a"]


def test_a_name_is_printed_on_one_line():
    assert printable("a\nb\x1b[31m\udc80") == "a\ufffdb\ufffd[31m\ufffd"
    assert printable("naïve 数.txt") == "naïve 数.txt"


def test_no_more_is_read_than_asked_for(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 3) == b"123"
    assert read_regular(tmp_path / "a", 10) == b"12345"


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    write_atomically(path, b"one")
    write_atomically(path, bytearray(b"two"))
    assert path.read_bytes() == b"two"
    assert names_in(path.parent) == ["a.txt"]


def test_the_rights_of_a_file_stay(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"one")
    old.chmod(0o640)
    (tmp_path / "usual").write_bytes(b"")
    write_atomically(old, b"two")
    write_atomically(new, b"two")
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 255)
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "real").write_bytes(b"one")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("later")
    write_atomically(tmp_path / "link", b"two")
    write_atomically(tmp_path / "dangling", b"three")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"two"
    assert (tmp_path / "later").read_bytes() == b"three"


def device(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except (AttributeError, PermissionError):
        pytest.skip("only the administrator of a Unix machine can make a device")


def pipe(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path.name)


def folder_behind_a_link(path):
    (path.parent / "folder").mkdir()
    path.symlink_to("folder")


NOT_FILES = {
    "device": device,
    "pipe": pipe,
    "folder": Path.mkdir,
    "loop of links": loop,
    "link to a folder": folder_behind_a_link,
}


@pytest.mark.parametrize("make", NOT_FILES.values(), ids=NOT_FILES)
def test_nothing_but_a_file_is_replaced_or_read(make, tmp_path):
    path = tmp_path / "place"
    make(path)
    kind, before = path.lstat().st_mode, names_in(tmp_path)
    with pytest.raises(DataError, match=r"place could not be written \(.+\); .* choose a path"):
        write_atomically(path, b"one")
    assert path.lstat().st_mode == kind
    assert names_in(tmp_path) == before
    with pytest.raises(OSError):
        read_regular(path, 10)


def test_a_protected_file_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # the administrator may all
    with pytest.raises(DataError, match=r"could not be written \(it is protected from writing\)"):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"


def test_a_file_in_the_place_of_a_folder_gets_a_sentence(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    with pytest.raises(DataError, match="could not be written"):
        write_atomically(tmp_path / "a" / "b", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"


STEPS = ["os.fsync", "Path.replace", "Path.open", "Path.chmod", "Path.mkdir"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", STEPS)
def test_at_any_step_a_stop_leaves_the_old_file(step, error, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    owner, name = step.split(".")

    def stop(*_args, **_options):
        raise error

    monkeypatch.setattr(os if owner == "os" else Path, name, stop)
    with pytest.raises((KeyboardInterrupt, DataError)):
        write_atomically(path, b"two")
    monkeypatch.undo()
    assert path.read_bytes() == b"one"
    assert names_in(tmp_path) == ["a"]


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("content"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda *a: (done.append("name"), replace(*a)))
    write_atomically(tmp_path / "a", b"one")
    assert done[:2] == ["content", "name"]
