"""Wrong answers to the exercises of notebook 01, beside those that its checks list."""

RENUMBERED = "kept, new = torch.unique(ids, return_inverse=True)\n"
SORTED = """
kept = sorted(set(ids.tolist()))
new_id = {old: new for new, old in enumerate(kept)}
new = [new_id[i] for i in ids.tolist()]
"""

WRONG = {
    "embedding_share": {
        "share_gpt2, share_right_sized = 0.955, 1_172 * 64 / (50_257 * 64 + 152_128)": (
            "that of the whole model"
        ),
    },
    "initial_loss": {
        "start_gpt2, start_right_sized = 10.82, 10.82 * 1_172 / 50_257": (
            "`start_right_sized` is not"
        ),
    },
    "right_sized_ids": {
        RENUMBERED + "return new + 1, kept": "counted from 0",
        SORTED + "return [i + 1 for i in new], dict(enumerate(kept, start=1))": (
            "the first row of a table is row 0"
        ),
        "return torch.arange(len(ids)), ids": "the same token got several",
        SORTED.replace("ids.tolist()", "ids") + "return new, kept": "never equal",
        "kept = ids.unique()\nreturn torch.arange(len(kept)), kept": (
            "every token of the text keeps its place"
        ),
        SORTED + "return new, new_id": "the wrong way round",
        RENUMBERED + "return new.sort().values, kept": "does not lead home",
        "return ids - ids.min(), torch.arange(60_000) + ids.min()": "there are gaps",
        RENUMBERED + "return new": "Return two things",
        "return ids % 2, ids.unique()": "different tokens got the same",
        RENUMBERED + "return new, torch.cat([kept, kept])": "entries for",
    },
    "never_read": {
        "return ~torch.isin(exam, train)": "a mask",
        "return (~torch.isin(exam, train)).sum()": "one number",
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
