"""When the DAGs run that have a run for each day: the history, the nightly check, and scores."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronPartitionTimetable
from pendulum import DateTime, instance, now

from breezeway.core.days import day_of, day_start
from breezeway_airflow.nights import MADE_UP_DAYS


class DayStarts:
    """The beginnings of days, in place of those that Airflow finds by cron.

    Where clocks skip a midnight, Airflow's come without the day before it; where they show it
    twice, it takes the second one.
    """

    _timezone: Any

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._timezone.name)

    def _start(self, day: date) -> DateTime:
        return instance(day_start(day, self._zone))

    def _get_next(self, current: DateTime) -> DateTime:
        return self._start(day_of(current, self._zone) + timedelta(days=1))

    def _get_prev(self, current: DateTime) -> DateTime:
        return self._start(day_of(current - timedelta(microseconds=1), self._zone))

    def localize_partition_datetime(self, dt: datetime) -> DateTime:
        # Pendulum's own `astimezone` keeps a zone of `datetime`, with which its sums lose the zone.
        clock = datetime.combine(dt.date(), dt.time(), self._zone).replace(fold=0)
        return instance(clock.astimezone(UTC))


class DayPartitions(DayStarts, CronPartitionTimetable):
    """One run for each day, when it has ended. The key of its partition is the day.

    A backfill includes both of its dates, which are days of the zone.

    Args:
        zone: the name of the days' time zone.
    """

    def __init__(self, zone: str):
        super().__init__("0 0 * * *", timezone=zone, run_offset=-1, key_format="%Y-%m-%d")
        self._zone_name = zone

    def serialize(self) -> dict[str, Any]:
        return {"zone": self._zone_name}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "DayPartitions":
        return cls(data["zone"])


class Nights(DayStarts, CronDataIntervalTimetable):
    """One run for each day, whose data interval is that day, some hours after it has ended.

    The first run is for the day on which the DAG comes into being. From then on no day is left
    out: what was missed while Airflow was down or the DAG was paused is made up, oldest first, for
    `MADE_UP_DAYS`. With `catchup` Airflow would begin at the DAG's start date. A backfill includes
    both of its dates, which are days of the zone.

    Args:
        hours: from the end of a day to its run.
        zone: the name of the days' time zone.
    """

    def __init__(self, hours: int, zone: str):
        super().__init__("0 0 * * *", zone)
        self._hours, self._zone_name = hours, zone
        self.description = f"Each day ({zone}), {hours} hours after its end"

    @property
    def summary(self) -> str:
        return self.description

    def serialize(self) -> dict[str, Any]:
        return {"hours": self._hours, "zone": self._zone_name}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "Nights":
        return cls(data["hours"], data.get("zone", "UTC"))  # stored before there were zones

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        if not restriction.catchup:  # else it is a backfill, with dates of its own
            today = self._align_to_prev(now("UTC"))
            behind = MADE_UP_DAYS if last_automated_data_interval else 0
            first = self._align_to_next(today - timedelta(days=behind, hours=1))
            earliest = max(first, restriction.earliest or first)
            restriction = TimeRestriction(earliest, restriction.latest, catchup=True)
        else:
            restriction = self._of_the_zone(restriction)
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        return info and info._replace(run_after=info.run_after.add(hours=self._hours))

    def _of_the_zone(self, restriction: TimeRestriction) -> TimeRestriction:
        """The dates of a backfill, which come as midnights in UTC."""
        earliest, latest = (
            bound and self.localize_partition_datetime(bound)
            for bound in (restriction.earliest, restriction.latest)
        )
        return TimeRestriction(earliest, latest, catchup=True)

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """The last day whose run is due.

        A midnight is the logical date of the day that begins then. With another interval the run
        would stand in the way of that day's own, and the scheduler would find no next one.
        """
        if run_after == self._align_to_next(run_after):
            return DataInterval(run_after, self._get_next(run_after))
        return super().infer_manual_data_interval(run_after=run_after.subtract(hours=self._hours))


class BackfilledDays(Nights):
    """One run for each day of a backfill, whose data interval is that day; none by itself.

    Without a schedule at all, Airflow makes no backfill.

    Args:
        zone: the name of the days' time zone.
    """

    def __init__(self, zone: str):
        super().__init__(hours=0, zone=zone)
        self.description = f"Each day of a backfill ({zone})"

    def serialize(self) -> dict[str, Any]:
        return {"zone": self._zone_name}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "BackfilledDays":
        return cls(data["zone"])

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        if not restriction.catchup:
            return None
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
