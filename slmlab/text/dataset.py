"""Token ids to train on, to validate on, and to be tested on."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from slmlab.text.files import sha256
from slmlab.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Dataset:
    """Token ids to train on and to validate on, and the tokenizer they come from.

    `train`, `val` and, if there is one, `test` are 1-D int64 tensors. `source` says where the text
    came from, with the SHA-256 of what was used of it; runs store it.
    """

    train: Tensor
    val: Tensor
    tokenizer: Tokenizer
    source: dict = field(default_factory=dict)
    test: Tensor | None = None

    @classmethod
    def from_text(
        cls,
        text: str,
        tokenizer: Tokenizer,
        n_tokens: int | None = None,
        val_fraction: float = 0.1,
        source: dict | None = None,
    ) -> "Dataset":
        """The first `n_tokens` tokens of a text (default: all), the last tenth for validation.

        Raises:
            ValueError: for empty text, more tokens than the text has, or a split that leaves
                fewer than two tokens on a side.
        """
        if not text:
            raise ValueError("The text is empty; give some text to train on.")
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction is {val_fraction}; it must be between 0 and 1.")
        ids = torch.tensor(tokenizer.encode(text))
        if n_tokens is None:
            n_tokens = len(ids)
        if not 1 <= n_tokens <= len(ids):
            raise ValueError(
                f"{n_tokens:,} tokens were asked for, but the text has {len(ids):,}; "
                f"ask for 1 to {len(ids):,}."
            )
        n_train = round(n_tokens * (1 - val_fraction))
        if n_train < 2 or n_tokens - n_train < 2:
            raise ValueError(
                f"{n_tokens} tokens split into {n_train} for training and {n_tokens - n_train} "
                "for validation; each side needs at least 2, so use more text."
            )
        used = tokenizer.decode(ids[:n_tokens].tolist())
        source = {"sha256": sha256(used.encode()), "n_tokens": n_tokens} | (source or {})
        return cls(ids[:n_train], ids[n_train:n_tokens], tokenizer, source)

    def with_test(self, text: str) -> "Dataset":
        """The same dataset with a test text, whose loss is reported at every evaluation."""
        ids = torch.tensor(self.tokenizer.encode(text))
        return replace(self, test=ids, source=self.source | {"test_sha256": sha256(text.encode())})

    def batch(self, batch_size: int, block_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Random windows of the training tokens: inputs and next tokens, (batch, block) each."""
        generator = torch.Generator().manual_seed(seed)
        starts = torch.randint(len(self.train) - block_size, (batch_size, 1), generator=generator)
        windows = self.train[starts + torch.arange(block_size + 1)]
        return windows[:, :-1], windows[:, 1:]

    def overlap(self, n: int = 8) -> float:
        """Share of the validation set's n-token sequences that also stand in the training set.

        The train/test overlap measure of Brown et al. 2020 (GPT-3, appendix C), at n tokens.
        """
        seen = set(ngrams(self.train.tolist(), n))
        found = [gram in seen for gram in ngrams(self.val.tolist(), n)]
        return sum(found) / len(found) if found else float("nan")


def ngrams(ids: list[int], n: int) -> list[tuple[int, ...]]:
    """All sequences of n consecutive ids, in order."""
    return list(zip(*(ids[i:] for i in range(n)), strict=False))
