"""Columns of payloads give what `ReadingParser.parse` gives, to the last bit, whatever is fed."""

import gc
import json
import weakref

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from breezeway.contract.parser import MAX_PAYLOAD_BYTES, ReadingParser
from breezeway.preprocessing import fingerprints
from breezeway.preprocessing.payloads import PayloadParser
from tests.fixtures.payloads import HEAD, assert_same

ARABIC_ONE = "\N{ARABIC-INDIC DIGIT ONE}"

JSON = Contract.from_text(
    HEAD
    + """
[payload]
format = "json"
[fields.a]
path = "e.a"
type = "float"
invalid = "missing"
[fields.n]
path = ["e", "n.1"]
type = "int"
range = [-1000, 1e6]
[fields.c]
type = "category"
categories = ["x", "true", "1", "é\\"", "null"]
invalid = "missing"
[fields.v1]
type = "vector"
range = [-1e6, 1e6]
length = [1, 5]
[fields.v2]
type = "vector"
length = [1, 3]
""",
    "json",
)

DELIMITED = Contract.from_text(
    HEAD
    + """
[payload]
format = "delimited"
separator = "|"
[fields.a]
type = "float"
invalid = "missing"
[fields.c]
type = "category"
categories = ["x", "1", "e", "é"]
[fields.n]
type = "int"
range = [-1000, 1000]
""",
    "delimited",
)

PARSERS = {contract.payload.format: PayloadParser(contract) for contract in (JSON, DELIMITED)}


finite = st.floats(allow_nan=False, allow_infinity=False)
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.one_of(finite, st.none(), st.booleans(), st.text(max_size=2)), max_size=6),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
good_values = {
    "a": st.one_of(finite, st.none(), st.integers(-10, 10)),
    "n": st.integers(-1000, 10**6),
    "c": st.sampled_from([*JSON.fields["c"].categories, None]),
    "v1": st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
    "v2": st.lists(finite, min_size=1, max_size=3),
}


@st.composite
def json_payload(draw) -> str | None:
    values = {name: draw(strategy) for name, strategy in good_values.items()}
    kind = draw(st.sampled_from(["good", "good", "odd", "drop", "extra", "cut", "noise", "none"]))
    if kind == "none":
        return None
    if kind == "odd":
        values[draw(st.sampled_from(sorted(values)))] = draw(odd)
    document = {"e": {"a": values["a"], "n.1": values["n"]}}
    document |= {name: values[name] for name in ("c", "v1", "v2")}
    if kind == "drop":
        document.pop(draw(st.sampled_from(sorted(document))))
    if kind == "extra":
        document[draw(st.text(max_size=3))] = draw(odd)
    items = draw(st.permutations(list(document.items())))
    text = json.dumps(
        dict(items),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", " :\t")])),
    )
    if kind == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if kind == "noise":
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.text(alphabet='"{}[]:,0eE+-.tnN \\x', max_size=3)) + text[at:]
    return text


BASE = '{"e":{"a":1.5,"n.1":7},"c":"x","v1":[1,2],"v2":[3]}'


ODD_ONES = [
    *(BASE, BASE.replace("1.5", "1e400"), BASE.replace("1.5", "-0.0")),
    *(BASE.replace('"c"', '"c":"1","c"'), BASE.replace('"v2"', '"v1":[9],"v2"')),
    *(BASE.replace('"v2"', '"v1"'), BASE.replace('"v1"', '"v2"')),
    *(BASE.replace('"a"', '"A"'), BASE.replace('"a"', '"\\u0061"')),
    *(BASE.replace("7", '"7"').replace('"x"', "1"), BASE.replace('"x"', "true")),
    *(BASE.replace("7", "7.0"), BASE.replace("7", "7e0"), BASE.replace("7", "7.5")),
    *(BASE.replace('"a":1.5', '"a":null'), BASE.replace('"a":1.5', '"0a":null')),
    *(BASE.replace("[3]", "[[3]]"), BASE.replace("[3]", "[]"), BASE.replace("[3]", "3")),
    *(BASE.replace('"x"', '"\\"x\\""'), BASE.replace("7", "1e-400"), BASE.replace("3", "1e-320")),
]
MALFORMED = [
    *(BASE, BASE.replace("}", ",}"), BASE.replace("[3]", "[3,]"), BASE + "x", BASE + " "),
    *(BASE.replace("1.5", other) for other in (ARABIC_ONE, "nan", "Infinity")),
]
SAME_SUM = [BASE, BASE.replace("[3]", "]3["), BASE.replace("{", "}", 1)]


@settings(max_examples=15, deadline=None)
@given(st.lists(json_payload(), min_size=1, max_size=20))
@example(ODD_ONES)
@example(ODD_ONES + MALFORMED)
@example(MALFORMED)
@example(SAME_SUM)
def test_json_equals_the_definition(payloads):
    assert_same(JSON, payloads)


delimited_part = st.one_of(
    finite.map(repr),
    st.integers(-2000, 2000).map(str),
    st.sampled_from(
        ["", "x", "1", "e", "é", "nan", "inf", "1.", ".5", "+1", "1e", " 1", "1_0", ARABIC_ONE]
    ),
    st.text(alphabet="0123456789eE+-.", max_size=6),
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.lists(delimited_part, min_size=3, max_size=3).map("|".join),
            st.lists(delimited_part, max_size=5).map("|".join),
        ),
        min_size=1,
        max_size=20,
    )
)
@example(["1.5|x|3", "|x|3", "1|1|1", "1|e|1", "1||1", "1e400|x|1", "x|1|1"])
def test_delimited_equals_the_definition(payloads):
    assert_same(DELIMITED, payloads)


