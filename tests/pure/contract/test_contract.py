"""A contract's mistakes are refused by file, key and reason; a reading's by field."""

import math
from datetime import timedelta

import pytest

from breezeway.contract.contract import Contract, load_contract
from breezeway.contract.values import Violation
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings

PLANT = (Settings.shipped_sensors / "plant.toml").read_text(encoding="utf-8")

GOOD = (
    '{"env":{"temperature":60.5,"pressure":null},"rotational_speed":1500,'
    '"torque":40.25,"mode":"normal","vibration":[1,-2,3.5,0.25]}'
)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.from_text(PLANT, "sensors.toml")


def test_readings_are_held_out_as_a_share_or_in_days():
    assert Contract.from_text(PLANT, "sensors.toml").split.holdout == 0.2
    text = PLANT.replace("holdout = 0.2", 'holdout = "7d"')
    assert Contract.from_text(text, "sensors.toml").split.holdout == timedelta(days=7)
    with pytest.raises(DataError, match=r'split: holdout: days are for by = "time"'):
        Contract.from_text(text.replace('by = "time"', 'by = "device"'), "sensors.toml")
    with pytest.raises(DataError, match=r"7 days cannot be kept back from the 7 of train.window"):
        Contract.from_text(text.replace("refit = false", 'window = "7d"'), "sensors.toml")


