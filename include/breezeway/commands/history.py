"""History day by day: a dataset version for each day, and one for a range of them.

The tag `<contract>-day-YYYYMMDD-<n>` is the n-th revision of a day. A tag never moves: a day
that is made again with other content gets the next number, and with the same content nothing.

As a command: what making a range of days would read, what is published of it, how long it takes.
"""

import argparse
from datetime import date
from typing import Any

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=date.fromisoformat, required=True, help="YYYY-MM-DD, UTC")
    parser.add_argument("--last", type=date.fromisoformat, required=True, help="included")
    parser.add_argument(
        "--compose", action="store_true", help="publish the range as one dataset version instead"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The days of a range: rows, what is published and whether that is stale; then the time.

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
