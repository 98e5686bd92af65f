"""Which days have to be looked at beside a new day: stale ones, and missed ones."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from breezeway.core.days import day_end, today
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway_airflow import fields, form

ARRIVALS = timedelta(minutes=15)
"""After the end of a day its readings are taken to be complete."""


class FindPublishedDays(BaseSensorOperator):
    """Waits until late readings of a day have arrived, then finds the days that may be stale.

    In a scheduled run these are days of the weeks before, which readings or labels may have come
    to; those that are not published, because nothing ran or it failed, are among them. A day that
    is made by hand or by a backfill can change those that follow: their first windows reach back to
    it.

    The result is day → fingerprint of what it was made of; empty if it is not published.

    Args:
        day: that is made, YYYY-MM-DD.
        contract_name: whose days.
    """

    template_fields = ("day",)
    ui_color = "#eeeeee"

    def __init__(self, *, day: str, contract_name: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.day = day
        self.contract_name = contract_name

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once.

        Raises:
            UsageError: the day is none, or has not begun.
            ServiceUnavailable: the repository does not answer.
        """
        from breezeway.datasets import history

        made = form.read_day("day", self.day)
        settings = Settings.from_environment()
        zone = fields.contract_zone(settings)
        if made > (now := today(zone)):
            raise UsageError(f"Correct the field 'day': {made} has not begun; today is {now}.")
        if datetime.now(UTC) < day_end(made, zone) + ARRIVALS:
            return PokeReturnValue(False)
        away = timedelta(days=history.LOOK_BACK_DAYS)
        scheduled = context["dag_run"].run_type == "scheduled"
        near = (
            history.day_range(made - away, made - timedelta(days=1))
            if scheduled
            else history.day_range(made + timedelta(days=1), made + away)
        )
        found = history.fingerprints(settings, self.contract_name, near)
        if scheduled:
            found = dict.fromkeys(near, "") | found
        return PokeReturnValue(True, {day.isoformat(): value for day, value in found.items()})
