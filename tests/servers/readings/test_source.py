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
    "times with a zone, beside one that is named": (ZONED, naive, 'time_zone = "Europe/Berlin"'),
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
    text = contract_text(**options)
    if "label_column" not in source:
        text = text.replace('label = { column = "label" }', 'label = { table = "labels" }')
    return Contract.from_text(f"{text}\n[source]\n{source}", "own.toml")


def store_of(address, source, **options):
    return RawStore(address, contract=contract_of(source, **options))


def rows_of(store, first, last, zone):
    query = store.query_of_days(first, last, zone, "label")
    return pa.concat_tables(store.stream(query, label="label", with_ids=True)).sort_by("time")


@pytest.fixture(params=FORMS)
def own(address, request):
    types, write, lines = FORMS[request.param]
    if types is ZONED and dialect(address) == "sqlite":
        pytest.skip("SQLite has no times with a zone")
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


# -- the database works little


@pytest.mark.parametrize("form", ["times in UTC", "times of Berlin", "text", "milliseconds"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_day_and_the_last_readings_are_found_by_an_index(address, form, wrapped):
    types, write, lines = FORMS[form]
    many = [START + timedelta(minutes=n) for n in range(5000)]
    fill(address, types, write, many)
    mark = "`" if dialect(address) == "mysql" else '"'
    table = f"query = '''SELECT * FROM {mark}Mess Werte{mark} WHERE 1 = 1 -- all'''"
    if not wrapped:
        table = 'table = "Mess Werte"'
    own = store_of(address, f"{table}\n{COLUMNS}{lines}")
    day = date(2026, 3, 28)
    if not address.startswith("mysql"):
        run(address, "ANALYZE")
    queries = [(own.query_of_days(day, day, BERLIN, "label"), "of_time")]
    asked = []
    own._ask, ask = lambda query: asked.append(query) or [], own._ask
    own.last_readings(NAMES[0], many[900], 5, "label")
    own._ask = ask
    # PostgreSQL finds so few readings of two devices as fast by their times.
    queries.append((asked[0], "of_" if address.startswith("postgres") else "of_device"))
    for query, index in queries:
        explain = "EXPLAIN QUERY PLAN" if address.startswith("sqlite") else "EXPLAIN"
        plan = str(own._ask(f"{explain} {query}"))
        assert index in plan, plan


# -- where readings are


def test_a_view_of_a_schema_is_read(postgres):
    address = postgres.database("raw")
    run(
        address,
        "CREATE SCHEMA hall",
        "CREATE TABLE hall.t (device TEXT, time TIMESTAMPTZ, payload JSONB)",
        "INSERT INTO hall.t VALUES ('m', '2026-03-28 12:00:00+00', '{\"a\": 1}')",
        "CREATE VIEW hall.v AS SELECT * FROM hall.t",
    )
    own = store_of(address, 'table = "hall.v"')
    day = date(2026, 3, 28)
    assert own.count_by_day(day, day, BERLIN) == {day: 1}
    query = own.query_of_days(day, day, BERLIN, None)
    assert pa.concat_tables(own.stream(query))["payload"].to_pylist() == ['{"a": 1}']


def test_a_query_may_be_anything_that_one_select_is(address):
    fill(address, NATIVE, naive)
    mark = "`" if dialect(address) == "mysql" else '"'
    query = (
        'WITH w AS (SELECT "Anlage", "Zeit Punkt" AS t, "Wert", "Nr" % 2 AS odd FROM "Mess Werte")'
        ' SELECT "Anlage" AS device, t AS time, "Wert" AS payload FROM w '
        "WHERE odd = 1 AND 'a{b}%' <> '' -- the end"
    ).replace('"', mark)
    own = store_of(address, f"query = '''{query}'''")
    assert sum(own.count_by_day(FIRST, LAST, BERLIN).values()) == len(TIMES) // 2
    assert own.devices_of(date(2026, 3, 29), BERLIN) == [NAMES[1]]
    assert len(own.last_readings(NAMES[1], TIMES[-1], 3)) == 3
    assert not own.last_readings(NAMES[0], TIMES[-1], 3)


def test_one_machine_needs_no_column_of_its_name(address):
    fill(address, NATIVE, naive)
    lines = COLUMNS.replace('device_column = "Anlage"', 'device = "press 1"')
    own = store_of(address, f'table = "Mess Werte"\n{lines}')
    day = date(2026, 3, 29)
    assert own.devices_of(day, BERLIN) == ["press 1"]
    assert not own.devices_of(date(2025, 3, 29), BERLIN)
    assert set(rows_of(own, day, day, BERLIN)["device"].to_pylist()) == {"press 1"}
    assert own.newest() == ("press 1", TIMES[-1])
    assert own.devices_ahead(TIMES[148].replace(microsecond=0)) == {"press 1": (2, TIMES[-1])}
    assert len(own.last_readings("press 1", TIMES[9], 3)) == 3
    assert not own.last_readings("mill-b", TIMES[9], 3)
    assert own.has_device("press 1") and not own.has_device("mill-b")


FIELDS = """temperature = { type = "float", unit = "°C", path = "env.temperature" }
speed = { type = "float" }
count = { type = "int" }
on = { type = "bool" }
mode = { type = "category", categories = ["idle", 'a "b"', "3"] }
wave = { type = "vector" }
"""
MADE = {
    "mysql": (
        "temperature DECIMAL(6,2), speed DOUBLE, n BIGINT UNSIGNED, on_off BIT(1), bits BIT(12), "
        "mode VARCHAR(9), wave JSON",
        "20.50, 1e20, 18446744073709551615, b'1', b'000100000001', {mode}, {wave}",
    ),
    "postgresql": (
        "temperature NUMERIC, speed DOUBLE PRECISION, n NUMERIC, on_off BIT(1), bits BIT(12), "
        "mode TEXT, wave DOUBLE PRECISION[]",
        "20.50, 1e20, 18446744073709551615, B'1', B'000100000001', {mode}, '{{1,2.5}}'",
    ),
    "sqlite": (
        "temperature TEXT, speed REAL, n TEXT, on_off INTEGER, bits INTEGER, mode TEXT, wave TEXT",
        "'20.50', 1e20, '18446744073709551615', 1, 257, {mode}, {wave}",
    ),
}


def test_each_field_may_have_a_column_of_its_own(address):
    columns, values = MADE[dialect(address)]
    values = values.format(mode="'a \"b\"'", wave="'[1,2.5]'")
    run(
        address,
        f"CREATE TABLE t (device VARCHAR(9), time {NATIVE[dialect(address)]}, {columns})",
        f"INSERT INTO t VALUES ('m', '2026-03-28 12:00:00', {values})",
        "INSERT INTO t (device, time) VALUES ('m', '2026-03-28 12:01:00')",
    )
    lines = 'table = "t"\n[source.columns]\ncount = "n"\non = "on_off"'
    own = store_of(address, lines, fields=FIELDS)
    day = date(2026, 3, 28)
    query = own.query_of_days(day, day, UTC_DAYS, None)
    full, empty = pa.concat_tables(own.stream(query)).sort_by("time")["payload"].to_pylist()
    parsed = contract_of(lines, fields=FIELDS).parser.parse(full)
    assert parsed.pop("wave").tolist() == [1, 2.5]
    assert parsed == {"temperature": 20.5, "speed": 1e20, "count": 2**64, "on": 1, "mode": 1}
    assert json.loads(empty) == {
        "env": {"temperature": None},
        **dict.fromkeys(("speed", "count", "on", "mode", "wave")),
    }
    last = own.last_readings("m", datetime(2026, 3, 29, tzinfo=UTC), 2)
    assert [each.payload for each in last] == [empty, full]
    of_query = list(own.stream("SELECT * FROM t ORDER BY time"))
    assert of_query[0]["payload"].to_pylist() == [full, empty]
    bits = store_of(address, lines.replace('"n"', '"bits"'), fields=FIELDS)
    (table,) = bits.stream(bits.query_of_days(day, day, UTC_DAYS, None))
    assert '"count":257' in table["payload"].to_pylist()[0]


def test_a_label_may_be_a_bit(address):
    if dialect(address) == "sqlite":
        pytest.skip("SQLite has no bits")
    one = {"mysql": "b'1'", "postgresql": "B'1'"}[dialect(address)]
    run(
        address,
        "CREATE TABLE t (device VARCHAR(9), time TIMESTAMP, payload TEXT, label BIT(1))",
        f"INSERT INTO t VALUES ('m', '2026-03-28 12:00:00', '{{}}', {one})",
        "INSERT INTO t VALUES ('m', '2026-03-28 12:01:00', '{}', NULL)",
    )
    own = store_of(address, 'table = "t"\nlabel_column = "label"')
    labels = rows_of(own, date(2026, 3, 28), date(2026, 3, 29), UTC_DAYS)["label"].to_pylist()
    assert labels == [1, None]
    last = own.last_readings("m", datetime(2026, 3, 29, tzinfo=UTC), 2, "label")
    assert [each.label for each in last] == [None, 1]


def test_times_that_clocks_show_twice_or_never_are_unreadable(address):
    times = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 3, tzinfo=UTC)]
    fill(address, NATIVE, berlin, times)
    own = store_of(address, f'table = "Mess Werte"\ntime_zone = "Europe/Berlin"{COLUMNS}')
    day = date(2026, 10, 25)
    assert own.count_by_day(day, day, BERLIN) == {day: 2}
    table = rows_of(own, day, day, BERLIN)
    assert table["time"].to_pylist() == [times[1], None]
    assert table["unreadable_time"].to_pylist()[1].startswith("2026-10-25 02:30:00")


@pytest.mark.parametrize("kind", ["table", "query"])
def test_a_run_with_a_query_may_name_the_source(address, kind):
    fill(address, NATIVE, naive)
    mark = "`" if dialect(address) == "mysql" else '"'
    source = {
        "table": 'table = "Mess Werte"',
        "query": f"query = '''SELECT * FROM {mark}Mess Werte{mark} -- all'''",
    }[kind]
    own = store_of(address, f"{source}\n{COLUMNS}")
    few = f"WHERE {mark}Nr{mark} < 10"
    for query, rows in (
        ("SELECT * FROM source", 150),
        (f"SELECT * FROM source {few}", 10),
        (f"WITH few AS (SELECT * FROM source {few}) SELECT * FROM few", 10),
        (f"SELECT * FROM {mark}Mess Werte{mark} {few}", 10),
    ):
        found = pa.concat_tables(own.stream(query, label="label", with_ids=True)).sort_by("id")
        assert len(found) == rows
        assert found["label"].to_pylist()[:4] == [1, 0, 0, 1]
