"""A set-up: shape, data and training in one value, which prints as a short string and as code."""

import random
import warnings
from dataclasses import MISSING, Field, dataclass, fields, replace
from functools import lru_cache
from typing import Any, get_type_hints

import torch

from slmlab.engine.config import TrainConfig
from slmlab.engine.model import GPT, GPTConfig
from slmlab.engine.run_parsing import checked_name
from slmlab.engine.runs import Run, train
from slmlab.engine.training import VocabularyWarning, resolve_device
from slmlab.study.domain import PROMPTS
from slmlab.text.corpus import Corpus, corpus_dataset, load_corpus, load_held_out
from slmlab.text.dataset import Dataset
from slmlab.text.files import read_published
from slmlab.text.tokenizer import check_vocabulary, gpt2_tokenizer, tokenizer_for
from slmlab.validation import instance, one_of, shown, truth_values, whole_number

MIN_TOKENS = 20  # a tenth of fewer is no validation text
VALIDATIONS = ("last tenth", "held-out")


@dataclass(frozen=True)
class Shape:
    """A model's shape, apart from its vocabulary; the names are those of `GPTConfig`."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        checked = self.config(vocab_size=1)
        for setting in fields(self):  # NumPy's and PyTorch's numbers are Python's from here on
            object.__setattr__(self, setting.name, getattr(checked, setting.name))

    def config(self, vocab_size: int) -> GPTConfig:
        return GPTConfig(
            vocab_size, self.block_size, self.n_layer, self.n_head, self.n_embd, self.dropout
        )


@dataclass(frozen=True)
class Excerpt:
    """Which part of the course's corpus is read, in which tokens, and what it is validated on.

    Attributes:
        n_tokens: counted in GPT-2's tokens, so that the same number is the same text.
        vocabulary: a name that `tokenizer_for` knows.
        order: a seed that shuffles the files; None leaves them in the order of their names.
        validation: "last tenth" of the text, as published; or "held-out": all of the text is
            trained on, and the held-out scripts validate.
    """

    n_tokens: int
    vocabulary: str = "right-sized"
    order: int | None = None
    validation: str = "last tenth"

    def __post_init__(self) -> None:
        check_vocabulary(self.vocabulary)
        object.__setattr__(self, "n_tokens", whole_number("n_tokens", self.n_tokens, MIN_TOKENS))
        if self.n_tokens > largest_text():
            raise ValueError(
                f"n_tokens is {shown(self.n_tokens)}, but the text has {largest_text():,}; take "
                "less."
            )
        if self.order is not None:
            object.__setattr__(self, "order", whole_number("order", self.order, 0, 2**32 - 1))
        one_of("validation", self.validation, VALIDATIONS)


@dataclass(frozen=True)
class Setup:
    """All that decides a training run on the course's corpus.

    Its parts are nested, but it is changed, written and read by the flat names of their settings:
    `setup.replace(n_layer=4, seed=1)`, or the string "phase-2 n_layer=4 seed=1".
    """

    shape: Shape
    data: Excerpt
    training: TrainConfig

    def __post_init__(self) -> None:
        for name, kind in {"shape": Shape, "data": Excerpt, "training": TrainConfig}.items():
            instance(name, getattr(self, name), kind, f"lab.PHASES[2].setup.{name}")

    @classmethod
    def parse(cls, text: str) -> "Setup":
        """The set-up that printed as `text`: a phase, then what differs from it.

        Such as "phase-2 n_layer=4 seconds=20 seed=1". A phase alone stands for its published
        set-up with a right-sized vocabulary and ten evaluations. Raises `ValueError`, with what is
        allowed, for anything else.
        """
        if not isinstance(text, str):
            raise ValueError(
                f"A set-up is written as text, such as phase-2 seed=1; got {shown(text)}."
            )
        name, *changes = text.split() or [""]
        presets = {f"phase-{number}": preset for number, preset in enumerate(_presets())}
        if name not in presets:
            raise ValueError(
                f"{text[:80]!r} does not begin with a phase; write one of {', '.join(presets)}, "
                "then what differs, such as: phase-2 n_layer=4 seed=1."
            )
        values = {}
        for change in changes:
            key, _, value = change.partition("=")
            if key not in SETTINGS:
                raise ValueError(
                    f"{shown(key)} is no setting; the settings are {', '.join(SETTINGS)}."
                )
            if key in values:
                raise ValueError(f"{key} is given twice; give it once.")
            values[key] = _parsed(key, value.replace("_", " ") if key == "validation" else value)
        return presets[name].replace(**values)

    def __str__(self) -> str:
        """The set-up in short: the nearest phase, and what differs from it."""
        values, texts = self.values(), []
        for number, preset in enumerate(_presets()):
            theirs = preset.values()
            changed = [name for name in SETTINGS if values[name] != theirs[name]]
            if self.training.seconds is not None:
                changed.remove("max_steps")
            changes = [f"{name}={str(values[name]).replace(' ', '_')}" for name in changed]
            texts.append(" ".join([f"phase-{number}", *changes]))
        return min(texts, key=lambda text: len(text.split()))

    def values(self) -> dict[str, Any]:
        """Every setting by its flat name."""
        parts = (self.shape, self.data, self.training)
        return {f.name: getattr(part, f.name) for part in parts for f in fields(part)}

    def choices(self) -> dict[str, Any]:
        """The settings that are not at their default: records keep these, as later versions may
        have more settings."""
        return {k: v for k, v in self.values().items() if v != SETTINGS[k].default}

    def replace(self, **changes: Any) -> "Setup":
        """The set-up with other settings, by their flat names. `ValueError` for an unknown one.

        Steps and seconds exclude each other: naming one takes the other away.
        """
        if unknown := changes.keys() - SETTINGS.keys():
            raise ValueError(
                f"{', '.join(sorted(unknown))} is no setting; the settings are "
                f"{', '.join(SETTINGS)}."
            )
        if changes.get("seconds") is not None:
            changes.setdefault("max_steps", None)
        elif changes.get("max_steps") is not None:
            changes.setdefault("seconds", None)
        parts = {}
        for part in fields(self):
            old = getattr(self, part.name)
            names = {f.name for f in fields(old)}
            parts[part.name] = replace(old, **{k: v for k, v in changes.items() if k in names})
        return Setup(**parts)

    def dataset(self, tested: bool = True) -> Dataset:
        """The text as tokens; made once, then kept.

        `tested` adds the held-out scripts as test text, whose loss costs time at each evaluation.
        """
        truth_values(tested=tested)
        return _dataset(self.data, tested)

    def model(self, vocab_size: int | None = None) -> GPT:
        """The model before training; by default it has the vocabulary of the dataset."""
        if vocab_size is None:
            vocab_size = self.dataset().tokenizer.n_vocab
        return GPT(self.shape.config(vocab_size), self.training.seed)

    def train(self, dataset: Dataset | None = None, name: str = "", **options: Any) -> Run:
        """Train the set-up; `options` are those of `train`. `dataset` replaces the set-up's own."""
        dataset = self.dataset() if dataset is None else instance("dataset", dataset, Dataset)
        resolve_device(self.training.device)  # before it becomes part of a name
        options = {"prompts": PROMPTS, "name": checked_name(name) or str(self)} | options
        with warnings.catch_warnings():
            # A vocabulary of 50,257 is part of the experiment; the report speaks of it.
            warnings.simplefilter("ignore", VocabularyWarning)
            return train(
                self.model(dataset.tokenizer.n_vocab),
                dataset,
                self.training,
                **options,
            )

    def code(self) -> str:
        """Python that trains this set-up with the package alone."""

        def arguments(part: Any) -> str:
            return ", ".join(
                f"{f.name}={getattr(part, f.name)!r}"
                for f in fields(part)
                if getattr(part, f.name) != f.default
            )

        dataset = self.dataset(tested=False)
        made = (
            f"lab.corpus_dataset({len(dataset.train) + len(dataset.val)}, {self.data.vocabulary!r})"
        )
        if self.data != Excerpt(self.data.n_tokens, self.data.vocabulary):
            made = f"lab.Setup.parse({str(self)!r}).dataset(tested=False)"
        return f"""\
import slmlab as lab

dataset = {made}
dataset = dataset.with_test(lab.load_held_out().text)
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, {arguments(self.shape)})
config = lab.TrainConfig({arguments(self.training)})
model = lab.GPT(shape, seed={self.training.seed})
run = lab.train(model, dataset, config, prompts=lab.PROMPTS, name={str(self)!r})
lab.report(run)
"""


