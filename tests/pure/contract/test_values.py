"""What devices, gateways and loggers send for a value, and what it means."""

import json
import math

import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.core.errors import DataError
from tests.fixtures.payloads import HEAD

NULL = math.nan


def contract(field: str, payload: str = 'format = "json"', others: str = "") -> Contract:
    head = HEAD.replace('a = "a"', 'a = "rms(a)"') if "vector" in field else HEAD
    return Contract.from_text(f"{head}\n[payload]\n{payload}\n[fields.a]\n{field}\n{others}", "any")


def value(field: str, sent: str, payload: str = 'format = "json"') -> float:
    text = f'{{"a":{sent}}}' if "json" in payload else sent
    return contract(field, payload).parser.parse(text)["a"]


MISSING = 'invalid = "missing"\n'
FLOAT, INT, BOOL = 'type = "float"', 'type = "int"', 'type = "bool"'
COMMA = 'format = "json"\ndecimal = ","'
STATES = 'type = "category"\ncategories = ["idle", "true", 3]'


@pytest.mark.parametrize(
    ("field", "sent", "means"),
    [
        (FLOAT, '"512.407"', 512.407),
        (FLOAT, '" 00512.407\\r\\n"', 512.407),
        (FLOAT, '"1.5e3"', 1500),
        (FLOAT + '\nunit = "bar"', '"1.01 bar"', 1.01),
        (FLOAT + '\nunit = "°C"', '"21.5°C"', 21.5),
        (INT, '"7"', 7),
        (INT, "7.0", 7),
        (BOOL, "true", 1),
        (BOOL, "false", 0),
        (BOOL, '"ON"', 1),
        (BOOL, '"off"', 0),
        (BOOL, "1", 1),
        (BOOL, "0.0", 0),
        (BOOL, '"0"', 0),
        (BOOL + '\ntrue_values = ["OPEN"]\nfalse_values = ["closed"]', '"open"', 1),
        (BOOL + '\ntrue_values = ["OPEN"]\nfalse_values = ["closed"]', '"Closed"', 0),
        (STATES, "3", 2),
        (STATES, '"3"', 2),
        (STATES, "3.0", 2),
        (STATES, "true", 1),
        (STATES, '" idle "', 0),
        (MISSING + FLOAT, "NaN", NULL),
        (MISSING + FLOAT, "nan", NULL),
        (MISSING + FLOAT, '"NaN"', NULL),
        (MISSING + FLOAT, '"--"', NULL),
        (MISSING + FLOAT, '""', NULL),
        (MISSING + FLOAT, "null", NULL),
        (MISSING + FLOAT, "true", NULL),
        (MISSING + FLOAT + "\nrange = [-40, 60]", "-127", NULL),
        (MISSING + FLOAT + "\nnull_values = [85.0]", "85", NULL),
        (MISSING + FLOAT + '\nnull_values = [-9999, "n/a"]', '"-9999.0"', NULL),
        (MISSING + FLOAT + '\nnull_values = [-9999, "n/a"]', '"n/a"', NULL),
        (MISSING + BOOL + "\nnull_values = [255]", "255", NULL),
        (MISSING + STATES, '"mad"', NULL),
        (INT + "\nscale = 0.1\noffset = -40", "655", 25.5),
        (INT + "\ntwos_complement = 16", "65535", -1),
        (INT + "\ntwos_complement = 16", "32767", 32767),
        (INT + "\ntwos_complement = 16", "-32768", -32768),
        (INT + "\ntwos_complement = 16\nscale = 10", '"65526"', -100),
    ],
)
def test_a_value_is_read(field, sent, means):
    if "scale = 0.1" in field:
        field = field.replace(INT, FLOAT)
    assert repr(float(value(field, sent))) == repr(float(means))


@pytest.mark.parametrize(
    ("sent", "means"),
    [('"21,5"', 21.5), ('"-1,5e2"', -150), ("21.5", 21.5), ('"7"', 7)],
)
def test_a_decimal_comma(sent, means):
    assert value(FLOAT, sent, COMMA) == means


