"""Answer questions from a JSON file and save the best pages to another JSON file."""

import json
import logging
import os

from embeddings_utils import get_text_embedding, trim_data
from vdb_utils import get_collection, load_pages

logging.basicConfig(level=logging.DEBUG)

questions = [
    "Which king built the great temple?",
    "Which river waters the fields?",
    "Who painted the caves?",
]


def save_to_json(value, json_file_path):
    os.makedirs(os.path.dirname(json_file_path), exist_ok=True)
    with open(json_file_path, "w") as json_file:
        json.dump(value, json_file, indent=2)
    logging.debug(f"Saved {len(value)} entries to {json_file_path}")


def load_from_json(json_file_path):
    with open(json_file_path) as json_file:
        return json.load(json_file)


def get_answer(collection, question):
    results = collection.query(
        query_embeddings=[get_text_embedding(question)],
        n_results=1,
        include=["documents", "metadatas", "distances"],
    )
    return {
        "question": question,
        "file": results["metadatas"][0][0]["file"],
        "page_number": results["metadatas"][0][0]["page_number"],
        "text": results["documents"][0][0],
        "distance": results["distances"][0][0],
    }


def print_answers(answers):
    for answer in answers:
        print(f"Question :{answer['question']}")
        print(f"\tFile :{answer['file']}")
        print(f"\tPage Number :{answer['page_number']}")
        print(f"\tPage Text :{trim_data(answer['text'])}")


def main():
    vdb_name = "vdb"
    coll_name = "answer_pages"
    questions_file_path = "out/questions.json"
    answers_file_path = "out/answers.json"

    collection = get_collection(vdb_name, coll_name)
    for pdf_file_path in ["user_data/cholas.pdf", "user_data/pallavas.pdf"]:
        load_pages(collection, pdf_file_path)
    save_to_json(questions, questions_file_path)
    answers = [get_answer(collection, q) for q in load_from_json(questions_file_path)]
    save_to_json(answers, answers_file_path)
    print_answers(load_from_json(answers_file_path))


if __name__ == "__main__":
    main()
