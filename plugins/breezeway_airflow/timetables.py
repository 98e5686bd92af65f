"""When the nightly check runs: once for each day, and later for the days that were missed."""

from datetime import timedelta
from typing import Any

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import DateTime, now

from breezeway_airflow.nights import MADE_UP_DAYS


class Nights(CronDataIntervalTimetable):
    """One run for each day (UTC), whose data interval is that day, some hours after it has ended.

    The first run is for the day on which the DAG comes into being. From then on no day is left
    out: what was missed while Airflow was down or the DAG was paused is made up, oldest first, for
    `MADE_UP_DAYS`. With `catchup` Airflow would begin at the DAG's start date. A backfill includes
    both of its dates.

    Args:
        hours: from the end of a day to its run.
    """

    def __init__(self, hours: int):
        super().__init__("0 0 * * *", "UTC")
        self._hours = hours
        self.description = f"Each day (UTC), {hours} hours after its end"

    @property
    def summary(self) -> str:
        return self.description

    def serialize(self) -> dict[str, Any]:
        return {"hours": self._hours}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "Nights":
        return cls(data["hours"])

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        if not restriction.catchup:  # else it is a backfill, with dates of its own
            today = now("UTC").start_of("day")
            behind = MADE_UP_DAYS if last_automated_data_interval else 0
            first = today - timedelta(days=behind)
            earliest = max(first, restriction.earliest or first)
            restriction = TimeRestriction(earliest, restriction.latest, catchup=True)
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        return info and info._replace(run_after=info.run_after.add(hours=self._hours))

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """The last day whose run is due.

        A midnight is the logical date of the day that begins then. With another interval the run
        would stand in the way of that day's own, and the scheduler would find no next one.
        """
        if run_after == run_after.in_timezone("UTC").start_of("day"):
            return DataInterval(run_after, run_after.add(days=1))
        return super().infer_manual_data_interval(run_after=run_after.subtract(hours=self._hours))
