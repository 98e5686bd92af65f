"""Files in the forms of loggers, exports and spreadsheets, without a database."""

import pytest

FLOAT = 'a = { type = "float", invalid = "missing" }'
NOON = "2026-01-31 12:00"


ONE = [("m", "2026-01-31 12:00:00", None, 1.5)]
LATIN = "Zeit;Anlage;Temp [°C];Druck\r\n31.01.2026 13:00:00;m;1,5;1.234,5\r\n"
GERMAN = """
separator = ";"
decimal = ","
thousands = "."
device_column = "Anlage"
time_column = "Zeit"
time_format = "%d.%m.%Y %H:%M:%S"
time_zone = "Europe/Berlin"
columns = { a = "Temp [°C]", b = "Druck" }
"""
TWO = f'{FLOAT}\nb = {{ type = "float" }}'


@pytest.mark.parametrize(
    ("data", "files"),
    [
        (f"device,time,a\nm,{NOON},1.5\n", ""),
        (f"\ufeffdevice,time,a\nm,{NOON},1.5\n", ""),
        (f"device,time,a\nm,{NOON},1.5\n".encode("utf-16"), ""),
        (f"sep=;\r\ndevice;time;a\r\nm;{NOON};1,5\r\n", 'separator = ";"\ndecimal = ","'),
        (f"device, time , a\nm,{NOON}, 1.5\n", ""),
        (f",device,time,a\n0,m,{NOON},1.5\n", ""),
        (f"device,time,a\n-,s,degC\nm,{NOON},1.5\n", "units_row = true"),
        (f"# of a logger\ndevice,time,a\nm,{NOON},1.5\n", 'comment = "#"'),
        (f"time,a\n{NOON},1.5\n", 'device = "m"'),
        ("device,time,a\nm,1769860800000,1.5\n", 'time_format = "epoch ms"'),
        ("device,time,a\nm,1769860800.0,1.5\n", 'time_format = "epoch s"'),
        ("device,time,a\nm,31/01/26 12:00,1.5\n", 'time_format = "%d/%m/%y %H:%M"'),
        ("device,time,a\nm,1/31/2026 12:00:00 PM,1.5\n", 'time_format = "%m/%d/%Y %I:%M:%S %p"'),
        ("device,time,a\nm,2026-01-31T13:00:00+01:00,1.5\n", ""),
        ("device,Date,Time,a\nm,2026-01-31,12:00:00,1.5\n", 'time_column = ["Date", "Time"]'),
        (
            "device;Date;Time;a\nm;31/01/2026 ; 12.00.00;1.5\n",
            'separator = ";"\ntime_column = ["Date", "Time"]\ntime_format = "%d/%m/%Y %H.%M.%S"',
        ),
    ],
)
def test_a_reading_is_the_same_in_every_form(read, data, files):
    assert read(data, files) == ONE


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16"])
def test_a_german_logger(read, encoding):
    files = f'{GERMAN}\nencoding = "{encoding}"'
    assert read(LATIN.encode(encoding), files, TWO) == [
        ("m", "2026-01-31 12:00:00", None, 1.5, 1234.5)
    ]


@pytest.mark.parametrize(
    ("marks", "cells"),
    [
        ('thousands = ","', {"1,234.5": 1234.5, "-1,234,567": -1234567, "999": 999}),
        ('thousands = "."\ndecimal = ","', {"1.234": 1234, "+1.234,50": 1234.5, "1,5": 1.5}),
        ('thousands = " "', {"1\u202f234\u00a0567": 1234567, "1 234 °C": 1234, "0.5": 0.5}),
        ('thousands = "\'"', {"1'234.5": 1234.5, "1\u2019234 °C": 1234}),
    ],
)
def test_thousands_in_groups_of_digits(read, marks, cells):
    fields = 'a = { type = "float", unit = "°C" }'
    data = "device|time|a\n" + "".join(f"m|{NOON}|{cell}\n" for cell in cells)
    found = read(data, f'separator = "|"\n{marks}', fields)
    assert [row[-1] for row in found] == list(cells.values())


