"""Show what it takes to make the history of a range of days, or make one dataset of them.

For each day it shows the rows, the published version and whether that is stale, and it estimates
the time. The tag `<contract>-day-YYYYMMDD-<n>` is the n-th revision of a day: if a day is made
again with other content, it gets the next number.

Examples:
  breezeway history --first 2026-11-01 --last 2026-11-20
  breezeway history --first 2026-11-01 --last 2026-11-20 --compose
"""

import argparse
from typing import Any

from breezeway.core.arguments import day
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=day, required=True, help="YYYY-MM-DD")
    parser.add_argument("--last", type=day, required=True, help="included")
    parser.add_argument(
        "--compose", action="store_true", help="publish the range as one dataset version instead"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """For each day of a range the rows, the published version and whether it is stale; the time.

    Raises:
        UsageError: the range ends before it begins.
        BreezewayError: a store does not answer.
    """
    first, last = arguments.first, arguments.last
    if last < first:
        raise UsageError(f"--last {last} is before --first {first}.")
    if arguments.compose:
        version = history.compose(settings, first, last)
        return {"tag": version.tag, "hash": version.hash, "rows": version.manifest["rows"]}
    return history.plan(settings, first, last)