@pytest.mark.parametrize("file", ["plant.toml", "skab.toml", "ai4i.toml"])
def test_shipped_contracts_are_valid(file):
    contract = load_contract(Settings.shipped_sensors / file)
    assert contract.feature_names


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('type = "float"', 'type = "flot"', "sensors.toml: fields.temperature.type: "),
        ("window = 30", "windw = 30", "features.windw: no such key; did you mean 'window'? Known"),
        ("window = 30", 'decimal = ","', "features.decimal: no such key; it stands in [payload]"),
        (
            "window = 30",
            'unit = "A"',
            "features.unit: no such key; it stands in [fields.<name>]",
        ),
        ("range = [0, 20]", "range = [20, 0]", "fields.pressure.range: expected [lowest, highest]"),
        ('"rms(vibration)"', '"rms(torque)"', "features.reading.vibration_rms: rms(torque) needs"),
        ('"torque * rot', '"torqe * rot', "features.reading.power: torqe is no field"),
        ('"torque * rot', '"__import__(torque) * rot', "features.reading.power: __import__()"),
        ('"torque * rot', '"torque ** rot', "features.reading.power: "),
        (
            '"std", "slope", "diff"]',
            '"medan"]',
            "features.rolling.temperature.4: 'medan': did you mean 'median'? Expected one of last",
        ),
        ('"std", "slope", "diff"]', '"diff:3"]', "temperature.4: 'diff:3': expected 'diff' alone"),
        ('"std", "slope", "diff"]', '"std:3:1"]', "'std:3:1': expected 'std', or with a window"),
        ('"std", "slope", "diff"]', '"std:0"]', "'std:0': expected 'std', or with a window of"),
        ('"std", "slope", "diff"]', '"std:10m"]', "'std:10m': expected 'std', or with a window"),
        ('"std", "slope", "diff"]', '"lag"]', "'lag': how long ago? Expected 'lag:5', the"),
        ('"std", "slope", "diff"]', '"zscore:9:9"]', "'zscore:9:9': leaves no reading of the 9"),
        ('"std", "slope", "diff"]', '"mean:10001"]', "'mean:10001': at most 10000 readings"),
        ('"std", "slope", "diff"]', '"lag:10000"]', "'lag:10000': at most 10000 readings"),
        ('"std", "slope", "diff"]', '"mean"]', "features: the name temperature_mean is taken"),
        ('power = ["mean:5"', 'powr = ["mean:5"', "features.rolling.powr: no such name"),
        ('table = "labels" ', 'table = "a b"', "label.table: "),
        ('table = "labels" ', 'table = "labels"\ncolumn = "label"', "label: expected either"),
        (
            "false_episodes_per_day = 0.2",
            "missed_event_cost = 1",
            "alarm: expected both missed_event_cost and",
        ),
        ("folds = 3", "folds = 1", "split.folds: "),
        (
            "holdout = 0.2",
            "holdout = 1",
            "split.holdout: '1': expected a share between 0 and 1, or d",
        ),
        ("[payload]", "time_zone = 1\n[payload]", "time_zone: Input should be a valid string"),
        (
            "[payload]",
            'time_zone = "Europe/Berln"\n[payload]',
            "sensors.toml: time_zone: 'Europe/Berln': expected a zone of the IANA database, "
            "such as 'Europe/Berlin'",
        ),
        ("holdout = 0.2", 'holdout = "0d"', "split.holdout: '0d': expected a share"),
        ("refit = false", 'window = "0.5"', "train.window: '0.5': expected"),
        ("refit = false", 'schedule = "daily"', "train.schedule: "),
        (
            "refit = false",
            'monotone = { torque_mean = "increasing" }',
            "train.monotone.torque_mean: there is no such feature as 'torque_mean'; did",
        ),
        ("refit = false", 'monotone = { torque = "up" }', "train.monotone.torque: Input should be"),
        ("max_share = 0.2", "max_share = 2", "quarantine.max_share: "),
        ('"machine-[0-9]{2}"', '"machine-["', "device_pattern: no regular expression of RE2: mis"),
        ('"machine-[0-9]{2}"', '"(?=m).+"', "device_pattern: no regular expression of RE2: inv"),
        ('"machine-[0-9]{2}"', "'(m)\\1'", "device_pattern: no regular expression of RE2: inv"),
        ('"machine-[0-9]{2}"', '"(m{1000}){1000}"', "device_pattern: no regular expression of RE2"),
        ('"machine-[0-9]{2}"', f'"{"m" * 1001}"', "device_pattern: String should have at most"),
        ('categories = ["idle", "normal", "boost"]', "", "fields.mode: categories: expected"),
        ('path = "env.pressure"', 'path = "env.temperature"', "fields.pressure.path: lies at"),
        ('path = "env.pressure"', 'path = "Env.pressure"', "differ by case alone"),
        ("[payload]", "[payload", "sensors.toml: not TOML: "),
        ('name = "plant"', "", "sensors.toml: name: Field required"),
    ],
)
def test_a_mistake_is_refused_with_file_key_and_reason(old, new, message):
    assert old in PLANT
    with pytest.raises(DataError) as error:
        Contract.from_text(PLANT.replace(old, new, 1), "sensors.toml")
    assert str(error.value).startswith("sensors.toml: ")
    assert message in str(error.value)


def test_all_mistakes_are_told_at_once_each_with_its_line():
    text = PLANT.replace("range = [0, 20]", "rnage = [0, 20]").replace("folds = 3", "folds = 1")
    with pytest.raises(DataError) as error:
        Contract.from_text(text, "mine.toml")
    lines = text.splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.startswith("rnage"))
    said = str(error.value).splitlines()
    assert said[0] == "mine.toml: 2 mistakes:"
    assert said[1].startswith("fields.pressure.rnage: no such key; did you mean 'range'? Known")
    assert said[1].endswith(f"(line {number})")
    assert "split.folds" in said[2] and said[2].endswith(")")


def test_each_monotone_feature_that_is_none_is_told():
    text = PLANT.replace("refit = false", 'monotone = { a = "increasing", b = "decreasing" }')
    with pytest.raises(DataError, match=r"2 mistakes:\n.*monotone\.a: .*\n.*monotone\.b: "):
        Contract.from_text(text, "mine.toml")


