"""Plausible wrong answers to the exercises for 03."""

COPIED = """
ids = dataset.tokenizer.encode(text[len(prompt) :])
training = dataset.train.tolist()
seen = {tuple(training[i : i + n]) for i in range(len(training) - n + 1)}
written = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
if not written:
    return 0
"""
NAMED = r"(?i:password|secret|token|api_?key|access_key|secret_key)"
QUOTED = r"[\"'][^\"']{6,}[\"']"
VALUE = r"[\"']?\s*[=:]\s*" + QUOTED
SHAPES = r"AKIA[A-Z0-9]{16}|\bsk-[\w-]{20,}|-----BEGIN ([A-Z]+ )?PRIVATE KEY"


def patterns(named: str, shapes: str) -> str:
    """A filter made of two patterns."""
    return f'return bool(re.search(r"{named}", line) or re.search(r"{shapes}", line))'


WRONG = {
    "recall_or_learning": {
        'share, learnt, recites = 20, "B", "A"': "per cent",
        'share, learnt, recites = 8 / 280, "B", "A"': "by all lines",
        'share, learnt, recites = 0.4, "B", "A"': "share of the known lines",
        'share, learnt, recites = 0.2, "A", "A"': "nearly all of those",
        'share, learnt, recites = 0.2, "C", "A"': "largest number of new lines",
        'share, learnt, recites = 0.2, "B", "B"': "largest number of known lines",
    },
    "copied_share": {
        COPIED.replace("text[len(prompt) :]", "text")
        + "return sum(gram in seen for gram in written) / len(written)": "You counted the prompt",
        COPIED.replace("dataset.train", "dataset.val")
        + "return sum(gram in seen for gram in written) / len(written)": "the validation text",
        COPIED + "return len(set(written) & seen) / len(seen)": "the other way round",
        COPIED + "return len(set(written) & seen) / len(set(written))": "counts twice",
        COPIED + "return sum(i in training for i in ids) / len(ids)": "single tokens",
        "n = 8" + COPIED + "return sum(gram in seen for gram in written) / len(written)": (
            "use the argument"
        ),
        COPIED + "return 100 * sum(gram in seen for gram in written) / len(written)": "per cent",
    },
    "longest_recital": {
        "return sum(token in training for token in written)": "they must stand in a row",
        """
best = [0] * (len(training) + 1)
for a in written:
    before, best = best, [0]
    for j, b in enumerate(training):
        best.append(before[j] + 1 if a == b else max(before[j + 1], best[j]))
return best[-1]
""": "you skipped some",
        """
for n in range(len(written), 0, -1):
    for i in range(len(training)):
        if training[i : i + n] == written[:n]:
            return n
return 0
""": "may begin anywhere in what was written",
        """
best = 0
for start, token in enumerate(written):
    if token in training:
        place, n = training.index(token), 0
        while (
            start + n < len(written)
            and place + n < len(training)
            and written[start + n] == training[place + n]
        ):
            n += 1
        best = max(best, n)
return best
""": "only the first place",
        """
text = ", ".join(map(str, training))
for n in range(len(written), 0, -1):
    for i in range(len(written) - n + 1):
        if ", ".join(map(str, written[i : i + n])) in text:
            return n
return 0
""": "Digits are no tokens",
        """
for n in range(len(written) - 1, 0, -1):
    seen = {tuple(training[i : i + n]) for i in range(len(training) - n)}
    if any(tuple(written[i : i + n]) in seen for i in range(len(written) - n)):
        return n
return 0
""": "One is missing",
        "return [token for token in written if token in training]": "should be one number",
    },
    "secret_filter": {
        'return "password" in line or "api_key" in line': "written in capitals",
        'return bool(re.search("(?i)password|secret|token|key|sk-|AKIA", line))': "harmless line",
        patterns(NAMED.replace("(?i:", "(") + VALUE, SHAPES): "written in capitals",
        patterns(
            NAMED + r"\s*[=:]\s*[\"'][^\"']{6,}[\"']", SHAPES
        ): "In JSON the name is in quotes",
        patterns(NAMED + VALUE, r"AKIA[A-Z0-9]{16}|-----BEGIN ([A-Z]+ )?PRIVATE KEY"): (
            "begins with sk-"
        ),
        patterns(NAMED + VALUE, SHAPES.replace(r"\b", "")): "inside a word",
        patterns(NAMED + VALUE, SHAPES.replace("([A-Z]+ )?", "RSA ")): "no RSA in it",
        patterns(NAMED + VALUE.replace("{6,}", "*"), SHAPES): "The value is empty",
        patterns(r"^\s*[\"']?\w*" + NAMED + VALUE, SHAPES): "within a call",
        patterns(NAMED + r"\w*" + VALUE, SHAPES): "only begins so",
        patterns(NAMED + r"|[A-Za-z_]{16,}", SHAPES): "harmless line",
        patterns(NAMED + VALUE + r"|= \"\w{4,}\"", SHAPES): "hold no secret",
    },
    "step_for_the_job": {
        "for_new_scripts, for_retyping, for_sharing = 1200, 1650, 750": "lowest validation loss",
        "for_new_scripts, for_retyping, for_sharing = 2000, 1650, 750": "Stop earlier",
        "for_new_scripts, for_retyping, for_sharing = 300, 1650, 750": "go on",
        "for_new_scripts, for_retyping, for_sharing = 750, 750, 750": "is good",
        "for_new_scripts, for_retyping, for_sharing = 750, 1650, 0": "which steps reach",
        "for_new_scripts, for_retyping, for_sharing = 750, 1650, 2000": "and recites",
        "for_new_scripts, for_retyping, for_sharing = 3.18, 0.9, 3": "no evaluation",
    },
}
