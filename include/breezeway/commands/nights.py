"""Show what it takes to check a range of nights again, as a backfill of nightly_drift does.

For each night it shows the rows, the version of the model that judges it and why, and the verdict
if it was checked before, and it estimates the time. Nothing is checked.

Example:
  breezeway nights --first 2026-11-01 --last 2026-11-20
"""

import argparse
from typing import Any

from breezeway.core.arguments import day
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline import nightly_plan

MAX_NIGHTS = 366


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=day, required=True, help="YYYY-MM-DD")
    parser.add_argument("--last", type=day, required=True, help="included")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The plan.

    Raises:
        UsageError: the range ends before it begins, or is too long.
        BreezewayError: a store does not answer.
    """
    first, last = arguments.first, arguments.last
    if last < first:
        raise UsageError(f"--last {last} is before --first {first}.")
    if (last - first).days >= MAX_NIGHTS:
        raise UsageError(f"--last {last}: expected at most {MAX_NIGHTS} nights from {first} on.")
    return nightly_plan.plan(settings, first, last)
