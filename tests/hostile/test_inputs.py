"""Whatever is given to be read, encoded or handed in is taken, or refused in one clear sentence.

A foreign error (anything but `ValueError` or `DataError` with a sentence) fails, and so does what
hangs: no case may take longer than a few seconds.
"""

import io
import os
import random
import stat
import tarfile
import tempfile
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import slmlab as lab
from slmlab import DataError, Dataset
from slmlab.show.board import class_board
from slmlab.text import files, reading
from slmlab.text.corpus import Corpus, Document, dataset_from_source
from slmlab.text.files import user_path, write_atomically
from slmlab.text.own_text import OwnText, read_text
from slmlab.text.tokenizer import tokenizer_for, tokenizer_from_spec

NAN = float("nan")
GPT2 = lab.gpt2_tokenizer()
SMALL = lab.right_size(GPT2, "some words to keep")
TRAINED = lab.train_bpe("some words to train on, some words", 300)
TOKENIZERS = {"gpt2": GPT2, "right-sized": SMALL, "trained": TRAINED}


@contextmanager
def refused(most_seconds=5):
    """What is inside must be refused: with a sentence, on one line, and soon."""
    start = time.perf_counter()
    with pytest.raises((ValueError, DataError)) as caught:
        yield caught
    assert type(caught.value) in (ValueError, DataError), repr(caught.value)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and len(said) < 700, said
    assert time.perf_counter() - start < most_seconds


# ----------------------------------------------------------------------------- paths to read


def with_tar(folder):
    with tarfile.open(folder / "x", "w") as archive:
        member = tarfile.TarInfo("readme.txt")
        content = b"plain words of text\n" * 200
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def with_old_tar(folder):
    header = b"readme.txt".ljust(100, b"\0") + b"0000644\0" * 3 + b"text\n".ljust(388, b"\0")
    (folder / "x").write_bytes(header + b"plain words of text\n" * 300)


def with_zip(folder):
    with zipfile.ZipFile(folder / "x", "w") as archive:
        archive.writestr("readme.txt", "plain words of text\n" * 200)


def holding(content):
    return lambda folder: (folder / "x").write_bytes(content)


PLAIN = b"plain words of text\n"
BINARY = {
    "a tar of text": with_tar,
    "a tar before ustar": with_old_tar,
    "a zip": with_zip,
    "an empty image": holding(bytes(100_000)),
    "a sparse image": lambda folder: os.truncate(_made(folder / "x"), 10**11),
    "zeros after text": holding(PLAIN * 1000 + bytes(1000)),
    "text after zeros": holding(bytes(9000) + PLAIN),
    "one zero far in a text": holding(PLAIN * 3000 + b"\0" + PLAIN),
    "zeros after UTF-8's mark": holding(b"\xef\xbb\xbf" + bytes(100)),
    "noise": holding(bytes(b or 1 for b in random.Random(0).randbytes(5000))),
    "control characters": holding(b"a\x01b\x02c\x03d\x04" * 100),
    "noise with UTF-16's mark": holding(b"\xff\xfe" + random.Random(1).randbytes(5000)),
    "noise with UTF-32's mark": holding(b"\xff\xfe\0\0" + b"\x12\x34\x56\x78" * 500),
    "UTF-16 without its mark": holding("plain words".encode("utf-16-le")),
    "a PDF of letters": holding(b"%PDF-1.4\n" + b"1 0 obj << /Length 5 >> endobj\n" * 50),
    "Python bytecode": holding(b"\xa7\r\r\n" + bytes(12) + b"\xe3" + bytes(30)),
    "gzip": holding(b"\x1f\x8b\x08\x08abcd\x02\x03x.txt\0" + b"\x93\x01" * 60),
    "UTF-16's mark alone": holding(b"\xff\xfe"),
    "UTF-8's mark alone": holding(b"\xef\xbb\xbf"),
    "blanks of many kinds": holding("\u3000\u2003\n\u2028".encode()),
}


def _made(path):
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("make", BINARY.values(), ids=BINARY)
def test_no_text_is_read_as_none(make, tmp_path):
    make(tmp_path)
    with refused():
        read_text(tmp_path / "x")
    (tmp_path / "y.txt").write_text("words\n")
    own = read_text(tmp_path)
    assert [d.name for d in own.corpus.documents] == ["y.txt"]
    assert own.skipped["x"].startswith(("not text", "empty"))


