import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from breezeway.contract.parser import MAX_PAYLOAD_BYTES
from breezeway.core.days import day_start
from breezeway.core.errors import (
    BreezewayError,
    DataError,
    InternalError,
    ServiceUnavailable,
    TryAgain,
    UsageError,
)
from breezeway.readings import sqlite as sqlite_module
from breezeway.readings import store as store_module
from breezeway.readings.arrow import LABELS, READINGS
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from tests.fixtures.mariadb import PASSWORD

UTC_DAYS = ZoneInfo("UTC")
START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def readings(count=7, **columns):
    table = {
        "device": [f"machine-{n % 2}" for n in range(count)],
        "time": [START + timedelta(minutes=n) for n in range(count)],
        "payload": [f'{{"n": {n}, "unit": "°C 🌡"}}' for n in range(count)],
        "label": [None, 0, 1, *[0] * count][:count],
    }
    return pa.table({**table, **columns}).cast(READINGS)


def everything(store, query="SELECT * FROM readings ORDER BY id", **options):
    tables = list(store.stream(query, **options))
    return pa.concat_tables(tables) if tables else None


def test_what_is_appended_is_read(store):
    assert store.append(readings()) == 7
    assert everything(store) == readings()


def test_a_server_is_reached_by_its_socket(mariadb):
    store = RawStore(mariadb.database("socket").socket_url)
    store.create()
    store.append(readings())
    assert everything(store) == readings()


def test_chunks_have_the_size_asked_for_and_keep_the_order(store):
    store.append(readings())
    chunks = list(store.stream("SELECT * FROM readings ORDER BY id DESC", chunk_rows=3))
    assert [chunk.num_rows for chunk in chunks] == [3, 3, 1]
    assert pa.concat_tables(chunks)["time"].to_pylist() == readings()["time"].to_pylist()[::-1]


def test_rows_out_of_order_and_twice_come_as_they_are(store):
    times = [START, START - timedelta(days=1), START, START]
    store.append(readings(4, time=times))
    assert everything(store)["time"].to_pylist() == times


def test_payloads_of_every_length_survive(store):
    lengths = [0, 1, 250, 251, 252, 255, 256, 65535, 65536, 70_000, 2_000_000, 5]
    payloads = [(f"{n}|" + "é" * n)[:n] for n in lengths] + [None]
    store.append(readings(13, payload=payloads))
    assert everything(store, chunk_rows=2)["payload"].to_pylist() == payloads


def test_no_row_yields_nothing(store):
    assert list(store.stream("SELECT * FROM readings")) == []


def test_a_query_may_leave_out_the_label(store):
    store.append(readings())
    table = everything(store, "SELECT device, time, payload FROM readings ORDER BY id")
    assert table.schema == READINGS
    assert table["label"].null_count == 7


def test_the_label_may_have_another_name(store):
    store.append(readings())
    query = "SELECT device, time, payload, label AS broken FROM readings ORDER BY id"
    assert everything(store, query, label="broken") == readings()


@pytest.mark.parametrize("column", ["device", "time", "payload", "label"])
def test_a_missing_column_is_named(store, column):
    names = ["device", "time", "payload", "label"]
    rest = ", ".join(name for name in names if name != column)
    with pytest.raises(DataError, match=f"no column '{column}'; it gives "):
        everything(store, f"SELECT {rest} FROM readings", label="label")


def test_a_column_that_is_there_twice_is_refused(store):
    with pytest.raises(DataError, match="'time' more than once"):
        everything(store, "SELECT a.*, b.time FROM readings a JOIN readings b ON a.id = b.id")


