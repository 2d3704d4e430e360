import logging

from embeddings_utils import get_pdf_page_embeddings, get_text_embedding
from vdb_utils import dump_results, get_collection

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


def query_pages(collection, question, n_results):
    results = collection.query(
        query_embeddings=[get_text_embedding(question)],
        n_results=n_results,
        include=["documents", "metadatas", "distances"],
    )
    logging.debug(f"Results for {question} :{len(results['ids'][0])}")
    return results


def print_best_page(results):
    best_id = results["ids"][0][0]
    best_distance = results["distances"][0][0]
    page_number = results["metadatas"][0][0]["page_number"]
    print(f"Best Page :{best_id}")
    print(f"\tPage Number :{page_number}")
    print(f"\tDistance :{best_distance:.3f}")


def main():
    vdb_name = "vdb"
    coll_name = "cheras_pages"
    pdf_file_path = "user_data/cheras.pdf"
    questions = [
        "Which ships carried pepper from Muziris?",
        "Who carried pepper across the western sea?",
        "Which king built the temple?",
    ]

    collection = get_collection(vdb_name, coll_name)
    load_pages(collection, pdf_file_path)
    for question in questions:
        print(f"Question :{question}")
        results = query_pages(collection, question, n_results=3)
        dump_results(results)
        print_best_page(results)


if __name__ == "__main__":
    main()
