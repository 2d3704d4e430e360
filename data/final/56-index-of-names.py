"""Write an index of proper names, as at the end of a book, to a text file."""

import logging
import re
from collections import defaultdict
from pathlib import Path

from pdf_utils import get_pdf_pages

logging.basicConfig(level=logging.DEBUG)

NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}")


def build_index(folder):
    index = defaultdict(set)
    for pdf_file in sorted(Path(folder).glob("*.pdf")):
        for page_number, page_text in enumerate(get_pdf_pages(str(pdf_file)), start=1):
            for name in NAME.findall(page_text):
                index[name].add(f"{pdf_file.stem} {page_number}")
    logging.debug(f"Names in {folder} :{len(index)}")
    return index


def write_index(index, text_file_path):
    lines = []
    letter = ""
    for name in sorted(index):
        if name[0] != letter:
            letter = name[0]
            lines.append(f"\n{letter}")
        lines.append(f"{name}, {'; '.join(sorted(index[name]))}")
    target = Path(text_file_path)
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    logging.debug(f"Wrote {len(lines)} lines to {text_file_path}")


def main():
    text_file_path = "exports/index.txt"

    index = build_index("user_data")
    write_index(index, text_file_path)
    shared = [name for name in index if len({place.split()[0] for place in index[name]}) > 1]
    print(f"Names :{len(index)}")
    print(f"Names in several files :{sorted(shared)}")


if __name__ == "__main__":
    main()
