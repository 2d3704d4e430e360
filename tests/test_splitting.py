"""A learner's text in three parts: whole files or whole lines, and none of it in two parts."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import slmlab as lab
from slmlab.text.corpus import Corpus, Document
from slmlab.text.own_text import OwnText
from slmlab.text.splitting import split
from slmlab.text.tokenizer import GPT2Tokenizer

WORDS = ["river", "lantern", "oar", "kettle", "map", "drum", "fig", "potter", "market", "rain"]


def prose(seed, lines=40):
    choose = random.Random(seed)
    return "".join(" ".join(choose.choices(WORDS, k=8)) + f" {seed}.\n" for _ in range(lines))


def own_text(*texts, name="{}.txt"):
    return OwnText(Corpus(tuple(Document(name.format(i), t) for i, t in enumerate(texts))), {})


def names(corpus):
    return {document.name for document in corpus.documents}


def share(part, own):
    return len(part.text) / len(own.text)


def test_many_files_are_divided_as_whole_files():
    own = own_text(*(prose(i) for i in range(40)))
    parts = own.parts
    assert parts.by == "files"
    assert sorted(d for part in parts[:3] for d in names(part)) == sorted(names(own.corpus))
    assert {d for part in parts[:3] for d in part.documents} == set(own.corpus.documents)
    assert 0.75 < share(parts.train, own) < 0.85
    assert 0.07 < share(parts.val, own) < 0.13 and 0.07 < share(parts.test, own) < 0.13
    assert names(parts.val) != {"36.txt", "37.txt", "38.txt", "39.txt"}  # not simply the last
    assert split(own.corpus) == parts  # always the same


def test_no_part_is_a_tiny_file():
    own = own_text("a\n", "b\n", *(prose(i) for i in range(20)), "c\n", "d\n")
    for part in own.parts[1:3]:
        assert share(part, own) > 0.05


@pytest.mark.parametrize("n_files", [1, 2, 5])
def test_few_files_are_divided_between_lines(n_files):
    own = own_text(*(prose(i, lines=300) for i in range(n_files)))
    parts = own.parts
    assert parts.by == "blocks of lines"
    for part in parts[1:3]:
        assert 0.05 < share(part, own) < 0.15
    lines = sorted(line for d in own.corpus.documents for line in d.text.split("\n"))
    divided = [d.text.removesuffix("\n").split("\n") for p in parts[:3] for d in p.documents]
    assert sorted(sum(divided, [""] * n_files)) == lines
    # Spread over the text, not all of its end.
    whole = own.corpus.documents[0].text
    assert whole.find(parts.val.documents[0].text.split("\n")[0]) < len(whole) / 2


def test_paragraphs_stay_whole_where_they_are_short():
    paragraphs = [f"{prose(i, lines=3)}\n" for i in range(200)]
    parts = own_text("".join(paragraphs)).parts
    for part in parts[:3]:
        kept = part.documents[0].text.rstrip().split("\n\n")
        assert {f"{paragraph}\n\n" for paragraph in kept} <= set(paragraphs)


def test_a_large_text_keeps_no_more_than_evaluations_can_read():
    for own in (own_text(*(prose(i) for i in range(400))), own_text(prose(0, lines=20_000))):
        for part in own.parts[1:3]:
            assert 20_000 < len(part.text) < 40_000


def test_copies_go_to_the_same_part():
    texts = [prose(i) for i in range(30)]
    spaced = [t.replace("\n", " \n\n").replace(" ", "  ") for t in texts[:15]]
    edited = [t.replace("kettle", "kettles", 5) + "One more line.\n" for t in texts[15:]]
    parts = own_text(*texts, *spaced, *edited).parts
    assert parts.by == "files"
    part_of = {name: i for i, part in enumerate(parts[:3]) for name in names(part)}
    for i in range(30):
        assert part_of[f"{i}.txt"] == part_of[f"{30 + i}.txt"]
    assert set(part_of.values()) == {0, 1, 2}


def test_of_copies_between_lines_one_is_used():
    text = prose(0, lines=300)
    parts = own_text(text, text.replace(" ", "  "), text).parts
    assert parts.by == "blocks of lines"
    assert {d.name for part in parts[:3] for d in part.documents} == {"0.txt"}


def test_rare_kinds_of_files_are_trained_on():
    documents = [Document(f"{i}.py", prose(i)) for i in range(30)]
    documents += [Document(f"{i}.csv", prose(100 + i)) for i in range(4)]
    parts = split(Corpus(tuple(documents)))
    assert {f"{i}.csv" for i in range(4)} <= names(parts.train)


@pytest.mark.parametrize("text", ["one\n", "one\ntwo\n", "x" * 5000 + "\n", "\n\none\n\n"])
def test_a_text_without_lines_cannot_be_divided(text):
    with pytest.raises(ValueError, match=r"too few lines .*no line is cut in two"):
        own_text(text).parts  # noqa: B018


def test_three_lines_are_a_line_each():
    parts = own_text("one\ntwo\nthree\n").parts
    assert [p.documents[0].text for p in parts[:3]] == ["three\n", "one\n", "two\n"]


@given(st.lists(st.lists(st.sampled_from(["", "a", "bb " * 9, "é" * 60, "x" * 400]), max_size=40)))
def test_no_line_is_lost_cut_or_in_two_parts(files):
    texts = ["\n".join(f"{i} {j} {line}" for j, line in enumerate(lines)) + "\n"
             for i, lines in enumerate(files) if lines]  # fmt: skip
    if sum(text.count("\n") for text in texts) < 3:
        return
    parts = own_text(*texts).parts
    pieces = [line for p in parts[:3] for d in p.documents for line in d.text.split("\n") if line]
    assert sorted(pieces) == sorted(line for t in texts for line in t.split("\n") if line)
    assert all(part.documents for part in parts[:3])


@pytest.fixture(scope="module")
def own():
    rare = ["val idarity, of which there is no second in the text\n"] * 2
    return own_text(*(prose(i) for i in range(40)), *rare)


@pytest.mark.parametrize("vocabulary", ["right-sized", "bpe-300", "gpt2"])
def test_a_dataset_is_the_three_parts(own, vocabulary):
    data, parts = own.dataset(vocabulary), own.parts
    for ids, part in ((data.train, parts.train), (data.val, parts.val), (data.test, parts.test)):
        assert data.tokenizer.decode(ids.tolist()) == part.text
    assert data.source["kind"] == "own text"
    assert data.source["parts"] == "files"
    assert len(data.source["sha256"]) == len(data.source["test_sha256"]) == 64


def test_the_vocabulary_is_made_of_the_training_text_only(gpt2):
    own = own_text(*(f"{prose(i)}{''.join(chr(0x4E00 + 50 * i + k) for k in range(40))}\n"
                     for i in range(30)))  # fmt: skip
    for vocabulary in ("right-sized", "bpe-2000"):
        data = own.dataset(vocabulary)
        again = lab.right_size(gpt2, own.parts.train.text)
        if vocabulary != "right-sized":
            again = lab.train_bpe(own.parts.train.text, 2000)
        assert data.tokenizer.spec() == again.spec()
        only_held_out = set(own.parts.test.text) - set(own.parts.train.text)
        assert only_held_out
        for letter in only_held_out:
            assert len(data.tokenizer.encode(letter)) > 1


def test_prompts_are_beginnings_of_validation_lines(own, gpt2):
    prompts = own.prompts()
    assert len(prompts) == len(set(prompts)) == 8
    lines = [line for d in own.parts.val.documents for line in d.text.split("\n")]
    for prompt in prompts:
        assert any(line.startswith(prompt) and line != prompt for line in lines)
        assert 2 <= len(gpt2.encode(prompt)) <= 8
        assert prompt == prompt.strip()
    assert own.prompts() == prompts
    assert own.prompts(3) == prompts[:3]
    assert "import chromadb" not in prompts


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\nc\nd\n",
        "数学の美しさは永遠である\n" * 40,
        "🙂🙃🙂🙃🙂🙃\n" * 40,
        "\n".join("x" * i for i in range(1, 60)) + "\n",
        "}\n)\n]\n" * 30,
    ],
)
def test_any_text_gives_prompts_that_are_not_empty(text):
    prompts = own_text(text).prompts()
    assert prompts and all(prompt.strip() for prompt in prompts)
    assert len(set(prompts)) == len(prompts)


def test_a_run_on_own_text_samples_after_its_own_prompts(own):
    data = own.dataset()
    config = lab.TrainConfig(4, 3e-3, max_steps=4)
    model = lab.GPT(lab.GPTConfig(data.tokenizer.n_vocab, 16, 1, 1, 8))
    run = lab.train(model, data, config, prompts=own.prompts(), progress=False)
    assert [sample["prompt"] for sample in run.samples] == list(own.prompts())
    assert all(progress.test_loss > 0 for progress in run.state.history)


def test_the_tokenizer_is_loaded_once_for_all_prompts(own, monkeypatch):
    loaded = []
    start = GPT2Tokenizer.__init__
    monkeypatch.setattr(
        GPT2Tokenizer, "__init__", lambda self, ranks: (loaded.append(1), start(self, ranks))[1]
    )
    own.prompts()
    assert len(loaded) == 1


def test_a_text_of_many_blank_lines_is_divided_at_once():
    words = "".join(f"line {i} of some words\n" for i in range(200))
    start = time.perf_counter()
    parts = own_text("one line\n" + "\n" * 100_000 + words).parts
    assert time.perf_counter() - start < 5
    assert all(part.text for part in parts[:3])
