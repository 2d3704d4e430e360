"""A GPT-2 style language model, small enough to read in one sitting.

The architecture is GPT-2's (Radford et al. 2019, "Language Models are Unsupervised Multitask
Learners"): learned positions, layer norm before each sub-layer, biases everywhere, and one matrix
that serves both as token embedding and as output head. Shapes in comments use B for the batch,
T for time (tokens of context), C for the width `n_embd`, H for heads and V for the vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from slmlab.engine.fused_loss import Embedding, TiedEmbedding, tied_cross_entropy
from slmlab.validation import instance, real_number, whole_number

if TYPE_CHECKING:
    import pandas as pd

Part = Callable[["GPTConfig"], nn.Module]  # makes a layer's attention, or its MLP
# Larger sizes are a slip of the keyboard, or an attack: 4 billion weights alone are 16 GB.
MAX_LAYERS, MAX_CONTEXT, MAX_PARAMS = 1_000, 8_192, 4_000_000_000


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. Names follow the GPT-2 code.

    Raises:
        ValueError: if a size is not a positive whole number, if `n_embd` is not divisible by
            `n_head`, if `dropout` is outside [0, 1), or for sizes above `MAX_*`.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            most = {"n_layer": MAX_LAYERS, "block_size": MAX_CONTEXT}.get(name, MAX_PARAMS)
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1, most))
        object.__setattr__(self, "dropout", real_number("dropout", self.dropout, least=0, below=1))
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd = {self.n_embd} cannot be shared equally by n_head = {self.n_head} heads; "
                f"make the width a multiple of {self.n_head}, or choose another number of heads."
            )
        if self.n_params > MAX_PARAMS:
            raise ValueError(
                f"Such a model has {self.n_params:.1e} parameters; at most {MAX_PARAMS:,} are "
                "allowed, so make it narrower, or give it fewer layers."
            )

    @property
    def parameter_counts(self) -> dict[str, int]:
        """How many parameters such a model has of each kind, without building it."""
        C = self.n_embd
        return {
            "token embedding (= output head)": self.vocab_size * C,
            "positions": self.block_size * C,
            "attention": self.n_layer * (4 * C**2 + 4 * C),
            "MLP": self.n_layer * (8 * C**2 + 5 * C),
            "norms": self.n_layer * 4 * C + 2 * C,
        }

    @property
    def n_params(self) -> int:
        """Number of parameters of such a model, without building it."""
        return sum(self.parameter_counts.values())

    def parameter_table(self) -> "pd.DataFrame":
        """Where the parameters sit: one row per kind, with its count and its share of the total."""
        import pandas as pd

        counts = pd.Series(self.parameter_counts)
        return pd.DataFrame({"parameters": counts, "share": counts / self.n_params})

    @property
    def mlp(self) -> "Part":
        """What makes the MLP of each layer."""
        return MLP


class Attention(nn.Module):
    """Causal self-attention: each token looks at itself and at those before it."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, cache: "KVCache | None" = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head).unbind(2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # each (B, H, T, C/H)
        if cache is None:
            y = self.attend(q, k, v, is_causal=True)
        else:
            mask = cache.mask(T)
            y = self.attend(q, *cache.append(k, v), attn_mask=mask)
        y = y.transpose(1, 2).reshape(B, T, C)
        return F.dropout(self.proj(y), self.dropout, self.training)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **mask: Any) -> Tensor:
        """The values, weighted by how well each query matches the keys: (B, H, T, C/H)."""
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, **mask)


class MLP(nn.Module):
    """Two linear layers, four times as wide in between, applied to each token on its own."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.fc(x), approximate="tanh")  # GPT-2 uses this approximation of GELU
        return F.dropout(self.proj(x), self.dropout, self.training)


class Block(nn.Module):
    """One layer: attention, then the MLP, each added to the residual stream."""

    def __init__(self, config: GPTConfig, attention: Part, mlp: Part) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = mlp(config)

    def forward(self, x: Tensor, cache: "KVCache | None" = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class KVCache:
    """Keys and values of the tokens that one layer has already seen."""

    def __init__(self, config: GPTConfig, batch: int, like: Tensor) -> None:
        shape = (batch, config.n_head, config.block_size, config.n_embd // config.n_head)
        self.k, self.v = like.new_empty(shape), like.new_empty(shape)
        self.length = 0

    def mask(self, T: int) -> Tensor | None:
        """(T, length + T), true where a new token may look. One new token may look anywhere."""
        if T == 1:
            return None
        new = torch.arange(self.length, self.length + T, device=self.k.device)
        return torch.arange(self.length + T, device=self.k.device) <= new[:, None]

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values and return all so far, (B, H, length, C/H)."""
        end = self.length + k.shape[2]
        self.k[:, :, self.length : end] = k
        self.v[:, :, self.length : end] = v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]


