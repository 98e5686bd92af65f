"""How `new-sensor` guesses that the lines of a text file are divided: each contract that it writes
reads its file without an edit."""

import orjson
import pytest

from breezeway.commands.new_sensor import _text
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.readings.file_guesses import guess
from breezeway.readings.file_loads import try_out

ROWS = [(f"2026-01-31 12:{k:02}", f"{20 + k % 7}.5") for k in range(12)]


def table(separator: str = ",", above: str = "", below: str = "", header: str = "time{}a") -> str:
    rows = [separator.join(row) for row in ROWS]
    return "\n".join([above + header.replace("{}", separator), *rows, below])


@pytest.fixture
def guessed(tmp_path):
    """The keys of `[files]` for a file, and the payloads of its readings by them."""

    def guessed(data, name="pump.csv"):
        file = tmp_path / name
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        found = guess(file, tmp_path)
        contract = Contract.from_text(_text("pump", found), "x")
        tried = try_out(file, contract, tmp_path)
        assert not tried.mistakes
        payloads = [text for rows in tried.rows for text in rows["payload"].to_pylist()]
        keys = {k: v for k, v in found.files.items() if k not in ("device", "time_column")}
        return keys, payloads, " ".join(found.unsure)

    return guessed


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (table(), {}),
        (table("|"), {"separator": '"|"'}),
        (table(";", below="Summe;9"), {"separator": '";"', "skip_words": '["Summe"]'}),
        (table(below="\nAverage,22\nMax,26"), {"skip_words": '["Average", "Max"]'}),
        (table(below="12 rows"), {"skip_words": '["12 rows"]'}),
        (table(below="# end"), {"comment": '"#"'}),
        (table(below=table()), {}),
        (
            table(";", above="Export of pump 7\nserial;7\n\n"),
            {"separator": '";"', "skip_rows": "3"},
        ),
        (table(";", above="Device id=7\n\n"), {"separator": '";"', "skip_rows": "2"}),
        (table(above="# of a logger\n#"), {"comment": '"#"', "names": '["time", "a"]'}),
        (table(header="time{}a{}"), {}),
        (table(header="time{}a").replace(".5", ".5,"), {}),
        (table("\t  ", header=" time  a").replace(" 12", "T12"), {"separator": '"blanks"'}),
        (
            table(" \t ", header="time \t a  b").replace(" 12", "T12").replace(".5", ".5  1"),
            {"separator": '"blanks"'},
        ),
        (
            table("  "),
            {"separator": '"blanks"', "names": '["date", "time", "a"]', "skip_rows": "1"},
        ),
        (table().encode("utf-16-le"), {"encoding": '"utf-16-le"'}),
        (table(header="time{}°").encode("cp1252"), {"encoding": '"latin-1"'}),
    ],
)
def test_a_contract_reads_its_file_without_an_edit(guessed, data, keys):
    found, payloads, _ = guessed(data)
    values = [next(iter(orjson.loads(payload).values())) for payload in payloads[:12]]
    assert (found, values) == (keys, [float(value) for _, value in ROWS])


def test_a_last_line_of_marks_alone_gives_no_word(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(table(below='" |'))
    assert "skip_words" not in guess(file, tmp_path).files


def test_the_end_of_a_long_file_is_looked_at(guessed, monkeypatch):
    monkeypatch.setattr("breezeway.readings.line_guesses.FIRST_BYTES", 150)
    monkeypatch.setattr("breezeway.readings.line_guesses.LAST_BYTES", 80)
    found, payloads, _ = guessed(table(below="Total,45000\nend of the file"))
    assert found == {"skip_words": '["Total", "end"]'} and len(payloads) == len(ROWS)


def test_rows_that_end_early_or_go_on_are_asked_about(guessed):
    data = table(header="time{}a{}b").replace("12:01,", "12:01,1,").replace("12:02,", "12:02,1,2,")
    found, payloads, unsure = guessed(data)
    assert found["short_rows"] == "true" and found["names"] == '["time", "a", "b", "column4"]'
    assert len(payloads) == 12
    assert "Some rows go on behind the header, in column4." in unsure
    assert "11 of the first rows end early: are their last values missing?" in unsure


def test_columns_of_one_name_are_numbered(guessed):
    found, payloads, unsure = guessed(table(header="time{}a{}a").replace(".5", ".5,1"))
    assert found == {"names": '["time", "a", "a 2"]', "skip_rows": "1"}
    assert payloads[0] == '{"a":20.5,"a_2":1}' and "Several columns are called a" in unsure


def test_rows_that_a_header_does_not_name_are_refused(guessed):
    with pytest.raises(DataError, match=r"line 1 names 2 columns, and most rows have 4: .*comma"):
        guessed(table().replace(".5", ",5,0"))


def test_a_file_without_a_header_has_numbered_columns(guessed):
    found, payloads, unsure = guessed(table().partition("\n")[2])
    assert found == {"names": '["column1", "column2"]'} and len(payloads) == 12
    assert "No header was found" in unsure


def test_json_is_known_without_its_ending(guessed):
    found, payloads, _ = guessed('{"time":"2026-01-31T12:00:00Z","a":1.5}\n' * 2, "pump.log")
    assert not found and payloads == ['{"a":1.5}'] * 2


def test_inches_are_no_quotes(guessed):
    rows = "".join(f'{time},"5" pipe",{value}\n' for time, value in ROWS)
    found, payloads, _ = guessed(f"time,pipe,a\n{rows}")
    assert found["quote"] == '""' and len(payloads) == len(ROWS)


def test_values_by_tags_are_tried_out_as_readings(guessed):
    rows = "".join(f"{time}Z,{tag},{value}\n" for time, value in ROWS for tag in "ab")
    found, payloads, _ = guessed(f"time,tag,value\n{rows}")
    assert found == {"tag_column": '"tag"'} and payloads[0] == '{"a":20.5,"b":20.5}'


PUMP = (
    "Zeit;Motor Temp (°C);Drehzahl;Status\r\n"
    "31.12.2025 14:05;61,5;1400;ok\r\n31.12.2025 14:06;;1390;ok\r\n"
    "31.12.2025 14:07;62,5;;Störung\r\n31.12.2025 14:08;60,5;1410;ok\r\n"
)


@pytest.mark.parametrize(
    ("encoding", "separator"),
    [("utf-8", ";"), ("utf-8-sig", "|"), ("cp1252", "\t"), ("utf-16", "\t"), ("utf-16-be", ";")],
)
def test_a_german_logger_in_each_encoding(guessed, encoding, separator):
    found, payloads, unsure = guessed(PUMP.replace(";", separator).encode(encoding))
    assert payloads[:3] == [
        '{"Motor_Temp":61.5,"Drehzahl":1400}',
        '{"Motor_Temp":null,"Drehzahl":1390}',
        '{"Motor_Temp":62.5,"Drehzahl":null}',
    ]
    assert (found["label_column"], found["faults"]) == ('"Status"', '["Störung"]')
    assert found["decimal"] == '","' and "is their zone UTC?" in unsure
