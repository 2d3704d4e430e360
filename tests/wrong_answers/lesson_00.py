"""Wrong answers to the exercises of notebook 00."""

COUNT = """
token_embedding = {}
positions = {}
layer = {}
total = {}
"""

WRONG = {
    "count_by_hand": {
        COUNT.format("1000 + 10", "160", "1330", "12840"): "rows × columns",
        COUNT.format("2 * 1000 * 10", "160", "1330", "22840"): "You counted the table twice",
        COUNT.format("10_000", "16", "1330", "12840"): "one number for each place",
        COUNT.format("10_000", "160", "12 * 10**2", "12840"): "the biases and the norms",
        COUNT.format("10_000", "160", "440 + 850", "12840"): "You left out the norms",
        COUNT.format("10_000", "160", "2 * 440 + 850 + 40", "12840"): "once for each head",
        COUNT.format("10_000", "160", "440 + 220 + 40", "12840"): "four times as wide",
        COUNT.format("10_000", "160", "2 * 1330", "12840"): "should be one of them",
        COUNT.format("10_000", "160", "1330", "10_000 + 160 + 1330 + 20"): "the model has two",
        COUNT.format("10_000", "160", "1330", "10_000 + 160 + 2 * 1330"): "after the last layer",
        COUNT.format("10_000", "160", "1330", "2 * 10_000 + 160 + 2 * 1330 + 20"): "counts once",
        COUNT.format("10_000", "160", "1330", "12,840"): "reads a comma",
        COUNT.format("'10 thousand'", "160", "1330", "12840"): "should be one number",
    },
    "signed_gap": {
        """
gap = train_loss - val_loss
return gap, lab.gap_band(gap).name
""": "the other way round",
        """
gap = abs(val_loss - train_loss)
return gap, lab.gap_band(gap).name
""": "You lost the sign",
        """
gap = val_loss / train_loss
return gap, lab.gap_band(gap).name
""": "You divided",
        "return val_loss - train_loss": "two things",
        """
gap = val_loss - train_loss
return gap, "overfitting" if gap > 0 else "good"
""": "is no band",
        """
gap = val_loss - train_loss
for border, name in ((0.5, "good"), (1, "acceptable"), (3, "moderate"), (5, "severe")):
    if gap < border:
        return gap, name
return gap, "catastrophic"
""": "reason to look for a leak",
        """
gap = val_loss - train_loss
for band in lab.GAP_BANDS:
    if band.low < gap <= band.high:
        return gap, band.name
""": "begins at its lower border",
        """
gap = val_loss - train_loss
return gap, "catastrophic" if gap > 3 else lab.gap_band(gap).name
""": "between which two borders",
    },
    "rates": {
        """
params_per_token = 45_000 / 10_000
times_read = 8
""": "The last tenth is held back",
        """
params_per_token = 9_000 / 45_000
times_read = 8
""": "the other way round",
        """
params_per_token = 5
times_read = 450 * 20 / 9_000
""": "left out the batch",
        """
params_per_token = 5
times_read = 450 * 8 / 9_000
""": "left out the context",
        """
params_per_token = 5
times_read = 450 * 8 * 20 / 10_000
""": "only the part that is trained on",
        """
params_per_token = 5
times_read = 450
""": "does not read the whole text",
        """
params_per_token = 5
times_read = 450 * 8 * 20
""": "how often is the text read",
    },
    "short_exam": {
        "return F.cross_entropy(model(ids[None])[0], ids)": "with the next one",
        "return F.cross_entropy(model(ids[None])[0, 1:], ids[:-1])": "shifted the wrong way",
        "return F.cross_entropy(model(ids[None])[0, :-1], ids[1:], reduction='sum')": "the sum",
        "return F.cross_entropy(model(ids[None])[0, :-1], ids[1:], reduction='none')": (
            "take their mean"
        ),
        "return F.cross_entropy(model(ids[None, :-1])[0], ids[1:], reduction='sum') / len(ids)": (
            "so 100 tokens give 99 predictions"
        ),
        "return F.cross_entropy(model(ids[None, :-1])[:, -1], ids[-1:])": "the last token only",
        "return F.cross_entropy(model(ids[None, :-1])[0].softmax(-1), ids[1:])": "applied it twice",
        "return F.cross_entropy(model(ids[None, :-1])[0], ids[1:]).exp()": "the perplexity",
        "return F.cross_entropy(model(ids[:-1]), ids[1:])": "(batch, time)",
        """
block = model.config.block_size
losses = [
    model.loss(ids[None, i : i + block], ids[None, i + 1 : i + block + 1])
    for i in range(0, len(ids) - block, block)
]
return torch.tensor(losses).mean()
""": "no window fits",
        """
half = len(ids) // 2
return (lab.mean_loss(model, ids[:half]) + lab.mean_loss(model, ids[half:])) / 2
""": "Each token but the first",
        "return F.cross_entropy(model(ids[None, :99])[0], ids[1:100])": "stopped with",
    },
    "too_good": {
        "return split(ids, length)": "There is still a leak",
        """
passages = [ids[i : i + length] for i in range(0, len(ids) - length + 1, length // 4)]
order = torch.randperm(len(passages)).tolist()
cut = len(passages) // 10
held, rest = order[:cut], order[cut:]
return torch.cat([passages[i] for i in rest]), torch.cat([passages[i] for i in held])
""": "There is still a leak",
        "return ids, ids[-len(ids) // 10 :]": "You train on the whole text",
        """
cut = len(ids) * 9 // 10
return ids[cut:], ids[:cut]
""": "swap the two",
        "return ids[:-10], ids[-10:]": "about a tenth",
        "return ids[:-1], ids[:0]": "Nothing is held back",
        """
order = torch.randperm(len(ids))
cut = len(ids) * 9 // 10
return ids[order[:cut]], ids[order[cut:]]
""": "no text any more",
        """
train, val = ids[:900], ids[900:1000]
return train, val
""": "100 of 3217",
        """
val = ids[-len(ids) // 10 :]
return ids[~torch.isin(ids, val)], val
""": "it is the *place*",
        """
cut = len(ids) * 9 // 10
return ids[: cut // 2], ids[cut:]
""": "little text should be lost",
    },
}
