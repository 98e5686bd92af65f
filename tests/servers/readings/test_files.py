"""Files of readings as the section `[files]` of a contract says, in the forms of loggers."""

import gzip
import hashlib
import io
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from breezeway.core.errors import DataError, UsageError
from breezeway.readings import file_loads, file_rows, file_text
from breezeway.readings.store import RawStore
from tests.fixtures.readings import load

ONE_FIELD = "device,time,a\n"
TWO = 'a = { type = "float" }\nb = { type = "float" }'


def rows(settings):
    tables = list(RawStore(settings.raw_address).stream("SELECT * FROM readings ORDER BY id"))
    return pa.concat_tables(tables).to_pylist() if tables else []


def payloads(settings):
    return [row["payload"] for row in rows(settings)]


def times(settings):
    return [f"{row['time']:%Y-%m-%dT%H:%M:%S.%f}".removesuffix(".000000") for row in rows(settings)]


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.csv", encoding="utf-8"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


@pytest.fixture
def refused(settings, write):
    """What is said of a file that is not loaded."""

    def refused(text, files="", name="a.csv", **options):
        path = write(text, name)
        with pytest.raises(DataError) as caught:
            load(settings, path, files=files or "comment = ''", **options)
        assert not Path(settings.raw_address.removeprefix("sqlite:///")).exists()
        return str(caught.value)

    return refused


# -- a payload in one column, as before there was a section [files]


def test_a_csv_with_a_payload_column(settings, write):
    file = write(
        "sensor,at,reading,broken\n"
        'a,2026-01-01T01:00:00+01:00,"{""x"": 1}",0\n'
        "b,2026-01-01 00:00:01.5,not json,1.0\n"
        "b,2026-01-01 00:00:02,,\n",
    )
    files = """
        device_column = "sensor"
        time_column = "at"
        payload_column = "reading"
        label_column = "broken"
    """
    load(settings, file, files=files)
    assert [tuple(row.values()) for row in rows(settings)] == [
        ("a", datetime(2026, 1, 1, tzinfo=UTC), '{"x": 1}', 0),
        ("b", datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC), "not json", 1),
        ("b", datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC), None, None),
    ]


def test_without_the_section_device_time_and_payload_are_columns(settings, write):
    load(settings, write('device,time,payload\na,2026-01-01,"{""x"": \na,b"\n'))
    assert payloads(settings) == ['{"x": \na,b']


def test_the_digest_of_readings_is_that_of_older_releases():
    table = pa.table(
        [["m", "é"], [0, 1_767_225_600_500_000], ["{}", None], [1, None]],
        names=["device", "time", "payload", "label"],
    )
    digest = hashlib.sha256()
    table = table.set_column(1, "time", table["time"].cast(pa.timestamp("us", tz="UTC")))
    file_loads._update(digest, table)
    text = "('m', 0, '{}', 1)('é', 1767225600500000, None, None)"
    assert digest.hexdigest() == hashlib.sha256(text.encode()).hexdigest()


def test_a_file_named_twice_is_loaded_once(settings, write, tmp_path):
    file = write("device,time,payload\na,2026-01-01,1\n", "data/a.csv")
    assert load(settings, file, tmp_path / "data")["readings"] == 1


# -- a column for each field


def test_fields_become_a_payload(settings, write):
    file = write('device;time;x;y;z\na;2026-01-01;1.50;"say ""°""";\na;2026-01-02;NaN;b;-3e5\n')
    fields = """
        x = { type = "float", nulls = "allow" }
        y = { type = "category", categories = ["b"] }
        z = { type = "float", path = "deep.z" }
    """
    load(settings, file, files='separator = ";"', fields=fields.strip())
    assert payloads(settings) == [
        '{"x":1.50,"y":"say \\"°\\"","deep":{"z":null}}',
        '{"x":null,"y":"b","deep":{"z":-3e5}}',
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("007.5", "7.5"),
        (" 1.50 ", "1.50"),
        ("+2", "2"),
        ("-007", "-7"),
        (".5", "0.5"),
        ("5.", "5.0"),
        ("1E3", "1E3"),
        ("", "null"),
        ("NA", "null"),
        ("-", "null"),
        ("Null", "null"),
    ],
)
def test_a_number_becomes_one_of_json(settings, write, cell, value):
    load(settings, write(f"{ONE_FIELD}m,2026-01-01,{cell}\n"), files="comment = ''")
    assert payloads(settings) == [f'{{"a":{value}}}']


