"""Readings in a user's own table, view or query are read like those in a table of Breezeway's."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
import sqlalchemy as sa

from breezeway.contract.contract import Contract
from breezeway.core.days import day_of
from breezeway.readings.store import RawStore
from tests.fixtures.readings import contract_text
from tests.servers.readings.test_own_tables import run

BERLIN, KOLKATA, UTC_DAYS = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("UTC")
START = datetime(2026, 3, 27, 20, tzinfo=UTC)
TIMES = [START + timedelta(minutes=30 * n, milliseconds=500) for n in range(150)]
"""Clocks in Berlin are set forward on the 29th."""
FIRST, LAST = date(2026, 3, 27), date(2026, 3, 31)
NAMES = ("mill 'a'", "mill-b")


def naive(time):
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def berlin(time):
    return f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M:%S.%f}"


def epoch(per_second):
    return lambda time: (
        (time - datetime(1970, 1, 1, tzinfo=UTC))
        // timedelta(microseconds=1)
        * (per_second)
        // 1_000_000
    )


NATIVE = {"mysql": "DATETIME(6)", "postgresql": "TIMESTAMP", "sqlite": "TEXT"}
ZONED = {"mysql": "TIMESTAMP(6)", "postgresql": "TIMESTAMPTZ", "sqlite": "TEXT"}
TEXT = dict.fromkeys(NATIVE, "VARCHAR(40)")
NUMBER = dict.fromkeys(NATIVE, "BIGINT")
REAL = {"mysql": "DOUBLE", "postgresql": "DOUBLE PRECISION", "sqlite": "REAL"}
FORMS = {
    "times in UTC": (NATIVE, naive, ""),
    "times of Berlin": (NATIVE, berlin, 'time_zone = "Europe/Berlin"'),
    "times with a zone": (ZONED, naive, ""),
    "text": (TEXT, lambda time: naive(time).replace(" ", "T"), ""),
    "text of Berlin": (TEXT, berlin, 'time_zone = "Europe/Berlin"'),
    "seconds": (REAL, lambda time: time.timestamp(), 'time_format = "epoch s"'),
    "milliseconds": (NUMBER, epoch(1000), 'time_format = "epoch ms"'),
    "microseconds": (NUMBER, epoch(10**6), 'time_format = "epoch µs"'),
    "nanoseconds": (NUMBER, epoch(10**9), 'time_format = "epoch ns"'),
}
COLUMNS = """
device_column = "Anlage"
time_column = "Zeit Punkt"
payload_column = "Wert"
id_column = "Nr"
label_column = "Störung"
"""


def dialect(address):
    return address.partition("+")[0].partition(":")[0]


def fill(address, types, write, times=TIMES):
    """A table with names that have to be quoted, and an index of the time."""
    mark = "`" if dialect(address) == "mysql" else '"'
    statements = [
        f'CREATE TABLE "Mess Werte" ("Nr" INTEGER, "Anlage" VARCHAR(20), '
        f'"Zeit Punkt" {types[dialect(address)]}, "Wert" VARCHAR(99), "Störung" SMALLINT)',
        'CREATE INDEX of_time ON "Mess Werte" ("Zeit Punkt")',
        'CREATE INDEX of_device ON "Mess Werte" ("Anlage", "Zeit Punkt")',
    ]
    statements = [each.replace('"', mark) for each in statements]
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        if dialect(address) == "mysql":
            connection.exec_driver_sql("SET time_zone = '+00:00'")
        if dialect(address) == "postgresql":
            connection.exec_driver_sql("SET TimeZone = 'UTC'")
            connection.exec_driver_sql("SET DateStyle = 'ISO'")
        place = "?" if dialect(address) == "sqlite" else "%s"
        connection.exec_driver_sql(
            f'INSERT INTO "Mess Werte" VALUES ({", ".join([place] * 5)})'.replace('"', mark),
            [
                (n, NAMES[n % 2], write(time), json.dumps({"a": n}), int(n % 3 == 0))
                for n, time in enumerate(times)
            ],
        )


def contract_of(source, **options):
    text = contract_text(**options).replace('table = "labels"', 'column = "label"')
    return Contract.from_text(f"{text}\n[source]\n{source}", "own.toml")


def store_of(address, source, **options):
    return RawStore(address, contract=contract_of(source, **options))


def rows_of(store, first, last, zone):
    query = store.query_of_days(first, last, zone, "label")
    return pa.concat_tables(store.stream(query, label="label", with_ids=True)).sort_by("time")


@pytest.fixture(params=FORMS)
def own(address, request):
    types, write, lines = FORMS[request.param]
    fill(address, types, write)
    return store_of(address, f'table = "Mess Werte"\n{COLUMNS}{lines}')


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "a folder").mkdir()


def test_a_day_is_found_whatever_the_times_are_written_as(own):
    for zone in (UTC_DAYS, BERLIN, KOLKATA):
        expected = Counter(day_of(time, zone) for time in TIMES)
        assert own.count_by_day(FIRST, LAST, zone) == expected
        day = date(2026, 3, 29)
        found = rows_of(own, day, day, zone)
        there = [n for n, time in enumerate(TIMES) if day_of(time, zone) == day]
        assert found["time"].to_pylist() == [TIMES[n] for n in there]
        assert found["id"].to_pylist() == there
        assert found["payload"].to_pylist() == [json.dumps({"a": n}) for n in there]
        assert found["label"].to_pylist() == [int(n % 3 == 0) for n in there]
        assert found["device"].to_pylist() == [NAMES[n % 2] for n in there]
        assert own.devices_of(day, zone) == sorted(NAMES)


def test_small_questions_are_answered_from_the_users_own_columns(own):
    assert own.has_readings()
    assert own.has_device(NAMES[0]) and not own.has_device("mill-c")
    assert own.newest() == (NAMES[1], TIMES[-1])
    before = TIMES[100].replace(microsecond=0)
    last = own.last_readings(NAMES[0], before, 2, "label")
    assert [(each.time, each.id, each.label) for each in last] == [
        (TIMES[98], 98, 0),
        (TIMES[96], 96, 1),
    ]
    ahead = own.devices_ahead(TIMES[147].replace(microsecond=0))
    assert ahead == {NAMES[1]: (2, TIMES[149]), NAMES[0]: (1, TIMES[148])}
    assert sum(map(len, own.stream(own.query_since(TIMES[100])))) == 50


def test_small_questions_have_times_in_utc_wherever_the_server_is(mariadb):
    """The server's zone is +05:30: half past ten of the day before in UTC is four there."""
    address = mariadb.database("zones").url
    run(
        address,
        "CREATE TABLE readings (device VARCHAR(9), time TIMESTAMP, payload TEXT)",
        "SET time_zone = '+00:00'",
        "INSERT INTO readings VALUES ('a', '2026-01-01 22:30:00', '{}')",
    )
    store = RawStore(address)
    day = date(2026, 1, 2)
    assert not store.count_by_day(day, day, UTC_DAYS)
    assert not store.devices_of(day, UTC_DAYS)
