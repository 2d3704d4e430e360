"""A folder of records may be somebody else's, signed as its author likes."""

import json
import tracemalloc
from hashlib import sha256

import pytest

from slmlab import DataError
from slmlab.study.experiments import tables
from slmlab.study.experiments.counting import COUNTING

HEAD = ",".join(COUNTING.columns) + "\n"
ROW = "1000,0,5,0,1.0,1.0,1.0,1.0\n"


def forge(folder, table, **described):
    table = table.encode()
    made = {"environments": [], "sha256": sha256(table).hexdigest()} | described
    (folder / "counting.csv").write_bytes(table)
    (folder / "counting.json").write_text(json.dumps(tables._origin(COUNTING) | made))


def refused(folder):
    """The sentence with which a table is refused, and how many bytes that took."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as told:
            tables.read_rows(COUNTING, folder)
        return str(told.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_table_itself_is_read(tmp_path):
    forge(tmp_path, HEAD + ROW * 2)
    assert len(tables.read_rows(COUNTING, tmp_path)) == 2


FLOODS = {
    "blank lines": HEAD + "\n" * 3_000_000,
    "commas": "," * 3_000_000,
    "commas below the head": HEAD + "," * 3_000_000,
    "a row over many lines": HEAD + '1,"\n",' * 500_000,
    "a long field": HEAD + "9" * 3_000_000,
    "one field of all lines": HEAD + '"' + "a\n" * 1_500_000,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_forged_table_takes_little_memory_before_it_is_refused(tmp_path, kind):
    forge(tmp_path, FLOODS[kind])
    sentence, taken = refused(tmp_path)
    assert "is not the table of this experiment" in sentence
    assert taken < 3 * 3_500_000  # the file, and a little


def test_a_table_has_a_hundred_thousand_lines_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_LINES", 3)
    forge(tmp_path, HEAD + ROW * 2)
    assert len(tables.read_rows(COUNTING, tmp_path)) == 2
    forge(tmp_path, HEAD + ROW * 3)
    assert "it has more than 3 lines" in refused(tmp_path)[0]


FORGED = ["\x1b[31mEVIL" + "x" * 9_000, "−1", "1e5x"]
KINDS = enumerate(COUNTING.columns.values())


@pytest.mark.parametrize(
    ("column", "value"),
    [(i, v) for i, kind in KINDS for v in FORGED + ([] if kind is float else ["9" * 5_000, ""])],
)
def test_a_forged_value_is_told_in_a_short_sentence(tmp_path, column, value):
    values = ROW.strip().split(",")
    values[column] = value
    forge(tmp_path, HEAD + ",".join(values) + "\n")
    sentence, _ = refused(tmp_path)
    assert len(sentence) < 500 + len(str(tmp_path)) and "\x1b" not in sentence


@pytest.mark.parametrize("environments", [[{}] * 300_000, [{}] * 1_001, [{"a": "b" * 1_000_000}]])
def test_a_flood_of_environments_is_refused(tmp_path, environments):
    forge(tmp_path, HEAD + ROW, environments=environments)
    sentence, taken = refused(tmp_path)
    assert "does not describe a recorded table" in sentence and taken < 40_000_000


def test_more_environments_than_are_read_are_not_written(tmp_path):
    tables.write_table(COUNTING, tmp_path, [], [{"cpu": n} for n in range(1_001)])
    assert tables.read_rows(COUNTING, tmp_path) == []