@pytest.mark.parametrize(
    ("expression", "column"),
    [
        ("0.5 AS time", "time"),
        ("17 AS time", "time"),
        ("17 AS payload", "payload"),
        ("1.5 AS label", "label"),
        ("'yes' AS label", "label"),
        ("2.5 AS device", "device"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(store, expression, column):
    store.append(readings(1))
    others = [n for n in ("device", "time", "payload", "label") if n != column]
    with pytest.raises(DataError, match=f"column '{column}' has the type .*; expected"):
        everything(store, f"SELECT {', '.join(others)}, {expression} FROM readings")


def test_a_number_can_be_a_device(store):
    store.append(readings(1))
    table = everything(store, "SELECT 17 AS device, time, payload FROM readings")
    assert table["device"].to_pylist() == ["17"]


def test_a_label_that_is_none_is_not_lost(store):
    store.append(readings(3))
    query = "SELECT device, time, payload, 70000 + label AS label FROM readings ORDER BY id"
    table = everything(store, query)
    assert table["label"].to_pylist() == [None, 70000, 70001]
    assert table.schema.field("label").type == pa.int64()


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-01 12:00:00", datetime(2026, 1, 1, 12, tzinfo=UTC)),
        ("2026-01-01T12:00:00.5Z", datetime(2026, 1, 1, 12, 0, 0, 500000, tzinfo=UTC)),
        ("2026-01-01T12:00:00.123456789", datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-01 12:00:00+02:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("20260101T120000", datetime(2026, 1, 1, 12, tzinfo=UTC)),
    ],
)
def test_times_may_be_text(store, text, time):
    store.append(readings(1))
    mixed = f"""
        SELECT device, '{text}' AS time, payload FROM readings
        UNION ALL SELECT device, '2020-01-01 00:00:00' AS time, payload FROM readings"""
    assert everything(store, mixed)["time"].to_pylist()[0] == time


UNREADABLE = ["yesterday", "0000-00-00", "", "9999-12-31T23:59:59-12:00", "99999-01-01", "x" * 500]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_time_comes_as_it_is_and_the_rest_as_times(store, text):
    store.append(readings(1))
    mixed = f"""
        SELECT device, '{text}' AS time, payload FROM readings
        UNION ALL SELECT device, '2026-01-01T12:00:00Z' AS time, payload FROM readings
        UNION ALL SELECT device, NULL AS time, payload FROM readings"""
    table = everything(store, mixed)
    assert table["time"].to_pylist() == [None, datetime(2026, 1, 1, 12, tzinfo=UTC), None]
    assert table["unreadable_time"].to_pylist() == [text[:60], None, None]


def test_a_zero_date_of_a_server_is_unreadable(mariadb):
    store = RawStore(mariadb.database("zero").url)
    store.create()
    with store._transaction() as connection:
        connection.exec_driver_sql("SET SESSION sql_mode = ''")
        connection.exec_driver_sql(
            "INSERT INTO readings (device, time) VALUES ('a', '0000-00-00'), ('a', '2026-01-01')"
        )
    table = everything(store, "SELECT device, time, payload FROM readings ORDER BY id")
    assert table["unreadable_time"].to_pylist() == ["0000-00-00 00:00:00.000000", None]
    found = store.last_readings("a", datetime(2026, 1, 2, tzinfo=UTC), 5)
    assert [reading.time for reading in found] == [datetime(2026, 1, 1, tzinfo=UTC), None]
    assert store.count_by_day(date(1, 1, 1), date(9999, 12, 30), UTC_DAYS) == {date(2026, 1, 1): 1}


def test_an_unreadable_time_stops_no_question_of_days(tmp_path):
    store = RawStore(f"sqlite:///{tmp_path / 'raw.db'}")
    store.create()
    times = ["soon", "0000-00-00", "2026-01-01 12:00:00", "2026-01-01 soon", "2026-99-99", "", "9"]
    with sqlite3.connect(tmp_path / "raw.db") as connection:
        connection.executemany(
            "INSERT INTO readings (device, time) VALUES ('a', ?)", [(time,) for time in times]
        )
    first = date(2026, 1, 1)
    assert store.count_by_day(first, first, UTC_DAYS) == {first: 2}
    found = [
        r.time for r in store.last_readings("a", datetime(2026, 1, 2, tzinfo=UTC), 9) if r.time
    ]
    assert found == [datetime(2026, 1, 1, 12, tzinfo=UTC)]
    assert store.devices_ahead(START - timedelta(days=1)) == {}


def test_a_null_device_or_time_is_null(store):
    store.append(readings(1))
    table = everything(store, "SELECT NULL AS device, NULL AS time, payload FROM readings")
    assert table.select(["device", "time"]).to_pylist() == [{"device": None, "time": None}]


def test_times_do_not_depend_on_the_servers_zone(mariadb):
    store = RawStore(mariadb.database("zone").url)
    query = "SELECT 'a' AS device, FROM_UNIXTIME(0) AS time, '' AS payload"
    assert everything(store, query)["time"].to_pylist() == [datetime(1970, 1, 1, tzinfo=UTC)]


def test_bytes_that_are_no_text_do_not_stop_the_rest(store):
    store.append(readings(1))
    if "postgresql" in str(store):  # its text has no such bytes, and bytes are no text
        with pytest.raises(DataError, match="'payload' has the type bytea; expected text"):
            everything(store, "SELECT device, time, '\\x7b80'::bytea AS payload FROM readings")
        return
    blob = "x'7b80'" if "sqlite" in str(store) else "UNHEX('7b80')"
    table = everything(store, f"SELECT device, time, {blob} AS payload FROM readings")
    assert table["payload"].to_pylist() == ["{\N{REPLACEMENT CHARACTER}"]


# -- loads


def test_the_same_content_is_loaded_once(store):
    assert store.append(readings(), "hash", source="a.csv") == 7
    assert store.append(readings(), "hash", source="b.csv") == 0
    assert everything(store).num_rows == 7
    assert store.loads() == {"hash": "a.csv"}


def test_a_load_that_fails_leaves_nothing(store):
    def tables():
        yield readings()
        raise DataError("the second part is bad")

    with pytest.raises(DataError, match="second part"):
        store.append(tables(), "hash")
    assert everything(store) is None
    assert store.append(readings(), "hash") == 7


def test_a_load_that_is_killed_leaves_nothing(store, address):
    script = """
import sys
from breezeway.readings.store import RawStore
from tests.servers.readings.test_store import readings

def tables():
    yield readings()
    print("half", flush=True)
    sys.stdin.read()

RawStore(sys.argv[1]).append(tables(), "hash")
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as loader:
        assert loader.stdout.readline() == b"half\n"
        loader.send_signal(signal.SIGKILL)
    assert everything(store) is None
    assert store.append(readings(), "hash") == 7


def test_two_at_once_load_once(address):
    counts = []

    def load():
        store = RawStore(address)
        store.create()
        counts.append(store.append(readings(), "hash"))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 0, 0, 7]


def test_who_makes_a_sqlite_file_at_the_same_moment_waits(tmp_path):
    """SQLite gives up at once where two set how a new file is journaled."""
    address = tmp_path / "raw.db"
    other = sqlite3.connect(address, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    assert not address.stat().st_size
    end = threading.Timer(0.3, other.rollback)
    end.start()
    store = RawStore(f"sqlite:///{address}")
    store.create()
    end.join()
    other.close()
    assert store.append(readings()) == 7


def test_a_reader_keeps_no_writer_waiting(store):
    store.append(readings(), "first")
    chunks = store.stream("SELECT * FROM readings", chunk_rows=1)
    next(chunks)
    assert store.append(readings(), "second") == 7
    chunks.close()


def test_a_sqlite_writer_that_blocks_for_long_is_a_race_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_module, "BUSY_SECONDS", 0.1)
    store = RawStore(f"sqlite:///{tmp_path / 'raw.db'}")
    store.create()
    with sqlite3.connect(tmp_path / "raw.db") as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgain, match="locked"):
            store.append(readings())


@pytest.mark.parametrize("column", ["device", "time", "payload"])
def test_a_column_missing_from_an_append_is_named(store, column):
    with pytest.raises(DataError, match=f"column '{column}' is missing"):
        store.append(readings().drop_columns([column]))


def test_a_null_device_is_not_appended(store):
    with pytest.raises(DataError, match="Row 2: 'device' is null"):
        store.append(readings(2, device=["a", None]))


def test_a_device_longer_than_the_column_is_an_error(mariadb):
    store = RawStore(mariadb.database("long").url)
    store.create()
    with pytest.raises(DataError, match="too long"):
        store.append(readings(1, device=["x" * 300]))


# -- days


def test_days_are_counted_in_utc(store):
    midnight = datetime(2026, 1, 2, tzinfo=UTC)
    second = timedelta(seconds=1)
    store.append(readings(4, time=[midnight - second, midnight, midnight + second, START]))
    first, second_day = date(2026, 1, 1), date(2026, 1, 2)
    assert store.count_by_day(first, second_day, UTC_DAYS) == {first: 2, second_day: 2}
    assert store.count_by_day(first, first, UTC_DAYS) == {first: 2}
    assert store.count_by_day(date(2027, 1, 1), date(2027, 1, 9), UTC_DAYS) == {}


@pytest.mark.parametrize(
    ("name", "first", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 28), [24, 23, 24]),
        ("Europe/Berlin", date(2026, 10, 24), [24, 25, 24]),
        ("Europe/London", date(2026, 3, 28), [24, 23, 24]),  # begins twice on one date in UTC
        ("America/Santiago", date(2026, 9, 5), [24, 23, 24]),
        ("Australia/Lord_Howe", date(2026, 4, 4), [24, 24.5, 24]),
        ("Asia/Kathmandu", date(2026, 3, 28), [24, 24, 24]),
        ("America/Chicago", date(2026, 11, 1), [25, 24, 24]),
    ],
)
@pytest.mark.parametrize("separator", ["", "T"])
def test_the_days_of_a_zone_have_their_readings(store, name, first, hours, separator):
    zone = ZoneInfo(name)
    begin, quarter = day_start(first, zone), timedelta(minutes=15)
    times = [begin + n * quarter for n in range(-8, round(4 * sum(hours)) + 8)]
    edges = [begin - timedelta(microseconds=1), begin + timedelta(microseconds=1)]
    rows, times = len(times) + len(edges), times + edges
    store.append(readings(rows, device=["a"] * rows, label=[None] * rows, time=times))
    if separator:
        with store._transaction() as connection:
            make_text = {
                "mysql": "MODIFY time VARCHAR(40)",
                "postgresql": "ALTER time TYPE VARCHAR(40)",
            }
            if change := make_text.get(connection.dialect.name):
                connection.exec_driver_sql(f"ALTER TABLE readings {change}")
            connection.exec_driver_sql("UPDATE readings SET time = REPLACE(time, ' ', 'T')")
    days = [first + timedelta(days=n) for n in range(3)]
    counts = store.count_by_day(days[0], days[-1], zone)
    assert counts == {
        day: round(4 * length) + (day == first) for day, length in zip(days, hours, strict=True)
    }
    last = [reading.time for reading in store.last_readings("a", begin, 2)]
    assert last == [edges[0], begin - quarter]
    found = everything(store, store.query_of_days(days[1], days[1], zone, None))
    assert len(found) == counts[days[1]]
    assert min(found["time"].to_pylist()) == day_start(days[1], zone)
    assert store.devices_of(days[2], zone) == ["a"]
    assert store.devices_of(days[2] + timedelta(days=2), zone) == []


def test_the_devices_of_a_day_are_told_apart_by_case_too(store):
    store.append(readings(4, device=["b", "a", "A", "a"]))
    assert store.devices_of(START.date(), UTC_DAYS) == ["A", "a", "b"]
    assert store.devices_of(date(2026, 1, 2), UTC_DAYS) == []


def test_the_last_readings_before_a_day(store):
    times = [START + timedelta(hours=6 * n) for n in range(4)]
    store.append(readings(4, device=["a", "a", "A", "a"], time=times, label=[None, 1, 1, 0]))
    found = store.last_readings("a", datetime(2026, 1, 2, tzinfo=UTC), 5)
    assert [reading.time for reading in found] == [times[1], times[0]]
    assert [reading.payload for reading in found] == readings()["payload"].to_pylist()[1::-1]
    assert store.last_readings("a", datetime(2026, 1, 3, tzinfo=UTC), 1, "label")[0][2] == 0
    assert store.last_readings("it's \\", datetime(2026, 1, 3, tzinfo=UTC), 1) == []


def table_of_times(store, kind, *times):
    """Replace the table of readings by one of a user's own, with times of that type."""
    with store._transaction() as connection:
        connection.exec_driver_sql("DROP TABLE readings")
        connection.exec_driver_sql(
            f"CREATE TABLE readings (device VARCHAR(9), time {kind}, payload TEXT)"
        )
        for time in times:
            literal = f"'{time}'" if isinstance(time, str) else time
            connection.exec_driver_sql(f"INSERT INTO readings VALUES ('a', {literal}, '')")


@pytest.mark.parametrize("kind", ["INTEGER", "BIGINT", "DOUBLE PRECISION"])
def test_days_are_not_looked_for_among_numbers(store, kind):
    table_of_times(store, kind, int(START.timestamp()))
    with pytest.raises(DataError, match=r"'time' has the type .*; expected a time"):
        store.count_by_day(START.date(), START.date(), UTC_DAYS)
    with pytest.raises(DataError, match=r"'time' has the type .*; expected a time"):
        everything(store, "SELECT device, time, payload FROM readings")


@pytest.mark.parametrize(
    ("odd", "shown"), [(1767268800, "1767268800 (integer)"), (20260101.5, "20260101.5 (real)")]
)
def test_one_number_among_the_times_is_unreadable(tmp_path, odd, shown):
    store = RawStore(f"sqlite:///{tmp_path / 'raw.db'}")
    store.create()
    table_of_times(store, "", "2026-01-01 12:00:00", odd)
    assert store.count_by_day(START.date(), START.date(), UTC_DAYS) == {START.date(): 1}
    table = everything(store, "SELECT device, time, payload FROM readings")
    assert table["unreadable_time"].to_pylist() == [None, shown]
    with pytest.raises(DataError, match="column 'time' has the type"):
        store.count_by_day(date(2026, 3, 1), date(2026, 3, 1), UTC_DAYS)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T23:30:00-02:00",
        "2026-01-02T00:30:00+02:00",
        "2026-01-01 23:30:00-0200",
        "2026-01-01T23:30-02",
        "2025-12-31T23:30:00.5-14:00",
    ],
)
def test_days_are_not_looked_for_among_offsets(store, text):
    table_of_times(store, "VARCHAR(40)", "2026-01-01T12:00:00Z", text)
    with pytest.raises(DataError, match=r"holds '.*', with an offset from UTC.*expected UTC, such"):
        store.count_by_day(START.date(), START.date(), UTC_DAYS)
    with pytest.raises(DataError, match="with an offset from UTC"):
        store.last_readings("a", datetime(2026, 1, 9, tzinfo=UTC), 5)
    assert everything(store, "SELECT device, time, payload FROM readings").num_rows == 2
    assert store.count_by_day(date(2026, 3, 1), date(2026, 3, 9), UTC_DAYS) == {}


