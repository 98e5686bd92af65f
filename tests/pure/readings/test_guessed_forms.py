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


CLOCKS = [f"{hour}:{minute:02}" for hour in (1, 2) for minute in range(0, 60, 7)]


@pytest.mark.parametrize(
    ("times", "time_format"),
    [
        ([f"1/31/2026 {clock}:00.000 p.m." for clock in CLOCKS], "%m/%d/%Y %I:%M:%S.%f %p"),
        ([f"1/31/2026 {clock}\u202fPM" for clock in CLOCKS], "%m/%d/%Y %I:%M %p"),
        ([f"31.01.2026 {clock} Uhr" for clock in CLOCKS], "%d.%m.%Y %H:%M Uhr"),
        ([f"31.01.2026 {clock} MEZ" for clock in CLOCKS], "%d.%m.%Y %H:%M MEZ"),
        ([f"{day}/2/2026 1:00" for day in range(1, 12)], "%d/%m/%Y %H:%M"),
        ([f"2/{day}/2026 1:00" for day in range(1, 12)], "%m/%d/%Y %H:%M"),
        ([f"26-01-{day} 1:00" for day in range(10, 32)], "%y-%m-%d %H:%M"),
    ],
)
def test_a_time_is_read_as_it_is_written(guessed, times, time_format):
    rows = "".join(f"{time},{k % 3}.5\n" for k, time in enumerate(times))
    assert guessed(f"time,a\n{rows}").files["time_format"] == f'"{time_format}"'


def test_the_day_may_come_first_or_not(guessed):
    found = guessed("time,a\n01/02/2026 12:00,1\n01/02/2026 12:01,3\n")
    assert "Times may also be '%m/%d/%Y %H:%M': day or month first?" in found.unsure


@pytest.mark.parametrize(
    ("header", "times", "time_format"),
    [
        ("YYYYMMDD,HHMM", ["20260131,1200", "20260131,1315"], None),
        ("date,hour", ["2026-01-31,9", "2026-01-31,13"], '"%Y-%m-%d %H"'),
        ("day,time", ["31.01.2026,120000", "31.01.2026,120100"], '"%d.%m.%Y %H%M%S"'),
    ],
)
def test_a_time_of_day_without_colons_stands_beside_the_day(guessed, header, times, time_format):
    found = guessed(f"{header},a\n{times[0]},7.5\n{times[1]},9\n")
    assert found.files["time_column"] == str(header.split(",")).replace("'", '"')
    assert found.files.get("time_format") == time_format


@pytest.mark.parametrize(
    ("column", "words", "faults", "normal"),
    [
        ("Störung", ["nein", "ja"], '["ja"]', None),
        ("State", ["i.O.", "n.i.O."], '["n.i.O."]', None),
        ("État", ["défaut", "marche"], '["défaut"]', None),
        ("label", ["A", "A", "B"], '["B"]', None),
        ("Meldung", ["Störung", "Wartung", ""], '["Störung"]', '["", "Wartung"]'),
        ("Alarm", ["1", "", ""], '["1"]', '[""]'),
        ("attack", ["0", "1", ""], None, None),
    ],
)
def test_words_of_faults(guessed, column, words, faults, normal):
    rows = "".join(f"2026-01-{k + 1:02},{k % 4}.5,{words[k % len(words)]}\n" for k in range(9))
    files = guessed(f"time,a,{column}\n{rows}").files
    assert (files["label_column"], files.get("faults"), files.get("normal")) == (
        f'"{column}"',
        faults,
        normal,
    )


def test_a_measurement_with_words_for_no_value_is_no_label(guessed):
    cells = ["1.5", "2.5", "4.5", "bad", "I/O Timeout"]
    rows = "".join(f"2026-01-{k + 1:02},{cells[k % 5]}\n" for k in range(20))
    found = guessed(f"time,a\n{rows}")
    assert found.files["null_words"] == '["I/O Timeout", "bad"]' and not found.has_label
    assert found.fields["a"]["type"] == '"float"'


@pytest.mark.parametrize(("values", "is_label"), [("80.5 81.5", False), ("0 17 23", True)])
def test_a_limit_of_an_alarm_is_no_label(guessed, values, is_label):
    cells = values.split()
    rows = "".join(f"2026-01-{k},{k % 3}.5,{cells[k % len(cells)]}\n" for k in range(10, 20))
    assert guessed(f"time,a,Alarm\n{rows}").has_label == is_label


def test_units_behind_numbers_and_letters_that_are_not_of_ascii(guessed):
    rows = "".join(f"2026-01-{k + 1};2{k % 7},5 °C;{k % 5} %;ä\n" for k in range(10, 20))
    found = guessed(f"Zeit;Öltemperatur;Füllstand (x);Größe\n{rows}")
    assert found.files["decimal"] == '","'
    assert found.fields["Oeltemperatur"]["unit"] == '"°C"'
    assert found.fields["Fuellstand"]["unit"] == '"%"'
    assert found.columns["Groesse"] == "Größe"


def test_several_units_are_asked_about(guessed):
    rows = "".join(f"2026-01-{k},2{k % 7}.5 {'°C' if k % 3 else '°F'}\n" for k in range(10, 20))
    found = guessed(f"time,a\n{rows}")
    assert "The numbers of 'a' have several units: °C, °F." in found.unsure


def test_rows_that_are_the_value_of_a_tag_each(guessed):
    rows = "".join(
        f",,0,2026-01-31T12:{k:02}:00Z,{20 + k % 5}.5,temp [C],m\n"
        f",,1,2026-01-31T12:{k:02}:00Z,{k % 3},press,m\n"
        for k in range(10)
    )
    found = guessed(f"#group,x\n,result,table,_time,_value,_field,device\n{rows}")
    assert found.files == {
        "comment": '"#"',
        "time_column": '"_time"',
        "tag_column": '"_field"',
        "value_column": '"_value"',
    }
    assert list(found.fields) == ["temp", "press"] and found.columns == {"temp": "temp [C]"}
    assert found.fields["temp"]["range"] == "[18.5, 26.5]"
    assert "Beside tags and values, result, table are left out." in found.unsure
