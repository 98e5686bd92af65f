"""Remove what Breezeway has made: all that is in its home, after you have agreed.

It lists what there is, with sizes, and asks. What it did not make stays: other files in the home,
and stores that you named yourself, such as a database server or a bucket. Nothing is removed while
a platform runs there. `breezeway backup` writes all of it into one file first. If it is killed, run
it again.

The program itself stays: `pip uninstall breezeway`, or remove the checkout with its folder .venv.

Examples:
  breezeway uninstall
  BREEZEWAY_HOME=/data/breezeway breezeway uninstall --yes
  breezeway uninstall --yes --json | jq .bytes

Exit code: 0; 64 if you did not agree, a platform runs, or there is nothing to remove; 75 if another
command works there.
"""

import argparse
import json
import sys

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline import removal
from breezeway.pipeline.removal import Inventory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--json",
        action="store_true",
        help="for programs: what was removed as one JSON object (without it, a table); needs --yes",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> None:
    """List, ask, remove.

    Raises:
        UsageError: the answer is not yes, nobody is there to ask, or as for `removal.remove`.
        TryAgain: as for `removal.remove`.
    """
    if arguments.json and not arguments.yes:
        raise UsageError("--json: add --yes, for a program cannot be asked.")
    found = removal.look(settings)
    if not arguments.json:
        _print(found)
    if not arguments.yes:
        _ask(found)
    removal.remove(settings, found)
    if arguments.json:
        print(json.dumps(_facts(found), indent=2, ensure_ascii=False))
    else:
        print(f"Removed. {decimal(_bytes(found))} are free again.")


def _bytes(found: Inventory) -> int:
    return sum(part.bytes for part in found.parts)


def _print(found: Inventory) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for part in found.parts:
        table.add_row(Text(part.path.name), decimal(part.bytes), part.holds)
    table.add_row("in all", decimal(_bytes(found)), style="bold")
    console.print(f"In {found.home} this will be removed:", markup=False)
    console.print(table)
    for path in found.foreign:
        console.print(f"stays, for Breezeway did not make it: {path}", markup=False)
    for store in found.elsewhere:
        console.print(f"stays, for it is elsewhere: {store}", markup=False)


def _ask(found: Inventory) -> None:
    if not sys.stdin.isatty():
        raise UsageError("Nothing was removed: there is nobody to ask. Add --yes.")
    try:
        answer = input(f"Remove {decimal(_bytes(found))} for good? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was removed.")


def _facts(found: Inventory) -> dict[str, object]:
    return {
        "home": str(found.home),
        "bytes": _bytes(found),
        "removed": {part.path.name: part.bytes for part in found.parts},
        "stays": [str(path) for path in found.foreign],
        "elsewhere": list(found.elsewhere),
    }
