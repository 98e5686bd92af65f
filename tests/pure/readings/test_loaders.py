from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.readings import loaders
from breezeway.readings.store import RawStore
from tests.fixtures.readings import load

SENSORS = Settings.shipped_sensors


def stored(settings):
    tables = list(RawStore(settings.raw_address).stream("SELECT * FROM readings ORDER BY id"))
    return pa.concat_tables(tables).to_pylist() if tables else []


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# -- SKAB

SKAB_HEADER = ";".join(["datetime", *loaders.SKAB_SENSORS])


def test_skab_without_labels_has_none(settings, tmp_path):
    file = write(tmp_path / "new" / "1.csv", f"{SKAB_HEADER}\r\n2020-01-01 00:00:00{';1' * 8}\r\n")
    load(settings, file, "--format", "skab")
    (row,) = stored(settings)
    assert (row["device"], row["payload"], row["label"]) == ("new/1", "1;1;1;1;1;1;1;1", None)


# -- any CSV


def test_a_csv_with_a_payload_column(settings, tmp_path):
    file = write(
        tmp_path / "a.csv",
        "sensor,at,reading,broken\n"
        'a,2026-01-01T01:00:00+01:00,"{""x"": 1}",0\n'
        "b,2026-01-01 00:00:01.5,not json,1.0\n"
        "b,2026-01-01 00:00:02,,\n",
    )
    load(
        settings,
        file,
        *("--device-column", "sensor", "--time-column", "at"),
        *("--payload-column", "reading", "--label-column", "broken"),
    )
    assert [tuple(row.values()) for row in stored(settings)] == [
        ("a", datetime(2026, 1, 1, tzinfo=UTC), '{"x": 1}', 0),
        ("b", datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC), "not json", 1),
        ("b", datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC), None, None),
    ]


def test_columns_become_a_json_object(settings, tmp_path):
    file = write(
        tmp_path / "a.csv",
        'device;time;x;y;z\na;2026-01-01;1.50;"say ""°""";\na;2026-01-02;NaN;007;-3e5\n',
    )
    load(settings, file, "--payload-columns", "x,y,z", "--separator", ";")
    assert [row["payload"] for row in stored(settings)] == [
        '{"x":1.50,"y":"say \\"°\\"","z":null}',
        '{"x":"NaN","y":"007","z":-3e5}',
    ]


def test_a_file_is_loaded_in_chunks_and_whole(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(loaders, "CHUNK_ROWS", 3)
    lines = [f"a,2026-01-01T00:00:0{n},{n}\n" for n in range(7)]
    file = write(tmp_path / "a.csv", "device,time,payload\n" + "".join(lines))
    assert load(settings, file)["readings"] == 7
    assert [row["payload"] for row in stored(settings)] == [str(n) for n in range(7)]


def test_a_file_named_twice_is_loaded_once(settings, tmp_path):
    file = write(tmp_path / "data" / "a.csv", "device,time,payload\na,2026-01-01,1\n")
    assert load(settings, file, tmp_path / "data")["readings"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "column 'device' is missing; the first line has nothing"),
        ("device,payload\n", "column 'time' is missing; the first line has device, payload"),
        ("device,time,payload\n", "no row below the header"),
        ("device,time,payload\na,2026-01-01\n", "line 2: expected 3 columns, got 2"),
        ("device,time,payload\na,2026-01-01,1\na,soon,1\n", "line 3: column 'time': .* 'soon'"),
        ("device,time,payload\n,2026-01-01,1\n", "line 2: the device .* is empty"),
        ('device,time,payload\na,2026-01-01,"1\n', "line 2: unexpected end"),
        ("device,time,payload,label\na,2026-01-01,1,maybe\n", "line 2: the label: .* 'maybe'"),
        ("device,time,payload\na,2026-01-01,\udcff\n", "not UTF-8"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_nothing_is_loaded(settings, tmp_path, text, said):
    good = write(tmp_path / "a.csv", "device,time,payload,label\na,2026-01-01,1,0\n")
    bad = tmp_path / "b.csv"
    bad.write_bytes(text.encode(errors="surrogateescape"))
    label = ("--label-column", "label") if "label" in text else ()
    with pytest.raises(DataError, match=said) as caught:
        load(settings, good, bad, *label)
    assert str(bad) in str(caught.value)
    assert not Path(settings.root / "raw.db").exists()


def test_bad_payloads_are_loaded_as_they_are(settings, tmp_path):
    file = write(tmp_path / "a.csv", 'device,time,payload\na,2026-01-01,"{""x"": \na,b"\n')
    load(settings, file)
    assert stored(settings)[0]["payload"] == '{"x": \na,b'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv"], "none.csv: there is no such file"),
        (["."], "no .csv file"),
        (["x.txt", "--separator", "::"], "--separator"),
        (["x.txt", "--payload-column", "a", "--payload-columns", "b"], "expected one of them"),
    ],
)
def test_wrong_arguments_are_named(settings, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.txt", "device,time,payload\n")
    with pytest.raises(UsageError, match=said):
        load(settings, *arguments)


def test_long_payloads_make_short_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(loaders, "CHUNK_BYTES", 100)
    lines = [f"a,2026-01-01,{'x' * length}" for length in (60, 60, 10, 200, 5)]
    file = write(tmp_path / "long.csv", "device,time,payload\n" + "\n".join(lines))
    columns = loaders.general(
        device="device", time="time", payload="payload", label=None, separator=","
    )
    tables = list(loaders.read(file, columns))
    assert [len(table) for table in tables] == [2, 2, 1]
