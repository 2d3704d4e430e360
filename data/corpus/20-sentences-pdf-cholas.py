"""Add chunks of whole sentences to a collection, with the page number of each chunk."""

import logging

from chunk_utils import get_sentence_chunks, get_sentences
from embeddings_utils import get_text_embedding, get_text_embeddings, trim_data
from pdf_utils import get_pdf_pages
from vdb_utils import dump_results, get_collection

logging.basicConfig(level=logging.DEBUG)


def get_page_chunks(pdf_file_path, max_words):
    page_chunks = []
    for page_number, page_text in enumerate(get_pdf_pages(pdf_file_path), start=1):
        sentences = get_sentences(page_text)
        logging.debug(f"Sentences on page {page_number} :{len(sentences)}")
        for chunk in get_sentence_chunks(page_text, max_words):
            page_chunks.append({"page_number": page_number, "text": chunk})
    return page_chunks


def add_page_chunks(collection, page_chunks, pdf_file_path):
    texts = [page_chunk["text"] for page_chunk in page_chunks]
    collection.upsert(
        ids=[f"sentence-chunk-{number}" for number in range(1, len(texts) + 1)],
        documents=texts,
        embeddings=get_text_embeddings(texts),
        metadatas=[
            {"file": pdf_file_path, "page_number": page_chunk["page_number"]}
            for page_chunk in page_chunks
        ],
    )
    logging.debug(f"Added {len(texts)} chunks")


def print_page_chunks(page_chunks):
    for page_chunk in page_chunks:
        words = page_chunk["text"].split()
        print(f"Page Number :{page_chunk['page_number']}")
        print(f"\tChunk Size :{len(words)}")
        print(f"\tFirst Word :{words[0]}")
        print(f"\tChunk Text :{trim_data(page_chunk['text'])}")


def main():
    vdb_name = "vdb"
    coll_name = "cholas_sentences"
    pdf_file_path = "user_data/cholas.pdf"
    question = "How did a village choose its council?"

    collection = get_collection(vdb_name, coll_name)
    page_chunks = get_page_chunks(pdf_file_path, max_words=30)
    add_page_chunks(collection, page_chunks, pdf_file_path)
    print_page_chunks(page_chunks)
    results = collection.query(
        query_embeddings=[get_text_embedding(question)],
        n_results=2,
        where={"page_number": {"$gte": 3}},
    )
    print(f"Question :{question}")
    dump_results(results)


if __name__ == "__main__":
    main()
