"""Cut long prose into overlapping windows, whole sentences or paragraphs."""

import re

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def get_word_chunks(text, chunk_size=40, overlap=10):
    if not 0 <= overlap < chunk_size:
        raise ValueError("overlap must be smaller than the window")
    words = text.split()
    step = chunk_size - overlap
    last = max(len(words) - overlap, 1)
    return [" ".join(words[i : i + chunk_size]) for i in range(0, last, step)]


def get_sentences(text):
    """Abbreviations such as 'c. 1010' stay together: a digit never opens a sentence."""
    pieces = []
    for part in SENTENCE_END.split(text.strip()):
        if pieces and part[:1].isdigit():
            pieces[-1] += " " + part
        elif part:
            pieces.append(part)
    return pieces


def get_sentence_chunks(text, max_words=45):
    buffer, total = [], 0
    for sentence in get_sentences(text):
        length = len(sentence.split())
        if buffer and total + length > max_words:
            yield " ".join(buffer)
            buffer, total = [], 0
        buffer.append(sentence)
        total += length
    if buffer:
        yield " ".join(buffer)


if __name__ == "__main__":
    sample = "Rain fell early. Tanks filled by c. 1010. Was the harvest good? Yes!"
    assert get_sentences(sample)[1].endswith("1010.")
    print(*get_word_chunks(sample, 6, 2), sep="\n")