class GPT(nn.Module):
    """The model: token ids in, next-token logits or a loss out.

    The same `seed` gives the same initial weights on every machine. `attention` and `mlp` make
    each layer's two parts from the config, which may name another MLP; others with the same
    interface may take their place.
    """

    def __init__(
        self, config: GPTConfig, seed: int = 0, *, attention: Part = Attention, mlp: Part = MLP
    ) -> None:
        super().__init__()
        self.config = instance("config", config, GPTConfig)
        instance("attention", attention, Callable, "Attention")
        mlp = instance("mlp", config.mlp if mlp is MLP else mlp, Callable, "MLP")
        self.wte = Embedding(config.vocab_size, config.n_embd)  # also the output head
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config, attention, mlp) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self._initialise(torch.Generator().manual_seed(whole_number("seed", seed, most=2**63 - 1)))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """GPT-2's initial weights: N(0, 0.02²), smaller where a layer adds to the residual."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith("proj.weight")
                std = 0.02 / math.sqrt(2 * self.config.n_layer) if into_residual else 0.02
                parameter.normal_(0.0, std, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()

    def new_cache(self, batch: int = 1) -> list[KVCache]:
        """An empty key/value cache for `forward`, with room for `block_size` tokens."""
        return [KVCache(self.config, batch, like=self.wte.weight) for _ in self.blocks]

    def hidden(self, embedded: Tensor, cache: list[KVCache] | None = None) -> Tensor:
        """Final hidden states of embedded tokens, after those of a cache: (B, T, C) → (B, T, C)."""
        past, T = (cache[0].length if cache else 0), embedded.shape[1]
        if past + T > self.config.block_size:
            raise ValueError(
                f"{past + T} tokens do not fit the model's context of {self.config.block_size}; "
                "pass fewer tokens or make the model with a larger block_size."
            )
        x = embedded + self.wpe.weight[past : past + T]
        x = F.dropout(x, self.config.dropout, self.training)
        for i, block in enumerate(self.blocks):
            x = block(x, cache[i] if cache else None)
        return self.ln_f(x)

    def forward(self, idx: Tensor, cache: list[KVCache] | None = None) -> Tensor:
        """Logits of the next token at every position: ids (B, T) → (B, T, V)."""
        return F.linear(self.hidden(self.wte(idx), cache), self.wte.weight)

    def next_logits(self, idx: Tensor, cache: list[KVCache] | None = None) -> Tensor:
        """Logits after the last position only: ids (B, T) → (B, V)."""
        return F.linear(self.hidden(self.wte(idx), cache)[:, -1], self.wte.weight)

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats per token; ids and targets (B, T).

        As `F.cross_entropy` of `forward`, gradients and targets of −100 included, without holding
        all logits at once; but 0 if no target counts. `backward()` can be called on it once.
        """
        shared: list[Tensor] = []
        weight = self.wte.weight
        hidden = self.hidden(TiedEmbedding.apply(weight, idx, shared)).flatten(0, 1)
        return tied_cross_entropy(weight, hidden, targets.flatten(), label_smoothing, shared)

    @property
    def exchanged_parts(self) -> tuple[str, ...]:
        """Names of the classes in place of those that the config names; empty for most."""
        parts = {type(part) for block in self.blocks for part in (block.attn, block.mlp)}
        parts = (parts | {type(self)}) - {Attention, self.config.mlp, GPT}
        return tuple(sorted(part.__name__ for part in parts))

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    @property
    def n_params(self) -> int:
        """Number of parameters; the shared embedding counts once, positions count."""
        return sum(p.numel() for p in self.parameters())

    def parameter_table(self) -> "pd.DataFrame":
        """Where the parameters sit: see `GPTConfig.parameter_table`."""
        return self.config.parameter_table()
