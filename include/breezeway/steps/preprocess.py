"""Query raw readings, check them against the sensor contract, and make features from them.

Rows that break the contract go to the dataset's quarantine, with the reason. If there are too many
of them, or if the batch as a whole breaks the contract, the step fails with exit code 65, and the
work folder `rejected` shows why.

With a day instead of a query, it makes that day's partition of the dataset. With a first and a last
day it puts the partitions of these days together; those that are missing or stale are made first.

Examples:
  python -m breezeway.steps.preprocess --day 2026-11-20
  python -m breezeway.steps.preprocess --tag v12 --first 2026-11-01 --last 2026-11-20
"""

import argparse
import json
from datetime import date
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import day, tag_name
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument(
        "--query",
        help="one SELECT that returns device, time, payload and, if the contract names one, the "
        "label column; or what the contract's [source] names, such as SELECT * FROM source",
    )
    rows.add_argument("--day", type=day, help="all readings of this day")
    rows.add_argument(
        "--first",
        type=day,
        help="the first of some days whose partitions form a dataset version",
    )
    parser.add_argument("--last", type=day, help="the last of these days")
    parser.add_argument("--tag", type=tag_name, help="without --day: the dataset version to make")
    parser.add_argument(
        "--published",
        type=fingerprints,
        default={},
        help="JSON of other days with the fingerprints of their published versions, empty if they "
        "have none; the result names those that have to be made",
    )


def fingerprints(text: str) -> dict[date, str]:
    try:
        return {date.fromisoformat(key): str(value) for key, value in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not JSON of days") from None


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    contract = load_contract(settings.sensors)
    if not arguments.day and not arguments.tag:
        raise UsageError(
            "--tag: a query, or some days, need the name of the dataset version to make."
        )
    if arguments.first and (not arguments.last or arguments.last < arguments.first):
        raise UsageError(f"--last: expected {arguments.first} or a later day.")
    # This import takes a second, so check arguments and contract first.
    from breezeway.pipeline import preprocessing

    if arguments.day:
        return preprocessing.make_day(settings, contract, arguments.day, arguments.published)
    if arguments.first:
        return preprocessing.make_range(
            settings, contract, arguments.first, arguments.last, arguments.tag
        )
    return preprocessing.make_version(settings, contract, arguments.query, arguments.tag)


def _run_alone(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Run in a process of its own, in which pyarrow gets nothing of pandas'."""
    from breezeway.core.pyarrow_parts import leave_out_pandas

    leave_out_pandas()
    return run(arguments, settings)


if __name__ == "__main__":
    run_step("preprocess", __doc__, add_arguments, _run_alone)
