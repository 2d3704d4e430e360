"""Plain words out of PDF pages: ligatures, soft hyphens and broken lines are repaired."""

import re
import unicodedata
from functools import lru_cache

from pypdf import PdfReader


def clean_text(raw):
    tidy = unicodedata.normalize("NFKC", raw).replace("\u00ad", "")
    tidy = re.sub(r"(\w)-\n(\w)", r"\1\2", tidy)
    return re.sub(r"\s+", " ", tidy).strip()


@lru_cache(maxsize=8)
def get_pdf_pages(pdf_file_path):
    reader = PdfReader(pdf_file_path, strict=False)
    return tuple(clean_text(page.extract_text() or "") for page in reader.pages)


def get_pdf_text(pdf_file_path):
    return " ".join(filter(None, get_pdf_pages(pdf_file_path)))


if __name__ == "__main__":
    pdf_file_path = "user_data/cholas.pdf"
    pdf_text = get_pdf_text(pdf_file_path)
    print(f"Pages in {pdf_file_path} :{len(get_pdf_pages(pdf_file_path))}")
    print(f"Words in {pdf_file_path} :{len(pdf_text.split())}")
