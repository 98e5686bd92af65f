"""A user's own tables are read and never changed; Breezeway makes tables of its own beside them."""

import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa

from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.readings import labels, simulate
from breezeway.readings.arrow import REVIEWS
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from tests.fixtures.mariadb import PASSWORD

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
READING = (
    "INSERT INTO {} (device, time, payload) VALUES ('machine-01', '2026-01-01 12:00:00', '{{}}')"
)

TABLE = ["CREATE TABLE readings (device VARCHAR(50), time TIMESTAMP, payload TEXT)"]
KEPT_ELSEWHERE = [
    "CREATE TABLE telemetry (device VARCHAR(50), time TIMESTAMP, payload TEXT)",
    "CREATE VIEW readings AS SELECT * FROM telemetry",
]
OTHER_ID = [
    "CREATE TABLE readings (device VARCHAR(50), time TIMESTAMP, payload TEXT, id VARCHAR(9))",
    "ALTER TABLE readings ADD COLUMN label VARCHAR(9)",
]


SHAPE = """
    SELECT table_name, concat_ws(' ', ordinal_position, column_name, data_type, is_nullable)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'
    ORDER BY 1, 2
"""


def review(device: str = "machine-01", by: str = "ann") -> pa.Table:
    said = {
        "device": device,
        "start": START,
        "end": START + timedelta(hours=1),
        "labelled_by": by,
        "labelled_at": START,
        "fault": True,
    }
    return pa.Table.from_pylist([said], REVIEWS)


def run(address: str, *statements: str) -> None:
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def shape(address: str) -> dict[str, str]:
    """What defines each table and view, with its columns and indexes."""
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        if address.startswith("sqlite"):
            rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master").all()
            return {name: str(sql) for name, sql in rows}
        if address.startswith("postgresql"):
            rows = connection.exec_driver_sql(SHAPE).all()
            shape: dict[str, str] = {}
            for name, part in rows:
                shape[name] = f"{shape.get(name, '')}{part}\n"
            return shape
        names = connection.exec_driver_sql("SHOW TABLES").scalars().all()
        definitions = {
            name: connection.exec_driver_sql(f"SHOW CREATE TABLE `{name}`").one()[1]
            for name in names
        }
        return {n: re.sub(r"AUTO_INCREMENT=\d+", "", text) for n, text in definitions.items()}


@pytest.fixture
def own(address, tmp_path):
    """Settings of a store that has nothing yet."""
    if address.startswith("sqlite"):
        (tmp_path / "a folder").mkdir()
    return Settings(home=tmp_path, raw_url=address)


@pytest.mark.parametrize("made", [TABLE, KEPT_ELSEWHERE, OTHER_ID])
def test_labels_are_imported_beside_a_users_own_readings(own, made):
    address = own.raw_address
    run(address, *made, READING.format(made[0].split()[2]))
    before = shape(address)
    assert labels.keep(own, review()) == {"read": 1, "new": 1, "faults": 1}
    assert labels.keep(own, review()) == {"read": 1, "new": 0, "faults": 1}
    after = shape(address)
    assert {name: after[name] for name in before} == before
    assert {"labels", "reviews"} <= set(after) - set(before)
    assert not {"loads", "readings"} & (set(after) - set(before))
    assert LabelStore(address).labels()["labelled_by"].to_pylist() == ["ann"]


def test_a_user_who_may_only_read_the_readings_imports_labels(mariadb, tmp_path):
    address = mariadb.database("guarded").url
    run(address, *TABLE, READING.format("readings"))
    LabelStore(address).create()
    with mariadb.root() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER clerk IDENTIFIED BY %s", (PASSWORD,))
        cursor.execute("GRANT SELECT ON guarded.readings TO clerk")
        for table in ("labels", "reviews"):
            cursor.execute(f"GRANT SELECT, INSERT ON guarded.{table} TO clerk")
    own = Settings(home=tmp_path, raw_url=address.replace("plant", "clerk", 1))
    assert labels.keep(own, review())["new"] == 1


def test_a_user_of_postgresql_who_may_only_read_the_readings_imports_labels(postgres, tmp_path):
    address = postgres.database("guarded")
    run(address, *TABLE, READING.format("readings"))
    LabelStore(address).create()
    if not postgres.ask("SELECT 1 FROM pg_roles WHERE rolname = 'clerk'"):
        postgres.ask("CREATE ROLE clerk LOGIN PASSWORD %s", PASSWORD)
    for right in (
        "SELECT ON readings",
        "SELECT, INSERT ON labels, reviews",
        "USAGE ON SEQUENCE labels_id_seq",
    ):
        postgres.ask(f"GRANT {right} TO clerk", database="guarded")
    own = Settings(home=tmp_path, raw_url=address.replace("plant", "clerk", 1))
    assert labels.keep(own, review())["new"] == 1
    nothing = postgres.database("nothing").replace("plant", "clerk", 1)
    with pytest.raises(UsageError, match="permission denied"):
        RawStore(nothing).create()


def test_the_device_of_a_label_is_told_by_case(own):
    run(own.raw_address, *TABLE, READING.format("readings"))
    with pytest.raises(DataError, match="no readings of a device 'MACHINE-01'"):
        labels.keep(own, review("MACHINE-01"))


def test_no_label_is_put_among_a_users_own(own):
    address = own.raw_address
    made = "CREATE TABLE labels (device VARCHAR(50), start_time TIMESTAMP, end_time TIMESTAMP)"
    run(address, *TABLE, READING.format("readings"), made)
    before = shape(address)
    with pytest.raises(UsageError, match=r"'labels' .* not created by Breezeway.*rename it"):
        labels.keep(own, review())
    assert shape(address) == before
    run(address, "ALTER TABLE labels RENAME TO faults")
    assert labels.keep(own, review())["new"] == 1


@pytest.mark.parametrize("made", [TABLE, KEPT_ELSEWHERE, OTHER_ID])
def test_nothing_is_put_among_a_users_own_readings(own, made):
    address = own.raw_address
    run(address, *made, READING.format(made[0].split()[2]))
    before = shape(address)
    with pytest.raises(UsageError, match=r"'readings' .* not created by Breezeway"):
        simulate.fill(own, devices=1, days=1)
    assert shape(address) == before


def test_a_table_whose_making_was_killed_is_completed(own):
    address = own.raw_address
    store = RawStore(address)
    store.create()
    whole = shape(address)
    on = " ON readings" if address.startswith("mysql") else ""
    for name in ("device_time", "load", "time"):
        run(address, f"DROP INDEX readings_{name}{on}")
    store.create()
    assert shape(address) == whole


def test_a_users_sqlite_file_keeps_its_way_of_writing(tmp_path):
    address = f"sqlite:///{tmp_path / 'raw.db'}"
    run(address, *TABLE, READING.format("readings"))
    labels.keep(Settings(home=tmp_path, raw_url=address), review())
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