def test_categories_and_vectors_of_a_row(settings, write):
    fields = """
        a = { type = "category", categories = ["on", "3", "-"] }
        b = { type = "vector" }
    """
    file = write('device,time,a,b\nm,2026-01-01,3,"[1, 2]"\nn,2026-01-01,-,\nk,2026-01-01,off,1\n')
    load(settings, file, fields=fields.strip())
    assert payloads(settings) == [
        '{"a":"3","b":[1, 2]}',
        '{"a":"-","b":null}',
        '{"a":"off","b":"1"}',
    ]


def test_units_words_and_nulls_of_the_contract_s_fields(settings, write):
    fields = """
        a = { type = "float", unit = "°C", null_values = ["broken", 85] }
        b = { type = "bool", true_values = ["offen"] }
        c = { type = "category", categories = [0, 3] }
    """
    lines = ["21.5 °C,offen,3", "broken,ON,0", " 7°C ,,3", "85,0,0"]
    text = "device,time,a,b,c\n" + "".join(
        f"m,2026-01-0{number},{line}\n" for number, line in enumerate(lines, start=1)
    )
    load(settings, write(text), fields=fields.strip())
    assert payloads(settings) == [
        '{"a":21.5,"b":"offen","c":"3"}',
        '{"a":null,"b":"ON","c":"0"}',
        '{"a":7,"b":null,"c":"3"}',
        '{"a":85,"b":"0","c":"0"}',
    ]


def test_numbers_of_null_values_count_in_columns(settings, write):
    """As texts do: in a field's column and in that of the labels, however they are written."""
    fields = """
        a = { type = "bool", null_values = [85] }
        b = { type = "category", categories = [0, 85], null_values = [-1.5] }
        c = { type = "float" }
    """
    lines = ["85,85,85,0", "1,-1.5,-9999,1", "+85.0,-9999,-9999.0,-9999.00", "-9999,0,1,-9.999e3"]
    text = "device,time,a,b,c,l\n" + "".join(
        f"m,2026-01-0{number},{line}\n" for number, line in enumerate(lines, start=1)
    )
    load(
        settings,
        write(text),
        files='label_column = "l"',
        fields=fields.strip(),
        payload=", null_values = [-9999]",
    )
    assert [row["label"] for row in rows(settings)] == [0, 1, None, None]
    assert payloads(settings) == [
        '{"a":null,"b":"85","c":85}',
        '{"a":"1","b":null,"c":-9999}',
        '{"a":null,"b":null,"c":-9999.0}',
        '{"a":null,"b":"0","c":1}',
    ]


def test_a_field_within_a_list_has_no_column(settings, write):
    with pytest.raises(UsageError, match=r"fields.a.path: 'x\[0\]' leads into a list"):
        load(
            settings,
            write(f"{ONE_FIELD}m,2026-01-01,1\n"),
            fields='a = { type = "float", path = "x[0]" }',
        )


def test_a_name_is_one_file_not_a_pattern_of_names(settings, write):
    write(f"{ONE_FIELD}wrong,2026-01-01,1\n", "a/pump 1x.csv")
    for name in ("a/pump [1]*.csv", "device=5/b?.csv"):
        file = write(f"{ONE_FIELD}{name[-6]},2026-01-01,2\n", name)
        load(settings, file, files="comment = ''")
    assert [row["device"] for row in rows(settings)] == ["]", "b"]


def test_own_words_for_no_value_may_be_numbers(settings, write):
    load(settings, write(f"{ONE_FIELD}m,2026-01-01,-999\nn,2026-01-01,err\n"), files=NULLS)
    assert payloads(settings) == ['{"a":null}', '{"a":null}']


