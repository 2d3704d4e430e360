"""Wrong answers to the exercises of notebook 01."""

WRONG = {
    "embedding_share": {
        """
share_gpt2 = 95.5
share_right_sized = 33.0
        """: "in per cent",
        """
share_gpt2 = 50_257 * 64 / 152_128
share_right_sized = 1_172 * 64 / 152_128
""": "You divided by the other parts",
        """
share_gpt2 = 152_128 / (50_257 * 64 + 152_128)
share_right_sized = 152_128 / (1_172 * 64 + 152_128)
""": "the share of all other parts",
        """
share_gpt2 = 2 * 50_257 * 64 / (2 * 50_257 * 64 + 152_128)
share_right_sized = 2 * 1_172 * 64 / (2 * 1_172 * 64 + 152_128)
""": "You counted the table twice",
        """
share_gpt2 = 0.955
share_right_sized = 1_172 * 64 / (50_257 * 64 + 152_128)
""": "that of the whole model",
        """
share_gpt2 = 50_257 / (50_257 + 152_128)
share_right_sized = 1_172 / (1_172 + 152_128)
""": "each row has 64 numbers",
    },
    "initial_loss": {
        """
start_gpt2 = math.log2(50_257)
start_right_sized = math.log2(1_172)
""": "in bits",
        """
start_gpt2 = math.log10(50_257)
start_right_sized = math.log10(1_172)
""": "base 10",
        """
start_gpt2 = math.log(1 / 50_257)
start_right_sized = math.log(1 / 1_172)
""": "The sign is wrong",
        """
start_gpt2 = 50_257
start_right_sized = 1_172
""": "the perplexity",
        """
start_gpt2 = 10.82
start_right_sized = 10.82 * 1_172 / 50_257
""": "`start_right_sized` is not",
    },
    "right_sized_ids": {
        """
kept, new = torch.unique(ids, return_inverse=True)
return new + 1, kept
""": "counted from 0",
        """
old_ids = sorted(set(ids.tolist()))
kept = dict(enumerate(old_ids, start=1))
return [old_ids.index(i) + 1 for i in ids.tolist()], kept
""": "the first row of a table is row 0",
        "return torch.arange(len(ids)), ids": "the same token got several",
        """
kept = list(set(ids))
new_id = {old: new for new, old in enumerate(kept)}
return [new_id[i] for i in ids], kept
""": "never equal",
        """
kept = ids.unique()
return torch.arange(len(kept)), kept
""": "every token of the text keeps its place",
        """
kept = sorted(set(ids.tolist()))
new_id = {old: new for new, old in enumerate(kept)}
return [new_id[i] for i in ids.tolist()], new_id
""": "the wrong way round",
        """
kept, new = torch.unique(ids, return_inverse=True)
return new.sort().values, kept
""": "does not lead home",
        "return ids - ids.min(), torch.arange(60_000) + ids.min()": "there are gaps",
        """
kept, new = torch.unique(ids, return_inverse=True)
return new
""": "Return two things",
        "return ids % 2, ids.unique()": "different tokens got the same",
        """
kept, new = torch.unique(ids, return_inverse=True)
return new, torch.cat([kept, kept])
""": "entries for",
    },
    "never_read": {
        "return exam[torch.isin(exam, train)]": "*were* read",
        "return train[~torch.isin(train, exam)]": "the other way",
        "return ~torch.isin(exam, train)": "a mask",
        "return (~torch.isin(exam, train)).nonzero().flatten()": "the places in the exam",
        "return (~torch.isin(exam, train)).sum()": "one number",
        "return sorted(set(exam.tolist()) - set(train.tolist()))": "each token once",
        "return sorted(i for i in exam.tolist() if i not in train)": "keep the order",
        """
known = set(train)
return [i for i in exam if i not in known]
""": "does occur in training",
        "return [e for t, e in zip(train.tolist(), exam.tolist()) if t != e]": (
            "does occur in training"
        ),
    },
    "design": {
        "config = lab.GPTConfig(50257, 16, n_layer=2, n_head=2, n_embd=32)": "50,257 rows?",
        "config = lab.GPTConfig(900, 16, n_layer=2, n_head=2, n_embd=24)": "only 900 rows",
        "config = lab.GPTConfig(1172, 16, n_layer=2, n_head=2, n_embd=32)": "63,488 parameters",
        "config = lab.GPTConfig(1172, 32, n_layer=2, n_head=2, n_embd=24)": "should stay 16",
        "config = lab.GPTConfig(1172, 16, n_layer=1, n_head=1, n_embd=2)": "too narrow",
        "config = {'n_layer': 2, 'n_head': 2, 'n_embd': 24}": "is a dict",
    },
}
