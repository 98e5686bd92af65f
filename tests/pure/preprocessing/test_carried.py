"""The last known value, block by block."""

import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from breezeway.preprocessing.carried import CarriedForward
from breezeway.preprocessing.row_checks import Devices
from tests.fixtures.meaning import of_history
from tests.fixtures.payloads import HEAD

AGE = 5
CONTRACT = SimpleNamespace(carried={"a": timedelta(microseconds=AGE)})
devices = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([math.nan, 1.0, 2.0])), max_size=8),
    min_size=1,
    max_size=4,
)


def one_by_one(rows: list[tuple[str, int, float]]) -> list[float]:
    known: dict[str, tuple[int, float]] = {}
    filled = []
    for device, time, value in rows:
        if not math.isnan(value):
            known[device] = (time, value)
        at, last = known.get(device, (-math.inf, math.nan))
        filled.append(last if time - at <= AGE else math.nan)
    return filled


@settings(deadline=None)
@given(devices, st.integers(1, 5))
@example([[(1, 1.0)], [(1, math.nan)]], 5)
@example([[(1, 1.0), (1, math.nan), (1, math.nan)]], 1)
@example([[(1, 1.0), (4, math.nan), (4, math.nan)], [(1, math.nan)]], 2)
def test_blocks_are_filled_as_readings_one_by_one(of_devices, size):
    rows = []
    for number, steps in enumerate(of_devices):
        time = 0
        for step, value in steps:
            time += step
            rows.append((f"pump-{number}", time, value))
    carried, filled = CarriedForward(CONTRACT), []
    for start in range(0, len(rows), size):
        names, times, values = zip(*rows[start : start + size], strict=True)
        known = sorted(set(names))
        codes = np.array([known.index(name) for name in names])
        block = {"a": np.array(values)}
        filled += carried.fill(Devices(known, codes), np.array(times), block)["a"].tolist()
    assert repr(filled) == repr(one_by_one(rows))


def test_what_is_carried_is_counted_apart_from_what_is_missing():
    contract = Contract.from_text(
        HEAD
        + '[payload]\nformat = "json"\n[fields]\n'
        + 'a = { type = "float", range = [0, 9], invalid = "missing", carry_forward_seconds = 3 }',
        "x",
    )
    sent = ['{"a":1}', "{}", '{"a":null}', '{"a":99}', "{}", '{"a":2}', "{}"]
    rows = [("m", datetime(2026, 1, 1, second=n, tzinfo=UTC), text) for n, text in enumerate(sent)]
    features, manifest = of_history(contract, rows)
    assert [value for [value] in features.values()][:4] == [1, 1, 1, 1]
    assert math.isnan(list(features.values())[4][0])
    assert manifest.carried == {"a": 4}
    assert manifest.missing == {"a.missing": 1}
    _, manifest = of_history(contract, rows, since=rows[3][1])
    assert (manifest.carried, manifest.missing) == ({"a": 2}, {"a.missing": 1})
    assert "carried" not in of_history(contract, rows[:1])[1].model_dump()
