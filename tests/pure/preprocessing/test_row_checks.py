"""Device, time and label are checked; of readings of one time the first good one stays."""

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from breezeway.contract.contract import Contract
from breezeway.core.settings import Settings
from breezeway.preprocessing.row_checks import Copies, Devices, RowChecks
from breezeway.readings.arrow import READINGS, UNREADABLE


@pytest.fixture
def checks() -> RowChecks:
    text = (Settings.shipped_sensors / "plant.toml").read_text("utf-8")
    return RowChecks(Contract.from_text(text, "plant.toml"))


def block(*rows: tuple[str | None, int | None, int | None]) -> pa.Table:
    """Readings of (device, microsecond, label)."""
    device, time, label = zip(*rows, strict=True)
    columns = [pa.array(device, pa.string()), pa.array(time, pa.int64()).cast(READINGS.types[1])]
    columns += [pa.nulls(len(rows), pa.string()), pa.array(label, pa.int64())]
    return pa.table(columns, schema=READINGS).append_column(
        UNREADABLE, pa.nulls(len(rows), pa.string())
    )


def found(checks: RowChecks, table: pa.Table) -> dict[int, tuple[str, str]]:
    violations = checks.violations(table, Devices.of(table))
    return {row: (v.field, v.reason) for row, v in violations.items()}


def test_what_is_wrong_is_found_by_row(checks):
    table = block(
        ("machine-01", 1, None),
        ("pump", 1, 0),
        ("machine-01", None, 1),
        (None, 1, 1),
        ("machine-01", 2, 2),
    )
    assert found(checks, table) == {
        1: ("device", "unknown_device"),
        2: ("time", "null"),
        3: ("device", "null"),
        4: ("label", "wrong_type"),
    }


def test_a_time_that_cannot_be_read_is_shown(checks):
    table = block(("machine-01", None, None), ("machine-01", 1, None)).drop_columns(UNREADABLE.name)
    table = table.append_column(UNREADABLE, pa.array(["soon", None]))
    assert found(checks, table) == {0: ("time", "unreadable_time")}
    assert str(checks.violations(table, Devices.of(table))[0]).startswith("time: 'soon', expected")


def test_of_several_mistakes_the_device_is_named(checks):
    assert found(checks, block(("pump", 1, 7), (None, None, 7))) == {
        0: ("device", "unknown_device"),
        1: ("device", "null"),
    }


def test_a_time_is_new_once_over_blocks(checks):
    first = Devices(["a", "b"], np.array([0, 0, 0, 1]))
    assert checks.first_of_time(first, np.array([1, 1, 2, 2])).tolist() == [True, False, True, True]
    again = Devices(["b"], np.array([0, 0]))
    assert checks.first_of_time(again, np.array([2, 3])).tolist() == [False, True]
    assert checks.first_of_time(Devices([], np.array([], int)), np.array([], int)).tolist() == []


readings_of_a_time = st.tuples(
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, "", "{}", "\0"]),
    st.sampled_from([None, 0, 1]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(readings_of_a_time, max_size=30), st.integers(1, 7))
def test_copies_are_found_however_the_blocks_are_cut(rows, size):
    rows = sorted(rows, key=lambda row: (row[0] or "", row[1] or 0))
    copies = Copies()
    expected, seen = [], set()
    for row in rows:
        expected.append(row in seen and None not in row[:2])
        seen.add(row)
    table = pa.table(
        [
            pa.array([row[0] for row in rows], pa.string()),
            pa.array([row[1] for row in rows], pa.int64()).cast(READINGS.types[1]),
            pa.array([row[2] for row in rows], pa.string()),
            pa.array([row[3] for row in rows], pa.int64()),
        ],
        schema=READINGS,
    )
    found = [copies.of(table.slice(start, size)) for start in range(0, len(rows), size)]
    assert [bool(value) for each in found for value in each] == expected
