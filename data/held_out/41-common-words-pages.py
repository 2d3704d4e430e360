"""Print the most common words of each PDF file and the pages on which they stand."""

import logging
import re
from collections import Counter

from embeddings_utils import STOPWORDS
from pdf_utils import get_pdf_pages

logging.basicConfig(level=logging.DEBUG)

pdf_file_paths = [
    "user_data/cholas.pdf",
    "user_data/pandyas.pdf",
    "user_data/cheras.pdf",
    "user_data/pallavas.pdf",
]


def get_words(text):
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word not in STOPWORDS]


def get_common_words(pdf_file_path, word_count):
    counter = Counter()
    for page_text in get_pdf_pages(pdf_file_path):
        counter.update(get_words(page_text))
    logging.debug(f"Different words in {pdf_file_path} :{len(counter)}")
    return [word for word, _ in counter.most_common(word_count)]


def get_page_numbers(pdf_file_path, word):
    page_numbers = []
    for page_number, page_text in enumerate(get_pdf_pages(pdf_file_path), start=1):
        if word in get_words(page_text):
            page_numbers.append(page_number)
    return page_numbers


def main():
    for pdf_file_path in pdf_file_paths:
        print(f"File :{pdf_file_path}")
        for word in get_common_words(pdf_file_path, word_count=5):
            print(f"\t{word} :{get_page_numbers(pdf_file_path, word)}")


if __name__ == "__main__":
    main()