@pytest.mark.parametrize("pairs", [8, 1 << 15])
def test_the_fast_way_is_taken_for_good_rows(pairs, monkeypatch):
    def refuse(self, payload):
        raise AssertionError(f"the slow way was taken for {payload!r}")

    monkeypatch.setattr(ReadingParser, "parse", refuse)
    monkeypatch.setattr(fingerprints, "CHUNK_PAIRS", pairs)
    rows = [
        BASE,
        BASE.replace("1.5", "null").replace('"x"', "null"),
        BASE.replace('"x"', '"é\\""'),
        BASE.replace(",", " , "),
    ]
    # Rows begin at odd and at even octets.
    some = [row + " " * space for row in rows[:2] + rows[3:] for space in (0, 1, 3)]
    good, _, violations, _ = PARSERS["json"].parse(pa.array(["", *some]).slice(1))
    assert good.all() and not violations
    good, *_ = PARSERS["delimited"].parse(pa.array(["1.5|x|3", "|é|-7", "12|1|4", "|e|0"]))
    assert good.all()


def test_what_is_wrong_with_a_row_does_not_keep_its_block():
    wrong = [None, "{", "[]", "{}", BASE.replace("7", "7.5"), BASE.replace("[3]", "[true]")]
    wrong += [BASE.replace("[1,2]", "1.5"), BASE.replace("7", "null")]
    gc.collect()
    gc.disable()
    try:
        _, values, violations, _ = PARSERS["json"].parse(pa.array([BASE, *wrong]))
        column = weakref.ref(values["a"])
        del values
        assert len(violations) == len(wrong) and column() is None
    finally:
        gc.enable()


MANY = [f"c{number}" for number in range(200)]


def with_many_categories(contract: Contract) -> Contract:
    """Two fields of so many categories that their fingerprints are not listed."""
    text, seen = "", 0
    for line in contract.text.splitlines(keepends=True):
        if line.startswith("categories"):
            line, seen = f"categories = {json.dumps(MANY)}\n", seen + 1
        text += line
    assert seen == 1
    other = f'[fields.other]\ntype = "category"\ncategories = {json.dumps(MANY)}\n'
    return Contract.from_text(text + other, "many")


def test_json_with_many_categories():
    base = BASE.replace('"x"', '"c0"').replace("}", '},"other":"c7"', 1)
    rows = [base, base.replace("c7", "c199"), base.replace("c7", "c200"), "{", BASE]
    good, values, violations, _ = PayloadParser(with_many_categories(JSON)).parse(pa.array(rows))
    assert good.tolist() == [True, True, False, False, False]
    assert values["other"].tolist() == [7.0, 199.0]
    found = [violations[row].reason for row in (2, 3, 4)]
    assert found == ["unknown_category", "not_json", "missing"]


def test_delimited_with_many_categories():
    rows = ["1|c0|2|c9", "|c1|2|c8", "1|c0|2", "1|c0|2|c200", "1|c0|2-|c9", "1|c0|2\n3|c9", None]
    good, values, violations, _ = PayloadParser(with_many_categories(DELIMITED)).parse(
        pa.array(rows)
    )
    assert good.tolist() == [True, True] + [False] * 5
    assert values["other"].tolist() == [9.0, 8.0]
    found = [violations[row].reason for row in range(2, 7)]
    assert found == [
        *("wrong_count", "unknown_category", "wrong_type", "wrong_type", "null_payload"),
    ]


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows):
    good, values, violations, _ = PARSERS["json"].parse(pa.array([BASE] * rows, pa.string()))
    assert len(good) == rows and not violations
    assert len(values["a"]) == rows


@pytest.mark.parametrize("contract", [JSON, DELIMITED])
def test_a_payload_that_is_too_long_is_none(contract):
    good = (
        '{"e":{"a":1,"n.1":2},"c":"é\\"","v1":[1],"v2":[1]}'
        if contract is JSON
        else f"{'0' * 40}1|é|2"
    )
    room = MAX_PAYLOAD_BYTES - len(good.encode())
    padded = [
        good.replace("1", f"{' ' * more}1" if contract is JSON else f"{'0' * more}1", 1)
        for more in (room, room + 1)
    ]
    assert_same(contract, padded)
    assert_same(contract, ["é" * (MAX_PAYLOAD_BYTES // 2 + 1), "[" * (MAX_PAYLOAD_BYTES + 1)])
    _, _, violations, _ = PARSERS[contract.payload.format].parse(pa.array(padded))
    assert [violation.reason for violation in violations.values()] == ["too_long"]


@pytest.mark.parametrize(
    ("contract", "payload"),
    [(JSON, '{"e":{"a":1,"n.1":2},"c":"x","v1":[1],"v2":[1]}'), (DELIMITED, "1|x|2")],
)
def test_a_byte_order_mark_is_no_part_of_the_payload(contract, payload):
    marked = f"\ufeff{payload}"
    assert contract.parser.parse(marked) == contract.parser.parse(payload)
    assert_same(contract, [marked, payload, f"\ufeff{marked}", "\ufeff", f"{payload}\ufeff"])
