"""Save a collection to a JSON file, load it into a second collection and compare them."""

import json
import logging
import os

from vdb_utils import get_collection, load_pages

logging.basicConfig(level=logging.DEBUG)


def backup_collection(collection, json_file_path):
    results = collection.get(include=["documents", "embeddings", "metadatas"])
    backup = {
        "ids": results["ids"],
        "documents": results["documents"],
        "embeddings": [[float(value) for value in row] for row in results["embeddings"]],
        "metadatas": results["metadatas"],
    }
    os.makedirs(os.path.dirname(json_file_path), exist_ok=True)
    with open(json_file_path, "w") as json_file:
        json.dump(backup, json_file)
    logging.debug(f"Saved {len(backup['ids'])} pages to {json_file_path}")


def restore_collection(collection, json_file_path):
    with open(json_file_path) as json_file:
        backup = json.load(json_file)
    collection.upsert(**backup)
    logging.debug(f"Restored {len(backup['ids'])} pages from {json_file_path}")


def same_pages(first, second):
    first_results = first.get(include=["documents"])
    second_results = second.get(include=["documents"])
    first_pages = dict(zip(first_results["ids"], first_results["documents"]))
    second_pages = dict(zip(second_results["ids"], second_results["documents"]))
    return first_pages == second_pages


def main():
    vdb_name = "vdb"
    pdf_file_path = "user_data/cheras.pdf"
    json_file_path = "exports/cheras_backup.json"

    pages = get_collection(vdb_name, "cheras_pages")
    restored = get_collection(vdb_name, "cheras_restored")
    load_pages(pages, pdf_file_path)
    backup_collection(pages, json_file_path)
    restore_collection(restored, json_file_path)
    print(f"Pages :{pages.count()}")
    print(f"Restored :{restored.count()}")
    print(f"Same pages :{same_pages(pages, restored)}")


if __name__ == "__main__":
    main()
