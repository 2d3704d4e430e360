"""Measure the pages of each PDF file and write a table in Markdown."""

import os
import statistics

from chunk_utils import get_sentences
from pdf_utils import get_pdf_pages

HEADER = ["file", "pages", "words", "shortest", "median", "longest", "words a sentence"]


def measure_file(pdf_file_path):
    pages = get_pdf_pages(pdf_file_path)
    lengths = [len(page_text.split()) for page_text in pages]
    sentence_count = sum(len(get_sentences(page_text)) for page_text in pages)
    return [
        os.path.basename(pdf_file_path),
        len(pages),
        sum(lengths),
        min(lengths),
        round(statistics.median(lengths)),
        max(lengths),
        round(sum(lengths) / max(sentence_count, 1), 1),
    ]


def format_row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def write_table(rows, markdown_path):
    os.makedirs(os.path.dirname(markdown_path), exist_ok=True)
    with open(markdown_path, "w") as markdown_file:
        for cells in [HEADER, ["---"] * len(HEADER), *rows]:
            print(format_row(cells), file=markdown_file)


def main():
    markdown_path = "out/page_lengths.md"

    file_names = sorted(name for name in os.listdir("user_data") if name.endswith(".pdf"))
    rows = [measure_file(os.path.join("user_data", file_name)) for file_name in file_names]
    write_table(rows, markdown_path)
    with open(markdown_path) as markdown_file:
        print(markdown_file.read())


if __name__ == "__main__":
    main()
