"""Delete pages by ids and by metadata, then delete the collection."""

import logging

from embeddings_utils import get_pdf_page_embeddings
from vdb_utils import delete_collection_by_name, get_collection

logging.basicConfig(level=logging.DEBUG)


def load_pages(collection, pdf_file_path):
    pages = get_pdf_page_embeddings(pdf_file_path)
    collection.upsert(
        ids=[f"page-{page['page_number']}" for page in pages],
        documents=[page["text"] for page in pages],
        embeddings=[page["text-embedding"] for page in pages],
        metadatas=[{"file": pdf_file_path, "page_number": page["page_number"]} for page in pages],
    )
    logging.debug(f"Loaded {len(pages)} pages from {pdf_file_path}")


def print_ids(collection, title):
    results = collection.get(include=["metadatas"])
    print(f"{title} :{len(results['ids'])} pages")
    for page_id, metadata in zip(results["ids"], results["metadatas"]):
        print(f"\t{page_id} :{metadata['file']}")


def delete_pages(collection, ids=None, where=None):
    collection.delete(ids=ids, where=where)
    if ids:
        logging.debug(f"Deleted pages by ids {ids}")
    else:
        logging.debug(f"Deleted pages where {where}")


def main():
    vdb_name = "vdb"
    coll_name = "pandyas_delete"
    pdf_file_path = "user_data/pandyas.pdf"

    collection = get_collection(vdb_name, coll_name)
    load_pages(collection, pdf_file_path)
    print_ids(collection, "Before delete")
    delete_pages(collection, ids=["page-1"])
    print_ids(collection, "After delete by ids")
    delete_pages(collection, where={"page_number": {"$gt": 2}})
    print_ids(collection, "After delete by metadata")
    if delete_collection_by_name(vdb_name, coll_name):
        print(f"Deleted collection {coll_name}")


if __name__ == "__main__":
    main()