NULLS = 'null_words = [-999, "ERR"]'


def test_a_file_of_a_german_logger(settings, write):
    text = "Zeit;Anlage;Temperatur [°C];b\r\n25.10.2026 03:00:00;P1;21,5;1\r\n"
    files = """
        separator = ";"
        decimal = ","
        encoding = "latin-1"
        device_column = "Anlage"
        time_column = "Zeit"
        time_format = "%d.%m.%Y %H:%M:%S"
        time_zone = "Europe/Berlin"
        columns = { a = "Temperatur [°C]" }
    """
    load(settings, write(text, encoding="latin-1"), files=files, fields=TWO)
    # A byte order mark is UTF-8 whatever the contract says.
    again = load(settings, write(text, "b.csv", "utf-8-sig"), files=files, fields=TWO)
    assert payloads(settings) == ['{"a":21.5,"b":1}']
    assert times(settings) == ["2026-10-25T02:00:00"]
    assert again["loaded"] == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding(settings, write, encoding):
    file = write(f"{ONE_FIELD}mü,2026-01-01,1\n", encoding=encoding)
    load(settings, file, files="comment = ''")
    assert rows(settings)[0]["device"] == "mü"


def test_a_decimal_comma_takes_no_point(refused):
    said = refused("device;time;a\nm;2026-01-01;1.234\n", 'separator = ";"\ndecimal = ","')
    assert "expected a number with a comma, got '1.234'; set decimal = \".\"" in said


def test_names_are_found_with_and_without_blanks_around_them(settings, write):
    file = write("device, time, L [m], a\nm,2016-07-04 00:00, 2.44,3\n")
    load(settings, file, files='columns = { a = "L [m]", b = " a" }', fields=TWO)
    assert payloads(settings) == ['{"a":2.44,"b":3}']


def test_rows_before_the_header_units_comments_and_unused_columns(settings, write):
    file = write(
        'Logger "7\n\n# x\n,device,x y,time,a,x y\n-,-,-,s,bar,-\n#\n0,m#1,,2026-01-01,1,\n'
    )
    load(settings, file, files='skip_rows = 1\nunits_row = true\ncomment = "#"')
    assert [(row["device"], row["payload"]) for row in rows(settings)] == [("m#1", '{"a":1}')]


def test_a_file_without_header_has_names_in_the_contract(settings, write):
    load(settings, write("m,2026-01-01,1\n"), files='names = ["device", "time", "a"]')
    assert payloads(settings) == ['{"a":1}']


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_any_line_end_even_mixed_with_others(settings, write, end):
    cell = f'"{{""a"":{end}1}}"'
    load(settings, write(f"device,time,payload\nm,2026-01-01,{cell}{end}n,2026-01-01,2{end}"))
    assert payloads(settings) == [f'{{"a":{end}1}}', "2"]


def test_packed_files_and_folders(settings, write, tmp_path):
    write(gzip.compress(f"{ONE_FIELD}m,2026-01-01,1\n".encode()), "all/deep/a.csv.gz")
    write('{"device":"n","time":"2026-01-01","a":2}\n', "all/b.jsonl")
    write("no readings", "all/README.md")
    write("no readings", "all/.hidden.csv")
    assert load(settings, tmp_path / "all", files="comment = ''")["readings"] == 2


def test_a_device_of_the_contract_of_the_command_or_of_the_file(settings, write):
    file = write("time,a\n2026-01-01,1\n", "hall 3/pump.csv.gz")
    load(settings, file, files='device = "{folder}/{file}"')
    load(settings, file, "--device", "p", files="comment = ''")
    load(settings, file, files='device = "q"')
    assert [row["device"] for row in rows(settings)] == ["hall 3/pump", "p", "q"]


def test_files_without_times_have_a_row_each_interval(settings, write):
    file = write("device,a\nm,1\nm,2\n")
    load(settings, file, files="first_time = 2026-01-01T00:00:00+01:00")
    assert times(settings) == ["2025-12-31T23:00:00", "2025-12-31T23:01:00"]


