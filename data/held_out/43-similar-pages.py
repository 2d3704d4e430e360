import logging

import chromadb

from embeddings_utils import get_pdf_page_embeddings, trim_data

logging.basicConfig(level=logging.DEBUG)


def add_pages(collection, pdf_file_path):
    pages = get_pdf_page_embeddings(pdf_file_path)
    collection.add(
        ids=[f"page-{page['page_number']}" for page in pages],
        documents=[page["text"] for page in pages],
        embeddings=[page["text-embedding"] for page in pages],
    )
    logging.debug(f"Added {len(pages)} pages")
    return pages


def get_nearest_page(collection, page):
    results = collection.query(query_embeddings=[page["text-embedding"]], n_results=2)
    own_id = f"page-{page['page_number']}"
    for page_id, distance in zip(results["ids"][0], results["distances"][0]):
        if page_id != own_id:
            return page_id, distance
    return None, None


def print_nearest_pages(collection, pages):
    for page in pages:
        page_id, distance = get_nearest_page(collection, page)
        print(f"Page Number :{page['page_number']}")
        print(f"\tPage Text :{trim_data(page['text'])}")
        print(f"\tNearest Page :{page_id}")
        if distance is not None:
            print(f"\tDistance :{distance:.3f}")


def main():
    pdf_file_path = "user_data/pandyas.pdf"
    coll_name = "similar_pages"

    client = chromadb.EphemeralClient()
    collection = client.get_or_create_collection(name=coll_name)
    pages = add_pages(collection, pdf_file_path)
    print(f"Collection :{coll_name}")
    print_nearest_pages(collection, pages)
    client.delete_collection(coll_name)


if __name__ == "__main__":
    main()
