"""When nights are checked: which days, in which order, what is made up, what a backfill holds."""

from collections.abc import Iterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction

from breezeway.core.days import day_end, day_of, day_start
from breezeway_airflow import timetables
from breezeway_airflow.nights import MADE_UP_DAYS
from breezeway_airflow.timetables import BackfilledDays, DayPartitions, Nights

NOW = pendulum.datetime(2026, 6, 20, 11)
NIGHTS = Nights(hours=2, zone="UTC")


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


def nights_of(zone: str, first: pendulum.DateTime, last: pendulum.DateTime) -> list[DagRunInfo]:
    """The runs of a backfill."""
    schedule = Nights(hours=2, zone=zone)
    with DAG("nights", schedule=schedule, start_date=pendulum.datetime(2026, 1, 1)) as dag:
        pass
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    return list(stored.iter_dagrun_infos_between(first, last))


@pytest.mark.parametrize(
    ("zone", "change", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29), [24, 23, 24]),
        ("Europe/Berlin", (2026, 10, 25), [24, 25, 24]),
        ("America/Chicago", (2026, 3, 8), [24, 23, 24]),
        ("America/Santiago", (2026, 9, 6), [24, 23, 24]),  # clocks skip its midnight
        ("Africa/Cairo", (2026, 4, 24), [24, 23, 24]),
        ("America/Havana", (2026, 11, 1), [24, 25, 24]),  # clocks show its midnight twice
        ("Pacific/Auckland", (2026, 4, 5), [24, 25, 24]),
    ],
)
def test_a_backfill_holds_the_days_of_the_zone_from_end_to_end(zone, change, hours) -> None:
    middle = pendulum.datetime(*change)
    first, last = middle.subtract(days=1), middle.add(days=1)
    infos = nights_of(zone, first, last)
    intervals = [info.data_interval for info in infos]
    days = [day_of(each.start, ZoneInfo(zone)) for each in intervals]
    assert days == [first.date(), middle.date(), last.date()]
    for day, each, length in zip(days, intervals, hours, strict=True):
        assert each.start == day_start(day, ZoneInfo(zone))
        assert each.end - each.start == timedelta(hours=length)
    assert [info.run_after for info in infos] == [each.end.add(hours=2) for each in intervals]


def test_missed_nights_of_a_zone_are_made_up_over_the_change_of_clocks(monkeypatch) -> None:
    schedule = Nights(hours=2, zone="Europe/Berlin")
    moment = pendulum.datetime(2026, 10, 27, 1, tz="Europe/Berlin").in_timezone("UTC")
    monkeypatch.setattr(timetables, "now", lambda zone: moment)
    start = pendulum.datetime(2026, 10, 23, tz="Europe/Berlin")
    last, starts = DataInterval(start, start.add(days=1)), []
    restriction = TimeRestriction(pendulum.datetime(2026, 1, 1), None, catchup=False)
    for _ in range(3):
        info = schedule.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        assert info is not None
        last = info.data_interval
        starts.append(f"{info.run_after.in_timezone('Europe/Berlin'):%d %H:%M}")
    assert starts == ["25 02:00", "26 02:00", "27 02:00"]
    made_up = schedule.next_dagrun_info(
        last_automated_data_interval=DataInterval(*2 * [pendulum.datetime(2026, 2, 1)]),
        restriction=restriction,
    )
    assert made_up is not None
    assert f"{made_up.data_interval.start.in_timezone('Europe/Berlin')}".startswith("2026-09-29 00")


def test_a_run_by_hand_in_a_zone_is_for_the_last_night_that_is_due() -> None:
    schedule = Nights(hours=2, zone="Europe/Berlin")
    for hour, expected in (("00:30", 24), ("01:59", 24), ("03:00", 25)):
        run_after = pendulum.parse(f"2026-10-26T{hour}", tz="Europe/Berlin").in_timezone("UTC")
        found = schedule.infer_manual_data_interval(run_after=run_after)
        assert found.start.in_timezone("Europe/Berlin").day == expected
    midnight = pendulum.datetime(2026, 10, 25, tz="Europe/Berlin").in_timezone("UTC")
    found = schedule.infer_manual_data_interval(run_after=midnight)
    assert (found.start, found.end) == (midnight, midnight.add(hours=25))


@pytest.mark.parametrize(
    ("zone", "around"),
    [
        ("UTC", (2026, 3, 29)),
        ("Europe/Berlin", (2026, 3, 29)),
        ("America/Santiago", (2026, 9, 6)),
        ("America/Havana", (2026, 11, 1)),
        ("Asia/Tokyo", (2026, 1, 1)),
    ],
)
def test_each_day_of_a_zone_has_its_partition_by_schedule_and_by_backfill(zone, around) -> None:
    with DAG(
        "parts", schedule=DayPartitions(zone), start_date=pendulum.datetime(2025, 1, 1)
    ) as dag:
        pass
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    middle = pendulum.datetime(*around)
    first, last = middle.subtract(days=2), middle.add(days=2)
    expected = [str(first.add(days=n).date()) for n in range(5)]
    assert stored.timetable.partitioned
    filled = list(stored.iter_dagrun_infos_between(first, last))
    assert [info.partition_key for info in filled] == expected
    start = pendulum.instance(day_start(first.date(), ZoneInfo(zone)))
    restriction = TimeRestriction(start.add(seconds=1), None, catchup=True)
    info, scheduled = None, []
    for _ in expected:
        info = stored.timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=restriction)
        scheduled.append(info)
    assert [info.partition_key for info in scheduled] == expected
    assert [info.partition_date for info in scheduled] == [info.partition_date for info in filled]
    ends = [day_end(date.fromisoformat(key), ZoneInfo(zone)) for key in expected]
    assert [info.run_after for info in scheduled] == ends


def test_days_that_only_a_backfill_makes_have_no_run_by_themselves() -> None:
    schedule = BackfilledDays("Europe/Berlin")
    with DAG("score", schedule=schedule, start_date=pendulum.datetime(2000, 1, 1)) as dag:
        pass
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert stored.timetable.periodic  # else Airflow makes no backfill
    for last in (None, day(18)):
        found = stored.timetable.next_dagrun_info(
            last_automated_data_interval=last,
            restriction=TimeRestriction(pendulum.datetime(2000, 1, 1), None, catchup=False),
        )
        assert found is None
    first, last = pendulum.datetime(2026, 3, 28), pendulum.datetime(2026, 3, 30)
    infos = list(stored.iter_dagrun_infos_between(first, last))
    zone = ZoneInfo("Europe/Berlin")
    assert [day_of(info.data_interval.start, zone) for info in infos] == [
        first.date(),
        first.add(days=1).date(),
        last.date(),
    ]
    assert [info.run_after for info in infos] == [info.data_interval.end for info in infos]
