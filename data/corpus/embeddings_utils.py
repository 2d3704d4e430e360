"""Deterministic bag-of-words vectors, good enough to compare short passages offline.

Each lowercase token is hashed with BLAKE2 to one of 32 slots; a sign bit keeps
collisions from always adding up, and the result is scaled to unit length.
"""

import hashlib
import math
import re

from pdf_utils import get_pdf_pages

DIMENSIONS = 32
STOPWORDS = {"a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "the", "to", "was"}


def hash_token(token):
    digest = hashlib.blake2b(token.encode(), digest_size=4).digest()
    slot = int.from_bytes(digest[:3], "big") % DIMENSIONS
    return slot, 1.0 if digest[3] & 1 else -1.0


def get_text_embedding(text):
    vector = [0.0] * DIMENSIONS
    for token in re.findall(r"[a-z0-9]+", text.lower()):
        if token not in STOPWORDS:
            slot, sign = hash_token(token)
            vector[slot] += sign
    norm = math.hypot(*vector)
    if norm == 0:
        vector[0] = norm = 1.0
    return [round(x / norm, 6) for x in vector]


def get_text_embeddings(texts):
    return [get_text_embedding(text) for text in texts]


def get_pdf_page_embeddings(pdf_file_path):
    pages = []
    for page_number, text in enumerate(get_pdf_pages(pdf_file_path), start=1):
        page = {"page_number": page_number, "text": text}
        page["text-embedding"] = get_text_embedding(text)
        pages.append(page)
    return pages


def trim_data(value, width=50):
    flat = " ".join(str(value).split())
    return flat if len(flat) <= width else flat[: width - 3].rstrip() + "..."


if __name__ == "__main__":
    pdf_file_path = "user_data/cholas.pdf"
    for page in get_pdf_page_embeddings(pdf_file_path):
        print(f"Page Number :{page['page_number']}")
        print(f"\tPage Text :{trim_data(page['text'])}")
        print(f"\tText Embedding :{page['text-embedding'][:5]}")