# -- JSON lines, Parquet, and a row for each value


def test_lines_of_json(settings, write):
    lines = (
        '{"device":"m","time":"2026-01-01","x":9,"a":1.5}\n\n{"device":"n","time":"2026-01-01"}\n'
    )
    fields = 'a = { type = "float", path = "a" }\nb = { type = "float", path = "in.b" }'
    load(settings, write(lines, "a.jsonl"), fields=fields)
    assert payloads(settings) == ['{"a":1.5}', "{}"]


def test_payloads_within_lines_of_json(settings, write):
    lines = (
        '{"meta":{"id":"m"},"ts":1793491200123,"data":{"a":1,"c":[2]}}\n'
        '{"meta":{"id":"n"},"ts":1793491200123,"data":"raw"}\n'
    )
    files = """
        device_column = "meta.id"
        time_column = "ts"
        time_format = "epoch ms"
        payload_column = "data"
    """
    load(settings, write(lines, "a.ndjson"), files=files)
    assert payloads(settings) == ['{"a":1,"c":[2]}', "raw"]
    assert times(settings)[0] == "2026-11-01T00:00:00.123000"


def test_parquet_with_types_of_its_own(settings, write):
    table = pa.table(
        {
            "device": [7, 8],
            "time": pa.array([datetime(2026, 7, 1)] * 2),
            "a": [1.5, float("nan")],
            "b": [[1.0, 2.0], None],
            "broken": [True, False],
        }
    )
    target = io.BytesIO()
    pq.write_table(table, target)
    files = 'time_zone = "Europe/Berlin"\nlabel_column = "broken"\nfaults = ["true"]'
    fields = 'a = { type = "float" }\nb = { type = "vector" }'
    load(settings, write(target.getvalue(), "a.parquet"), files=files, fields=fields)
    assert payloads(settings) == ['{"a":1.5,"b":[1.0,2.0]}', '{"a":null,"b":null}']
    assert times(settings) == ["2026-06-30T22:00:00"] * 2
    assert [(row["device"], row["label"]) for row in rows(settings)] == [("7", 1), ("8", 0)]


LONG = """
    decimal = ","
    tag_column = "tag"
    columns = { b = "TI-7.PV" }
    label_column = "broken"
"""


def test_a_row_for_each_value_makes_a_reading_for_each_time(settings, write):
    file = write(
        "device,time,tag,value,broken\n"
        "m,2026-01-02,a,3,\n"
        'm,2026-01-01,TI-7.PV,"2,5",0\n'
        "m,2026-01-01,a,1,1\n"
        "m,2026-01-01,a,1,1\n"
        "m,2026-01-03,other,x,\n"
    )
    load(settings, file, files=LONG, fields=TWO)
    assert payloads(settings) == ['{"a":1,"b":2.5}', '{"a":3,"b":null}']
    assert [row["label"] for row in rows(settings)] == [1, None]


def test_a_row_for_each_value_may_have_a_quality(settings, write):
    file = write(
        "device,time,tag,value,q\n"
        "m,2026-01-01,a,1,Good\nm,2026-01-01,b,5,192.0\n"
        "m,2026-01-02,a,2,Bad\nm,2026-01-02,b,6,\n"
    )
    quality = 'quality = { path = "q", good_values = [192, "good"] }'
    rules = f'type = "float", invalid = "missing", {quality}'
    fields = f"a = {{ {rules} }}\nb = {{ {rules} }}"
    load(settings, file, files='tag_column = "tag"', fields=fields)
    assert payloads(settings) == ['{"a":1,"b":5,"q":192.0}', '{"a":null,"b":null,"q":192.0}']


def test_two_values_of_a_tag_at_one_time_are_refused(refused):
    text = "device,time,tag,value\nm,2026-01-01,a,1\nm,2026-01-01,a,2\n"
    assert "'m' has two values of 'a' at 2026-01-01T00:00:00" in refused(text, 'tag_column = "tag"')


def test_a_file_without_a_tag_of_the_contract_is_refused(refused):
    text = "device,time,tag,value\nm,2026-01-01,q,1\n"
    assert "no row has the tag of a field: expected a" in refused(text, 'tag_column = "tag"')


