"""Token ids to train on, to validate on, and to be tested on."""

from dataclasses import dataclass, field, replace
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slmlab.text.files import sha256
from slmlab.text.passages import known_passages
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import instance, listed, real_number, shown, whole_number, whole_text

LARGEST_ID = 1_114_111  # as many as there are characters; the largest vocabularies have fewer
SOURCE_EXAMPLE = '{"kind": "my own"}'
IGNORED = -100  # a target that does not count, as in `F.cross_entropy`
MAX_BATCH = 1_000_000  # windows; more would not fit into any laptop's memory


@dataclass(frozen=True, eq=False)
class Dataset:
    """Token ids to train on and to validate on, and the tokenizer they come from.

    `train`, `val` and, if there is one, `test` are 1-D int64 tensors. `source` says where the text
    came from, with the SHA-256 of what was used of it; runs store it. `train_mask` and `val_mask`
    are 1-D bool tensors as long as their text, true where a token counts as a target; None counts
    them all. A masked loss is one mean over the tokens that count.

    Raises `ValueError` for ids or masks that are something else.
    """

    train: Tensor
    val: Tensor
    tokenizer: Tokenizer
    source: dict[str, Any] = field(default_factory=dict)
    test: Tensor | None = None
    train_mask: Tensor | None = None
    val_mask: Tensor | None = None

    def __post_init__(self) -> None:
        instance("tokenizer", self.tokenizer, Tokenizer)
        instance("source", self.source, dict, SOURCE_EXAMPLE)
        for name in ("train", "val", "test"):
            ids = getattr(self, name)
            if ids is not None or name != "test":
                require_ids(name, ids)
        for name in ("train", "val"):
            if (mask := getattr(self, f"{name}_mask")) is not None:
                require_mask(f"{name}_mask", mask, getattr(self, name))

    @classmethod
    def from_text(
        cls,
        text: str,
        tokenizer: Tokenizer,
        n_tokens: int | None = None,
        val_fraction: float = 0.1,
        source: dict[str, Any] | None = None,
    ) -> "Dataset":
        """The first `n_tokens` tokens of a text (default: all), the last tenth for validation.

        Raises:
            ValueError: for empty text, something else than a tokenizer, more tokens than the text
                has, or a split that leaves fewer than two tokens on a side.
        """
        val_fraction = real_number("val_fraction", val_fraction, above=0, below=1)
        ids = encoded(text, tokenizer)
        if n_tokens is None:
            n_tokens = len(ids)
        n_tokens = whole_number("n_tokens", n_tokens, 1, len(ids), note="which the text has")
        n_train = round(n_tokens * (1 - val_fraction))
        if n_train < 2 or n_tokens - n_train < 2:
            raise ValueError(
                f"{n_tokens} tokens split into {n_train} for training and {n_tokens - n_train} "
                "for validation; each side needs at least 2, so use more text."
            )
        used = tokenizer.decode(ids[:n_tokens].tolist())
        said = {} if source is None else instance("source", source, dict, SOURCE_EXAMPLE)
        source = {"sha256": sha256(used.encode()), "n_tokens": n_tokens} | said
        return cls(ids[:n_train], ids[n_train:n_tokens], tokenizer, source)

    def with_test(self, text: str) -> "Dataset":
        """The same dataset with a test text, whose loss is reported at every evaluation.

        Raises `ValueError` for a text of fewer than two tokens.
        """
        ids = encoded(text, self.tokenizer)
        if len(ids) < 2:
            raise ValueError(f"The test text has {len(ids)} token; give at least 2.")
        return replace(self, test=ids, source=self.source | {"test_sha256": sha256(text.encode())})

    def batch(self, batch_size: int, block_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Random windows of the training tokens: inputs and next tokens, (batch, block) each.

        A next token that the mask leaves out is `IGNORED`.
        Raises `ValueError` if the training text is no longer than a window.
        """
        batch_size = whole_number("batch_size", batch_size, 1, MAX_BATCH)
        block_size = whole_number(
            "block_size", block_size, 1, len(self.train) - 1, note="the training text less a token"
        )
        generator = torch.Generator().manual_seed(whole_number("seed", seed, most=2**63 - 1))
        starts = torch.randint(len(self.train) - block_size, (batch_size, 1), generator=generator)
        places = starts + torch.arange(block_size + 1)
        windows = self.train[places]
        inputs, targets = windows[:, :-1], windows[:, 1:]
        if self.train_mask is not None:
            targets = targets.masked_fill(~self.train_mask[places[:, 1:]], IGNORED)
        return inputs, targets

    def overlap(self, n: int = 8) -> float:
        """Share of the validation set's n-token sequences that also stand in the training set.

        The train/test overlap measure of Brown et al. 2020 (GPT-3, appendix C), at n tokens.
        """
        n = whole_number("n", n, least=1)
        [known] = known_passages([self.val.numpy()], self.train.numpy(), n)
        return float(known.mean()) if len(known) else float("nan")


def encoded(text: str, tokenizer: Tokenizer) -> Tensor:
    """The token ids of a text, (N,) int64. Raises `ValueError` for empty text, or no tokenizer."""
    if not whole_text("The text", text):
        raise ValueError("The text is empty; give some text, such as that of a file.")
    instance("tokenizer", tokenizer, Tokenizer)
    return torch.tensor(tokenizer.encode(text))


def are_ids(ids: Any) -> bool:
    """Whether this is a 1-D int64 tensor, with its data, of token ids, none of them negative."""
    right = isinstance(ids, Tensor) and ids.dtype == torch.int64 and ids.dim() == 1
    return right and ids.layout == torch.strided and not ids.is_meta and not (ids < 0).any()


def require_ids(name: str, ids: Any) -> None:
    """Raise `ValueError` for something else than a 1-D int64 tensor of token ids."""
    if not are_ids(ids):
        raise ValueError(f"{name} is {shown(ids)}; it must be a 1-D int64 tensor of token ids.")


def require_mask(name: str, mask: Any, ids: Tensor) -> None:
    """Raise `ValueError` for something else than a mask of these ids that counts a target."""
    right = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == ids.shape
    if not right or mask.layout != torch.strided or mask.is_meta:
        raise ValueError(
            f"{name} is {shown(mask)}; it must be a 1-D bool tensor of {len(ids):,} values, one "
            "for each token."
        )
    if not mask[1:].any():
        raise ValueError(
            f"{name} counts no target; let it be true for a token other than the first, which "
            "nothing predicts."
        )


def listed_ids(name: str, ids: Any) -> list[int]:
    """Token ids, of a list or a tensor, as a list. Raises `ValueError` for anything else."""
    try:
        values = ids.tolist() if isinstance(ids, Tensor) else ids
        values = [index(i) for i in listed(name, values, "token ids")]
    except (TypeError, RuntimeError):  # the last of a tensor that has no data
        values = [-1]
    if min(values, default=0) < 0 or max(values, default=0) > LARGEST_ID:
        raise ValueError(f"{name} is {shown(ids)}; it must be a list of token ids.")
    return values


def id_array(name: str, ids: Any) -> np.ndarray:
    """As `listed_ids`, as an array (N,) int64. A list takes five times the memory of a tensor."""
    if are_ids(ids) and len(ids) and ids.max() <= LARGEST_ID:
        return ids.cpu().numpy()
    return np.array(listed_ids(name, ids), dtype=np.int64)


def ngrams(ids: list[int], n: int) -> list[tuple[int, ...]]:
    """All sequences of n consecutive ids, in order."""
    if n > len(ids):
        return []
    return list(zip(*(ids[i:] for i in range(n)), strict=False))
