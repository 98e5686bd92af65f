"""Words, units, decimal commas, quotes and converted numbers: a column equals the definition."""

import json

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from breezeway.contract.parser import ReadingParser
from tests.fixtures.payloads import HEAD, assert_same, parser_of

finite = st.floats(allow_nan=False, allow_infinity=False)

WORDY_JSON = Contract.from_text(
    HEAD
    + """
[payload]
format = "json"
decimal = ","
null_values = ["NA", "--", -9999]
[fields.a]
type = "float"
unit = "C"
invalid = "missing"
null_values = [85.0]
[fields.n]
type = "int"
twos_complement = 16
scale = 2
offset = -4
range = [-70000, 65530]
[fields.on]
type = "bool"
invalid = "missing"
true_values = ["OPEN"]
[fields.c]
type = "category"
categories = [0, 3, "idle"]
[fields.v]
type = "vector"
scale = 0.5
invalid = "missing"
""",
    "wordy",
)
WORDY_DELIMITED = Contract.from_text(
    WORDY_JSON.text.replace('"json"', '"delimited"\nseparator = "; "').split("[fields.v]")[0],
    "wordy",
)
SCALARS = Contract.from_text(
    WORDY_JSON.text.split("[fields.v]")[0]
    + """
[fields.t]
type = "float"
path = "env.t"
range = [-1e6, 1e6]
unit = "°C"
[fields.m]
type = "bool"
path = "env.m.on"
invalid = "missing"
[fields.k]
type = "category"
categories = ["a", "x", "t"]
null_values = ["env"]
""",
    "scalars",
)
QUOTED = Contract.from_text(WORDY_DELIMITED.text.replace('"; "', """";"\nquote = '"'"""), "quoted")

numbers = st.one_of(
    st.sampled_from(["85", "85.0", "-9999", "-9999.0", "65535", "32768", "32767", "-1", "1e999"]),
    st.integers(-(2**17), 2**17).map(str),
    finite.map(repr),
)
words = st.sampled_from(
    [
        *("NA", "--", "", "nan", "NaN", "21,5", " 7 ", "85,0", "21,5 C", "1.234,5", "6553,5C"),
        *("OPEN", "open", "ON", "off", "1", "0", "3", " idle", "idle", "true", "null", "1,5,2"),
    ]
)
json_values = st.one_of(
    numbers,
    words.map(json.dumps),
    numbers.map(lambda text: json.dumps(text.replace(".", ","))),
    st.sampled_from(["null", "true", "false", "NaN", "[]", "{}", "[1,-9999,null]", '["1,5"]']),
    st.lists(numbers, max_size=4).map(lambda several: f"[{','.join(several)}]"),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(*[json_values] * 5), min_size=1, max_size=20))
@example([("21.5", "7", "true", '"idle"', "[1]"), ("85", "65535", '"OPEN"', "3", "[-9999,2]")])
@example([("NaN", "1", "1", '"3"', "[null]"), ('"21,5 C"', '"7"', '"off"', "0", "null")])
def test_words_and_converted_numbers_of_json_equal_the_definition(rows):
    names = list(WORDY_JSON.fields)
    payloads = [
        "{" + ",".join(f'"{n}":{v}' for n, v in zip(names, row, strict=True)) + "}" for row in rows
    ]
    assert_same(WORDY_JSON, payloads)


extras = st.sampled_from(
    [
        *('"u":"a"', '"z":{"t":1}', '"raw":"00512.407"', '"e":null', '"ts":1700000000', '"t":5'),
        *('"a":1', '"env":{}', '"A":2', '"x":"on"', '"z":"nan"', '"z":[1,]', '"z":"\\u0061"'),
    ]
)


@st.composite
def object_payload(draw) -> str:
    """Keys in any order, some missing, some more."""
    parts = {name: draw(json_values) for name in ("a", "n", "on", "c", "k")}
    env = {"t": draw(json_values), "m": f'{{"on":{draw(json_values)}}}'}
    for table, name in draw(
        st.lists(st.sampled_from([(parts, "a"), (parts, "on"), (env, "t"), (env, "m")]), max_size=2)
    ):
        table.pop(name, None)
    parts["env"] = "{" + ", ".join(f'"{name}":{text}' for name, text in env.items()) + "}"
    if draw(st.integers(0, 9)) == 0:
        del parts["env"]
    members = [f'"{name}": {text}' for name, text in parts.items()]
    members += draw(st.lists(extras, max_size=2))
    text = "{" + ",".join(draw(st.permutations(members))) + "}"
    return draw(st.sampled_from([text, text, text, f" {text}\n", f"[{text}]", text[:-1], "5", ""]))


@settings(max_examples=12, deadline=None)
@given(st.lists(object_payload(), min_size=1, max_size=30))
def test_objects_with_other_keys_equal_the_definition(payloads):
    assert_same(SCALARS, payloads)


def test_common_forms_are_read_by_columns(monkeypatch):
    def refuse(self, payload, missing):
        raise AssertionError(f"the slow way was taken for {payload!r}")

    monkeypatch.setattr(ReadingParser, "parse", refuse)
    good = (
        '{"a": "21,5 C", "n": "7", "on": "ON", "c": 3, "k": "x", "env": {"t": 1e3, "m": {"on": 1}}}'
    )
    rows = [
        good,
        good.replace('"21,5 C"', '"--"').replace('"ON"', "null"),
        good.replace('"21,5 C"', "85").replace('"7"', "65535"),
        good.replace('"a": "21,5 C", ', "").replace(', "m": {"on": 1}', ""),
        good.replace("{", '{"ts": 17, "z": {"q": ["error", "a b"]}, ', 1),
    ]
    parsed = parser_of(SCALARS.text).parse(pa.array(rows * 64))
    assert parsed.good.all()
    assert parsed.values["a"][:3].tolist()[0] == 21.5
    assert np.isnan(parsed.values["a"][1:4]).all()
    assert parsed.values["n"][:3].tolist() == [10.0, 10.0, -6.0]
    assert [(row, v.field) for row, v in parsed.missing if row < 5] == [(3, "a"), (3, "m")]


@pytest.mark.parametrize("contract", [WORDY_DELIMITED, QUOTED], ids=["separator", "quote"])
@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(words, numbers.map(lambda text: text.replace(".", ","))), max_size=5),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["", "\r\n", "; ", ";", '"']),
)
@example([["21,5", "7", "1", "3"], ["21.5", "7", "1", "3"], ["\x1f", "7", "1", "3"]], "")
@example([["--", "--", " idle"]], ";")  # the characters of three separators, and two of them
@example([["1", "2\x1f3", "0"], ["1", "2; 3", "0"], ['"1"', '"2"', '"on"', '"id;le"']], "")
def test_words_of_delimited_text_equal_the_definition(contract, rows, end):
    payloads = [contract.payload.separator.join(row) + end for row in rows]
    assert_same(contract, payloads)
