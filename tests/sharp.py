"""Random models that decide clearly, by the text before: what decoders are tried on."""

import torch

import slmlab as lab


def sharp(seed, vocabulary=12, block=32):
    """A random model whose next token depends on the text, and is rarely a tie."""
    model = lab.GPT(lab.GPTConfig(vocabulary, block, 1, 2, 16), seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.mul_(80 if name.startswith("blocks") else 20)
    return model
