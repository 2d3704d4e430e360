"""Add the rulers in a CSV file to a collection and get them by dynasty and by year."""

import csv
import logging

from embeddings_utils import get_text_embeddings
from vdb_utils import get_collection

logging.basicConfig(level=logging.DEBUG)


def get_rulers(csv_file_path):
    with open(csv_file_path, newline="") as csv_file:
        rulers = list(csv.DictReader(csv_file))
    logging.debug(f"Rulers in {csv_file_path} :{len(rulers)}")
    return rulers


def add_rulers(collection, rulers):
    texts = []
    metadatas = []
    for ruler in rulers:
        years = {"start": int(ruler["start"]), "end": int(ruler["end"])}
        metadatas.append({"dynasty": ruler["dynasty"], **years})
        texts.append(f"{ruler['ruler']} of the {ruler['dynasty']} ruled from {ruler['capital']}")
    collection.upsert(
        ids=[f"ruler-{ruler_number}" for ruler_number in range(1, len(rulers) + 1)],
        documents=texts,
        embeddings=get_text_embeddings(texts),
        metadatas=metadatas,
    )
    logging.debug(f"Added {len(texts)} rulers")


def print_rulers(collection, title, where):
    results = collection.get(where=where, include=["documents", "metadatas"])
    print(f"{title} :{len(results['ids'])}")
    for text, metadata in zip(results["documents"], results["metadatas"]):
        print(f"\t{metadata['start']} to {metadata['end']} :{text}")


def main():
    vdb_name = "vdb"
    coll_name = "rulers"
    csv_file_path = "user_data/rulers.csv"

    collection = get_collection(vdb_name, coll_name)
    rulers = get_rulers(csv_file_path)
    add_rulers(collection, rulers)
    print_rulers(collection, "Cholas", {"dynasty": "cholas"})
    print_rulers(collection, "Pallavas", {"dynasty": "pallavas"})
    print_rulers(collection, "Before 900", {"end": {"$lt": 900}})
    print_rulers(
        collection,
        "Cholas after 900",
        {"$and": [{"dynasty": "cholas"}, {"start": {"$gte": 900}}]},
    )


if __name__ == "__main__":
    main()
