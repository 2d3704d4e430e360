"""Save the pages in a collection to a CSV file, one row for each page."""

import csv
import logging
import os

from embeddings_utils import trim_data
from vdb_utils import get_collection, load_pages

logging.basicConfig(level=logging.DEBUG)


def get_rows(collection):
    results = collection.get(include=["documents", "metadatas"])
    rows = []
    for page_id, text, metadata in zip(results["ids"], results["documents"], results["metadatas"]):
        row = {"id": page_id, "words": len(text.split()), "text": text}
        rows.append({**row, **metadata})
    rows.sort(key=lambda row: row["page_number"])
    return rows


def save_rows_to_csv(rows, csv_file_path):
    os.makedirs(os.path.dirname(csv_file_path), exist_ok=True)
    with open(csv_file_path, "w", newline="") as csv_file:
        writer = csv.DictWriter(csv_file, fieldnames=list(rows[0].keys()))
        writer.writeheader()
        writer.writerows(rows)
    logging.debug(f"Saved {len(rows)} rows to {csv_file_path}")


def main():
    vdb_name = "vdb"
    coll_name = "cholas_pages"
    pdf_file_path = "user_data/cholas.pdf"
    csv_file_path = "exports/cholas_pages.csv"

    collection = get_collection(vdb_name, coll_name)
    load_pages(collection, pdf_file_path)
    rows = get_rows(collection)
    save_rows_to_csv(rows, csv_file_path)
    for row in rows:
        print(f"Row :{row['id']}")
        print(f"\tFile :{row['file']}")
        print(f"\tWords :{row['words']}")
        print(f"\tText :{trim_data(row['text'])}")


if __name__ == "__main__":
    main()
