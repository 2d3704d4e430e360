import logging

from chunk_utils import get_word_chunks
from embeddings_utils import get_text_embeddings, trim_data
from pdf_utils import get_pdf_text
from vdb_utils import dump_results, get_collection

logging.basicConfig(level=logging.DEBUG)


def get_chunks(pdf_file_path, chunk_size, overlap):
    pdf_text = get_pdf_text(pdf_file_path)
    chunks = get_word_chunks(pdf_text, chunk_size, overlap)
    logging.debug(f"Chunks in {pdf_file_path} :{len(chunks)}")
    return chunks


def print_chunks(chunks):
    for chunk_number, chunk in enumerate(chunks, start=1):
        print(f"Chunk Number :{chunk_number}")
        print(f"\tChunk Size :{len(chunk.split())}")
        print(f"\tChunk Text :{trim_data(chunk)}")


def add_chunks(collection, chunks, pdf_file_path):
    ids = [f"chunk-{chunk_number}" for chunk_number in range(1, len(chunks) + 1)]
    collection.upsert(
        ids=ids,
        documents=chunks,
        embeddings=get_text_embeddings(chunks),
        metadatas=[{"file": pdf_file_path} for _ in chunks],
    )
    logging.debug(f"Added {len(ids)} chunks")


def query_chunks(collection, question):
    results = collection.query(
        query_embeddings=get_text_embeddings([question]),
        n_results=2,
    )
    print(f"Question :{question}")
    dump_results(results)


def main():
    vdb_name = "vdb"
    coll_name = "cheras_chunks"
    pdf_file_path = "user_data/cheras.pdf"

    collection = get_collection(vdb_name, coll_name)
    chunks = get_chunks(pdf_file_path, chunk_size=30, overlap=5)
    print_chunks(chunks)
    add_chunks(collection, chunks, pdf_file_path)
    print(f"Chunks in {coll_name} :{len(chunks)}")
    query_chunks(collection, "Which ships carried pepper from Muziris?")


if __name__ == "__main__":
    main()
