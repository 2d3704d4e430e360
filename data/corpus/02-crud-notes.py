"""Create, read, update and delete a handful of short notes about old ports and temples.

Every note becomes one record: an identifier, some words, a vector and two labels.
"""

import logging

import chromadb

from embeddings_utils import get_text_embedding, get_text_embeddings

logging.basicConfig(level=logging.DEBUG)

notes = {
    "kaveri": "The river Kaveri waters the rice fields around Thanjavur.",
    "muziris": "Ships carried pepper from Muziris across the western sea.",
    "korkai": "Divers at Korkai brought up pearls for distant markets.",
    "kanchi": "Weavers of Kanchi still make heavy silk with gold borders.",
}


def create_notes(collection):
    texts = list(notes.values())
    collection.add(
        ids=list(notes.keys()),
        documents=texts,
        embeddings=get_text_embeddings(texts),
        metadatas=[{"kind": "note", "words": len(text.split())} for text in texts],
    )
    logging.debug(f"Created {len(texts)} notes")


def read_notes(collection):
    results = collection.get(include=["documents", "metadatas"])
    for note_id, text in zip(results["ids"], results["documents"]):
        print(f"{note_id} :{text}")


def update_note(collection, note_id, text):
    collection.update(
        ids=[note_id],
        documents=[text],
        embeddings=[get_text_embedding(text)],
    )
    logging.debug(f"Updated {note_id}")


def delete_note(collection, note_id):
    collection.delete(ids=[note_id])
    logging.debug(f"Deleted {note_id}")


def main():
    client = chromadb.PersistentClient(path="vdb")
    collection = client.get_or_create_collection(name="notes")

    create_notes(collection)
    read_notes(collection)
    update_note(collection, "kanchi", "Weavers of Kanchi make silk for weddings.")
    delete_note(collection, "korkai")
    read_notes(collection)


if __name__ == "__main__":
    main()
