"""Browse a collection in small portions, with a limit and an offset, and tag what was read."""

import logging

from embeddings_utils import trim_data
from vdb_utils import get_collection, load_pages

logging.basicConfig(level=logging.DEBUG)


def get_portions(collection, size):
    for offset in range(0, collection.count(), size):
        yield collection.get(limit=size, offset=offset, include=["documents", "metadatas"])


def tag_portion(collection, portion, portion_number):
    metadatas = [{**metadata, "read": portion_number} for metadata in portion["metadatas"]]
    collection.update(ids=portion["ids"], metadatas=metadatas)
    logging.debug(f"Tagged {len(metadatas)} pages in portion {portion_number}")


def print_portion(portion, portion_number):
    print(f"Portion :{portion_number}")
    for text in portion["documents"]:
        print(f"\t{trim_data(text, width=70)}")


def count_tagged(collection, first, last):
    where = {"$and": [{"read": {"$gte": first}}, {"read": {"$lte": last}}]}
    return len(collection.get(where=where)["ids"])


def main():
    collection = get_collection("vdb", "browsed_pages")
    for name in ["pandyas", "pallavas"]:
        load_pages(collection, f"user_data/{name}.pdf")

    portions = list(get_portions(collection, size=3))
    for portion_number, portion in enumerate(portions, start=1):
        print_portion(portion, portion_number)
        tag_portion(collection, portion, portion_number)
    print(f"Portions :{len(portions)}")
    print(f"Pages in the first two :{count_tagged(collection, 1, 2)}")


if __name__ == "__main__":
    main()
