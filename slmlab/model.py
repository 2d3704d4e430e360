"""A GPT-2 style language model, small enough to read in one sitting.

The architecture is GPT-2's (Radford et al. 2019, "Language Models are Unsupervised Multitask
Learners"): learned positions, layer norm before each sub-layer, biases everywhere, and one matrix
that serves both as token embedding and as output head. Shapes in comments use B for the batch,
T for time (tokens of context), C for the width `n_embd`, H for heads and V for the vocabulary.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd
    import transformers

# Rows of the (tokens × vocabulary) logits that exist at a time: at V = 50,257, 256 rows are 51 MB.
HEAD_CHUNK = 256


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. Names follow the GPT-2 code.

    Raises:
        ValueError: if a size is not a positive whole number, if `n_embd` is not divisible by
            `n_head`, or if `dropout` is outside [0, 1).
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1.")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd = {self.n_embd} cannot be shared equally by n_head = {self.n_head} heads; "
                f"make the width a multiple of {self.n_head}, or choose another number of heads."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1.")

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

        table = pd.DataFrame({"parameters": pd.Series(self.parameter_counts)})
        table["share"] = table["parameters"] / self.n_params
        return table


class Attention(nn.Module):
    """Causal self-attention: each token looks at itself and at those before it."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, cache: "LayerCache | None" = None) -> Tensor:
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

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **mask: Tensor | bool | None) -> Tensor:
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

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cache: "LayerCache | None" = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class LayerCache:
    """Keys and values of the tokens that one layer has already seen."""

    def __init__(self, config: GPTConfig, batch: int, device: torch.device) -> None:
        shape = (batch, config.n_head, config.block_size, config.n_embd // config.n_head)
        self.k = torch.empty(shape, device=device)
        self.v = torch.empty(shape, device=device)
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

    The same `seed` gives the same initial weights on every machine.
    """

    def __init__(self, config: GPTConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)  # also the output head
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self._initialise(torch.Generator().manual_seed(seed))

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

    def new_cache(self, batch: int = 1) -> list[LayerCache]:
        """An empty key/value cache for `forward`, with room for `block_size` tokens."""
        return [LayerCache(self.config, batch, self.wte.weight.device) for _ in self.blocks]

    def hidden(self, tokens: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        """Final hidden states of embedded tokens: (B, T, C) → (B, T, C).

        A cache holds the tokens that came before.
        """
        past = cache[0].length if cache else 0
        T = tokens.shape[1]
        if past + T > self.config.block_size:
            raise ValueError(
                f"{past + T} tokens do not fit the model's context of {self.config.block_size}; "
                "pass fewer tokens or make the model with a larger block_size."
            )
        x = tokens + self.wpe.weight[past : past + T]
        x = F.dropout(x, self.config.dropout, self.training)
        for i, block in enumerate(self.blocks):
            x = block(x, cache[i] if cache else None)
        return self.ln_f(x)

    def forward(self, idx: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        """Logits of the next token at every position: ids (B, T) → (B, T, V)."""
        return F.linear(self.hidden(self.wte(idx), cache), self.wte.weight)

    def next_logits(self, idx: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        """Logits after the last position only: ids (B, T) → (B, V)."""
        return F.linear(self.hidden(self.wte(idx), cache)[:, -1], self.wte.weight)

    def loss(self, idx: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats per token; ids and targets (B, T).

        The same value and gradients as `F.cross_entropy` of `forward`, without holding all
        logits at once.
        """
        shared: list[Tensor] = []
        x = self.hidden(Lookup.apply(self.wte.weight, idx, shared)).flatten(0, 1)
        return HeadLoss.apply(
            x, self.wte.weight.detach(), targets.flatten(), label_smoothing, shared
        )

    @property
    def n_params(self) -> int:
        """Number of parameters; the shared embedding counts once, positions count."""
        return sum(p.numel() for p in self.parameters())

    def parameter_table(self) -> "pd.DataFrame":
        """Where the parameters sit: see `GPTConfig.parameter_table`."""
        return self.config.parameter_table()

    def to_huggingface(self) -> "transformers.GPT2LMHeadModel":
        """The same model as a Hugging Face `GPT2LMHeadModel` (needs `pip install transformers`)."""
        from transformers import GPT2Config, GPT2LMHeadModel

        c = self.config
        theirs = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=c.vocab_size,
                n_positions=c.block_size,
                n_layer=c.n_layer,
                n_head=c.n_head,
                n_embd=c.n_embd,
                resid_pdrop=c.dropout,
                embd_pdrop=c.dropout,
                attn_pdrop=c.dropout,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        state = theirs.state_dict()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                state[_huggingface_name(name)].copy_(_transpose_linear(name, parameter))
        return theirs.eval()

    @classmethod
    def from_huggingface(cls, theirs: "transformers.GPT2LMHeadModel") -> "GPT":
        """A `GPT` with the weights of a Hugging Face `GPT2LMHeadModel`.

        Raises:
            ValueError: if `theirs` is not the architecture of this module (another activation,
                an untied head, another MLP width).
        """
        c = theirs.config
        if (
            c.activation_function != "gelu_new"
            or not c.tie_word_embeddings
            or c.n_inner not in (None, 4 * c.n_embd)
            or c.layer_norm_epsilon != 1e-5
            or not c.scale_attn_weights
            or c.scale_attn_by_inverse_layer_idx
        ):
            raise ValueError(
                "This GPT-2 variant cannot be converted: it needs the gelu_new activation, tied "
                "embeddings and an MLP four times the width."
            )
        ours = cls(
            GPTConfig(c.vocab_size, c.n_positions, c.n_layer, c.n_head, c.n_embd, c.resid_pdrop)
        )
        state = theirs.state_dict()
        with torch.no_grad():
            for name, parameter in ours.named_parameters():
                parameter.copy_(_transpose_linear(name, state[_huggingface_name(name)]))
        return ours.eval()


def _huggingface_name(name: str) -> str:
    """`blocks.0.attn.qkv.weight` → `transformer.h.0.attn.c_attn.weight`."""
    for ours, theirs in {
        "blocks.": "h.",
        ".qkv.": ".c_attn.",
        ".fc.": ".c_fc.",
        ".proj.": ".c_proj.",
    }.items():
        name = name.replace(ours, theirs)
    return f"transformer.{name}"


def _transpose_linear(name: str, weight: Tensor) -> Tensor:
    """GPT-2's checkpoints store linear layers as (in, out); PyTorch stores (out, in)."""
    is_linear = name.startswith("blocks.") and weight.dim() == 2
    return weight.T if is_linear else weight


class Lookup(torch.autograd.Function):
    """The token embedding, (B, T) → (B, T, C), for a matrix that `HeadLoss` uses as well.

    Autograd would make a V × C gradient for each of the two uses and add them. Here the head's is
    handed over in the list `shared`, and the lookup's few rows are added to it in place.
    """

    @staticmethod
    def forward(ctx, weight: Tensor, idx: Tensor, shared: list[Tensor]) -> Tensor:
        ctx.idx, ctx.shared = idx, shared
        return F.embedding(idx, weight)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        total = ctx.shared.pop()
        return total.index_add_(0, ctx.idx.flatten(), grad.flatten(0, 1)), None, None


class HeadLoss(torch.autograd.Function):
    """Output head and cross-entropy in one, `HEAD_CHUNK` rows of logits at a time.

    The gradient of cross-entropy is softmax(logits) − one-hot(target), so each chunk's gradients
    are taken while its probabilities are still at hand, and no logits are kept for later. The
    idea is Liger Kernel's fused linear cross-entropy (Hsu et al. 2024, arXiv:2410.10989).
    The gradient of the matrix goes to `Lookup`.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, targets: Tensor, smoothing: float, shared: list[Tensor]
    ) -> Tensor:
        N, V = len(x), len(weight)
        training = ctx.needs_input_grad[0]
        grad_x = torch.empty_like(x) if training else None
        grad_weight = torch.zeros_like(weight) if training else None
        buffer = x.new_empty(min(N, HEAD_CHUNK), V)
        total = x.new_zeros(())
        for start in range(0, N, HEAD_CHUNK):
            rows = x[start : start + HEAD_CHUNK]
            labels = targets[start : start + HEAD_CHUNK, None]
            logits = torch.mm(rows, weight.T, out=buffer[: len(rows)])
            target_logits = logits.gather(1, labels)
            mean_logits = logits.mean(1, keepdim=True) if smoothing else 0.0
            top = logits.amax(1, keepdim=True)
            p = torch.softmax(logits, 1, out=logits)
            log_sum = top - p.amax(1, keepdim=True).log()  # log Σ exp(logits), without overflow
            total += (log_sum - (1 - smoothing) * target_logits - smoothing * mean_logits).sum()
            if training:
                if smoothing:
                    p -= smoothing / V
                p.scatter_add_(1, labels, p.new_full(labels.shape, smoothing - 1))
                torch.mm(p, weight, out=grad_x[start : start + HEAD_CHUNK])
                grad_weight.addmm_(p.T, rows / N)
        ctx.grads, ctx.shared = (grad_x, grad_weight), shared
        return total / N

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_weight = ctx.grads
        del ctx.grads
        ctx.shared.append(grad_weight.mul_(grad))
        return grad_x.mul_(grad / len(grad_x)), None, None, None, None