def test_mistakes_between_the_parts_are_told_at_once_too():
    text = PLANT.replace('"torque *', '"torqe *').replace("rms(vib", "rsm(vib")
    with pytest.raises(DataError) as error:
        Contract.from_text(text.replace("[0-9]{2}", "["), "mine.toml")
    said = [line.split(":")[0] for line in str(error.value).splitlines()]
    assert said == [
        *("mine.toml", "device_pattern", "features.reading.power"),
        "features.reading.vibration_rms",
    ]


def test_a_contract_of_an_older_model_is_read():
    text = PLANT.replace('invalid = "reject"', 'nulls = "reject"\nserving = "flag"')
    fields = Contract.from_text(text.replace('invalid = "missing"', 'nulls = "allow"'), "x").fields
    assert [fields[name].invalid for name in ("temperature", "pressure", "torque")] == [
        *("missing", "missing", "reject"),
    ]
    with pytest.raises(DataError, match=r"fields.temperature.serving: no such key"):
        Contract.from_text(text.replace('"flag"', '"often"'), "x")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.toml"):
        load_contract(tmp_path / "nowhere.toml")


def test_a_good_reading(contract):
    values = contract.parser.parse(GOOD)
    assert values["temperature"] == 60.5
    assert math.isnan(values["pressure"])
    assert values["mode"] == 1.0
    assert values["vibration"].tolist() == [1, -2, 3.5, 0.25]


@pytest.mark.parametrize(
    ("payload", "field", "reason"),
    [
        (None, "payload", "null_payload"),
        ("", "payload", "not_json"),
        (GOOD[:-5], "payload", "not_json"),
        ("[1]", "payload", "not_json"),
        (GOOD.replace("40.25", "NaN"), "torque", "null"),
        (GOOD.replace("40.25", "Infinity"), "payload", "not_json"),
        (GOOD.replace("40.25", "1e999"), "payload", "not_json"),
        (GOOD.replace("40.25", '"40,25"'), "torque", "wrong_type"),
        (GOOD.replace("40.25", "true"), "torque", "wrong_type"),
        (GOOD.replace("40.25", "{}"), "torque", "wrong_type"),
        (GOOD.replace("40.25", "null"), "torque", "null"),
        (GOOD.replace("40.25", "201"), "torque", "out_of_range"),
        (GOOD.replace('"torque"', '"Torque"'), "torque", "missing"),
        (GOOD.replace('{"temperature":60.5,"pressure":null}', "3"), "temperature", "missing"),
        (GOOD.replace('"normal"', '"off"'), "mode", "unknown_category"),
        (GOOD.replace('"normal"', "1"), "mode", "unknown_category"),
        (GOOD.replace('"normal"', "1.5"), "mode", "wrong_type"),
        (GOOD.replace("[1,-2,3.5,0.25]", "[]"), "vibration", "length"),
        (GOOD.replace("[1,-2,3.5,0.25]", "7"), "vibration", "wrong_type"),
        (GOOD.replace("[1,-2", "[null,-2"), "vibration", "null"),
        (GOOD.replace("[1,-2", "[51,-2"), "vibration", "out_of_range"),
    ],
)
def test_a_bad_reading_names_its_field(contract, payload, field, reason):
    with pytest.raises(Violation) as violation:
        contract.parser.parse(payload)
    assert (violation.value.field, violation.value.reason) == (field, reason)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ["(m+)+x", "(m|m)*x", "(.*)*(.*)*x", "(m?){200}m{200}x"])
def test_no_pattern_takes_longer_than_the_name_is(pattern):
    contract = Contract.from_text(PLANT.replace("machine-[0-9]{2}", pattern), "sensors.toml")
    with pytest.raises(Violation, match="does not match"):
        contract.check_device("m" * 255)


def test_an_unknown_device(contract):
    contract.check_device("machine-07")
    for other in ("machine-7", "machine-077", "machine-07\n", "machine-0\ud800"):
        with pytest.raises(Violation, match="machine-") as violation:
            contract.check_device(other)
        assert violation.value.reason == "unknown_device"
