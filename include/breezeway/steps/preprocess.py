"""Query raw readings, check them against the sensor contract and make features of them.

Rows that break the contract go to the dataset's quarantine, with the reason. Where too many
do, or the batch as a whole is not what the contract expects, the step fails with exit code 65
and the evidence stays in the work folder `rejected`.

Instead of a query it takes a day: that day's partition of the dataset.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.arguments import tag_name
from breezeway.core.errors import DataError, TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument(
        "--query",
        help="one SELECT that gives device, time, payload and, if the contract names one, the "
        "label column",
    )
    rows.add_argument("--day", type=date.fromisoformat, help="all readings of this day, UTC")
    parser.add_argument("--tag", type=tag_name, help="of a query: the dataset version to be made")
    parser.add_argument(
        "--published",
        type=fingerprints,
        default={},
        help="JSON of other days and the fingerprints that they were published with; the result "
        "names those that are stale",
    )


def fingerprints(text: str) -> dict[date, str]:
    try:
        return {date.fromisoformat(day): str(value) for day, value in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no JSON of days") from None


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    contract = load_contract(settings.sensors)
    if arguments.day:
        return _run_day(arguments, contract, settings)
    if not arguments.tag:
        raise UsageError("--tag: a query needs the name of the dataset version to be made.")
    # These take a second: what is wrong with the arguments or the contract is said before.
    from breezeway.preprocessing.dataset import make_dataset
    from breezeway.readings.store import RawStore

    def make(aside: Path) -> dict[str, Any]:
        store = RawStore(settings.raw_address)
        return make_dataset(
            store.stream(arguments.query, label=contract.label.column),
            contract,
            store.labels(contract.label.table) if contract.label.table else None,
            arguments.query,
            aside,
            settings.threads,
            settings.ray_min_rows,
        )

    folder, manifest = _make(arguments.tag, make, settings)
    return {"tag": arguments.tag, **_summary(folder, manifest)}


def _run_day(
    arguments: argparse.Namespace, contract: Contract, settings: Settings
) -> dict[str, Any]:
    from breezeway.preprocessing import days

    started = time.monotonic()
    day = arguments.day
    folder, manifest = _make(
        f"{contract.name}-day-{day:%Y%m%d}",
        lambda aside: days.make_day(settings, contract, day, aside),
        settings,
    )
    stale = days.stale_days(settings, contract, arguments.published, made=day)
    return {
        "day": day.isoformat(),
        **_summary(folder, manifest),
        "seconds": round(time.monotonic() - started, 1),
        "stale": {day.isoformat(): why for day, why in stale.items()},
    }


def _summary(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "rows_in": manifest["raw"]["rows"],
        "rows": manifest["rows"],
        "quarantined": manifest["quarantined"],
        "reasons": manifest["reasons"],
    }


def _make(
    name: str, make: Callable[[Path], dict[str, Any]], settings: Settings
) -> tuple[Path, dict[str, Any]]:
    """Make a dataset in a work folder that nobody else writes to meanwhile."""
    work = settings.work / name
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / ".preprocess.lock", timeout=settings.lock_wait_seconds):
            for left in work.glob(".dataset*"):  # by a run that was killed
                shutil.rmtree(left)
            aside = work / ".dataset"
            aside.mkdir()
            return _make_aside(aside, make)
    except Timeout:
        raise TryAgain(f"Another run is preprocessing {name}.") from None


def _make_aside(aside: Path, make: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    try:
        manifest = make(aside)
    except DataError as error:
        if not any(aside.iterdir()):
            raise
        raise DataError(f"{error}; the evidence is in {_keep(aside, 'rejected')}") from None
    finally:
        shutil.rmtree(aside.with_name(f"{aside.name}.staging"), ignore_errors=True)
    return _keep(aside, "dataset"), manifest


def _keep(aside: Path, name: str) -> Path:
    """Give a finished folder its name, in the place of an earlier one."""
    kept = aside.with_name(name)
    if kept.exists():
        earlier = aside.with_name(f"{aside.name}.earlier")
        kept.rename(earlier)
        aside.rename(kept)
        shutil.rmtree(earlier)
    else:
        aside.rename(kept)
    return kept


if __name__ == "__main__":
    run_step("preprocess", __doc__, add_arguments, run)
