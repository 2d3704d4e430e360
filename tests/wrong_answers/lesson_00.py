"""Wrong answers to the exercises of notebook 00, beside those that its checks list."""

WRONG = {
    "count_by_hand": {
        "token_embedding, positions, layer, total = 10_000, 160, 1330, (12, 840)": "reads a comma",
        "token_embedding, positions, layer, total = '10 thousand', 160, 1330, 12840": (
            "should be one number"
        ),
    },
    "signed_gap": {
        "return val_loss - train_loss": "two things",
        'return val_loss - train_loss, "overfitting"': "is no band",
        """
        gap = val_loss - train_loss
        return gap, "catastrophic" if gap > 3 else lab.gap_band(gap).name
        """: "between which two borders",
        """
        gap = val_loss - train_loss
        return gap, lab.gap_band(max(0, gap)).name
        """: "reason to look for a leak",
        """
        gap = val_loss - train_loss
        for band in lab.GAP_BANDS:
            if band.low < gap <= band.high:
                return gap, band.name
        """: "begins at its lower border",
    },
    "short_exam": {
        "return F.cross_entropy(model(ids[None])[0, :-1], ids[1:], reduction='none')": (
            "take their mean"
        ),
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
        "return lab.mean_loss(model, ids) * (len(ids) - 1) / 99": "Right for 100 tokens",
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
        "cut = len(ids) * 9 // 10\nreturn ids[cut:], ids[:cut]": "swap the two",
        "return ids[:-10], ids[-10:]": "hold back about a tenth",
        "return ids[:-1], ids[:0]": "Nothing is held back",
        """
        order = torch.randperm(len(ids))
        cut = len(ids) * 9 // 10
        return ids[order[:cut]], ids[order[cut:]]
        """: "no longer reads as text",
        "return ids[:900], ids[900:1000]": "100 of 3217",
        """
        val = ids[-len(ids) // 10 :]
        return ids[~torch.isin(ids, val)], val
        """: "it is the *place*",
        "cut = len(ids) * 9 // 10\nreturn ids[: cut // 2], ids[cut:]": "little text should be lost",
    },
}
