"""Which nights nobody has checked, and which days or readings are missing in the history."""

import logging
from datetime import date, timedelta

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.readings.store import open_store
from breezeway.tracking.nights import Absent, checked_nights

log = logging.getLogger("breezeway.drift")

TOLD_DAYS = 366
"""How far back readings are looked for that arrived after their day was made."""


def find_absent(settings: Settings, model_name: str, night: date) -> Absent:
    """What is missing before a night.

    A night of the four weeks before is missing if an earlier one of them was checked and it was
    not. A day of these weeks is, if it has readings, an earlier one was published and it was not:
    who does not use history misses none. A day of longer ago has late readings if it has more than
    when it was made, or was not made at all: nothing makes it again by itself.

    Raises:
        ServiceUnavailable: MLflow, the raw store or the dataset repository does not answer.
    """
    first, last = night - timedelta(days=history.LOOK_BACK_DAYS), night - timedelta(days=1)
    contract = load_contract(settings.sensors)
    checked = checked_nights(settings, model_name, since=(first, contract.zone))
    nights = history.day_range(min(checked, default=night), last)
    try:
        unpublished = _unpublished(settings, contract, night)
    except DataError as error:  # the night's own days can be counted, or its check will say it
        log.warning("What history lacks is not known: %s", error)
        unpublished = []
    return Absent(
        nights=[day for day in nights if day not in checked],
        days=[day for day in unpublished if day >= first],
        late=[day for day in unpublished if day < first],
    )


def _unpublished(settings: Settings, contract: Contract, night: date) -> list[date]:
    """The days before a night that have readings which no published version of them holds."""
    name = contract.name
    published = history.published_days(settings, name)
    first, last = night - timedelta(days=TOLD_DAYS), night - timedelta(days=1)
    begun = max(first, min(published, default=night))
    if begun > last:
        return []
    store = open_store(settings)
    counts = store.count_by_day(begun, last, contract.zone)
    # A younger day gets its late readings by itself.
    settled = [day for day in counts if day < night - timedelta(days=history.LOOK_BACK_DAYS)]
    made = history.fingerprints(settings, name, settled)
    return [
        day
        for day in sorted(counts)
        if day not in published or (day in made and counts[day] > _rows(made[day], counts[day]))
    ]


def _rows(fingerprint: str, unknown: int) -> int:
    """How many readings a day had when it was made."""
    rows, _, _ = fingerprint.partition("-")
    return int(rows) if rows.isdecimal() else unknown
