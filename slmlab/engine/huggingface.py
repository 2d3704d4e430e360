"""A model to and from Hugging Face's GPT-2 (needs `pip install transformers`)."""

from typing import TYPE_CHECKING

import torch
import torch.nn as nn
from torch import Tensor

from slmlab.engine.model import GPT, GPTConfig
from slmlab.validation import instance, shown

if TYPE_CHECKING:
    import transformers


def to_huggingface(model: GPT) -> "transformers.GPT2LMHeadModel":
    """The same model as a Hugging Face `GPT2LMHeadModel`, ready to generate.

    Raises `ValueError` for a model with other parts than GPT-2's, or without `transformers`.
    """
    instance("model", model, GPT)
    parts = model.exchanged_parts or ("experts",) * (type(model.config) is not GPTConfig)
    if parts:
        raise ValueError(
            f"A model with {', '.join(parts)} is no GPT-2, so Hugging Face's "
            "class cannot express it; convert a model with the ordinary parts."
        )
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise ValueError(
            "A Hugging Face model needs the package transformers; install it with "
            "`pip install transformers`."
        ) from error
    c = model.config
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
    nn.Module.to(theirs, model.wte.weight.dtype)  # theirs is wrapped in a way that types miss
    state = theirs.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            state[_their_name(name)].copy_(_transpose_linear(name, parameter))
    return theirs.eval()


def from_huggingface(theirs: "transformers.GPT2LMHeadModel") -> GPT:
    """A `GPT` with the weights of a Hugging Face `GPT2LMHeadModel`.

    Raises:
        ValueError: if `theirs` is of another class, or not the architecture of `GPT` (another
            activation, an untied head, another MLP width, unequal dropout rates).
    """
    c = getattr(theirs, "config", None)
    is_gpt2 = isinstance(theirs, nn.Module) and getattr(c, "model_type", "") == "gpt2"
    if not is_gpt2 or not hasattr(theirs, "lm_head"):  # a GPT2Model alone has no output head
        raise ValueError(
            f"theirs is {shown(theirs)}; it must be a GPT2LMHeadModel; load it with "
            "transformers.GPT2LMHeadModel.from_pretrained."
        )
    differences = {
        f"the activation {c.activation_function}": c.activation_function != "gelu_new",
        "an output head of its own": not c.tie_word_embeddings,
        f"an MLP of width {c.n_inner}": c.n_inner not in (None, 4 * c.n_embd),
        f"a layer norm epsilon of {c.layer_norm_epsilon}": c.layer_norm_epsilon != 1e-5,
        "unscaled attention": not c.scale_attn_weights,
        "attention scaled layer by layer": c.scale_attn_by_inverse_layer_idx,
        f"unequal dropout rates ({c.embd_pdrop:g}, {c.attn_pdrop:g}, {c.resid_pdrop:g})": not (
            c.embd_pdrop == c.attn_pdrop == c.resid_pdrop
        ),
    }
    found = [difference for difference, is_so in differences.items() if is_so]
    if found:
        raise ValueError(
            f"This GPT-2 variant cannot be converted, because it has {' and '.join(found)}; a GPT "
            "here has gelu_new, tied embeddings, an MLP four times the width and one dropout rate."
        )
    config = GPTConfig(
        c.vocab_size, c.n_positions, c.n_layer, c.n_head, c.n_embd, dropout=c.resid_pdrop
    )
    ours = GPT(config).to(theirs.dtype)
    state = theirs.state_dict()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(_transpose_linear(name, state[_their_name(name)]))
    return ours.eval()


def _their_name(name: str) -> str:
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