def test_text_in_utc_is_found_by_day_however_it_is_written(store):
    times = ["2026-01-01 12:00:00", "2026-01-01T12:00:00Z", "2026-01-01T12:00:00.123456+00:00"]
    times += ["2026-01-01T12:00:00+0000", "2026-01-01", "2026-01-01 soon-ish"]
    table_of_times(store, "VARCHAR(40)", *times)
    assert store.count_by_day(START.date(), START.date(), UTC_DAYS) == {START.date(): len(times)}


# -- only reading


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO readings (device, time) VALUES ('x', '2026-01-01')",
        "UPDATE readings SET device = 'x'",
        "DELETE FROM readings",
        "DROP TABLE readings",
        "CREATE TABLE other (x INTEGER)",
        "ALTER TABLE readings ADD COLUMN other INTEGER",
    ],
)
def test_the_engine_itself_refuses_to_write(store, monkeypatch, statement):
    store.append(readings())
    monkeypatch.setattr(store_module, "check_query", lambda query, _: query)
    with pytest.raises(UsageError, match=r"(?i)read.only|not authorized"):
        everything(store, statement)
    monkeypatch.undo()
    assert everything(store) == readings()


@pytest.mark.parametrize("statement", ["ATTACH '{}' AS other", "PRAGMA query_only = OFF"])
def test_sqlite_is_told_to_do_nothing_but_select(tmp_path, monkeypatch, statement):
    store = RawStore(f"sqlite:///{tmp_path / 'raw.db'}")
    store.create()
    monkeypatch.setattr(store_module, "check_query", lambda query, _: query)
    with pytest.raises(UsageError, match="not authorized"):
        everything(store, statement.format(tmp_path / "other.db"))
    assert not (tmp_path / "other.db").exists()