# -- times


@pytest.mark.parametrize(
    ("format", "text", "time"),
    [
        ("epoch s", "1793491200", "2026-11-01T00:00:00"),
        ("epoch s", "1793491200.25", "2026-11-01T00:00:00.250000"),
        ("epoch s", "1.7934912e9", "2026-11-01T00:00:00"),
        ("epoch ms", "1793491200001", "2026-11-01T00:00:00.001000"),
        ("epoch µs", "1793491200000001", "2026-11-01T00:00:00.000001"),
        ("epoch ns", "1793491200000001999", "2026-11-01T00:00:00.000001"),
        ("epoch s", "-1", "1969-12-31T23:59:59"),
        ("%Y%m%d", "20261101", "2026-11-01T00:00:00"),
        ("%d/%m/%Y %I:%M:%S %p", "28/12/2015 10:00:00 PM", "2015-12-28T22:00:00"),
        ("%d-%b-%y %H:%M:%S.%f %z", "01-Nov-26 00:00:00.5 +0200", "2026-10-31T22:00:00.500000"),
        ("%Y-%m-%d %H:%M:%S CET", "2026-11-01 00:00:00 CET", "2026-11-01T00:00:00"),
        ("iso", "2026-11-01T00:00:00.1234567Z", "2026-11-01T00:00:00.123456"),
        ("iso", "2026-11-01 00:00 UTC", "2026-11-01T00:00:00"),
        ("iso", "2026-11-01T00:00:00-0330", "2026-11-01T03:30:00"),
        ("iso", "20261101T000000+02", "2026-10-31T22:00:00"),
        ("iso", "2026-W44-7", "2026-11-01T00:00:00"),
    ],
)
def test_a_time_is_read_as_the_contract_says(settings, write, format, text, time):
    load(settings, write(f"{ONE_FIELD}m,{text},1\n"), files=f'time_format = "{format}"')
    assert times(settings) == [time]


def test_local_times_around_a_change_of_clocks(settings, write):
    local = ["2026-10-25 01:59", "2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-W43-7"]
    file = write(ONE_FIELD + "".join(f"m,{text},1\n" for text in local))
    load(settings, file, files='time_zone = "Europe/Berlin"')
    assert [text[8:16] for text in times(settings)] == [
        "24T23:59",
        "25T00:30",
        "25T01:30",
        "24T22:00",
    ]


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2026-10-25 02:30", "'2026-10-25 02:30' comes twice in Europe/Berlin: .* offset"),
        ("2026-03-29 02:30", "'2026-03-29 02:30' does not exist in Europe/Berlin"),
        ("2026-10-25 02:30 CET", '\'CET\' is no offset .* CET" and time_zone = "Etc/GMT-1"'),
        ("20261101", 'is 2026-11-01T.* or, as epoch s, 1970-08-23T.*"%Y%m%d" or "epoch s"'),
        ("1793491200", 'got the number .* time_format = "epoch s"'),
        ("1793491200000", 'got the number .* time_format = "epoch ms"'),
        ("1793491200000000000", 'got the number .* time_format = "epoch ns"'),
        ("31.12.2026", r"time_format = \"%d.%m.%Y\""),
        ("01/02/2026 10:00", '"%d/%m/%Y %H:%M" or "%m/%d/%Y %H:%M"'),
        ("2026-02-30", "expected a time such as .*'2026-02-30'"),
        ("9", "got the number '9'"),
        ("", "expected a time, got nothing"),
    ],
)
def test_a_time_that_is_none_is_named_with_what_would_help(refused, time, said):
    text = f"{ONE_FIELD}m,2026-01-01,1\n\nm,{time},1\n"
    found = refused(text, 'time_zone = "Europe/Berlin"')
    assert re.search(f"line 4, column 'time': .*{said}", found)


