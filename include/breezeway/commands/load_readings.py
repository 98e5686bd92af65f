"""Load readings from CSV, JSON lines or Parquet files: each completely or not at all.

The sensor contract says in its section [files] how a file is read: which columns hold device, time,
label and values, how times and numbers are written, what is no value: docs/files.md.

A reading that the store has already (the same device, time, payload and label) is not loaded again,
however the file writes it. If the store has another payload or label for a device and time, the
file is refused, unless --replace is given. `breezeway loads` lists the loads and takes one back.

Device, time, label and numbers are checked. What else is in a payload, preprocessing checks against
the contract.

Examples:
  breezeway load-readings pump.csv --sensors pump.toml
  breezeway load-readings 2026/*.parquet --device pump-7
"""

import argparse
from pathlib import Path
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.readings import file_loads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="files, or folders of them; .gz is unpacked",
    )
    parser.add_argument(
        "--sensors",
        metavar="plant|skab|ai4i|FILE",
        help="the sensor contract: one of those shipped, or a file (plant, or BREEZEWAY_SENSORS)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="the device of all readings, if no column holds it"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="readings of the files take the place of others of the same device and time; if a "
        "file has several of these, the last one does",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    settings = settings.with_sensors(arguments.sensors)
    contract = load_contract(settings.sensors)
    return file_loads.load(
        settings, arguments.files, contract, device=arguments.device, replace=arguments.replace
    )
