"""Rows that are no readings, rows of other widths, and columns between runs of blanks."""

import io
import zipfile

import pytest

from breezeway.contract.files import Files
from breezeway.readings.file_text import plain_file

NOON = "2026-01-31 12:00"
TWO = [("m", "2026-01-31 12:00:00", None, 1), ("m", "2026-01-31 12:00:00", None, 2)]
AB = 'a = { type = "float" }\nb = { type = "float", invalid = "missing" }'
MAY_END = "short_rows = true if the last columns may be missing"


def packed(**members: str) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            # At the same time for each process, because names of tests are made of it.
            file.writestr(zipfile.ZipInfo(name.replace("_", ".")), text, zipfile.ZIP_DEFLATED)
    return found.getvalue()


@pytest.mark.parametrize(
    ("data", "files"),
    [
        (f"device,time,a\nm,{NOON},1\ndevice,time,a\nm,{NOON},2\n", ""),
        (f'\ufefftime,device,a\n{NOON},m,1\n\ufeff"time" ,device,a\n{NOON},m,2\n', ""),
        (f"device,time,a\nm,{NOON},1\n,,\n ,,\nm,{NOON},2\n,,,,\n", ""),
        (f"device;time;a;\nm;{NOON};1\nm;{NOON};2\n", 'separator = ";"'),
        (f"device|+|time|+|a|+|\nm|+|{NOON}|+|1\nm|+|{NOON}|+|2\n", 'separator = "|+|"'),
        (
            f'x\n\nTotal;device;time;a\n;m;{NOON};1\n;Totals;{NOON};\n"total";3\n ;;SUM: 9\n'
            f";m;{NOON};2\nÜbersicht\n7 rows\n",
            'separator = ";"\nskip_rows = 2\n'
            'skip_words = ["total", "Totals", "sum", "ÜBERSICHT", "7 rows"]',
        ),
        (f"a,time\r1,{NOON}\rEnd\r2,{NOON}\r", 'device = "m"\nskip_words = ["End"]'),
        (f"1,{NOON}\nEnd\n2,{NOON}\n", 'device="m"\nskip_words = ["End"]\nnames = ["a", "time"]'),
        (
            'device time\t a\n\n m  2026-01-31T12:00 \t1\n"m"\t2026-01-31T12:00\t 2\n',
            'separator = "blanks"',
        ),
        (
            f"time  a\n{NOON} 1\n {NOON}   2  \n",
            'separator = "blanks"\nnames = ["day", "clock", "a"]\nskip_rows = 1\n'
            'time_column = ["day", "clock"]\ndevice = "m"',
        ),
        (f'"x\n\ny",device,time,a\n0,m,{NOON},1\n0,m,{NOON},2\n', ""),
        (f'"x\ny"\n{NOON},1\n{NOON},2\n', 'device="m"\nskip_rows = 2\nnames = ["time", "a"]'),
        (packed(a_csv=f"device,time,a\nm,{NOON},1\nm,{NOON},2\n"), ""),
    ],
)
def test_what_is_no_reading_is_passed_over(read, data, files):
    assert read(data, files) == TWO


def test_a_device_that_begins_with_the_word_is_kept(read):
    rows = read(f"device,time,a\nTotal-1,{NOON},1\nTotals,{NOON},1\n", 'skip_words = ["Total"]')
    assert [device for device, *_ in rows] == ["Total-1", "Totals"]


def test_a_row_may_end_early_if_the_contract_says_so(read, tried):
    data = f'device,time,a,b\n"m\n",{NOON},1\n\nm,{NOON},2,3\n'
    assert [row[3:] for row in read(data, "short_rows = true", AB)] == [(1, None), (2, 3)]
    assert f"line 2: expected 4 columns, got 3; set {MAY_END}" in tried(data, "", AB).mistakes


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"m,{NOON}", f"line 3: expected 3 columns, got 2; set {MAY_END}"),
        ("# end", 'line 3: expected 3 columns, got 1; set comment = "#"'),
        ("Total,9", 'got 2; set skip_words = ["Total"] if it is no reading'),
        ("rows: 9", 'got 1; set skip_words = ["rows"] if it is no reading'),
        ("Summe,,9", """expected a time, got nothing; set skip_words = ["Summe"] if it is no"""),
        ("m,,9", "expected a time, got nothing. Nothing was loaded."),
        (f"m,{NOON},1,2", "expected 3 columns, got 4; set names = […] with names for 4 columns"),
    ],
)
def test_a_row_of_another_kind_is_told_with_its_setting(tried, row, said):
    assert said in tried(f"device,time,a\nm,{NOON},1\n{row}\nm,{NOON},2\n").mistakes


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (packed(a_csv="x", b_csv="y"), "the zip file has 2 files: expected one. Unpack it"),
        (packed(), "the zip file has 0 files"),
        (packed(a_csv="x" * 99)[:60], "the packed file is damaged"),
        (packed(a_parquet="x"), "no Parquet file"),
        (
            packed(**{"xl/workbook_xml": '<sheet name="A &amp; B" id="1"/><sheet name="C"/>'}),
            r"a spreadsheet (.xlsx) with the sheets 'A & B', 'C': expected CSV, JSON or Parquet",
        ),
        (b"\xd0\xcf\x11\xe0" + bytes(9), "a spreadsheet of an old form (.xls)"),
        (b"BZh91AY&SY\x01", "packed by bzip2: expected"),
        (b'\n<?xml version="1.0"?><rows/>', "is XML: expected"),
    ],
    ids=["two members", "no member", "cut off", "Parquet", "xlsx", "xls", "bzip2", "XML"],
)
def test_what_is_no_such_file_is_named(tried, data, said):
    assert said in tried(data).mistakes


def test_a_way_to_pack_that_is_not_known_is_named_as_that(tried):
    data = packed(a_csv="x" * 99)
    deflate64 = (9).to_bytes(2, "little")
    head, entry = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    data = (
        data[: head + 8] + deflate64 + data[head + 10 : entry + 10] + deflate64 + data[entry + 12 :]
    )
    said = tried(data).mistakes
    assert "packed in a way that cannot be read" in said and "Unpack it" in said
    assert "damaged" not in said


def test_a_zip_file_that_would_fill_the_disk_is_refused(tried, monkeypatch):
    monkeypatch.setattr("breezeway.readings.file_text.FREE_BYTES", 1000)
    assert "unpacks to more than" in tried(packed(a_csv="0" * 3_000_000)).mistakes


def test_the_first_row_may_have_a_long_payload(tried):
    payload = '{""a"":1,""x"":""' + "x" * 200_000 + '""}'
    found = tried(f'device,time,payload, \nm,{NOON},"{payload}",\n')
    assert not found.mistakes and len(found.rows[0]) == 1


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("separator", [";", "blanks"])
def test_lines_are_the_same_in_whichever_pieces_a_file_is_read(
    tmp_path, monkeypatch, size, separator
):
    text = 'Total x\r\n#\r\r\na  "b  c" \n total\t1\rTotal-1 \t\n"Total";2\r\n  Totals\n# "\n\t1  2'
    file = tmp_path / "a.csv"
    file.write_text(text, newline="")
    files = Files(separator=separator, comment="#", skip_words=["Total"])
    whole = plain_file(file, files, tmp_path).path.read_bytes()
    monkeypatch.setattr("breezeway.readings.file_text.PIECE_BYTES", size)
    assert plain_file(file, files, tmp_path).path.read_bytes() == whole
    assert whole.startswith(b"Total") and whole.count(b"otal") == 3
