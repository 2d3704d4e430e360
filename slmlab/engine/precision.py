"""Mixed precision: the matrix products of a training step in bfloat16, all else in float32.

bfloat16 has float32's range in half its bits, so losses need no scaling (Micikevicius et al. 2018,
arXiv:1710.03740; Kalamkar et al. 2019, arXiv:1905.12322). The output head's part of it is in
`fused_loss.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

PRECISIONS = ("fp32", "bf16")
FAST_BF16 = ("amx_bf16", "avx512_bf16")  # what processors that have it call it


@contextmanager
def products(precision: str, device: torch.device) -> Iterator[None]:
    """Inside the block, matrix products are of numbers of a precision, one of `PRECISIONS`."""
    if precision == "fp32":
        yield
        return
    attention = _FullAttention() if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16), attention:
        yield


class _FullAttention(TorchFunctionMode):
    """Attention in float32: on a CPU its backward pass takes three times as long in bfloat16."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        named = kwargs or {}
        if function is not F.scaled_dot_product_attention:
            return function(*args, **named)
        with torch.autocast("cpu", enabled=False):
            return function(*map(_widened, args), **{k: _widened(v) for k, v in named.items()})


def _widened(value: Any) -> Any:
    """A tensor of bfloat16 in float32; anything else as it is."""
    return value.float() if torch.is_tensor(value) and value.dtype == torch.bfloat16 else value


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `ValueError` for bf16 on a device without fast products of such numbers."""
    if precision == "fp32":
        return
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        tell = getattr(torch.cpu, "get_capabilities", dict)  # older versions cannot tell
        found: dict[str, bool] = dict(tell()) if device.type == "cpu" else {}
        fast = any(found.get(name) for name in FAST_BF16)
    if not fast:
        raise ValueError(
            "This processor has no fast products of bf16 numbers, so training would be slower; use "
            'precision="fp32".'
        )
