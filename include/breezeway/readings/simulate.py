"""Fill the raw store with a simulated plant.

Two runs that share a day agree on it, and a day that the store holds already is not made again.
"""

import hashlib
import json
import logging
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from breezeway.contract.contract import load_contract
from breezeway.core.days import UTC_ZONE, day_end, day_start, today
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.readings.plant import VERSION, simulate
from breezeway.readings.source import refuse_writing
from breezeway.readings.store import RawStore

log = logging.getLogger(__name__)


def fill(
    settings: Settings,
    *,
    devices: int = 8,
    days: int = 8,
    end: date | None = None,
    seed: int = 0,
    drift: float = 0.0,
    drift_from: date | None = None,
    bad_share: float = 0.0,
) -> dict[str, Any]:
    """Fill the raw store; days, of the contract's zone, that are there are left as they are.

    Args:
        devices: machines.
        days: before `end`.
        end: the readings stop where this day begins; today if not given.
        seed: another seed is another plant.
        drift: °C that the thermometers read more.
        drift_from: first day of the drift; the last of the days if not given.
        bad_share: share of payloads that are broken.

    Returns:
        How many `readings` and `faults` are new; the days, `from` and `to`.

    Raises:
        UsageError: a day is in the store with other readings than these arguments give; or
            readings are in a database of the user's own.
    """
    zone = _zone_of(settings)
    end = end or today(zone)
    drift_from = drift_from or end - timedelta(days=1)
    store = RawStore(settings.raw_address)
    store.create()
    known = store.loads()
    sources = set(known.values())
    readings = faults = 0
    first = end - timedelta(days=days)
    for day in _days_of(zone, first, days):
        options: dict[str, Any] = {"seed": seed, "drift": 0.0, "bad_share": bad_share}
        if day >= drift_from:
            options["drift"] = drift
        for number in range(1, devices + 1):
            device = f"machine-{number:02}"
            source = f"simulated {device} {day}"
            content = _identity(device, day, options, zone)
            if content in known:
                continue
            if source in sources:
                raise UsageError(
                    f"The raw store has {device} on {day} from a simulation with another seed, "
                    "drift, share of bad payloads or time zone; choose another --end or store."
                )
            part = simulate(device, day, zone=zone, **options)
            readings += store.append(part.readings, content, source=source, labels=part.labels)
            faults += part.labels.num_rows
    log.info("simulated %d readings and %d faults, %s to %s", readings, faults, first, end)
    return {"readings": readings, "faults": faults, "from": str(first), "to": str(end)}


def _zone_of(settings: Settings) -> ZoneInfo:
    """The contract's zone, if readings may be simulated for it."""
    contract = load_contract(settings.sensors)
    refuse_writing(contract, settings, "a simulation")
    return contract.zone


def _days_of(zone: ZoneInfo, first: date, count: int) -> list[date]:
    """So many days, without one that a zone has left out to change sides of the date line."""
    days = [first + timedelta(days=number) for number in range(count)]
    return [day for day in days if day_start(day, zone) < day_end(day, zone)]


def _identity(device: str, day: date, options: dict[str, Any], zone: ZoneInfo) -> str:
    """Stands for the content, which follows from it."""
    named = {} if zone == UTC_ZONE else {"zone": zone.key}
    content = ["plant", VERSION, device, day.isoformat(), options | named]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
