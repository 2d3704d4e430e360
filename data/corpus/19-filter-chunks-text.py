"""Add the chunks of all PDF files to one collection and filter them by word and by file."""

import logging

from chunk_utils import get_word_chunks
from embeddings_utils import get_text_embedding, get_text_embeddings
from pdf_utils import get_pdf_text
from vdb_utils import dump_results, get_collection

logging.basicConfig(level=logging.DEBUG)

pdf_file_paths = [
    "user_data/cholas.pdf",
    "user_data/pandyas.pdf",
    "user_data/cheras.pdf",
    "user_data/pallavas.pdf",
]


def add_file(collection, pdf_file_path):
    chunks = get_word_chunks(get_pdf_text(pdf_file_path), chunk_size=40, overlap=10)
    collection.upsert(
        ids=[f"{pdf_file_path}-{chunk_number}" for chunk_number in range(1, len(chunks) + 1)],
        documents=chunks,
        embeddings=get_text_embeddings(chunks),
        metadatas=[{"file": pdf_file_path} for _ in chunks],
    )
    logging.debug(f"Added {len(chunks)} chunks from {pdf_file_path}")


def print_chunks_with(collection, word):
    results = collection.get(where_document={"$contains": word}, include=["metadatas"])
    print(f"Chunks with {word} :{len(results['ids'])}")
    for chunk_id in sorted(results["ids"]):
        print(f"\tChunk Id :{chunk_id}")


def query_file(collection, question, pdf_file_path):
    results = collection.query(
        query_embeddings=[get_text_embedding(question)],
        n_results=2,
        where={"file": pdf_file_path},
    )
    print(f"Question :{question}")
    print(f"\tFile :{pdf_file_path}")
    dump_results(results)


def main():
    vdb_name = "vdb"
    coll_name = "all_chunks"
    question = "Which king built the temple?"

    collection = get_collection(vdb_name, coll_name)
    for pdf_file_path in pdf_file_paths:
        add_file(collection, pdf_file_path)
    for word in ["Kaveri", "pearls", "pepper", "temple"]:
        print_chunks_with(collection, word)
    for pdf_file_path in pdf_file_paths:
        query_file(collection, question, pdf_file_path)


if __name__ == "__main__":
    main()