def test_the_query_is_checked(store):
    with pytest.raises(UsageError, match="expected one SELECT"):
        everything(store, "DELETE FROM readings")


# -- what fails, and how


@pytest.mark.parametrize(
    ("query", "said"),
    [("SELECT nothing FROM readings", "nothing"), ("SELECT * FROM nowhere", "nowhere")],
)
def test_what_the_store_does_not_have_is_named(store, query, said):
    with pytest.raises(UsageError, match=said):
        everything(store, query)


@pytest.mark.parametrize("chunk_rows", [0, -1])
def test_a_chunk_has_rows(store, chunk_rows):
    with pytest.raises(UsageError, match="chunk_rows"):
        everything(store, chunk_rows=chunk_rows)


def failures(address):
    """Every way to use a store, and what each raises."""
    store, labels = RawStore(address), LabelStore(address)
    uses = [
        store.create,
        store.loads,
        labels.labels,
        labels.reviews,
        lambda: store.append(readings()),
        lambda: labels.append(LABELS.empty_table()),
        lambda: everything(store),
    ]
    for use in uses:
        with pytest.raises(BreezewayError) as caught:
            use()
        error: BaseException | None = caught.value
        assert not isinstance(error, InternalError)
        while error is not None:  # a log would show what stands behind it as well
            assert PASSWORD not in str(error)
            error = None if error.__suppress_context__ else error.__context__
        yield caught.value


