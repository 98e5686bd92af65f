"""Words, units, decimal commas, quotes and converted numbers: a column equals the definition."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from tests.fixtures.payloads import HEAD, assert_same

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


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[json_values] * 5), min_size=1, max_size=20))
@example([("21.5", "7", "true", '"idle"', "[1]"), ("85", "65535", '"OPEN"', "3", "[-9999,2]")])
@example([("NaN", "1", "1", '"3"', "[null]"), ('"21,5 C"', '"7"', '"off"', "0", "null")])
def test_words_and_converted_numbers_of_json_equal_the_definition(rows):
    names = list(WORDY_JSON.fields)
    payloads = [
        "{" + ",".join(f'"{n}":{v}' for n, v in zip(names, row, strict=True)) + "}" for row in rows
    ]
    assert_same(WORDY_JSON, payloads)


@pytest.mark.parametrize("contract", [WORDY_DELIMITED, QUOTED], ids=["separator", "quote"])
@settings(max_examples=20, deadline=None)
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
