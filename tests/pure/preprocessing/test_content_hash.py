"""The hash of readings is that of their content."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.preprocessing.content_hash import ContentHash
from breezeway.readings.arrow import READINGS, UNREADABLE


def readings(count: int = 50) -> pa.Table:
    rows = range(count)
    columns = [
        pa.array([f"machine-{n % 3}" for n in rows], pa.string()),
        pa.array(np.arange(count)).cast(READINGS.field("time").type),
        pa.array([None if n % 7 == 0 else "é" * (n % 5) for n in rows], pa.string()),
        pa.array([None if n % 2 else n % 3 for n in rows], pa.int64()),
    ]
    return pa.table(columns, schema=READINGS).append_column(
        UNREADABLE, pa.nulls(count, pa.string())
    )


def digest(*blocks: pa.Table) -> str:
    hashed = ContentHash()
    for block in blocks:
        hashed.update(block)
    return hashed.hexdigest()


def test_the_same_blocks_give_the_same_hash():
    table = readings()
    empty = table.slice(0, 0)
    assert digest(empty, pa.concat_tables([table.slice(0, 7), table.slice(7)])) == digest(table)


@pytest.mark.parametrize("column", READINGS.names)
def test_each_column_counts(column):
    table = readings()
    place = READINGS.get_field_index(column)
    turned = table[column].take(pa.array(np.roll(np.arange(len(table)), 1)))
    changed = table.set_column(place, READINGS.field(place), turned)
    assert digest(changed) != digest(table)


def test_null_is_not_empty():
    table = readings()
    payload = table["payload"].combine_chunks().fill_null("")
    assert digest(table.set_column(2, READINGS.field(2), payload)) != digest(table)


def test_what_stands_there_instead_of_a_time_counts():
    table = readings(2).drop_columns(UNREADABLE.name)
    one, other = (
        digest(table.append_column(UNREADABLE, pa.array([text, None]))) for text in ("a", "b")
    )
    assert len({one, other, digest(readings(2))}) == 3
