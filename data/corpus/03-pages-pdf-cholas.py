import logging

from embeddings_utils import get_pdf_page_embeddings, trim_data
from vdb_utils import get_collection

logging.basicConfig(level=logging.DEBUG)


def get_pages(pdf_file_path):
    pages = get_pdf_page_embeddings(pdf_file_path)
    logging.debug(f"Pages in {pdf_file_path} :{len(pages)}")
    return pages


def add_pages(collection, pages, pdf_file_path):
    for page in pages:
        page_id = f"page-{page['page_number']}"
        collection.upsert(
            ids=[page_id],
            documents=[page["text"]],
            embeddings=[page["text-embedding"]],
            metadatas=[{"file": pdf_file_path, "page_number": page["page_number"]}],
        )
        logging.debug(f"Added {page_id} :{trim_data(page['text'])}")


def dump_pages(collection):
    results = collection.get(include=["documents", "metadatas"])
    for page_id, text, metadata in zip(results["ids"], results["documents"], results["metadatas"]):
        print(f"Page Id :{page_id}")
        print(f"\tFile :{metadata['file']}")
        print(f"\tPage Number :{metadata['page_number']}")
        print(f"\tPage Text :{trim_data(text)}")


def main():
    vdb_name = "vdb"
    coll_name = "cholas_pages"
    pdf_file_path = "user_data/cholas.pdf"

    collection = get_collection(vdb_name, coll_name)
    pages = get_pages(pdf_file_path)
    add_pages(collection, pages, pdf_file_path)
    dump_pages(collection)
    print(f"Pages in {coll_name} :{len(pages)}")


if __name__ == "__main__":
    main()
