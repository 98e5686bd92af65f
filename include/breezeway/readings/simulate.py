"""Fill the raw store with a simulated plant: the command `simulate`.

Two runs that share a day agree on it, and a day that the store holds already is not made again.
"""

import argparse
import hashlib
import json
import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.readings.plant import VERSION, simulate
from breezeway.readings.store import RawStore

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=int, default=8, help="machines, 1 to 99 (8)")
    parser.add_argument("--days", type=int, default=8, help="days before --end (8)")
    parser.add_argument(
        "--end",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="the readings stop at this midnight, UTC (today's)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed is another plant (0)")
    parser.add_argument(
        "--drift", type=float, default=0.0, metavar="CELSIUS", help="thermometers read more by this"
    )
    parser.add_argument(
        "--drift-from",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="first day of the drift (the last of the days)",
    )
    parser.add_argument(
        "--bad-share", type=float, default=0.0, help="share of payloads that are broken, 0 to 1"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Fill the raw store; days that are there already are left as they are.

    Raises:
        UsageError: an argument is out of bounds, or a day is in the store with other
            readings than these arguments give.
    """
    end = arguments.end or datetime.now(UTC).date()
    drift_from = arguments.drift_from or end - timedelta(days=1)
    _check(arguments)
    store = RawStore(settings.raw_address)
    store.create()
    known = store.loads()
    sources = set(known.values())
    readings = faults = 0
    for ago in range(arguments.days, 0, -1):
        day = end - timedelta(days=ago)
        options = {
            "seed": arguments.seed,
            "drift": arguments.drift if day >= drift_from else 0.0,
            "bad_share": arguments.bad_share,
        }
        for number in range(1, arguments.devices + 1):
            device = f"machine-{number:02}"
            source = f"simulated {device} {day}"
            content = _identity(device, day, options)
            if content in known:
                continue
            if source in sources:
                raise UsageError(
                    f"The raw store has {device} on {day} from a simulation with another seed, "
                    "drift or share of bad payloads; choose another --end or another store."
                )
            part = simulate(device, day, **options)
            readings += store.append(part.readings, content, source=source, labels=part.labels)
            faults += part.labels.num_rows
    first = end - timedelta(days=arguments.days)
    log.info("simulated %d readings and %d faults, %s to %s", readings, faults, first, end)
    return {"readings": readings, "faults": faults, "from": str(first), "to": str(end)}


def _check(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.devices <= 99:
        raise UsageError(f"--devices: expected 1 to 99, got {arguments.devices}.")
    if arguments.days < 1:
        raise UsageError(f"--days: expected at least 1, got {arguments.days}.")
    if arguments.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {arguments.seed}.")
    if not 0 <= arguments.bad_share <= 1:
        raise UsageError(f"--bad-share: expected 0 to 1, got {arguments.bad_share}.")
    if not -200 <= arguments.drift <= 200:
        raise UsageError(f"--drift: expected -200 to 200 °C, got {arguments.drift}.")


def _identity(device: str, day: date, options: dict[str, Any]) -> str:
    """Stands for the content, which follows from it."""
    text = json.dumps(["plant", VERSION, device, day.isoformat(), options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
