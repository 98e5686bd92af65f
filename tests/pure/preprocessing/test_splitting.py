"""Rows become readings piece by piece."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.contract import Contract
from breezeway.preprocessing.splitting import PIECE_BYTES, SplitRows
from breezeway.readings.arrow import READINGS, UNREADABLE
from tests.fixtures.payloads import HEAD

CONTRACT = Contract.from_text(
    HEAD + '[payload]\nformat = "json"\nreadings = "v[*]"\n[fields]\na = { type = "float" }', "x"
)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def rows(payloads: list[str | None]) -> pa.Table:
    count = len(payloads)
    return pa.table([["m"] * count, [NOON] * count, payloads, [1] * count], schema=READINGS)


def split(*chunks: pa.Table, since: datetime | None = None) -> list[pa.Table]:
    return list(SplitRows(chunks, CONTRACT, CONTRACT.splitter, since))


def test_a_chunk_whose_readings_are_far_larger_is_passed_on_in_pieces():
    beside = "x" * 10_000  # is in each reading
    sent = json.dumps({"v": [{"a": n} for n in range(1000)], "beside": beside})
    pieces = split(rows([sent] * 6))
    assert sum(map(len, pieces)) == 6000
    assert max(piece.nbytes for piece in pieces) < 2 * PIECE_BYTES < 6000 * len(beside)
    found = [json.loads(text)["v"][0]["a"] for text in pieces[-1]["payload"].to_pylist()]
    assert found[-1000:] == list(range(1000))


def test_what_stands_instead_of_a_time_is_told_and_else_nothing():
    chunk = rows(['{"v":[{"a":1},{"a":2}]}', "{"])
    [table] = split(chunk, since=NOON)
    assert table["payload"].to_pylist() == ['{"v":[{"a":1}]}', '{"v":[{"a":2}]}', "{"]
    assert table[UNREADABLE.name].null_count == 3 and table["time"].to_pylist() == [NOON] * 3
    text = pa.array([None, "noon"], pa.string())
    [table] = split(chunk.append_column(UNREADABLE, text), since=NOON)
    assert table[UNREADABLE.name].to_pylist()[:2] == [None, None]
    assert "'noon', expected" in table[UNREADABLE.name].to_pylist()[2]


def test_of_no_rows_there_is_a_table_without_rows():
    [table] = split(rows([]))
    assert len(table) == 0 and pc.count(table["device"]).as_py() == 0
