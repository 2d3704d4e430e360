"""Thin helpers around a vector database kept in a local folder; nothing leaves this computer."""

import logging
import operator
from pathlib import Path

import chromadb
from chromadb.config import Settings

from embeddings_utils import get_pdf_page_embeddings

CLIENTS = {}


def get_client(vdb_name):
    """Reuse one handle per folder, because two writers would compete for the same lock."""
    if vdb_name not in CLIENTS:
        quiet = Settings(anonymized_telemetry=False)
        CLIENTS[vdb_name] = chromadb.PersistentClient(path=vdb_name, settings=quiet)
    return CLIENTS[vdb_name]


def get_collection(vdb_name, coll_name):
    space = {"hnsw:space": "cosine"}
    return get_client(vdb_name).get_or_create_collection(name=coll_name, metadata=space)


def list_collection_names(vdb_name):
    return sorted(
        getattr(entry, "name", entry) for entry in get_client(vdb_name).list_collections()
    )


def delete_collection_by_name(vdb_name, coll_name):
    exists = coll_name in list_collection_names(vdb_name)
    if exists:
        get_client(vdb_name).delete_collection(coll_name)
    return exists


def load_pages(collection, pdf_file_path):
    pages = get_pdf_page_embeddings(pdf_file_path)
    collection.upsert(
        ids=[f"{pdf_file_path}-{page['page_number']}" for page in pages],
        documents=[page["text"] for page in pages],
        embeddings=[page["text-embedding"] for page in pages],
        metadatas=[{"file": pdf_file_path, "page_number": page["page_number"]} for page in pages],
    )
    logging.debug(f"Loaded {len(pages)} pages from {pdf_file_path}")


def dump_results(results):
    """Query answers are nested, one list for each question."""
    distances = results.get("distances") or []
    for row, ids in enumerate(results["ids"]):
        for rank, key in enumerate(ids):
            gap = f"{distances[row][rank]:.3f}" if distances else "-"
            print(f"\t{rank + 1}. {key} [{gap}] {results['documents'][row][rank][:60]}")


def describe_folder(vdb_name):
    """Disk usage of a closed database, largest files first; sqlite keeps one, HNSW several."""
    sizes = {entry: entry.stat().st_size for entry in Path(vdb_name).rglob("*") if entry.is_file()}
    for entry, size in sorted(sizes.items(), key=operator.itemgetter(1), reverse=True):
        print(f"{size / 1024:9.1f} KiB  {entry.relative_to(vdb_name)}")
    return sum(sizes.values())


if __name__ == "__main__":
    collection = get_collection("vdb", "scratch")
    load_pages(collection, "user_data/cholas.pdf")
    total = describe_folder("vdb")
    removed = delete_collection_by_name("vdb", "scratch")
    print(f"{total:,} bytes on disk; scratch removed: {'yes' if removed else 'no'}")