# -- labels


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ("", {"0": 0, "1.0": 1, "": None, "NaN": None}),
        ('faults = ["Attack", "A ttack"]', {"Normal": 0, "Attack": 1, "A ttack": 1, "": None}),
        ("faults = [-1]", {"1.0": 0, "-1.0": 1, "NA": None}),
        ('faults = ["True"]\nnormal = ["False"]', {"True": 1, "False": 0}),
        ('faults = ["NaN"]', {"NaN": 1}),
    ],
)
def test_labels_are_numbers_or_words(settings, write, files, labels):
    lines = "".join(f"m,2026-01-0{n},1,{label}\n" for n, label in enumerate(labels, 1))
    load(settings, write(f"device,time,a,L\n{lines}"), files=f'label_column = "L"\n{files}')
    assert [row["label"] for row in rows(settings)] == list(labels.values())


@pytest.mark.parametrize(
    ("label", "files", "said"),
    [
        ("Attack", "", "expected 0, 1 or nothing, got 'Attack'; set faults = [\"Attack\"]"),
        (
            "Normal",
            "",
            "expected 0, 1 or nothing, got 'Normal'; set faults = [\"…\"] with the words",
        ),
        ("x", 'faults = ["1"]\nnormal = ["0"]', "expected one of '1', '0' or nothing, got 'x'"),
    ],
)
def test_a_label_that_is_none_is_named(refused, label, files, said):
    text = f"device,time,a,L\nm,2026-01-01,1,{label}\n"
    assert f"line 2, column 'L': the label: {said}" in refused(text, f'label_column = "L"\n{files}')


def test_files_without_labels_may_be_without_fault(settings, write):
    files = 'label_column = "L"\nlabel_required = false\nnormal_files = ["good/*"]'
    load(settings, write(f"{ONE_FIELD}m,2026-01-01,1\n", "good/a.csv"), files=files)
    load(settings, write(f"{ONE_FIELD}n,2026-01-01,1\n", "new/a.csv"), files=files)
    assert [row["label"] for row in rows(settings)] == [0, None]


# -- mistakes


def test_each_mistake_has_its_line_and_nothing_is_loaded(settings, write):
    good = write(f"{ONE_FIELD}m,2026-01-01,1\n")
    text = (
        f'{ONE_FIELD}m,2026-01-01,1\nm,2026-01-01\n\nm,soon,1\n,2026-01-01,1\n"m\nn",2026-01-01,1\n'
        'm,2026-01-01,1,2,3\nm,2026-01-01,x\n"m"x,2026-01-01,1\n'
    ).encode() + b'\xfc,2026-01-01,1\nm,2026-01-02,"57,7"\n'
    bad = write(text, "b.csv")
    with pytest.raises(DataError) as caught:
        load(settings, good, bad, files="comment = ''")
    lines = str(caught.value).splitlines()
    assert lines == [
        "8 mistakes; nothing was loaded:",
        f"  {bad}, line 3: expected 3 columns, got 2; set short_rows = true if the last columns "
        "may be missing",
        f"  {bad}, line 5, column 'time': expected a time such as 2026-01-31T12:00:00, got 'soon'",
        f"  {bad}, line 6, column 'device': the device is empty",
        f"  {bad}, line 9: expected 3 columns, got 5; set names = […] with names for 5 columns, "
        "and skip_rows and short_rows",
        f"  {bad}, line 10, column 'a': expected a number, got 'x'; set null_words = [\"x\"] "
        "if it stands for no value",
        f"  {bad}, line 11: a quote begins or ends within a value",
        f'  {bad}, line 12: not UTF-8; set encoding = "latin-1"',
        f"  {bad}, line 13, column 'a': expected a number, got '57,7'; set decimal = \",\"",
    ]
    assert not Path(settings.raw_address.removeprefix("sqlite:///")).exists()


def test_ten_mistakes_are_shown_with_one_of_each_kind_among_them(refused):
    many = "".join(f"m,{day:02}.01.2026,1\n" for day in range(1, 20))
    said = refused(f'{ONE_FIELD}{many}m,2026-01-01,"57,7"\n')
    lines = said.splitlines()
    assert lines[0] == "The first 10 mistakes; nothing was loaded:" and len(lines) == 11
    assert "line 2, column 'time'" in lines[1] and "line 21, column 'a'" in lines[10]