def test_other_groups_are_no_thousands(tried):
    cells = ["1,23", "12,34.5", "1,2345", ",123", "1,,234", "0.123,456"]
    rows = "".join(f'm,{NOON},"{cell}"\n' for cell in cells)
    found = tried(f"device,time,a\n{rows}", 'thousands = ","')
    assert all(f"expected a number, got '{cell}'" in found.mistakes for cell in cells)


@pytest.mark.parametrize(
    ("files", "times"),
    [
        (
            "",
            {
                "2026-01-31T24:00:00": "2026-02-01 00:00:00",
                "2026-12-31 24:00": "2027-01-01 00:00:00",
                "2026-01-31T10:24:00": "2026-01-31 10:24:00",
                "2026-01-31T24:00:00+01:00": "2026-01-31 23:00:00",
            },
        ),
        ('time_zone = "Europe/Berlin"', {"2026-10-25 24:00": "2026-10-25 23:00:00"}),
        ('time_format = "%d.%m.%Y %H:%M"', {"31.12.2026 24:00": "2027-01-01 00:00:00"}),
    ],
)
def test_the_end_of_a_day_is_the_beginning_of_the_next(read, files, times):
    rows = "".join(f"m,{time},1\n" for time in times)
    assert [row[1] for row in read(f"device,time,a\n{rows}", files)] == list(times.values())


def test_no_other_time_is_of_a_day_of_more_than_24_hours(tried):
    times = ["2026-01-31T24:30:00", "9999-12-31T24:00", "24:00", "2026-01-31 25:00"]
    rows = "".join(f"m,{time},1\n" for time in times)
    assert tried(f"device,time,a\n{rows}").mistakes.count("expected a time") == len(times)


def test_words_of_labels_are_in_upper_or_lower_case(read):
    data = f"device,time,a,y\nm,{NOON},1,True\nm,{NOON}:01,1,FALSE\nm,{NOON}:02,1,\n"
    found = read(data, 'label_column = "y"\nfaults = ["TRUE"]\nnormal = ["false"]')
    assert [row[2] for row in found] == [1, 0, None]


def test_what_cannot_be_read_is_told_with_the_setting_that_helps(tried):
    said = {
        "20261101120000,1": "as epoch s, far from now: expected a format that tells",
        "31/12/26,1": 'set time_format = "%d/%m/%y"',
        "Sun Nov  1 00:00:00 2026,1": 'set time_format = "%a %b %d %H:%M:%S %Y"',
        f'{NOON},"1,234.5"': 'set thousands = ","',
        f'{NOON},"1.234,5"': 'set thousands = "." and decimal = ","',
        f"{NOON},12 %": 'set unit = "%" for the field',
    }
    found = tried("device,time,a\n" + "".join(f"m,{row}\n" for row in said)).mistakes.splitlines()
    for line, text in enumerate(said.values(), start=2):
        assert any(f"line {line}, " in each and text in each for each in found), text


def test_of_two_columns_of_the_time_each_has_to_be_there(tried):
    found = tried("device,Date,a\nm,2026-01-31,1\n", 'time_column = ["Date", "Time"]')
    assert "the column 'Time' is missing" in found.mistakes


def test_a_row_without_a_label_is_without_fault_if_the_contract_says_so(read):
    files = 'label_column = "l"\nfaults = ["bad"]\nnormal = ["", "-"]\ndevice = "m"'
    rows = read(f"time,a,l\n{NOON},1,\n{NOON},1,bad\n{NOON},1, \n{NOON},1,-\n{NOON},1,NA\n", files)
    assert [row[2] for row in rows] == [0, 1, 0, 0, None]


@pytest.mark.parametrize("half", ["PM", "pm", "p.m.", "p. m.", "\u202fPM", "\u00a0p.\u202fm."])
def test_the_half_of_a_day_is_read_in_each_form(read, half):
    files = 'time_format = "%m/%d/%Y %I:%M %p"\ndevice = "m"'
    assert read(f"time,a\n1/31/2026 1:05 {half},1\n", files)[0][1] == "2026-01-31 13:05:00"


def test_a_name_of_a_month_in_another_language_is_told(tried):
    said = tried("time,a\n31. Dezember 2025,1\n", 'device = "m"').mistakes
    assert "names of days and months are read in English alone" in said
