"""In which order a training text is read: windows at random, each once, easy or hard ones first."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from slmlab.text.dataset import Dataset
from slmlab.validation import one_of

READINGS = ("random", "epochs", "easy first", "hard first")
SEED_STRIDE = 1_000_003  # `fit` asks for the batch of a step with the seed `seed * this + step`
FIRST_SHARE = 0.1  # of the windows, that a curriculum begins with
PACED_STEPS = 900  # until a curriculum reads all of them: half of what the base's best runs take


@dataclass(frozen=True, eq=False)
class Epochs(Dataset):
    """Every window of the text once, in a random order, before any is read again.

    Windows do not overlap. In each epoch they begin at another place.
    """

    first: int = 0

    def batch(self, batch_size: int, block_size: int, seed: int) -> tuple[Tensor, Tensor]:
        numbers = torch.arange(batch_size) + (seed - self.first - 1) * batch_size
        n_windows = (len(self.train) - block_size) // block_size  # wherever the first begins
        starts = torch.stack([self._start(int(n), n_windows, block_size) for n in numbers])
        windows = self.train[starts[:, None] + torch.arange(block_size + 1)]
        return windows[:, :-1], windows[:, 1:]

    def _start(self, number: int, n_windows: int, block_size: int) -> Tensor:
        epoch, place = divmod(number, n_windows)
        generator = torch.Generator().manual_seed(self.first + epoch)
        offset = torch.randint(block_size, (), generator=generator)
        return offset + block_size * torch.randperm(n_windows, generator=generator)[place]


@dataclass(frozen=True, eq=False)
class Curriculum(Dataset):
    """Windows at random, at first from the easiest only (or the hardest), later from all.

    A window is as hard as its tokens are rare in the text; the share of the windows grows with the
    square root of the steps (Platanios et al. 2019, arXiv:1903.09848).
    """

    first: int = 0
    hard_first: bool = False

    def batch(self, batch_size: int, block_size: int, seed: int) -> tuple[Tensor, Tensor]:
        order = self._order(block_size)
        done = min(1.0, (seed - self.first) / PACED_STEPS)
        share = math.sqrt(done * (1 - FIRST_SHARE**2) + FIRST_SHARE**2)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(math.ceil(share * len(order)), (batch_size,), generator=generator)
        windows = self.train[order[chosen][:, None] + torch.arange(block_size + 1)]
        return windows[:, :-1], windows[:, 1:]

    def _order(self, block_size: int) -> Tensor:
        """Where windows begin, the easiest (or hardest) first."""
        counts = torch.bincount(self.train).double()
        surprise = -(counts / counts.sum()).log()[self.train]
        sums = torch.cat([torch.zeros(1), surprise.cumsum(0)])
        hardness = sums[block_size:-1] - sums[: -block_size - 1]
        return hardness.argsort(descending=self.hard_first, stable=True)


def reading_of(dataset: Dataset, reading: str, seed: int) -> Dataset:
    """The same text, read in another order by a training with this seed.

    Raises `ValueError` for a reading that is not one of `READINGS`.
    """
    one_of("reading", reading, READINGS)
    if reading == "random":
        return dataset
    parts = {f.name: getattr(dataset, f.name) for f in fields(dataset)}
    first = seed * SEED_STRIDE
    if reading == "epochs":
        return Epochs(**parts, first=first)
    return Curriculum(**parts, first=first, hard_first=reading == "hard first")