def test_a_server_that_is_away(mariadb):
    database = mariadb.database("away")
    address = database.url.replace(str(mariadb.port), "1")
    for error in failures(address):
        assert isinstance(error, ServiceUnavailable)
        assert "127.0.0.1" in str(error)


def test_a_socket_that_is_away(mariadb):
    address = mariadb.database("away").socket_url + "x"
    assert all(isinstance(error, ServiceUnavailable) for error in failures(address))


def test_a_password_that_is_wrong(mariadb):
    address = mariadb.database("away").url.replace("s3cret", "wrong")
    for error in failures(address):
        assert isinstance(error, UsageError)
        assert "Access denied" in str(error)


def test_a_database_that_is_not_there(mariadb):
    address = mariadb.database("away").url + "_too"
    assert all(isinstance(error, UsageError) for error in failures(address))


def test_a_sqlite_file_that_is_not_there(tmp_path):
    with pytest.raises(ServiceUnavailable, match="`breezeway load-readings FILE` makes it"):
        everything(RawStore(f"sqlite:///{tmp_path / 'none.db'}"))
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "raw.db").write_text("device,time\n" * 1000)
    with pytest.raises(DataError, match="not a database"):
        everything(RawStore(f"sqlite:///{tmp_path / 'raw.db'}"))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "no address",
        "mysql+pymysql://u:s3cret@h:port/d",
        "mysql://u:s3cret@h/d",
        "mysql+pymysql://u:s3cret@h",
        "postgresql+psycopg2://u:s3cret@h/d",
        "postgresql://u:s3cret@h/",
        "postgresql+psycopg://u:s3cret@h/d?foo=1",
        "oracle://u:s3cret@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/raw.db?foo=1",
        "mysql+pymysql://u:s3cret@h/d?foo=1",
        "mysql+pymysql://u:s3cret@h/d?charset=utf8mb4&foo=1",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(address):
    with pytest.raises(UsageError, match="BREEZEWAY_RAW_URL") as caught:
        RawStore(address)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


