"""One rotating log per script; noisy third-party loggers are lowered to WARNING."""

import logging.handlers
import sys
from pathlib import Path

NOISY = ("chromadb", "pypdf")
LAYOUT = "%(asctime)s %(levelname)-8s %(name)s %(message)s"


def get_logger(name, folder="logs", limit=100_000):
    target = Path(folder).resolve() / f"{name}.log"
    target.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = logging.handlers.RotatingFileHandler(target, maxBytes=limit, backupCount=2)
        handler.setFormatter(logging.Formatter(LAYOUT, datefmt="%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return logger


def quiet_libraries():
    for library in NOISY:
        logging.getLogger(library).setLevel(logging.WARNING)


def count_levels(log_file_path):
    tally = dict.fromkeys(("DEBUG", "INFO", "WARNING", "ERROR"), 0)
    with open(log_file_path) as log_file:
        for line in log_file:
            level = line.split()[1]
            if level in tally:
                tally[level] += 1
    return tally


if __name__ == "__main__":
    quiet_libraries()
    get_logger("smoke").info("started by %s", Path(sys.argv[0]).name)
    print(count_levels("logs/smoke.log"))
