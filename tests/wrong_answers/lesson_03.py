"""Wrong answers to the exercises for 03, beside those that its checks list."""

NAMED = r"(?i:password|secret|token|api_?key|access_key|secret_key)"
QUOTED = r"[\"'][^\"']{6,}[\"']"
VALUE = r"[\"']?\s*[=:]\s*" + QUOTED
SHAPES = r"AKIA[A-Z0-9]{16}|\bsk-[\w-]{20,}|-----BEGIN ([A-Z]+ )?PRIVATE KEY"


def patterns(named: str, shapes: str) -> str:
    """A filter made of two patterns."""
    return f'return bool(re.search(r"{named}", line) or re.search(r"{shapes}", line))'


WRONG = {
    "copied_share": {
        """
        ids, training = dataset.tokenizer.encode(text[len(prompt) :]), dataset.train.tolist()
        return sum(i in training for i in ids) / len(ids)
        """: "single tokens",
        "return 1 if text == prompt else lab.copy_rate(dataset.tokenizer.encode("
        "text[len(prompt) :]), dataset.train.tolist(), n)": "give 0 or NaN",
    },
    "longest_recital": {
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
        patterns(r"^\s*[\"']?\w*" + NAMED + VALUE, SHAPES): "inside a call",
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
