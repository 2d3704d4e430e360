"""Find the longest sentences of a PDF file and check that chunks keep them whole."""

from chunk_utils import get_sentence_chunks, get_sentences
from pdf_utils import get_pdf_text


def longest_sentences(text, limit=3):
    ranked = sorted(get_sentences(text), key=lambda sentence: -len(sentence.split()))
    return ranked[:limit]


def holds_whole(chunks, sentence):
    return any(sentence in chunk for chunk in chunks)


def check_file(pdf_file_path, max_words):
    text = get_pdf_text(pdf_file_path)
    chunks = list(get_sentence_chunks(text, max_words))
    print(f"{pdf_file_path}: {len(chunks)} chunks of up to {max_words} words")
    for sentence in longest_sentences(text):
        mark = "whole" if holds_whole(chunks, sentence) else "cut"
        print(f"  {len(sentence.split()):3} words, {mark}: {sentence[:40]}")


if __name__ == "__main__":
    for name in ("cholas", "pandyas", "cheras", "pallavas"):
        check_file(f"user_data/{name}.pdf", max_words=45)
