"""What is guessed of a file without loading it."""

import pytest

from breezeway.readings.file_guesses import Guess, guess


@pytest.fixture
def guessed(tmp_path):
    def guessed(text: str, name: str = "pump.csv") -> Guess:
        file = tmp_path / name
        file.write_text(text, "utf-8", newline="")
        return guess(file, tmp_path)

    return guessed


def test_day_and_time_of_day_in_two_columns_and_points_between_thousands(guessed):
    found = guessed(
        "sep=;\r\nDatum;Uhrzeit;Maschine;Leistung [kW];an\r\n"
        + "".join(f"16.12.2026;7:{m};P1;1.{m * m % 7}16,5;{m % 2}\r\n" for m in range(20, 40))
    )
    assert found.files == {
        "separator": '";"',
        "decimal": '","',
        "thousands": '"."',
        "time_column": '["Datum", "Uhrzeit"]',
        "time_format": '"%d.%m.%Y %H:%M"',
        "device_column": '"Maschine"',
    }
    assert found.fields["Leistung"]["range"] == "[816.5, 1616]"
    assert found.fields["an"] == {"type": '"bool"'}


def test_a_day_alone_is_the_time_if_no_column_holds_the_time_of_day(guessed):
    found = guessed("Date,a\n2026-12-16,7\n2026-12-17,9\n")
    assert found.files == {"time_column": '"Date"', "device": '"pump"'}


def test_readings_that_were_sent_together_are_found_in_json(guessed):
    sent = "".join(
        f'{{"site":"s{k % 2}","Messages":[{{"Timestamp":"2026-11-01T00:0{k}:00Z","Payload":'
        f'{{"Temp":{{"Value":{20 + k % 3}.5}},"on":{"true" if k % 2 else "false"}}}}}]}}\n'
        for k in range(5)
    )
    found = guessed(sent, "a.jsonl")
    assert found.payload == {"readings": '"Messages[*]"', "time_path": '"Timestamp"'}
    assert {name: rules["path"] for name, rules in found.fields.items()} == {
        "Temp": '"Payload.Temp.Value"',
        "on": '"Payload.on"',
        "site": '"$.site"',
    }
    assert found.fields["on"]["type"] == '"bool"'
    assert not any("offset" in sentence for sentence in found.unsure)


@pytest.mark.parametrize("between", [",\n", ","])
def test_a_list_of_readings_in_json_is_as_its_lines(guessed, between):
    lines = [
        f'{{"id":{{"device":"d"}},"at":{1_793_491_200_000 + k},"v":{{"a b":{k * k}.5}}}}'
        for k in range(4)
    ]
    found = guessed(f"[{between.join(lines)}]", "a.json")
    assert found.files == {
        "time_column": '"at"',
        "time_format": '"epoch ms"',
        "device_column": '"id.device"',
    }
    assert found.fields["a_b"]["path"] == '"v.a b"' and not found.payload
