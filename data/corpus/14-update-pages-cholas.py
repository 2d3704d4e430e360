"""Update the text and the metadata of one page, then print the page before and after."""

import logging

from embeddings_utils import get_pdf_page_embeddings, get_text_embedding, trim_data
from vdb_utils import get_collection

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


def update_page(collection, page_id, text, title):
    results = collection.get(ids=[page_id], include=["documents", "metadatas"])
    old_text = results["documents"][0]
    metadata = results["metadatas"][0]
    metadata["title"] = title
    metadata["old_words"] = len(old_text.split())
    metadata["words"] = len(text.split())
    collection.update(
        ids=[page_id],
        documents=[text],
        embeddings=[get_text_embedding(text)],
        metadatas=[metadata],
    )
    logging.debug(f"Updated {page_id} :{trim_data(old_text)} to {trim_data(text)}")


def print_page(collection, page_id):
    results = collection.get(ids=[page_id], include=["documents", "metadatas"])
    print(f"Page Id :{page_id}")
    print(f"\tPage Text :{trim_data(results['documents'][0])}")
    for key, value in results["metadatas"][0].items():
        print(f"\t{key} :{value}")


def main():
    vdb_name = "vdb"
    coll_name = "cholas_update"
    pdf_file_path = "user_data/cholas.pdf"
    page_id = "page-2"
    text = "Rajaraja built the temple at Thanjavur."
    title = "The temple at Thanjavur"

    collection = get_collection(vdb_name, coll_name)
    load_pages(collection, pdf_file_path)
    print("Before update")
    print_page(collection, page_id)
    update_page(collection, page_id, text, title)
    print("After update")
    print_page(collection, page_id)


if __name__ == "__main__":
    main()