LONG = """
    SELECT 'machine-01' AS device, '2026-01-01 00:00:00' AS time, {payload} AS payload FROM {rows}
"""


def test_a_server_killed_in_the_midst(mariadb_to_kill):
    store = RawStore(mariadb_to_kill.database("midst").url)
    query = LONG.format(payload="REPEAT('x', 1000)", rows="seq_1_to_1000000")
    chunks = store.stream(query, chunk_rows=1000)
    next(chunks)
    mariadb_to_kill.kill()
    with pytest.raises(ServiceUnavailable, match=r"in the middle|reset"):
        for _ in chunks:
            pass


def test_a_query_killed_in_the_midst(mariadb):
    store = RawStore(mariadb.database("midst").url)
    query = LONG.format(payload="REPEAT('x', 1000)", rows="seq_1_to_1000000")
    chunks = store.stream(query, chunk_rows=1000)
    next(chunks)
    with mariadb.root() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = 'midst'")
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL QUERY {number}")
    with pytest.raises(ServiceUnavailable, match="interrupted"):
        for _ in chunks:
            pass


def test_an_error_in_the_midst_is_no_end(tmp_path):
    store = RawStore(f"sqlite:///{tmp_path / 'raw.db'}")
    store.create()
    rows = [(f"m{n}", "2026-01-01", str(-(2**63) if n == 90 else n)) for n in range(100)]
    with sqlite3.connect(tmp_path / "raw.db") as connection:
        connection.executemany(
            "INSERT INTO readings (device, time, payload) VALUES (?, ?, ?)", rows
        )
    query = """
        SELECT device, time, CAST(ABS(CAST(payload AS INTEGER)) AS TEXT) AS payload FROM readings
    """
    with pytest.raises(UsageError, match="overflow"):
        everything(store, query, chunk_rows=10)


