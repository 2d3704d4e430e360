"""Ask for every page by one of its sentences and count how often the page comes first."""

import chromadb

from chunk_utils import get_sentences
from embeddings_utils import get_pdf_page_embeddings, get_text_embedding
from log_utils import get_logger, quiet_libraries


def load_file(collection, pdf_file_path):
    pages = get_pdf_page_embeddings(pdf_file_path)
    collection.add(
        ids=[str(page["page_number"]) for page in pages],
        embeddings=[page["text-embedding"] for page in pages],
    )
    return pages


def get_rank(collection, sentence, page_id):
    results = collection.query(
        query_embeddings=[get_text_embedding(sentence)],
        n_results=collection.count(),
    )
    return results["ids"][0].index(page_id) + 1


def get_ranks(collection, pages, logger):
    ranks = []
    for page in pages:
        longest = max(get_sentences(page["text"]), key=len)
        rank = get_rank(collection, longest, str(page["page_number"]))
        logger.info("page %s has rank %s", page["page_number"], rank)
        ranks.append(rank)
    return ranks


def main():
    quiet_libraries()
    logger = get_logger("retrieval")
    client = chromadb.EphemeralClient()
    for dynasty in ("cholas", "cheras"):
        collection = client.get_or_create_collection(name=f"{dynasty}_hits")
        pages = load_file(collection, f"user_data/{dynasty}.pdf")
        ranks = get_ranks(collection, pages, logger)
        hits = ranks.count(1)
        reciprocal = sum(1 / rank for rank in ranks) / len(ranks)
        print(f"{dynasty} :{hits} of {len(ranks)} pages first")
        print(f"\tMean Reciprocal Rank :{reciprocal:.2f}")
        client.delete_collection(collection.name)


if __name__ == "__main__":
    main()
