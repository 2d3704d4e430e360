"""A set-up: model, data and training in one value, which prints as a short string and as code."""

from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from typing import get_type_hints

from slmlab.corpus import (
    Dataset,
    check_vocabulary,
    corpus_dataset,
    corpus_tokenizer,
    load_corpus,
    load_held_out,
)
from slmlab.model import GPT, GPTConfig
from slmlab.phases import PHASES, Phase
from slmlab.tokenizer import gpt2_tokenizer
from slmlab.training import TrainConfig


@dataclass(frozen=True)
class Setup:
    """All that decides a training run on the course's corpus.

    `n_tokens` counts GPT-2's tokens, whatever the `vocabulary` (see `corpus_dataset`), so that the
    same number is the same text. The other names are those of `GPTConfig` and `TrainConfig`.

    Raises:
        ValueError: if a value is out of range.
    """

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    n_tokens: int
    batch_size: int
    learning_rate: float
    max_steps: int | None = None
    seconds: float | None = None
    vocabulary: str = "right-sized"
    dropout: float = 0.0
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.model_config(vocab_size=1)
        self.training()
        check_vocabulary(self.vocabulary)
        if not isinstance(self.n_tokens, int) or self.n_tokens < 20:
            raise ValueError(
                f"n_tokens is {self.n_tokens!r}; it must be a whole number of at least 20."
            )
        if self.n_tokens > largest_text():
            raise ValueError(
                f"n_tokens is {self.n_tokens:,}, but the text has {largest_text():,}; take less."
            )

    @classmethod
    def of_phase(cls, phase: Phase) -> "Setup":
        """The published set-up of a phase, but with a right-sized vocabulary."""
        training = phase.training
        return cls(
            **phase.shape,
            n_tokens=phase.dataset_tokens,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            max_steps=training.max_steps,
        )

    @classmethod
    def parse(cls, text: str) -> "Setup":
        """The set-up that printed as `text`: a phase, then what differs from it.

        Such as "phase-2 n_layer=4 seconds=20 seed=1". Raises `ValueError`, with what is allowed,
        for anything else.
        """
        name, *changes = text.split() or [""]
        presets = {f"phase-{phase.number}": phase for phase in PHASES}
        if name not in presets:
            raise ValueError(
                f"{text!r} does not begin with a phase; write one of {', '.join(presets)}, then "
                "what differs, such as: phase-2 n_layer=4 seed=1."
            )
        types = get_type_hints(cls)
        values = {}
        for change in changes:
            key, _, value = change.partition("=")
            if key not in types:
                raise ValueError(f"{key!r} is no setting; the settings are {', '.join(types)}.")
            values[key] = _parsed(key, value, types[key])
        # One of the two limits the training; naming one takes the other away.
        if "seconds" in values:
            values.setdefault("max_steps", None)
        return replace(cls.of_phase(presets[name]), **values)

    def __str__(self) -> str:
        """The set-up in short: the nearest phase, and what differs from it."""
        differences = []
        for phase in PHASES:
            preset = Setup.of_phase(phase)
            changed = [f.name for f in fields(self) if _get(self, f) != _get(preset, f)]
            if self.seconds is not None:
                changed.remove("max_steps")
            changes = [f"{name}={getattr(self, name)}" for name in changed]
            differences.append(" ".join([f"phase-{phase.number}", *changes]))
        return min(differences, key=lambda text: len(text.split()))

    def dataset(self) -> Dataset:
        """The text to train on, with the held-out scripts as test text; made once, then kept."""
        return _dataset(self.n_tokens, self.vocabulary)

    def model_config(self, vocab_size: int) -> GPTConfig:
        return GPTConfig(
            vocab_size, self.block_size, self.n_layer, self.n_head, self.n_embd, self.dropout
        )

    def model(self) -> GPT:
        """The model before training."""
        return GPT(self.model_config(self.dataset().tokenizer.n_vocab), self.seed)

    def training(self) -> TrainConfig:
        return TrainConfig(
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            max_steps=self.max_steps,
            seconds=self.seconds,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            patience=self.patience,
            seed=self.seed,
        )

    def code(self) -> str:
        """Python that trains this set-up with the package alone."""
        shape = {"block_size", "n_layer", "n_head", "n_embd", "dropout"}
        training = {f.name for f in fields(TrainConfig)}

        def arguments(names: set[str]) -> str:
            chosen = [f for f in fields(self) if f.name in names and not _is_default(self, f)]
            return ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in chosen)

        n_tokens = len(self.dataset().train) + len(self.dataset().val)
        return f"""\
import slmlab as lab

dataset = lab.corpus_dataset({n_tokens}, {self.vocabulary!r})
dataset = dataset.with_test(lab.load_held_out().text)
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, {arguments(shape)})
config = lab.TrainConfig({arguments(training)})
run = lab.train(lab.GPT(shape, seed={self.seed}), dataset, config, name={str(self)!r})
lab.report(run)
"""


def largest_text() -> int:
    """How many of GPT-2's tokens the corpus has: the limit of `Setup.n_tokens`."""
    return len(_corpus_ids())


@lru_cache(maxsize=32)
def _dataset(n_tokens: int, vocabulary: str) -> Dataset:
    if vocabulary.startswith("bpe-"):  # how many of its tokens are the same text?
        tokenizer = corpus_tokenizer(load_corpus().text, vocabulary)
        part = gpt2_tokenizer().decode(_corpus_ids()[:n_tokens])
        n_tokens = len(tokenizer.encode(part))
    return corpus_dataset(n_tokens, vocabulary).with_test(load_held_out().text)


@lru_cache(maxsize=1)
def _corpus_ids() -> list[int]:
    return gpt2_tokenizer().encode(load_corpus().text)


def _get(setup: Setup, field) -> object:
    return getattr(setup, field.name)


def _is_default(setup: Setup, field) -> bool:
    return field.default is not MISSING and _get(setup, field) == field.default


def _parsed(key: str, value: str, kind: object) -> object:
    """A value from its text, as the type of its setting."""
    if value == "None" and kind not in (int, float, str):
        return None
    for possible in (int, float, str):
        if possible in (kind, *getattr(kind, "__args__", ())):
            try:
                return possible(value)
            except ValueError:
                noun = "a whole number" if possible is int else "a number"
                raise ValueError(f"{key} is {value!r}; it must be {noun}.") from None
    raise AssertionError(kind)
