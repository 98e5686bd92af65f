"""Predictions in a table of the raw store, on every kind of database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from breezeway.core.errors import DataError, UsageError
from breezeway.readings.arrow import TIME
from breezeway.readings.prediction_store import PredictionStore

START = datetime(2026, 1, 1, 23, 59, 59, 123456, tzinfo=UTC)
DEVICES = ("m-1", "M-1", "ö")


def batch(rows: int = 12_001, seed: int = 0, devices: tuple[str, ...] = DEVICES) -> pa.RecordBatch:
    """More than one call of the driver takes; devices that differ by case alone."""
    scores = np.random.default_rng(seed).random(rows)
    return pa.record_batch(
        {
            "device": pa.array([devices[row % len(devices)] for row in range(rows)]),
            "time": pa.array([START + timedelta(minutes=row) for row in range(rows)], TIME),
            "score": pa.array(scores),
            "alarm": pa.array(scores >= 0.5),
        }
    )


def stored(address: str, version: str = "1") -> dict[tuple[str, str], tuple[float, int]]:
    query = sa.text(
        "SELECT device, time, score, alarm FROM predictions WHERE version = :v AND model = 'pump'"
    )
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        rows = connection.execute(query, {"v": version}).all()
    return {(device, str(time)): (value, int(alarm)) for device, time, value, alarm in rows}


def expected(batch: pa.RecordBatch) -> dict[tuple[str, str], tuple[float, int]]:
    return {
        (row["device"], str(row["time"].replace(tzinfo=None))): (row["score"], int(row["alarm"]))
        for row in batch.to_pylist()
    }


@pytest.fixture
def store(address: str) -> PredictionStore:
    return PredictionStore(address)


def test_what_is_written_is_there_to_the_last_bit(store, address):
    rows = batch()
    assert store.write([rows], "pump", "1") == len(rows)
    assert stored(address) == expected(rows)


def test_a_prediction_takes_the_place_of_an_earlier_one_of_its_version_alone(store, address):
    old, new = batch(50), batch(20, seed=1)
    store.write([old], "pump", "1")
    store.write([old], "pump", "2")
    store.write([new.slice(0, 7), new.slice(7)], "pump", "1")
    assert stored(address) == expected(old) | expected(new)
    assert stored(address, "2") == expected(old)


def test_what_was_written_before_an_error_stays_and_the_next_attempt_adds_the_rest(store, address):
    rows = batch(40)

    def breaking() -> Iterator[pa.RecordBatch]:
        yield rows.slice(0, 25)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(breaking(), "pump", "1")
    assert stored(address) == expected(rows.slice(0, 25))
    store.write([rows], "pump", "1")
    assert stored(address) == expected(rows)


def test_a_table_of_a_user_is_not_touched(store, address):
    store._engine.prepare()
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE predictions (device VARCHAR(50), time INT)")
        connection.exec_driver_sql("INSERT INTO predictions VALUES ('a', 1)")
    with pytest.raises(UsageError, match="'predictions' of the raw store was not created by"):
        store.write([batch(3)], "pump", "1")
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as connection:
        assert connection.exec_driver_sql("SELECT * FROM predictions").all() == [("a", 1)]


def test_a_device_that_a_key_does_not_tell_apart_is_refused(store, address):
    with pytest.raises(DataError, match="'m-1 ' ends with a blank"):
        store.write([batch(4, devices=("m-1", "m-1 "))], "pump", "1")
    assert stored(address) == {}
