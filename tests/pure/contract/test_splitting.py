"""Payloads that hold several readings, in the forms in which devices and gateways send them."""

import json
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.core.errors import DataError
from tests.fixtures.payloads import HEAD

FLOAT = 'a = { type = "float" }'
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def contract(payload: str, fields: str = FLOAT) -> Contract:
    sections = f'[payload]\nformat = "json"\n{payload}\n[fields]\n{fields}'
    return Contract.from_text(HEAD + sections, "x")


def readings(payload: str, text: str, fields: str = FLOAT) -> list[tuple]:
    """Device, time and values of each; a payload with one of them splits into itself."""
    found = contract(payload, fields)
    assert found.splitter is not None
    told = []
    for sent in found.splitter.split(text):
        assert found.splitter.split(sent.payload) == [sent]
        values = found.parser.parse(sent.payload)
        told.append((sent.device, sent.time and f"{sent.time:%H:%M:%S}", *values.values()))
    return told


@pytest.mark.parametrize(
    ("rules", "field", "text", "expected"),
    [
        (  # OPC UA PubSub
            'readings = "Messages[*]"\ntime_path = "Timestamp"\ndevice_path = "Writer"',
            'path = "Payload.Temp.Value"',
            '{"Messages": [{"Writer": 7, "Timestamp": "2026-01-31T12:00:00Z", "Payload": {"Temp": '
            '{"Value": 1.5}}}, {"Writer": 8, "Timestamp": "2026-01-31T13:00:00+01:00", "Payload": '
            '{"Temp": {"Value": 2}}}]}',
            [("7", "12:00:00", 1.5), ("8", "12:00:00", 2)],
        ),
        (  # a gateway of ThingsBoard
            'readings = "*[*]"\ntime_path = "ts"\ntime_format = "epoch ms"\ndevice_path = "$.*~"',
            'path = "values.t"',
            '{"A": [{"ts": 1769860800000, "values": {"t": 1}}], "B": [{"ts": 1769860801500, '
            '"values": {"t": 2}}, {"ts": 1769860802000, "values": {"t": 3}}]}',
            [("A", "12:00:00", 1), ("B", "12:00:01", 2), ("B", "12:00:02", 3)],
        ),
        (  # a list, or its one element alone
            'readings = "[*]"\ntime_path = "ts"\ntime_format = "epoch ms"',
            'path = "values.t"',
            '{"ts": 1769860800000, "values": {"t": 1}}',
            [(None, "12:00:00", 1)],
        ),
        (  # pairs of time and value, beside their device
            'readings = "v[*]"\ntime_path = "[0]"\ntime_format = "epoch s"\ndevice_path = "$.d.id"',
            'path = "[1]"',
            '{"d": {"id": "p"}, "v": [[1769860800, 1], [1769860860.5, 2]]}',
            [("p", "12:00:00", 1), ("p", "12:01:00", 2)],
        ),
        (  # a value that all readings share
            'readings = "v[*]"',
            'path = "$.site.a"',
            '{"v": [{"x": 1}, {"x": 2}], "site": {"a": 7}}',
            [(None, None, 7), (None, None, 7)],
        ),
        (  # a list at the root, local times of a format of one's own
            'readings = "[*]"\ntime_path = "t"\ntime_format = "%d.%m.%Y %H:%M"\n'
            'time_zone = "Europe/Berlin"',
            "",
            '[{"t": "31.01.2026 13:00", "a": 1}, {"t": "31.07.2026 13:00", "a": 2}]',
            [(None, "12:00:00", 1), (None, "11:00:00", 2)],
        ),
        (  # one reading with its own time and device
            'time_path = "t"\ntime_format = "epoch us"\ndevice_path = "d"',
            "",
            '{"t": "1769860800000000", "d": "p", "a": 1}',
            [("p", "12:00:00", 1)],
        ),
        (  # members of an object, by time
            'readings = "at.*"\ntime_path = "$.at.*~"',
            "",
            '{"at": {"2026-01-31T12:00": {"a": 1}, "2026-01-31T12:01": {"a": 2}}}',
            [(None, "12:00:00", 1), (None, "12:01:00", 2)],
        ),
    ],
)
def test_each_reading_has_its_time_device_and_values(rules, field, text, expected):
    fields = 'a = { type = "float"' + (f", {field}" if field else "") + " }"
    assert readings(rules, text, fields) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not_json"),
        ('{"v": []}', "no_readings"),
        ('{"v": 1}', "no_readings"),
        ('{"w": [{}]}', "no_readings"),
        (None, "null_payload"),
        ('{"v": [' + ",".join(["7"] * 50_000) + '], "big": "' + "x" * 500_000 + '"}', "too_long"),
        ('{"v": [' + "[" * 300 + "]" * 300 + "]}", "not_json"),
    ],
)
def test_what_cannot_be_split_is_told(text, reason):
    splitter = contract('readings = "v[*]"').splitter
    with pytest.raises(Violation) as caught:
        splitter.split(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("value", "rules", "said"),
    [
        ('"noon"', "", "'noon' at 't', expected a time such as 2026-01-31T12:00:00Z"),
        ("20260131", "", "'20260131' at 't', expected a time such as"),
        ('"20260131"', "", "'20260131' at 't', expected a time such as"),
        ("null", "", "nothing at 't', expected a time such as"),
        ("1e999999", 'time_format = "epoch s"', None),
        ('"1e999999"', 'time_format = "epoch s"', "expected a time as 'epoch s'"),
        ("true", 'time_format = "epoch s"', "'True' at 't', expected a time as 'epoch s'"),
        ('"2026-10-25T02:30"', 'time_zone = "Europe/Berlin"', "'2026-10-25T02:30' at 't'"),
        ('"2026-03-29T02:30"', 'time_zone = "Europe/Berlin"', "'2026-03-29T02:30' at 't'"),
        ("9e18", 'time_format = "epoch s"', "expected a time as 'epoch s'"),
    ],
)
def test_a_time_that_is_none_is_told(value, rules, said):
    splitter = contract(f'time_path = "t"\n{rules}').splitter
    text = f'{{"t": {value}, "a": 1}}'
    if said is None:
        with pytest.raises(Violation, match="not JSON"):
            splitter.split(text)
        return
    [sent] = splitter.split(text)
    assert sent.time is None and said in sent.wrong_time


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('readings = "v"', "payload.readings: 'v': expected [*] for each element"),
        ('readings = "v[*"', "payload.readings: 'v[*': no path from '[*' on"),
        ('time_format = "epoch s"', "payload: time_format is for time_path"),
        ('time_path = "t"\ntime_format = "%H:%M"', "has no full date"),
        ('readings = "v[*]"\ntime_path = "$.w[*].t"', "[*] or .* stands elsewhere"),
        ('readings = "v[*]"\ntime_path = "$.v[0].t"', "expected [*] there, as in payload.readings"),
        (
            'readings = "[*]"\nrecords = "[*]"\ntime_path = "t"',
            "expected either readings or records",
        ),
        ('records = "[*]"', "records needs time_path or device_path"),
        ('records = "a[*]"\ntime_path = "t"\nsenml = true', 'senml is for records = "[*]"'),
        ('records = "v[*]"\ntime_path = "$.v[0].t"', "expected [*] there, as in payload.records"),
        ('device_path = "[*].d"', "payload.device_path: '[*].d': [*] is several values"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules, said):
    with pytest.raises(DataError) as caught:
        contract(rules)
    assert said in str(caught.value)


