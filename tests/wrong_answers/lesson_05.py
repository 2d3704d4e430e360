"""Wrong answers to the exercises for 05, beside those that its checks list."""

CLAIMS = "claim_a, claim_b, claim_c, claim_d, claim_e = "
RUNS = "run_a, run_b, run_c, run_d = "

WRONG = {
    "claims": {
        CLAIMS + '"holds", True, True, "open", False': "should be one of",
    },
    "compare": {
        # Means.
        """
        mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
        return "a" if mean_a < mean_b else "b"
        """: "with the last seed b has the lower loss",
        # The luckiest run of each.
        'return "a" if min(a) < min(b) else "b"': "with the last seed b has the lower loss",
        # A lower best run and a lower mean.
        """
        if min(a) < min(b) and sum(a) / len(a) < sum(b) / len(b):
            return "a"
        if min(b) < min(a) and sum(b) / len(b) < sum(a) / len(a):
            return "b"
        return "not decidable"
        """: "with the last seed b has the lower loss",
        # Higher is better.
        """
        if all(x > y for x, y in zip(a, b)):
            return "a"
        return "b" if all(x < y for x, y in zip(a, b)) else "not decidable"
        """: "the lower ones are the better ones",
        # Ranges.
        """
        if max(a) < min(b):
            return "a"
        return "b" if max(b) < min(a) else "not decidable"
        """: "The ranges overlap, but",
        # Sorted, so that the pairs are lost.
        """
        pairs = list(zip(sorted(a), sorted(b)))
        if all(x < y for x, y in pairs):
            return "a"
        return "b" if all(y < x for x, y in pairs) else "not decidable"
        """: "the pairs belong to unlike texts",
        # Equal losses.
        """
        if all(x <= y for x, y in zip(a, b)):
            return "a"
        return "b" if all(y <= x for x, y in zip(a, b)) else "not decidable"
        """: "With the first seed the two are alike",
        # A single pair.
        """
        if all(x < y for x, y in zip(a, b)):
            return "a"
        return "b" if all(y < x for x, y in zip(a, b)) else "not decidable"
        """: "One pair has no spread to look at",
        # Only one of the two can win.
        'return "a" if max(a) < min(b) else "not decidable"': "With every seed, b has the lower",
        # Other words.
        'return "open" if len(a) < 2 or max(a) >= min(b) else True': "should be one of",
    },
    "causal_mask": {
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
        # Only the first token may look at itself.
        """
        mask = torch.ones(T, T).tril(-1).bool()
        mask[0, 0] = True
        return mask
        """: "to see itself",
    },
    "examine": {
        # To each its own exam.
        """
        a, b = (
            [ids for ids in scripts.values() if lab.copy_rate(ids.tolist(), read.tolist()) < 0.5]
            for read in (train_a, train_b)
        )
        loss_a = sum(lab.mean_loss(model_a, ids) for ids in a) / len(a)
        return loss_a, sum(lab.mean_loss(model_b, ids) for ids in b) / len(b)
        """: "takes its own exam",
        # The mean of the two shares; and the names, learnt by heart.
        """
        a, b = train_a.tolist(), train_b.tolist()
        fair = [
            ids for ids in scripts.values()
            if lab.copy_rate(ids.tolist(), a) + lab.copy_rate(ids.tolist(), b) < 1
        ]
        return [sum(lab.mean_loss(m, i) for i in fair) / len(fair) for m in (model_a, model_b)]
        """: "One model that has read a script is enough",
        """
        known = ("24", "26", "42", "45", "tw", "on")
        fair = [ids for name, ids in scripts.items() if name[:2] in known]
        return [sum(lab.mean_loss(m, i) for i in fair) / len(fair) for m in (model_a, model_b)]
        """: "names of files tell nothing",
        "return 1.0, 2.0": "less than half copied from either text",
        "return lab.mean_loss(model_a, train_b)": "should return 2 numbers",
    },
    "bug": {
        RUNS + '"mask", "leak", "fine", "vocabulary"': "should be one of",
    },
}
