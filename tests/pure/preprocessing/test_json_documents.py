"""Payloads of other shapes mean the same by columns as one by one."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.parser import ReadingParser
from breezeway.preprocessing.json_documents import LONGEST_BYTES, ROWS
from tests.fixtures.payloads import HEAD, assert_same, parser_of

LISTS = Contract.from_text(
    HEAD
    + """
[payload]
format = "json"
[fields.a]
type = "float"
path = "metrics[?@.name=='Temp'].value"
[fields.b]
type = "float"
path = "metrics[?@.name=='Flow'].value"
invalid = "missing"
[fields.on]
type = "float"
path = "states[?@.on==true].v"
invalid = "missing"
[fields.one]
type = "float"
path = "states[?@.on==1].w"
invalid = "missing"
[fields.first]
type = "int"
path = "list[0]"
[fields.last]
type = "category"
categories = [0, 18446744073709551616]
path = "list[-1]"
[fields.inner]
type = "float"
path = "tables[?@.id=='t'].rows[?@.id=='r'].v"
invalid = "missing"
[fields.deep]
type = "bool"
path = "x.y.z"
invalid = "missing"
""",
    "contract.toml",
)
LIST = (
    '{"metrics": [{"name": "Temp", "value": 21.5}, {"name": "Flow", "value": "3"}, 5],'
    ' "states": [{"on": true, "v": 1, "w": 2}, {"on": 1, "v": 3, "w": 4}],'
    ' "tables": [{"id": "t", "rows": [{"id": "r", "v": 9}, {"id": "s"}]}],'
    ' "list": [7, 0], "x": {"y": {"z": "ON"}}, "u": "\\u00e9"}'
)


def test_paths_into_lists_equal_the_definition():
    others = [
        LIST.replace('"Flow"', '"Temp"'),  # two of a name
        LIST.replace('"Flow"', "5"),
        LIST.replace('"Temp"', '"Temp", "name": "Hot"'),
        LIST.replace("[7, 0]", "[18446744073709551617, 18446744073709551616]"),
        LIST.replace("[7, 0]", "[]"),
        LIST.replace("[7, 0]", '"70"'),
        LIST.replace("[7, 0]", '{"0": 7, "-1": 0}'),
        LIST.replace('"x": {"y"', '"x": {"q"'),
        LIST.replace('{"z": "ON"}', "[1]"),
        LIST.replace('{"y": {"z": "ON"}}', "null"),
        LIST.replace('"metrics"', '"metric"'),
        LIST.replace("true", "1.0"),
        LIST.replace('[{"id": "t"', '[{"id": "t"}, {"id": "t"'),  # and what lies below is not sure
        LIST.replace('{"id": "s"}', '{"id": "r"}'),
        LIST.replace('{"id": "s"}', '{"id": null}, "r", [1]'),
        LIST.replace('"rows": ', '"rows": 5, "row": '),
        LIST.replace("]", "", 1),
        f"[{LIST}]",
    ]
    assert_same(LISTS, [LIST, *others])


@pytest.mark.parametrize("text", [LIST, LIST.replace('"Flow"', '"Gas"')])
def test_paths_into_lists_are_read_by_columns(monkeypatch, text):
    def refuse(self, payload, missing):
        raise AssertionError(f"the slow way was taken for {payload!r}")

    monkeypatch.setattr(ReadingParser, "parse", refuse)
    parsed = parser_of(LISTS.text).parse(pa.array([text] * (ROWS + 3)))
    assert parsed.good.all()
    found = [parsed.values[name][-1] for name in LISTS.fields if name != "b"]
    assert found == [21.5, 1, 4, 7, 0, 9, 1]
    assert np.isnan(parsed.values["b"]).all() == ("Flow" not in text)


NUMBERS = """
[payload]
format = "json"
{payload}
[fields.a]
type = "float"
{field}
"""


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ("", ""),
        ('decimal = ","', ""),
        ('null_values = ["", "-9999", "5"]', 'invalid = "missing"'),
        ("null_values = [-9999, 5]", 'invalid = "missing"'),
        ("", 'unit = "e5"'),
        ("", 'unit = "5"'),
    ],
)
@pytest.mark.parametrize("around", ['{{"a": {}, "u": 1}}', '{{"u": [{}], "a": 5}}'])
def test_numbers_in_text_and_of_any_size_equal_the_definition(payload, field, around):
    texts = ["1.5", "5", "-9999", " 7 ", "1,5", "1e5", "1_0", "+1.", ".5", ".", "", "0x1", "1e5e5"]
    texts += ["nan", "inf", "1e999", "1e-999", "\u0661"]
    numbers = ["1e308", "1e309", "1e0309", "-1E+400", "1e-400", "9" * 19, "9" * 30, "9" * 310]
    numbers += ["-" + "9" * 19, "18446744073709551616", "01", "1.", "NaN", "-0", "null", "{}", "[]"]
    contract = Contract.from_text(
        HEAD + NUMBERS.format(payload=payload, field=field), "contract.toml"
    )
    all_text = [around.format(f'"{text}"') for text in texts]
    assert_same(contract, [*all_text, *(around.format(number) for number in numbers)])
    for text in all_text:  # a column of such texts alone
        assert_same(contract, [text] * 2)


def test_deep_and_long_payloads_equal_the_definition():
    contract = Contract.from_text(HEAD + NUMBERS.format(payload="", field=""), "contract.toml")
    nested = ["[" * depth + "]" * depth for depth in (500, 1022, 1023, 1024, 2000, 5000)]
    long = f'"{"x" * LONGEST_BYTES}"'
    assert_same(contract, [f'{{"u": {more}, "a": 5}}' for more in (*nested, long)])
