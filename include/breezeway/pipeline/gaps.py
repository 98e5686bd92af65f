"""Which nights nobody has checked, and which days nobody has published."""

from datetime import date, timedelta

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.readings.store import RawStore
from breezeway.tracking.nights import Absent, checked_nights


def find_absent(settings: Settings, model_name: str, night: date) -> Absent:
    """What is missing in the four weeks before a night.

    A night is missing if an earlier one of these weeks was checked and it was not. A day is, if it
    has readings, an earlier one was published and it was not: who does not use history misses none.

    Raises:
        ServiceUnavailable: MLflow, the raw store or the dataset repository does not answer.
    """
    first, last = night - timedelta(days=history.LOOK_BACK_DAYS), night - timedelta(days=1)
    checked = checked_nights(settings, model_name, since=first)
    nights = history.day_range(min(checked, default=night), last)
    published = history.published_days(settings, load_contract(settings.sensors).name)
    begun = max(first, min(published, default=night))
    counts = RawStore(settings.raw_address).count_by_day(begun, last) if begun <= last else {}
    return Absent(
        nights=[day for day in nights if day not in checked],
        days=[day for day in sorted(counts) if day not in published],
    )
