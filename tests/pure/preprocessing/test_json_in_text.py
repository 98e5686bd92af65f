"""Envelopes: the payload of a device as a text within JSON, as it is or in Base64."""

import base64

import orjson
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.readings.file_guesses import guess
from tests.fixtures.payloads import HEAD, assert_same

INNER = '{"temp": 21.5, "m": [{"n": "P", "v": 3}], "sent": [{"ts": 1, "a": 5}, {"ts": 2, "a": 6}]}'
TEXTS = {
    "as it is": INNER,
    "with blanks around it": f" {INNER}\n",
    "in Base64": base64.b64encode(INNER.encode()).decode(),
    "as an object": orjson.loads(INNER),
}


def contract(path: str, payload: str = "", kind: str = "float") -> Contract:
    rules = f'[payload]\nformat = "json"\n{payload}\n[fields.a]\ntype = "{kind}"\n'
    head = HEAD.replace('a = "a"', 'a = "rms(a)"') if kind == "vector" else HEAD
    return Contract.from_text(f'{head}\n{rules}path = "{path}"\ninvalid = "missing"', "x")


def envelope(body) -> str:
    return orjson.dumps({"id": 7, "up": {"body": body}}).decode()


@pytest.mark.parametrize(
    ("path", "value"),
    [("up.body.temp", 21.5), ("up.body.m[0].v", 3), ("up.body.m[?@.n=='P'].v", 3)],
)
def test_a_path_goes_on_into_a_text_of_json(path, value):
    found = contract(path)
    sent = [envelope(body) for body in TEXTS.values()]
    assert [found.parser.parse(each)["a"] for each in sent] == [value] * len(TEXTS)
    assert_same(found, sent)
    assert_same(found, sent[:1] * 3)


def test_a_list_in_a_text_is_searched_by_its_members():
    sent = [envelope('[{"n": "P", "v": 3}]'), envelope([{"n": "P", "v": 4}])]
    found = contract("up.body[?@.n=='P'].v")
    assert [found.parser.parse(each)["a"] for each in sent] == [3, 4]
    assert_same(found, sent)


@pytest.mark.parametrize("body", ["run", "{", "eyJ", "e30", "W", "{'temp': 1}", "5", "", None, "é"])
def test_any_other_text_has_no_members(body):
    found = contract("up.body.temp")
    wrong: list[Violation] = []
    assert str(found.parser.parse(envelope(body), wrong)["a"]) == "nan"
    assert [each.reason for each in wrong] == ["missing"]
    assert_same(found, [envelope(body)])


@pytest.mark.parametrize("text", TEXTS)
def test_several_readings_in_a_text_are_split(text):
    found = contract("a", 'readings = "up.body.sent[*]"\ntime_path = "ts"\ntime_format = "epoch s"')
    several = found.splitter.split(envelope(TEXTS[text]))
    assert [each.time.second for each in several] == [1, 2]
    assert [found.parser.parse(each.payload)["a"] for each in several] == [5, 6]


def test_paths_into_a_text_are_guessed(tmp_path):
    file = tmp_path / "a.jsonl"
    body = [f'{{"ts": {1769860800 + n}, "temp": {n * n}.5}}' for n in range(9)]
    file.write_text("\n".join(orjson.dumps({"body": each}).decode() for each in body))
    found = guess(file, tmp_path)
    assert found.fields["temp"]["path"] == '"body.temp"'
    assert found.files["time_column"] == '"body.ts"'


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        ("float", '{"a": "{\\"t\\": 1}"}', "(JSON in a text? a path to one of its members)"),
        ("vector", '{"a": {"x": 1, "y": 2}}', "(a field for each member? with a path to it)"),
        ("float", "weather,place=us temp=82 1465839830100400200", "line protocol of InfluxDB?"),
        ("float", "temp value=82,level=3i", "line protocol of InfluxDB?"),
        ("float", "# HELP temp Of a room.\ntemp 21.5\n", "the text of Prometheus?"),
        ("float", 'temp{room="a"} 21.5 1395066363000\n', "the text of Prometheus?"),
        ("float", '{"a": -Infinity}', "(JSON has no infinity: expected null in its place)"),
        ("float", '{"a": inf}', "(JSON has no infinity: expected null in its place)"),
        ("float", '{"a": "inf"}', '(a null? null_values = ["inf"])'),
    ],
)
def test_what_is_no_such_value_is_told_with_what_helps(kind, payload, said):
    found = Contract.from_text(contract("a", kind=kind).text.replace('"missing"', '"reject"'), "x")
    with pytest.raises(Violation) as caught:
        found.parser.parse(payload)
    assert said in f"{caught.value}"
    assert_same(found, [payload])
