"""When nights are checked: which days, in which order, what is made up, what a backfill holds."""

from collections.abc import Iterator

import pendulum
import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction

from breezeway_airflow import timetables
from breezeway_airflow.nights import MADE_UP_DAYS
from breezeway_airflow.timetables import Nights

NOW = pendulum.datetime(2026, 6, 20, 11)
NIGHTS = Nights(hours=2)


@pytest.fixture(autouse=True)
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timetables, "now", lambda zone: NOW)


def due(last: DataInterval | None) -> Iterator[DagRunInfo]:
    """The runs that the scheduler creates now, after the last that it created."""
    restriction = TimeRestriction(pendulum.datetime(2026, 1, 1), None, catchup=False)
    while True:
        info = NIGHTS.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        assert info is not None
        if info.run_after > NOW:
            return
        yield info
        last = info.data_interval


def day(number: int, hour: int = 0) -> DataInterval:
    start = pendulum.datetime(2026, 6, number, hour)
    return DataInterval(start, start.add(days=1))


def dates(infos: Iterator[DagRunInfo]) -> list[str]:
    return [f"{info.logical_date:%Y-%m-%d %H}" for info in infos]


def test_missed_nights_are_made_up_oldest_first() -> None:
    assert dates(due(day(16))) == ["2026-06-17 00", "2026-06-18 00", "2026-06-19 00"]
    assert dates(due(day(19))) == []


def test_a_long_absence_is_made_up_for_four_weeks() -> None:
    start = pendulum.datetime(2026, 1, 5)
    made_up = dates(due(DataInterval(start, start.add(days=1))))
    assert len(made_up) == MADE_UP_DAYS
    assert (made_up[0], made_up[-1]) == ("2026-05-23 00", "2026-06-19 00")


def test_a_new_installation_begins_with_the_present_day() -> None:
    assert dates(due(None)) == []


def test_a_night_is_checked_two_hours_after_its_day() -> None:
    (info,) = due(day(18))
    assert info.data_interval == day(19)
    assert info.run_after == pendulum.datetime(2026, 6, 20, 2)


def test_no_night_is_lost_where_the_schedule_was_another() -> None:
    """Until now a run's interval began at two in the night."""
    assert dates(due(day(17, hour=2))) == ["2026-06-18 00", "2026-06-19 00"]


def test_a_backfill_includes_both_of_its_dates() -> None:
    with DAG("nights", schedule=NIGHTS, start_date=pendulum.datetime(2026, 1, 1)) as dag:
        pass
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    first, last = pendulum.datetime(2026, 2, 3), pendulum.datetime(2026, 2, 5)
    infos = list(stored.iter_dagrun_infos_between(first, last))
    assert dates(infos) == ["2026-02-03 00", "2026-02-04 00", "2026-02-05 00"]
    assert [info.run_after.hour for info in infos] == [2, 2, 2]
    assert dates(stored.iter_dagrun_infos_between(first, first)) == ["2026-02-03 00"]


def test_a_run_by_hand_with_the_logical_date_of_a_night_does_not_stop_the_schedule() -> None:
    by_hand = NIGHTS.infer_manual_data_interval(run_after=pendulum.datetime(2026, 6, 18))
    assert by_hand == day(18)
    assert dates(due(by_hand)) == ["2026-06-19 00"]


def test_a_run_by_hand_is_for_the_last_night_that_is_due() -> None:
    for hour, expected in ((1, 18), (2, 19), (23, 19)):
        run_after = pendulum.datetime(2026, 6, 20, hour)
        assert NIGHTS.infer_manual_data_interval(run_after=run_after) == day(expected)
