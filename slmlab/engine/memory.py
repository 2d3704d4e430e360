"""How much memory a training or a saved run needs, and whether this computer has it."""

import psutil

from slmlab.engine.fused_loss import HEAD_CHUNK
from slmlab.engine.model import GPTConfig


def activation_bytes(config: GPTConfig, batch_size: int) -> float:
    """What the backward pass reads again: per token and layer about 34 widths, and the attention
    scores, in bytes of numbers of 16 bits (Korthikanti et al. 2022, arXiv:2205.05198)."""
    c = config
    per_token = c.n_layer * (34 * c.n_embd + 5 * c.block_size * c.n_head)
    return batch_size * c.block_size * per_token


def training_megabytes(config: GPTConfig, batch_size: int, averaged: bool = False) -> float:
    """Weights (their average too), gradients, AdamW's two moments, the best weights; activations; a
    chunk of logits."""
    activations = activation_bytes(config, batch_size) / 2  # two bytes a number
    weights = (5 + averaged) * config.n_params
    return 4 * (weights + activations + HEAD_CHUNK * config.vocab_size) / 1e6


def loading_megabytes(config: GPTConfig, sizes: list[int]) -> float:
    """The weights of files of these sizes in bytes, the content of the largest, a new model."""
    return (sum(sizes) + max(sizes, default=0) + 4 * config.n_params) / 1e6


def free_megabytes() -> float:
    """How much memory is free, and on the disk for it."""
    return (psutil.virtual_memory().available + psutil.swap_memory().free) / 1e6


def require_memory(config: GPTConfig, batch_size: int, averaged: bool = False) -> None:
    """Raise `ValueError` if a training needs more memory than is free, and on the disk for it.

    The system would end the whole program in the middle of a step, and all that it holds.
    """
    free = free_megabytes()
    needed = training_megabytes(config, batch_size, averaged)
    if needed > free:
        raise ValueError(
            f"A step on {batch_size:,} windows of {config.block_size:,} tokens needs about "
            f"{needed:,.0f} MB of memory, and {free:,.0f} MB are free; make the batch, the context "
            "or the model smaller."
        )
