"""Staged readings come back whole and in order, however they came in."""

import tempfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
import pyarrow as pa
from hypothesis import example, given, settings

from breezeway.preprocessing import staging
from breezeway.preprocessing.staging import STAGED, device_counts, sorted_blocks, stage
from breezeway.readings.arrow import READINGS

START = datetime(2026, 1, 1, tzinfo=UTC)
names = st.one_of(st.none(), st.sampled_from(["a", "A", "b", "", "é", "z\0", "machine-1"]))
times = st.one_of(st.none(), st.integers(-3, 3).map(lambda n: START + timedelta(microseconds=n)))
payloads = st.one_of(st.none(), st.sampled_from(["", "{}", '{"a": 1}', "é", "e"]))
labels = st.one_of(st.none(), st.integers(-1, 1))
chunk = st.lists(st.tuples(names, times, payloads, labels), max_size=9)


def nulls_first(row: tuple) -> tuple:
    return tuple((value is not None, value) for value in row)


@settings(max_examples=60, deadline=None)
@given(st.lists(chunk, max_size=4), st.integers(1, 20), st.data())
@example([[], [("a", None, None, None)] * 3], 2, None)
def test_blocks_are_all_rows_in_order(chunks, rows, data):
    tables = [
        pa.table([list(column) for column in zip(*part, strict=True)], schema=READINGS)
        if part
        else READINGS.empty_table()
        for part in chunks
    ]
    everything = [row for part in chunks for row in part]
    devices = sorted({row[0] for row in everything if row[0] is not None})
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(staging, "RUNS_IN_MEMORY", 2),
    ):
        folder = Path(name)
        assert stage(tables, folder) == len(everything)
        counts = device_counts(folder)
        assert list(counts) == devices
        assert counts == {d: sum(row[0] == d for row in everything) for d in devices}
        ends = [0, len(devices)]
        if data is not None and devices:
            cut = data.draw(st.integers(1, len(devices)))
            ends = sorted({0, cut, len(devices)})
        found = []
        for number, (first, last) in enumerate(pairwise(ends)):
            part = devices[first:last]
            bounds = (part[0], part[-1]) if part else (None, None)
            blocks = list(sorted_blocks(folder, *bounds, nameless=number == 0, rows=rows))
            assert all(len(block) == rows for block in blocks[:-1])
            assert all(block.schema == STAGED for block in blocks)
            found += [
                tuple(row.values())
                for block in blocks
                for row in block.select(READINGS.names).to_pylist()
            ]
    assert found == sorted(everything, key=nulls_first)


def test_long_payloads_make_short_blocks_in_the_same_order(monkeypatch, tmp_path):
    monkeypatch.setattr(staging, "BLOCK_BYTES", 100)
    lengths = [250, 10, 40, 0, 60, 99, 1, 100, 50, 51]
    rows = [
        ("a", START, letter * length, 0)
        for letter, length in zip("edcbafghij", lengths, strict=True)
    ]
    rows += [("a", START + timedelta(1), "x" * 80, label) for label in (1, 0, 1)]
    stage([pa.table(list(zip(*rows, strict=True)), schema=READINGS)], tmp_path)
    blocks = list(sorted_blocks(tmp_path, "a", "a", nameless=True, rows=4))
    found = [tuple(row.values()) for block in blocks for row in block.to_pylist()]
    assert [row[:4] for row in found] == sorted(rows)
    assert max(len(block) for block in blocks) <= 4
    for block in blocks:
        assert len(block) == 1 or sum(map(len, block["payload"].to_pylist())) <= 100
