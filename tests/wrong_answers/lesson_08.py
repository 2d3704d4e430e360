"""Wrong answers to the exercises for 08, beside those that its checks list."""

WRONG = {
    "top_p": {
        "return probabilities.max()": "should return a probability for each token",
        "return 1.0": "should return a probability for each token",
        "return torch.full_like(probabilities, 1 / len(probabilities))": "it should be",
        # The right tokens of a sorted copy, through a comparison with the last one kept.
        """
        total, kept = 0, torch.zeros_like(probabilities)
        for i in probabilities.argsort(descending=True):
            total += probabilities[i]
            if total > p:
                break
            kept[i] = probabilities[i]
        return kept / kept.sum()
        """: "nothing is left",
        """
        order = probabilities.argsort(descending=True)
        before = probabilities[order].cumsum(0) - probabilities[order]
        probabilities[order[before >= p]] = 0
        return probabilities / probabilities.sum()
        """: "changes the `probabilities`",
    },
    "penalised": {
        "return 0.5": "should return a logit for each token",
        "return logits[seen]": "it should be",
        """
        changed = logits.clone()
        changed[list(set(seen))] -= torch.log(theta)
        return changed
        """: "`math.log(theta)`",
        """
        logits[list(set(seen))] -= math.log(theta)
        return logits
        """: "changes the `logits`",
        # Nothing that is not a number may pass.
        "return logits * float('nan')": "NaN",
    },
    "beams": {
        'greedy, two_beams, likeliest = "one and", "of of one", "and and and"': "should be 3 words",
        'greedy, two_beams, likeliest = "a b c", "of of one", "and and and"': "should be 3 words",
        "greedy, two_beams, likeliest = 0.13, 0.07, 0.2": "should be 3 words",
        'greedy, two_beams, likeliest = "one of and", 1, 2': "After one the likeliest token",
        "p_greedy, p_beams, p_likeliest = 0.5, 0.07, 0.2": "of “one and and”",
    },
    "accepted": {
        "return own[0]": "should return a list of token ids",
        'return "guesses"': "should return a list of token ids",
        "return []": "it should be",
        """
        n = 0
        while draft[n] == own[n]:
            n += 1
        return own[: n + 1]
        """: "`draft[n]` does not exist",
        """
        for n, guess in enumerate(draft):
            if guess != own[n]:
                return own[: n + 1]
        """: "you return nothing",
    },
    "choice": {
        'chosen = "beam search"': "should be one of",
        "read_a = read_b = read_c = read_d = read_e = 2": "should be True or False",
        "read_a = read_b = read_c = read_d = read_e = False": "0.33 − 0.21",
    },
}
