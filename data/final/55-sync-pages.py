"""Keep a collection in step with the PDF files: add new pages, skip known ones, drop lost ones."""

import hashlib
import logging

from embeddings_utils import get_text_embedding
from pdf_utils import get_pdf_pages
from vdb_utils import delete_collection_by_name, get_collection

logging.basicConfig(level=logging.DEBUG)


def get_page_hashes(pdf_file_paths):
    page_hashes = {}
    for pdf_file_path in pdf_file_paths:
        for page_text in get_pdf_pages(pdf_file_path):
            page_hash = hashlib.sha256(page_text.encode()).hexdigest()[:12]
            page_hashes[page_hash] = page_text
    return page_hashes


def sync_pages(collection, page_hashes):
    known = set(collection.get(include=[])["ids"])
    missing = [page_hash for page_hash in page_hashes if page_hash not in known]
    lost = sorted(known - page_hashes.keys())
    for page_hash in missing:
        collection.add(
            ids=[page_hash],
            documents=[page_hashes[page_hash]],
            embeddings=[get_text_embedding(page_hashes[page_hash])],
        )
    if lost:
        collection.delete(ids=lost)
    logging.debug(f"Added {len(missing)}, dropped {len(lost)}")
    return {"added": len(missing), "kept": len(known) - len(lost), "dropped": len(lost)}


def main():
    vdb_name = "vdb"
    coll_name = "synced_pages"
    rounds = [
        ["user_data/cholas.pdf"],
        ["user_data/cholas.pdf", "user_data/cheras.pdf"],
        ["user_data/cheras.pdf"],
    ]

    collection = get_collection(vdb_name, coll_name)
    for round_number, pdf_file_paths in enumerate(rounds, start=1):
        changes = sync_pages(collection, get_page_hashes(pdf_file_paths))
        print(f"Round {round_number} :{changes}")
        print(f"\tPages now :{collection.count()}")
    delete_collection_by_name(vdb_name, coll_name)


if __name__ == "__main__":
    main()
