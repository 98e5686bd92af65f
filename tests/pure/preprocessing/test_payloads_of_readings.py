"""Payloads of contracts with several readings: a column equals the definition."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from tests.fixtures.payloads import HEAD, assert_same

FIELDS = """
[fields]
a = {{ type = "float", invalid = "missing" {a} }}
b = {{ type = "category", categories = ["x", "y"], invalid = "missing" {b} }}
"""


def contract(rules: str, a: str = "", b: str = "") -> Contract:
    return Contract.from_text(
        HEAD + f'\n[payload]\nformat = "json"\n{rules}\n' + FIELDS.format(a=a, b=b), "x"
    )


CONTRACTS = {
    "in a list": contract('readings = "v[*]"\ntime_path = "t"'),
    "at the root": contract('readings = "[*]"'),
    "in two": contract('readings = "[*].v[*]"', b=", path = '$[*].b'"),
    "of members": contract('readings = "v.*"'),
    "beside": contract('readings = "v[*]"', ", path = '$.a'", ", path = '$.s.b'"),
}
values = st.sampled_from([None, 1.5, 7, "x", "y", "1", True, [], {}])
elements = st.dictionaries(st.sampled_from("abtz"), values, max_size=3) | values
lists = st.lists(elements, max_size=2)
documents = st.one_of(
    lists,
    st.dictionaries(st.sampled_from("vabs"), lists | elements, max_size=3),
    st.lists(st.dictionaries(st.sampled_from("vb"), lists | values, max_size=2), max_size=2),
)


@pytest.mark.parametrize("name", CONTRACTS)
@settings(deadline=None)
@given(st.lists(documents, min_size=1, max_size=8))
@example([{"v": [{"a": 1.5, "b": "x"}]}, [{"a": 1.5}], [{"v": [{"a": 1}], "b": "x"}], {"a": 1}])
@example([{}, {"v": []}, {"v": [{}, {}]}, {"v": {"k": {"a": 1}}}, {"a": 1, "s": {"b": "x"}}])
@example([{"a": 1, "s": {"b": "x"}, "v": [1]}, {"a": 1, "s": {"b": "x"}, "v": []}, [{"v": 1}], []])
def test_a_column_equals_the_definition(name, several):
    assert_same(CONTRACTS[name], [json.dumps(document) for document in several])
