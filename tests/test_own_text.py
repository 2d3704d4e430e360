"""Whatever a learner points at is read, or told why not; secrets are named before training."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.text.own_text import OwnText, read_text
from slmlab.text.tokenizer import tokenizer_for

PROSE = "Grüße aus Köln: schöne Straße, außer für Bären. Übung macht den Meister.\n" * 20


def folder_of(tmp_path, **files):
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    folder = folder_of(
        tmp_path, b_dot_txt=b"second", a_dot_py=b"first = 1\n", sub__c_dot_md=b"# third"
    )
    own = read_text(folder)
    assert [d.name for d in own.corpus.documents] == ["a.py", "b.txt", "sub/c.md"]
    assert own.text.startswith("# File: a.py\n\nfirst = 1\n")
    assert own.skipped == {}


def test_a_single_file_is_read(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("one line", encoding="utf-8")
    assert [d.text for d in read_text(str(path)).corpus.documents] == ["one line\n"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_files_are_read_as_they_are(tmp_path, encoding):
    path = tmp_path / "text.txt"
    path.write_bytes(PROSE.replace("\n", "\r\n").encode(encoding))
    own = read_text(path)
    assert own.corpus.documents[0].text == PROSE
    assert own.skipped == {}


def test_another_encoding_is_guessed_and_said(tmp_path):
    folder = folder_of(tmp_path, old_dot_txt=PROSE.encode("cp1252"), new_dot_txt=PROSE.encode())
    own = read_text(folder)
    assert own.corpus.documents[1].text == PROSE
    assert "a guess: it is not UTF-8" in own.skipped["old.txt"]


def test_binary_empty_hidden_and_linked_files_are_skipped(tmp_path):
    folder = folder_of(
        tmp_path,
        a_dot_txt=b"text",
        b_dot_bin=bytes(range(256)) * 4,
        c_dot_txt=b" \n",
        _dot_git__config=b"secret",
        __pycache____d_dot_txt=b"compiled",
    )
    (tmp_path / "circle").symlink_to(tmp_path)
    own = read_text(folder)
    assert [d.name for d in own.corpus.documents] == ["a.txt"]
    assert own.skipped == {
        "b.bin": "not text (binary)",
        "c.txt": "empty",
        "circle": "a link; give what it leads to",
    }


@pytest.mark.parametrize("content", [b"", b"\n\n", bytes(range(256)) * 4])
def test_a_folder_without_text_gets_a_sentence(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(lab.DataError, match="There is no text in"):
        read_text(tmp_path)


def test_a_path_that_is_not_there_gets_a_sentence(tmp_path):
    with pytest.raises(lab.DataError, match="check the spelling"):
        read_text(tmp_path / "nowhere")


def test_a_large_text_is_cut_at_a_line_and_said(tmp_path):
    folder = folder_of(
        tmp_path, a_dot_txt="zwölf Wörter\n".encode() * 100, b_dot_txt=b"never reached"
    )
    own = read_text(folder, max_bytes=500)
    assert own.corpus.documents[0].text.endswith("zwölf Wörter\n")
    assert len(own.corpus.documents[0].text.encode()) <= 500
    assert own.skipped["a.txt"] == "cut: the first 500 bytes are full"
    assert "b.txt" in own.skipped


def test_one_endless_line_is_cut_between_characters(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("ü" * 1000, encoding="utf-8")
    assert set(read_text(path, max_bytes=501).corpus.documents[0].text) == {"ü", "\n"}


@pytest.mark.slow
@given(st.text(min_size=1))
def test_any_unicode_text_round_trips(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("own") / "text"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        own = read_text(path)
    except lab.DataError:
        return
    if not own.skipped:
        for vocabulary in ("right-sized", "bpe-300"):
            tokenizer = tokenizer_for(own.text, vocabulary)
            assert tokenizer.decode(tokenizer.encode(own.text)) == own.text


def test_secrets_are_named_without_being_shown(tmp_path):
    lines = [
        "x = 1",
        'api_key = "sk-abc123def456ghi789jkl012mno345pq"',
        "-----BEGIN RSA PRIVATE KEY-----",
        'aws = "AKIAIOSFODNN7EXAMPLE"',
        'password = input("your password: ")',
        "token: ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    ]
    path = tmp_path / "settings.py"
    path.write_text("\n".join(lines))
    table = read_text(path).secrets()
    assert sorted(set(table["line"])) == [2, 3, 4, 6]
    assert set(table["file"]) == {"settings.py"}
    assert "sk-abc" not in table.to_string()


def test_ordinary_code_holds_no_secret(corpus):
    assert OwnText(corpus, {}).secrets().empty


def test_the_inspection_counts(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("same line\n" * 3 + "another line\n")
    column = read_text(path).inspect()["your text"]
    assert column["files"] == "1"
    assert column["lines that occur more than once"] == "40%"  # 3 of 5, with the header


def test_a_line_is_too_little_to_train_on(tmp_path):
    (tmp_path / "a.txt").write_text("only one line")
    with pytest.raises(ValueError, match="give at least 100, better 10,000"):
        read_text(tmp_path).dataset()


def test_beyond_the_limit_nothing_is_misread(tmp_path):
    noise = random.Random(0).randbytes(6000)
    folder = folder_of(
        tmp_path, a_dot_zip=noise, b_dot_txt=PROSE.encode("cp1252"), c_dot_txt=b"end"
    )
    own = read_text(folder, max_bytes=600)
    assert [d.name for d in own.corpus.documents] == ["b.txt"]
    assert own.corpus.documents[0].text in PROSE
    assert own.skipped["a.zip"].startswith("not text")
    assert own.skipped["b.txt"].startswith("cut: ") and "a guess" in own.skipped["b.txt"]
    assert "bytes were full" in own.skipped["c.txt"]


def test_the_line_of_a_secret_counts_blank_lines(tmp_path):
    (tmp_path / "a.py").write_text('\n\n\n\naws = "AKIAIOSFODNN7EXAMPLE"\n')
    assert read_text(tmp_path).secrets()["line"].tolist() == [5]


def test_overlaps_are_counted_in_gpt2_tokens_whatever_the_vocabulary(tmp_path, corpus):
    (tmp_path / "corpus.txt").write_text(corpus.text)
    own = read_text(tmp_path)
    gpt2 = lab.gpt2_tokenizer()
    train, *others = (gpt2.encode(part.text) for part in own.parts[:3])
    shares = [lab.copy_rate(ids, train) for ids in others]
    assert own.overlaps == dict(zip(("validation", "held-out"), shares, strict=True))
    assert 0 < min(shares) <= max(shares) < 1
