"""Find the years in all PDF files and print the sentences in the order of time."""

import logging
import re

from chunk_utils import get_sentences
from embeddings_utils import trim_data
from pdf_utils import get_pdf_pages

logging.basicConfig(level=logging.DEBUG)

dynasties = ["cholas", "pandyas", "cheras", "pallavas"]


def get_years(sentence):
    return [int(year) for year in re.findall(r"\b\d{3,4}\b", sentence)]


def get_events(dynasty):
    events = []
    for page_number, page_text in enumerate(get_pdf_pages(f"user_data/{dynasty}.pdf"), start=1):
        for sentence in get_sentences(page_text):
            for year in get_years(sentence):
                events.append((year, dynasty, page_number, sentence))
    logging.debug(f"Events of the {dynasty} :{len(events)}")
    return events


def print_timeline(events):
    century = None
    for year, dynasty, page_number, sentence in sorted(events):
        if century != year // 100:
            century = year // 100
            print(f"Century :{century + 1}")
        print(f"\t{year} {dynasty}, page {page_number} :{trim_data(sentence)}")


def main():
    events = []
    for dynasty in dynasties:
        events.extend(get_events(dynasty))
    print_timeline(events)
    if events:
        print(f"First year :{min(events)[0]}")
        print(f"Last year :{max(events)[0]}")


if __name__ == "__main__":
    main()
