"""The corpus and its published statistics; datasets, their splits and their batches."""

import math
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab import DataError, Dataset
from slmlab.text.corpus import Corpus, Document
from slmlab.text.dataset import ngrams
from slmlab.text.families import FAMILY
from slmlab.text.files import data_path, sha256
from slmlab.text.tokenizer import gpt2_tokenizer


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(data_path("corpus"), tmp_path / "corpus")


def test_statistics_match_the_published_ones(corpus):
    table = corpus.inspect()
    ours, published = table["ours"], table["published"]
    assert ours["characters"] == pytest.approx(published["characters"], rel=0.02)
    assert 23_000 <= ours["tokens"] <= 1.01 * published["tokens"]
    assert ours["distinct tokens"] == pytest.approx(published["distinct tokens"], rel=0.05)
    for exact in ("files", "functions", "ChromaDB operations"):
        assert ours[exact] == published[exact]


def test_published_statistics_are_those_of_the_experiment(corpus):
    assert corpus.inspect()["published"].to_dict() == {
        "characters": 56977,
        "tokens": 23028,
        "distinct tokens": 971,
        "files": 31,
        "functions": 129,
        "ChromaDB operations": 56,
    }


def test_inspect_counts_what_it_says():
    source = "def f():\n    def g(): pass\n    client.get()\nchromadb.Client().x()\nlist.add()\n"
    counts = Corpus((Document("a.py", source),)).inspect()["ours"]
    assert counts["functions"] == 2
    assert counts["ChromaDB operations"] == 2
    assert counts["characters"] == len("# File: a.py\n\n" + source)


def test_each_file_stands_under_its_name_in_name_order(corpus):
    names = [d.name for d in corpus.documents]
    assert names == sorted(names)
    headers = [line for line in corpus.text.splitlines() if line.startswith("# File: ")]
    assert headers == [f"# File: {name}" for name in names]


@pytest.mark.parametrize("prompt", lab.PROMPTS)
def test_every_published_prompt_occurs(corpus, prompt):
    assert prompt in corpus.text


def test_an_altered_script_is_refused(folder):
    script = folder / "pdf_utils.py"
    script.write_text(script.read_text() + "\n# one more line\n")
    with pytest.raises(DataError, match=r"pdf_utils\.py is not the file .*; restore it"):
        lab.load_corpus(folder)


def test_a_truncated_script_is_refused(folder):
    script = folder / "pdf_utils.py"
    script.write_bytes(script.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"pdf_utils\.py is not the file"):
        lab.load_corpus(folder)


def test_a_missing_script_is_refused(folder):
    (folder / "pdf_utils.py").unlink()
    with pytest.raises(DataError, match=r"Cannot read .*pdf_utils\.py .*; restore it"):
        lab.load_corpus(folder)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no corpus in .*restore it"):
        lab.load_corpus(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.5])
def test_a_truncated_list_of_hashes_is_refused(folder, kept):
    sums = folder / "SHA256SUMS"
    content = sums.read_text()
    sums.write_text(content[: round(kept * len(content))])
    with pytest.raises(DataError):
        lab.load_corpus(folder)


@pytest.mark.parametrize("lines", [0, 1, 20])
def test_a_list_of_hashes_that_lacks_lines_is_refused(folder, lines):
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:lines]))
    with pytest.raises(DataError):
        lab.load_corpus(folder)


@pytest.mark.parametrize("n_tokens", [1000, 5000, 15000, 20000])
def test_datasets_are_the_beginning_of_the_corpus(gpt2, corpus, n_tokens):
    data = lab.corpus_dataset(n_tokens)
    ids = gpt2.encode(corpus.text)[:n_tokens]
    assert torch.cat([data.train, data.val]).tolist() == ids
    assert len(data.val) == n_tokens // 10
    assert data.source == {
        "kind": "corpus",
        "vocabulary": "gpt2",
        "n_tokens": n_tokens,
        "sha256": sha256(gpt2.decode(ids).encode()),
    }


def test_right_sized_datasets_hold_the_same_text(corpus):
    wide, small = lab.corpus_dataset(1000), lab.corpus_dataset(1000, "right-sized")
    assert small.tokenizer.n_vocab < 1500
    for a, b in ((wide.train, small.train), (wide.val, small.val)):
        assert wide.tokenizer.decode(a.tolist()) == small.tokenizer.decode(b.tolist())


def test_an_unknown_vocabulary_is_refused():
    with pytest.raises(ValueError, match='must be "gpt2", "right-sized"'):
        lab.corpus_dataset(1000, "words")


@pytest.mark.parametrize("n_tokens", [-5, 0, 50_000])
def test_a_size_that_the_corpus_does_not_have_is_refused(n_tokens):
    with pytest.raises(ValueError, match=r"whole number from 1 to 2\d,\d+ \(which the text has\)"):
        lab.corpus_dataset(n_tokens)


def test_empty_text_is_refused(gpt2):
    with pytest.raises(ValueError, match="text is empty"):
        Dataset.from_text("", gpt2)


def test_a_text_too_short_to_split_is_refused(gpt2):
    with pytest.raises(ValueError, match="each side needs at least 2"):
        Dataset.from_text("hello world", gpt2)


@pytest.mark.parametrize("fraction", [-0.1, 0, 1, 1.5])
def test_a_split_that_is_no_share_is_refused(text, gpt2, fraction):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        Dataset.from_text(text, gpt2, val_fraction=fraction)


