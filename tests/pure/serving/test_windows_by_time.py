"""A window by time has the same readings in history and in a request, whatever came when."""

import json
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from breezeway.contract.features import latest_features
from breezeway.serving.refusal import Refusal
from breezeway.serving.window import window_of
from tests.fixtures.meaning import of_history

START = datetime(2026, 1, 1, tzinfo=UTC)
CONTRACT = Contract.from_text(
    """
name = "pump"
interval_seconds = 60
payload = { format = "json" }
label = { column = "label" }
split = { by = "time" }
[features]
window = 6
max_gap_seconds = 240
rate_per = "second"
reading = { temperature = "temperature", pressure = "pressure" }
[features.rolling]
temperature = ["mean:3min", "slope:5min", "lag:100s", "mean:2"]
pressure = ["max:1min", "median:4min", "zscore:5min:1min", "std:270s"]
[fields.temperature]
type = "float"
range = [-20, 150]
[fields.pressure]
type = "float"
invalid = "missing"
""",
    "by time",
)


def features_of(readings: list[tuple[datetime, str]]) -> np.ndarray:
    sent = [{"time": time.isoformat(), "payload": payload} for time, payload in readings]
    return latest_features(CONTRACT, *window_of(CONTRACT, "pump-1", sent, []))[0]


@settings(max_examples=5, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from([20.25, 21.0, 33.5, -99.0, "hot"]),
            st.sampled_from([1.5, None, 2.5, 7.25]),
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(0, 40),
)
@example([(0, 20.25, 1.5), (9, 21.0, None), (3, 33.5, 2.5), (9, 20.25, 1.5), (12, 21.0, 2.5)], 9)
@example([(n, 20.25 + n, 1.5 * n) for n in range(25)], 12)
@example([(n, 20.25 + n, 1.5 * n) for n in (0, 12, 24, 37, 38, 40)], 0)
def test_windows_by_time_are_the_same_in_both(arrived, lead_in):
    """Of irregular readings, some late, doubled, missing or bad, with gaps and in bursts."""
    times = [START + timedelta(seconds=20 * step) for step, *_ in arrived]
    texts = [json.dumps({"temperature": a, "pressure": b}) for _, a, b in arrived]
    rows = [("pump-1", time, text) for time, text in zip(times, texts, strict=True)]
    found, _ = of_history(CONTRACT, rows)
    for last in range(len(rows)):
        # What arrives later may still be earlier; a request of that time knows it then.
        earlier = [row for n, row in enumerate(rows) if row[1] <= times[last] and n != last]
        sent = [(time, text) for _, time, text in [*earlier, rows[last]]]
        if isinstance(arrived[last][1], str) or arrived[last][1] < -20:
            with pytest.raises(Refusal):
                features_of(sent)
        elif not any(time == times[last] for time in times[last + 1 :]):
            row = features_of(sent)
            assert row.tobytes() == np.array(found["pump-1", times[last]]).tobytes()
    since = START + timedelta(seconds=20 * lead_in)
    later, _ = of_history(CONTRACT, rows, since)
    assert repr(later) == repr({key: found[key] for key in found if key[1] >= since})


def test_a_request_that_does_not_reach_back_the_time_of_a_window_says_so():
    def flags_of(minutes: list[float]) -> list[str]:
        flags: list = []
        sent = [
            {
                "time": (START + timedelta(minutes=minute)).isoformat(),
                "payload": '{"temperature": 50, "pressure": 2}',
            }
            for minute in minutes
        ]
        window_of(CONTRACT, "pump-1", sent, flags)
        return [flag["reason"] for flag in flags]

    assert flags_of([1, 2, 3, 4, 5, 6]) == []
    assert flags_of([3, 4, 5, 6]) == ["short_window"]
