"""Count the words of each PDF file and save the common words to a JSON file."""

import json
import logging
import os
from collections import Counter

from pdf_utils import get_pdf_text

logging.basicConfig(level=logging.DEBUG)


def get_word_counts(pdf_file_paths):
    word_counts = {}
    for pdf_file_path in pdf_file_paths:
        pdf_text = get_pdf_text(pdf_file_path)
        words = [word.strip(".,").lower() for word in pdf_text.split()]
        logging.debug(f"Words in {pdf_file_path} :{len(words)}")
        counts = Counter(word for word in words if len(word) > 4)
        word_counts[os.path.basename(pdf_file_path)] = dict(counts.most_common(5))
    return word_counts


def save_word_counts(word_counts, json_file_path):
    os.makedirs(os.path.dirname(json_file_path), exist_ok=True)
    with open(json_file_path, "w") as json_file:
        json.dump(word_counts, json_file)
    logging.debug(f"Saved word counts to {json_file_path}")


def print_common_words(word_counts):
    all_words = set.intersection(*(set(counts) for counts in word_counts.values()))
    print(f"Words in all files :{sorted(all_words)}")
    for file_name, counts in word_counts.items():
        print(f"File :{file_name}")
        for word, count in counts.items():
            print(f"\t{word} :{count}")


def main():
    folder = "user_data"
    json_file_path = "exports/word_counts.json"

    pdf_file_paths = sorted(
        os.path.join(folder, file_name)
        for file_name in os.listdir(folder)
        if file_name.endswith(".pdf")
    )
    word_counts = get_word_counts(pdf_file_paths)
    save_word_counts(word_counts, json_file_path)
    print_common_words(word_counts)


if __name__ == "__main__":
    main()