@pytest.mark.parametrize(
    ("field", "sent", "payload", "reason", "hint"),
    [
        (FLOAT, '"21,5"', "", "wrong_type", 'a decimal comma? payload.decimal = ","'),
        (FLOAT, '"1.234,5"', COMMA, "wrong_type", "expected a number"),
        (FLOAT, '"21.5 bar"', "", "wrong_type", 'a unit? unit = "bar"'),
        (FLOAT, '"21,5 bar"', COMMA, "wrong_type", 'a unit? unit = "bar"'),
        (FLOAT, '"N"', "", "wrong_type", 'a null? null_values = ["N"]'),
        (FLOAT, '"0051N.411"', "", "wrong_type", "expected a number"),
        (FLOAT, "true", "", "wrong_type", "expected a number"),
        (FLOAT, "[1]", "", "wrong_type", "expected a number"),
        (FLOAT, '"1e999"', "", "wrong_type", "not finite"),
        (INT, "7.5", "", "wrong_type", "expected an integer"),
        (INT + "\ntwos_complement = 16", "65536", "", "wrong_type", "a register of 16 bits"),
        (INT + "\ntwos_complement = 16", "1.5", "", "wrong_type", "a register of 16 bits"),
        (FLOAT + "\nscale = 0.1\nrange = [0, 50]", "501", "", "out_of_range", "outside 0.0 to 50"),
        (FLOAT + "\nscale = 1e300", "1e300", "", "wrong_type", "not finite"),
        (FLOAT + "\nnull_values = [85]", "85.0", "", "null", "null, expected a float"),
        (BOOL, '"maybe"', "", "wrong_type", "true or false, on or off, 1 or 0"),
        (BOOL, "2", "", "wrong_type", "true or false"),
        (STATES, "1.5", "", "wrong_type", "a string or a whole number"),
        (STATES, "4", "", "unknown_category", "expected one of idle, true, 3"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_would_help(field, sent, payload, reason, hint):
    with pytest.raises(Violation) as violation:
        value(field, sent, payload or 'format = "json"')
    assert violation.value.reason == reason
    assert hint in str(violation.value)


@pytest.mark.parametrize("sent", ["12:30", "1/2", "0,5*", "1_000"])
def test_what_is_no_unit_is_not_taken_for_one(sent):
    with pytest.raises(Violation) as violation:
        value(FLOAT, f'"{sent}"', COMMA)
    assert "unit" not in str(violation.value)


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        ("[0.1,null,0.3]", [0.1, 0.3]),
        ('[1,"2","x"]', [1, 2]),
        ("[null,null]", [NULL]),
        ("null", [NULL]),
        ("[]", [NULL]),
    ],
)
def test_missing_elements_of_a_vector_do_not_count(sent, means):
    found = contract(MISSING + 'type = "vector"\n', others="").parser.parse(f'{{"a":{sent}}}')["a"]
    assert list(map(repr, found.tolist())) == list(map(repr, map(float, means)))


def test_what_counts_as_missing_is_told_but_not_a_null():
    parser = contract(MISSING + FLOAT + "\nrange = [0, 50]").parser
    told = {}
    for sent in ("null", "NaN", "51", '"x"'):
        missing: list[Violation] = []
        parser.parse(f'{{"a":{sent}}}', missing)
        told[sent] = [violation.reason for violation in missing]
    assert told == {"null": [], "NaN": [], "51": ["out_of_range"], '"x"': ["wrong_type"]}


def test_a_key_that_is_missing():
    assert math.isnan(contract(MISSING + FLOAT).parser.parse("{}")["a"])
    with pytest.raises(Violation, match="no 'a' in the payload"):
        contract(FLOAT).parser.parse("{}")


DELIMITED = 'format = "delimited"\nseparator = ";"'
THREE = (
    '[fields.b]\ntype = "float"\n[fields.state]\ntype = "category"\ncategories = ["RUN", "STOP"]'
)


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        (DELIMITED, "21.5;1.01;RUN"),
        (DELIMITED, "21.5 C;1.01;RUN"),
        (DELIMITED, "21.5; 1.01 ; RUN\r\n"),
        (DELIMITED, "21.5;1.01;RUN;"),
        (DELIMITED, "+21.5;1.01E+0;RUN"),
        (DELIMITED + "\nquote = '\"'", '"21.5";"1.01";"RUN"'),
        (DELIMITED + '\ndecimal = ","', "21,5;1,01;RUN"),
        ('format = "delimited"\nseparator = "; "', "21.5; 1.01; RUN"),
        ('format = "delimited"\nseparator = "\\t"', "21.5\t1.01\tRUN"),
    ],
)
def test_delimited_text(payload, sent):
    read = contract(FLOAT + '\nunit = "C"', payload, THREE).parser.parse(sent)
    assert read == {"a": 21.5, "b": 1.01, "state": 0}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("21.5;1.01", "wrong_count"),
        ("21.5;1.01;RUN;;", "wrong_count"),
        ('"21.5;1.01;RUN', "wrong_quotes"),
    ],
)
def test_delimited_text_of_another_shape_is_refused(sent, reason):
    parser = contract(FLOAT, DELIMITED + "\nquote = '\"'", THREE).parser
    with pytest.raises(Violation) as violation:
        parser.parse(sent)
    assert violation.value.reason == reason


