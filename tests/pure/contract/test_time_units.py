"""Times as numbers: their unit has to be the one that the contract tells."""

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.schema import Payload
from breezeway.contract.splitting import PayloadSplitter
from breezeway.contract.time_formats import OUR_DAYS, read_time
from breezeway.readings.file_guesses import guess
from breezeway.readings.file_loads import try_out
from tests.fixtures.payloads import HEAD

NOON = {
    "epoch s": "1769860800",
    "epoch ms": "1769860800000",
    "epoch us": "1769860800000000",
    "epoch ns": "1769860800000000000",
    "excel": "46053.5",
}
"""Of the last of January 2026."""
UTC = ZoneInfo("UTC")


@pytest.fixture
def in_file(tmp_path):
    """A time of a file as text, or what is wrong with it."""

    def in_file(text: str, time_format: str, more: str = "") -> str:
        file = tmp_path / "a.csv"
        file.write_text(f"device;time;a\nm;{text};1\n")
        files = f'[files]\nseparator = ";"\ntime_format = "{time_format}"\n{more}\n'
        rules = f'[payload]\nformat = "json"\n[fields]\na = {{ type = "float" }}\n{files}'
        found = try_out(file, Contract.from_text(HEAD + rules, "x"), tmp_path)
        if found.mistakes:
            return found.mistakes
        moment = timedelta(microseconds=found.rows[0]["time"][0].as_py())
        return (datetime(1970, 1, 1) + moment).isoformat()

    return in_file


def in_payload(text: str, time_format: str, zone: str = "UTC"):
    payload = Payload(format="json", time_path="t", time_format=time_format, time_zone=zone)
    (sent,) = PayloadSplitter(payload).split(f'{{"t": {text}}}')
    return sent


@pytest.mark.parametrize("unit", NOON)
@pytest.mark.parametrize("told", NOON)
def test_a_time_in_another_unit_than_told_is_refused_with_the_right_one(in_file, told, unit):
    sent, loaded = in_payload(NOON[unit], told), in_file(NOON[unit], told)
    if told == unit:
        assert sent.time.isoformat() == "2026-01-31T12:00:00+00:00"
        assert loaded == "2026-01-31T12:00:00"
        return
    assert sent.time is None
    assert f'(as {unit} it is 2026-01-31T12:00:00: payload.time_format = "{unit}"?)' in (
        sent.wrong_time
    )
    assert f'which is 2026-01-31T12:00:00 as {unit}; set time_format = "{unit}"' in loaded


@pytest.mark.parametrize(
    ("told", "text", "time"),
    [
        ("epoch s", "-1", "1969-12-31T23:59:59"),
        ("epoch s", "0", "1970-01-01T00:00:00"),
        ("epoch s", "86400", "1970-01-02T00:00:00"),
        ("epoch ms", "5000", "1970-01-01T00:00:05"),
        ("epoch s", "4102444800", "2100-01-01T00:00:00"),
        ("epoch s", "631151999", "1989-12-31T23:59:59"),
        ("excel", "61", "1900-03-01T00:00:00"),
        ("excel", "20000.25", "1954-10-03T06:00:00"),
        ("excel", "46053.5208333333", "2026-01-31T12:30:00"),
        ("excel", "46053.0000115741", "2026-01-31T00:00:01"),
    ],
)
def test_other_times_are_as_they_are(in_file, told, text, time):
    assert in_file(text, told) == time
    assert read_time(text, told, UTC).replace(tzinfo=None).isoformat() == time


def test_no_number_is_a_time_of_our_days_in_two_units():
    bounds = sorted(OUR_DAYS.values())
    assert all(a[1] < b[0] for a, b in pairwise(bounds))


@pytest.mark.parametrize("text", ["60", "-5", "1e9999", "x"])
def test_what_is_no_day_of_excel_is_refused(in_file, text):
    assert "expected a time as a number (excel)" in in_file(text, "excel")
    with pytest.raises(ValueError):
        read_time(text, "excel", UTC)


def test_days_of_excel_are_those_of_a_clock_with_the_marks_of_the_file(in_file):
    zone = 'time_zone = "Europe/Berlin"\ndecimal = ","'
    assert in_file("46053,5", "excel", zone) == "2026-01-31T11:00:00"
    sent = in_payload("46053.5", "excel", "Europe/Berlin")
    assert sent.time.isoformat() == "2026-01-31T11:00:00+00:00"


@pytest.mark.parametrize(("between", "mark"), [(",", "."), (";", ",")])
def test_days_of_excel_are_guessed_where_the_column_is_a_time(tmp_path, between, mark):
    file = tmp_path / "pump.csv"
    rows = [f"{46053 + n / 4}{between}{n * n / 10}{between}{46000 + n}" for n in range(9)]
    text = "\n".join([between.join(("Datum", "a", "rpm")), *rows])
    file.write_text(text.replace(".", mark))
    found = guess(file, tmp_path)
    assert found.files["time_column"] == '"Datum"' and found.files["time_format"] == '"excel"'
    assert any("Times have no offset" in each for each in found.unsure)
    file.write_text(text.replace("Datum", "load").replace(".", mark))
    assert "first_time" in guess(file, tmp_path).files
