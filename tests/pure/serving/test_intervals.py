"""What is told of the times between the readings of a request."""

from datetime import UTC, datetime, timedelta

import pytest

from breezeway.contract.contract import Contract
from breezeway.serving.window import window_of
from tests.fixtures import plant

CONTRACT = Contract.from_text(plant.CONTRACT.format(by="time"), "contract.toml")
"""Of `interval_seconds = 60` and `window = 10`."""
PAYLOAD = '{"env":{"temperature":60},"torque":40}'
START = datetime(2026, 1, 1, tzinfo=UTC)


def told(seconds: list[float], contract: Contract = CONTRACT) -> list[str]:
    times = [(START + timedelta(seconds=second)).isoformat() for second in seconds]
    flags: list[dict] = []
    window_of(contract, "pump-1", [{"time": time, "payload": PAYLOAD} for time in times], flags)
    return [flag["error"] for flag in flags if flag["reason"] == "unusual_interval"]


def test_readings_that_are_far_from_the_claim_are_told():
    [error] = told([10 * number for number in range(10)])
    assert error == "time: the readings are 10 s apart, interval_seconds is 60."
    assert told([600 * number for number in range(5)])


@pytest.mark.parametrize(
    "seconds",
    [
        [60 * number for number in range(10)],
        [40 * number for number in range(10)],
        [*(60 * number for number in range(9)), 90_000],  # a gap is no other interval
        [0, 10, 20, 30],  # too few
    ],
)
def test_usual_readings_are_not_told(seconds):
    assert told(seconds) == []


def test_without_windows_intervals_do_not_matter():
    text = (
        CONTRACT.text.split("[features.rolling]")[0] + "[label]" + CONTRACT.text.split("[label]")[1]
    )
    assert told([10 * n for n in range(10)], Contract.from_text(text, "contract.toml")) == []