def test_leaving_early_ends_the_query(mariadb):
    store = RawStore(mariadb.database("early").url)
    query = LONG.format(payload="REPEAT('x', 1000)", rows="seq_1_to_1000000000")
    for chunk in store.stream(query, chunk_rows=1000):
        assert chunk.num_rows == 1000
        break
    with mariadb.root() as connection, connection.cursor() as cursor:
        for _ in range(100):
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'early'")
            if cursor.fetchone() == (0,):
                return
            cursor.execute("DO SLEEP(0.05)")
    pytest.fail("the server still works on the query")


def peak_mib(address, query):
    """Peak memory of a process that streams a query, slower than the server could send it."""
    script = """
import resource, sys, time
from breezeway.readings.store import RawStore
rows = 0
for chunk in RawStore(sys.argv[1]).stream(sys.argv[2], chunk_rows=10_000):
    rows += chunk.num_rows
    time.sleep(0.02)
scale = 1024 if sys.platform == "linux" else 1024 * 1024
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // scale)
"""
    command = [sys.executable, "-c", script, address, query]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(int(number) for number in output.stdout.split())


def long_payloads(request, tmp_path, engine):
    """Address of a store, and the parts of a query for rows of any length."""
    if engine == "sqlite":
        address = f"sqlite:///{tmp_path / 'raw.db'}"
        RawStore(address).create()
        rows = """(WITH RECURSIVE s(seq) AS
            (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < {}) SELECT seq FROM s) AS s"""
        return address, rows, "CAST(ZEROBLOB({}) AS TEXT)"
    if engine == "postgres":
        address = request.getfixturevalue("postgres").database("flat")
        return address, "generate_series(1, {})", "repeat('x', {})"
    address = request.getfixturevalue("mariadb").database("flat").url
    return address, "seq_1_to_{}", "REPEAT('x', {})"


@pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgres"])
def test_memory_does_not_grow_with_the_length_of_rows(request, tmp_path, engine):
    address, rows, payload = long_payloads(request, tmp_path, engine)
    short, long = (
        peak_mib(address, LONG.format(payload=payload.format(length), rows=rows.format(2000)))
        for length in (500, 200_000)
    )
    assert (short[0], long[0]) == (2000, 2000)
    assert long[1] - short[1] < 250, "MiB more for 400 MB of rows more"


def test_a_row_that_is_too_long_is_an_error_in_words(request, tmp_path):
    address, rows, payload = long_payloads(request, tmp_path, "sqlite")
    query = LONG.format(payload=payload.format(17 << 20), rows=rows.format(1))
    with pytest.raises(DataError, match="a row or a value of more than 16 MiB"):
        everything(RawStore(address), query)


def test_the_last_readings_hold_no_payload_that_no_contract_allows(store):
    payloads = ["x" * MAX_PAYLOAD_BYTES, "x" * (MAX_PAYLOAD_BYTES + 1)]
    store.append(readings(2, device=["a", "a"], payload=payloads))
    found = store.last_readings("a", datetime(2026, 1, 2, tzinfo=UTC), 5)
    assert [reading.payload for reading in found] == [None, payloads[0]]


@pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgres"])
def test_memory_does_not_grow_with_rows(request, tmp_path, engine):
    address, rows, payload = long_payloads(request, tmp_path, engine)
    payload = payload.format(500)
    few, many = (
        peak_mib(address, LONG.format(payload=payload, rows=rows.format(count)))
        for count in (20_000, 160_000)
    )
    assert (few[0], many[0]) == (20_000, 160_000)
    assert many[1] - few[1] < 30, "MiB more for 75 MiB of rows more"


def test_ids_come_if_they_are_asked_for_and_are_whole_numbers(store):
    store.append(readings())
    assert store.has_ids
    found = everything(store, with_ids=True)["id"].to_pylist()
    assert found == sorted(set(found)) and len(found) == 7
    last = store.last_readings("a", datetime(2027, 1, 1, tzinfo=UTC), 2)
    assert all(reading.id in found for reading in last)


@pytest.mark.parametrize(
    "columns", ["'x' AS id, time, device, payload", "id, time, device, payload, id"]
)
def test_what_is_no_number_of_arrival_is_left_out(store, columns):
    store.append(readings())
    table = everything(store, f"SELECT {columns} FROM readings", with_ids=True)
    assert len(table) == 7
    assert "id" not in table.column_names or table["id"].null_count == 7
