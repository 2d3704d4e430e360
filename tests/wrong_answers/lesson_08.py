"""Wrong answers to the exercises for 08, beside those that its checks list."""

TEXTS = "greedy, two_beams, likeliest = "
PRODUCTS = "p_greedy, p_beams, p_likeliest = 0.13, 0.071, 0.2"
READ = "read_a = read_b = read_c = read_d = read_e = "

WRONG = {
    "top_p": {
        "return probabilities.max()": "should return a probability for each token",
        "return 1.0": "should return a probability for each token",
        "return torch.full_like(probabilities, 1 / len(probabilities))": "it should be",
        # The same as a loop.
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
        "return logits[seen]": "should return a logit for each token",
        "return logits[:2]": "it should be",
        "return logits": "softmax sees no difference",
        """
        changed = logits.clone()
        changed[list(set(seen))] -= torch.log(theta)
        return changed
        """: "`math.log(theta)`",
        """
        logits[list(set(seen))] -= math.log(theta)
        return logits
        """: "changes the `logits`",
        "return logits * float('nan')": "NaN",
    },
    "beams": {
        f'{TEXTS}"one and", "of of one", "and and and"\n{PRODUCTS}': "should be 3 words",
        f'{TEXTS}"a b c", "of of one", "and and and"\n{PRODUCTS}': "should be 3 words",
        f"{TEXTS}0.13, 0.07, 0.2\n{PRODUCTS}": "should be 3 words",
        f'{TEXTS}["one", "of", "and"], 1, 2\n{PRODUCTS}': "After one the likeliest token",
        f'{TEXTS}"one and and", "of of one", "and and and"\np_greedy, p_beams, p_likeliest = '
        "0.5, 0.07, 0.2": "tokens of “one and and”",
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
        f'chosen = "beam search"\n{READ}False': "should be one of",
        f'chosen = "greedy"\n{READ}2': "should be True or False",
        f'chosen = "greedy"\n{READ}False': "0.33 − 0.21",
    },
}
