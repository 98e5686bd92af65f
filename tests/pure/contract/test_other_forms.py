"""Payloads of other forms are refused with one sentence that says what they may be."""

import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from tests.fixtures.payloads import HEAD, assert_same

JSON = 'format = "json"'
DELIMITED = 'format = "delimited"'
AB = 'a = { type = "float" }\nb = { type = "float" }'
A = 'a = { type = "float" }'
VECTOR = 'a = { type = "float", path = "b" }\nv = { type = "vector" }'


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("FFF600C8", "(hexadecimal registers? Expected numbers in JSON: decode it"),
        ("0x12 ", "(hexadecimal registers?"),
        ("temp=21.5&press=3", '(pairs of key=value? Expected JSON, such as {"key": 1})'),
        ("?temp=21.5", "(pairs of key=value?"),
        ("temp = 21.5, press = 3;", "(pairs of key=value?"),
        ("Temp: 21.5", "(pairs of key=value?"),
        ("<temp>21.5</temp>", "(XML? Expected JSON: write its values as an object)"),
        ('<?xml version="1.0"?>', "(XML?"),
        ("\x82\xa4temp\xcb", "(bytes, such as MessagePack, CBOR or Protobuf? Expected text:"),
        ("\x08\x96\x01", "(bytes,"),
        ("eyJhIjogMX0gICAgICAg", "(Base64? Expected text: decode it"),
        ("{'a': 1}", "(single quotes? JSON has double ones)"),
        ("21.5;3", '(values between separators? payload.format = "delimited")'),
        ("21.5,3\n22,4", "(values between separators?"),
        ("hello", "char 0)"),
        ("", "char 0)"),
    ],
)
def test_what_is_no_json(payload, said):
    refuses(JSON, AB, payload, said)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("1;2\n3;4\n", "(2 readings? Send each line alone, or load the text as a file)"),
        ('{"a": 1}', '(JSON? payload.format = "json")'),
        ("temp=21.5", '(pairs of key=value? Expected JSON, and payload.format = "json")'),
        ("1,2", "(payload.separator = ','?)"),
        ("1\t2\t", "(payload.separator = '\\t'?)"),
        ("\x82\xa4", "(bytes? Expected text: decode it"),
        ("1;2;3", "payload: 3 values, expected 2 separated by ';'"),
    ],
)
def test_what_has_other_separators(payload, said):
    refuses(DELIMITED, AB, payload, said)


@pytest.mark.parametrize(
    ("fields", "payload", "said"),
    [
        (A, '{"a": "00C8"}', "expected a number (hexadecimal? Expected a decimal number)"),
        (A, '{"a": "0x10"}', "(hexadecimal?"),
        (A, '{"a": "100A"}', '(a unit? unit = "A")'),
        (VECTOR, '{"b": 1, "v": "AAECAwQ="}', "expected a list (numbers in a text, or in Base64?"),
    ],
)
def test_what_is_in_a_value(fields, payload, said):
    refuses(JSON, fields, payload, said)


def refuses(form: str, fields: str, payload: str, said: str) -> None:
    contract = Contract.from_text(f"{HEAD}\n[payload]\n{form}\n[fields]\n{fields}", "x")
    with pytest.raises(Violation) as caught:
        contract.parser.parse(payload)
    assert said in f"{caught.value}"
    assert_same(contract, [payload])
