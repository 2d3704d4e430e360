"""Create collections of short texts, list them with their counts and delete them."""

import logging

from embeddings_utils import get_text_embeddings
from vdb_utils import delete_collection_by_name, get_collection, list_collection_names

logging.basicConfig(level=logging.DEBUG)


def create_collections(vdb_name, coll_texts):
    for coll_name, texts in coll_texts.items():
        collection = get_collection(vdb_name, coll_name)
        collection.upsert(
            ids=[f"text-{text_number}" for text_number in range(1, len(texts) + 1)],
            documents=texts,
            embeddings=get_text_embeddings(texts),
        )
        logging.debug(f"Created {coll_name} :{len(texts)} texts")


def print_collections(vdb_name, title):
    coll_names = list_collection_names(vdb_name)
    print(f"{title} :{len(coll_names)} collections")
    for coll_name in coll_names:
        text_count = get_collection(vdb_name, coll_name).count()
        print(f"\t{coll_name} :{text_count}")


def delete_collections(vdb_name, coll_names):
    for coll_name in coll_names:
        deleted = delete_collection_by_name(vdb_name, coll_name)
        logging.debug(f"Deleted {coll_name} :{deleted}")


def main():
    vdb_name = "vdb"
    coll_texts = {
        "list_notes": [
            "The river Kaveri waters the rice fields.",
            "Weavers of Kanchi make heavy silk.",
        ],
        "list_ports": [
            "Korkai was a port of the Pandyas.",
            "Muziris was a port of the Cheras.",
        ],
        "list_temples": [
            "The Cholas built the temple at Thanjavur.",
            "The Pallavas built temples at Kanchi.",
        ],
    }

    print_collections(vdb_name, "Before create")
    create_collections(vdb_name, coll_texts)
    print_collections(vdb_name, "After create")
    delete_collections(vdb_name, list(coll_texts.keys()))
    print_collections(vdb_name, "After delete")


if __name__ == "__main__":
    main()
