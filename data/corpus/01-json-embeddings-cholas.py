import json
import logging
import os

import chromadb

from embeddings_utils import get_pdf_page_embeddings

logging.basicConfig(level=logging.DEBUG)


def get_file_embeddings(pdf_file_path):
    file_embeddings = []
    for page in get_pdf_page_embeddings(pdf_file_path):
        file_embeddings.append({"file": pdf_file_path, **page})
    logging.debug(f"Page embeddings :{len(file_embeddings)}")
    return file_embeddings


def save_embeddings_to_json(file_embeddings, json_file_path):
    os.makedirs(os.path.dirname(json_file_path), exist_ok=True)
    with open(json_file_path, "w") as json_file:
        json.dump(file_embeddings, json_file)
    logging.debug(f"Saved embeddings to {json_file_path}")


def load_embeddings_from_json(json_file_path):
    with open(json_file_path) as json_file:
        file_embeddings = json.load(json_file)
    logging.debug(f"Loaded embeddings from {json_file_path}")
    return file_embeddings


def print_embeddings(file_embeddings):
    for file_obj in file_embeddings:
        print(f"File :{file_obj['file']}")
        print(f"\tPage Number :{file_obj['page_number']}")
        print(f"\tPage Text :{file_obj['text'][:50]}...")
        print(f"\tText Embedding :{file_obj['text-embedding'][:5]}")


def main():
    pdf_file_path = "user_data/cholas.pdf"
    json_file_path = "embeddings/cholas.json"

    file_embeddings = get_file_embeddings(pdf_file_path)
    save_embeddings_to_json(file_embeddings, json_file_path)
    file_embeddings = load_embeddings_from_json(json_file_path)
    print_embeddings(file_embeddings)

    client = chromadb.PersistentClient(path="vdb")
    collection = client.get_or_create_collection(name="cholas_json")
    collection.add(
        ids=[f"page-{file_obj['page_number']}" for file_obj in file_embeddings],
        documents=[file_obj["text"] for file_obj in file_embeddings],
        embeddings=[file_obj["text-embedding"] for file_obj in file_embeddings],
    )
    print(f"Pages added :{len(file_embeddings)}")


if __name__ == "__main__":
    main()