# Every setting by its flat name; no two parts share one.
SETTINGS: dict[str, Field] = {
    f.name: f for part in (Shape, Excerpt, TrainConfig) for f in fields(part)
}
_TYPES = {
    name: kind
    for part in (Shape, Excerpt, TrainConfig)
    for name, kind in get_type_hints(part).items()
}


@lru_cache(maxsize=1)
def published_setups() -> tuple[Setup, ...]:
    """The set-ups of the five published phases, with GPT-2's vocabulary.

    What the experiment did not state is set to common values: no dropout, weight decay 0.01 on
    matrices, gradients clipped at norm 1, a constant learning rate.
    """
    setups = []
    for record in read_published("phases.json"):
        config = dict(record["config"])
        shape = Shape(**{f.name: config.pop(f.name) for f in fields(Shape) if f.default is MISSING})
        data = Excerpt(config.pop("dataset_tokens"), "gpt2")
        setups.append(Setup(shape, data, TrainConfig(**config)))
    return tuple(setups)


def _presets() -> list[Setup]:
    """What the names of the phases stand for in a string."""
    changes = {"vocabulary": "right-sized", "eval_interval": None}
    return [setup.replace(**changes) for setup in published_setups()]


def preset(number: int) -> Setup:
    """What "phase-N" alone stands for in a string."""
    return _presets()[number]


