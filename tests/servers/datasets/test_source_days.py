"""Days of a user's own table are the same, bit by bit, as those of Breezeway's."""

import json
from datetime import timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa

from breezeway.core.settings import Settings
from breezeway.datasets import history, versions
from breezeway.pipeline import preprocessing
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore, open_store
from tests.servers.datasets.test_history import (
    DAYS,
    EVERY,
    FAULT,
    FIRST,
    LAST,
    bits,
    contract_of,
    home,
    make,
    publish,
    readings,
    stale,
    table,
)
from tests.servers.readings.conftest import address

__all__ = ["address", "home"]

SOURCE = """
[source]
table = "messwerte"
device_column = "anlage"
time_column = "ts"
time_format = "epoch ms"
id_column = "nr"
[source.columns]
temperature = "temp"
"""
TABLE = (
    "CREATE TABLE messwerte (nr INTEGER PRIMARY KEY, anlage VARCHAR(20), ts BIGINT, "
    "temp DOUBLE PRECISION, torque DOUBLE PRECISION)"
)
GOOD = [row for row in readings() if row["payload"] != "broken"]
"""A table with a column for each field cannot hold the others."""


def insert(address: str, rows: list[dict], first: int = 0) -> None:
    mark = "?" if address.startswith("sqlite") else "%s"
    values = []
    for number, row in enumerate(rows, first):
        said = json.loads(row["payload"])
        when = round(row["time"].timestamp() * 1000)
        values.append((number, row["device"], when, said["env"]["temperature"], said["torque"]))
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO messwerte VALUES ({', '.join([mark] * 5)})", values
        )


@pytest.fixture
def own(home: Settings, address: str, tmp_path) -> Settings:
    """The same readings as `home` has, in a user's table."""
    (tmp_path / "a folder").mkdir()
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(TABLE)
    insert(address, GOOD)
    labels = LabelStore(address)
    labels.create()
    labels.append(pa.Table.from_pylist([FAULT]))
    sensors = tmp_path / "own.toml"
    sensors.write_text(contract_of(home).text + SOURCE, encoding="utf-8")
    return Settings(home=tmp_path / "own home", sensors=sensors, raw_url=address)


def test_days_of_a_users_table_have_the_same_features(home, own):
    with RawStore(home.raw_address)._transaction() as connection:
        connection.exec_driver_sql("DELETE FROM readings WHERE payload = 'broken'")
    ours, theirs = (table([make(each, day) for day in EVERY]) for each in (home, own))
    assert ours.column_names == theirs.column_names
    for name in ours.column_names:
        assert bits(ours[name]) == bits(theirs[name]), name


def test_history_of_a_users_table(own, address):
    """Made, composed, stale by a late reading, made again, and trained on as a range."""
    publish(own, *EVERY)
    plan = history.plan(own, FIRST, LAST)
    assert [each["stale"] for each in plan["days"]] == [None] * DAYS
    whole = history.compose(own, FIRST, LAST)
    manifest = versions.open_dataset(own, whole.tag).manifest
    assert manifest["query"] == open_store(own).query_of_days(
        FIRST, LAST, contract_of(own).zone, None
    )
    insert(address, [{**GOOD[0], "time": GOOD[0]["time"] + timedelta(minutes=7)}], len(GOOD))
    assert set(stale(own)) == {FIRST}
    made = preprocessing.make_range(own, contract_of(own), FIRST, LAST, "v1")
    assert (made["days"], made["made"]) == (DAYS, [str(FIRST)])
    assert stale(own) == {}


def test_another_source_makes_days_stale(own):
    publish(own, FIRST)
    own.sensors.write_text(own.sensors.read_text().replace('"nr"', '"ts"'), encoding="utf-8")
    assert stale(own) == {FIRST: "the sensor contract changed"}
