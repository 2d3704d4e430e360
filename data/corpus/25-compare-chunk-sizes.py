"""Query the same text in chunks of different sizes and compare the distances."""

import logging

from chunk_utils import get_word_chunks
from embeddings_utils import get_text_embedding, get_text_embeddings, trim_data
from pdf_utils import get_pdf_text
from vdb_utils import delete_collection_by_name, get_collection

logging.basicConfig(level=logging.DEBUG)


def load_chunks(vdb_name, coll_name, pdf_file_path, chunk_size):
    chunks = get_word_chunks(get_pdf_text(pdf_file_path), chunk_size, overlap=5)
    delete_collection_by_name(vdb_name, coll_name)
    collection = get_collection(vdb_name, coll_name)
    collection.add(
        ids=[f"chunk-{chunk_number}" for chunk_number in range(1, len(chunks) + 1)],
        documents=chunks,
        embeddings=get_text_embeddings(chunks),
    )
    logging.debug(f"Added {len(chunks)} chunks of {chunk_size} words to {coll_name}")
    return collection, len(chunks)


def get_best_chunk(collection, question):
    results = collection.query(
        query_embeddings=[get_text_embedding(question)],
        n_results=1,
        include=["documents", "distances"],
    )
    return {"text": results["documents"][0][0], "distance": results["distances"][0][0]}


def print_best_chunk(chunk_size, count, best_chunk):
    print(f"Chunk Size :{chunk_size}")
    print(f"\tChunks :{count}")
    print(f"\tDistance :{best_chunk['distance']:.3f}")
    print(f"\tText :{trim_data(best_chunk['text'])}")


def main():
    vdb_name = "vdb"
    pdf_file_path = "user_data/pallavas.pdf"
    chunk_sizes = [20, 30, 40, 50]
    questions = ["Who captured Vatapi?", "Which temple was built without brick?"]

    for question in questions:
        print(f"Question :{question}")
        for chunk_size in chunk_sizes:
            coll_name = f"pallavas_chunks_{chunk_size}"
            collection, count = load_chunks(vdb_name, coll_name, pdf_file_path, chunk_size)
            best_chunk = get_best_chunk(collection, question)
            print_best_chunk(chunk_size, count, best_chunk)


if __name__ == "__main__":
    main()
