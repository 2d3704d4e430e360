"""Wrong answers to the exercises for 02, beside those that its checks list."""

PLACES = """
places = [found.start() for found in re.finditer(r"^# File:", text, re.MULTILINE)][1:]
if not places:
    raise ValueError("There is only one file.")
"""
NEAREST = """
cut = min(places, key=lambda place: abs(place - (1 - share) * len(text)))
return text[:cut], text[cut:]
"""
NO_CARE = PLACES.partition("if not")[0]

WRONG = {
    "sign_of_the_gap": {
        'gap, suspect, reason = -0.17, "B", "e"': "should be one of",
    },
    "how_long_to_train": {
        "stop, times, steps = 500, 28.4, 2000": "where the held-out loss is lowest",
        "stop, times, steps = 777, 28.4, 2000": "a value of the column `step`",
    },
    "contamination": {
        """
        asked = [val[i : i + n] for i in range(len(val) - n + 1)]
        studied = [train[i : i + n] for i in range(len(train) - n + 1)]
        return sum(sequence in studied for sequence in asked) / max(1, len(asked))
        """: "return NaN",
    },
    "split_by_file": {
        "cut = int((1 - share) * len(text))\nreturn text[:cut], text[cut:]": "plain cut",
        """
        cut = text.index("# File:", int((1 - share) * len(text)))
        return text[:cut], text[cut:]
        """: "took a header after",
        """
        cut = text.rindex("# File:", 0, int((1 - share) * len(text)))
        return text[:cut], text[cut:]
        """: "took a header before",
        PLACES + "return text[: places[-1]], text[places[-1] :]": "another header lies nearer",
        PLACES.replace("^", "") + NEAREST: "in the middle of a line",
        PLACES + NEAREST.replace("text[:cut], text[cut:]", "text[cut:], text[:cut]"): "swapped",
        PLACES + NEAREST.replace("(1 - share)", "share"): "from the front",
        """
        files = text.split("# File:")[1:]
        kept = round((1 - share) * len(files))
        return "".join(files[:kept]), "".join(files[kept:])
        """: "A header is lost",
        NO_CARE.replace("[1:]", "") + NEAREST: "One side is empty",
        NO_CARE + NEAREST: "does not tell what is wrong",
        NO_CARE + "if not places:\n    return text, ''" + NEAREST: "raise a ValueError",
    },
    "fair_exam": {
        """
        exam = ["22-chunks-pdf-pallavas.py", "23-word-counts-pdf.py"]
        exam += ["24-backup-collection-json.py"]
        """: "nearly a copy of it, is left",
        'exam = [name for name in names if "-pages-pdf-" in name]': "share functions",
        'exam = [name for name in names if "utils" in name]': "no exam for writing",
        'exam = ["23-word-counts-pdf.py"]': "below a tenth",
        "exam = names[:26]": "above a fifth",
        'exam = ["09-ruler-csv.py"]': "did you mean '09-rulers-csv.py'",
    },
}
