"""What is recorded of a device is its last whole window, and the last one in an event."""

import numpy as np
import pyarrow as pa

from breezeway.preprocessing.examples import EXAMPLE_DEVICES, Examples, example_devices

WINDOW = 3


def recorded(label: list[int], is_continued: bool = False, first: int = 0) -> list[dict]:
    """Examples of readings, one a minute, each with its number as payload and as its feature."""
    numbers = np.arange(first, first + len(label))
    block = pa.table(
        {
            "time": pa.array(numbers * 60_000_000).cast(pa.timestamp("us", "UTC")),
            "payload": [str(number) for number in numbers],
        }
    )
    examples = Examples(WINDOW, ["a"])
    examples.record(
        "a",
        block,
        np.arange(len(label)),
        pa.array(label, pa.int8()),
        numbers[:, None].astype(float),
        is_continued=is_continued,
    )
    return examples.in_order()


def payloads(examples: list[dict]) -> list[list[str]]:
    return [[reading["payload"] for reading in example["readings"]] for example in examples]


def test_the_last_window_and_the_last_in_an_event():
    found = recorded([0, 1, 1, 0, 0])
    assert payloads(found) == [["0", "1", "2"], ["2", "3", "4"]]
    assert [example["features"] for example in found] == [[2.0], [4.0]]
    assert found[0]["readings"][0]["time"] == "1970-01-01T00:00:00Z"


def test_a_device_with_fewer_readings_than_a_window_has_them_all():
    assert payloads(recorded([0, 0])) == [["0", "1"]]


def test_a_window_that_an_earlier_block_began_is_left_out():
    assert payloads(recorded([1, 0, 0], is_continued=True)) == [["0", "1", "2"]]
    assert recorded([1, 0], is_continued=True) == []


def test_some_devices_are_enough():
    names = [f"{n:04}" for n in range(1000)]
    assert len(example_devices(names)) <= EXAMPLE_DEVICES
    assert example_devices(names[:EXAMPLE_DEVICES]) == names[:EXAMPLE_DEVICES]
    assert example_devices([]) == []
