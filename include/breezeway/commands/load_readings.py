"""Load readings from CSV files: a file is loaded completely or not at all.

A reading that the store has already (the same device, time, payload and label) is not loaded again,
however the file writes it. If the store has another payload or label for a device and time, the
file is refused, unless --replace is given. `breezeway loads` lists the loads and takes one back.

Only device, time and label of a reading are checked. The payload is stored unchanged; preprocessing
checks it against the contract.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.readings import loaders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="CSV files, or folders of them"
    )
    parser.add_argument(
        "--format",
        choices=[*loaders.PUBLIC, "csv"],
        default="csv",
        help="skab: each file is a device, named by its folder and name, such as valve1/0; "
        "ai4i: one reading a minute, device = Product ID; csv (default): columns as named below",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="readings of the files take the place of others of the same device and time; if a "
        "file has several of these, the last one does",
    )
    csv_options = parser.add_argument_group("columns of --format csv")
    csv_options.add_argument("--device-column", default="device")
    csv_options.add_argument("--time-column", default="time", help="ISO 8601; UTC without a zone")
    csv_options.add_argument("--payload-column", help="the column of the payload (payload)")
    csv_options.add_argument(
        "--payload-columns", metavar="A,B,C", help="instead: make a JSON object from these columns"
    )
    csv_options.add_argument("--label-column", help="0, 1 or empty")
    csv_options.add_argument("--separator", default=",")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    format_of = loaders.PUBLIC.get(arguments.format) or _named_columns(arguments)
    return loaders.load(settings, arguments.files, format_of, replace=arguments.replace)


def _named_columns(arguments: argparse.Namespace) -> Callable[[Path], loaders.Format]:
    """The format for every file, with the columns that the arguments name.

    Raises:
        UsageError: the arguments contradict each other.
    """
    if len(arguments.separator) != 1:
        raise UsageError(f"--separator: expected one character, got {arguments.separator!r}.")
    if arguments.payload_column and arguments.payload_columns:
        raise UsageError("--payload-column and --payload-columns: expected one of them.")
    several = [n.strip() for n in (arguments.payload_columns or "").split(",") if n.strip()]
    named = loaders.general(
        device=arguments.device_column,
        time=arguments.time_column,
        payload=several or arguments.payload_column or "payload",
        label=arguments.label_column,
        separator=arguments.separator,
    )
    return lambda _: named
