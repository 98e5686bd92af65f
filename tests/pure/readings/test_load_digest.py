"""A file's digest tells readings apart, and nothing else."""

import pyarrow as pa

from breezeway.readings.arrow import READINGS
from breezeway.readings.file_loads import _Digest

ROWS = [
    {"device": "a", "time": 1, "payload": "xy", "label": None},
    {"device": "ab", "time": 2, "payload": None, "label": 0},
    {"device": "ab", "time": 3, "payload": "", "label": 1},
    {"device": "c", "time": 4, "payload": "z", "label": 1},
]


def digest(rows, *sizes) -> str:
    table = pa.Table.from_pylist(rows, READINGS)
    found, begin = _Digest(), 0
    for size in (*sizes, len(rows)):
        found.update(table.slice(begin, size))
        begin += size
    return found.hexdigest()


def test_it_is_the_same_in_whichever_pieces_readings_come():
    assert len({digest(ROWS), digest(ROWS, 1), digest(ROWS, 3, 0), digest(ROWS, 1, 1, 1)}) == 1


def test_each_value_is_part_of_it():
    changed = [
        ROWS[::-1],
        ROWS[:3],
        [{**ROWS[0], "device": "aa", "payload": "y"}, *ROWS[1:]],
        [{**ROWS[0], "device": "aab"}, {**ROWS[1], "device": ""}, *ROWS[2:]],
        [{**ROWS[0], "time": 2}, *ROWS[1:]],
        [{**ROWS[0], "label": 0}, *ROWS[1:]],
        [ROWS[0], {**ROWS[1], "payload": ""}, *ROWS[2:]],
        [ROWS[0], {**ROWS[1], "label": None}, *ROWS[2:]],
    ]
    assert len({digest(rows) for rows in (ROWS, *changed)}) == 1 + len(changed)
