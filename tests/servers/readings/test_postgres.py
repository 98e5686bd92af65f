"""What only PostgreSQL has: its types, its errors, its limits, a thread that reads."""

import threading
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from breezeway.core.errors import DataError, ServiceUnavailable, TryAgain, UsageError
from breezeway.readings import postgres as postgres_module
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from breezeway.readings.stretches import Calendar
from tests.servers.readings.test_store import LONG, START, everything, failures, readings

UTC_DAYS = ZoneInfo("UTC")
MANY = LONG.format(
    payload="repeat('x', 1000)", rows="generate_series(1, 1000) AS a, generate_series(1, {}) AS b"
)


@pytest.fixture
def address(postgres):
    return postgres.database("raw")


@pytest.fixture
def store(address):
    store = RawStore(address)
    store.create()
    return store


def run(store, *statements):
    with store._transaction() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


# -- types


@pytest.mark.parametrize(
    ("expression", "device"),
    [
        ("'a'::text", "a"),
        ("'a'::varchar(9)", "a"),
        ("'a'::char(9)", "a"),
        ("'a'::name", "a"),
        ("'a'::mood", "a"),
        ("'a'::word", "a"),
        ("17::smallint", "17"),
        ("17::bigint", "17"),
        (
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
    ],
)
def test_a_device_may_have_each_type_that_names_one(store, expression, device):
    run(store, "CREATE TYPE mood AS ENUM ('a', 'b')", "CREATE DOMAIN word AS text")
    query = f"SELECT {expression} AS device, now() AS time, '' AS payload"
    assert everything(store, query)["device"].to_pylist() == [device]
    run(store, "DROP TABLE readings", f"CREATE TABLE readings AS {query}")
    assert store.devices_of(datetime.now(UTC).date(), UTC_DAYS) == [device]
    later = datetime.now(UTC) + timedelta(days=1)
    assert len(store.last_readings(device, later, 3)) == 1


def test_a_null_among_devices_that_are_numbers_of_16_bytes(store):
    rows = "(VALUES (gen_random_uuid()), (NULL)) AS v(id)"
    table = everything(store, f"SELECT id AS device, now() AS time, '' AS payload FROM {rows}")
    assert table["device"].null_count == 1 and len(table["device"][0].as_py()) == 36


@pytest.mark.parametrize(
    ("expression", "time"),
    [
        ("timestamp '2026-01-01 12:00:00.123456'", START),
        ("timestamptz '2026-01-01 17:30:00.123456+05:30'", START),
        ("'2026-01-01T12:00:00.123456Z'", START),
        ("date '2026-01-01'", datetime(2026, 1, 1, tzinfo=UTC)),
        ("timestamp '0001-01-01'", datetime(1, 1, 1, tzinfo=UTC)),
        ("timestamp '9999-12-31 23:59:59.999999'", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_times_of_each_type_are_in_utc(store, expression, time):
    query = f"SELECT 'a' AS device, {expression} AS time, '' AS payload"
    assert everything(store, query)["time"].to_pylist() == [time]
    run(store, "DROP TABLE readings", f"CREATE TABLE readings AS {query}")
    days = (time.date(), time.date())
    if time.date() not in (date.min, date.max):
        assert store.count_by_day(*days, UTC_DAYS) == {time.date(): 1}
        found = store.last_readings("a", time + timedelta(days=1), 2)
        assert [reading.time for reading in found] == [time]
        ahead = store.devices_ahead(time - timedelta(days=1))
        assert ahead == {"a": (1, time)}


@pytest.mark.parametrize(
    "odd", ["infinity", "-infinity", "0044-03-15 BC", "99999-01-01", "0001-12-31 BC"]
)
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "date"])
def test_a_time_that_python_does_not_have_is_unreadable(store, kind, odd):
    run(
        store,
        "DROP TABLE readings",
        f"CREATE TABLE readings (device text, time {kind}, payload text)",
        f"INSERT INTO readings VALUES ('a', '{odd}', ''), ('a', NULL, ''), ('a', '2026-01-01', '')",
    )
    table = everything(store, "SELECT * FROM readings ORDER BY payload, ctid")
    assert table["time"].to_pylist() == [None, None, datetime(2026, 1, 1, tzinfo=UTC)]
    assert table["unreadable_time"][0].as_py().startswith("a time that is not of the years")
    assert table["unreadable_time"].null_count == 2
    first = date(2026, 1, 1)
    assert store.count_by_day(first, first, UTC_DAYS) == {first: 1}
    assert store.count_by_day(date(1, 1, 2), date(9999, 12, 30), UTC_DAYS) == {first: 1}
    found = store.last_readings("a", datetime(2026, 1, 2, tzinfo=UTC), 9)
    assert found[0].time == datetime(2026, 1, 1, tzinfo=UTC)
    assert all(reading.time is None for reading in found[1:])


@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_a_payload_may_be_json_and_a_label_a_boolean(store, kind):
    run(
        store,
        "DROP TABLE readings",
        f"CREATE TABLE readings (device text, time timestamptz, payload {kind}, broken boolean)",
        "INSERT INTO readings VALUES ('a', '2026-01-01', '{\"n\": \"°C\"}', true)",
        "INSERT INTO readings VALUES ('a', '2026-01-02', NULL, NULL)",
    )
    table = everything(store, "SELECT * FROM readings ORDER BY time", label="broken")
    assert table["payload"].to_pylist() == ['{"n": "°C"}', None]
    assert table["label"].to_pylist() == [1, None]
    (second, first) = store.last_readings("a", datetime(2026, 1, 3, tzinfo=UTC), 2, "broken")
    assert (first.payload, first.label, second.payload) == ('{"n": "°C"}', 1, None)
    assert type(first.label) is int


def test_a_label_that_is_null_everywhere_has_no_type(store):
    store.append(readings(2))
    query = "SELECT device, time, payload, NULL AS label FROM readings"
    assert everything(store, query)["label"].null_count == 2


def test_bytes_of_a_database_without_an_encoding_are_an_error_of_the_data(postgres, address):
    postgres.ask("DROP DATABASE IF EXISTS ascii")
    postgres.ask(
        "CREATE DATABASE ascii OWNER plant TEMPLATE template0 ENCODING 'SQL_ASCII' "
        "LOCALE_PROVIDER libc LOCALE 'C'"
    )
    store = RawStore(address.replace("/raw", "/ascii"))
    store.create()
    run(store, r"INSERT INTO readings (device, time, payload) VALUES ('a', now(), E'{\x80')")
    with pytest.raises(DataError, match="invalid byte sequence"):
        everything(store)


def test_a_text_that_postgresql_cannot_hold_is_an_error_of_the_data(store):
    with pytest.raises(DataError, match="NUL"):
        store.append(readings(1, payload=["a\0b"]))


def test_a_device_longer_than_the_column_is_an_error(store):
    with pytest.raises(DataError, match="too long"):
        store.append(readings(1, device=["x" * 300]))


# -- days and indexes


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_day_is_found_by_an_index(store, zone):
    run(
        store,
        "INSERT INTO readings (device, time) SELECT 'machine-' || mod(n, 50), "
        "timestamp '2026-01-01' + n * interval '1 minute' FROM generate_series(0, 20000) AS n",
        "ANALYZE readings",
    )
    day = Calendar().of_days(date(2026, 1, 5), date(2026, 1, 5), ZoneInfo(zone))
    before = Calendar().before(START + timedelta(days=13, minutes=1))
    same = f"{store._engine.exact.format('device')} = 'machine-1'"
    for query, index in (
        (f"SELECT * FROM readings WHERE {day}", "readings_time"),
        (
            f"SELECT * FROM readings WHERE device = 'machine-1' AND {same} AND {before} "
            "ORDER BY readings.time DESC LIMIT 5",
            "readings_device_time",
        ),
    ):
        with store._transaction() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN {query}").scalars().all()
        assert any(f"{index} " in line or line.endswith(index) for line in plan), plan


# -- connections


def test_another_schema_is_named_by_the_address(store, address):
    run(store, "CREATE SCHEMA plant_2")
    other = RawStore(f"{address}?options=-csearch_path%3Dplant_2")
    other.create()
    other.append(readings(3))
    assert everything(other).num_rows == 3
    assert everything(store) is None


def test_a_server_is_reached_by_its_socket(postgres, tmp_path):
    address = postgres.database("raw").replace("127.0.0.1", "")
    with pytest.raises(ServiceUnavailable, match="No such file"):
        RawStore(f"{address}?host={tmp_path}").create()


def test_a_server_that_is_away(postgres):
    address = postgres.database("raw").replace(str(postgres.port.number), "1")
    for error in failures(address):
        assert isinstance(error, ServiceUnavailable)
        assert "127.0.0.1" in str(error)


def test_a_password_that_is_wrong(postgres):
    for error in failures(postgres.database("raw").replace("s3cret", "wrong")):
        assert isinstance(error, UsageError)
        assert "password authentication failed" in str(error)


def test_a_database_that_is_not_there(postgres):
    for error in failures(postgres.database("raw") + "_too"):
        assert isinstance(error, UsageError)
        assert "does not exist" in str(error)


def test_a_server_that_has_no_connection_left_may_be_asked_again(postgres, store):
    postgres.ask("ALTER ROLE plant CONNECTION LIMIT 0")
    try:
        with pytest.raises(ServiceUnavailable, match="too many connections"):
            everything(store)
        with pytest.raises(ServiceUnavailable, match="too many connections"):
            store.append(readings(1))
    finally:
        postgres.ask("ALTER ROLE plant CONNECTION LIMIT -1")


def test_a_server_killed_in_the_midst(postgres_to_kill):
    store = RawStore(postgres_to_kill.database("midst"))
    chunks = store.stream(MANY.format(1000), chunk_rows=1000)
    next(chunks)
    postgres_to_kill.stop(9)
    with pytest.raises(ServiceUnavailable, match=r"closed the connection|reset|terminat"):
        for _ in chunks:
            pass


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_query_ended_by_somebody_in_the_midst(postgres, store, how):
    chunks = store.stream(MANY.format(1000), chunk_rows=1000)
    next(chunks)
    postgres.ask(f"SELECT {how}(pid) FROM pg_stat_activity WHERE datname = 'raw'")
    with pytest.raises(ServiceUnavailable, match=r"cancel|terminat"):
        for _ in chunks:
            pass


def working(postgres):
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = 'raw' AND pid <> pg_backend_pid()"
    return postgres.ask(query)


def test_leaving_early_ends_query_and_thread(postgres, store):
    before = threading.active_count()
    for chunk in store.stream(MANY.format(1_000_000), chunk_rows=1000):
        assert chunk.num_rows == 1000
        break
    for _ in range(100):
        if not working(postgres) and threading.active_count() == before:
            return
        time.sleep(0.05)
    pytest.fail("the server, or the thread, still works on the query")


def test_an_interrupt_while_the_server_works_ends_the_query(postgres, store, monkeypatch):
    def interrupted(self, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(postgres_module.postgres_rows._Rows, "answer", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        everything(store, MANY.format(10**9))
    assert not working(postgres) and time.monotonic() - began < 60


def test_an_error_in_the_midst_is_no_end_and_names_no_query(store):
    query = "SELECT 'a' AS device, now() AS time, repeat('x', 100 / (50000 - n)) AS payload "
    with pytest.raises(DataError, match=r"raw: division by zero\.$"):
        everything(store, f"{query}FROM generate_series(1, 60000) AS n", chunk_rows=10)


def test_an_error_of_a_query_names_what_is_wrong_in_one_line(store):
    with pytest.raises(UsageError, match=r'raw: relation "nowhere" does not exist\.$'):
        everything(store, "SELECT *\nFROM nowhere")


# -- waiting for others


def test_who_waits_for_a_lock_for_long_may_try_again(store, monkeypatch):
    monkeypatch.setattr(postgres_module, "BUSY_SECONDS", 0.2)
    with store._sql.begin() as other:
        other.exec_driver_sql("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        for use in (
            lambda: everything(store),
            lambda: store.append(readings(1)),
            store.has_readings,
        ):
            with pytest.raises(TryAgain, match="has locked a table"):
                use()


def test_two_who_wait_for_each_other(store, address):
    run(store, "CREATE TABLE a (n int)", "CREATE TABLE b (n int)")
    gate = threading.Barrier(2)
    found = []

    def lock(first, second):
        try:
            with RawStore(address)._transaction() as connection:
                connection.exec_driver_sql(f"LOCK TABLE {first}")
                gate.wait()
                connection.exec_driver_sql(f"LOCK TABLE {second}")
        except TryAgain as error:
            found.append(str(error))

    threads = [threading.Thread(target=lock, args=names) for names in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1 and "deadlock" in found[0]


def test_the_order_of_labels_does_not_depend_on_the_language(store, address):
    labels = LabelStore(address)
    labels.create()
    hour = timedelta(hours=1)
    rows = [{"device": d, "start": START, "end": START + hour} for d in ("b", "A", "a")]
    labels.append(pa.Table.from_pylist(rows))
    assert labels.labels()["device"].to_pylist() == ["A", "a", "b"]


def test_what_the_driver_says_of_errors_is_there(store):
    """`Cursor._results.reader` of ADBC gives an SQLSTATE in the midst of the rows."""
    with pytest.raises(postgres_module.adbc.Error) as caught:
        query = "SELECT repeat('x', 100 / (50000 - n)) AS payload FROM generate_series(1, 60000) n"
        with store._engine._reading(query) as (_, batches):
            for _ in batches:
                pass
    assert caught.value.sqlstate == "22012"
    assert psycopg.errors.lookup(caught.value.sqlstate) is psycopg.errors.DivisionByZero
    assert isinstance(sa.exc.DBAPIError.instance("", (), caught.value, Exception), Exception)
