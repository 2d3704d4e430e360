"""What many tests share: a small text, a dataset of it, a tiny model and a finished tiny run."""

import random

import hypothesis
import pytest

import slmlab as lab

hypothesis.settings.register_profile(
    "course", deadline=None, max_examples=50, derandomize=True, database=None
)
hypothesis.settings.load_profile("course")

WORDS = {
    "who": "The ferryman|A young potter|The old gardener|My neighbour|Every child|The postman",
    "does": "paints|carries|finds|mends|forgets|counts|hides|sells",
    "what": "a blue kettle|seven lanterns|the broken oar|some ripe figs|two maps|a wooden drum",
    "where": "by the river|before breakfast|under the stairs|at the market|in the rain",
}


@pytest.fixture(autouse=True)
def progress_file(tmp_path_factory, monkeypatch):
    """Where the test's learner keeps their progress."""
    path = tmp_path_factory.mktemp("learner") / "progress.json"
    monkeypatch.setenv("SLMLAB_PROGRESS", str(path))
    return path


@pytest.fixture(scope="session")
def text():
    """About 2,000 tokens of plain sentences, always the same."""
    choose = random.Random(7).choice
    sentences = (
        " ".join(choose(words.split("|")) for words in WORDS.values()) + "." for _ in range(220)
    )
    return "\n".join(sentences)


@pytest.fixture(scope="session")
def gpt2():
    return lab.gpt2_tokenizer()


@pytest.fixture(scope="session")
def dataset(text, gpt2):
    return lab.Dataset.from_text(text, lab.right_size(gpt2, text))


@pytest.fixture(scope="session")
def tiny(dataset):
    """Makes a tiny model for `dataset`: `tiny()`, or `tiny(seed=1, dropout=0.1)`."""

    def make(seed=0, **changes):
        shape = {"block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16} | changes
        return lab.GPT(lab.GPTConfig(vocab_size=dataset.tokenizer.n_vocab, **shape), seed)

    return make


@pytest.fixture(scope="session")
def finished(dataset, tiny):
    """A tiny run of 60 steps. Tests must leave it as it is."""
    config = lab.TrainConfig(4, 3e-3, max_steps=60, eval_interval=20)
    return lab.train(tiny(), dataset, config, prompts=lab.PROMPTS, name="tiny", progress=False)


@pytest.fixture(scope="session")
def corpus():
    return lab.load_corpus()


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would be shown."""
    things = []
    monkeypatch.setattr("IPython.display.display", lambda thing, **_: things.append(thing))
    return things
