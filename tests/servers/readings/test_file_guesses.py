"""`breezeway new-sensor` writes a contract with which the file that it saw is loaded."""

import argparse
import re
from pathlib import Path

import pytest

from breezeway.commands import new_sensor
from breezeway.contract.contract import load_contract
from breezeway.core.errors import DataError, UsageError
from breezeway.readings import file_loads
from tests.fixtures.readings import stored


@pytest.fixture
def guessed(settings, tmp_path):
    """The contract that is written for a file, what is unsure, and the file's readings by it."""

    def guessed(text, name="pump 7.csv", encoding="utf-8"):
        file = tmp_path / name
        file.write_bytes(text.encode(encoding))
        parser = argparse.ArgumentParser()
        new_sensor.add_arguments(parser)
        target = tmp_path / "new.toml"
        words = [str(file), "--contract", str(target)]
        result = new_sensor.run(parser.parse_args(words), settings)
        contract = load_contract(target)
        file_loads.load(settings, [file], contract)
        rows = [tuple(row.values()) for row in stored(settings).to_pylist()]
        return contract, " ".join(result["unsure"]), [(d, p, label) for d, _, p, label in rows]

    return guessed


def test_a_german_logger(guessed):
    text = (
        "Zeit;Anlage;Temperatur [°C];Lage;Störung\r\n"
        "31.10.2026 00:00:00;P1;21,5;AUF;nein\r\n"
        "31.10.2026 00:01:30;P1;-;ZU;ja\r\n"
        "31.10.2026 00:03:00;P1;22,5;ZU;nein\r\n"
    )
    contract, unsure, rows = guessed(
        text.replace("nein", "0").replace("ja", "1"), encoding="cp1252"
    )
    assert contract.interval_seconds == 90
    assert contract.files.encoding == "iso8859-1"
    assert contract.files.time_format == "%d.%m.%Y %H:%M:%S"
    assert contract.fields["Temperatur"].range == (21, 23)
    assert contract.fields["Temperatur"].unit == "°C"
    assert contract.fields["Lage"].categories == ("AUF", "ZU")
    assert rows == [
        ("P1", '{"Temperatur":21.5,"Lage":"AUF"}', 0),
        ("P1", '{"Temperatur":null,"Lage":"ZU"}', 1),
        ("P1", '{"Temperatur":22.5,"Lage":"ZU"}', 0),
    ]
    assert "is their zone UTC?" in unsure and "Temperatur has no value in 33 %" in unsure


def test_one_machine_with_an_index_units_and_words_for_faults(guessed):
    text = (
        ",ts,flow,state\n-,s,l/min,-\n0,1793491200,1,ok\n1,1793491210,2,Attack\n2,1793491220,4,ok\n"
    )
    contract, unsure, rows = guessed(text.replace("state", "attack"))
    assert contract.files.units_row and contract.files.time_format == "epoch s"
    assert contract.files.faults == ("Attack",)
    assert [(device, label) for device, _, label in rows] == [
        ("pump 7", 0),
        ("pump 7", 1),
        ("pump 7", 0),
    ]
    assert list(contract.fields) == ["flow"]
    assert "No column of devices" in unsure and "Are Attack the labels of faults" in unsure


def test_payloads_in_json(guessed):
    text = 'device,time,payload\nm,20261101,"{""a-b"":1,""v"":[1]}"\nm,20261102,"{""a-b"":2}"\n'
    contract, unsure, rows = guessed(text)
    assert contract.files.time_format == "%Y%m%d" and contract.interval_seconds == 86_400
    assert contract.fields["a_b"].segments("a_b", contract.payload) == ("a-b",)
    assert rows[1] == ("m", '{"a-b":2}', None)
    assert "lists or objects are left out" in unsure


def test_lines_of_json(guessed):
    text = '{"device":"m","time":"2026-11-01T00:00:00Z","a":1.5}\n' * 2
    contract, _, rows = guessed(text, "a.jsonl")
    assert contract.fields["a"].type == "float"
    assert rows == [("m", '{"a":1.5}', None)]