def test_rules_of_readings_are_for_json():
    text = HEAD + '[payload]\nformat = "delimited"\nreadings = "v[*]"\n[fields]\n' + FLOAT
    with pytest.raises(DataError, match='readings is for format = "json"'):
        Contract.from_text(text, "x")


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("avx"), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(json_values)
def test_any_json_is_split_or_told(document):
    of_lists = 'readings = "v[*]"\ntime_path = "t"'
    for rules in (of_lists, 'readings = "[*].v[*]"', 'readings = "*"', 'device_path = "v"'):
        found = contract(rules)
        try:
            several = found.splitter.split(json.dumps(document))
        except Violation as violation:
            assert violation.reason in ("no_readings", "not_json")
            continue
        for sent in several:
            assert found.splitter.split(sent.payload) == [sent]


TAGS = (
    'a = { type = "float", path = "[?@.n==\'a\'].v", invalid = "missing" }\n'
    'b = { type = "float", path = "[?@.n==\'b\'].v", invalid = "missing" }'
)
SENML = 'records = "[*]"\nsenml = true\ntime_path = "t"\ntime_format = "epoch s"'


def test_records_of_one_time_and_device_are_one_reading_in_the_order_of_the_first():
    rules = 'records = "[*]"\ntime_path = "t"\ntime_format = "epoch s"\ndevice_path = "d"'
    sent = [("m", 60, "a", 1), ("m", 0, "b", 2), ("n", 60, "a", 3), ("m", 60, "b", 4)]
    records = [{"d": d, "t": 1769860800 + t, "n": n, "v": v} for d, t, n, v in sent]
    told = readings(rules, json.dumps(records), TAGS)
    assert str(told) == (
        "[('m', '12:01:00', 1.0, 4.0), ('m', '12:00:00', nan, 2.0), ('n', '12:01:00', 3.0, nan)]"
    )


