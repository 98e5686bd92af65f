"""Payloads with several readings, and values that are carried, mean the same in both engines."""

import json
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from breezeway.contract.features import latest_features
from breezeway.core.settings import Settings
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.arrow import READINGS
from breezeway.serving.refusal import Refusal
from breezeway.serving.window import window_of
from tests.fixtures.meaning import of_history

START = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = """
name = "pump"
interval_seconds = 60
device_pattern = "pump-[0-9]+"
label = { column = "label" }
alarm = { false_episodes_per_day = 1 }
split = { by = "time" }
[features]
window = 4
max_gap_seconds = 240
reading = { temperature = "temperature", pressure = "pressure" }
rolling = { temperature = ["mean", "slope", "diff"], pressure = ["last", "max"] }
[fields.temperature]
type = "float"
range = [-20, 150]
"""
SEVERAL = Contract.from_text(
    HEAD
    + """
[fields.pressure]
type = "float"
invalid = "missing"
[payload]
format = "json"
readings = "sent[*]"
time_path = "at"
time_format = "epoch ms"
device_path = "pump"
""",
    "several",
)
PLAIN = Contract.from_text(
    SEVERAL.text[: SEVERAL.text.index("[payload]")] + '[payload]\nformat = "json"', "plain"
)
CARRIED = Contract.from_text(
    PLAIN.text.replace(
        'type = "float"\nrange', 'type = "float"\ninvalid = "missing"\nrange'
    ).replace('invalid = "missing"', 'invalid = "missing"\ncarry_forward_seconds = 150'),
    "carried",
)

Message = tuple[int, int, float, float | None]
"""Pump, minute, temperature and pressure."""
messages = st.tuples(
    st.integers(1, 2),
    st.integers(0, 9),
    st.sampled_from([20.25, 30.0, 150.5, -7.125]),
    st.sampled_from([1.5, 2.75, None]),
)


def values_of(message: Message) -> dict[str, float | None]:
    return {"temperature": message[2], "pressure": message[3]}


def as_several(group: list[Message]) -> str:
    sent = [
        {
            "at": int((START + timedelta(minutes=message[1])).timestamp() * 1000),
            "pump": f"pump-{message[0]}",
            **values_of(message),
        }
        for message in group
    ]
    return json.dumps({"gateway": 7, "sent": sent})


def features_of(contract: Contract, device: str, readings: list[tuple[str, str]]) -> np.ndarray:
    sent = [{"time": time, "payload": payload} for time, payload in readings]
    return latest_features(contract, *window_of(contract, device, sent, []))[0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(messages, min_size=1, max_size=5), min_size=1, max_size=5))
@example([[(1, 1, 20.25, 1.5), (1, 1, 30.0, 1.5)], [(2, 3, 30.0, None), (1, 0, 20.25, None)]])
def test_readings_sent_together_mean_what_they_mean_alone(groups):
    rows = [("gateway", START, as_several(group)) for group in groups]
    found, manifest = of_history(SEVERAL, rows)
    assert manifest.raw.payloads == len(groups)
    assert manifest.raw.rows == sum(map(len, groups))
    # Of one payload, those of one time are taken in the order of their text.
    alone = [
        (f"pump-{m[0]}", START + timedelta(minutes=m[1]), json.dumps(values_of(m)))
        for group in groups
        for m in sorted(group, key=lambda m: json.dumps(values_of(m)), reverse=True)
    ]
    expected, plain = of_history(PLAIN, alone)
    assert repr(found) == repr(expected)
    assert (manifest.quarantined, manifest.copies) == (plain.quarantined, plain.copies)
    last = {f"pump-{m[0]}" for m in groups[-1]}
    for device in sorted(last):
        sent = [("never", as_several(group)) for group in groups]
        minute = max(m[1] for m in groups[-1] if f"pump-{m[0]}" == device)
        of_last = [m for m in groups[-1] if (f"pump-{m[0]}", m[1]) == (device, minute)]
        if all(m[2] > 150 for m in of_last):
            with pytest.raises(Refusal, match="outside"):
                features_of(SEVERAL, device, sent)
            continue
        row = features_of(SEVERAL, device, sent)
        wanted = found[device, START + timedelta(minutes=minute)]
        assert row.tobytes() == np.array(wanted).tobytes()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.sampled_from([20.25, None, -99.0, "hot"]),
            st.sampled_from([1.5, None, 2.5]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 12),
)
@example([(0, 20.25, 1.5), (1, None, None), (2, None, None), (3, None, 2.5)], 0)
@example([(0, 20.25, 1.5), (5, None, 2.5), (6, -99.0, None), (8, None, None)], 6)
def test_a_carried_value_is_the_same_in_both(arrived, lead_in):
    texts = [json.dumps({"temperature": a, "pressure": b}) for _, a, b in arrived]
    times = [START + timedelta(minutes=minute) for minute, *_ in arrived]
    rows = [("pump-1", time, text) for time, text in zip(times, texts, strict=True)]
    found, _ = of_history(CARRIED, rows)
    sent = [(time.isoformat(), text) for time, text in zip(times, texts, strict=True)]
    row = features_of(CARRIED, "pump-1", sent)
    assert row.tobytes() == np.array(found["pump-1", times[-1]]).tobytes()
    since = START + timedelta(minutes=lead_in)
    later, _ = of_history(CARRIED, rows, since)
    assert later.keys() == {key for key in found if key[1] >= since}
    assert repr(later) == repr({key: found[key] for key in later})


