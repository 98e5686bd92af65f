"""What is guessed of a file without loading it."""

import pytest

from breezeway.readings.file_guesses import Guess, guess


@pytest.fixture
def guessed(tmp_path):
    def guessed(text: str) -> Guess:
        file = tmp_path / "pump.csv"
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
