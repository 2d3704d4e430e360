"""Plausible wrong answers to the exercises for 02."""

SEEN = """
seen = set(zip(*(train[i:] for i in range(n))))
asked = list(zip(*(val[i:] for i in range(n))))
if not asked:
    return float("nan")
"""
PLACES = """
places = [found.start() for found in re.finditer(r"^# File:", text, re.MULTILINE)][1:]
if not places:
    raise ValueError("There is only one file.")
"""

WRONG = {
    "sign_of_the_gap": {
        'gap, suspect, reason = 0.17, "B", "c"': "the other way round",
        'gap, suspect, reason = 0.66 / 0.83, "B", "c"': "their difference",
        'gap, suspect, reason = -0.17, "A", "b"': "dropout on",
        'gap, suspect, reason = -0.17, "C", "a"': "too easy",
        'gap, suspect, reason = -0.17, "B", "d"': "equally hard",
        'gap, suspect, reason = -0.17, "B", "b"': "explains nothing here",
        'gap, suspect, reason = -0.17, "B", "e"': "one of the letters",
    },
    "how_long_to_train": {
        "stop, times, steps = 1000, 56.9, 4000": "that nobody copied",
        "stop, times, steps = 500, 28.4, 2000": "lower at another step",
        "stop, times, steps = 600, 600 * 8 / 4500, 2400": "count tokens",
        "stop, times, steps = 600, 600 * 8 * 32 / 5000, 2400": "is not read in training",
        "stop, times, steps = 600, 600 * 8 * 32, 2400": "divide it",
        "stop, times, steps = 600, 34.1, 34.1 * 20_000 / 256": "nine tenths",
        "stop, times, steps = 600, 34.1, 600": "a quarter as often",
        "stop, times, steps = 600, 34.1, 34.1 * 18_000 / 8": "not 8 tokens",
    },
    "contamination": {
        SEEN + "return sum(gram in asked for gram in seen) / len(seen)": "the other way round",
        SEEN + "return len(set(asked) & seen) / len(set(asked))": "counts twice",
        SEEN + "return sum(token in train for token in val) / len(val)": "single tokens",
        SEEN + "return sum(gram in seen for gram in asked) / len(val)": "number of tokens",
        SEEN + "return sum(gram in seen for gram in asked)": "divide by how many",
        SEEN + "return sum(g in seen for g in asked[::n]) / len(asked[::n])": "into blocks of n",
        SEEN + "return 100 * sum(gram in seen for gram in asked) / len(asked)": "per cent",
        """
seen = [tuple(train[i : i + n]) for i in range(len(train) - n)]
asked = [tuple(val[i : i + n]) for i in range(len(val) - n)]
return sum(gram in seen for gram in asked) / len(asked)
""": "of both texts",
        """
asked = [val[i : i + n] for i in range(len(val) - n)]
seen = [train[i : i + n] for i in range(len(train) - n + 1)]
return sum(gram in seen for gram in asked) / max(1, len(asked))
""": "of the validation set",
        """
asked = [val[i : i + n] for i in range(len(val) - n + 1)]
seen = [train[i : i + n] for i in range(len(train) - n + 1)]
return sum(gram in seen for gram in asked) / max(1, len(asked))
""": "return NaN",
        """
text = "".join(map(str, train))
asked = ["".join(map(str, val[i : i + n])) for i in range(len(val) - n + 1)]
return sum(gram in text for gram in asked) / len(asked) if asked else float("nan")
""": "not digits",
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
        PLACES + "cut = places[-1]\nreturn text[:cut], text[cut:]": "another header lies nearer",
        """
places = [found.start() for found in re.finditer("# File:", text)][1:]
if not places:
    raise ValueError("There is only one file.")
cut = min(places, key=lambda place: abs(place - (1 - share) * len(text)))
return text[:cut], text[cut:]
""": "in the middle of a line",
        PLACES
        + """
cut = min(places, key=lambda place: abs(place - (1 - share) * len(text)))
return text[cut:], text[:cut]
""": "swapped",
        PLACES
        + """
cut = min(places, key=lambda place: abs(place - share * len(text)))
return text[:cut], text[cut:]
""": "from the front",
        """
files = text.split("# File:")[1:]
kept = round((1 - share) * len(files))
return "".join(files[:kept]), "".join(files[kept:])
""": "A header is lost",
        """
places = [found.start() for found in re.finditer("(?m)^# File:", text)]
cut = min(places, key=lambda place: abs(place - (1 - share) * len(text)))
return text[:cut], text[cut:]
""": "One side is empty",
        """
places = [found.start() for found in re.finditer("(?m)^# File:", text)][1:]
cut = min(places, key=lambda place: abs(place - (1 - share) * len(text)))
return text[:cut], text[cut:]
""": "does not tell what is wrong",
        """
places = [found.start() for found in re.finditer("(?m)^# File:", text)][1:]
if not places:
    return text, ""
cut = min(places, key=lambda place: abs(place - (1 - share) * len(text)))
return text[:cut], text[cut:]
""": "raise a ValueError",
    },
    "fair_exam": {
        """
exam = ["22-chunks-pdf-pallavas.py", "23-word-counts-pdf.py", "24-backup-collection-json.py"]
""": "nearly a copy of it, is left",
        'exam = [name for name in names if "-pages-pdf-" in name]': "share functions",
        'exam = [name for name in names if "utils" in name]': "no exam for writing",
        'exam = ["23-word-counts-pdf.py"]': "below a tenth",
        "exam = names[:26]": "above a fifth",
        'exam = ["09-ruler-csv.py"]': "did you mean '09-rulers-csv.py'",
    },
}