TEXTS = {
    "UTF-32, little end first": ("naïve 数 🙂\n" * 9).encode("utf-32"),
    "UTF-32, big end first": b"\0\0\xfe\xff" + ("naïve 数 🙂\n" * 9).encode("utf-32-be"),
    "UTF-16, big end first": b"\xfe\xff" + ("naïve 数 🙂\n" * 9).encode("utf-16-be"),
    "colours of a terminal": ("\x1b[31mnaïve 数 🙂\x1b[0m\n" * 9).encode(),
    "pages": ("naïve 数 🙂\n\f\v" * 9).encode(),
    "lines of an old Macintosh": ("naïve 数 🙂\r" * 9).encode(),
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_text_is_read_as_it_is(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    own = read_text(tmp_path / "x")
    assert own.skipped == {}
    assert own.corpus.documents[0].text.count("naïve 数 🙂") == 9


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("most", [2, 7, 10, 101, 102, 103, 104])
def test_a_cut_never_splits_a_character(encoding, most, tmp_path):
    (tmp_path / "x").write_bytes(("naïve 数 🙂\n" * 99).encode(encoding))
    try:
        text = read_text(tmp_path / "x", max_bytes=most).corpus.documents[0].text
    except DataError:
        assert most < 8
        return
    assert "\ufffd" not in text
    assert ("naïve 数 🙂\n" * 99).startswith(text.rstrip())


def node(path, kind, number=0):
    try:
        os.mknod(path, kind | 0o600, number)
    except (AttributeError, PermissionError):
        pytest.skip("only the administrator of a Unix machine can make one")


def device(path):
    node(path, stat.S_IFCHR, os.makedev(1, 5))


def pipe(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(path)


def socket_at(path):
    node(path, stat.S_IFSOCK)


SPECIAL = {
    "pipe": pipe,
    "device of endless zeros": device,
    "socket": socket_at,
    "loop of links": lambda path: path.symlink_to(path.name),
    "dangling link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_what_is_no_file_never_hangs(make, tmp_path):
    make(tmp_path / "x")
    with refused():
        read_text(tmp_path / "x")
    (tmp_path / "y.txt").write_text("words\n")
    own = read_text(tmp_path)
    assert [d.name for d in own.corpus.documents] == ["y.txt"]
    assert own.skipped["x"].startswith(("no regular file", "a link"))


def test_a_pipe_behind_a_link_is_refused(tmp_path):
    pipe(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with refused():
        read_text(tmp_path / "link")


NO_PATHS = {
    "empty": "",
    "blank": "   ",
    "bytes": b"/tmp",
    "None": None,
    "a number": 5,
    "a list": ["a"],
    "True": True,
    "a zero character": "a\0b",
    "half a character": "a\ud800",
    "nobody's home": "~nobody-has-this-name/x",
    "a text of many lines": "def f():\n    return 1\n" * 50,
    "a text of two lines": "two\nlines",
    "a text of one line": "words " * 100,
    "a path without end": "a/" * 10_000,
    "nowhere": "there/is/no/such/folder",
    "below a file": __file__ + "/x",
}


@pytest.mark.parametrize("path", NO_PATHS.values(), ids=NO_PATHS)
def test_what_is_no_path_gets_a_sentence(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused():
        read_text(path)
    with refused():
        class_board(path)
    if path is not None:  # which means the course's own
        with refused():
            lab.load_corpus(path)


def test_the_text_itself_is_not_taken_for_a_path():
    for text in ("two\nlines", "words " * 100):
        with pytest.raises(DataError, match="give the path of a file, not its text"):
            read_text(text)


@pytest.mark.parametrize("path", ["", None, b"a", "a\0b", 5, "\ud800"])
def test_what_is_no_path_is_not_saved_to(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused():
        write_atomically(path, b"x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["text", None, 5, [1], io.BytesIO(b"a")])
def test_only_bytes_are_saved(content, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with refused():
        write_atomically(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_working_folder_can_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("words\n")
    assert [d.name for d in read_text(".").corpus.documents] == ["a.txt"]


@pytest.fixture
def deep(tmp_path):
    """A folder in a folder in a folder …, 1,000 times; nothing removes it but this."""
    depth = 1000
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        deeper = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    yield tmp_path
    for n in range(depth, 0, -1):
        Path(tmp_path, *["d"] * n).rmdir()


def test_a_folder_that_is_very_deep_is_read_so_far(deep):
    (deep / "d" / "a.txt").write_text("words\n")
    own = read_text(deep)
    (deep / "d" / "a.txt").unlink()
    assert [d.name for d in own.corpus.documents] == ["d/a.txt"]
    assert list(own.skipped.values()) == [f"more than {reading.MAX_DEPTH} folders deep"]


@pytest.fixture
def without_rights():
    """The administrator may read everything, so become somebody else for a while."""
    if not hasattr(os, "seteuid") or os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def shared():
    """A folder that everybody may enter; pytest's own are closed to others, and stay so."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_may_not_be_read_is_told(shared, request):
    folder = shared
    (folder / "open.txt").write_text("words\n")
    read_text(folder)  # loads what Python may not be allowed to load later
    (folder / "closed").mkdir(mode=0o000)
    (folder / "locked.txt").write_text("words\n")
    (folder / "locked.txt").chmod(0o000)
    request.getfixturevalue("without_rights")
    own = read_text(folder)
    assert [d.name for d in own.corpus.documents] == ["open.txt"]
    assert own.skipped == {
        "closed": "cannot be read (Permission denied)",
        "locked.txt": "cannot be read (Permission denied)",
    }
    for place in ("closed", "locked.txt", "closed/x"):
        with refused():
            read_text(folder / place)
    with refused():
        class_board(folder / "closed")


@pytest.mark.parametrize("change", ["vanishes", "becomes a folder", "becomes a pipe", "grows"])
def test_files_that_change_meanwhile_do_no_harm(change, tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("words\n")
    read = files.read_regular

    def changing(path, most):
        if path.name == "a.txt":
            path.unlink()
            if change == "becomes a folder":
                path.mkdir()
            elif change == "becomes a pipe":
                pipe(path)
            elif change == "grows":
                path.write_text("more words\n" * 1000)
        return read(path, most)

    monkeypatch.setattr(reading, "read_regular", changing)
    own = read_text(tmp_path, max_bytes=100)
    assert own.corpus.documents
    assert "a.txt" in own.skipped


def test_a_pipe_that_takes_the_place_of_a_file_is_seen_when_it_is_open(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("words\n")
    opened = os.open

    def late(path, flags, *rest, **options):
        if Path(path).name == "a":
            Path(path).unlink()
            pipe(path)
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", late)
    with refused():
        read_text(tmp_path / "a")


def test_names_of_files_stay_on_their_line(tmp_path):
    (tmp_path / "a\n# File: b\x1b[2J.txt").write_text("words\n")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff.txt"))).write_text("words\n")
    own = read_text(tmp_path)
    assert own.text.count("\n# File: ") == 1
    assert GPT2.decode(GPT2.encode(own.text)) == own.text
    assert all(name.isprintable() for d in own.corpus.documents for name in [d.name])


@pytest.mark.parametrize("most", [0, -1, 1.5, "5", None, NAN, True, 10**13 + 0.5])
def test_a_limit_that_is_none_is_refused(most, tmp_path):
    (tmp_path / "a").write_text("words\n")
    with refused():
        read_text(tmp_path, max_bytes=most)


def test_a_huge_limit_takes_no_memory(tmp_path):
    (tmp_path / "a").write_text("words\n")
    assert read_text(tmp_path, max_bytes=10**13).skipped == {}


@pytest.mark.parametrize("most", [10**13, 10**30])
def test_a_sparse_giant_is_read_so_far(tmp_path, monkeypatch, most):
    monkeypatch.setattr("slmlab.text.own_text.MOST_BYTES", 10**6)
    (tmp_path / "a").write_text("words\n")
    os.truncate(tmp_path / "a", 10**12)  # a file of holes: nothing is written
    with pytest.raises(DataError, match="not text"):
        read_text(tmp_path, max_bytes=most)


# ------------------------------------------------------------------------ tokenizers and datasets

NO_TEXT = {
    "None": None,
    "bytes": b"words",
    "a number": 5,
    "a list": ["words"],
    "half a character": "a\ud800b",
    "the other half": "\udfff",
    "a path": Path("a"),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("text", NO_TEXT.values(), ids=NO_TEXT)
def test_what_is_no_text_is_not_encoded(text, tokenizer):
    with refused():
        tokenizer.encode(text)


@pytest.mark.parametrize("given", [*NO_TEXT.values(), ""], ids=[*NO_TEXT, "empty"])
def test_what_is_no_text_makes_no_vocabulary_and_no_dataset(given, dataset):
    for use in (
        lambda: lab.right_size(GPT2, given),
        lambda: lab.train_bpe(given, 300),
        lambda: tokenizer_for(given, "right-sized"),
        lambda: Dataset.from_text(given, GPT2),
        lambda: dataset.with_test(given),
    ):
        with refused():
            use()


NO_IDS = {
    "negative": [-1],
    "too large": [10**6],
    "enormous": [10**30],
    "a float": [1.0],
    "half": [1.5],
    "NaN": [NAN],
    "text": "12",
    "texts": ["1"],
    "None in it": [None],
    "True": [True],
    "None": None,
    "a number": 5,
    "two rows": [[1, 2], [3, 4]],
    "a float tensor": torch.tensor([1.0]),
    "two rows of a tensor": torch.zeros(2, 2, dtype=torch.long),
    "a tensor of one": torch.tensor(1),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("ids", NO_IDS.values(), ids=NO_IDS)
def test_what_are_no_ids_are_not_decoded(ids, tokenizer):
    with refused():
        tokenizer.decode(ids)
    if isinstance(ids, list):
        with refused():
            tokenizer.token_bytes(ids[0])


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_numpys_and_tensors_ids_are_ids(tokenizer):
    ids = tokenizer.encode("some words")
    for same in (np.array(ids), torch.tensor(ids), tuple(ids), iter(ids), np.uint16(ids)):
        assert tokenizer.decode(same) == "some words"
    assert tokenizer.token_bytes(np.int64(ids[0])) == tokenizer.token_bytes(ids[0])


NO_SIZES = {
    "text": "300",
    "a float": 300.0,
    "NaN": NAN,
    "True": True,
    "None": None,
    "negative": -300,
    "too small": 255,
    "too large": 10**13,
    "enormous": 10**5000,
    "a list": [300],
}


@pytest.mark.parametrize("size", NO_SIZES.values(), ids=NO_SIZES)
def test_a_vocabulary_of_no_size_is_refused(size):
    with refused():
        lab.train_bpe("some words", size)


def test_numpys_sizes_are_sizes():
    assert lab.train_bpe("some words some words", np.int64(257)).n_vocab == 257


NO_VOCABULARIES = [
    *(None, 5, b"gpt2", ["gpt2"], "", "GPT2", "gpt2 ", "500", "bpe", "bpe-", "bpe-5", "bpe-255"),
    *("bpe-99999999999", "bpe-" + "9" * 5000, "bpe--500", "bpe-5e2", "bpe-500.0", "bpe-٣٠٠٠"),
    *("bpe-1_000", "bpe- 500", "bpe-500\n", "right-sized\0", True, NAN),
]


@pytest.mark.parametrize("name", NO_VOCABULARIES, ids=lambda name: repr(name)[:20])
def test_a_vocabulary_without_such_a_name_is_refused(name):
    with refused():
        lab.corpus_dataset(1000, name)
    with refused():
        OwnText(Corpus((Document("a", "some words\n" * 100),)), {}).dataset(name)


SPECS = {
    "None": None,
    "a list": [],
    "nothing": {},
    "unknown": {"kind": "wordpiece"},
    "a list of a kind": {"kind": ["bpe"]},
    "no tokens": {"kind": "bpe"},
    "tokens as text": {"kind": "bpe", "tokens": "YQ=="},
    "numbers as tokens": {"kind": "bpe", "tokens": list(range(300))},
    "no base64": {"kind": "bpe", "tokens": ["é*"] * 300},
    "too few": {"kind": "bpe", "tokens": ["YQ=="]},
    "twice the same": {"kind": "bpe", "tokens": TRAINED.spec()["tokens"] * 2},
    "an empty token": {"kind": "bpe", "tokens": [*TRAINED.spec()["tokens"], ""]},
    "no byte 0": {"kind": "bpe", "tokens": [t for t in TRAINED.spec()["tokens"] if t != "AA=="]},
    "no base": {"kind": "right-sized", "kept": [1]},
    "an unknown base": {"kind": "right-sized", "base": {"kind": "x"}, "kept": [1]},
    "cut to size twice": {"kind": "right-sized", "base": SMALL.spec(), "kept": [1]},
    "nothing kept": {"kind": "right-sized", "base": {"kind": "gpt2"}},
    "floats kept": {"kind": "right-sized", "base": {"kind": "gpt2"}, "kept": [1.5]},
    "negative ids kept": {"kind": "right-sized", "base": {"kind": "gpt2"}, "kept": [-1]},
    "ids beyond the base": {"kind": "right-sized", "base": {"kind": "gpt2"}, "kept": [50257]},
    "text kept": {"kind": "right-sized", "base": {"kind": "gpt2"}, "kept": "123"},
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_forged_tokenizer_is_refused(spec):
    with refused():
        tokenizer_from_spec(spec)


def test_a_tokenizer_nested_without_end_is_refused():
    spec = {"kind": "gpt2"}
    for _ in range(5000):
        spec = {"kind": "right-sized", "base": spec, "kept": [1]}
    with refused():
        tokenizer_from_spec(spec)


def test_a_vocabulary_is_cut_to_size_once():
    for wrong in (SMALL, None, "gpt2"):
        with refused():
            lab.right_size(wrong, "some words")


NO_AMOUNTS = ["5000", 5000.0, NAN, True, 0, -5, 10**13, 10**400, [5000], b"5"]


@pytest.mark.parametrize("n_tokens", NO_AMOUNTS, ids=lambda n: repr(n)[:20])
def test_an_amount_of_text_that_is_none_is_refused(n_tokens, text):
    with refused():
        lab.corpus_dataset(n_tokens)
    with refused():
        Dataset.from_text(text, GPT2, n_tokens)


def test_numpys_amounts_are_amounts():
    assert lab.corpus_dataset(np.int32(1000)).source["n_tokens"] == 1000


@pytest.mark.parametrize("share", [NAN, 0, 1, -0.1, 1.5, "0.1", None, True, 10**400, [0.1]])
def test_a_share_that_is_none_is_refused(share, text):
    with refused():
        Dataset.from_text(text, GPT2, val_fraction=share)


@pytest.mark.parametrize("tokenizer", [None, "gpt2", 5, lab.gpt2_tokenizer, object()])
def test_what_is_no_tokenizer_is_refused(tokenizer, text):
    with refused():
        Dataset.from_text(text, tokenizer)


@pytest.mark.parametrize(
    ("batch_size", "block_size", "seed"),
    [
        *((0, 8, 0), (-1, 8, 0), (1.5, 8, 0), ("4", 8, 0), (True, 8, 0), (10**13, 8, 0)),
        *((4, 0, 0), (4, 10**6, 0), (4, 2413, 0), (4, "8", 0), (4, NAN, 0), (4, None, 0)),
        *((4, 8, -1), (4, 8, "1"), (4, 8, 10**30), (4, 8, None), (4, 8, 0.5)),
    ],
)
def test_a_batch_that_there_is_not_is_refused(batch_size, block_size, seed, dataset):
    with refused():
        dataset.batch(batch_size, block_size, seed)


@pytest.mark.parametrize("n", [0, -1, 1.5, "8", None, True])
def test_sequences_of_no_length_are_refused(n, dataset):
    with refused():
        dataset.overlap(n)


@pytest.mark.parametrize(
    "ids",
    [
        *([1, 2, 3], None, "123", np.arange(5), torch.ones(5), torch.zeros(5, dtype=torch.int32)),
        *(torch.zeros(2, 5, dtype=torch.long), torch.tensor(5), torch.tensor([-1, 2])),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_a_dataset_is_made_of_ids(ids):
    right = {"train": torch.arange(5), "val": torch.arange(5), "test": torch.arange(5)}
    for part in right:
        if part == "test" and ids is None:
            continue  # there may be none
        with refused():
            Dataset(**right | {part: ids}, tokenizer=GPT2)


@pytest.mark.parametrize("given", ["a", "", "\ud800", None])
def test_a_test_text_too_short_for_a_loss_is_refused(given, dataset):
    with refused():
        dataset.with_test(given)


@pytest.mark.parametrize(
    "source",
    [
        *(None, [], "corpus", {}, {"kind": "own text"}, {"kind": ["corpus"]}, {"kind": "corpus"}),
        {"kind": "corpus", "n_tokens": "1000", "vocabulary": "gpt2"},
        {"kind": "corpus", "n_tokens": 10**13, "vocabulary": "gpt2"},
        {"kind": "corpus", "n_tokens": 1000, "vocabulary": ["gpt2"]},
        {"kind": "corpus", "n_tokens": 1000, "vocabulary": "gpt2", "sha256": "0"},
    ],
)
def test_a_forged_source_is_refused(source):
    with pytest.raises(ValueError):
        dataset_from_source(source)


LONG_RUNS = {
    "letters": "a" * 400_000,
    "blanks": " " * 1_500_000,
    "line ends": "\n" * 1_500_000,
    "blanks of many kinds": " \t\n\u3000" * 400_000,
    "digits": "7" * 400_000,
    "signs": "=" * 400_000,
    "letters of three bytes": "数" * 300_000,
    "blanks before a word": " " * 1_200_000 + "word",
    "blanks between words": "a" + " \n" * 600_000 + "b\n",
}


@pytest.mark.parametrize("text", LONG_RUNS.values(), ids=LONG_RUNS)
def test_a_run_without_end_is_encoded_and_learnt_soon(text):
    start = time.perf_counter()
    assert GPT2.decode(GPT2.encode(text)) == text
    trained = lab.train_bpe(text, 300)
    assert trained.decode(trained.encode(text)) == text
    assert time.perf_counter() - start < 8


@pytest.mark.parametrize("after", ["", "x", " x", "\nx", "7", "=", "'s", "数"])
@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\r\n", " \n", "\u3000", "\x85", "\x1c"])
def test_gpt2s_tokens_of_a_long_run_are_those_of_its_pattern(blank, after, monkeypatch):
    text = "a" + blank * 12_000 + after
    ids = GPT2.encode(text)
    assert ids == GPT2._encoding.encode_ordinary(text)


@pytest.mark.parametrize("content", ["a" * 5000, "a b\nc d", "x\n" * 20, "\n" * 500 + "a"])
def test_a_text_too_small_for_a_dataset_is_refused(content):
    own = OwnText(Corpus((Document("a", content),)), {})
    with refused():
        own.dataset()


@pytest.mark.parametrize("n", [0, -1, 1.5, "8", None, True, NAN])
def test_no_number_of_prompts_is_refused(n):
    own = OwnText(Corpus((Document("a", "some words\n" * 50),)), {})
    with refused():
        own.prompts(n)


def test_any_number_of_prompts_gives_those_there_are():
    own = OwnText(Corpus((Document("a", "some words\n" * 50),)), {})
    assert own.prompts(10**13) == ("some words",)


def test_a_text_that_is_no_python_is_inspected_as_text():
    corpus = Corpus((Document("a.txt", "no python at all: ("),))
    with refused():
        corpus.inspect()
    assert OwnText(corpus, {}).inspect().loc["files", "your text"] == "1"
    assert OwnText(Corpus(()), {}).inspect().loc["files", "your text"] == "0"


# ------------------------------------------------------------------ foreign folders of the course


def corpus_of(folder, sums, **scripts):
    for name, content in scripts.items():
        (folder / f"{name}.py").write_bytes(content)
    (folder / "SHA256SUMS").write_bytes(sums)
    return folder


def listed(content, name):
    return f"{files.sha256(content)}  {name}\n".encode()


def test_a_name_in_a_foreign_list_does_not_rule_the_terminal(tmp_path):
    name = "\x1b]0;pwned\x07.py"
    (tmp_path / name).write_bytes(b"x = 1\n")
    corpus_of(tmp_path, listed(b"x = 1\n", name) + listed(b"x = 1\n", "a.py"), a=b"x = 1\n")
    with refused() as told:
        lab.load_corpus(tmp_path)
    assert str(told.value).isprintable()


def test_a_corpus_of_links_to_a_giant_takes_no_memory(tmp_path):
    giant = _made(tmp_path / "giant")
    os.truncate(giant, 10**8)
    for i in range(3):
        (tmp_path / f"{i}.py").symlink_to(giant)
    (tmp_path / "SHA256SUMS").write_text("".join(f"{'0' * 64}  {i}.py\n" for i in range(3)))
    with pytest.raises(DataError, match="have 300,000,000 bytes; read more than 20,000,000 by"):
        lab.load_corpus(tmp_path)


@pytest.mark.parametrize(
    "sums",
    [
        *(b"", b"\n\n", b"\xff\xfe\x00", b"no hash", listed(b"x = 1\n", "b.py")),
        *(listed(b"x = 1\n", "../a.py"), listed(b"x = 1\n", "/etc/hostname"), bytes(10_000)),
    ],
)
def test_a_forged_list_of_hashes_is_refused(sums, tmp_path):
    with refused():
        lab.load_corpus(corpus_of(tmp_path, sums, a=b"x = 1\n"))


def test_a_list_of_hashes_opens_nothing_outside_its_folder(tmp_path):
    (tmp_path / "secret.py").write_bytes(b"x = 1\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    sums = listed(b"x = 1\n", "../secret.py") + listed(b"y = 1\n", "a.py")
    corpus = lab.load_corpus(corpus_of(inside, sums, a=b"y = 1\n"))
    assert [d.name for d in corpus.documents] == ["a.py"]


@pytest.mark.parametrize("make", [pipe, device, Path.mkdir])
@pytest.mark.parametrize("name", ["SHA256SUMS", "a.py"])
def test_a_corpus_of_pipes_and_devices_is_refused(name, make, tmp_path):
    corpus_of(tmp_path, listed(b"x = 1\n", "a.py"), a=b"x = 1\n")
    (tmp_path / name).unlink()
    make(tmp_path / name)
    with refused():
        lab.load_corpus(tmp_path)


def test_a_script_that_is_no_utf8_is_refused(tmp_path):
    with refused():
        lab.load_corpus(corpus_of(tmp_path, listed(b"\xff\xff", "a.py"), a=b"\xff\xff"))


# -------------------------------------------------------------------------------- the class board

HEADER = "title,guessed_gap,locked,real_gap,distance,guessed_best_step,real_best_step\n"


def handed_in(folder, *rows, name="anna.csv", header=HEADER):
    (folder / name).write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")


TITLES = [
    "=cmd()",
    "+1",
    "-1",
    "@x",
    "\t=1",
    "  =1",
    "＝1",
    "a;=cmd()",
    '"=cmd(""x"")"',
    "=1+1|' /C'!A0",
]


@pytest.mark.parametrize("title", TITLES)
def test_no_title_reaches_a_spreadsheet_as_a_formula(title, tmp_path):
    handed_in(tmp_path, f"{title},1.0,True,2.0,1.0,,")
    board = class_board(tmp_path)
    cells = [cell for line in board.to_csv().split("\n")[1:2] for cell in line.split(";")]
    assert all(cell.strip(' "')[0] not in "=+-@＝" for cell in cells)


@pytest.mark.parametrize("title", ["=cmd()", "+1", "-1", "@x", "\t=1", "Phase 1"])
def test_no_card_writes_a_formula_either(title, tmp_path, monkeypatch):
    from slmlab.show.widgets import guesses, prediction

    monkeypatch.setattr(guesses, "SESSION", {})
    prediction.PredictionCard(title, 1.0).lock_button.click()
    table = lab.predictions()
    assert table.index[0][0] not in "=+-@\t"
    table.to_csv(tmp_path / "anna.csv")
    assert list(class_board(tmp_path).index) == list(table.index)


@pytest.mark.parametrize("claimed", ["0.0", "", "-5", "nan", "inf", "far", "1e999"])
def test_a_claimed_distance_is_not_believed(claimed, tmp_path):
    handed_in(tmp_path, f"Phase 1,1.0,True,4.0,{claimed},,")
    board = class_board(tmp_path)
    assert board.loc["Phase 1", ["median_distance", "within_half"]].tolist() == [3.0, 0]


def test_a_file_without_a_distance_is_enough(tmp_path):
    handed_in(tmp_path, "Phase 1,1.0,True,4.0", header="title,guessed_gap,locked,real_gap\n")
    assert class_board(tmp_path).loc["Phase 1", "median_distance"] == 3.0


ROWS = {
    "no guess": "Phase 1,,True,4.0,,,",
    "NaN as a guess": "Phase 1,nan,True,4.0,,,",
    "an endless guess": "Phase 1,inf,True,4.0,,,",
    "a guess too large": "Phase 1,1e308,True,4.0,,,",
    "a guess beyond floats": "Phase 1,1e999,True,4.0,,,",
    "a guess in words": "Phase 1,four,True,4.0,,,",
    "a formula as a guess": "Phase 1,=1+1,True,4.0,,,",
    "an endless result": "Phase 1,1.0,True,inf,,,",
    "a result too large": "Phase 1,1.0,True,1e300,,,",
    "a result in words": "Phase 1,1.0,True,good,,,",
    "no lock": "Phase 1,1.0,,4.0,,,",
    "a lock in words": "Phase 1,1.0,maybe,4.0,,,",
    "a quote without end": '"Phase 1,1.0,True,4.0,,,',
    "too few cells": "Phase 1",
    "zeros": "\0" * 50,
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_that_no_card_writes_names_its_file(row, tmp_path):
    handed_in(tmp_path, "Phase 2,1.0,True,4.0,3.0,,", row)
    with refused():
        class_board(tmp_path)


def archive(kind):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("anna.csv", HEADER + "Phase 1,1.0,True,4.0,3.0,,\n")
    return content.getvalue()[:kind]


HANDED_IN = {
    "broken.zip": archive(50),
    "whole.zip": archive(None),
    "broken.gz": b"\x1f\x8b\x08\x00broken",
    "broken.bz2": b"BZh91AY&SY" + bytes(20),
    "broken.xz": b"\xfd7zXZ\x00" + bytes(20),
    "broken.zst": b"\x28\xb5\x2f\xfd" + bytes(20),
    "broken.tar": bytes(1024),
    "table.xlsx": archive(None),
    "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "utf16.csv": (HEADER + "Phase 1,1.0,True,4.0,3.0,,\n").encode("utf-16"),
    "empty.csv": b"",
    "other.csv": b"step,loss\n1,2.0\n",
    "huge.csv": HEADER.encode() + b"Phase 1,1.0,True,4.0,3.0,,\n" * 50_000,
    "one line.csv": b"x" * 900_000,
    "columns.csv": b"," * 200_000 + b"\n" + b"," * 200_000,
    "quotes.csv": HEADER.encode() + b'"' * 99_999,
}


@pytest.mark.parametrize("name", HANDED_IN)
def test_what_is_no_table_names_its_file(name, tmp_path):
    handed_in(tmp_path, "Phase 1,1.0,True,4.0,3.0,,")
    (tmp_path / name).write_bytes(HANDED_IN[name])
    with refused():
        class_board(tmp_path)


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_what_is_no_file_is_named_too(make, tmp_path):
    handed_in(tmp_path, "Phase 1,1.0,True,4.0,3.0,,")
    make(tmp_path / "ben.csv")
    with refused():
        class_board(tmp_path)


def test_a_sparse_giant_is_not_read(tmp_path):
    os.truncate(_made(tmp_path / "ben.csv"), 10**11)
    with refused():
        class_board(tmp_path)


def test_the_name_of_a_file_stays_on_its_line(tmp_path):
    (tmp_path / "a\nb\x1b[2J.csv").write_text("no table")
    with refused():
        class_board(tmp_path)


def test_a_learner_counts_once_for_a_title_however_it_is_written(tmp_path):
    rows = ["Phase 1,1.0,True,4.0,3.0,,", " Phase  1,2.0,True,4.0,3.0,,", "Phase 1,3.0,True,4.0,,,"]
    handed_in(tmp_path, *rows)
    assert class_board(tmp_path).loc["Phase 1", ["learners", "median_guess"]].tolist() == [1, 1.0]


# ---------------------------------------------------------------------------------- several at once


def test_what_killed_writes_have_left_of_a_file_is_tidied_after_a_day(tmp_path, monkeypatch):
    target, other = tmp_path / "table.csv", tmp_path / "other.csv"
    names = iter(["a" * 16, "b" * 16, "c" * 16, "d" * 16])
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: next(names))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # killed: it tidies nothing itself
        for path in (target, target, other):
            with pytest.raises(KeyboardInterrupt):
                lab.write_atomically(path, b"half")
    left = sorted(tmp_path.iterdir())
    assert len(left) == 3
    mine = tmp_path / ".0123456789abcdef.tmp"
    mine.write_text("mine")
    for path in (*left[:1], left[2], mine):  # one of each, long ago
        os.utime(path, (0, 0))
    old = [path for path in left if not path.stat().st_mtime]
    lab.write_atomically(target, b"whole")
    kept = {path for path in left if path.exists()}
    assert target.read_bytes() == b"whole" and mine.exists()
    own = f".{files.sha256(b'table.csv')[:16]}."
    assert kept == {p for p in left if p not in old or not p.name.startswith(own)}


def test_two_threads_save_whole_files(tmp_path):
    contents = [bytes([letter]) * 200_000 for letter in b"abcd"]
    path, seen = tmp_path / "a", set()
    write_atomically(path, contents[0])

    def save(content):
        for _ in range(10):
            write_atomically(path, content)

    threads = [threading.Thread(target=save, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.add(path.read_bytes())
    assert seen <= set(contents)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_home_is_home_for_every_reader(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.txt").write_text("words\n")
    assert read_text("~").corpus == read_text(tmp_path).corpus == read_text("~/").corpus
    assert user_path("~/own.txt") == tmp_path / "own.txt"
