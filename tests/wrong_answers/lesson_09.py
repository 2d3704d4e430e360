"""Wrong answers to the exercises for 09, beside those that its checks list."""

LAYERS = "collapsed, busiest, of_tokens, aux = "
READ = "frozen_20, frozen_100 = 5, 0\nread_a = read_b = read_c = read_d = "
DRIFTS = "drift_95, drift_75, stability_219 = 0.0526, 0.333, 0.820\n"

WRONG = {
    "route": {
        "return scores.topk(k, -1).indices": "should return two tensors",
        "return scores.topk(k, -1).values.softmax(-1), 1.0": "should return two tensors",
        "return scores.topk(9, -1)": "You choose along the wrong axis",
        "a, b, c = scores.topk(k, -1)": "`topk` returns two tensors",
        """
        best, chosen = scores.topk(k, -1)
        return chosen[0], best[0].softmax(-1)
        """: "both should be (3, 4, 2)",
        """
        best, chosen = scores.topk(k, -1)
        return chosen, best.softmax(-1).flip(-1)
        """: "it should get",
        """
        best, chosen = scores.topk(k, -1)
        return chosen, torch.sigmoid(best)
        """: "gets the gates",
        """
        best, chosen = scores.topk(k, -1)
        return chosen, best.softmax(-1) * float("nan")
        """: "gets the gates",
        # The same as another of the table, written with argsort.
        """
        chosen = scores.argsort(-1)[..., :k]
        return chosen, scores.gather(-1, chosen).softmax(-1)
        """: "*lowest* scores",
    },
    "leaking": {
        "return True": "should return a list of names",
        "return [1, 2]": "should return a list of names",
        'return "first_choices"': "should return a list of names",
        'return ["expert_choice"]': "misses first_choices",
        'return ["first_choices", "expert_choice"]': "misses last_token, next_token",
        'return ["first_choices", "expert_choice", "first_come"]': "also names first_come",
        """
        found = []
        for name, layer in layers.items():
            for x in inputs:
                before = layer(x)
                x[:, -1] = torch.randn_like(x[:, -1])
                if not torch.equal(before[:, :-1], layer(x)[:, :-1]):
                    found.append(name)
        return found
        """: "You change the `inputs` themselves",
    },
    "balance": {
        f"{LAYERS}5, 3.99, 0.997, 1.73": "Give the number of the layer",
        f'{LAYERS}"two", 3.99, 0.997, 1.73': "should be one number",
        f"{LAYERS}2, 3, 0.997, 1.73": "Divide the largest share",
        f"{LAYERS}2, 3.99, 0.9, 1.73": "For each token there are two choices",
        f"{LAYERS}2, 3.99, 0.997, 1": "add up the eight products",
    },
    "thresholds": {
        f"{DRIFTS}drift_95 = 0.06\n{READ}True": "Solve stability",
        f"{DRIFTS}stability_219 = 0.9\n{READ}True": "Divide 1 by 1 + drift",
        f"{DRIFTS}{READ}2": "should be True or False",
        f"{DRIFTS}{READ}False\nfrozen_20 = 4": "Count the drifts of 0.25 or less",
        f"{DRIFTS}{READ}False\nfrozen_100 = 1": "in the column of 100 steps",
    },
    "held": {
        "return n_expert": "should return a dictionary",
        'return {"total": 1}': "should return a dictionary",
        "return dict.fromkeys(('total', 'active', 'gradients', 'moments', 'activations'), 0.5)": (
            "should be a whole number"
        ),
        "return dict.fromkeys(('total', 'active', 'gradients', 'moments', 'activations'), 'all')": (
            "should be a whole number"
        ),
        "return dict.fromkeys(('total', 'active', 'gradients', 'moments', 'activations'), 7)": (
            '"total" is 7; it should be 297,992'
        ),
    },
}
