"""Query the same sentences under three distances and see whether the order changes."""

import logging

import chromadb

from chunk_utils import get_sentences
from embeddings_utils import get_text_embedding, get_text_embeddings
from pdf_utils import get_pdf_text

logging.basicConfig(level=logging.DEBUG)

spaces = ["cosine", "l2", "ip"]


def create_collection(client, space, sentences):
    collection = client.create_collection(
        name=f"sentences_{space}",
        metadata={"hnsw:space": space},
    )
    collection.add(
        ids=[f"s{number}" for number in range(len(sentences))],
        documents=sentences,
        embeddings=get_text_embeddings(sentences),
    )
    logging.debug(f"Created {collection.name} :{collection.count()} sentences")
    return collection


def get_order(collection, question, limit):
    results = collection.query(
        query_embeddings=[get_text_embedding(question)],
        n_results=limit,
        include=["distances"],
    )
    return list(zip(results["ids"][0], results["distances"][0]))


def main():
    question = "Which harbour exported pearls?"

    client = chromadb.EphemeralClient()
    sentences = get_sentences(get_pdf_text("user_data/pandyas.pdf"))
    orders = {}
    for space in spaces:
        collection = create_collection(client, space, sentences)
        orders[space] = get_order(collection, question, limit=4)
        client.delete_collection(collection.name)

    print(f"Question :{question}")
    for space, order in orders.items():
        print(f"Space :{space}")
        for sentence_id, distance in order:
            print(f"\t{sentence_id} :{distance:.3f}")
    ids = [[sentence_id for sentence_id, _ in order] for order in orders.values()]
    print(f"Same order :{all(row == ids[0] for row in ids)}")


if __name__ == "__main__":
    main()
