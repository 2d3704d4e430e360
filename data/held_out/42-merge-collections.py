"""Copy the pages of two collections into a third one and query it."""

import logging

from embeddings_utils import get_text_embedding
from vdb_utils import delete_collection_by_name, dump_results, get_collection, load_pages

logging.basicConfig(level=logging.DEBUG)


def create_source_collections(vdb_name, coll_files):
    for coll_name, pdf_file_path in coll_files.items():
        load_pages(get_collection(vdb_name, coll_name), pdf_file_path)
        logging.debug(f"Created {coll_name}")


def copy_collection(source, target):
    contents = source.get(include=["documents", "embeddings", "metadatas"])
    target.upsert(
        ids=contents["ids"],
        documents=contents["documents"],
        embeddings=contents["embeddings"],
        metadatas=contents["metadatas"],
    )
    logging.debug(f"Copied {len(contents['ids'])} pages from {source.name}")


def query_collection(collection, question):
    results = collection.query(query_embeddings=[get_text_embedding(question)], n_results=3)
    print(f"Question :{question}")
    dump_results(results)


def main():
    vdb_name = "vdb"
    merged_name = "merged_pages"
    coll_files = {
        "merge_cheras": "user_data/cheras.pdf",
        "merge_pallavas": "user_data/pallavas.pdf",
    }
    questions = ["Which port traded with Rome?", "Who carved temples from rock?"]

    create_source_collections(vdb_name, coll_files)
    merged = get_collection(vdb_name, merged_name)
    for coll_name in coll_files:
        copy_collection(get_collection(vdb_name, coll_name), merged)
    print(f"Pages in {merged_name} :{merged.count()}")
    for question in questions:
        query_collection(merged, question)
    for coll_name in [*coll_files, merged_name]:
        delete_collection_by_name(vdb_name, coll_name)


if __name__ == "__main__":
    main()