def test_times_in_several_forms_are_named_with_their_lines(settings, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("device,time,a\nm,2026-10-25T02:30:00Z,1\nm,2026-10-25 02:30:00 CET,3\n")
    arguments = argparse.Namespace(file=file, contract=tmp_path / "new.toml")
    unsure = " ".join(new_sensor.run(arguments, settings)["unsure"])
    assert "The times in 'time' have no form that all share" in unsure
    assert "line 3, column 'time'" in unsure


def test_a_date_that_the_first_rows_leave_open_is_settled_by_a_later_one(settings, tmp_path):
    file = tmp_path / "a.csv"
    first = "".join(
        f"01/02/2026 {k // 3600:02}:{k // 60 % 60:02}:{k % 60:02},{k % 7}\n" for k in range(20_001)
    )
    file.write_text(f"time,a\n{first}01/13/2026 00:00:00,1\n")
    arguments = argparse.Namespace(file=file, contract=tmp_path / "new.toml")
    unsure = " ".join(new_sensor.run(arguments, settings)["unsure"])
    contract = load_contract(tmp_path / "new.toml")
    assert contract.files.time_format == "%m/%d/%Y %H:%M:%S"
    assert "day or month first?" in unsure and "line" not in unsure


def test_nothing_is_overwritten_and_nothing_is_made_of_nothing(settings, tmp_path, guessed):
    guessed("device,time,a\nm,2026-01-01,1\n")
    with pytest.raises(UsageError, match=r"new\.toml is there already"):
        guessed("device,time,a\nm,2026-01-01,1\n")
    (tmp_path / "new.toml").unlink()
    with pytest.raises(DataError, match="no rows to look at"):
        guessed("device,time,a\n")
    assert not (tmp_path / "new.toml").exists()


LABELLED = "Zeit;Temp (°C);Zustand\n01.10.2026 00:00;1,5;{}\n01.10.2026 00:01;;{}\n"


def test_words_tell_that_a_column_holds_labels(guessed):
    contract, _, rows = guessed(LABELLED.format("Normal", "Störung"))
    assert (contract.files.label_column, contract.files.faults) == ("Zustand", ("Störung",))
    assert [label for _, _, label in rows] == [0, 1]
    assert list(contract.fields) == ["Temp"] and contract.fields["Temp"].invalid == "missing"


def test_words_of_a_state_are_no_labels(guessed):
    contract, _, _ = guessed(LABELLED.format("RUN", "STOP"))
    assert contract.files.label_column is None and "Zustand" in contract.fields


def profile(settings, tmp_path, text: str, name: str = "a.csv") -> str:
    """The page that is written for a file, without its pictures and tags."""
    file = tmp_path / name
    file.write_text(text, "utf-8")
    arguments = argparse.Namespace(file=file, contract=tmp_path / "new.toml")
    result = new_sensor.run(arguments, settings)
    page = Path(result["profile"])
    assert page == tmp_path / "new-profile.html"
    return page.read_text("utf-8")


def said(page: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).split())


def test_a_page_shows_what_was_guessed_and_what_the_rows_look_like(settings, tmp_path):
    rows = [
        f"P1;{k // 60:02}:{k % 60:02};{20 + k % 7};{'AUF' if k % 4 else 'ZU'}" for k in range(90)
    ]
    rows[5] = rows[5].replace(";25;", ";ERR;")
    del rows[40:60]
    text = "Anlage;Zeit;Temp (°C);Lage\n" + "\n".join(rows).replace("P1;", "P1;2026-10-01 ")
    text = profile(settings, tmp_path, text + "\n")
    page = said(text)
    assert f"Profile of a.csv 70 rows of {tmp_path / 'a.csv'} 70 readings in 70 rows" in page
    assert "Questions to you Times have no offset: is their zone UTC?" in page
    assert "Do ERR stand for no value?" in page
    assert "null_words [&#34;ERR&#34;]" in page and "interval_seconds 60" in page
    assert "device_column &#34;Anlage&#34;" in page
    assert "Temp float" not in page and "Temp int °C &middot; column Temp (°C)" in page
    assert "1.43 % missing: 1 null" in page
    assert "Temp has no value in 1.4 % of the rows." in page
    assert (
        "AUF" in page and "1 gap is longer than 5 intervals; 20 readings are absent there." in page
    )
    assert "<svg" in text


def test_rows_that_break_the_guess_are_shown(settings, tmp_path):
    rows = [
        f"m,2026-01-01T{k // 3600:02}:{k // 60 % 60:02}:{k % 60:02},{k % 10}.5"
        for k in range(21_000)
    ]
    rows[20_500] = rows[20_500].rpartition(",")[0] + ",900"
    page = said(profile(settings, tmp_path, "device,time,a\n" + "\n".join(rows) + "\n"))
    assert "a out_of_range 1" in page and "900" in page


def test_the_page_of_a_file_is_made_with_its_contract_alone(settings, tmp_path):
    text = "device,time,a\nm,2026-01-01,1\nm,2026-01-02,3\n"
    left = tmp_path / "new-profile.html"
    left.write_text("of an earlier contract")
    assert "Profile of a.csv" in profile(settings, tmp_path, text)
    left.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        profile(settings, tmp_path, text)
    assert left.read_text() == "mine"


def test_a_file_without_a_row_that_can_be_read_has_no_page(settings, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("device,time,a\nm,2026-10-25T02:30:00 X,1\nm,2026-10-25 02:30:00 CET,3\n")
    arguments = argparse.Namespace(file=file, contract=tmp_path / "new.toml")
    assert "profile" not in new_sensor.run(arguments, settings)
    assert (tmp_path / "new.toml").exists() and not (tmp_path / "new-profile.html").exists()


def test_what_a_file_holds_is_text_on_its_page(settings, tmp_path):
    hostile = "<script>alert(1)</script>"
    text = f"device,time,{hostile},b\n" + f"{hostile},2026-01-01,{hostile},1\n" * 3
    page = profile(settings, tmp_path, text, "a<b>.csv")
    assert hostile not in page and "&lt;script&gt;alert(1)" in page and "a&lt;b&gt;.csv" in page