@pytest.mark.parametrize("many", [1, 100_000])
def test_a_payload_of_quotes_is_refused_at_once(many):
    parser = contract(FLOAT).parser
    for text in ('"\\' * many, '{"a":' + '"\\"' * many, "nan" * many, '"' * many + "NaN"):
        with pytest.raises(Violation):
            parser.parse(text)


@pytest.mark.parametrize(
    ("field", "payload", "message"),
    [
        (FLOAT + '\ntrue_values = ["x"]', "", "true_values and false_values are for a bool"),
        (BOOL + "\nscale = 2", "", "scale and offset are for numbers"),
        (BOOL + '\nnull_values = ["OFF"]', "", "'off' is one of null_values too"),
        (STATES + '\nnull_values = ["idle"]', "", "'idle' is one of null_values too"),
        (FLOAT + "\nscale = 0", "", "scale: 0 would make"),
        (FLOAT + "\ntwos_complement = 12", "", "twos_complement: "),
        (FLOAT, DELIMITED + '\ndecimal = ","\nquote = ";"', "quote: needs a separator"),
        (FLOAT, 'format = "delimited"\nseparator = ","\ndecimal = ","', "decimal: ',' stands in"),
        (FLOAT, "format = 'json'\nquote = '\"'", "quote is for format"),
        (FLOAT + '\npath = "a[*]"', "", "path: 'a[*]': [*] is several values"),
        ('type = "category"\ncategories = ["a", " a"]', "", "categories: the same one twice"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(field, payload, message):
    with pytest.raises(DataError) as error:
        contract(field, payload or 'format = "json"')
    assert message in str(error.value)


def test_values_within_lists():
    text = json.dumps({"m": [{"n": "hum", "v": 40}, {"n": "temp", "v": "21.5"}], "w": [1, [2, 3]]})
    read = contract(
        FLOAT + "\npath = \"m[?@.n=='temp'].v\"",
        others=f'[fields.b]\n{FLOAT}\npath = "w[1][0]"\n[fields.c]\n{FLOAT}\npath = ["w", 0]',
    ).parser.parse(text)
    assert read == {"a": 21.5, "b": 2, "c": 1}
    pairs = contract(FLOAT + "\npath = \"[?@[0]=='temp'][1]\"")
    assert pairs.parser.parse('[["hum", 40], ["temp", 21.5]]') == {"a": 21.5}
    with pytest.raises(Violation, match="2 elements fit"):
        pairs.parser.parse('[["temp", 40], ["temp", 21.5]]')
    with pytest.raises(Violation, match="not a JSON list"):
        pairs.parser.parse("{}")
