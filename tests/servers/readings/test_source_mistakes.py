"""What is wrong with `[source]` is told by its key, and what is the user's stays as it is."""

import argparse
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import make_url

from breezeway.commands import loads
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.readings import labels, simulate
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import open_store
from tests.fixtures.mariadb import PASSWORD
from tests.fixtures.readings import load
from tests.servers.readings.test_own_tables import review, run, shape
from tests.servers.readings.test_source import (
    BERLIN,
    COLUMNS,
    FIRST,
    FORMS,
    LAST,
    NAMES,
    NATIVE,
    TEXT,
    TIMES,
    contract_of,
    dialect,
    fill,
    naive,
    rows_of,
    store_of,
)


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "a folder").mkdir()


TABLE = 'table = "Mess Werte"\n'


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            'table = "Mess Wert"',
            "table: there is no table or view 'Mess Wert'; did you mean 'Mess W",
        ),
        ('table = "hall.Mess Werte"', "table: there is no schema 'hall'"),
        (f'{TABLE}time_column = "Zeitpunkt"', "time_column: .*; did you mean 'Zeit Punkt'"),
        (f'{TABLE}device_column = "x"', "device_column: .* no column 'x'; there is 'Nr', 'Anlage'"),
        (
            f'{TABLE}id_column = "Nummer"',
            "id_column: the table 'Mess Werte' has no column 'Nummer'",
        ),
        (f'{TABLE}payload_column = "Werte"', "payload_column: .*did you mean 'Wert'"),
        (f'{TABLE}label_column = "Storung"', "label_column: .*did you mean 'Störung'"),
        ('query = "SELECT 1 AS x"', "payload_column: source.query has no column 'Wert'"),
        ('query = "DELETE FROM t"', "query: expected one SELECT, got 'DELETE'"),
        ('query = "SELECT 1; SELECT 2"', "query: "),
    ],
)
def test_what_is_not_there_is_named_by_its_key(address, source, said):
    fill(address, NATIVE, naive)
    given = {line.split(" = ")[0] for line in source.splitlines()}
    lines = [line for line in COLUMNS.split("\n") if line.split(" = ")[0] not in given]
    with pytest.raises(UsageError, match=rf"source\.{said}"):
        store_of(address, "\n".join([source, *lines])).count_by_day(FIRST, LAST, BERLIN)


IN_SECONDS = 'time_format = "epoch s"'


@pytest.mark.parametrize(
    ("form", "lines", "said"),
    [
        ("milliseconds", IN_SECONDS, "between 1990 and 2100; did you mean 'epoch ms'"),
        ("milliseconds", "", "'Zeit Punkt' has the type .*set source.time_format"),
        ("times in UTC", IN_SECONDS, "'Zeit Punkt' has the type .*expected a number, as source.t"),
        ("text with offsets", "", "'Zeit Punkt' holds '2026-03-27T20:00:00.*, with an offset"),
        (
            "text with offsets",
            'time_zone = "Europe/Berlin"',
            "expected Europe/Berlin, such as '2026-03-27 19:00:00'",
        ),
        ("milliseconds", 'time_format = "epoch ms"\nid_column = "Wert"', "'Wert' has the type"),
        ("german text", "", "'27.03.2026 20:00', which is no ISO text .*source.query"),
    ],
)
def test_a_wrong_way_of_writing_times_is_told(address, form, lines, said):
    others = {
        "text with offsets": (TEXT, lambda time: f"{time:%Y-%m-%dT%H:%M:%S}+02:00", ""),
        "german text": (TEXT, lambda time: f"{time:%d.%m.%Y %H:%M}", ""),
    }
    types, write, _ = {**FORMS, **others}[form]
    fill(address, types, write)
    columns = COLUMNS.replace("id_column", "# ") if "id_column" in lines else COLUMNS
    own = store_of(address, f'table = "Mess Werte"\n{columns}{lines}')
    with pytest.raises(DataError, match=said):
        own.count_by_day(FIRST, LAST, BERLIN)
        rows_of(own, FIRST, LAST, BERLIN)


def test_names_are_quoted_and_never_run(address):
    name = """a"b`c'; DROP TABLE readings; --"""
    own = store_of(address, f"table = '''{name.replace('.', '')}'''")
    run(address, "CREATE TABLE readings (device VARCHAR(9))")
    before = shape(address)
    with pytest.raises(UsageError, match=r"source\.table: "):
        own.has_readings()
    fill(address, NATIVE, naive)
    own = store_of(address, f"table = 'Mess Werte'\n{COLUMNS}")
    assert not own.has_device("{}%s{0}") and not own.last_readings("{}%s", TIMES[0], 1)
    assert not own.has_device("x' OR '1' = '1") and not own.has_device("\\' OR 1 = 1 -- ")
    assert shape(address).items() >= before.items()


