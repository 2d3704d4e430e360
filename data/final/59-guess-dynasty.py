"""Guess from which PDF file a sentence comes: the nearest mean vector wins."""

import math

from chunk_utils import get_sentences
from embeddings_utils import get_text_embedding, get_text_embeddings, trim_data
from log_utils import get_logger
from pdf_utils import get_pdf_text

DYNASTIES = ("cholas", "pandyas", "cheras", "pallavas")


def split_sentences(dynasty):
    """Every fourth sentence is kept back to be guessed; the others make the mean."""
    sentences = get_sentences(get_pdf_text(f"user_data/{dynasty}.pdf"))
    kept_back = sentences[3::4]
    return [sentence for sentence in sentences if sentence not in kept_back], kept_back


def mean_vector(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors)]


def cosine(first, second):
    dot = sum(a * b for a, b in zip(first, second))
    return dot / (math.hypot(*first) * math.hypot(*second))


def guess(means, sentence):
    vector = get_text_embedding(sentence)
    return max(means, key=lambda dynasty: cosine(means[dynasty], vector))


def main():
    logger = get_logger("guesses")
    means, questions = {}, []
    for dynasty in DYNASTIES:
        known, kept_back = split_sentences(dynasty)
        means[dynasty] = mean_vector(get_text_embeddings(known))
        questions += [(dynasty, sentence) for sentence in kept_back]
    right = 0
    for dynasty, sentence in questions:
        answer = guess(means, sentence)
        right += answer == dynasty
        logger.info("%s guessed for %s", answer, dynasty)
        print(f"{'right' if answer == dynasty else 'wrong'}: {trim_data(sentence, width=60)}")
    print(f"Right guesses :{right} of {len(questions)}")


if __name__ == "__main__":
    main()
