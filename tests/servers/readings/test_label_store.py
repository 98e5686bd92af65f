"""Labels and reviews: what people said of readings is kept once, with who said it."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.readings.arrow import LABELS, REVIEWS
from breezeway.readings.labels import keep
from tests.servers.readings.test_store import START, readings


def intervals(*pairs):
    rows = [{"device": d, "start": s, "end": e} for d, s, e in pairs]
    return pa.Table.from_pylist(rows, schema=LABELS)


def test_labels_come_by_device_and_start(store, labels):
    hour = timedelta(hours=1)
    late, early = ("b", START, START + hour), ("a", START, START + hour)
    store.append(readings(), labels=intervals(late))
    assert labels.append(intervals(early)) == 1
    assert labels.labels() == intervals(early, late)


def test_a_label_says_who_found_it_and_when(labels):
    label = {"device": "a", "start": START, "end": START + timedelta(hours=1)}
    noted = {**label, "labelled_by": "Zoë", "labelled_at": START + timedelta(days=2)}
    labels.append(pa.Table.from_pylist([noted]))
    assert labels.labels().to_pylist() == [noted]


def test_a_store_of_an_older_release_is_read_and_gets_the_new_columns(store, labels):
    with store._sql.begin() as connection:
        for column in ("labelled_by", "labelled_at"):
            connection.exec_driver_sql(f"ALTER TABLE labels DROP COLUMN {column}")
        connection.exec_driver_sql(
            "INSERT INTO labels (device, start_time, end_time) "
            "VALUES ('a', '2026-01-01 12:00:00', '2026-01-01 13:00:00')"
        )
    before = labels.labels()
    assert before["labelled_by"].to_pylist() == before["labelled_at"].to_pylist() == [None]
    for _ in range(2):
        labels.create()
    assert labels.labels() == before
    row = {"device": "b", "start": START, "end": START + timedelta(hours=1), "labelled_by": "me"}
    labels.append(pa.Table.from_pylist([row]))
    assert labels.labels()["labelled_by"].to_pylist() == [None, "me"]


def test_no_label_is_an_empty_table(labels):
    assert labels.labels() == LABELS.empty_table()


def test_a_fault_that_ends_before_it_begins_is_refused(labels):
    with pytest.raises(DataError, match=r"row 1.*'a'.*ends at 2026-01-01 12:00:00"):
        labels.append(intervals(("a", START, START)))


def test_a_labels_table_that_is_not_there_is_named(labels):
    with pytest.raises(UsageError, match="faults"):
        labels.labels("faults")


def reviews(*stretches: tuple[str, int, int, bool], by: str = "ann") -> pa.Table:
    """Stretches of (device, first hour, last hour, whether it is a fault)."""
    said = [
        {
            "device": device,
            "start": START + timedelta(hours=first),
            "end": START + timedelta(hours=last),
            "labelled_by": by,
            "labelled_at": datetime.now(UTC),
            "fault": fault,
        }
        for device, first, last, fault in stretches
    ]
    return pa.Table.from_pylist(said, REVIEWS)


def test_reviews_are_kept_once_and_their_faults_become_labels(store, labels):
    assert len(labels.reviews()) == 0
    store.append(readings())
    device = readings()["device"][0].as_py()
    said = reviews((device, 0, 1, True), (device, 2, 3, False), (device, 0, 1, True))
    assert labels.append_reviews(said) == 2
    assert labels.append_reviews(said) == 0
    assert labels.append_reviews(reviews((device, 0, 1, True), by="bob")) == 1
    assert len(labels.reviews()) == 3
    kept = labels.labels().to_pylist()
    assert [row["labelled_by"] for row in kept] == ["ann", "bob"]
    assert {(row["start"], row["end"]) for row in kept} == {(START, START + timedelta(hours=1))}


def test_reviews_of_a_device_without_readings_are_refused_whole(store, labels, address, tmp_path):
    store.append(readings())
    device = readings()["device"][0].as_py()
    said = reviews((device, 0, 1, True), ("ghost", 0, 1, False))
    with pytest.raises(DataError, match="'ghost'"):
        keep(Settings(home=tmp_path, raw_url=address), said)
    assert len(labels.reviews()) == len(labels.labels()) == 0


def test_labels_of_a_contract_are_those_of_its_table(labels):
    text = (Settings.shipped_sensors / "plant.toml").read_text(encoding="utf-8")
    label = ("a", START, START + timedelta(hours=1))
    labels.append(intervals(label))
    assert labels.labels_of(Contract.from_text(text, "plant.toml")) == intervals(label)
    column = text.replace('table = "labels"', 'column = "label"')
    assert labels.labels_of(Contract.from_text(column, "plant.toml")) is None
