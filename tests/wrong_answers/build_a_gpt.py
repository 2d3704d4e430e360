"""Wrong answers to the parts of the lesson `build_a_gpt`, beside those that its checks list."""

STEP = """
loss = model.loss(inputs, targets)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
"""

WRONG = {
    "bigram": {
        """
        counts = torch.zeros(V, V)
        for a, b in zip(ids[:-1], ids[1:], strict=True):
            counts[a, b] += 1
        return counts / counts.sum(1, keepdim=True)
        """: "add `alpha` to every count before you divide",
        "return torch.bincount(ids, minlength=V).float()": "It returns the shape (6,)",
        "return ids[:-1], ids[1:]": "returns tuple; it should return a tensor",
    },
    "surprise": {
        """
        p = logits.exp() / logits.exp().sum(-1, keepdim=True)
        return -p[torch.arange(len(targets)), targets].log().mean()
        """: "exp(200) is too large",
        """
        p = logits.softmax(-1)[torch.arange(len(targets)), targets]
        return -(p + 1e-9).log().mean()
        """: "for large logits only. Add nothing to a probability",
        "return F.cross_entropy(logits.clamp(-60, 60), targets)": "cut no logit",
        "return F.cross_entropy(logits, targets) if logits.max() < 99 else 'large'": "returns str",
        "return logits.softmax(-1)[0, targets[0]]": "they are up to",
        "return -logits.log().mean()": "is a log of 0 in it?",
    },
    "embed": {
        "return tokens[idx] + positions": "take the first T rows",
        "return tokens[idx] + positions[: len(idx)]": "`idx.shape[1]` of them",
        "return tokens[idx[0]] + positions[: idx.shape[1]]": "It returns the shape (5, 12)",
    },
    "head": {
        """
        T, D = q.shape
        scores = q @ k.T / D**0.5
        later = torch.ones(T, T, dtype=torch.bool).triu(1)
        return scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        """: "take T and D from `q.shape[-2:]`",
        """
        T, D = q.shape[-2:]
        later = torch.ones(T, T, dtype=torch.bool).tril()
        scores = q @ k.transpose(-2, -1) / D**0.5
        return scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        """: "The mask is the wrong way round",
        """
        T, D = q.shape[-2:]
        scores = q @ k.transpose(-2, -1) / D**0.5
        return (scores + torch.ones(T, T).triu(1) * -torch.inf).softmax(-1) @ v
        """: "0 × −∞ is none",
        """
        T, D = q.shape[-2:]
        later = torch.ones(T, T, dtype=torch.bool).triu(1)
        return (q * k / D**0.5).masked_fill(later, -torch.inf).softmax(-1) @ v
        """: "non-singleton dimension 1. `*` multiplies number by number",
        """
        T, D = q.shape[-2:]
        later = torch.ones(T, T, dtype=torch.bool).triu(1)
        scores = q @ k.transpose(-2, -1) / D**0.5
        return scores.masked_fill(later, -torch.inf).softmax(-1) * v
        """: "`q @ k.transpose(-2, -1)` and `weights @ v`",
        "return (q @ k).softmax(-1) @ v": "swap the last two dimensions of k",
        "return undefined": "name 'undefined' is not defined",
        """
        T, D = q.shape[-2:]
        later = torch.ones(T, T, dtype=torch.bool).triu(0)
        scores = q @ k.transpose(-2, -1) / D**0.5
        return scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        """: "leave the diagonal out of the mask",
        "return v.cumsum(-2)": "Scores, √D, mask, softmax",
    },
    "attention": {
        "return head(*self.qkv(x).chunk(3, -1)).view(2, 3, 5, 4).transpose(1, 2).view(2, 5, 12)": (
            "Use .reshape(...) instead. On the way back"
        ),
        """
        B, T, C = x.shape
        q, k, v = (p.view(B, T, 3, -1).transpose(1, 2) for p in self.qkv(x).chunk(3, -1))
        return self.proj(head(q, k, v).transpose(1, 2).view(B, T, C))
        """: "or `.contiguous()` before the `view`",
        "q, k, v = self.qkv(x).chunk(3)": "`chunk(3, dim=-1)`",
        "return print().transpose(1, 2)": "Does `head`, part 4, still return nothing?",
        "return self.qkv(x)": "It returns the shape (2, 5, 36)",
        "return self.proj(x)": "their number is `self.n_head`",
    },
    "mlp": {
        "return self.fc(x)": "It returns the shape (2, 5, 48)",
        "return F.gelu(self.fc(x)) @ self.fc.weight": "then the layer `proj`",
    },
    "block": {
        "return self.attn(x), self.mlp(x)": "returns tuple",
        "x += self.attn(self.ln_1(x))\nreturn x + self.mlp(self.ln_2(x))": "Write `x = x + …`",
        "x = x + self.attn(self.ln_1(x))\nx += self.mlp(self.ln_2(x))\nreturn x": (
            "`x += …` overwrites"
        ),
        "with torch.no_grad():\n    x = x + self.attn(self.ln_1(x))\n"
        "    return x + self.mlp(self.ln_2(x))": "`backward()` fails",
        "return 2 * x": "Twice: x plus a part of the normed x",
    },
    "gpt": {
        "return self.blocks(self.wte(idx))": "`self.blocks` is a list",
        "return embed(idx, self.wte, self.wpe)": "`self.wte.weight`, `self.wpe.weight`",
        "return self.ln_f(self.wte(idx)) @ self.wte.weight": "`x @ self.wte.weight.T`",
        "return print() @ self.wte.weight.T": "Does `embed`, part 3, still return nothing?",
        "return self.ln_f(self.wte(idx)) @ self.wte.weight.T + 1": "is the output head as well",
    },
    "step": {
        STEP.replace("optimizer.zero_grad()\n", ""): "Call `optimizer.zero_grad()` in each step",
        STEP.replace("loss.backward()\n", ""): "call `loss.backward()`",
        STEP.replace("optimizer.step()\n", ""): "call `optimizer.step()`",
        STEP.replace("optimizer.zero_grad()\n", "").replace(
            "loss.backward()\n", "loss.backward()\noptimizer.zero_grad()\n"
        ): "The order matters",
        STEP.replace("loss.backward()", "(-loss).backward()"): "not as one step with this loss",
        STEP.replace("inputs, targets", "inputs, inputs"): "in this order",
        STEP.replace("inputs, targets", "targets, inputs"): "in this order",
        STEP.replace("return loss.item()", "return loss"): "keeps the whole computation in memory",
        STEP.replace("return loss.item()", "return model.loss(inputs, targets).item()"): (
            "before the weights change"
        ),
        STEP.replace("model.loss(inputs, targets)", "model(inputs, targets)"): (
            "takes the inputs only. The loss is `model.loss(inputs, targets)`"
        ),
        STEP.replace("model.loss", "F.cross_entropy").replace("(inputs,", "(model(inputs),"): (
            "one row for each target. The loss is `model.loss(inputs, targets)`"
        ),
        STEP.replace("targets)\n", "targets).item()\n", 1): "call it last, in the `return`",
        STEP.replace("return loss.item()", "return 'done'"): "`step` returns 'done'",
    },
    "sample": {
        """
        ids = list(ids)
        for _ in range(count):
            logits = model(torch.tensor([ids[-model.config.block_size :]]))[0, -1]
            ids.append(int(torch.multinomial(logits, 1, generator=generator)))
        return ids
        """: "logits need a softmax first",
        """
        ids = list(ids)
        for _ in range(count):
            p = model(torch.tensor([ids]))[0, -1].softmax(-1)
            ids.append(int(torch.multinomial(p, 1, generator=generator)))
        return ids
        """: "`model.config.block_size` tokens only",
        """
        p = model(torch.tensor(ids))[-1].softmax(-1)
        return ids + [int(torch.multinomial(p, 1, generator=generator))]
        """: "The batch dimension is missing",
        "return list(ids) + [7] * count": "with the same seed",
        "return torch.tensor(ids)": "makes one of a tensor",
        "return ['a']": "a list of token ids",
    },
}
