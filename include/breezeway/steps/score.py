"""Score the readings of a day, of some days or of a query by a version of a model.

The predictions (device, time, score, alarm, model_version) become a dataset version. Each score is
that which the server would give, to the last bit. Readings that break the sensor contract are
counted and have no score. Without a version it is the one in service, or else the champion; the
result says which.

Examples:
  breezeway score --day 2026-11-20
  python -m breezeway.steps.score --first 2026-11-01 --last 2026-11-20 --model-version 7
"""

import argparse
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import day, model_name, model_version
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline.in_service import find_serving
from breezeway.steps.runner import run_step
from breezeway.tracking import registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument("--day", type=day, metavar="YYYY-MM-DD", help="all readings of this day")
    rows.add_argument("--first", type=day, metavar="YYYY-MM-DD", help="the first of some days")
    rows.add_argument(
        "--query", help="one SELECT of readings, with the same columns as for preprocess"
    )
    parser.add_argument("--last", type=day, metavar="YYYY-MM-DD", help="the last of these days")
    parser.add_argument(
        "--model-name", type=model_name, help="the registered model; by default the contract's"
    )
    parser.add_argument(
        "--model-version", type=model_version, help="its version: a number or an alias"
    )
    parser.add_argument(
        "--table",
        nargs="?",
        const="yes",
        choices=["yes", "no"],
        default="no",
        help="also put the predictions into the table predictions of the raw store (%(default)s)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    if arguments.query is not None and not arguments.query.strip():
        raise UsageError("--query: expected one SELECT, or else --day or --first.")
    if arguments.last and not arguments.first:
        raise UsageError("--last: the first of the days is missing: give --first too.")
    if arguments.first and (not arguments.last or arguments.last < arguments.first):
        raise UsageError(f"--last: expected {arguments.first} or a later day.")
    name = arguments.model_name or load_contract(settings.sensors).name
    version, why = arguments.model_version, ""
    if version:
        version = registry.resolve_version(settings, name, version)
    else:
        found = find_serving(settings, name)
        if found is None:
            raise UsageError(
                f"--model-name: {name!r} has no version in service and no champion to score with: "
                "name one by --model-version, or train and promote one."
            )
        version, why = found.version, found.why
    # Two seconds, so check for the version first.
    from breezeway.pipeline import batch_scoring

    if arguments.query:
        asked = batch_scoring.Asked(query=arguments.query)
    else:
        first = arguments.day or arguments.first
        asked = batch_scoring.Asked(first=first, last=arguments.last or first)
    in_table = arguments.table == "yes"
    result = batch_scoring.score(settings, name, version, asked, in_table=in_table)
    return result | ({"why": why} if why else {})


if __name__ == "__main__":
    run_step("score", __doc__, add_arguments, run)
