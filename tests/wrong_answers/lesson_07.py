"""Wrong answers to the exercises for 07, beside those that its checks list."""

WRONG = {
    "smoothed_loss": {
        "return logits.log_softmax(-1)[:1]": "should be one number",
        "return torch.tensor(0.0)": "it should be",
        """
        log_p = logits.softmax(-1).log()
        target = log_p[range(len(targets)), targets]
        return -((1 - smoothing) * target + smoothing * log_p.mean(-1)).mean()
        """: "a probability becomes 0",
        """
        import math
        total = 0
        for row, target in zip(logits.softmax(-1), targets):
            logs = [math.log(p) for p in row]
            total -= (1 - smoothing) * logs[target] + smoothing * sum(logs) / len(logs)
        return total / len(targets)
        """: "a probability becomes 0",
    },
    "masked_loss": {
        "return losses[mask]": "should be one number",
        "return 1.0": "it should be",
        "return sum(losses[mask].tolist()) / sum(mask.flatten().tolist())": "Return 0 for it",
        "return losses.sum() / mask.mean()": "A mask of True and False has no mean",
        "return losses[mask].mean() if mask.any() else None": "you return nothing",
        "return losses[mask].mean() if mask.any() else 1.0": "whose losses are none",
        "return losses[mask].mean() if mask.all() else float('nan')": "it gives NaN",
    },
    "chosen_step": {
        'return min(looks, key=lambda look: look["val_loss"])': "returns a whole look",
        'return [look["step"] for look in looks]': "should be one number",
        'return looks[0]["step"]': "the lowest `val_loss` is at step 400",
    },
    "believed": {
        'return table[table["low"] > 0]': "should return a list of names",
        'return table[table["low"] > 0]["change"]': "should return a list of names",
        'return set(table[table["low"] > 0].index)': "should return a list of names",
        'return list(table[table["low"] > 0 or table["high"] < 0].index)': "use `&` and `|`",
        'return list(table[table["low"] > 0 | table["high"] < 0].index)': "in parentheses",
        'return list(table["arm"])': "the table's index",
        "return []": "should be believed",
        """
        sure = table["low"] * table["high"] > 0
        return list(table[sure & (table["change"] > floor)].sort_values("change").index)
        """: "Compare its size, without the sign",
        """
        table["sure"] = table["low"] * table["high"] > 0
        kept = table[table["sure"] & (table["change"].abs() > floor)]
        return list(kept.sort_values("change").index)
        """: "changes the table",
    },
    "readings": {
        "read_a = read_b = read_d = False\nread_c = read_e = 2": "should be True or False",
        "read_a = read_b = read_c = read_d = read_e = False": "at most 0.140",
    },
}
