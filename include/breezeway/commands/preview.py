"""Show what a query of readings gives before a run uses it, and what the contract says of it.

It prints the first rows, how many there are, how many of the first 20,000 break the sensor contract
and why, and whether `preprocess` would refuse them. It reads in a session that cannot write, and
changes nothing. The page behind the form of the DAG training shows the same.

Examples:
  breezeway preview --query "SELECT device, time, payload FROM readings WHERE device = 'pump-7'"
  breezeway preview --first 2026-11-01 --last 2026-11-20 --json | jq .rejected

Exit code: 0, also if rows break the contract; 64 for a query that cannot be run.
"""

import argparse
import json
import logging
from typing import TYPE_CHECKING

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import day
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings

if TYPE_CHECKING:
    from breezeway.pipeline.preview import Preview

SHORTEST = 24
"""Letters of a payload in a narrow terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument("--query", help="one SELECT, as preprocess takes it")
    rows.add_argument("--first", type=day, help="all readings of some days: the first one")
    parser.add_argument("--last", type=day, help="the last of these days; the first if not given")
    parser.add_argument(
        "--sensors",
        metavar="plant|skab|ai4i|FILE",
        help="the sensor contract: one of those shipped, or a file (plant, or BREEZEWAY_SENSORS)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="for programs: one JSON object, and nothing but an error on standard error",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> None:
    if arguments.json:
        logging.getLogger().setLevel(logging.WARNING)
    from pydantic import TypeAdapter

    from breezeway.pipeline import preview

    settings = settings.with_sensors(arguments.sensors)
    contract = load_contract(settings.sensors)
    query, last = arguments.query, arguments.last or arguments.first
    if arguments.first:
        if last < arguments.first:
            raise UsageError(f"--last: expected {arguments.first} or a later day.")
        query = preview.query_of_days(settings, contract, arguments.first, last)
    elif last:
        raise UsageError("--last: it needs --first.")
    found = preview.look(settings, contract, query)
    if arguments.json:
        facts = TypeAdapter(preview.Preview).dump_python(found, mode="json")
        summary = list(preview.sentences(found))
        print(json.dumps({"summary": summary, **facts}, indent=2), flush=True)
    else:
        _print(found)


def _print(found: "Preview") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from breezeway.pipeline.preview import sentences

    room = Console().width - 60  # what the other columns take
    console = Console(highlight=False, width=10_000)

    def show(title: str, names: list[str], rows: list[list[str]]) -> None:
        table = Table(*names, box=None, title=f"\n{title}", title_justify="left")
        most = max(SHORTEST, room // (2 if "problem" in names else 1))
        for row in rows:
            cells = list(map(Text, row))
            for cell in cells:
                cell.truncate(most, overflow="ellipsis")
            table.add_row(*cells)
        if rows:
            console.print(table)

    for sentence in sentences(found):
        console.print(Text(sentence))
    first = [[row.device, row.time, row.payload, row.label] for row in found.first]
    show("First rows", ["device", "time", "payload", "label"], first)
    why = [[f"{each.rows:,}", each.field, each.reason, each.example] for each in found.rejected]
    show("What breaks the contract", ["rows", "field", "reason", "example"], why)
    bad = [[row.device, row.time, row.payload, row.problem] for row in found.bad]
    show("The first of these rows", ["device", "time", "payload", "problem"], bad)
