"""Files of readings as the section `[files]` of a contract says, in the forms of loggers."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from breezeway.core.errors import DataError
from breezeway.readings import file_loads
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
    digest = __import__("hashlib").sha256()
    table = table.set_column(1, "time", table["time"].cast(pa.timestamp("us", tz="UTC")))
    file_loads._update(digest, table)
    text = "('m', 0, '{}', 1)('é', 1767225600500000, None, None)"
    assert digest.hexdigest() == __import__("hashlib").sha256(text.encode()).hexdigest()


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