@pytest.mark.slow
@given(n_train=st.integers(4, 60), rows=st.integers(1, 9), seed=st.integers(0, 10**6), d=st.data())
def test_batches_are_windows_of_the_training_text(n_train, rows, seed, d):
    block = d.draw(st.integers(1, n_train - 1))
    data = Dataset(torch.arange(n_train), torch.arange(2), lab.gpt2_tokenizer())
    inputs, targets = data.batch(rows, block, seed)
    assert inputs.shape == targets.shape == (rows, block)
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(block))
    assert inputs.min() >= 0
    assert targets.max() < n_train


def test_batches_reach_both_ends_of_the_training_text():
    data = Dataset(torch.arange(12), torch.arange(2), lab.gpt2_tokenizer())
    inputs, targets = data.batch(200, 8, seed=0)
    assert inputs.min() == 0
    assert targets.max() == 11


def test_batches_depend_on_the_seed(dataset):
    first, same, other = (dataset.batch(4, 8, seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], same[0])
    assert not torch.equal(first[0], other[0])


def made_of(train, val):
    return Dataset(torch.tensor(train), torch.tensor(val), lab.gpt2_tokenizer())


def test_overlap_of_unrelated_sides_is_zero():
    assert made_of(list(range(30)), list(range(100, 120))).overlap() == 0


def test_overlap_of_a_copy_is_one():
    assert made_of(list(range(30)), list(range(10, 25))).overlap() == 1


def test_overlap_counts_the_shared_sequences():
    half = made_of(list(range(10)), [*range(9), 50])
    assert half.overlap() == pytest.approx(2 / 3)
    assert half.overlap(n=2) == pytest.approx(8 / 9)
    assert half.overlap(n=1) == pytest.approx(9 / 10)


def test_overlap_of_a_very_short_side_is_unknown():
    assert math.isnan(made_of(list(range(10)), [1, 2, 3]).overlap())


def test_a_test_text_is_kept_apart_and_named_by_its_hash(dataset):
    tested = dataset.with_test("Seven lanterns hang by the river.")
    assert dataset.test is None
    assert tested.tokenizer.decode(tested.test.tolist()) == "Seven lanterns hang by the river."
    assert len(tested.source["test_sha256"]) == 64


@pytest.mark.slow
def test_the_exams_share_less_than_half_with_the_corpus(corpus):
    assert 0.2 < lab.load_held_out().overlap(corpus) < 0.5
    assert 0.2 < lab.load_final().overlap(corpus) < lab.load_held_out().overlap(corpus)
    assert corpus.overlap(corpus) == 1


@pytest.mark.slow
def test_the_readme_of_the_final_scripts_has_their_figures(corpus):
    readme = data_path("final", "README.md").read_text("utf-8")
    held_out, final = lab.load_held_out(), lab.load_final()
    pairs = lab.similar_pairs(corpus, held_out, final)
    names = {d.name for d in final.documents}
    most = pairs[pairs["name"].isin(names) | pairs["other"].isin(names)]["jaccard"].max()
    assert f"| final scripts | {final.overlap(corpus):.0%} |" in readme
    assert f"| held-out scripts | {held_out.overlap(corpus):.0%} |" in readme
    assert f"a Jaccard of {most:.2f}, and families begin above {FAMILY}" in readme
    assert f"{len(gpt2_tokenizer().encode(final.text)):,} GPT-2 tokens" in readme


@pytest.mark.slow
def test_the_readmes_of_corpus_and_held_out_scripts_have_their_figures(corpus):
    ids = gpt2_tokenizer().encode(corpus.text)
    counts = Counter(ngrams(ids, 8))
    again = sum(n for n in counts.values() if n > 1) / counts.total()
    readme = data_path("corpus", "README.md").read_text("utf-8")
    assert f"{100 * again:.0f}% of the whole corpus's 8-token sequences" in readme
    held_out = lab.load_held_out()
    tokenizer = lab.PHASES[4].dataset("right-sized").tokenizer
    ids, theirs = (torch.tensor(tokenizer.encode(c.text)) for c in (corpus, held_out))
    readme = data_path("held_out", "README.md").read_text("utf-8")
    assert f"into {len(theirs):,} tokens" in readme
    assert f"GPT-2's into {len(gpt2_tokenizer().encode(held_out.text)):,}" in readme
    assert f"{100 * Dataset(ids, theirs, tokenizer).overlap():.0f}% for\nthe whole" in readme


def test_the_final_scripts_are_new_and_at_least_eight(corpus):
    final = {d.name for d in lab.load_final().documents}
    assert len(final) >= 8
    assert not final & {d.name for d in (*corpus.documents, *lab.load_held_out().documents)}


# Nothing is chosen by the final scripts, so only these may read them.
READERS = {
    "slmlab/text/corpus.py",
    "slmlab/__init__.py",
    "slmlab/study/experiments/ladder.py",
    "slmlab/study/ladder.py",
    "notebooks/05_the_verdict.ipynb",
}


def reads_final(source):
    """Whether some code, or a notebook, names the final scripts or their folder."""
    return re.search(r"""load_final|["']final["']|data/final|51-rename|["']final/""", source)


def test_only_the_ladder_and_the_verdict_read_the_final_scripts():
    root = Path(__file__).parent.parent
    folders = ("slmlab", "notebooks", "solutions", "exercises", "benchmarks", "tools")
    sources = [
        path
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.suffix in {".py", ".ipynb"}
    ]
    assert len(sources) > 100
    readers = {
        path.relative_to(root).as_posix()
        for path in sources
        if reads_final(path.read_text("utf-8").replace('\\"', '"'))
    }
    assert {"slmlab/text/corpus.py", "slmlab/__init__.py"} <= readers <= READERS


@pytest.mark.parametrize(
    "code", ["lab.load_final()", 'data_path("final")', "data_path('final', 'x.py')"]
)
def test_a_reader_of_the_final_scripts_is_noticed(code):
    assert reads_final(code)
    assert not reads_final("the final loss, finally")