def test_a_query_of_a_contract_cannot_write(address, monkeypatch):
    """Not even in a small question, nor if the check of its text did not see it."""
    run(address, "CREATE TABLE t (device VARCHAR(9), time TIMESTAMP, payload TEXT)")
    monkeypatch.setattr("breezeway.readings.store.check_query", lambda query, address: query)
    writes = {
        "mysql": "SELECT device, time, payload FROM t FOR UPDATE",
        "postgresql": "SELECT nextval('s')::text AS device, now() AS time, '' AS payload",
        "sqlite": "SELECT load_extension('x') AS device, '' AS time, '' AS payload",
    }
    if address.startswith("postgresql"):
        run(address, "CREATE SEQUENCE s")
    own = store_of(address, f'query = "{writes[dialect(address)]}"')
    if address.startswith("mysql"):
        with pytest.raises(UsageError, match="READ ONLY"):
            own._ask("INSERT INTO t (device) VALUES ('x')")
        return
    with pytest.raises(UsageError):
        own.has_readings()
    with pytest.raises(UsageError):
        own._ask("DELETE FROM t")


def own_settings(tmp_path, address, source, **options):
    file = tmp_path / "own.toml"
    file.write_text(contract_of(source, **options).text, encoding="utf-8")
    return Settings(home=tmp_path / "home", sensors=file, raw_url=address)


def test_nothing_is_written_to_a_users_database(address, tmp_path):
    fill(address, NATIVE, naive)
    before = shape(address)
    settings = own_settings(tmp_path, address, f'table = "Mess Werte"\n{COLUMNS}')
    file = tmp_path / "x.csv"
    file.write_text("device,time,a\nm,2026-01-01,1\n")
    said = r"own.toml: \[source\] says that readings are in a database of your own"
    for write in (
        lambda: load(settings, file),
        lambda: simulate.fill(settings, devices=1, days=1),
        lambda: loads.run(argparse.Namespace(take_back="x"), settings),
    ):
        with pytest.raises(UsageError, match=said):
            write()
    store = open_store(settings)
    assert store.count_by_day(FIRST, LAST, BERLIN)
    assert shape(address) == before


def test_a_contract_of_an_own_database_needs_its_address(tmp_path):
    settings = own_settings(tmp_path, None, 'table = "t"')
    with pytest.raises(UsageError, match="BREEZEWAY_RAW_URL does not say which"):
        open_store(settings)


def test_labels_are_kept_in_tables_of_their_own(address, tmp_path):
    fill(address, NATIVE, naive)
    before = shape(address)
    lines = COLUMNS.replace("label_column", "# ")
    settings = own_settings(tmp_path, address, f'table = "Mess Werte"\n{lines}')
    assert labels.keep(settings, review(NAMES[0]))["new"] == 1
    with pytest.raises(DataError, match="no readings of a device 'ghost'"):
        labels.keep(settings, review("ghost"))
    after = shape(address)
    assert {name: after[name] for name in before} == before
    assert LabelStore(address).labels()["device"].to_pylist() == [NAMES[0]]


def reader(request, address):
    """The address of a user who may only read the table."""
    if address.startswith("mysql"):
        mariadb = request.getfixturevalue("mariadb")
        with mariadb.root() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE OR REPLACE USER reader IDENTIFIED BY %s", (PASSWORD,))
            cursor.execute("GRANT SELECT ON raw.`Mess Werte` TO reader")
    if address.startswith("postgresql"):
        postgres = request.getfixturevalue("postgres")
        if not postgres.ask("SELECT 1 FROM pg_roles WHERE rolname = 'reader'"):
            postgres.ask("CREATE ROLE reader LOGIN PASSWORD %s", PASSWORD)
        postgres.ask('GRANT SELECT ON "Mess Werte" TO reader', database="raw")
    return address.replace("plant", "reader", 1)


def test_who_may_only_read_the_table_reads_everything(request, address, tmp_path):
    fill(address, NATIVE, naive)
    if address.startswith("sqlite"):
        Path(str(make_url(address).database)).chmod(0o400)
    own = store_of(reader(request, address), f'table = "Mess Werte"\n{COLUMNS}')
    assert sum(own.count_by_day(FIRST, LAST, BERLIN).values()) == len(TIMES)
    assert len(rows_of(own, FIRST, LAST, BERLIN)) == len(TIMES)
    assert own.newest() and own.devices_of(date(2026, 3, 29), BERLIN)
    assert own.last_readings(NAMES[0], TIMES[-1], 3)


def test_a_table_of_faults_that_is_not_there_is_named_by_its_key(address, tmp_path):
    run(address, "CREATE TABLE labels (device VARCHAR(9), start_time TIMESTAMP, wrong INTEGER)")
    contract = contract_of('table = "t"')
    with pytest.raises(DataError, match="no column 'end_time'"):
        LabelStore(address).labels_of(contract)
    run(address, "DROP TABLE labels")
    with pytest.raises(UsageError, match=r"label\.table: the raw store has no table 'labels'"):
        LabelStore(address).labels_of(contract)
