"""Load rows from a CSV file and add them to a collection with their embeddings."""

import csv
import logging
import os

from embeddings_utils import get_pdf_page_embeddings, get_text_embeddings, trim_data
from vdb_utils import get_collection

logging.basicConfig(level=logging.DEBUG)


def create_csv(pdf_file_path, csv_file_path):
    os.makedirs(os.path.dirname(csv_file_path), exist_ok=True)
    with open(csv_file_path, "w", newline="") as csv_file:
        writer = csv.DictWriter(csv_file, fieldnames=["id", "page_number", "text"])
        writer.writeheader()
        for page in get_pdf_page_embeddings(pdf_file_path):
            page_number = page["page_number"]
            writer.writerow(
                {"id": f"page-{page_number}", "page_number": page_number, "text": page["text"]}
            )
    logging.debug(f"Created {csv_file_path}")


def load_rows_from_csv(csv_file_path):
    with open(csv_file_path, newline="") as csv_file:
        rows = list(csv.DictReader(csv_file))
    logging.debug(f"Loaded {len(rows)} rows from {csv_file_path}")
    return rows


def add_rows(collection, rows, csv_file_path):
    texts = [row["text"] for row in rows]
    collection.upsert(
        ids=[row["id"] for row in rows],
        documents=texts,
        embeddings=get_text_embeddings(texts),
        metadatas=[{"file": csv_file_path, "page_number": int(row["page_number"])} for row in rows],
    )
    logging.debug(f"Added {len(rows)} rows")


def main():
    vdb_name = "vdb"
    coll_name = "cholas_import"
    pdf_file_path = "user_data/cholas.pdf"
    csv_file_path = "exports/cholas_pages.csv"

    if not os.path.exists(csv_file_path):
        create_csv(pdf_file_path, csv_file_path)
    rows = load_rows_from_csv(csv_file_path)
    collection = get_collection(vdb_name, coll_name)
    add_rows(collection, rows, csv_file_path)
    for row in rows:
        print(f"Row :{row['id']}")
        print(f"\tText :{trim_data(row['text'])}")
    print(f"Rows in {coll_name} :{len(rows)}")


if __name__ == "__main__":
    main()