def test_a_value_is_carried_until_it_is_too_old():
    sent = [(0, '{"temperature": 50, "pressure": 2}'), (1, '{"pressure": 3}'), (3, "{}"), (4, "{}")]
    rows = [("pump-1", START + timedelta(minutes=m), text) for m, text in sent]
    found, _ = of_history(CARRIED, rows)
    readings = [[None if x != x else x for x in row[:2]] for row in found.values()]
    assert readings == [[50, 2], [50, 3], [None, 3], [None, None]]


def test_what_is_carried_is_no_flag_and_what_is_not_is_one():
    flags: list = []
    sent = [(0, '{"temperature": 50}'), (1, '{"pressure": 3}'), (3, '{"pressure": 4}')]
    readings = [
        {"time": (START + timedelta(minutes=m)).isoformat(), "payload": text} for m, text in sent
    ]
    window_of(CARRIED, "pump-1", readings, flags)
    told = [(flag.get("reading"), flag["field"]) for flag in flags]
    assert told == [(0, "pressure"), (2, "temperature"), (None, "readings")]


def test_a_payload_without_a_reading_of_the_device_is_refused():
    with pytest.raises(Refusal, match="no reading of 'pump-9'") as refused:
        features_of(SEVERAL, "pump-9", [("never", as_several([(1, 1, 20.25, 1.5)]))])
    assert refused.value.body["reading"] == 0


def test_a_flag_tells_which_reading_of_a_payload_is_meant():
    flags: list = []
    text = as_several([(1, 1, 999.0, 1.5), (1, 2, 20.25, 1.5)])
    broken = text.replace("[", '[{"at": "noon", "pump": "pump-1", "temperature": 1},')
    sent = [{"time": "x", "payload": p} for p in ("{", '{"sent": []}', broken)]
    window_of(SEVERAL, "pump-1", sent, flags)
    told = [(f.get("reading"), f["reason"], f.get("time")) for f in flags]
    assert told == [
        (0, "not_json", None),
        (1, "no_readings", None),
        (2, "wrong_type", None),
        (2, "out_of_range", "2026-01-01T00:01:00.000000Z"),
        (None, "short_window", None),
    ]
    assert "expected a time as 'epoch ms'" in flags[2]["error"]


@pytest.mark.parametrize("contract", [CARRIED, SEVERAL])
def test_the_examples_of_a_dataset_give_their_features(contract, tmp_path):
    rows = []
    for minute in range(30):
        pressure = None if minute % 3 else 1.5
        several = [(1, minute, 20.25 + minute, pressure), (2, minute, 30.0, 2.75)]
        if contract is SEVERAL:
            rows.append(("gateway", minute, as_several(several)))
        else:
            rows += [(f"pump-{m[0]}", minute, json.dumps(values_of(m))) for m in several]
    devices, minutes, payloads = zip(*rows, strict=True)
    times = [START + timedelta(minutes=minute) for minute in minutes]
    columns = [pa.array(times, READINGS.field("time").type), pa.array(payloads)]
    label = pa.nulls(len(rows), pa.int64())
    table = pa.table([pa.array(devices), *columns, label], schema=READINGS)
    folder = tmp_path / "dataset"
    folder.mkdir()
    make_dataset([table], DatasetSpec(contract, "test"), folder, Settings())
    examples = json.loads((folder / "examples.json").read_text())
    assert [each["device"] for each in examples] == ["pump-1", "pump-2"]
    for each in examples:
        sent = [(reading["time"], reading["payload"]) for reading in each["readings"]]
        row = features_of(contract, each["device"], sent)
        assert [None if x != x else x for x in row.tolist()] == each["features"]
    # Two more than a window may have the value that is carried into it.
    assert len(examples[0]["readings"]) == (6 if contract is CARRIED else 4)
