"""What a payload says of the quality of its values: good, or not to be counted."""

from datetime import UTC, datetime

import orjson
import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.parser import ReadingParser
from breezeway.contract.values import Violation
from breezeway.core.errors import DataError
from breezeway.readings.file_loads import try_out
from breezeway.serving.window import window_of
from tests.fixtures.payloads import HEAD, assert_same, parser_of

NAN = float("nan")


def contract(
    quality: str, more: str = "", payload: str = 'format = "json"', a: str = ""
) -> Contract:
    fields = (
        f'[fields.a]\ntype = "float"\ninvalid = "missing"\n{a}\nquality = {{ {quality} }}\n{more}'
    )
    return Contract.from_text(f"{HEAD}\n[payload]\n{payload}\n{fields}", "x")


OPCUA = 'path = "T.StatusCode", good_values = [0, "Good"], required = false'
VERBOSE = 'path = "T.StatusCode.Code", good_values = [0], required = false'
KINDS = {
    "a status that is left out if it is good": (
        (OPCUA, "", 'format = "json"', 'path = "T.Value"'),
        {
            '{"T":{"Value":4.2}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":0}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":null}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":"good"}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":"BadSensorFailure"}}': NAN,
            '{"T":{"Value":4.2,"StatusCode":2150891520}}': NAN,
            '{"T":{"Value":4.2,"StatusCode":{"Code":0}}}': NAN,
            '{"T":{"Value":4.2,"StatusCode":[]}}': NAN,
        },
    ),
    "a status with its symbol": (
        (VERBOSE, "", 'format = "json"', 'path = "T.Value"'),
        {
            '{"T":{"Value":4.2}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":null}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":{}}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":{"Code":0,"Symbol":"Good"}}}': 4.2,
            '{"T":{"Value":4.2,"StatusCode":{"Code":2150891520,"Symbol":"Bad"}}}': NAN,
            '{"T":{"Value":4.2,"StatusCode":2150891520}}': NAN,
            '{"T":{"Value":4.2,"StatusCode":"Bad"}}': NAN,
        },
    ),
    "a number of OPC DA": (
        ('path = "q", good_values = [192, 216]',),
        {
            **{'{"a":1,"q":192}': 1, '{"a":1,"q":"192"}': 1, '{"a":1,"q":216.0}': 1},
            **{'{"a":1,"q":0}': NAN, '{"a":1}': NAN, '{"a":1,"q":null}': NAN},
            **{'{"a":1,"q":true}': NAN, '{"a":1,"q":"good"}': NAN, '{"a":null,"q":192}': NAN},
            **{'{"q":192}': NAN, '{"q":0}': NAN},
        },
    ),
    "true or false": (
        ('path = "valid", good_values = [true]',),
        {
            **{'{"a":1,"valid":true}': 1, '{"a":1,"valid":"TRUE"}': 1},
            **{'{"a":1,"valid":false}': NAN, '{"a":1,"valid":1}': NAN, '{"a":1,"valid":"1"}': NAN},
        },
    ),
    "in a list": (
        (
            "path = \"m[?@.n=='T'].q\", good_values = [192], required = false", "",
            'format = "json"', "path = \"m[?@.n=='T'].v\"",
        ),
        {
            '{"m":[{"n":"T","v":1}]}': 1,
            '{"m":[{"n":"T","v":1,"q":192}]}': 1,
            '{"m":[{"n":"T","v":1,"q":0},{"n":"P","q":192}]}': NAN,
            '{"m":[{"n":"P","q":192}]}': NAN,
        },
    ),
    "another field of text with separators": (
        (
            'path = "state", good_values = ["ok"]',
            '[fields.state]\ntype = "category"\ncategories = ["OK", "FAIL"]',
            'format = "delimited"',
        ),
        {"21.5;OK": 21.5, "21.5; OK ": 21.5, "21.5;FAIL": NAN, ";OK": NAN},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_counts_only_while_its_quality_is_good(kind):
    rules, expected = KINDS[kind]
    found = contract(*rules)
    for payload, value in expected.items():
        assert str(found.parser.parse(payload)["a"]) == str(float(value)), payload
    assert_same(found, list(expected))
    assert_same(found, list(expected) * 2)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "text" not in kind])
def test_good_values_are_read_by_columns(monkeypatch, kind):
    rules, expected = KINDS[kind]
    payloads = [text for text, value in expected.items() if value == value]
    # What is null on the way to a quality, the slow way reads.
    payloads = [
        text for text in payloads if kind != "a status with its symbol" or "null" not in text
    ]
    monkeypatch.setattr(ReadingParser, "parse", lambda *_: pytest.fail("the slow way was taken"))
    assert parser_of(contract(*rules).text).parse(pa.array(payloads)).good.all()


def test_a_reading_with_a_bad_value_may_be_rejected_and_is_told():
    found = contract('path = "q", good_values = [192, "Good"]')
    found = Contract.from_text(found.text.replace('"missing"', '"reject"'), "x")
    with pytest.raises(Violation) as caught:
        found.parser.parse('{"a":1,"q":"Bad"}')
    assert caught.value.reason == "bad_quality"
    assert f"{caught.value}" == "a: its quality at 'q': 'Bad', expected 192.0 or 'Good'"
    assert_same(found, ['{"a":1,"q":"Bad"}', '{"a":1,"q":"good"}', '{"a":1}'])


def test_a_bad_value_is_flagged_in_a_request():
    found = contract('path = "q", good_values = [192]')
    flags = []
    now = datetime(2026, 1, 31, tzinfo=UTC).isoformat()
    window_of(found, "m", [{"time": now, "payload": '{"a":1,"q":0}'}], flags)
    assert [(flag["field"], flag["reason"], flag["action"]) for flag in flags] == [
        ("a", "bad_quality", "missing")
    ]


FILES = {
    "a column beside that of the value": (
        'path = "a_q", good_values = ["good"]',
        "device,time,a,a_q\nm,2026-01-31,1,Good\nm,2026-02-01,2, BAD\nm,2026-02-02,3,\n",
    ),
    "of numbers": (
        'path = "q", good_values = [192]',
        "device,time,a,q\nm,2026-01-31,1,192.0\nm,2026-02-01,2,0\nm,2026-02-02,3,x\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_have_a_column_of_qualities(tmp_path, kind):
    quality, text = FILES[kind]
    assert _values(contract(quality), tmp_path, "a.csv", text) == ["1.0", "nan", "nan"]


def _values(found: Contract, folder, name: str, text: str) -> list[str]:
    file = folder / name
    file.write_text(text)
    tried = try_out(file, found, folder)
    assert not tried.mistakes
    rows = [row for table in tried.rows for row in table.to_pylist()]
    return [str(found.parser.parse(row["payload"])["a"]) for row in rows]


def test_a_line_of_json_keeps_the_quality(tmp_path):
    lines = [
        {"device": "m", "time": f"2026-01-0{n}", "a": n, "q": q} for n, q in ((1, 192), (2, 0))
    ]
    text = "\n".join(orjson.dumps(line).decode() for line in lines)
    found = contract('path = "q", good_values = [192]')
    assert _values(found, tmp_path, "a.jsonl", text) == ["1.0", "nan"]


def test_a_quality_that_nothing_can_hold_is_refused():
    with pytest.raises(DataError, match="expected the name of the field that holds the quality"):
        contract('path = "q", good_values = [192]', payload='format = "delimited"')