def largest_text() -> int:
    """How many of GPT-2's tokens the corpus has: the limit of `n_tokens`."""
    return len(_corpus_ids())


@lru_cache(maxsize=32)
def _dataset(excerpt: Excerpt, tested: bool) -> Dataset:
    if tested:
        return _dataset(excerpt, False).with_test(load_held_out().text)
    n_tokens, vocabulary = excerpt.n_tokens, excerpt.vocabulary
    tokenizer = tokenizer_for(load_corpus().text, vocabulary)
    if excerpt == Excerpt(n_tokens, vocabulary):
        if vocabulary.startswith("bpe-"):  # how many of its tokens are the same text?
            part = gpt2_tokenizer().decode(_corpus_ids()[:n_tokens])
            n_tokens = len(tokenizer.encode(part))
        return corpus_dataset(n_tokens, vocabulary)
    documents = list(load_corpus().documents)
    if excerpt.order is not None:
        random.Random(excerpt.order).shuffle(documents)
    text = Corpus(tuple(documents)).text
    if vocabulary.startswith("bpe-"):
        gpt2 = gpt2_tokenizer()
        text = gpt2.decode(gpt2.encode(text)[:n_tokens])
        n_tokens = len(tokenizer.encode(text))
    source = {"kind": "excerpt", "vocabulary": vocabulary, "order": excerpt.order}
    if excerpt.validation == "last tenth":
        return Dataset.from_text(text, tokenizer, n_tokens, source=source)
    ids = torch.tensor(tokenizer.encode(text)[:n_tokens])
    val = torch.tensor(tokenizer.encode(load_held_out().text))
    return Dataset(ids, val, tokenizer, source)


@lru_cache(maxsize=1)
def _corpus_ids() -> list[int]:
    return gpt2_tokenizer().encode(load_corpus().text)


def _parsed(key: str, value: str) -> Any:
    """A value from its text, as the type of its setting."""
    kinds = {_TYPES[key], *getattr(_TYPES[key], "__args__", ())}
    if value == "None" and type(None) in kinds:
        return None
    if bool in kinds:
        if value not in ("True", "False"):
            raise ValueError(f"{key} is {value!r}; it must be True or False.")
        return value == "True"
    for kind, noun in ((int, "a whole number"), (float, "a number"), (str, "a word")):
        if kind in kinds:
            try:
                return kind(value)
            except ValueError:
                # Python reads 4,300 digits at most.
                if kind is int and value.removeprefix("-").isdecimal():
                    raise ValueError(f"{key} is a number that is far too large.") from None
                raise ValueError(f"{key} is {value[:40]!r}; it must be {noun}.") from None
    raise AssertionError(key)
