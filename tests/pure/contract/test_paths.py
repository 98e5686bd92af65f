"""Paths lead to the one value that they name, or say why they do not."""

import json

import pytest

from breezeway.contract.paths import NoValue, find, parse_path

DOCUMENT = json.loads("""
{"env": {"temperature": 1, "a.b": 2, "x y": 3},
 "metrics": [{"name": "Temp", "value": 4, "unit": {"short": "C"}},
             {"name": "Hum", "value": 5, "unit": {"short": "%"}},
             {"name": "Hum", "value": 6, "ok": true},
             {"id": 1, "value": 7}, "text", null],
 "pairs": [["temp", 8], ["hum", 9]],
 "Messages": [{"Payload": {"Temp": {"Value": 10}}}],
 "DS18B20-1": {"Temperature": 11}}
""")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("env.temperature", 1),
        ("['env']['a.b']", 2),
        ('env["x y"]', 3),
        ("metrics[?@.name=='Temp'].value", 4),
        ('metrics[?@.name == "Temp"].value', 4),
        ("metrics[?@.unit.short=='%'].value", 5),
        ("metrics[?@['ok']==true].value", 6),
        ("metrics[?@.id==1].value", 7),
        ("metrics[-2]", "text"),
        ("pairs[?@[0]=='hum'][1]", 9),
        ("Messages[0].Payload.Temp.Value", 10),
        ("Messages.0.Payload.Temp.Value", 10),
        ("DS18B20-1.Temperature", 11),
    ],
)
def test_a_path_leads_to_a_value(path, value):
    assert find(DOCUMENT, parse_path(path)) == value


def test_the_root_may_be_a_list():
    assert find([{"v": 1}, {"v": 2}], parse_path("[1].v")) == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("env.humidity", "missing"),
        ("env.temperature.x", "missing"),
        ("metrics[6]", "missing"),
        ("metrics[-7]", "missing"),
        ("metrics.value", "missing"),
        ("env[0]", "missing"),
        ("metrics[?@.name=='temp'].value", "missing"),
        ("metrics[?@.ok==1].value", "missing"),  # true is no number
        ("metrics[?@.name=='Hum'].value", "ambiguous"),
        ("env[?@.name=='Hum'].value", "missing"),
    ],
)
def test_a_path_to_no_value_says_why(path, reason):
    with pytest.raises(NoValue) as found:
        find(DOCUMENT, parse_path(path))
    assert found.value.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a..b",
            "a.",
            "a[",
            "a[*]",
            "a[?@.x>3]",
            "a[?@.n=='x]",
            "a[0]b",
            "a['x'][0].",
            ".a[0]",
        ),
        *("a[0:2]", "[?@=='x']", "m[?@.a[?@.b==1].c==2].v", "a[99999999999]", "a['b]", "..a[0]"),
        ".".join(["a"] * 33),
        "[0]" * 33,
    ],
)
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match=r"path|key is empty|segments|condition|several"):
        parse_path(text)
