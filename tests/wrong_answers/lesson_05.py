"""Wrong answers to the exercises of notebook 05."""


def _words(names: str, words: str) -> str:
    """Code that gives each of the names its word: "a", "b" and "x y" make `a = "x"`, `b = "y"`."""
    pairs = zip(names.split(), words.split(), strict=True)
    return "\n".join(f'{name} = "{word}"' for name, word in pairs)


CLAIMS = "claim_a claim_b claim_c claim_d claim_e"
RUNS = "run_a run_b run_c run_d"

# How `examine` ends, once `fair` is a list of token ids.
MEANS = """
loss_a = sum(lab.mean_loss(model_a, ids) for ids in fair) / len(fair)
loss_b = sum(lab.mean_loss(model_b, ids) for ids in fair) / len(fair)
return loss_a, loss_b
"""
NEITHER = """
a, b = train_a.tolist(), train_b.tolist()
fair = [
    ids for ids in scripts.values()
    if lab.copy_rate(ids.tolist(), a) < 0.5 and lab.copy_rate(ids.tolist(), b) < 0.5
]
"""

WRONG = {
    "claims": {
        _words(CLAIMS, "holds holds holds open fails"): "Compare the ranges, not the middles",
        _words(CLAIMS, "open open holds open fails"): "does anything but the size differ",
        _words(CLAIMS, "open holds open open fails"): "the two amounts of text",
        _words(CLAIMS, "open holds holds holds fails"): "change without the other",
        _words(CLAIMS, "open holds holds open holds"): "One clear counterexample",
        _words(CLAIMS, "open true true open false"): "should be one of",
    },
    "compare": {
        # Means.
        """
mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
return "a" if mean_a < mean_b else "b"
""": "the ranges overlap",
        # The luckiest run of each.
        'return "a" if min(a) < min(b) else "b"': "the ranges overlap",
        # Higher is better.
        """
if min(a) > max(b):
    return "a"
return "b" if min(b) > max(a) else "not decidable"
""": "the lower ones are the better ones",
        # A lower best run and a lower mean.
        """
if min(a) < min(b) and sum(a) / len(a) < sum(b) / len(b):
    return "a"
if min(b) < min(a) and sum(b) / len(b) < sum(a) / len(a):
    return "b"
return "not decidable"
""": "the ranges overlap",
        # Lists taken as sorted.
        """
if a[-1] < b[0]:
    return "a"
return "b" if b[-1] < a[0] else "not decidable"
""": "not sorted by size",
        # Touching ranges.
        """
if max(a) <= min(b):
    return "a"
return "b" if max(b) <= min(a) else "not decidable"
""": "Ranges that touch",
        # One run against three.
        """
if max(a) < min(b):
    return "a"
return "b" if max(b) < min(a) else "not decidable"
""": "has no spread to look at",
        # Only one of the two can win.
        'return "a" if max(a) < min(b) else "not decidable"': "All runs of b are better",
        # Other words.
        'return "open" if len(a) + len(b) < 4 or max(a) >= min(b) else True': "should be one of",
    },
    "causal_mask": {
        "return torch.ones(T, T).triu().bool()": "turned round",
        "return torch.ones(T, T).triu(1).bool()": "It is the opposite",
        "return torch.ones(T, T).tril(-1).bool()": "may look at itself too",
        "return torch.ones(T, T).tril(1).bool()": "one too far",
        "return torch.ones(T, T).bool()": "Nothing is hidden",
        "return torch.eye(T).bool()": "sees only itself",
        "return torch.arange(T) < T": "should be a tensor of shape (6, 6)",
        "return torch.ones(6, 6).tril().bool()": "should be a tensor of shape (2, 2)",
        # A window of three.
        "return torch.ones(T, T).tril().triu(-2).bool()": "cannot see all of its past",
        # Every token may also look at the last one.
        """
mask = torch.ones(T, T).tril().bool()
mask[:, -1] = True
return mask
""": "the future leaks",
    },
    "examine": {
        # Everything.
        "fair = list(scripts.values())" + MEANS: "Your exam has all the scripts",
        # Tensors, whose items are never equal.
        """
fair = [
    ids for ids in scripts.values()
    if lab.copy_rate(ids, train_a) < 0.5 and lab.copy_rate(ids, train_b) < 0.5
]
"""
        + MEANS: "give it lists",
        # To each its own exam.
        """
own_a = [i for i in scripts.values() if lab.copy_rate(i.tolist(), train_a.tolist()) < 0.5]
own_b = [i for i in scripts.values() if lab.copy_rate(i.tolist(), train_b.tolist()) < 0.5]
loss_a = sum(lab.mean_loss(model_a, ids) for ids in own_a) / len(own_a)
loss_b = sum(lab.mean_loss(model_b, ids) for ids in own_b) / len(own_b)
return loss_a, loss_b
""": "sits its own exam",
        # Only what one of them has read.
        """
fair = [i for i in scripts.values() if lab.copy_rate(i.tolist(), train_a.tolist()) < 0.5]
"""
        + MEANS: "but not what b has read",
        """
fair = [i for i in scripts.values() if lab.copy_rate(i.tolist(), train_b.tolist()) < 0.5]
"""
        + MEANS: "but not what a has read",
        # Only what was read word for word.
        """
a, b = train_a.tolist(), train_b.tolist()
fair = [
    ids for ids in scripts.values()
    if lab.copy_rate(ids.tolist(), a) < 1 and lab.copy_rate(ids.tolist(), b) < 1
]
"""
        + MEANS: "Nobody has read the file itself",
        # Those that have been read.
        """
a, b = train_a.tolist(), train_b.tolist()
fair = [
    ids for ids in scripts.values()
    if lab.copy_rate(ids.tolist(), a) >= 0.5 or lab.copy_rate(ids.tolist(), b) >= 0.5
]
"""
        + MEANS: "You chose the scripts that have been read",
        # The mean of the two shares.
        """
a, b = train_a.tolist(), train_b.tolist()
fair = [
    ids for ids in scripts.values()
    if lab.copy_rate(ids.tolist(), a) + lab.copy_rate(ids.tolist(), b) < 1
]
"""
        + MEANS: "One model that has read a script is enough",
        # One long text.
        NEITHER
        + """
text = torch.cat(fair)
return lab.mean_loss(model_a, text), lab.mean_loss(model_b, text)
""": "as one long text",
        # Long scripts count more.
        NEITHER
        + """
n = sum(len(ids) - 1 for ids in fair)
loss_a = sum(lab.mean_loss(model_a, ids) * (len(ids) - 1) for ids in fair) / n
loss_b = sum(lab.mean_loss(model_b, ids) * (len(ids) - 1) for ids in fair) / n
return loss_a, loss_b
""": "Long scripts count more",
        # Sums, and the wrong order.
        NEITHER
        + """
loss_a = sum(lab.mean_loss(model_a, ids) for ids in fair)
return loss_a, sum(lab.mean_loss(model_b, ids) for ids in fair)
""": "sums over the scripts",
        NEITHER + MEANS.replace("loss_a, loss_b", "loss_b, loss_a"): "The order is turned round",
        # The names, learnt by heart.
        """
fair = [ids for name, ids in scripts.items() if name[:2] in ("24", "26", "42", "45", "tw", "on")]
"""
        + MEANS: "names of files tell nothing",
    },
    "bug": {
        _words(RUNS, "leak leak fine labels"): "Run A is not “leak”: only",
        _words(RUNS, "labels leak fine mask"): "Its loader asks for the next token",
        _words(RUNS, "mask mask fine labels"): "Its model does not look ahead",
        _words(RUNS, "mask leak leak labels"): "Run C is not “leak”: only",
        _words(RUNS, "mask leak fine fine"): "it has one of the three faults",
        _words(RUNS, "mask fine fine labels"): "it has one of the three faults",
        _words(RUNS, "mask leak fine vocabulary"): "should be one of",
    },
}
