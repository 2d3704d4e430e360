"""Query all pages, log the answers to a file and print a report with the counts."""

import os

from embeddings_utils import get_text_embedding
from log_utils import count_levels, get_logger, quiet_libraries
from vdb_utils import get_collection, load_pages

file_questions = {
    "user_data/cholas.pdf": "Which fleet sailed to Srivijaya?",
    "user_data/pandyas.pdf": "Who dived for pearls at Korkai?",
    "user_data/cheras.pdf": "Which ships carried pepper from Muziris?",
    "user_data/pallavas.pdf": "Who captured Vatapi?",
}


def query_pages(collection, question):
    results = collection.query(
        query_embeddings=[get_text_embedding(question)],
        n_results=1,
        include=["metadatas", "distances"],
    )
    return results["metadatas"][0][0], results["distances"][0][0]


def log_answer(logger, question, pdf_file_path, metadata, distance):
    logger.info(f"Question :{question}")
    if metadata["file"] != pdf_file_path:
        logger.warning(f"Best page is in {metadata['file']}")
    logger.info(f"Page Number :{metadata['page_number']} Distance :{distance:.3f}")


def print_report(log_file_path):
    for level, count in count_levels(log_file_path).items():
        print(f"{level} :{count}")


def main():
    vdb_name = "vdb"
    coll_name = "all_pages"
    log_name = "query_report"

    quiet_libraries()
    logger = get_logger(log_name)
    collection = get_collection(vdb_name, coll_name)
    for pdf_file_path in file_questions:
        load_pages(collection, pdf_file_path)
    for pdf_file_path, question in file_questions.items():
        metadata, distance = query_pages(collection, question)
        log_answer(logger, question, pdf_file_path, metadata, distance)
    print_report(os.path.join("logs", f"{log_name}.log"))


if __name__ == "__main__":
    main()