@pytest.mark.parametrize(
    ("text", "files", "said"),
    [
        ("", "", "the column 'device' is missing; there are none"),
        (ONE_FIELD, "", "there is no row below the header"),
        ("device;time;a\nm;2026-01-01;1\n", "", "column 'device' is missing.*separator = \";\""),
        ("device,at,a\nm,2026-01-01,1\n", "", "column 'time' is missing; .*set time_column = …"),
        ("time,a\n2026-01-01,1\n", "", 'or, for one machine, device = "NAME"'),
        ("device,time,A [m]\nm,2026-01-01,1\n", "", r"'a' is missing.*a = … in \[files.columns\]"),
        ("device,time,a,a\n", "", "column 'a': 2 columns have this name, at the positions 3 and 4"),
        (f"{ONE_FIELD}-,s,bar\nm,2026-01-01,1\n", "", "line 2, column 'time'.*units_row = true"),
        (f'{ONE_FIELD}m,2026-01-01,"1\n', "", "line 2: a quote begins or ends within a value"),
        (b"device,t\xb0\nm,1\n", "", 'line 1: not UTF-8: .*encoding = "latin-1"'),
        (b"device,time,a\nm\x80,2026-01-01,1\n", "", 'line 2: not UTF-8; set encoding = "cp1252"'),
        (f"{ONE_FIELD}m,2026-01-01,1\n".encode("utf-16-le"), "", 'encoding = "utf-16-le"'),
        (f"{ONE_FIELD}mü,2026-01-01,1\n", 'encoding = "ascii"', ""),
        ("a" * 5_000_000, "", "a line of more than 4194304 bytes"),
        (f"{ONE_FIELD}m,2026-01-01,{'1' * 5_000_000}\n", "", "line 2: longer than the 4194304"),
        (",".join(map(str, range(5001))), "", "5001 columns: expected up to 5000"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(refused, settings, write, text, files, said):
    if not said:
        load(settings, write(text), files=files)  # ASCII is UTF-8 too
        return
    assert re.search(said, refused(text, files).replace("\n", " "))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n[1]\n", "line 2: expected a JSON object, got '[1]'"),
        ('{"device":"m"}\n', "line 1, column 'time': expected a time, got nothing"),
        ('{"time":"2026-01-01"}\n{bad\n', "line 2: expected a JSON object, got something else"),
        ('[{"device":"m"}]', "row 1, column 'time': expected a time, got nothing"),
        ('[\n{"device":"m",\n"a":x}]', "in record/value 2: unexpected character"),
    ],
)
def test_lines_of_json_that_cannot_be_read_are_named(refused, text, said):
    if text.startswith("\n"):
        text = '{"device":"m","time":"2026-01-01"}' + text
    assert said in refused(text, name="a.jsonl")


def test_a_packed_file_that_unpacks_to_far_more_is_refused(refused, monkeypatch):
    monkeypatch.setattr(file_text, "FREE_BYTES", 1 << 20)
    packed = gzip.compress((ONE_FIELD + "m,2026-01-01,1\n" * 1_000_000).encode())
    assert "unpacks to more than" in refused(packed, name="a.csv.gz")
    assert "the packed file is damaged" in refused(gzip.compress(b"a,b\n")[:-4], name="b.csv.gz")
    assert "no Parquet file" in refused(b"PAR1", name="a.parquet")


def test_wrong_arguments_are_named(settings, tmp_path):
    with pytest.raises(UsageError, match=r"none.csv: there is no such file"):
        load(settings, tmp_path / "none.csv")
    with pytest.raises(UsageError, match=r"there is no .csv, .tsv, .* file in this folder"):
        load(settings, tmp_path)
    with pytest.raises(UsageError, match="no contract 'moon'"):
        load(settings, tmp_path, "--sensors", "moon")


# -- many rows


def test_blocks_keep_their_order_and_their_lines(settings, write, monkeypatch):
    monkeypatch.setattr(file_rows, "BLOCK_ROWS", 2000)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    lines = [f"m,{(start + timedelta(seconds=n)).isoformat()},{n}\n" for n in range(9000)]
    load(settings, write(ONE_FIELD + "".join(lines)), files="comment = ''")
    assert payloads(settings) == [f'{{"a":{n}}}' for n in range(9000)]
    lines[random.Random(1).randrange(5000, 6000)] = "m,2026-01-01,x\n"
    lines[7777] = "m,2026-01-01,y\n"
    with pytest.raises(DataError, match="line 7779, column 'a'"):
        load(settings, write(ONE_FIELD + "".join(lines)), files="comment = ''")


def test_long_payloads_do_not_fill_a_block(settings, write):
    cell = "x" * 900_000
    load(
        settings,
        write("device,time,payload\n" + "".join(f"m,2026-01-0{n},{cell}\n" for n in range(1, 6))),
    )
    assert [len(payload) for payload in payloads(settings)] == [900_000] * 5


SENT = """
name = "x"
interval_seconds = 60
features = { window = 1, reading = { a = "a" } }
label = { column = "label" }
alarm = { missed_event_cost = 10, false_episode_cost = 1 }
split = { by = "time", folds = 2 }
[fields]
a = { type = "float" }
"""
OWN = 'payload = { format = "json", readings = "sent[*]", time_path = "at", device_path = "d" }\n'
FIRST = '{"at":"2026-01-01T00:00","d":"p","a":1}'
SECOND = '{"at":"2026-01-01T00:01","d":"q","a":2}'
SEVERAL = f'{{"n":1,"sent":[{FIRST},{SECOND}]}}'


def load_sent(settings, path, payload=OWN, files=""):
    contract = settings.root / "contract.toml"
    contract.parent.mkdir(parents=True, exist_ok=True)
    contract.write_text(payload + SENT + f"[files]\n{files}", encoding="utf-8")
    store = SecretStr(settings.raw_address)
    return load(settings.model_copy(update={"sensors": contract, "raw_url": store}), path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", f"{SEVERAL}\n"),
        ("a.csv", f'id,payload\n7,"{SEVERAL.replace(chr(34), chr(34) * 2)}"\n'),
        ("a.csv", f"id|payload|device\n7|{SEVERAL}|gateway\n"),
    ],
)
def test_each_reading_of_a_payload_is_a_row(settings, write, name, text):
    files = "separator = '|'\nquote = ''" if "|" in text else ""
    assert load_sent(settings, write(text, name), files=files)["readings"] == 2
    assert [row["device"] for row in rows(settings)] == ["p", "q"]
    assert times(settings) == ["2026-01-01T00:00:00", "2026-01-01T00:01:00"]
    assert payloads(settings) == [f'{{"n":1,"sent":[{each}]}}' for each in (FIRST, SECOND)]


def test_a_line_may_be_a_list_of_readings_of_one_device(settings, write):
    own = 'readings = "[*]", time_path = "t", time_format = "epoch s"'
    payload = f'payload = {{ format = "json", {own} }}\n'
    path = write('[{"t": 1767225600, "a": 1}, {"t": 1767225660.5, "a": 2}]\n', "pump 1.jsonl")
    load_sent(settings, path, payload, 'device = "{file}"')
    assert [row["device"] for row in rows(settings)] == ["pump 1"] * 2
    assert times(settings) == ["2026-01-01T00:00:00", "2026-01-01T00:01:00.500000"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SEVERAL.replace("2026-01-01T00:01", "noon"), "line 2: the time of a reading: 'noon' at"),
        (SEVERAL.replace('"d":"q",', ""), "line 2: the device of a reading: nothing at 'd'"),
        (SEVERAL.replace("sent", "other"), "line 2: payload: no 'sent' in the payload"),
    ],
)
def test_a_reading_without_its_own_time_or_device_is_a_mistake(settings, write, text, said):
    path = write(f"{SEVERAL}\n{text}\n", "a.jsonl")
    with pytest.raises(DataError, match=re.escape(said)):
        load_sent(settings, path)
