"""Wrong answers to the exercises for 06, beside those that its checks list."""

WRONG = {
    "merge_pair": {
        'return "".join(tokens)': "should return a list of tokens",
        "return [token.encode() for token in tokens]": "should return a list of tokens",
        "return list(tokens)": "it should be",
        """
        i = 0
        while i < len(tokens):
            if tuple(tokens[i : i + 2]) == pair:
                tokens[i : i + 2] = ["".join(pair)]
            i += 1
        return tokens
        """: "changes the list that it is given",
    },
    "encode": {
        "return word": "should return a list of tokens",
        # As a tokenizer of words.
        "return [word]": "it should be",
    },
    "bits_per_byte": {
        "return losses": "should be one number",
        "return sum(losses)": "it should be",
    },
    "is_honest": {
        'return "yes"': "should return True or False",
        "return True": "You return True",
    },
    "fake_win": {
        'honest, round_trip, hidden = "C", "D", "E"': "should be one of",
    },
}
