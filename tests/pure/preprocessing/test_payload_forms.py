"""What devices send, by kinds: a column of payloads and a single one mean the same, exactly."""

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.core.errors import DataError
from tests.fixtures.payloads import HEAD, assert_same

NAN = float("nan")
MISSING = ', invalid = "missing" }'


def contract(fields: str, payload: str = 'format = "json"') -> Contract:
    return Contract.from_text(f"{HEAD}\n[payload]\n{payload}\n[fields]\n{fields}", "x")


FLOAT = 'a = { type = "float" }'
KINDS = {
    "numbers in text": (
        'a = { type = "float"' + MISSING,
        'format = "json"\nnull_values = ["N", ""]',
        {'{"a":"512.407"}': 512.407, '{"a":"00.0012"}': 0.0012, '{"a":"N"}': NAN, '{"a":""}': NAN},
    ),
    "true and false": (
        'a = { type = "bool", true_values = ["WAHR", "oui"], false_values = ["FALSCH", "non"] }',
        'format = "json"',
        {
            **{'{"a":true}': 1, '{"a":"ON"}': 1, '{"a":1}': 1, '{"a":1.0}': 1, '{"a":"1.0"}': 1},
            **{'{"a":false}': 0, '{"a":"off"}': 0, '{"a":"0.0"}': 0, '{"a":"0.00"}': 0},
            **{'{"a":"wahr"}': 1, '{"a":"Falsch"}': 0, '{"a":"OUI"}': 1, '{"a":"non"}': 0},
        },
    ),
    "a state by number": (
        'a = { type = "category", categories = [0, 1, 3, "-1"] }',
        'format = "json"',
        {
            **{'{"a":3}': 2, '{"a":"3"}': 2, '{"a":3.0}': 2, '{"a":"3.0"}': 2, '{"a":"-1.0"}': 3},
            **{'{"a":0}': 0, '{"a":" 1 "}': 1},
        },
    ),
    "a state that is written with a point": (
        'a = { type = "category", categories = ["1", "1.0"] }',
        'format = "json"',
        {'{"a":"1"}': 0, '{"a":"1.0"}': 1, '{"a":"1.00"}': 0},
    ),
    "what is not there": (
        'a = { type = "float", path = "up.t"' + MISSING,
        'format = "json"\nnull_values = ["NaN", "--", "null", ""]',
        {
            **{'{"up":{"t":4.5}}': 4.5, '{"up":{}}': NAN, '{"join":{}}': NAN, '{"up":null}': NAN},
            **{'{"up":{"t":nan}}': NAN, '{"up":{"t":NaN}}': NAN, '{"up":{"t":"NaN"}}': NAN},
            **{'{"up":{"t":"--"}}': NAN, '{"up":{"t":"null"}}': NAN, '{"up":{"t":" "}}': NAN},
        },
    ),
    "sentinels": (
        'a = { type = "float", range = [-40, 60], null_values = [45.5]' + MISSING,
        'format = "json"',
        {'{"a":21.5}': 21.5, '{"a":45.5}': NAN, '{"a":-127}': NAN, '{"a":327.67}': NAN},
    ),
    "odd keys": (
        'a = { type = "float", path = ["Oil.Temp [degC]", "switch:0", "DS18B20-1"] }',
        'format = "json"',
        {'{"Oil.Temp [degC]":{"switch:0":{"DS18B20-1":17.75}}}': 17.75},
    ),
    "thousands with a point": (
        'a = { type = "float", unit = "kWh" }',
        'format = "json"\ndecimal = ","\nthousands = "."',
        {
            **{'{"a":"1.234,5"}': 1234.5, '{"a":"1.234"}': 1234, '{"a":"-12.345.678"}': -12345678},
            **{'{"a":"0,5 kWh"}': 0.5, '{"a":"1.234,5 kWh"}': 1234.5, '{"a":1.234}': 1.234},
        },
    ),
    "thousands with a comma": (
        FLOAT,
        'format = "json"\nthousands = ","',
        {'{"a":"1,234.5"}': 1234.5, '{"a":"999"}': 999, '{"a":"1,234,567"}': 1234567},
    ),
    "thousands with a blank": (
        FLOAT,
        'format = "delimited"\ndecimal = ","\nthousands = " "',
        {"1 234,5": 1234.5, "1\u202f234\u00a0567": 1234567, "21,5": 21.5, "1234": 1234},
    ),
    "text between separators": (
        'a = { type = "float", unit = "C"' + MISSING,
        'format = "delimited"\nquote = "\\""\nnull_values = ["NaN", -9999]',
        {
            **{"21.5": 21.5, " 21.5": 21.5, "21.5 C": 21.5, "21.5\r": 21.5, "21.5;": 21.5},
            **{'"21.5"': 21.5, "+21.5": 21.5, "2.15E+1": 21.5, "NaN": NAN, "-9999": NAN, "": NAN},
        },
    ),
    "what stands around JSON": (
        FLOAT,
        'format = "json"',
        {
            **{'\ufeff{"a":21.5}': 21.5, '{"a":21.5}\r\n': 21.5, '{"\\u0061":2.15e1}': 21.5},
            **{'{"a":21.5,"a":99.0}': 99, ' { "a" : 21.5 , "b" : [ ] } ': 21.5},
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_means_the_same_alone_and_in_a_column(kind):
    fields, payload, expected = KINDS[kind]
    found = contract(fields, payload)
    values = [found.parser.parse(text)["a"] for text in expected]
    assert np.array_equal(values, list(expected.values()), equal_nan=True)
    assert_same(found, list(expected))


REFUSED = {
    ("", '{"a":"1,234.5"}'): '(thousands? payload.thousands = ",")',
    ("", '{"a":"1.234,5"}'): '(thousands? payload.thousands = "." and payload.decimal = ",")',
    ("", '{"a":"1 234"}'): '(thousands? payload.thousands = " ")',
    ("", '{"a":"1,5"}'): '(a decimal comma? payload.decimal = ",")',
    ("", '{"a":"5 %"}'): '(a unit? unit = "%")',
    ("", '{"a":true}'): '(true or false? type = "bool")',
    ("", '{"a":{"value":1}}'): "(one of its members? a path to it)",
    ("", '{"a":[1]}'): '(one of its elements? a path such as "name[0]"; all of them?',
    ('decimal = ","', '{"a":"21.5"}'): '(the contract says payload.decimal = ",")',
    ('thousands = ","', '{"a":"12,34"}'): "'12,34', expected a number",
    ('thousands = ","', '{"a":"1,2345"}'): "'1,2345', expected a number",
}


@pytest.mark.parametrize(("rules", "text"), REFUSED)
def test_what_is_no_number_is_told_with_the_setting_that_helps(rules, text):
    found = contract(FLOAT, f'format = "json"\n{rules}')
    with pytest.raises(Violation) as caught:
        found.parser.parse(text)
    assert REFUSED[rules, text] in str(caught.value)
    assert_same(found, [text])


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('format = "json"\nthousands = "."', "thousands and decimal: the same mark"),
        (
            'format = "delimited"\nthousands = ","\nseparator = ","',
            "thousands: ',' stands in the separator",
        ),
    ],
)
def test_a_mark_of_thousands_has_no_other_meaning(rules, said):
    with pytest.raises(DataError, match=said):
        contract(FLOAT, rules)
