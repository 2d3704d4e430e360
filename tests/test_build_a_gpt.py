"""The checks of `build_a_gpt` accept any way to the right numbers."""

from itertools import pairwise

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from slmlab.exercises import build_a_gpt as check


def bigram(ids, V, alpha):
    counts = torch.full((V, V), alpha)
    for a, b in pairwise(ids):
        counts[a, b] += 1
    return F.normalize(counts, p=1, dim=1)


def surprise(logits, targets):
    return F.nll_loss(F.log_softmax(logits, -1), targets)


def embed(idx, tokens, positions):
    places = torch.arange(idx.shape[1]).expand_as(idx)
    return F.embedding(idx, tokens) + F.embedding(places, positions)


def head(q, k, v):
    seen = torch.tril(torch.ones(q.shape[-2], q.shape[-2]))
    scores = torch.einsum("...td,...sd->...ts", q, k) / q.shape[-1] ** 0.5
    return scores.where(seen == 1, float("-inf")).softmax(-1) @ v


class Attention(nn.Module):
    """One head after the other."""

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x):
        width = x.shape[-1] // self.n_head
        parts = [part.split(width, -1) for part in self.qkv(x).chunk(3, -1)]
        return self.proj(torch.cat([head(*qkv) for qkv in zip(*parts, strict=True)], -1))


def step(model, optimizer, inputs, targets):
    logits = model(inputs)
    loss = F.cross_entropy(logits.transpose(1, 2), targets)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()  # after the step is as good as before the next
    return loss.item()


@torch.no_grad()
def sample(model, ids, count, seed):
    generator = torch.Generator().manual_seed(seed)
    text = torch.tensor([ids])
    for _ in range(count):
        p = F.softmax(model(text[:, -model.config.block_size :])[:, -1], -1)
        text = torch.cat([text, torch.multinomial(p, 1, generator=generator)], 1)
    return text[0].tolist()


@pytest.mark.parametrize(
    "answer", [bigram, surprise, embed, head, Attention, step, sample], ids=lambda a: a.__name__
)
def test_another_way_to_the_right_numbers_is_right(answer, capsys):
    getattr(check, answer.__name__.lower())(answer)
    assert capsys.readouterr().out.startswith("Right. ")


def test_something_else_than_a_class_gets_a_sentence():
    with pytest.raises(check.Mistake, match="Give the class itself"):
        check.mlp(nn.Identity())


def test_a_class_that_cannot_be_made_gets_a_sentence():
    class Broken(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.fc = nn.Linear(config.width, 4)

    with pytest.raises(check.Mistake, match="`Broken` stopped with AttributeError"):
        check.mlp(Broken)


class Blank(nn.Module):
    def __init__(self, config):
        super().__init__()

    def forward(self, x): ...


class Block(nn.Module):
    """Right, but for its parts."""

    attention = Blank

    def __init__(self, config):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)
        self.attn, self.mlp = self.attention(config), nn.Identity()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.ModuleList([Block(config)])
        self.ln_f = nn.LayerNorm(config.n_embd)

    def forward(self, idx):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


@pytest.mark.parametrize(("part", "cls"), [("block", Block), ("gpt", GPT)])
def test_a_part_that_uses_a_blank_one_names_it(part, cls):
    with pytest.raises(check.Mistake, match="`Blank` is still blank"):
        getattr(check, part)(cls)


def test_a_part_whose_parts_are_wrong_is_checked_by_itself(capsys, monkeypatch):
    monkeypatch.setattr(Block, "attention", lambda self, config: nn.Linear(3, 4))
    check.block(Block)
    assert capsys.readouterr().out.startswith("Right. ")