def test_what_stands_beside_records_is_in_each_reading_and_empty_lists_are_left_out():
    rules = 'records = "tags.*[*]"\ntime_path = "t"\ntime_format = "epoch s"'
    fields = (
        'a = { type = "float", path = "$.tags.x[*].v", invalid = "missing" }\n'
        'b = { type = "float", path = "site" }'
    )
    payload = '{"site": 7, "tags": {"x": [{"t": 60, "v": 1}], "y": [{"t": 0, "v": 2}]}}'
    assert (
        str(readings(rules, payload, fields))
        == "[(None, '00:01:00', 1.0, 7.0), (None, '00:00:00', nan, 7.0)]"
    )


def test_two_values_of_a_tag_at_one_time_are_told():
    rules = 'records = "*[*]"\ntime_path = "t"\ntime_format = "epoch s"'
    with pytest.raises(Violation, match=r"a: 2 elements at '\$?.?a\[\*\]"):
        readings(
            rules,
            '{"a": [{"t": 1, "v": 2}, {"t": 1, "v": 3}]}',
            'a = { type = "float", path = "$.a[*].v" }',
        )


def test_base_values_of_senml_hold_until_there_are_others():
    payload = [
        {"bn": "m", "bt": 1769860800, "bv": 20, "bu": "Cel", "n": "a", "v": 1.5},
        {"n": "b", "u": "%RH", "v": 2, "t": 0},
        {"bn": "n", "bt": 1769860860, "bv": 0, "n": "a", "v": 3, "t": -30},
    ]
    told = readings(f'{SENML}\ndevice_path = "bn"', json.dumps(payload), TAGS)
    assert str(told) == "[('m', '12:00:00', 21.5, 22.0), ('n', '12:00:30', 3.0, nan)]"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ('[{"n": "a", "t": -5, "v": 1}]', "t = -5 is a time from when the message comes"),
        ('[{"bt": 5, "n": "a", "v": 1}]', "t = 5 is a time from when the message comes"),
        ('[{"bt": "x", "n": "a", "v": 1}]', "bt or t = 'x', expected a number"),
        ('{"n": "a", "v": 1}', "expected a list of SenML records"),
        ("[1]", "expected a list of SenML records"),
    ],
)
def test_senml_that_has_no_time_or_is_none_is_told(payload, said):
    with pytest.raises(Violation, match=said):
        readings(SENML, payload, TAGS)
